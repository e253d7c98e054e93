"""Strided CNN: four convolutions that read all leads of a beat together, and where in the beat something stands."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from torch import Tensor, nn

from ecglib.models.layers import BatchNorm1d, Conv1d, channels_last, refuse_below_one

RECIPE = 1
"""1: as published."""
KERNELS: Final = (9, 7, 5, 3)
"""Samples that each convolution reads; each halves the rate."""


class StridedCNN(nn.Module):
    """Four convolutions of stride 2 with batch normalisation and ReLU, then one fully connected layer.

    Made for beats that are aligned at their R peaks: what the convolutions put out is read where it stands, and nothing
    is pooled, as a wave means something else a tenth of a second later. Strides halve the rate in place of pooling
    (Springenberg et al. 2015, section 2). Every convolution has as many `channels`; dropout stands before the fully
    connected layer.
    """

    MIN_SAMPLES = 16
    """Of fewer, the last convolutions would read little but padding."""

    def __init__(
        self, n_leads: int, n_samples: int, n_classes: int, *, channels: int = 48, dropout: float = 0.5
    ) -> None:
        super().__init__()
        refuse_below_one(channels=channels)
        layers: list[nn.Module] = []
        for kernel, (before, after) in zip(KERNELS, pairwise([n_leads, *[channels] * len(KERNELS)]), strict=True):
            conv = Conv1d(before, after, kernel, stride=2, padding=kernel // 2, bias=False)
            layers += [conv, BatchNorm1d(after), nn.ReLU()]
            n_samples = (n_samples + 1) // 2
        self.blocks = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(channels * n_samples, n_classes))

    def forward(self, x: Tensor, *, features: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        y: Tensor = self.head(self.blocks(channels_last(x)))
        return y
