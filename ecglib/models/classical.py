"""What the classical references share: they are fitted at once instead of trained in epochs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

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

    FITTED: tuple[str, ...] = ()
    """Buffers whose sizes follow from what was fitted."""

    @abstractmethod
    def fit(self, x: Tensor, y: Tensor, x_val: Tensor, score: Score, *, features: Tensor | None = None) -> float | None:
        """Learn from beats `(n, leads, samples)`, or their features `(n, n_features)`, and labels `(n,)`. The strength
        of the penalty is the best by `score` of the logits of the validation beats `x_val`, and is returned; None where
        there is nothing to choose."""

    def predict_logits(self, x: Tensor, features: Tensor | None = None) -> NDArray[np.float32]:
        """Logits `(n, classes)` of beats `(n, leads, samples)`, with features where it reads them."""
        parts = x.split(self.CHUNK)
        given = [None] * len(parts) if features is None else features.split(self.CHUNK)
        with torch.no_grad():
            logits = [self(part, features=own) for part, own in zip(parts, given, strict=True)]
            return np.asarray(torch.cat(logits).cpu())

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for name in self.FITTED:
            setattr(self, name, torch.empty_like(state_dict[prefix + name]))
        super()._load_from_state_dict(state_dict, prefix, *args)
