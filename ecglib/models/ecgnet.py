"""ecgnet: a beat beside its own record, as this project reads it."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecglib.models.layers import BatchNorm1d, Conv1d, channels_last, refuse_below_one

RECIPE = 2
"""1: as published. 2: what is usual in a record is that of its beats that are not premature; more features."""
DROPPED = 0.1
"""Share of the features, and of what a block puts out, that is dropped in training."""


class ResidualBlock(nn.Module):
    """Convolutions of 7 and 5 samples with batch normalisation and a skip connection; halves the length."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.c1 = Conv1d(before, after, 7, stride=2, padding=3, bias=False)
        self.n1 = BatchNorm1d(after)
        self.c2 = Conv1d(after, after, 5, padding=2, bias=False)
        self.n2 = BatchNorm1d(after)
        self.skip = Conv1d(before, after, 1, stride=2, bias=False)
        self.dropout = nn.Dropout(DROPPED)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.dropout(F.relu(self.n2(self.c2(F.relu(self.n1(self.c1(x))))) + self.skip(x)))
        return y


class ECGNet(nn.Module):
    """Waveform and rhythm of a beat, each in a branch of its own, and both beside what is usual in the record.

    Reads the `relative` cut: the beat's leads, the same leads without the record's template, and features of rhythm
    and shape (as de Chazal et al. 2004). The waveform goes through residual blocks (He et al. 2016, figure 2) that
    halve its length, the features through a fully connected layer; a head of two layers reads both. Without the
    waveform it is a small multilayer perceptron, which on patients never met is the better network: waveforms tell
    patients apart.

    In training a beat's waveform is scaled by a gain drawn around 1 (standard deviation 5 %) and gets noise of 0.01 mV,
    as other electrodes and amplifiers would have it; a block drops a tenth of its output.

    `waveform` says whether the waveform is read at all. The first block has `width` channels, the further ones 1.5, 2
    and 2 times as many; every fully connected layer has `hidden` units. Dropout stands before the head and within it.
    In training the standardised features get noise of standard deviation `feature_noise`, and a tenth is dropped.
    """

    MIN_SAMPLES = 1
    CLIP = 4.0
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        n_leads: int,
        n_samples: int,
        n_classes: int,
        *,
        n_features: int,
        waveform: bool = True,
        width: int = 32,
        hidden: int = 64,
        dropout: float = 0.2,
        feature_noise: float = 0.0,
    ) -> None:
        super().__init__()
        refuse_below_one(n_features=n_features, width=width, hidden=hidden)
        self.feature_noise = feature_noise
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("std", torch.ones(n_features))
        self.stages: nn.Sequential | None = None
        if waveform:
            widths = (n_leads, width, width * 3 // 2, width * 2, width * 2)
            self.stages = nn.Sequential(*(ResidualBlock(before, after) for before, after in pairwise(widths)))
            self.squeeze = Conv1d(widths[-1], 16, 1)
            length = math.ceil(n_samples / 2 ** len(self.stages))
            self.beat = nn.Sequential(nn.Linear(16 * length + widths[-1], hidden), nn.ReLU(), nn.Dropout(dropout))
        self.rhythm = nn.Sequential(nn.Dropout(DROPPED), nn.Linear(n_features, hidden), nn.ReLU(), nn.Dropout(dropout))
        n = 2 * hidden if waveform else hidden
        self.head = nn.Sequential(nn.Linear(n, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, n_classes))

    def standardise(self, features: Tensor) -> None:
        """Take mean and standard deviation of the features `(n, n_features)` of the training beats."""
        self.mean = features.mean(0)
        self.std = features.std(0) + 1e-3

    def forward(self, x: Tensor, *, features: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        """Logits `(batch, classes)` of beats `(batch, leads, samples)` and features `(batch, n_features)`, float32.

        Raises ValueError without features.
        """
        if features is None:
            raise ValueError(f"no features; expected {len(self.mean)} of every beat")
        z = ((features - self.mean) / self.std).clamp(-self.CLIP, self.CLIP)
        if self.training and self.feature_noise:
            z = z + self.feature_noise * torch.randn_like(z)
        parts = [self.rhythm(z)]
        if self.stages is not None:
            if self.training:  # as other electrodes and amplifiers would have it
                x = x * (1 + 0.05 * torch.randn(len(x), 1, 1, device=x.device)) + 0.01 * torch.randn_like(x)
            y = self.stages(channels_last(x))
            parts.append(self.beat(torch.cat([F.relu(self.squeeze(y)).flatten(1), y.amax(2)], 1)))
        logits: Tensor = self.head(torch.cat(parts, 1))
        return logits
