"""BiLSTM: a bidirectional LSTM network over the patches of a beat."""

from __future__ import annotations

from ecglib.models.layers import StepDropout
from ecglib.models.recurrent import LSTM, PatchRNN

RECIPE = 1
"""1: as published."""


class BiLSTM(PatchRNN):
    """BiLSTM, the two directions of Graves & Schmidhuber (2005), over time within the beat.

    Time is the beat's own, never the batch: non-overlapping patches of `patch` samples of all leads, the last one
    padded with zeros, 17 steps for 187 samples. Two bidirectional layers, dropout between them (of the same units at
    every step, Gal & Ghahramani 2016) and before the head, mean and maximum over the steps, a linear head.
    Weights are laid out as those of `nn.LSTM`.

    Parameters
    ----------
    n_leads, n_classes
        Channels in, logits out.
    n_samples
        Samples per beat, 1 or more.
    hidden
        Units of each direction of each layer.
    layers
        Bidirectional layers, one on the other.
    patch
        Samples per step.
    dropout
        Share dropped in training, between the layers and before the head, from 0 to below 1.

    References
    ----------
    A. Graves, J. Schmidhuber: Framewise Phoneme Classification with Bidirectional LSTM and Other Neural Network
    Architectures. Neural Networks 18(5-6), 2005. doi:10.1016/j.neunet.2005.06.042
    """

    MIN_SAMPLES = 1

    def __init__(
        self,
        n_leads: int,
        n_samples: int,
        n_classes: int,
        *,
        hidden: int = 128,
        layers: int = 2,
        patch: int = 11,
        dropout: float = 0.2,
    ) -> None:
        super().__init__(
            LSTM, n_leads, n_samples, n_classes, hidden=hidden, layers=layers, patch=patch, dropout=dropout
        )
        self.dropout = StepDropout(dropout)
