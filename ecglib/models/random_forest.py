"""Random forest on features of a beat, after a published one of patients apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.ensemble import RandomForestClassifier
from torch import Tensor

from ecglib.models.classical import Classical, Score
from ecglib.models.layers import refuse_below_one

RECIPE = 1
"""1: as published."""


class RandomForest(Classical):
    """Random forest (Breiman 2001), by scikit-learn, after Saenz-Cogollo & Agelli (2020), who classify a beat by a few
    of its RR intervals, taken relative to their mean, and the width of its QRS complex.

    It has `trees` trees, each of at most `depth` levels, with `leaf` training beats or more in every leaf; `balanced`
    weighs a beat by the inverse frequency of its class. It reads features alone, and answers logarithms of the classes'
    mean shares in the leaves. Its trees are its state: of each node the two `following` ones (of a leaf itself), the
    `feature` that is compared, its `threshold`, and the `shares` of the classes.
    """

    MIN_SAMPLES = 1
    FITTED = ("following", "feature", "threshold", "shares")
    LEAST = 1e-4
    """Share of a class that no leaf holds, of which a logarithm can be taken."""
    following: Tensor
    feature: Tensor
    threshold: Tensor
    shares: Tensor

    def __init__(
        self,
        n_leads: int,
        n_samples: int,
        n_classes: int,
        *,
        n_features: int,
        trees: int = 100,
        depth: int = 20,
        leaf: int = 5,
        balanced: bool = False,
    ) -> None:
        super().__init__()
        refuse_below_one(n_features=n_features, trees=trees, depth=depth, leaf=leaf)
        self.n_classes, self.depth = n_classes, depth
        self.options: dict[str, Any] = {"n_estimators": trees, "max_depth": depth, "min_samples_leaf": leaf}
        self.options["class_weight"] = "balanced" if balanced else None
        self.register_buffer("following", torch.zeros(0, 0, 2, dtype=torch.int64))
        self.register_buffer("feature", torch.zeros(0, 0, dtype=torch.int64))
        self.register_buffer("threshold", torch.zeros(0, 0, dtype=torch.float64))
        self.register_buffer("shares", torch.zeros(0, 0, n_classes))

    def fit(self, x: Tensor, y: Tensor, x_val: Tensor, score: Score, *, features: Tensor | None = None) -> None:
        """Learn from features `(n, n_features)` and labels `(n,)`; there is nothing to choose.

        Raises ValueError without features.
        """
        seed = int(torch.randint(2**31, ()))
        fitted = RandomForestClassifier(**self.options, random_state=seed).fit(_given(features), y)
        trees = [each.tree_ for each in fitted.estimators_]
        size = max(tree.node_count for tree in trees)
        shape = len(trees), size
        self.following = torch.arange(size)[None, :, None].repeat(len(trees), 1, 2)
        self.feature, self.threshold = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.float64)
        self.shares = torch.zeros(*shape, self.n_classes)
        for i, tree in enumerate(trees):
            inner = np.flatnonzero(tree.children_left >= 0)
            self.following[i, inner, 0] = torch.from_numpy(tree.children_left[inner])
            self.following[i, inner, 1] = torch.from_numpy(tree.children_right[inner])
            self.feature[i, inner] = torch.from_numpy(tree.feature[inner])
            self.threshold[i, inner] = torch.from_numpy(tree.threshold[inner])
            held = tree.value[:, 0] / tree.value[:, 0].sum(1, keepdims=True)
            self.shares[i, : len(held), fitted.classes_] = torch.from_numpy(held).to(self.shares)

    def forward(self, x: Tensor, *, features: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        """Logits `(batch, classes)` of features `(batch, n_features)`; the beats `x` are not read.

        Raises ValueError without features, or before `fit`.
        """
        z = _given(features).double()
        if not len(self.shares):
            raise ValueError("nothing fitted yet")
        tree = torch.arange(len(self.shares), device=z.device)
        node = torch.zeros(z.shape[0], len(self.shares), dtype=torch.int64, device=z.device)
        for _ in range(self.depth):
            right = z.gather(1, self.feature[tree, node]) > self.threshold[tree, node]
            node = self.following[tree, node, right.long()]
        return self.shares[tree, node].mean(1).clamp_min(self.LEAST).log()


def _given(features: Tensor | None) -> Tensor:
    if features is None:
        raise ValueError("no features of the beats")
    return features
