"""Beats that were detected against those of a reference, beat by beat, as ANSI/AAMI EC57 compares two annotators.

Counts are confusion matrices as in `metrics`, with one row and one column more, the last, for *no beat*: a detected
beat that is none of the reference's stands in its row (EC57's O), a beat that was missed in its column.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecglib.evaluation import metrics

WINDOW = 0.15
"""Seconds that two beats of a pair may lie apart (EC57)."""

Places = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Matched:
    """Which detected beat is which of the reference's; positions in the two lists."""

    pairs: Places
    """`(n, 2)`: of the reference, and of what was detected; either increases."""
    missed: Places
    """Beats of the reference that nothing was paired with, increasing."""
    extra: Places
    """Detected beats that were paired with none, increasing."""


def match(reference: NDArray[np.int64], detected: NDArray[np.int64], fs: float) -> Matched:
    """Pair beats that are at most `WINDOW` apart, each once; both lists increase, in samples of `fs` Hz.

    The rule is that of `bxb`, EC57's comparator. Of the first beats of the two lists, the earlier is paired with the
    later, unless the one that follows the earlier is as near to the later, or nearer, and has none of its own that is
    nearer still. What is paired or left alone is taken off the lists.

    References
    ----------
    G. B. Moody: bxb, in: WFDB Applications Guide, https://physionet.org/physiotools/wag/bxb-1.htm
    """
    true, found = ([*beats.tolist(), np.inf, np.inf] for beats in (reference, detected))
    near, i, j = WINDOW * fs, 0, 0
    pairs: list[tuple[int, int]] = []
    while i < len(reference) and j < len(detected):
        apart = found[j] - true[i]
        other = abs(true[i] - found[j + 1]) if apart < 0 else abs(found[j] - true[i + 1])
        if abs(apart) <= near and (abs(apart) < other or abs(true[i + 1] - found[j + 1]) < other):
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif apart < 0:
            j += 1
        else:
            i += 1
    paired = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    missed, extra = (np.delete(np.arange(len(b)), p) for b, p in zip((reference, detected), paired.T, strict=True))
    return Matched(paired, missed, extra)


def confusion(matched: Matched, labels: Places, predicted: Places, n_classes: int) -> NDArray[np.int64]:
    """Confusion matrix `(classes + 1, classes + 1)` of the reference's `labels` and of the classes `predicted` for the
    detected beats, numbers below `n_classes`.

    Matrices of several records add up. `metrics.ec57` of one gives VEB and SVEB as EC57 scores them: a missed VEB is a
    false negative, an extra beat called V a false positive.
    """
    here, there = matched.pairs.T
    rows = [labels[here], labels[matched.missed], np.full(len(matched.extra), n_classes)]
    columns = [predicted[there], np.full(len(matched.missed), n_classes), predicted[matched.extra]]
    return metrics.confusion(np.concatenate(rows), np.concatenate(columns), n_classes + 1)


def detection(matrix: NDArray[np.int64]) -> dict[str, metrics.Array]:
    """How well beats of whatever class were found: `se` (sensitivity), `ppv` (+P) and `f1`, each `(...)`, in 0..1 or
    NaN, of matrices `(..., classes + 1, classes + 1)`."""
    m = matrix.astype(np.float64)
    both, extra, missed = m[..., :-1, :-1].sum((-2, -1)), m[..., -1, :-1].sum(-1), m[..., :-1, -1].sum(-1)
    rates = metrics.rates(both, extra, missed, np.zeros_like(both))
    return {name: rates[name] for name in ("se", "ppv", "f1")}
