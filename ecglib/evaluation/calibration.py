"""Probabilities that mean what they say."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

BOUNDS = (0.05, 20.0)
"""Lowest and highest temperature."""


def temperature(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """The number that logits `(n, classes)` of validation examples are divided by so that their probabilities fit the
    labels `(n,)` best, by likelihood (Guo et al. 2017, section 4.2). The decision stays the same."""

    def loss(log_t: float) -> float:
        p = log_softmax(logits.astype(np.float64) / np.exp(log_t), axis=1)
        return -float(np.mean(p[np.arange(len(labels)), labels]))

    return float(np.exp(minimize_scalar(loss, bounds=tuple(np.log(BOUNDS)), method="bounded").x))
