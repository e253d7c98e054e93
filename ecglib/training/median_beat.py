"""The strongest yardstick of 12-lead work: a support vector machine on the median beat as it stands, in mV.

The logistic regression of `ecglib.evaluation.yardsticks` weighs every sample by itself, all brought to one scale. This
reads the shape of the beat as a whole, over all its leads: recordings are alike whose median beats are (a kernel of
their distance, Cortes & Vapnik 1995), and a lead counts as much as its voltage does.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import SVC

from ecglib.evaluation.yardsticks import INNER_FOLDS, _out_of_fold

NAME: Final = "median beat, kernel"
COSTS: Final = (0.3, 1.0, 3.0, 10.0)
"""Of a violated margin; a training part chooses one."""


def machine(seed: int) -> GridSearchCV:
    """A support vector machine, both classes counting the same, at the cost whose AUROC is best in inner folds, drawn
    by `seed`; to be fitted with `groups`. The median stands in for what is NaN. Its `estimator` has a cost of 1."""
    model = make_pipeline(SimpleImputer(strategy="median"), SVC(C=1.0, class_weight="balanced"))
    inner = StratifiedGroupKFold(INNER_FOLDS, shuffle=True, random_state=seed)
    return GridSearchCV(model, {"svc__C": COSTS}, scoring="roc_auc", cv=inner)


def scores(
    recordings: pd.DataFrame, median_beats: NDArray[np.float32], fold: NDArray[np.int64], seed: int
) -> dict[str, NDArray[np.float64]]:
    """Distance from the margin out of fold, `(recordings,)`, under `NAME`; nothing where there is no median beat.

    Parameters
    ----------
    recordings
        With `patient` and `label`.
    median_beats
        `(recordings, leads, samples)` in mV.
    fold
        `(recordings,)`: number of each recording's fold.
    seed
        Of the inner folds, patients apart; a class with too few patients for them takes a cost of 1.
    """
    if not median_beats.shape[2]:
        return {}
    groups, y = recordings["patient"].to_numpy(), recordings["label"].to_numpy()
    fewest = min(len(np.unique(groups[(y == i) & (fold != k)])) for i in (0, 1) for k in np.unique(fold))
    model: Pipeline | GridSearchCV = machine(seed)
    if fewest < INNER_FOLDS:
        model = model.estimator
    return {NAME: _out_of_fold(model, median_beats.reshape(len(y), -1), y, groups, fold)}
