"""What a network of 12-lead recordings must beat: who the patient is, and two classical models of the median beat."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import Pipeline

from ecglib.data import clinical, rhythm
from ecglib.data.detection import r_peaks
from ecglib.data.infarction import AFTER, BEFORE, LEADS, RHYTHM_LEAD
from ecglib.data.records import RATE
from ecglib.data.twelve_lead import Refused, TwelveLead
from ecglib.errors import RecordError
from ecglib.evaluation.yardsticks import FEW_STRENGTH, INNER_FOLDS, STRENGTHS, _linear
from ecglib.training import median_beat

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
NAMES: Final = ("age and sex", "median beat", median_beat.NAME)


def scores(
    data: TwelveLead, y: Flags, folds: NDArray[np.int64], test_folds: Sequence[int], seed: int = 0
) -> dict[str, Array]:
    """Scores `(n, classes)` of every yardstick, each fold's from all other folds; NaN where nothing was scored.

    Parameters
    ----------
    data
        The recordings.
    y
        Their labels `(n, classes)`.
    folds
        `(n,)`: the fold of each.
    test_folds
        Those to score.
    seed
        Of the inner folds that choose a penalty.

    Returns
    -------
    `age and sex`: logistic regression on both, the median for what is unknown; absent where no age is known.
    `median beat`: the same on every sample of the median beat of twelve leads, the penalty chosen within the training
    part by AUROC, patients apart.
    `kernel machine`: a support vector machine on it (`ecglib.training.median_beat`).
    """
    groups = np.array([entry.patient for entry in data.entries])
    people = np.array([[entry.age, entry.female] for entry in data.entries])
    found = {}
    if not np.isnan(people).all(0).any():
        found["age and sex"] = _out_of_fold(_linear(1.0), people, y, groups, folds, test_folds)
    beats = median_beats(data)
    inner = StratifiedGroupKFold(INNER_FOLDS, shuffle=True, random_state=seed)
    grid = {"logisticregression__C": STRENGTHS}
    chosen = GridSearchCV(_linear(1.0), grid, scoring="roc_auc", cv=inner)
    found["median beat"] = _out_of_fold(chosen, beats, y, groups, folds, test_folds)
    found[median_beat.NAME] = _out_of_fold(median_beat.machine(), beats, y, groups, folds, test_folds)
    return found


def median_beats(data: TwelveLead) -> Array:
    """Median beat of every recording, `(n, 12 · 101)` in mV, from 0.3 s before the R peak to 0.5 s after it at 125 Hz.

    R peaks are those of lead II, or of the first lead where that is not known. NaN where there is no R peak.
    """
    return np.stack([_median_beat(data, i) for i in range(len(data))])


def _median_beat(data: TwelveLead, index: int) -> Array:
    beat = np.full((len(LEADS), BEFORE + AFTER), np.nan)
    example = data[index]
    if isinstance(example, Refused):
        return beat.ravel()
    known = example.known.numpy()
    signal = clinical.at_rate(clinical.Signal(example.x.numpy(), data.rate, known), RATE).signals
    ii = LEADS.index(RHYTHM_LEAD)
    try:
        seconds = r_peaks(signal[ii if known[ii] else int(known.argmax())], RATE) / RATE
    except RecordError:
        return beat.ravel()
    for lead in np.flatnonzero(known):
        windows = rhythm._windows(rhythm.without_baseline(signal[lead]), seconds, BEFORE, AFTER)
        beat[lead] = np.median(windows, 0)
    return beat.ravel()


def _out_of_fold(
    model: Pipeline | GridSearchCV,
    x: Array,
    y: Flags,
    groups: NDArray[np.str_],
    folds: NDArray[np.int64],
    test_folds: Sequence[int],
) -> Array:
    found = np.full(y.shape, np.nan)
    for fold in test_folds:
        train, test = folds != fold, folds == fold
        for c in range(y.shape[1]):
            has = [len(np.unique(groups[train & (y[:, c] == value)])) for value in (False, True)]
            if not test.any() or not min(has):
                continue
            one, given = model, {}
            if isinstance(model, GridSearchCV):
                if min(has) < INNER_FOLDS:
                    one = _linear(FEW_STRENGTH)
                else:
                    given = {"groups": groups[train]}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # an inner fold without a positive; lbfgs short of its tolerance
                found[test, c] = one.fit(x[train], y[train, c], **given).decision_function(x[test])
    return found
