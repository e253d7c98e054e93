"""Losses, and the class weights that answer imbalance."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn


def inverse_frequency(counts: NDArray[np.int64], exponent: float = 1.0) -> NDArray[np.float64]:
    """Class weights `w_c ~ n_c ** -exponent`, scaled so that the mean weight of a training beat is 1.

    Parameters
    ----------
    counts
        `(classes,)`: training beats of each class; a class without a beat gets weight 0.
    exponent
        0 (all alike) to 1 (every class weighs the same in total; King & Zeng 2001, "balanced").
    """
    present = counts > 0
    weights = np.zeros(len(counts))
    weights[present] = counts[present].astype(np.float64) ** -exponent
    scaled: NDArray[np.float64] = weights * counts.sum() / (weights * counts).sum()
    return scaled


def cross_entropy(weights: NDArray[np.float64] | None = None, label_smoothing: float = 0.0) -> nn.CrossEntropyLoss:
    """Cross-entropy of logits `(batch, classes)` and labels `(batch,)`, the weighted mean over the batch.

    Parameters
    ----------
    weights
        `(classes,)`: class weights, or None.
    label_smoothing
        Share of the target spread evenly over the classes (Szegedy et al. 2016).
    """
    tensor = None if weights is None else torch.as_tensor(weights, dtype=torch.float32)
    return nn.CrossEntropyLoss(weight=tensor, label_smoothing=label_smoothing)
