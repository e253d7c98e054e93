"""How well scores rank a class before the rest: AUROC and AUPRC, with resamples of whole records.

The values are those of scikit-learn's `roc_auc_score` and `average_precision_score`. Every score is sorted once for all
resamples, of which each only weighs the beats anew by how often it drew their record.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_AT_ONCE = 20  # resamples, so that what is added up stays in a processor's cache


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
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # last beat of each distinct score
    positive, groups = positive[order], groups[order]
    auroc, auprc = np.full(len(weights), np.nan), np.full(len(weights), np.nan)
    if not len(scores):
        return auroc, auprc
    for start in range(0, len(weights), _AT_ONCE):
        drawn = weights[start : start + _AT_ONCE, groups]
        tp = np.cumsum(drawn * positive, axis=1)[:, ends].astype(np.float64)
        all_ = np.cumsum(drawn, axis=1)[:, ends].astype(np.float64)
        fp = all_ - tp
        step = np.diff(tp, axis=1, prepend=0.0)
        p, n = tp[:, -1], fp[:, -1]
        with np.errstate(divide="ignore", invalid="ignore"):
            below = (np.diff(fp, axis=1, prepend=0.0) * (tp - step / 2)).sum(1)
            auroc[start : start + _AT_ONCE] = np.where((p > 0) & (n > 0), below / (p * n), np.nan)
            precision = np.where(all_ > 0, tp / all_, 0.0)
            auprc[start : start + _AT_ONCE] = np.where((p > 0) & (n > 0), (step * precision).sum(1) / p, np.nan)
    return auroc, auprc
