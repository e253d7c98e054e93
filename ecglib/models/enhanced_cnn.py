"""Enhanced CNN: two blocks of convolutions with batch normalisation, from 32 to 256 channels."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from ecglib.models.layers import BatchNorm1d, Conv1d, MaxPool1d, channels_last

RECIPE = 1
"""1: as published."""


class Block(nn.Sequential):
    """Two times: a convolution of `kernel` samples, batch normalisation, max-pooling by `pool`, ReLU."""

    def __init__(self, channels: tuple[int, int, int], kernel: int, pool: int) -> None:
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            conv = Conv1d(before, after, kernel, padding=kernel // 2, bias=False)
            layers += [conv, BatchNorm1d(after), MaxPool1d(pool, pool), nn.ReLU()]
        super().__init__(*layers)


class EnhancedCNN(nn.Module):
    """Two blocks, kernels of 5 and 7 samples, 32 → 256 channels, batch normalisation, adaptive pooling, dropout.

    As in public course projects on the MIT-BIH beats, which give no more than that line. Our reading: each block holds
    two convolutions, 32 and 64 channels with kernel 5, then 128 and 256 with kernel 7, each normalised
    (Ioffe & Szegedy 2015) and max-pooled, by 3 in the first block and by 2 in the second (by 2 throughout takes about
    twice the time). Adaptive pooling is the mean and the maximum over time, so that any length gives the same head.
    Dropout stands before each fully connected layer.
    """

    MIN_SAMPLES = 36
    """Four poolings must leave a sample."""

    def __init__(self, n_leads: int, n_samples: int, n_classes: int, *, dropout: float = 0.45) -> None:
        super().__init__()
        self.blocks = nn.Sequential(Block((n_leads, 32, 64), 5, pool=3), Block((64, 128, 256), 7, pool=2))
        self.head = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(512, 128), nn.ReLU(), nn.Dropout(dropout), nn.Linear(128, n_classes)
        )

    def forward(self, x: Tensor, *, features: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        x = self.blocks(channels_last(x))
        y: Tensor = self.head(torch.cat([x.mean(2), x.amax(2)], 1))
        return y
