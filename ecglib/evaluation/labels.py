"""Metrics of several labels at once, of a set and of its resamples.

Arrays are `y` `(n, classes)` of labels, `p` `(n, classes)` of probabilities in 0..1, `decided` `(n, classes)` of the
labels given. `weights` `(resamples, n)` says how often each resample holds each record; a row of ones is the set
itself, and results then have one row a resample: `(resamples, classes)`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecglib.evaluation import bootstrap, metrics, ranking
from ecglib.evaluation.bootstrap import Interval

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Counts = NDArray[np.integer]
Groups = NDArray[np.int64] | None
Values = dict[str, Array]

BINS = 10
METRICS = ("auroc", "auprc", "f1", "se", "sp", "ppv", "ece")


def recording_weights(patients: pd.Series, n_resamples: int) -> NDArray[np.int32]:
    """Weights `(1 + resamples, n)` of resamples that draw patients whole; the first row is the set itself.

    Each record has a patient, `(n,)`; one without ("") is a patient of its own.
    """
    codes, drawn = bootstrap.patient_weights(patients, n_resamples)
    return drawn.astype(np.int32)[:, codes]


def values(y: Flags, p: NDArray[np.floating], decided: Flags, weights: Counts) -> Values:
    """Every one of `METRICS`, each `(resamples, classes)`, in 0..1 or NaN.

    A class without a positive or without a negative is NaN in every metric, whether the metric needs both or not, so
    that all macro means are over the same classes. `ppv` (precision) is NaN too where no record was given the label;
    `f1` is 0 there.

    Raises ValueError when shapes differ, or a probability is none.
    """
    auroc, auprc = areas(y, p, weights)
    error = calibration_error(y, p, weights)
    found = {"auroc": auroc, "auprc": auprc, **rates(y, decided, weights), "ece": error}
    positives, total = bootstrap.totals(y, weights), weights.sum(1, dtype=np.float64)[:, None]
    defined = (positives > 0) & (positives < total)
    return {name: np.where(defined, found[name], np.nan) for name in METRICS}


def areas(y: Flags, p: NDArray[np.floating], weights: Counts, groups: Groups = None) -> tuple[Array, Array]:
    """AUROC and AUPRC of each class, as in `ranking.auroc_auprc`, both `(resamples, classes)`; weights as in
    `bootstrap.totals`."""
    groups = np.arange(len(y)) if groups is None else groups
    checked(y, p)
    columns = zip(p.T, y.T.astype(np.bool_), strict=True)
    auroc, auprc = np.stack([ranking.auroc_auprc(*column, groups, weights) for column in columns], axis=-1)
    return auroc, auprc


def rates(y: Flags, decided: Flags, weights: Counts, groups: Groups = None) -> Values:
    """`metrics.rates` of one label or several `(n, ...)`, each `(resamples, ...)`; weights as in `bootstrap.totals`."""
    checked(y, decided)
    y, decided = y.astype(np.bool_), decided.astype(np.bool_)
    cells = (y & decided, ~y & decided, y & ~decided, ~y & ~decided)
    return metrics.rates(*(bootstrap.totals(which, weights, groups) for which in cells))


def checked(y: Flags, other: Flags | NDArray[np.floating]) -> None:
    """Raise ValueError when labels and what is said of them differ in shape, or that is no probability."""
    if y.shape != other.shape:
        raise ValueError(f"labels {y.shape} and predictions {other.shape}: expected (n, classes) of both")
    if not ((other >= 0) & (other <= 1)).all():
        raise ValueError("probabilities: expected numbers from 0 to 1")


def reliability(y: Flags, p: NDArray[np.floating]) -> Values:
    """What a reliability diagram shows (Guo et al. 2017, equations 1 and 2), of the probability of each class.

    In bins of equal width, each `(classes, bins)`: `n` records, `predicted`, their mean probability, and `observed`,
    the share of them with the label, both NaN of an empty bin.
    """
    checked(y, p)
    n, predicted, observed = (
        np.stack([np.where(inside, each, 0).sum(0) for inside in _bins(p)], axis=1) for each in (1, p, y)
    )
    rates = {"predicted": metrics.ratio(predicted, n), "observed": metrics.ratio(observed, n)}
    return {"n": n.astype(np.float64), **rates}


def calibration_error(y: Flags, p: NDArray[np.floating], weights: Counts, groups: Groups = None) -> Array:
    """Expected calibration error `(resamples, ...)` of probabilities `(n, ...)` of one label or several.

    The mean over records of `|mean probability - share with the label|` of a record's bin, in `BINS` bins of equal
    width (Naeini et al. 2015; Guo et al. 2017, equation 3). `weights` and `groups` are as for `bootstrap.totals`.
    """
    gap = p.astype(np.float64) - y
    gaps = [np.abs(bootstrap.totals(np.where(inside, gap, 0.0), weights, groups)) for inside in _bins(p)]
    return metrics.ratio(np.sum(gaps, axis=0), bootstrap.totals(np.ones(y.shape), weights, groups))


def _bins(p: NDArray[np.floating]) -> list[Flags]:
    """Which probabilities lie in each bin."""
    number = np.minimum((p.astype(np.float64) * BINS).astype(np.int64), BINS - 1)
    return [number == b for b in range(BINS)]


def intervals(
    seeds: Sequence[Values], names: Sequence[str], averaged: Sequence[int] | None = None
) -> tuple[dict[str, Interval], dict[str, dict[str, Interval]]]:
    """The metrics of all seeds, each with the 95 % interval of its mean over seeds: `macro_<metric>` -> interval, and
    class (`names`) -> metric -> interval. Macro means are over the classes numbered in `averaged`; None: all.

    Each seed has its `values` on the same weights, whose first row is the set itself (`recording_weights`).
    """
    stacked = {metric: np.stack([one[metric] for one in seeds]) for metric in seeds[0]}
    of = slice(None) if averaged is None else averaged
    macro = {f"macro_{metric}": metrics.macro(found[..., of]) for metric, found in stacked.items()}
    return bootstrap.intervals(macro), bootstrap.by_class(stacked, names)
