"""The metrics of a result record, computed again from the raw material that it holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecglib import aami
from ecglib.evaluation import binary, bootstrap, metrics, scoring
from ecglib.evaluation.bootstrap import Interval
from ecglib.evaluation.metrics import macro
from ecglib.experiment import record as results
from ecglib.experiment import twelve_lead
from ecglib.experiment.record import Record
from ecglib.models import registry

Values = NDArray[np.float64]
_BY_CLASS: Final = {"se": "se", "sp": "specificity", "ppv": "ppv", "f1": "f1"}
"""A metric of decisions on one class or label -> its name among those of every class."""


@dataclass(frozen=True)
class Again:
    """What a metric can be, mean, bounds and values by seed: where scores of different classes were equal after they
    were rounded, their order is not known, and it lies between the values of the worst order and of the best.

    `bounds` says whether low and high were computed, for which every seed's resamples are needed.
    """

    least: Interval
    most: Interval
    bounds: bool = True


def again(record: Record, n_resamples: int | None = None) -> dict[str, Again]:
    """Every metric that follows from the record's raw material, by its field (`per_class.S.se`); `n_resamples` are
    behind low and high, as many as the record says, if None.

    Of a multi-class task: all that `ecglib.evaluation.scoring.scores` gives, of confusion matrices by record, without
    record 202, before adaptation and with moved thresholds too, where these are recorded. Of a binary one, whose second
    class is the positive one: what the decisions on each recording give, and the areas under both curves. Of either,
    where nothing is known by record, what the confusion matrices give, without low and high. Of a multi-label one: the
    same of every label, without low and high, which would need each recording's patient.
    """
    n = record.intervals.n if n_resamples is None else n_resamples
    of_task = {"multiclass": _multiclass, "binary": _binary, "multilabel": _multilabel}.get(record.task)
    return {} if of_task is None else dict(of_task(record.model_dump(mode="json"), n))


def decisions(record: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Where its fields begin, and the record as it is with that decision: its own, and that of moved thresholds."""
    yield "", record
    if record["moved"]:
        yield "moved.", record | record["moved"] | {"unadapted": {}, "predicted": ""}


def across_patients(parameters: Mapping[str, Any]) -> bool:
    """Whether patients are apart in a result of beats with these parameters."""
    return parameters.get("protocol") in ("inter", "adapted", "cross-database")


def _exact(prefix: str, found: Mapping[str, Any]) -> Iterator[tuple[str, Again]]:
    for name, value in found.items():
        if isinstance(value, Mapping):
            yield from _exact(f"{prefix}{name}.", value)
        else:  # values of the seeds alone have no bounds
            interval = value if isinstance(value, Interval) else bootstrap.interval(value[:, None])
            yield f"{prefix}{name}", Again(interval, interval, bounds=interval is value)


def _by_class(matrices: NDArray[np.int64], classes: Sequence[str]) -> dict[str, dict[str, Values]]:
    one = metrics.per_class(matrices)
    return {name: {kind: one[kind][:, i] for kind in one} for i, name in enumerate(classes)}


# --- several classes --------------------------------------------------------------------------------------------------


def _multiclass(record: dict[str, Any], n: int) -> Iterator[tuple[str, Again]]:
    classes, across = record["classes"], across_patients(record["parameters"])
    averaged = [classes.index(name) for name in record["macro_classes"] or classes]
    for prefix, decided in decisions(record):
        whole = np.array(decided["confusion"], dtype=np.int64)
        overall = metrics.summary(whole, averaged)
        if across:
            overall["macro_f1_nsv"] = metrics.summary(whole, [classes.index(name) for name in "NSV"])["macro_f1"]
        ec57 = metrics.ec57(whole, classes) if set(aami.CLASSES) <= set(classes) else {}
        yield from _exact(prefix, {"metrics": overall, "per_class": _by_class(whole, classes), "ec57": ec57})
        by_record = decided["by_record"]
        parts = {prefix: by_record, "unadapted.": decided["unadapted"].get("by_record")}
        if results.from_ds1(record["parameters"]) and "202" in by_record and len(by_record) > 1:
            parts[f"{prefix}without_202."] = {name: one for name, one in by_record.items() if name != "202"}
        for where, matrices in parts.items():
            if matrices and classes == list(aami.CLASSES):
                each = np.array(list(matrices.values()), dtype=np.int64).swapaxes(0, 1)
                yield from _exact(where, scoring.scores(each, averaged, n, nsv=across))


# --- two classes ------------------------------------------------------------------------------------------------------


