"""Consecutive beats of one record in their true order, for models that read sequences."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ecglib.data.beats import Beats
from ecglib.losses import IGNORED
from ecglib.training import loop

RECIPE = 1
"""1: as published."""
UNKNOWN = -1.0
"""In place of the label of a beat that a decoder must not know."""


@dataclass(frozen=True)
class Windows:
    """Windows over the beats of every record, without a gap and without overlap but for the last of a record.

    Attributes
    ----------
    position
        int64 `(windows, length)`: positions of the beats, in time order, all of one record. A record with fewer beats
        than a window repeats its last one.
    first
        Boolean, same shape: False where an earlier window holds the beat already.
    """

    position: NDArray[np.int64]
    first: NDArray[np.bool_]


def windows(record: NDArray[np.str_], length: int) -> Windows:
    """Cut the beats of each record into windows of `length` beats.

    Parameters
    ----------
    record
        `(n,)`: record of every beat; the beats of a record stand together, in time order.
    """
    changes = np.flatnonzero(record[1:] != record[:-1]) + 1
    rows, firsts = [], []
    for start, end in pairwise([0, *changes.tolist(), len(record)]):
        for low in range(start, end, length):
            begin = max(min(low, end - length), start)
            span = begin + np.arange(length)
            rows.append(np.minimum(span, end - 1))
            firsts.append((span >= low) & (span < end))
    if not rows:
        return Windows(np.zeros((0, length), dtype=np.int64), np.zeros((0, length), dtype=bool))
    return Windows(np.stack(rows).astype(np.int64), np.stack(firsts))


class Sequences(loop.InMemory):
    """Windows as examples of a sequence model.

    They give beats `(windows, beats, leads, samples)`, labels `(windows, beats)`, `IGNORED` where they don't count, and
    as features the known labels `(windows, beats)`, `UNKNOWN` where there is none.

    Parameters
    ----------
    beats, cut
        All beats, and the windows over them.
    counted
        Positions of the beats whose labels count; the others are ignored. Windows without one are left out.
    told
        Positions of the beats whose labels the decoder may know as those before the beat it reads: training beats,
        in training; None: of no beat.
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
        ordered: NDArray[np.float32] = logits[self._counted][np.argsort(self._position)]
        return ordered


def _only(labels: NDArray[np.int64], where: NDArray[np.int64], other: int) -> NDArray[np.int64]:
    shown = np.full_like(labels, other)
    shown[where] = labels[where]
    return shown
