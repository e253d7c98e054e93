"""Losses, and the answers to class imbalance that change the loss."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

RECIPE = 1
"""1: as published."""
IGNORED = -100
"""The label of an example that has no part in a loss, as everywhere in torch."""


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
    return _scaled(weights, counts)


def effective_number(counts: NDArray[np.int64], beta: float) -> NDArray[np.float64]:
    """Class weights `w_c ~ (1 - beta) / (1 - beta ** n_c)`, scaled so that the mean weight of a training beat is 1.

    Parameters
    ----------
    counts
        `(classes,)`: training beats of each class; a class without a beat gets weight 0.
    beta
        Between 0 (all alike) and 1 (inverse frequency); Cui et al. 2019, equation 4.
    """
    present = counts > 0
    weights = np.zeros(len(counts))
    weights[present] = (1 - beta) / -np.expm1(counts[present] * np.log(beta))
    return _scaled(weights, counts)


def _scaled(weights: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
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
    tensor = None if weights is None else torch.as_tensor(weights, dtype=torch.get_default_dtype())
    return nn.CrossEntropyLoss(weight=tensor, label_smoothing=label_smoothing, ignore_index=IGNORED)


class Focal(nn.Module):
    """Focal loss `(1 - p) ** gamma · -log p` of the true class, the mean over the batch (Lin et al. 2017, equation 4).

    Logits `(batch, classes)`, labels `(batch,)`; with `gamma` 0 it is the cross-entropy.

    Parameters
    ----------
    gamma
        0 or more: how much less a beat counts that is classified well.
    """

    def __init__(self, gamma: float) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        nll = F.cross_entropy(logits, labels, reduction="none", ignore_index=IGNORED)
        # 1 - p of a beat that is certain is 0, where a power below 1 has no slope
        missing = (-torch.expm1(-nll)).clamp_min(1e-12)
        return (missing**self.gamma * nll).sum() / (labels != IGNORED).sum().clamp_min(1)


class LogitAdjusted(nn.Module):
    """Cross-entropy of logits with `tau · log prior` added in training (Menon et al. 2021, equation 10).

    Frequent classes must win by a margin; at prediction, without the priors, the network then aims at the mean recall
    over the classes. A class without a training beat is left as it is.

    Parameters
    ----------
    counts
        `(classes,)`: training beats of each class.
    tau
        Strength; 0 is the plain cross-entropy, 1 aims at balanced accuracy.
    label_smoothing
        As in `cross_entropy`.
    """

    log_prior: Tensor

    def __init__(self, counts: NDArray[np.int64], tau: float, label_smoothing: float = 0.0) -> None:
        super().__init__()
        prior = np.where(counts > 0, counts, counts.sum()) / counts.sum()
        self.register_buffer("log_prior", torch.as_tensor(tau * np.log(prior), dtype=torch.get_default_dtype()))
        self.plain = cross_entropy(None, label_smoothing)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        loss: Tensor = self.plain(logits + self.log_prior, labels)
        return loss
