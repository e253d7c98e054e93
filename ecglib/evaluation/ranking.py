"""How well scores rank a class before the rest: AUROC and AUPRC, with resamples of whole records.

The values are those of scikit-learn's `roc_auc_score` and `average_precision_score`. Beats are counted once for all
resamples, by record and score; each resample then only weighs the records anew, in matrix products.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_AT_ONCE = 50  # resamples, to keep what is multiplied small


def auroc_auprc(
    scores: NDArray[np.floating], positive: NDArray[np.bool_], groups: NDArray[np.int64], weights: NDArray[np.int64]
) -> tuple[Array, Array]:
    """Areas under the ROC curve (Hanley & McNeil 1982) and, as average precision, the precision-recall curve.

    Parameters
    ----------
    scores
        `(n,)`: higher where the class is more likely.
    positive
        `(n,)`: whether a beat is of the class.
    groups
        `(n,)`: number of each beat's record.
    weights
        `(resamples, records)`: how often each resample holds each record; a row of ones is the set itself.

    Returns
    -------
    Both areas, `(resamples,)`, NaN where a resample has no beat of the class or none of the rest.
    """
    auroc, auprc = np.full(len(weights), np.nan), np.full(len(weights), np.nan)
    if not len(scores):
        return auroc, auprc
    drawn = weights.astype(np.float64)
    of_class, others = _counts(scores, positive, groups, weights.shape[1])
    auroc = _auroc(of_class, others, drawn)
    tp = of_class.cumsum(1)
    p, defined = drawn @ tp[:, -1], ~np.isnan(auroc)
    here = of_class.any(0)  # elsewhere precision has no weight
    tp, shown = tp[:, here], (tp + others.cumsum(1))[:, here]
    for start in range(0, len(drawn), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        found, of = drawn[some] @ tp, drawn[some] @ shown
        precision = np.divide(found, of, out=np.zeros_like(found), where=of > 0)
        auprc[some] = (np.diff(found, axis=1, prepend=0.0) * precision).sum(1)
    return auroc, np.where(defined, np.divide(auprc, p, out=np.full(len(p), np.nan), where=p > 0), np.nan)


def auroc(
    scores: NDArray[np.floating], positive: NDArray[np.bool_], groups: NDArray[np.int64], weights: NDArray[np.int64]
) -> Array:
    """The first of `auroc_auprc` alone, in a fraction of the time."""
    if not len(scores):
        return np.full(len(weights), np.nan)
    return _auroc(*_counts(scores, positive, groups, weights.shape[1]), weights.astype(np.float64))


def _counts(
    scores: NDArray[np.floating], positive: NDArray[np.bool_], groups: NDArray[np.int64], n_groups: int
) -> tuple[Array, Array]:
    """Beats of the class and of the rest, `(records, levels)`, the highest score first."""
    level = np.unique(-scores, return_inverse=True)[1]
    shape = n_groups, int(level.max()) + 1

    def counts(which: NDArray[np.bool_]) -> Array:
        cell = groups[which] * shape[1] + level[which]
        return np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)

    return counts(positive), counts(~positive)


def _auroc(of_class: Array, others: Array, drawn: Array) -> Array:
    p, n = drawn @ of_class.sum(1), drawn @ others.sum(1)
    defined = (p > 0) & (n > 0)
    # pairs of a beat of the class and another, by their records; ties half
    in_order = (of_class.cumsum(1) - of_class / 2) @ others.T
    found = np.full(len(drawn), np.nan)
    found[defined] = ((drawn @ in_order) * drawn).sum(1)[defined] / (p * n)[defined]
    return found
