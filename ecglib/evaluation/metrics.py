"""Metrics of multi-class beat classification, all from confusion matrices.

A confusion matrix here is `(..., classes, classes)`, rows true, columns predicted; leading axes (seeds, resamples) are
kept. An undefined value (0/0) is NaN, and a macro mean is over the classes where the value is defined.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def confusion(labels: NDArray[np.int64], predicted: NDArray[np.int64], n_classes: int) -> NDArray[np.int64]:
    """Confusion matrix `(classes, classes)` of labels and predictions, both `(n,)`."""
    return np.asarray(confusion_by(np.zeros_like(labels), 1, labels, predicted, n_classes)[0])


def confusion_by(
    groups: NDArray[np.int64], n_groups: int, labels: NDArray[np.int64], predicted: NDArray[np.int64], n_classes: int
) -> NDArray[np.int64]:
    """One confusion matrix a group, `(groups, classes, classes)`; `groups` `(n,)` numbers each beat's record."""
    cell = (groups * n_classes + labels) * n_classes + predicted
    return np.bincount(cell, minlength=n_groups * n_classes**2).reshape(n_groups, n_classes, n_classes).astype(np.int64)


def ratio(top: NDArray[Any], bottom: NDArray[Any]) -> Array:
    """`top / bottom`, NaN where `bottom` is not above 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(bottom > 0, top / bottom, np.nan)


def rates(tp: Array, fp: Array, fn: Array, tn: Array) -> dict[str, Array]:
    """`se` (sensitivity), `sp` (specificity), `ppv` (precision), `f1` and `accuracy` of counts, in 0..1 or NaN."""
    return {
        "se": ratio(tp, tp + fn),
        "sp": ratio(tn, tn + fp),
        "ppv": ratio(tp, tp + fp),
        "f1": ratio(2 * tp, 2 * tp + fp + fn),
        "accuracy": ratio(tp + tn, tp + fp + fn + tn),
    }


def per_class(matrix: NDArray[np.int64]) -> dict[str, Array]:
    """Each class against the rest: `se` (sensitivity), `ppv` (positive predictivity, +P), `f1`, `specificity`, each
    `(..., classes)`, in 0..1 or NaN."""
    m = matrix.astype(np.float64)
    tp = np.diagonal(m, axis1=-2, axis2=-1)
    fp, fn = m.sum(-2) - tp, m.sum(-1) - tp
    found = rates(tp, fp, fn, m.sum((-2, -1))[..., None] - tp - fp - fn)
    return {name: found[name] for name in ("se", "ppv", "f1")} | {"specificity": found["sp"]}


def macro(values: Array) -> Array:
    """Mean over the classes where a metric is defined, `(...)` of `(..., classes)`; NaN where it is nowhere.

    A resample without a beat of some class has that class left out of its mean, as a set without one has.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all-NaN: the mean is NaN, which is what it should be
        return np.asarray(np.nanmean(values, axis=-1))


def summary(matrix: NDArray[np.int64], macro_classes: list[int]) -> dict[str, Array]:
    """Metrics of the whole matrix `(..., classes, classes)`, each `(...)`.

    `macro_f1` and `macro_recall` average over `macro_classes` (Q is left out where the protocol has only a handful of
    its beats), `balanced_accuracy` (Brodersen et al. 2010) is the mean recall over all classes; with them come
    `accuracy` and `mcc` (Gorodkin 2004, equation 8).
    """
    m = matrix.astype(np.float64)
    one = per_class(matrix)
    tp = np.diagonal(m, axis1=-2, axis2=-1)
    total = m.sum((-2, -1))
    true, predicted = m.sum(-1), m.sum(-2)
    covariance = tp.sum(-1) * total - (true * predicted).sum(-1)
    spread = np.sqrt((total**2 - (true**2).sum(-1)) * (total**2 - (predicted**2).sum(-1)))
    return {
        "macro_f1": macro(one["f1"][..., macro_classes]),
        "macro_recall": macro(one["se"][..., macro_classes]),
        "accuracy": ratio(tp.sum(-1), total),
        "balanced_accuracy": macro(one["se"]),
        "mcc": ratio(covariance, spread),
    }


def chosen_by(metric: str, matrix: NDArray[np.int64], macro_classes: list[int]) -> float:
    """A metric that epochs are chosen by: `macro_f1`, `macro_recall`, or `abnormal_recall`, the mean recall in which
    class 0, the normal one, counts half as much as each other one."""
    if metric != "abnormal_recall":
        return float(summary(matrix, macro_classes)[metric])
    recall = per_class(matrix)["se"][macro_classes]
    weights = np.where(np.array(macro_classes) == 0, 0.5, 1.0)[np.isfinite(recall)]
    return float(np.average(recall[np.isfinite(recall)], weights=weights))


def ec57(matrix: NDArray[np.int64], classes: list[str]) -> dict[str, dict[str, Array]]:
    """VEB and SVEB detection as EC57 scores it (de Chazal et al. 2004, figures 5 and 6).

    A fusion or unknown beat called V is no false VEB, and an unknown beat called S is no false SVEB: these cells are
    left out of both false positives and true negatives. Where the matrix has a row and a column more than there are
    `classes`, for no beat (see `matching`), a missed beat is no true negative either. Of each come `se`, `ppv`, `fpr`
    (false positives over all other scored beats) and `f1`, `(...)`.
    """
    result = {}
    for name, target, excused in (("VEB", "V", ("F", "Q")), ("SVEB", "S", ("Q",))):
        m = matrix.astype(np.float64)
        t = classes.index(target)
        for other in excused:
            m[..., classes.index(other), t] = 0
        tp, fn, fp = m[..., t, t], m[..., t, :].sum(-1) - m[..., t, t], m[..., :, t].sum(-1) - m[..., t, t]
        beats = m[..., : len(classes)]
        tn = beats.sum((-2, -1)) - beats[..., t, :].sum(-1) - fp
        found = rates(tp, fp, fn, tn)
        result[name] = {"se": found["se"], "ppv": found["ppv"], "fpr": ratio(fp, fp + tn), "f1": found["f1"]}
    return result
