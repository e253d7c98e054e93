"""Losses, and the answers to class imbalance that change the loss.

Of classes, one of which a beat has, logits are `(batch, classes)` and labels `(batch,)`; of several labels at once,
each a yes-or-no question of its own, targets are floating `(batch, classes)` too: 1 (has the label) or 0 (has it not).
A label `IGNORED` has no part in loss or gradient; the loss is the mean over the rest of the batch.
"""

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
BOUND = 20.0
"""The greatest weight of a positive, so that a label seen twice doesn't rule the gradient."""


def inverse_frequency(counts: NDArray[np.int64], exponent: float = 1.0) -> NDArray[np.float64]:
    """Class weights `w_c ~ n_c ** -exponent` of training beats of each class `(classes,)`.

    An exponent of 0 weighs all alike, with 1 every class weighs the same in total (King & Zeng 2001, "balanced"). The
    mean weight of a training beat is 1, and a class without a beat gets weight 0.
    """
    return _scaled(np.maximum(counts, 1).astype(np.float64) ** -exponent, counts)


def effective_number(counts: NDArray[np.int64], beta: float) -> NDArray[np.float64]:
    """Class weights `w_c ~ (1 - beta) / (1 - beta ** n_c)` (Cui et al. 2019, equation 4), scaled likewise.

    `beta` lies between 0 (all alike) and 1 (inverse frequency).
    """
    return _scaled((1 - beta) / -np.expm1(np.maximum(counts, 1) * np.log(beta)), counts)


def _scaled(weights: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    weights = np.where(counts > 0, weights, 0.0)
    return np.asarray(weights * counts.sum() / (weights * counts).sum())


def positive_weights(
    positives: NDArray[np.int64], negatives: NDArray[np.int64], exponent: float
) -> NDArray[np.float64]:
    """Weight of a positive against a negative, `min((negatives / positives) ** exponent, BOUND)`, `(classes,)`.

    Counts are of known targets of the training part; a class without a positive or without a negative gets 1. An
    exponent of 0 weighs all alike, with 1 a class's positives weigh as much in total as its negatives.
    """
    both = (positives > 0) & (negatives > 0)
    odds = np.divide(negatives, positives, out=np.ones(len(positives)), where=both)
    return np.asarray(np.minimum(odds**exponent, BOUND))


def balance(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The α of a focal loss whose positives outweigh its negatives by `weights` `(classes,)`: `w / (1 + w)`."""
    return np.asarray(weights / (1 + weights))


def cross_entropy(weights: NDArray[np.float64] | None = None, label_smoothing: float = 0.0) -> nn.CrossEntropyLoss:
    """Cross-entropy of logits `(batch, classes)` and labels `(batch,)`, a mean over the batch by weights `(classes,)`;
    `label_smoothing` is the share of the target spread evenly over the classes (Szegedy et al. 2016)."""
    return nn.CrossEntropyLoss(weight=_tensor(weights), label_smoothing=label_smoothing, ignore_index=IGNORED)


def binary_cross_entropy(weights: NDArray[np.float64] | None = None) -> nn.BCEWithLogitsLoss:
    """Binary cross-entropy of labels whose positives count `weights` `(classes,)` times, None for once:
    `-(w · y · log p + (1 - y) · log(1 - p))`."""
    return nn.BCEWithLogitsLoss(pos_weight=_tensor(weights))


class FocalLoss(nn.Module):
    """Focal loss `-α_t · (1 - p_t) ** γ · log p_t` from Lin et al. (2017), equation 5, of classes or of labels.

    Of classes, `p_t` is the probability of the true one and α_t its α. Of labels it is `sigmoid(logit)` of a positive
    and `1 - sigmoid(logit)` of a negative, α_t likewise α or 1 - α. With γ 0 and no α it is the cross-entropy.

    γ, 0 or more, says how much less a target counts that is predicted well; α `(classes,)`, each from 0 to 1, is the
    weight of a class, or of a label's positives; None weighs all 1.
    """

    alpha: Tensor | None

    def __init__(self, gamma: float, alpha: NDArray[np.float64] | None = None) -> None:
        super().__init__()
        self.gamma = gamma
        self.register_buffer("alpha", _tensor(alpha))

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return self._of_labels(logits, targets) if targets.is_floating_point() else self._of_classes(logits, targets)

    def _of_classes(self, logits: Tensor, labels: Tensor) -> Tensor:
        nll = F.cross_entropy(logits, labels, reduction="none", ignore_index=IGNORED)
        # 1 - p of a beat that is certain is 0, where a power below 1 has no slope
        loss = (-torch.expm1(-nll)).clamp_min(1e-12) ** self.gamma * nll
        known = labels != IGNORED
        if self.alpha is not None:
            loss = loss * self.alpha[labels.where(known, 0)]
        return loss.where(known, 0).sum() / known.sum().clamp_min(1)

    def _of_labels(self, logits: Tensor, targets: Tensor) -> Tensor:
        loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        # (1 - p_t) ** γ by its logarithm: a power below 1 has no slope where 1 - p_t is rounded to 0
        loss = loss * (self.gamma * F.logsigmoid(logits * (1 - 2 * targets))).exp()
        if self.alpha is not None:
            loss = loss * torch.where(targets > 0, self.alpha, 1 - self.alpha)
        return loss.mean()


class LogitAdjusted(nn.Module):
    """Cross-entropy of logits with `tau · log prior` added in training (Menon et al. 2021, equation 10).

    Frequent classes must win by a margin; at prediction, without the priors, the network then aims at the mean recall
    over the classes. `counts` `(classes,)` are the training beats of each class; one without any is left as it is. With
    `tau` 0 it is the plain cross-entropy, 1 aims at balanced accuracy.
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


def _tensor(values: NDArray[np.float64] | None) -> Tensor | None:
    return None if values is None else torch.as_tensor(values, dtype=torch.get_default_dtype())
