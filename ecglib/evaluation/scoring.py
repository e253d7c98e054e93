"""From stored predictions to the metrics of a result record, each with its interval over resampled records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecglib import aami
from ecglib.evaluation import bootstrap, metrics
from ecglib.results import Interval

Values = dict[str, NDArray[np.float64]]


def by_record(predictions: pd.DataFrame, names: list[str]) -> NDArray[np.int64]:
    """Confusion matrix of every record, `(records, classes, classes)`.

    Parameters
    ----------
    predictions
        One row a beat, with `record`, `label` and `logit_N … logit_Q`.
    names
        The records, in the order wanted.
    """
    logits = predictions[[f"logit_{name}" for name in aami.CLASSES]].to_numpy()
    groups = pd.Categorical(predictions["record"], categories=names).codes.astype(np.int64)
    labels = predictions["label"].to_numpy()
    return metrics.confusion_by(groups, len(names), labels, logits.argmax(1), len(aami.CLASSES))


def scores(matrices: NDArray[np.int64], classes: list[int], n_resamples: int, *, nsv: bool) -> dict[str, Any]:
    """`metrics`, `per_class` and `ec57` of a result record.

    Parameters
    ----------
    matrices
        `(seeds, records, classes, classes)`.
    classes
        The classes that macro means are over.
    n_resamples
        Resamples behind every interval; 0 gives none.
    nsv
        Whether `macro_f1_nsv`, over N, S and V, stands beside `macro_f1`.
    """
    whole = matrices.sum(1)
    drawn = bootstrap.resampled(matrices, n_resamples) if n_resamples else None

    def summary(m: NDArray[np.int64]) -> Values:
        values = metrics.summary(m, classes)
        if nsv:
            values["macro_f1_nsv"] = metrics.summary(m, [aami.CLASSES.index(c) for c in "NSV"])["macro_f1"]
        return values

    def with_intervals(of: Callable[[NDArray[np.int64]], Values]) -> dict[str, Interval]:
        values, spread = of(whole), of(drawn) if drawn is not None else {}
        return {name: interval(value, spread.get(name)) for name, value in values.items()}

    def one_class(i: int) -> Callable[[NDArray[np.int64]], Values]:
        return lambda m: {name: value[..., i] for name, value in metrics.per_class(m).items()}

    def detection(kind: str) -> Callable[[NDArray[np.int64]], Values]:
        return lambda m: metrics.ec57(m, list(aami.CLASSES))[kind]

    return {
        "metrics": with_intervals(summary),
        "per_class": {name: with_intervals(one_class(i)) for i, name in enumerate(aami.CLASSES)},
        "ec57": {kind: with_intervals(detection(kind)) for kind in ("VEB", "SVEB")},
    }


def interval(values: NDArray[np.float64], drawn: NDArray[np.float64] | None) -> Interval:
    """Mean over the seeds `(seeds,)` where it is defined, with the interval of its resamples `(seeds, resamples)`."""
    low, high = (None, None) if drawn is None else bootstrap.interval(drawn)
    per_seed = [None if np.isnan(value) else float(value) for value in values]
    defined = values[~np.isnan(values)]
    return Interval(mean=float(defined.mean()) if len(defined) else None, low=low, high=high, per_seed=per_seed)
