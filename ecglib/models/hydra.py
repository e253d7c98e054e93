"""Hydra: competing random convolutions with a ridge head (Dempster et al. 2023)."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.linalg import cho_factor, cho_solve
from torch import Tensor, nn
from torch.nn import functional as F

from ecglib.models.classical import Classical, Score

RECIPE = 1
"""1: as published."""


class Hydra(Classical):
    """Random convolutions that compete in groups, counted, and a ridge classifier on the counts.

    As in section 3 of the paper: of every group of 8 random kernels of 9 samples over all leads, the one that answers
    strongest at a sample (and the one that answers weakest) scores there; scores are added up over the beat, at
    dilations 1, 2, 4 … that fit into it, of the signal and of its differences. Kernels are drawn from torch's generator
    and stay as they are; the ridge's strength is the best of `STRENGTHS` on validation. Half of the `groups`, an even
    number, are for the differences.
    """

    MIN_SAMPLES = 10
    KERNELS, LENGTH = 8, 9
    CHUNK = 16  # what a processor's cache holds
    STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0)
    """Of the ridge, as shares of a standardised count's variance."""
    kernels: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, n_leads: int, n_samples: int, n_classes: int, *, groups: int = 32) -> None:
        super().__init__()
        if groups < 2 or groups % 2:
            raise ValueError(f"groups = {groups}; expected an even number")
        steps = int(math.log2(max((n_samples - 1) / (self.LENGTH - 1), 1))) + 1
        self.dilations = [2**k for k in range(steps)]
        self.n_groups = groups // 2
        drawn = torch.randn(2, steps, self.n_groups * self.KERNELS, n_leads, self.LENGTH)
        drawn = drawn - drawn.mean(-1, keepdim=True)
        self.register_buffer("kernels", drawn / drawn.abs().sum((-2, -1), keepdim=True))
        n = 2 * 2 * steps * self.n_groups * self.KERNELS
        self.register_buffer("mean", torch.zeros(n))
        self.register_buffer("std", torch.ones(n))
        self.head = nn.Linear(n, n_classes)

    def counts(self, x: Tensor) -> Tensor:
        """Square roots of the scores of every kernel, `(batch, counts)`, of beats `(batch, leads, samples)`."""
        found = []
        for kernels, signal in zip(self.kernels.unbind(0), (x, x.diff(dim=2)), strict=True):
            for weight, dilation in zip(kernels.unbind(0), self.dilations, strict=True):
                y = F.conv1d(signal, weight, padding=dilation * (self.LENGTH // 2), dilation=dilation)
                y = y.unflatten(1, (self.n_groups, self.KERNELS))
                # comparing is many times as fast here as looking for positions; of equal answers, all score
                strongest, weakest = y.amax(2, keepdim=True), y.amin(2, keepdim=True)
                found.append(torch.where(y == strongest, strongest, 0).sum(3).flatten(1))
                found.append((y == weakest).to(y.dtype).sum(3).flatten(1))
        return torch.cat(found, 1).clamp_min(0).sqrt()

    def _counts_of_all(self, x: Tensor) -> Tensor:
        return torch.cat([self.counts(part) for part in x.split(self.CHUNK)])

    def fit(self, x: Tensor, y: Tensor, x_val: Tensor, score: Score, *, features: Tensor | None = None) -> float:
        """Learn the ridge head from beats `(n, leads, samples)` and labels `(n,)`, by the normal equations."""
        n, n_classes, size = len(x), self.head.out_features, self.head.in_features
        best, chosen = -np.inf, 0.0
        with torch.no_grad():
            # sums, so that the counts of all beats never lie in memory at once
            gram, total = torch.zeros(size, size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)
            by_class = torch.zeros(size, n_classes, dtype=torch.float64)
            for part, labels in zip(x.split(4096), y.split(4096), strict=True):
                counts = self._counts_of_all(part).double()
                gram += counts.T @ counts
                total += counts.sum(0)
                by_class += counts.T @ F.one_hot(labels, n_classes).double()
            mean = total / n
            std = (gram.diagonal() / n - mean**2).clamp_min(0).sqrt() + 1e-3
            gram = (gram / n - torch.outer(mean, mean)) / torch.outer(std, std)
            share = torch.bincount(y, minlength=n_classes) / n
            targets = 2 * (by_class / n - torch.outer(mean, share.double())) / std[:, None]
            self.mean, self.std = mean.to(x.dtype), std.to(x.dtype)
            self.head.bias.copy_(2 * share - 1)
            counts_val = (self._counts_of_all(x_val) - self.mean) / self.std
            for strength in self.STRENGTHS:
                weight = cho_solve(cho_factor(gram.numpy() + strength * np.eye(size)), targets.numpy())
                candidate = torch.as_tensor(weight.T, dtype=counts_val.dtype)
                if (value := score((counts_val @ candidate.T + self.head.bias).numpy())) > best:
                    best, chosen = value, strength
                    self.head.weight.copy_(candidate)
        return chosen

    def forward(self, x: Tensor, *, features: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        logits: Tensor = self.head((self.counts(x) - self.mean) / self.std)
        return logits
