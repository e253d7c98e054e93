"""What a network of infarctions must beat: who the patient is, and a linear model of the median beat."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

STRENGTHS = np.logspace(-4, 0, 9)
"""Inverse strengths of the penalty, of which each fold's training part chooses one."""
INNER_FOLDS = 5
FEW_STRENGTH = 0.01
"""Where a class has too few patients for the inner folds."""


def scores(
    recordings: pd.DataFrame, median_beats: NDArray[np.float32], fold: NDArray[np.int64], seed: int
) -> dict[str, NDArray[np.float64]]:
    """Log-odds out of fold at even prior odds, `(recordings,)` each.

    Parameters
    ----------
    recordings
        With `patient`, `label`, `age` and `female`.
    median_beats
        `(recordings, leads, samples)` in mV.
    fold
        `(recordings,)`: number of each recording's fold.
    seed
        Of the inner folds.

    Returns
    -------
    `age and sex`: logistic regression on both, the median for what is unknown; absent where no age is known.
    `median beat`: logistic regression on every sample of the median beat, its penalty chosen by AUROC within the
    training part, patients apart.
    """
    groups, y = recordings["patient"].to_numpy(), recordings["label"].to_numpy()
    found = {}
    people = recordings[["age", "female"]].to_numpy(dtype=np.float64)
    if not np.isnan(people).all(0).any():
        found["age and sex"] = _out_of_fold(_linear(1.0), people, y, groups, fold)
    if median_beats.shape[2]:
        fewest = min(len(np.unique(groups[(y == i) & (fold != k)])) for i in (0, 1) for k in np.unique(fold))
        model: Pipeline | GridSearchCV = _linear(FEW_STRENGTH)
        if fewest >= INNER_FOLDS:
            inner = StratifiedGroupKFold(INNER_FOLDS, shuffle=True, random_state=seed)
            grid = {"logisticregression__C": STRENGTHS}
            model = GridSearchCV(_linear(1.0), grid, scoring="roc_auc", cv=inner)
        found["median beat"] = _out_of_fold(model, median_beats.reshape(len(y), -1), y, groups, fold)
    return found


def _linear(strength: float) -> Pipeline:
    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=2000)
    return make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), model)


def _out_of_fold(
    model: Pipeline | GridSearchCV,
    x: NDArray[np.floating],
    y: NDArray[np.int64],
    groups: NDArray[np.object_],
    fold: NDArray[np.int64],
) -> NDArray[np.float64]:
    found = np.zeros(len(y))
    for number in np.unique(fold):
        train, test = fold != number, fold == number
        given = {"groups": groups[train]} if isinstance(model, GridSearchCV) else {}
        found[test] = model.fit(x[train], y[train], **given).decision_function(x[test])
    return found
