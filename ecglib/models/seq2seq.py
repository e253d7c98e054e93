"""Sequence to sequence: consecutive beats of a record in, their classes out (Mousavi & Afghah 2019)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecglib.models.layers import Conv1d, MaxPool1d, channels_last, refuse_below_one
from ecglib.models.recurrent import LSTM

RECIPE = 1
"""1: as published."""


class Seq2Seq(nn.Module):
    """An encoder reads consecutive beats, a decoder with attention names their classes one after the other.

    As in Mousavi & Afghah (2019, figure 1): three convolutions make a vector of each beat, a bidirectional LSTM reads
    the vectors of a window, and an LSTM decoder with additive attention (Bahdanau et al. 2015) emits the classes, each
    step told the class before. Convolutions have 5 samples and are max-pooled by 2; the vector is the mean and the
    maximum over time; sizes are ours where the paper gives none. Each direction of the encoder has `hidden` units, and
    so has the decoder; dropout stands after the convolutions and before the logits.

    What the decoder is told: in training, of a beat whose label is known (`features`), that label in half of the cases
    and else what it answered itself (Bengio et al. 2015); of all other beats, and at prediction always, its own answer.

    A single beat `(batch, leads, samples)` is a window of one: nothing is consecutive then.
    """

    MIN_SAMPLES = 8
    """Three poolings must leave a sample."""
    TOLD = 0.5

    def __init__(
        self, n_leads: int, n_samples: int, n_classes: int, *, hidden: int = 128, dropout: float = 0.2
    ) -> None:
        super().__init__()
        refuse_below_one(hidden=hidden)
        self.n_classes, self.hidden = n_classes, hidden
        widths = (n_leads, 32, 64, 128)
        self.convolutions = nn.ModuleList(Conv1d(*pair, 5, padding=2) for pair in pairwise(widths))
        self.pool = MaxPool1d(2, 2)
        self.dropout = nn.Dropout(dropout)
        self.encoder = LSTM(256, hidden)
        self.keys = nn.Linear(2 * hidden, hidden)
        self.query = nn.Linear(hidden, hidden, bias=False)
        self.energy = nn.Linear(hidden, 1, bias=False)
        self.classes = nn.Embedding(n_classes + 1, 16)  # the last one stands before the first beat
        self.decoder = nn.LSTMCell(4 * hidden + 16, hidden)
        self.head = nn.Linear(3 * hidden, n_classes)

    def forward(self, x: Tensor, *, features: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        """Logits `(batch, beats, classes)` of windows of consecutive beats, or `(batch, classes)` of single beats.

        Windows are float32 `(batch, beats, leads, samples)`, single beats `(batch, leads, samples)`. `features`
        `(batch, beats)` are known labels, below 0 where there is none; they are looked at in training only.
        """
        if x.dim() == 3:
            single: Tensor = self.forward(x.unsqueeze(1))[:, 0]
            return single
        batch, beats = x.shape[:2]
        y = channels_last(x.flatten(0, 1))
        for convolution in self.convolutions:
            y = F.relu(self.pool(channels_last(convolution(y))))
        y = self.dropout(torch.cat([y.mean(2), y.amax(2)], 1)).unflatten(0, (batch, beats))
        encoded = self.encoder(y.transpose(0, 1)).transpose(0, 1)
        return self._decode(encoded, features if self.training else None)

    def _decode(self, encoded: Tensor, known: Tensor | None) -> Tensor:
        """Logits `(batch, beats, classes)` from the encoder's states `(batch, beats, 2 · hidden)`."""
        batch, beats = encoded.shape[:2]
        keys = self.keys(encoded)
        before = torch.full((batch,), self.n_classes, device=encoded.device)
        hidden = cell = encoded.new_zeros(batch, self.hidden)
        logits = []
        for i in range(beats):
            energy = self.energy(torch.tanh(keys + self.query(hidden).unsqueeze(1)))
            context = (encoded * energy.softmax(1)).sum(1)
            step = torch.cat([self.classes(before), encoded[:, i], context], 1)
            hidden, cell = self.decoder(step, (hidden, cell))
            logits.append(self.head(self.dropout(torch.cat([hidden, encoded[:, i]], 1))))
            before = logits[-1].detach().argmax(1)
            if known is not None:
                told = (known[:, i] >= 0) & (torch.rand(batch, device=known.device) < self.TOLD)
                before = torch.where(told, known[:, i].long(), before)
        return torch.stack(logits, 1)
