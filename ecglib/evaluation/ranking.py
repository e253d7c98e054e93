"""How well scores rank a class before the rest: AUROC and AUPRC, with resamples of whole groups.

The values are those of scikit-learn's `roc_auc_score` and `average_precision_score`, ties too. Both areas are sums over
the scores that something of the class has. What is at each of them is counted once, by group; a resample then only
weighs the groups anew, in products with sparse matrices. So many beats of few records cost as little as one recording
of each patient.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ecglib.evaluation.metrics import ratio

Array = NDArray[np.float64]
CELLS: Final = 2_000_000
"""Of an intermediate matrix, to keep memory flat whatever is scored."""


def auroc_auprc(
    scores: NDArray[np.floating], positive: NDArray[np.bool_], groups: NDArray[np.int64], weights: NDArray[np.integer]
) -> tuple[Array, Array]:
    """Areas under the ROC curve (Hanley & McNeil 1982) and, as average precision, the precision-recall curve.

    Scores `(n,)` are higher where the class is more likely, `positive` `(n,)` says what is of the class, `groups`
    `(n,)` number the group, such as a record or a patient, that each belongs to. `weights` `(resamples, groups)` says
    how often each resample holds each group; a row of ones is the set itself.

    Both areas are `(resamples,)`, NaN where a resample has nothing of the class or nothing of the rest.
    """
    auroc, auprc = np.full((2, len(weights)), np.nan)
    if not positive.any() or positive.all():
        return auroc, auprc
    levels, level = np.unique(-scores[positive], return_inverse=True)  # the highest score first
    rest, groups_of_rest = -scores[~positive], groups[~positive]
    before = np.searchsorted(levels, rest)  # the first level that is no higher
    ranked = before < len(levels)
    tied = ranked & (levels[np.minimum(before, len(levels) - 1)] == rest)

    def counted(at: NDArray[np.integer], of: NDArray[np.int64]) -> sparse.csr_array:
        return sparse.csr_array((np.ones(len(at)), (at, of)), shape=(len(levels), weights.shape[1]))

    here = counted(level, groups[positive])
    above, beside = (counted(before[which], groups_of_rest[which]) for which in (ranked, tied))
    all_of_rest = np.bincount(groups_of_rest, minlength=weights.shape[1]).astype(np.float64)
    step = max(1, CELLS // len(levels))
    for start in range(0, len(weights), step):
        some = slice(start, start + step)
        drawn = np.ascontiguousarray(weights[some].T, dtype=np.float64)
        more = here @ drawn
        tp, fp = more.cumsum(0), (above @ drawn).cumsum(0)
        p, n = tp[-1], all_of_rest @ drawn
        in_order = (more * (n - fp + (beside @ drawn) / 2)).sum(0)  # pairs of one of the class and another; ties half
        precision = tp / np.maximum(tp + fp, 1)
        auroc[some] = ratio(in_order, p * n)
        auprc[some] = np.where(n > 0, ratio((more * precision).sum(0), p), np.nan)
    return auroc, auprc
