"""A yardstick of infarctions and of whole recordings: a support vector machine on the median beat as it is, in mV.

The logistic regression of `ecglib.evaluation.yardsticks` weighs every sample by itself, all brought to one scale. This
reads the shape of the beat as a whole, over all its leads: recordings are alike whose median beats are (a kernel of
their distance, Cortes & Vapnik 1995), and a lead counts as much as its voltage does.

It is not in `ecglib.evaluation`, as a change of any code there calls for new results of beats, which it has no part in.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import SVC

from ecglib.evaluation.yardsticks import _out_of_fold

NAME: Final = "kernel machine"


def machine() -> Pipeline:
    """A support vector machine with a Gaussian kernel, whose width follows from the spread of what it is fitted to.
    Both classes count the same, and the median stands in for what is NaN.

    The cost is not chosen fold by fold: values of machines of different costs can't be pooled.
    """
    return make_pipeline(
        SimpleImputer(strategy="median"), SVC(C=1.0, kernel="rbf", gamma="scale", class_weight="balanced")
    )


def scores(
    recordings: pd.DataFrame, median_beats: NDArray[np.float32], fold: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    """Decision values out of fold, `(recordings,)`, under `NAME`: positive for infarction, no log-odds. Nothing where
    there is no median beat.

    Parameters
    ----------
    recordings
        With `patient` and `label`.
    median_beats
        `(recordings, leads, samples)` in mV.
    fold
        `(recordings,)`: number of each recording's fold.
    """
    if not median_beats.shape[2]:
        return {}
    groups, y = recordings["patient"].to_numpy(), recordings["label"].to_numpy()
    return {NAME: _out_of_fold(machine(), median_beats.reshape(len(y), -1), y, groups, fold)}
