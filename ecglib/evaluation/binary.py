"""Two classes, scored out of fold: from log-odds to metrics with intervals over resampled patients.

A score `s` is the log-odds of the second class at even prior odds: its sign is the decision, which is then the same
whatever the share of sick people. The probability for a set with prior odds `o` is `sigmoid(s + log o)`.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecglib.evaluation import bootstrap, ranking
from ecglib.evaluation.bootstrap import Interval
from ecglib.evaluation.metrics import ratio

Array = NDArray[np.float64]
BINS = 10
METRICS = ("auroc", "auprc", "se", "sp", "ppv", "f1", "accuracy", "ece")


def pooled(beats: pd.DataFrame) -> pd.DataFrame:
    """One row a recording: the mean of its beats' scores.

    Parameters
    ----------
    beats
        One row a beat: `record`, `patient`, `label`, `score`, `log_odds` (prior log-odds of its fold's training part).
    """
    return beats.groupby("record", as_index=False, sort=True).agg(
        {"patient": "first", "label": "first", "score": "mean", "log_odds": "first"}
    )


def values(rows: pd.DataFrame, codes: NDArray[np.int64], drawn: NDArray[np.int64]) -> dict[str, Array]:
    """Every one of `METRICS` on the set and on its resamples, `(1 + resamples,)`; NaN where undefined.

    Parameters
    ----------
    rows
        Recordings or beats, with `label`, `score` and `log_odds`.
    codes, drawn
        From `bootstrap.patient_weights`.

    Returns
    -------
    `auroc` and `auprc` as in `ranking`; `se`, `sp`, `ppv`, `f1` and `accuracy` of the decision; `ece`, the expected
    calibration error of the probabilities in `BINS` bins of equal width (Naeini et al. 2015).
    """
    positive, score = rows["label"].to_numpy() == 1, rows["score"].to_numpy()
    predicted = score >= 0
    auroc, auprc = ranking.auroc_auprc(score, positive, codes, drawn)

    def total(which: NDArray[np.bool_]) -> Array:
        return (drawn @ np.bincount(codes, which, drawn.shape[1])).astype(np.float64)

    tp, fp = total(positive & predicted), total(~positive & predicted)
    fn, tn = total(positive & ~predicted), total(~positive & ~predicted)
    p = 1 / (1 + np.exp(-(score + rows["log_odds"].to_numpy())))
    bins = np.minimum((p * BINS).astype(np.int64), BINS - 1)
    gap = np.zeros(len(drawn))
    for i in range(BINS):
        gap += np.abs(drawn @ np.bincount(codes, (bins == i) * (p - positive), drawn.shape[1]))
    return {
        "auroc": auroc,
        "auprc": auprc,
        "se": ratio(tp, tp + fn),
        "sp": ratio(tn, tn + fp),
        "ppv": ratio(tp, tp + fp),
        "f1": ratio(2 * tp, 2 * tp + fp + fn),
        "accuracy": ratio(tp + tn, tp + fp + fn + tn),
        "ece": ratio(gap, tp + fp + fn + tn),
    }


def intervals(seeds: list[dict[str, Array]]) -> dict[str, Interval]:
    """The metrics of all seeds, each with the 95 % interval of its mean over seeds."""
    return {name: bootstrap.interval(np.stack([one[name] for one in seeds])) for name in seeds[0]}
