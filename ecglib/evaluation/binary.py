"""Two classes, scored out of fold: from log-odds to metrics with intervals over resampled patients.

A score `s` is the log-odds of the second class at even prior odds: its sign is the decision, which is then the same
whatever the share of sick people. The probability for a set with prior odds `o` is `sigmoid(s + log o)`.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecglib.evaluation import bootstrap, labels, ranking
from ecglib.evaluation.bootstrap import Interval

Array = NDArray[np.float64]
METRICS = ("auroc", "auprc", "se", "sp", "ppv", "f1", "accuracy", "ece")


def pooled(beats: pd.DataFrame) -> pd.DataFrame:
    """One row a recording, with the mean of its beats' scores; a beat's row has `record`, `patient`, `label`, `score`
    and `log_odds` (prior log-odds of its fold's training part)."""
    return beats.groupby("record", as_index=False, sort=True).agg(
        {"patient": "first", "label": "first", "score": "mean", "log_odds": "first"}
    )


def values(rows: pd.DataFrame, codes: NDArray[np.int64], drawn: NDArray[np.int64]) -> dict[str, Array]:
    """Every one of `METRICS` on the set and on its resamples, `(1 + resamples,)`; NaN where undefined.

    Rows are recordings or beats with `label`, `score` and `log_odds`; `codes` and `drawn` are those of
    `bootstrap.patient_weights`. `auroc` and `auprc` are as in `ranking`, `ece` is the calibration error of the
    probabilities, the others are of the decision.
    """
    positive, score = rows["label"].to_numpy() == 1, rows["score"].to_numpy()
    auroc, auprc = ranking.auroc_auprc(score, positive, codes, drawn)
    p = 1 / (1 + np.exp(-(score + rows["log_odds"].to_numpy())))
    decided, ece = labels.rates(positive, score >= 0, drawn, codes), labels.calibration_error(positive, p, drawn, codes)
    return {"auroc": auroc, "auprc": auprc, **decided, "ece": ece}


def intervals(seeds: list[dict[str, Array]]) -> dict[str, Interval]:
    """The metrics of all seeds, each with the 95 % interval of its mean over seeds."""
    return bootstrap.intervals({name: np.stack([one[name] for one in seeds]) for name in seeds[0]})
