"""What the yardsticks of recordings share: classical models of age and sex or of a median beat, fitted at once."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn


class Yardstick(nn.Module, ABC):
    """A classical model of recordings, by scikit-learn, fitted to every label by itself.

    What is unknown (NaN) takes the median of the training part, and both classes of a label count the same. A logit
    above zero gives the label; no probability follows from it, as neither class is weighed by its share. Of age and
    sex `(1, 2)` is read.
    """

    MIN_SAMPLES = 1

    def __init__(self, n_leads: int, n_samples: int, n_classes: int) -> None:
        super().__init__()
        self.fitted: list[Pipeline | GridSearchCV | None] = []

    @abstractmethod
    def estimator(self, fewest: int, seed: int) -> Pipeline | GridSearchCV:
        """A new estimator for a label, of whose smaller class the training part has `fewest` patients."""

    def fit(self, x: NDArray[np.floating], y: NDArray[np.bool_], patients: NDArray[np.str_], seed: int) -> None:
        """Learn from recordings `(n, leads, samples)` with labels `(n, labels)`, of these patients `(n,)`.

        A label that all or none of them have can't be learnt: its logits are NaN.
        """
        flat = x.reshape(len(x), -1)
        self.fitted = []
        for has in y.T:
            fewest = min(len(np.unique(patients[has == value])) for value in (False, True))
            if not fewest:
                self.fitted.append(None)
                continue
            one = self.estimator(fewest, seed)
            given = {"groups": patients} if isinstance(one, GridSearchCV) else {}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # an inner fold without a positive; lbfgs short of its tolerance
                self.fitted.append(one.fit(flat, has.astype(np.int64), **given))

    def predict_logits(self, x: NDArray[np.floating]) -> NDArray[np.float64]:
        """Logits `(n, labels)` of recordings `(n, leads, samples)`.

        Raises ValueError before `fit`.
        """
        if not self.fitted:
            raise ValueError("nothing fitted yet")
        flat = x.reshape(len(x), -1)
        logits = np.full((len(x), len(self.fitted)), np.nan)
        for label, one in enumerate(self.fitted):
            if one is not None:
                logits[:, label] = one.decision_function(flat)
        return logits

    def forward(self, x: Tensor, *, features: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        """Logits `(batch, labels)` of recordings `(batch, leads, samples)`, of the same precision."""
        return torch.from_numpy(self.predict_logits(x.numpy())).to(x.dtype)


def linear(strength: float) -> Pipeline:
    """Logistic regression on standardised numbers (Cox 1958), at this inverse strength of the L2 penalty."""
    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=2000)
    return make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), model)
