"""Logistic regression on the samples of a beat: a yardstick of what needs no network."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression as Solver
from torch import Tensor, nn

from ecglib.models.classical import Classical, Score

RECIPE = 1
"""1: as published."""


class LogisticRegression(Classical):
    """Multinomial logistic regression on standardised samples (Cox 1958), by scikit-learn.

    The strength of the L2 penalty is the best of `STRENGTHS` on validation.
    """

    MIN_SAMPLES = 1
    STRENGTHS = (0.01, 1.0, 100.0)
    mean: Tensor
    std: Tensor

    def __init__(self, n_leads: int, n_samples: int, n_classes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_leads * n_samples))
        self.register_buffer("std", torch.ones(n_leads * n_samples))
        self.head = nn.Linear(n_leads * n_samples, n_classes)

    def fit(self, x: Tensor, y: Tensor, x_val: Tensor, score: Score, *, features: Tensor | None = None) -> float:
        """Learn from beats `(n, leads, samples)` and labels `(n,)`; a class without a beat is never answered."""
        flat = x.flatten(1)
        self.mean, self.std = flat.mean(0), flat.std(0) + 1e-3
        z = ((flat - self.mean) / self.std).numpy()
        best, chosen, best_state = -np.inf, 0.0, self.state_dict()
        solver = Solver(C=self.STRENGTHS[0], max_iter=200, tol=1e-3, warm_start=True)
        for strength in self.STRENGTHS:
            solver.set_params(C=strength).fit(z, y.numpy())
            self._take(solver)
            if (value := score(self.predict_logits(x_val))) > best:
                best, chosen, best_state = value, strength, {name: t.clone() for name, t in self.state_dict().items()}
        self.load_state_dict(best_state)
        return chosen

    def _take(self, solver: Solver) -> None:
        weight, bias = solver.coef_, solver.intercept_
        if len(solver.classes_) == 2:
            weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
        with torch.no_grad():
            self.head.weight.zero_()
            self.head.bias.fill_(-1e4)  # low beyond any logit, and finite
            self.head.weight[solver.classes_] = torch.as_tensor(weight, dtype=self.head.weight.dtype)
            self.head.bias[solver.classes_] = torch.as_tensor(bias, dtype=self.head.bias.dtype)

    def forward(self, x: Tensor, *, features: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        logits: Tensor = self.head((x.flatten(1) - self.mean) / self.std)
        return logits
