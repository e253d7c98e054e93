"""Metrics of several labels at once, of a set and of its resamples.

Arrays are `y` `(n, classes)` of labels, `p` `(n, classes)` of probabilities in 0..1, `decided` `(n, classes)` of the
labels given. `weights` `(resamples, n)` says how often each resample holds each record; a row of ones is the set
itself, and results then have one row a resample: `(resamples, classes)`.

A class without a positive or without a negative is NaN in every metric, whether the metric needs both or not, so that
all macro means are over the same classes. Precision is NaN too where no record was given the label; F1 is 0 there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecglib.evaluation import bootstrap, ranking
from ecglib.evaluation.bootstrap import Interval
from ecglib.evaluation.metrics import macro, ratio

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Counts = NDArray[np.integer]
Values = dict[str, Array]

BINS = 10
METRICS = ("auroc", "auprc", "f1", "se", "sp", "ppv", "ece")


# --- weights ----------------------------------------------------------------------------------------------------------


def recording_weights(patients: pd.Series, n_resamples: int) -> NDArray[np.int32]:
    """Weights `(1 + resamples, n)` of resamples that draw patients whole; the first row is the set itself.

    Parameters
    ----------
    patients
        `(n,)`: patient of each record; a record without one ("") is a patient of its own.
    n_resamples
        0 gives the set alone.
    """
    codes, drawn = bootstrap.patient_weights(patients, n_resamples)
    return drawn.astype(np.int32)[:, codes]


def _portions(weights: Counts) -> Iterator[tuple[slice, Array]]:
    step = max(1, ranking.CELLS // max(1, weights.shape[1]))
    for start in range(0, len(weights), step):
        yield slice(start, start + step), weights[start : start + step].astype(np.float64)


def _totals(which: Flags | Array, weights: Counts) -> Array:
    """Sum over each resample's records, `(resamples, …)`, of `(n, …)`."""
    columns = which.astype(np.float64)
    return np.concatenate([portion @ columns for _, portion in _portions(weights)])


# --- metrics ----------------------------------------------------------------------------------------------------------


def values(y: Flags, p: NDArray[np.floating], decided: Flags, weights: Counts) -> Values:
    """Every one of `METRICS`, each `(resamples, classes)`, in 0..1 or NaN.

    Returns
    -------
    `auroc` and `auprc` as in `areas`, `f1`, `se` (sensitivity), `sp` (specificity) and `ppv` (precision) as in `rates`,
    `ece` as in `calibration_error`.

    Raises
    ------
    ValueError
        When shapes differ, or a probability is none.
    """
    auroc, auprc = areas(y, p, weights)
    found = {"auroc": auroc, "auprc": auprc, **rates(y, decided, weights), "ece": calibration_error(y, p, weights)}
    return {name: found[name] for name in METRICS}


def areas(y: Flags, p: NDArray[np.floating], weights: Counts) -> tuple[Array, Array]:
    """AUROC and AUPRC of each class, as in `ranking.auroc_auprc`, both `(resamples, classes)`."""
    _checked_probabilities(y, p, weights)
    auroc, auprc = np.full((2, len(weights), y.shape[1]), np.nan)
    each = np.arange(len(y))
    for c in range(y.shape[1]):
        auroc[:, c], auprc[:, c] = ranking.auroc_auprc(p[:, c], y[:, c].astype(np.bool_), each, weights)
    return auroc, auprc


def matrices(y: Flags, decided: Flags) -> NDArray[np.int64]:
    """Confusion matrix of each class against the rest, `(classes, 2, 2)`: rows true (no, yes), columns given."""
    _checked(y, decided)
    y, decided = y.astype(np.bool_), decided.astype(np.bool_)
    cells = [(has & given).sum(0) for has in (~y, y) for given in (~decided, decided)]
    return np.stack(cells, axis=1).reshape(-1, 2, 2).astype(np.int64)