def _binary(record: dict[str, Any], n: int) -> Iterator[tuple[str, Again]]:
    healthy, ill = record["classes"]
    by_class = _by_class(np.array(record["confusion"], dtype=np.int64), record["classes"])
    yield from _exact("metrics.", {key: by_class[ill][kind] for key, kind in _BY_CLASS.items()})
    yield from _exact("per_class.", by_class)
    card, parts = record.get("infarction"), record["by_record"]
    if card is None or not parts:
        return
    matrices = np.array(list(parts.values()), dtype=np.int64)  # (recordings, seeds, 2, 2), each with a single one
    label = matrices[:, 0].sum(2).argmax(1)
    patients = pd.Series([card["patients"].get(name, "") for name in parts])
    codes, drawn = bootstrap.patient_weights(patients, n)
    decided = [
        binary.values(pd.DataFrame({"label": label, "score": given - 0.5, "log_odds": 0.0}), codes, drawn)
        for given in matrices.sum(2).argmax(2).T
    ]
    whole = {name: value for name, value in binary.intervals(decided).items() if name in {*_BY_CLASS, "accuracy"}}
    yield from _exact("metrics.", whole)
    yield from _exact(f"per_class.{ill}.", {kind: whole[key] for key, kind in _BY_CLASS.items()})
    of_all = {name: bootstrap.interval(values[:, None]) for name, values in by_class[healthy].items()}
    yield from _exact(f"per_class.{healthy}.", of_all)
    for learnt, by_recording in card["scores"].items():
        score = np.array([by_recording[name] for name in parts]).T
        areas = areas_of(label == 1, score, drawn[:, codes], digits=4)
        for name in ("auroc", "auprc") if learnt == "all" else ("auroc",):
            field = f"metrics.{name}" if learnt == "all" else f"infarction.curve.{learnt}"
            least, most = map(bootstrap.interval, areas[name])
            yield field, Again(least, most)


def areas_of(
    positive: NDArray[np.bool_], rounded: NDArray[np.float64], weights: NDArray[np.integer], digits: int
) -> dict[str, tuple[Values, Values]]:
    """Least and most that AUROC and AUPRC `(seeds, resamples)` can be, of rounded scores `(seeds, recordings)`.

    Scores are rounded to `digits` decimals. Of equal ones, negatives may stand before positives or behind them, and
    positives apart or together. `weights` is `(resamples, recordings)`, as of `labels.recording_weights`.
    """
    found = defaultdict[str, list[Values]](list)
    for scores in np.rint(rounded * 10.0**digits):
        order = np.argsort(-scores)
        own, is_positive = weights[:, order].astype(np.float64), positive[order]
        tp, fp = (np.pad((own * which).cumsum(1), ((0, 0), (1, 0))) for which in (is_positive, ~is_positive))
        level = -scores[order]
        before, through = np.searchsorted(level, level), np.searchsorted(level, level, "right")
        own *= is_positive
        n = fp[:, -1:]
        with np.errstate(divide="ignore", invalid="ignore"):
            each = {
                "auroc least": (n - fp[:, through]) / n,
                "auroc most": (n - fp[:, before]) / n,
                "auprc least": (tp[:, before] + own) / (tp[:, before] + own + fp[:, through]),
                "auprc most": tp[:, through] / (tp[:, through] + fp[:, before]),
            }
            for name, value in each.items():
                mean = np.where(own > 0, own * value, 0).sum(1) / tp[:, -1]
                found[name].append(np.where(n[:, 0] > 0, mean, np.nan))
    return {name: (np.stack(found[f"{name} least"]), np.stack(found[f"{name} most"])) for name in ("auroc", "auprc")}


# --- several labels ---------------------------------------------------------------------------------------------------


def _multilabel(record: dict[str, Any], n: int) -> Iterator[tuple[str, Again]]:
    card = record.get("twelve_lead")
    if card is None:
        return
    cells = np.array(record["confusion"], dtype=np.int64).reshape(len(record["seeds"]), len(record["classes"]), 2, 2)
    defined = (cells.sum(3) > 0).all(2)
    one = metrics.per_class(cells)
    values = {name: (np.where(defined, one[kind][..., 1], np.nan),) * 2 for name, kind in _BY_CLASS.items()}
    y = np.array(list(card["truth"].values()), dtype=np.bool_)
    p = np.array([card["probabilities"][name] for name in card["truth"]])  # (recordings, seeds, labels)
    yardstick = registry.entry(record["parameters"]["model"]).yardstick
    digits = twelve_lead.OF_YARDSTICKS if yardstick else twelve_lead.OF_NETWORKS
    one_weight = np.ones((1, len(y)), dtype=np.int64)
    areas = [areas_of(y[:, c], p[:, :, c].T, one_weight, digits) for c in range(y.shape[1])]
    for name in areas[0]:
        least, most = (np.concatenate([one[name][i] for one in areas], axis=1) for i in range(2))
        values[name] = least, most
    for name, (least, most) in values.items():
        fields = {f"metrics.macro_{name}": (macro(least), macro(most))}
        fields |= {f"per_class.{label}.{name}": (least[:, c], most[:, c]) for c, label in enumerate(record["classes"])}
        for field, (low, high) in fields.items():
            yield field, Again(bootstrap.interval(low[:, None]), bootstrap.interval(high[:, None]), bounds=False)
