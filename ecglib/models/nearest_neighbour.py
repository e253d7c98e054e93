"""1-nearest-neighbour: a yardstick of what a split measures."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ecglib.models.classical import Classical, Score

RECIPE = 1
"""1: as published."""


class NearestNeighbour(Classical):
    """The class of the training beat at the smallest Euclidean distance (Cover & Hart 1967).

    It learns nothing that could carry over to another patient: how well it does tells how much a split lets one look
    up. The training beats are its state; logits are 0 for the class found and -1 for the others.
    """

    MIN_SAMPLES = 1
    FITTED = ("beats", "labels")
    beats: Tensor
    labels: Tensor

    def __init__(self, n_leads: int, n_samples: int, n_classes: int) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.register_buffer("beats", torch.zeros(0, n_leads * n_samples))
        self.register_buffer("labels", torch.zeros(0, dtype=torch.int64))

    def fit(self, x: Tensor, y: Tensor, x_val: Tensor, score: Score, *, features: Tensor | None = None) -> None:
        """Keep beats `(n, leads, samples)` and labels `(n,)`; there is nothing to choose."""
        self.beats, self.labels = x.flatten(1).clone(), y.clone()

    def forward(self, x: Tensor, *, features: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        """Logits `(batch, classes)` of beats `(batch, leads, samples)`.

        Raises ValueError before `fit`.
        """
        if not len(self.beats):
            raise ValueError("nothing fitted yet")
        with torch.autocast(x.device.type, enabled=False):  # of near neighbours, a lower precision finds another
            # the mode by name: left to itself, it takes a slow one for few beats, and can't be exported for any number
            nearest = torch.cdist(x.flatten(1), self.beats, compute_mode="use_mm_for_euclid_dist").argmin(1)
        return F.one_hot(self.labels[nearest], self.n_classes).to(x.dtype) - 1
