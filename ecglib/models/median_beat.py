"""Logistic regression on a median beat: a yardstick of what is linear in an ECG."""

from __future__ import annotations

import numpy as np
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import Pipeline

from ecglib.models.yardstick import Yardstick, linear

RECIPE = 1
"""1: as published."""


class MedianBeat(Yardstick):
    """Logistic regression on every sample of the median beat of every lead, all brought to one scale (Cox 1958).

    The strength of the L2 penalty is the best of `STRENGTHS` by AUROC in `INNER_FOLDS` folds within the training part,
    patients apart.
    """

    STRENGTHS = tuple(np.logspace(-4, 0, 9).tolist())
    INNER_FOLDS = 5
    FEW_STRENGTH = 0.01
    """Where a class has too few patients for the inner folds."""

    def estimator(self, fewest: int, seed: int) -> Pipeline | GridSearchCV:
        """A regression that chooses its penalty where there are patients enough."""
        if fewest < self.INNER_FOLDS:
            return linear(self.FEW_STRENGTH)
        inner = StratifiedGroupKFold(self.INNER_FOLDS, shuffle=True, random_state=seed)
        return GridSearchCV(linear(1.0), {"logisticregression__C": self.STRENGTHS}, scoring="roc_auc", cv=inner)
