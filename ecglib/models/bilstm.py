"""BiLSTM: a bidirectional LSTM network over the patches of a beat."""

from __future__ import annotations

from ecglib.models.recurrent import LSTM, PatchRNN

RECIPE = 1
"""1: as published."""


class BiLSTM(PatchRNN):
    """BiLSTM, the two directions of Graves & Schmidhuber (2005), over time within the beat.

    Weights are laid out as those of `nn.LSTM`. All else, the options too, is as in `PatchRNN`.
    """

    LAYER = LSTM
