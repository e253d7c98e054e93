"""BiGRU: a bidirectional GRU network over the patches of a beat."""

from __future__ import annotations

from ecglib.models.recurrent import GRU, PatchRNN

RECIPE = 1
"""1: as published."""


class BiGRU(PatchRNN):
    """BiGRU, the gated unit of Cho et al. (2014) in two directions, over time within the beat.

    Weights are laid out as those of `nn.GRU`, whose reset gate acts after the recurrent product. All else, the options
    too, is as in `PatchRNN`.
    """

    LAYER = GRU
