"""Dual-path CNN: short and long kernels side by side, each path pooled by attention over time."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecglib.models.layers import BatchNorm1d, Conv1d, MaxPool1d, channels_last

RECIPE = 1
"""1: as published."""


class ResidualBlock(nn.Module):
    """Two convolutions with batch normalisation and a skip connection; halves the length.

    The first convolution halves the length at the old width, the second widens: half the work of widening first. The
    skip takes every other sample and pads the new channels with zeros (He et al. 2016, option A).
    """

    def __init__(self, before: int, after: int, kernel: int) -> None:
        super().__init__()
        self.c1 = Conv1d(before, before, kernel, stride=2, padding=kernel // 2, bias=False)
        self.n1 = BatchNorm1d(before)
        self.c2 = Conv1d(before, after, kernel, padding=kernel // 2, bias=False)
        self.n2 = BatchNorm1d(after)

    def forward(self, x: Tensor) -> Tensor:
        y = self.n2(self.c2(F.relu(self.n1(self.c1(x)))))
        skip = F.pad(x[:, :, ::2], (0, 0, 0, y.shape[1] - x.shape[1]))  # widens the channels
        return F.relu(y + channels_last(skip))


class AttentionPooling(nn.Module):
    """Mean over time with learned weights, softmax(v·tanh(W h)): `(batch, channels, samples)` → `(batch, channels)`."""

    def __init__(self, width: int, hidden: int = 64) -> None:
        super().__init__()
        # a bias on the score would fall out of the softmax
        self.score = nn.Sequential(nn.Linear(width, hidden), nn.Tanh(), nn.Linear(hidden, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)
        y: Tensor = (x * self.score(x).softmax(1)).sum(1)
        return y


class DualPath(nn.Module):
    """A local path of 3-sample and a global path of 7-sample kernels after a shared stem, then fusion.

    The idea of two kernel sizes is that of public course projects on the MIT-BIH beats (and of Inception's parallel
    kernels, Szegedy et al. 2015). Each path has three residual blocks (He et al. 2016), 32 → 64 → 128 → 256 channels,
    and is pooled by its own additive attention over time (Bahdanau et al. 2015); the two sums are fused by two fully
    connected layers, with dropout between them. The stem quarters the length.
    """

    MIN_SAMPLES = 3
    """The stem's pooling must leave a sample."""
    KERNELS = (3, 7)
    WIDTHS = (32, 64, 128, 256)

    def __init__(self, n_leads: int, n_samples: int, n_classes: int, *, dropout: float = 0.3) -> None:
        super().__init__()
        first, last = self.WIDTHS[0], self.WIDTHS[-1]
        self.stem = nn.Sequential(
            Conv1d(n_leads, first, 7, stride=2, padding=3, bias=False), BatchNorm1d(first), MaxPool1d(2, 2), nn.ReLU()
        )
        self.paths = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(*pair, kernel) for pair in pairwise(self.WIDTHS)), AttentionPooling(last))
            for kernel in self.KERNELS
        )
        self.fusion = nn.Sequential(
            nn.Linear(last * len(self.KERNELS), 128), nn.ReLU(), nn.Dropout(dropout), nn.Linear(128, n_classes)
        )

    def forward(self, x: Tensor, *, features: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        x = self.stem(channels_last(x))
        y: Tensor = self.fusion(torch.cat([path(x) for path in self.paths], 1))
        return y
