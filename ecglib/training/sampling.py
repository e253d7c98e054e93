"""Which training beats an epoch shows, where it is not all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecglib import aami

RECIPE = 1
"""1: as published."""
AT_MOST: Final[Mapping[str, int]] = {"N": 800, "S": 150, "V": 1000, "F": 60, "Q": 0}
"""Beats of a class that an epoch draws from one record: no patient may stand for a whole class, as 208, which holds
nine tenths of the F beats of DS1, else would."""


class ByRecord:
    """Draws every epoch anew from training beats of these records and classes `(n,)`: from each record at most so many
    of each class."""

    def __init__(
        self, record: NDArray[np.str_], labels: NDArray[np.int64], at_most: Mapping[str, int] = AT_MOST
    ) -> None:
        self.groups: list[tuple[NDArray[np.int64], int]] = []
        for name in np.unique(record):
            for i, each in enumerate(aami.CLASSES):
                group = np.flatnonzero((record == name) & (labels == i))
                if size := min(len(group), at_most[each]):
                    self.groups.append((group, size))

    def __len__(self) -> int:
        """Beats of an epoch."""
        return sum(size for _, size in self.groups)

    def __call__(self, epoch: int, seed: int) -> Tensor:
        """Positions of the beats of an epoch (from 0), shuffled; they depend on epoch and seed alone."""
        draw = np.random.default_rng((seed, epoch))
        chosen = np.concatenate([draw.choice(group, size, replace=False) for group, size in self.groups])
        draw.shuffle(chosen)
        return torch.from_numpy(chosen)
