"""XResNet in one dimension (He et al. 2019), as Strodthoff et al. (2021) read twelve leads with it."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecglib.models import layers
from ecglib.models.layers import Conv1d, Mask, channels_last

RECIPE = 1
"""1: as published."""
LAYERS = {18: (1, (2, 2, 2, 2)), 34: (1, (3, 4, 6, 3)), 50: (4, (3, 4, 6, 3)), 101: (4, (3, 4, 23, 3))}
"""Depth → expansion and residual blocks of each stage (He et al. 2016, table 1)."""


class Layer(nn.Module):
    """A convolution of odd length, batch normalisation and, if wished, ReLU."""

    def __init__(self, before: int, after: int, kernel: int, *, stride: int = 1, relu: bool = True) -> None:
        super().__init__()
        self.stride, self.relu = stride, relu
        self.conv = Conv1d(before, after, kernel, stride=stride, padding=kernel // 2, bias=False)
        self.norm = layers.BatchNorm1d(after)
        nn.init.kaiming_normal_(self.conv.weight)

    def forward(self, x: Tensor, mask: Mask) -> tuple[Tensor, Mask]:
        mask = layers.strided_mask(mask, self.stride)
        y: Tensor = self.norm(self.conv(x), mask)
        return F.relu(y) if self.relu else y, mask


class ResidualBlock(nn.Module):
    """Two convolutions, or three with a bottleneck, and a skip connection, in the form of He et al. (2019).

    The stride is that of the convolution of `kernel` samples (their ResNet-B), the skip connection halves the length by
    a mean of two instead of taking every other step (ResNet-D), and the last scale begins at zero (section 3.1), so
    that at first a block hands on what it was given.
    """

    def __init__(self, before: int, width: int, kernel: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        after = width * expansion
        if expansion == 1:
            stack = [Layer(before, width, kernel, stride=stride)]
        else:
            stack = [Layer(before, width, 1), Layer(width, width, kernel, stride=stride)]
        stack.append(Layer(width, after, kernel if expansion == 1 else 1, relu=False))
        nn.init.zeros_(stack[-1].norm.weight)
        self.layers = nn.ModuleList(stack)
        self.pool = layers.AvgPool1d() if stride > 1 else None
        self.widen = Layer(before, after, 1, relu=False) if before != after else None

    def forward(self, x: Tensor, mask: Mask) -> tuple[Tensor, Mask]:
        y, after = x, mask
        for layer in self.layers:
            y, after = layer(y, after)
        if self.pool is not None:
            x = channels_last(self.pool(x, mask))
        if self.widen is not None:
            x, _ = self.widen(x, after)
        return F.relu(x + y), after


class XResNet1d(nn.Module):
    """XResNet from He et al. (2019, figure 2) in one dimension, as in PTB-XL's benchmark by Strodthoff et al. (2021).

    A stem of three convolutions (32, 32 and `width` channels, the first with stride 2; ResNet-C), max-pooling by 2,
    four stages of residual blocks, of which all but the first halve the length, mean and maximum over time, dropout, a
    linear layer. All convolutions over time have 5 samples and all stages the same width, as in the benchmark's code.
    Its `xresnet1d101` is 101 layers deep; for a few hundred recordings the default is 18. Its head begins with a batch
    normalisation, which ours leaves out: a batch of one recording can be trained on.

    `depth` is 18, 34, 50 or 101 layers; with 50 and 101, blocks have a bottleneck and stages four times the channels.
    `width` are the channels of the convolutions over time; dropout stands before the last layer.
    """

    STRIDE = 32
    """Samples to a step of the last stage: the strides of stem, max-pooling and stages, 2 · 2 · 1 · 2 · 2 · 2."""
    MIN_SAMPLES = STRIDE + 1
    """Two steps: over one, mean and maximum would be the same."""
    KERNEL = 5

    def __init__(
        self, n_leads: int, n_samples: int, n_classes: int, *, depth: int = 18, width: int = 64, dropout: float = 0.5
    ) -> None:
        super().__init__()
        if depth not in LAYERS:
            raise ValueError(f"depth = {depth}; expected one of {', '.join(map(str, LAYERS))}")
        layers.refuse_below_one(width=width)
        expansion, stages = LAYERS[depth]
        self.stem = nn.ModuleList(
            Layer(before, after, self.KERNEL, stride=2 if i == 0 else 1)
            for i, (before, after) in enumerate(pairwise((n_leads, 32, 32, width)))
        )
        self.pool = layers.MaxPool1d(3, 2, padding=1)
        self.blocks = nn.ModuleList()
        before = width
        for stage, blocks in enumerate(stages):
            for i in range(blocks):
                stride = 2 if stage > 0 and i == 0 else 1
                self.blocks.append(ResidualBlock(before, width, self.KERNEL, stride=stride, expansion=expansion))
                before = width * expansion
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * before, n_classes)

    def forward(self, x: Tensor, *, features: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        """Logits `(batch, classes)` of recordings padded at their end, those of the bare ones; none of them may
        be shorter than `MIN_SAMPLES` (see `layers.masked`)."""
        x, mask = layers.masked(x, lengths, self.MIN_SAMPLES)
        for layer in self.stem:
            x, mask = layer(x, mask)
        mask = layers.strided_mask(mask, 2)
        x = channels_last(self.pool(x, mask))
        for block in self.blocks:
            x, mask = block(x, mask)
        # after ReLU nothing is below the zeros past the end
        y: Tensor = self.head(self.dropout(torch.cat([layers.masked_mean(x, mask), x.amax(2)], 1)))
        return y
