"""Two networks for a record: one where supraventricular ectopic beats are few, one where they are most, and a gate."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecglib.models.ecgnet import ECGNet
from ecglib.models.layers import full_precision

RECIPE = 1
"""1: as published."""


class GatedECGNet(nn.Module):
    """An ordinary `ECGNet`, a second one for sustained ectopic rhythm, and a gate that is one for a whole record.

    What `ECGNet` reads is a beat beside its own record, and where most beats are ectopic the usual beat is an ectopic
    one. The second network reads features that don't ask what is usual (`ecglib.data.sustained`) and is trained on
    recordings with many supraventricular beats (`ecglib.data.simulation`). It is worse on ordinary records, so it
    speaks only where it finds many: with `h` the share of a record's beats that it calls supraventricular, the
    probabilities are `(1 - w) ordinary + w second`, `w = sigmoid(SLOPE (h - THRESHOLD))`, a mixture of experts
    (Jacobs et al. 1991, equation 1.2) whose gate is no network. All beats of a batch are of one record, and all of the
    record's beats are in it, or `settle` has fixed the gate before.

    Parameters
    ----------
    n_leads, n_samples, n_classes
        As of `ECGNet`.
    n_features
        Features of a beat: those of `ECGNet` first, then the second network's.
    second_features
        How many of them are the second network's.
    **options
        Of the ordinary `ECGNet`. The second has its `hidden`, `feature_dropout` and `feature_noise`, and reads no
        waveform.

    References
    ----------
    R. A. Jacobs, M. I. Jordan, S. J. Nowlan, G. E. Hinton: Adaptive Mixtures of Local Experts. Neural Computation 3(1),
    1991. doi:10.1162/neco.1991.3.1.79
    """

    MIN_SAMPLES = ECGNet.MIN_SAMPLES
    THRESHOLD, SLOPE = 0.3, 40.0
    GAIN = 1.0
    """Added to the second network's logit of supraventricular beats once the gate has been asked."""
    SHARED = ("hidden", "feature_dropout", "feature_noise")
    SUPRAVENTRICULAR = 1
    share: Tensor

    def __init__(
        self,
        n_leads: int,
        n_samples: int,
        n_classes: int,
        *,
        n_features: int,
        second_features: int = 52,
        **options: Any,
    ) -> None:
        super().__init__()
        if not 0 < second_features < n_features:
            raise ValueError(f"second_features = {second_features}; expected 1 to {n_features - 1}, of {n_features}")
        self.second_features = second_features
        self.ordinary = ECGNet(n_leads, n_samples, n_classes, n_features=n_features - second_features, **options)
        shared = {name: value for name, value in options.items() if name in self.SHARED}
        self.second = ECGNet(
            n_leads, n_samples, n_classes, n_features=second_features, waveform=False, heart_rate=True, **shared
        )
        self.register_buffer("share", torch.tensor(float("nan")), persistent=False)

    def settle(self, features: Tensor) -> Self:
        """Fix the gate to what it is for the record with these features `(n, n_features)`."""
        with torch.no_grad():
            self.share = self._share(self._second(features))
        return self

    def _second(self, features: Tensor) -> Tensor:
        own = features[:, -self.second_features :]
        logits: Tensor = self.second(own, features=own)
        return logits

    def _share(self, second: Tensor) -> Tensor:
        return (second.argmax(1) == self.SUPRAVENTRICULAR).float().mean()

    def forward(self, x: Tensor, *, features: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        """Log-probabilities `(batch, classes)` of the beats of a record, `(batch, leads, samples)`, and their features
        `(batch, n_features)`; float32.

        Raises
        ------
        ValueError
            Without features.
        """
        if features is None:
            raise ValueError("no features; expected those of every beat")
        first = full_precision(self.ordinary(x, features=features[:, : -self.second_features]))
        second = full_precision(self._second(features))
        share = torch.where(self.share.isnan(), self._share(second), self.share)
        gain = self.GAIN * F.one_hot(torch.tensor(self.SUPRAVENTRICULAR, device=x.device), second.shape[1])
        opening = self.SLOPE * (share - self.THRESHOLD)
        closed = F.logsigmoid(-opening) + first.log_softmax(1)
        opened = F.logsigmoid(opening) + (second + gain).log_softmax(1)
        return torch.logaddexp(closed, opened)
