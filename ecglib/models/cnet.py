"""CNet from Kachuee et al. (2018)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ecglib.models.layers import Conv1d, MaxPool1d, channels_last, refuse_below_one

RECIPE = 1
"""1: as published."""


class ResidualBlock(nn.Module):
    """Two convolutions of `kernel` samples, a skip connection, max-pooling of 5 samples with stride 2."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.c1 = Conv1d(width, width, kernel, padding=kernel // 2)
        self.c2 = Conv1d(width, width, kernel, padding=kernel // 2)
        self.pool = MaxPool1d(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.pool(F.relu(x + self.c2(F.relu(self.c1(x)))))
        return y


class CNet(nn.Module):
    """CNet from Kachuee et al. (2018, figure 2): a convolution, five residual blocks, two fully connected layers.

    With one lead, 187 samples, five classes and the published `width` of every convolution, 32 channels, it has the
    published 53 957 parameters. The names of its layers (`c1`, `cresids.N.c1`, `cresids.N.c2`, `fc1`, `fc2`) are those
    of the public PyTorch code. `kernel` is the odd number of samples of its convolutions, `blocks` the number of its
    residual blocks, `hidden` the units of its first fully connected layer, before the second of which stands `dropout`.
    """

    MIN_SAMPLES = 129
    """Five poolings must leave a sample."""

    def __init__(
        self,
        n_leads: int,
        n_samples: int,
        n_classes: int,
        *,
        width: int = 32,
        kernel: int = 5,
        blocks: int = 5,
        hidden: int = 32,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        refuse_below_one(width=width, kernel=kernel, blocks=blocks, hidden=hidden)
        if kernel % 2 == 0:
            raise ValueError(f"kernel = {kernel}; expected an odd number")
        self.c1 = Conv1d(n_leads, width, kernel)
        self.cresids = nn.ModuleList(ResidualBlock(width, kernel) for _ in range(blocks))
        length = n_samples - kernel + 1
        for _ in range(blocks):
            length = (length - 5) // 2 + 1
        if length < 1:
            raise ValueError(f"blocks = {blocks}; {n_samples} samples are too few for so many with kernel = {kernel}")
        self.fc1 = nn.Linear(width * length, hidden)
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(hidden, n_classes)

    def forward(self, x: Tensor, *, features: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        x = channels_last(self.c1(channels_last(x)))
        for block in self.cresids:
            x = block(x)
        y: Tensor = self.fc2(self.dropout(F.relu(self.fc1(x.flatten(1)))))
        return y
