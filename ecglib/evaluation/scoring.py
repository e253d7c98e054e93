"""From stored predictions to the metrics of a result record, each with its interval over resampled records."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import softmax

from ecglib import aami
from ecglib.evaluation import bootstrap, labels, metrics

LOGITS = [f"logit_{name}" for name in aami.CLASSES]


def probabilities(predictions: pd.DataFrame) -> NDArray[np.float64]:
    """Softmax of the logits, `(beats, classes)`."""
    return np.asarray(softmax(predictions[LOGITS].to_numpy().astype(np.float64), axis=1))


def levels(predictions: pd.DataFrame) -> NDArray[np.uint8]:
    """`probabilities` in 255ths, `(beats, classes)`."""
    return np.rint(255 * probabilities(predictions)).astype(np.uint8)


def predicted(predictions: pd.DataFrame) -> NDArray[np.uint8]:
    """Number of the class that each beat is given, `(beats,)`."""
    return np.asarray(predictions[LOGITS].to_numpy().argmax(1).astype(np.uint8))


def right(predictions: pd.DataFrame) -> NDArray[np.bool_]:
    """Whether each beat is classified as annotated, `(beats,)`."""
    return np.asarray(predicted(predictions) == predictions["label"].to_numpy())


def by_record(predictions: pd.DataFrame, names: list[str]) -> NDArray[np.int64]:
    """Confusion matrices `(records, classes, classes)` of the records `names`, from predictions with a row a beat:
    `record`, `label` and `logit_N … logit_Q`."""
    beats = predictions["label"].to_numpy(), predicted(predictions).astype(np.int64)
    return metrics.confusion_by(_numbers(predictions, names), len(names), *beats, len(aami.CLASSES))


def scores(matrices: NDArray[np.int64], classes: list[int], n_resamples: int, *, nsv: bool) -> dict[str, Any]:
    """`metrics`, `per_class` and `ec57` of a result record, from matrices `(seeds, records, classes, classes)`.

    Macro means are over `classes`; with `nsv`, `macro_f1_nsv` over N, S and V stands beside `macro_f1`. Without
    resamples there are no intervals.
    """
    drawn = bootstrap.resampled(matrices, n_resamples)
    summary, per_class = metrics.summary(drawn, classes), metrics.per_class(drawn)
    if nsv:
        summary["macro_f1_nsv"] = metrics.summary(drawn, [aami.CLASSES.index(c) for c in "NSV"])["macro_f1"]
    return {
        "metrics": bootstrap.intervals(summary),
        "per_class": bootstrap.by_class(per_class, aami.CLASSES),
        "ec57": {kind: bootstrap.intervals(of) for kind, of in metrics.ec57(drawn, list(aami.CLASSES)).items()},
    }


def ranked(tables: list[pd.DataFrame], names: list[str], classes: list[int], n_resamples: int) -> dict[str, Any]:
    """`metrics` (`macro_auroc`, `macro_auprc`) and `per_class` (`auroc`, `auprc`), one class against the rest.

    Each seed has a table as for `by_record`, of which the records `names` count. Macro means are over `classes`;
    resamples are of the same records as in `scores`.
    """
    weights, seeds = bootstrap.record_weights(len(names), n_resamples), []
    for table in tables:
        kept = table[table["record"].isin(names)]
        y = kept["label"].to_numpy()[:, None] == np.arange(len(aami.CLASSES))
        auroc, auprc = labels.areas(y, probabilities(kept), weights, _numbers(kept, names))
        seeds.append({"auroc": auroc, "auprc": auprc})
    macro, per_class = labels.intervals(seeds, aami.CLASSES, classes)
    return {"metrics": macro, "per_class": per_class}


def _numbers(predictions: pd.DataFrame, names: list[str]) -> NDArray[np.int64]:
    return pd.Categorical(predictions["record"], categories=names).codes.astype(np.int64)