def rates(y: Flags, decided: Flags, weights: Counts) -> Values:
    """`f1`, `se` (sensitivity), `sp` (specificity) and `ppv` (precision), each `(resamples, classes)`."""
    _checked(y, decided, weights)
    y, decided = y.astype(np.bool_), decided.astype(np.bool_)
    tp, fp, fn, tn = (_totals(which, weights) for which in (y & decided, ~y & decided, y & ~decided, ~y & ~decided))
    defined = (tp + fn > 0) & (fp + tn > 0)
    found = {
        "f1": ratio(2 * tp, 2 * tp + fp + fn),
        "se": ratio(tp, tp + fn),
        "sp": ratio(tn, fp + tn),
        "ppv": ratio(tp, tp + fp),
    }
    return {name: np.where(defined, value, np.nan) for name, value in found.items()}


def _checked(y: Flags, other: Flags | NDArray[np.floating], weights: Counts | None = None) -> None:
    if y.shape != other.shape or y.ndim != 2:
        raise ValueError(f"labels {y.shape} and predictions {other.shape}: expected (n, classes) of both")
    if weights is not None and weights.shape[1:] != y.shape[:1]:
        raise ValueError(f"weights {weights.shape} for {len(y)} records: expected (resamples, n)")


def _checked_probabilities(y: Flags, p: NDArray[np.floating], weights: Counts | None = None) -> None:
    _checked(y, p, weights)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("probabilities: expected numbers from 0 to 1")


# --- calibration ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reliability:
    """Probabilities beside what came true, in bins of equal width; each array is `(classes, bins)`."""

    n: NDArray[np.int64]
    """Records of a bin."""
    predicted: Array
    """Their mean probability; NaN of an empty bin."""
    observed: Array
    """Share of them with the label; likewise."""


def reliability(y: Flags, p: NDArray[np.floating], bins: int = BINS) -> Reliability:
    """What a reliability diagram shows (Guo et al. 2017, equations 1 and 2), of the probability of each class."""
    _checked_probabilities(y, p)
    inside = _bins(p, bins)
    n = np.stack([(inside == b).sum(0) for b in range(bins)], axis=1).astype(np.float64)
    predicted = np.stack([np.where(inside == b, p, 0).sum(0) for b in range(bins)], axis=1)
    observed = np.stack([np.where(inside == b, y, 0).sum(0) for b in range(bins)], axis=1).astype(np.float64)
    return Reliability(n.astype(np.int64), ratio(predicted, n), ratio(observed, n))


def calibration_error(y: Flags, p: NDArray[np.floating], weights: Counts, bins: int = BINS) -> Array:
    """Expected calibration error `(resamples, classes)` of the probability of each class.

    The mean over records of `|mean probability - share with the label|` of a record's bin, in bins of equal width
    (Naeini et al. 2015; Guo et al. 2017, equation 3).
    """
    _checked_probabilities(y, p, weights)
    inside, gap = _bins(p, bins), p.astype(np.float64) - y
    error = np.zeros((len(weights), y.shape[1]))
    for b in range(bins):
        error += np.abs(_totals(np.where(inside == b, gap, 0.0), weights))
    total, positives = weights.sum(1, dtype=np.float64)[:, None], _totals(y, weights)
    return np.where((positives > 0) & (positives < total), error / np.maximum(total, 1), np.nan)


def _bins(p: NDArray[np.floating], bins: int) -> NDArray[np.int64]:
    return np.minimum((p.astype(np.float64) * bins).astype(np.int64), bins - 1)


# --- over classes, seeds and resamples --------------------------------------------------------------------------------


def intervals(
    seeds: Sequence[Values], names: Sequence[str]
) -> tuple[dict[str, Interval], dict[str, dict[str, Interval]]]:
    """The metrics of all seeds, each with the 95 % interval of its mean over seeds.

    Parameters
    ----------
    seeds
        Each seed's `values` on the same weights, whose first row is the set itself (`recording_weights`).
    names
        `(classes,)`.

    Returns
    -------
    `macro_<metric>` -> interval, and class -> metric -> interval.
    """
    stacked = {metric: np.stack([one[metric] for one in seeds]) for metric in seeds[0]}
    over_all = {f"macro_{metric}": bootstrap.interval(macro(found)) for metric, found in stacked.items()}
    per_class = {
        name: {metric: bootstrap.interval(found[..., c]) for metric, found in stacked.items()}
        for c, name in enumerate(names)
    }
    return over_all, per_class
