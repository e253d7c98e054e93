"""Baseline CNN: two convolutions and two fully connected layers."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ecglib.models.layers import Conv1d, MaxPool1d, channels_last

RECIPE = 1
"""1: as published."""


class BaselineCNN(nn.Module):
    """Two convolutions of 5 samples (32 and 64 channels), each max-pooled by 2, two fully connected layers.

    The smallest network of the zoo's convolutional ones, as in public course projects on the MIT-BIH beats; LeNet
    (LeCun et al. 1998) in one dimension. There is no one paper for it: widths and kernels are ours. Dropout is that of
    the hidden layer's units.
    """

    MIN_SAMPLES = 4
    """Two poolings must leave a sample."""

    def __init__(self, n_leads: int, n_samples: int, n_classes: int, *, dropout: float = 0.5) -> None:
        super().__init__()
        self.c1 = Conv1d(n_leads, 32, 5, padding=2)
        self.c2 = Conv1d(32, 64, 5, padding=2)
        self.pool = MaxPool1d(2, 2)
        self.fc1 = nn.Linear(64 * (n_samples // 4), 128)
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(128, n_classes)

    def forward(self, x: Tensor, *, features: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        x = F.relu(self.pool(channels_last(self.c1(channels_last(x)))))
        x = F.relu(self.pool(self.c2(x)))
        y: Tensor = self.fc2(self.dropout(F.relu(self.fc1(x.flatten(1)))))
        return y
