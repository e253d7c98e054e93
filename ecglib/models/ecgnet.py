"""ecgnet: a beat beside its own record, as this project reads it."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecglib.models.layers import BatchNorm1d, Conv1d, channels_last

RECIPE = 1
"""1: as published."""


class ResidualBlock(nn.Module):
    """Convolutions of 7 and 5 samples with batch normalisation and a skip connection; halves the length."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.c1 = Conv1d(before, after, 7, stride=2, padding=3, bias=False)
        self.n1 = BatchNorm1d(after)
        self.c2 = Conv1d(after, after, 5, padding=2, bias=False)
        self.n2 = BatchNorm1d(after)
        self.skip = Conv1d(before, after, 1, stride=2, bias=False)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.dropout(F.relu(self.n2(self.c2(F.relu(self.n1(self.c1(x))))) + self.skip(x)))
        return y


class ECGNet(nn.Module):
    """Waveform and rhythm of a beat, each in a branch of its own, and both beside what is usual in the record.

    Reads the `relative` cut: the beat's leads, the same leads without the record's median beat, and features of rhythm
    and shape. The waveform goes through residual blocks (He et al. 2016) that halve its length, the features through a
    fully connected layer; a head of two layers reads both. Without the waveform it is a small multilayer perceptron,
    which on patients never met is the better network: waveforms tell patients apart.

    In training a beat's waveform is scaled by a gain drawn around 1 (standard deviation 5 %) and gets noise of 0.01 mV,
    as other electrodes and amplifiers would have it; a block drops a tenth of its output.

    Parameters
    ----------
    n_leads, n_classes
        Channels in (two a lead in the `relative` cut), logits out.
    n_samples
        Samples per beat, 1 or more.
    n_features
        Features of a beat.
    waveform
        Whether the waveform is read at all.
    heart_rate
        Whether the first three features, the intervals themselves, are read. They tell patients apart.
    width
        Channels of the first block; the further ones have 1.5, 2 and 2 times as many.
    hidden
        Units of every fully connected layer.
    dropout
        Share dropped in training before the head and within it, from 0 to below 1.
    feature_dropout, feature_noise
        Share of the features dropped in training, and standard deviation of noise on the standardised ones.

    References
    ----------
    K. He, X. Zhang, S. Ren, J. Sun: Deep Residual Learning for Image Recognition. CVPR 2016, figure 2 (the blocks).
    P. de Chazal, M. O'Dwyer, R. B. Reilly: Automatic Classification of Heartbeats Using ECG Morphology and Heartbeat
    Interval Features. IEEE TBME 51(7), 2004 (rhythm beside shape).
    """

    MIN_SAMPLES = 1
    HEART_RATE = 3
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
        heart_rate: bool = True,
        width: int = 32,
        hidden: int = 64,
        dropout: float = 0.2,
        feature_dropout: float = 0.1,
        feature_noise: float = 0.0,
    ) -> None:
        super().__init__()
        for name, value in (("width", width), ("hidden", hidden)):
            if value < 1:
                raise ValueError(f"{name} = {value}; expected 1 or more")
        self.skipped = 0 if heart_rate else self.HEART_RATE
        if n_features <= self.skipped:
            raise ValueError(f"n_features = {n_features}; expected more than {self.skipped}")
        self.feature_noise = feature_noise
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("std", torch.ones(n_features))
        self.stages: nn.Sequential | None = None
        if waveform:
            widths = (n_leads, width, width * 3 // 2, width * 2, width * 2)
            self.stages = nn.Sequential(*(ResidualBlock(before, after) for before, after in pairwise(widths)))
            self.squeeze = Conv1d(widths[-1], 16, 1)
            length = n_samples
            for _ in range(len(widths) - 1):
                length = (length + 1) // 2
            self.beat = nn.Sequential(nn.Linear(16 * length + widths[-1], hidden), nn.ReLU(), nn.Dropout(dropout))
        self.rhythm = nn.Sequential(
            nn.Dropout(feature_dropout), nn.Linear(n_features - self.skipped, hidden), nn.ReLU(), nn.Dropout(dropout)
        )
        self.head = nn.Sequential(
            nn.Linear(2 * hidden if waveform else hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, n_classes),
        )

    def standardise(self, features: Tensor) -> None:
        """Take mean and standard deviation of the features `(n, n_features)` of the training beats."""
        self.mean = features.mean(0)
        self.std = features.std(0) + 1e-3

    def forward(self, x: Tensor, *, features: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        """Logits `(batch, classes)` of beats `(batch, leads, samples)` and features `(batch, n_features)`, float32.

        Raises
        ------
        ValueError
            Without features.
        """
        if features is None:
            raise ValueError(f"no features; expected {len(self.mean)} of every beat")
        z = ((features - self.mean) / self.std).clamp(-self.CLIP, self.CLIP)[:, self.skipped :]
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
