"""BiGRU: a bidirectional GRU network over the patches of a beat."""

from __future__ import annotations

from ecglib.models.layers import StepDropout
from ecglib.models.recurrent import GRU, PatchRNN

RECIPE = 1
"""1: as published."""


class BiGRU(PatchRNN):
    """BiGRU, the gated unit of Cho et al. (2014) in two directions, over time within the beat.

    Time is the beat's own, never the batch: non-overlapping patches of `patch` samples of all leads, the last one
    padded with zeros, 17 steps for 187 samples. Two bidirectional layers, dropout between them (of the same units at
    every step, Gal & Ghahramani 2016) and before the head, mean and maximum over the steps, a linear head.
    Weights are laid out as those of `nn.GRU`, whose reset gate acts after the recurrent product.

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
    K. Cho, B. van Merriënboer, C. Gulcehre, D. Bahdanau, F. Bougares, H. Schwenk, Y. Bengio: Learning Phrase
    Representations using RNN Encoder-Decoder for Statistical Machine Translation. EMNLP 2014. doi:10.3115/v1/D14-1179
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
        super().__init__(GRU, n_leads, n_samples, n_classes, hidden=hidden, layers=layers, patch=patch, dropout=dropout)
        self.dropout = StepDropout(dropout)
