"""CRNN: convolutions, a recurrent network and attention over recordings of any length (after Zihlmann et al. 2017)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecglib.models import layers
from ecglib.models.layers import Conv1d, Mask, channels_last, full_precision

RECIPE = 1
"""1: as published."""


class ResidualBlock(nn.Module):
    """Two convolutions of 5 samples with batch normalisation, squeeze-and-excitation, and a skip connection."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.c1 = Conv1d(before, after, 5, stride=stride, padding=2, bias=False)
        self.n1 = layers.BatchNorm1d(after)
        self.c2 = Conv1d(after, after, 5, padding=2, bias=False)
        self.n2 = layers.BatchNorm1d(after)
        self.excitation = layers.SqueezeExcitation(after)
        self.skip: nn.Module = nn.Identity()
        if stride > 1 or before != after:
            self.skip = Conv1d(before, after, 1, stride=stride, bias=False)

    def forward(self, x: Tensor, mask: Mask) -> tuple[Tensor, Mask]:
        mask = layers.strided_mask(mask, self.stride)
        y = self.n2(self.c2(F.relu(self.n1(self.c1(x), mask))), mask)
        return F.relu(self.excitation(y, mask) + self.skip(x)), mask


class Attention(nn.Module):
    """Weights over time, softmax(w · tanh(W h)) of states `(batch, steps, width)` (Lin et al. 2017, equation 5)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        # a bias on the score would fall out of the softmax
        self.score = nn.Sequential(nn.Linear(width, hidden, bias=False), nn.Tanh(), nn.Linear(hidden, 1, bias=False))

    def forward(self, states: Tensor, mask: Mask) -> Tensor:
        scores = full_precision(self.score(states).squeeze(2))
        return (scores if mask is None else scores.masked_fill(mask[:, 0] == 0, -torch.inf)).softmax(1)


class CRNN(nn.Module):
    """Convolutional recurrent network of whole recordings after Zihlmann et al. (2017), with attention over time.

    As there, convolutions extract features of a recording of any length and LSTM layers gather them over time. Ours are
    a stem (convolution of 15 samples with stride 3, batch normalisation, ReLU, max-pooling by 2) and three residual
    stages with squeeze-and-excitation (Hu et al. 2018), of which the second and third halve the length: a step is left
    for every 24 samples. Two bidirectional LSTM layers read the steps, self-attention with one head (Lin et al. 2017)
    weighs their states into one vector, and a linear layer tells each label's logit. `hidden` are the units of each
    direction of an LSTM layer, `dropout` is of that vector.
    """

    STRIDE = 24
    """Samples to a step of the LSTM: the strides of stem, max-pooling and stages, 3 · 2 · 1 · 2 · 2."""
    MIN_SAMPLES = STRIDE + 1
    """Two steps: attention would have nothing to weigh in one."""
    WIDTHS, STRIDES = (64, 64, 96, 128), (1, 2, 2)
    """Channels of the stem and of each stage, and the stages' strides."""
    SCORING = 64
    """Units of the layer that scores a step."""
    DROPPED = 0.2
    """Share of the units between the LSTM layers that is dropped in training, the same ones at every step."""

    def __init__(
        self, n_leads: int, n_samples: int, n_classes: int, *, hidden: int = 128, dropout: float = 0.5
    ) -> None:
        super().__init__()
        layers.refuse_below_one(hidden=hidden)
        self.stem = Conv1d(n_leads, self.WIDTHS[0], 15, stride=3, padding=7, bias=False)
        self.stem_norm = layers.BatchNorm1d(self.WIDTHS[0])
        self.pool = layers.MaxPool1d(3, 2, padding=1)
        stages = zip(pairwise(self.WIDTHS), self.STRIDES, strict=True)
        self.blocks = nn.ModuleList(ResidualBlock(*widths, stride) for widths, stride in stages)
        self.lstm1 = layers.LSTM(self.WIDTHS[-1], hidden)
        self.lstm2 = layers.LSTM(2 * hidden, hidden)
        self.between = layers.StepDropout(self.DROPPED)
        self.weigh = Attention(2 * hidden, self.SCORING)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * hidden, n_classes)

    def forward(self, x: Tensor, *, features: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        """Logits `(batch, classes)` of recordings padded at their end, those of the bare ones; none of them may
        be shorter than `MIN_SAMPLES` (see `layers.masked`)."""
        states, weights = self._read(x, lengths)
        logits: Tensor = self.head(self.dropout((states * weights.unsqueeze(2)).sum(1)))
        return logits

    def attention(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """How much every sample counts, `(batch, samples)`: at least 0, 1 in total, and 0 past a recording's end.

        A step of the LSTM stands for the sample at its middle. Its weight is spread over the 23 samples to either side,
        less the further away, so far as there are samples.

        Parameters and errors are those of `forward`.
        """
        _, weights = self._read(x, lengths)
        length = weights.new_full((len(x),), x.shape[2]) if lengths is None else lengths.to(x.device)
        return spread(weights, length, x.shape[2], self.STRIDE)

    def _read(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """States `(batch, steps, 2 · hidden)` of the last LSTM layer, and the attention `(batch, steps)` on them."""
        x, mask = layers.masked(x, lengths, self.MIN_SAMPLES)
        mask = layers.strided_mask(mask, 3)
        x = F.relu(self.stem_norm(self.stem(x), mask))
        mask = layers.strided_mask(mask, 2)
        x = channels_last(self.pool(x, mask))
        for block in self.blocks:
            x, mask = block(x, mask)
        y = self.lstm2(self.between(self.lstm1(x.permute(2, 0, 1).contiguous(), mask)), mask)
        states: Tensor = y.transpose(0, 1)
        return states, self.weigh(states, mask)


def spread(weights: Tensor, lengths: Tensor, samples: int, stride: int) -> Tensor:
    """Weights of steps as weights of samples, with the same total.

    The weight of step i goes to the samples less than `stride` away from sample `stride · i`, in proportion to
    `stride` less the distance.
    Weights are `(batch, steps)`, 0 past a recording's end, lengths `(batch,)` of at least 1; the result is
    `(batch, samples)`, 0 past the end.
    """
    distance = torch.arange(1 - stride, stride, device=weights.device).abs().to(weights.dtype)
    near = (1 - distance / stride)[None, None]
    inside = (torch.arange(samples, device=weights.device) < lengths.unsqueeze(1)).to(weights.dtype)
    total = F.conv1d(inside.unsqueeze(1), near, stride=stride, padding=stride - 1)
    share = weights.unsqueeze(1) / total.clamp(min=1)  # less only past the end, where no weight is
    y = F.conv_transpose1d(share, near, stride=stride, padding=stride - 1, output_padding=stride - 1)
    return y[:, 0, :samples] * inside
