"""Consecutive beats of one record in their true order, for models that read sequences."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ecglib.data.beats import Beats, Windows
from ecglib.losses import IGNORED
from ecglib.training import loop

RECIPE = 1
"""1: as published."""
UNKNOWN = -1.0
"""In place of the label of a beat that a decoder must not know."""


class Sequences(loop.InMemory):
    """Windows over all beats as examples of a sequence model.

    They give beats `(windows, beats, leads, samples)`; labels `(windows, beats)`, which count at the positions
    `counted` and are `IGNORED` elsewhere, windows without one being left out; and as features the labels `(windows,
    beats)` that the decoder may know as those before the beat it reads, at the positions `told` (training beats, in
    training), `UNKNOWN` elsewhere.
    """

    def __init__(
        self, beats: Beats, cut: Windows, counted: NDArray[np.int64], told: NDArray[np.int64] | None = None
    ) -> None:
        labels = _only(beats.labels, counted, IGNORED)[cut.position]
        labels[~cut.first] = IGNORED
        used = (labels != IGNORED).any(1)
        labels, position = labels[used], cut.position[used]
        known = None if told is None else _only(beats.labels, told, int(UNKNOWN))[position].astype(np.float32)
        super().__init__(beats.signals[position], labels, known)
        self._counted = (labels != IGNORED).ravel()
        self._position = position.ravel()[self._counted]

    def in_order(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits `(windows · beats, classes)` as those of the counted beats alone, in order of their positions."""
        return np.asarray(logits[self._counted][np.argsort(self._position)])


def _only(labels: NDArray[np.int64], where: NDArray[np.int64], other: int) -> NDArray[np.int64]:
    shown = np.full_like(labels, other)
    shown[where] = labels[where]
    return shown
