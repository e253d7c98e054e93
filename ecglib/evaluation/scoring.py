"""From stored predictions to the metrics of a result record, each with its interval over resampled records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecglib import aami
from ecglib.evaluation import bootstrap, metrics, ranking
from ecglib.evaluation.bootstrap import Interval

Values = dict[str, NDArray[np.float64]]


def probabilities(predictions: pd.DataFrame) -> NDArray[np.float64]:
    """Softmax of the logits, `(beats, classes)`."""
    logits = predictions[[f"logit_{name}" for name in aami.CLASSES]].to_numpy().astype(np.float64)
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    result: NDArray[np.float64] = shifted / shifted.sum(1, keepdims=True)
    return result


def levels(predictions: pd.DataFrame) -> NDArray[np.uint8]:
    """`probabilities` in 255ths, `(beats, classes)`."""
    return np.rint(255 * probabilities(predictions)).astype(np.uint8)


def predicted(predictions: pd.DataFrame) -> NDArray[np.uint8]:
    """Number of the class that each beat is given, `(beats,)`."""
    found: NDArray[np.uint8] = (
        predictions[[f"logit_{name}" for name in aami.CLASSES]].to_numpy().argmax(1).astype(np.uint8)
    )
    return found


def right(predictions: pd.DataFrame) -> NDArray[np.bool_]:
    """Whether each beat is classified as annotated, `(beats,)`."""
    found: NDArray[np.bool_] = predicted(predictions) == predictions["label"].to_numpy()
    return found


def by_record(predictions: pd.DataFrame, names: list[str]) -> NDArray[np.int64]:
    """Confusion matrix of every record, `(records, classes, classes)`.

    Parameters
    ----------
    predictions
        One row a beat, with `record`, `label` and `logit_N … logit_Q`.
    names
        The records, in the order wanted.
    """
    groups = pd.Categorical(predictions["record"], categories=names).codes.astype(np.int64)
    labels = predictions["label"].to_numpy()
    return metrics.confusion_by(groups, len(names), labels, predicted(predictions).astype(np.int64), len(aami.CLASSES))


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
    drawn = bootstrap.resampled(matrices, n_resamples)

    def summary(m: NDArray[np.int64]) -> Values:
        values = metrics.summary(m, classes)
        if nsv:
            values["macro_f1_nsv"] = metrics.summary(m, [aami.CLASSES.index(c) for c in "NSV"])["macro_f1"]
        return values

    def with_intervals(of: Callable[[NDArray[np.int64]], Values]) -> dict[str, Interval]:
        return {name: bootstrap.interval(values) for name, values in of(drawn).items()}

    def one_class(i: int) -> Callable[[NDArray[np.int64]], Values]:
        return lambda m: {name: value[..., i] for name, value in metrics.per_class(m).items()}

    def detection(kind: str) -> Callable[[NDArray[np.int64]], Values]:
        return lambda m: metrics.ec57(m, list(aami.CLASSES))[kind]

    return {
        "metrics": with_intervals(summary),
        "per_class": {name: with_intervals(one_class(i)) for i, name in enumerate(aami.CLASSES)},
        "ec57": {kind: with_intervals(detection(kind)) for kind in ("VEB", "SVEB")},
    }


def ranked(tables: list[pd.DataFrame], names: list[str], classes: list[int], n_resamples: int) -> dict[str, Any]:
    """`metrics` (`macro_auroc`, `macro_auprc`) and `per_class` (`auroc`, `auprc`), one class against the rest.

    Parameters
    ----------
    tables
        One table of predictions a seed, as for `by_record`.
    names
        The records to score on.
    classes
        The classes that macro means are over.
    n_resamples
        Resamples behind every interval, of the same records as in `scores`; 0 gives none.
    """
    weights = bootstrap.record_weights(len(names), n_resamples)
    areas = np.stack([_areas(table[table["record"].isin(names)], names, weights) for table in tables])
    macro = metrics.macro(np.moveaxis(areas[:, classes], 1, -1))

    def both(values: NDArray[np.float64], prefix: str = "") -> dict[str, Interval]:
        return {f"{prefix}{name}": bootstrap.interval(values[:, i]) for i, name in enumerate(("auroc", "auprc"))}

    return {
        "metrics": both(macro, "macro_"),
        "per_class": {name: both(areas[:, i]) for i, name in enumerate(aami.CLASSES)},
    }


def _areas(predictions: pd.DataFrame, names: list[str], weights: NDArray[np.int64]) -> NDArray[np.float64]:
    """`(classes, 2, resamples)`: AUROC and AUPRC of every class."""
    groups = pd.Categorical(predictions["record"], categories=names).codes.astype(np.int64)
    labels, p = predictions["label"].to_numpy(), probabilities(predictions)
    return np.stack([ranking.auroc_auprc(p[:, i], labels == i, groups, weights) for i in range(len(aami.CLASSES))])
