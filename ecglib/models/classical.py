"""What the classical references share: they are fitted at once instead of trained in epochs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Score = Callable[[NDArray[np.float32]], float]
"""Logits `(n, classes)` of the validation beats to a number that is better when higher."""


class Classical(nn.Module, ABC):
    """A classifier that is fitted at once. What it has learned is its state dict, as of any network."""

    CHUNK = 1024
    """Beats that are predicted at a time."""

    @abstractmethod
    def fit(self, x: Tensor, y: Tensor, x_val: Tensor, score: Score) -> float | None:
        """Learn from beats `(n, leads, samples)` and labels `(n,)`. The strength of the penalty is the best by `score`
        of the logits of the validation beats `x_val`, and is returned; None where there is nothing to choose."""

    def predict_logits(self, x: Tensor) -> NDArray[np.float32]:
        """Logits `(n, classes)` of beats `(n, leads, samples)`."""
        with torch.no_grad():
            return np.asarray(torch.cat([self(part) for part in x.split(self.CHUNK)]).cpu())
