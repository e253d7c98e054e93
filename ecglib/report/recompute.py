"""The metrics of a result record, computed again from the raw material that it holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecglib import aami
from ecglib.evaluation import binary, bootstrap, metrics, scoring
from ecglib.evaluation.bootstrap import Interval
from ecglib.evaluation.metrics import macro
from ecglib.experiment.record import Record
from ecglib.models import registry

Values = NDArray[np.float64]
Matrices = Mapping[str, Any]
"""Record -> its confusion matrix under each seed, `(seeds, classes, classes)`."""
_OF_DECISIONS: Final = ("se", "sp", "ppv", "f1", "accuracy")


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
    """Every metric that follows from the record's raw material, by its field (`per_class.S.se`).

    Parameters
    ----------
    record
        Of a multi-class task: all that confusion matrices by record give, without record 202, before adaptation and
        with moved thresholds too, where these are recorded. Of a binary one: what the decisions on each recording give,
        and the areas under both curves. Of a multi-label one: the same of every label, without low and high, which
        would need each recording's patient.
    n_resamples
        Behind low and high; as many as the record says, if None.
    """
    n = record.intervals.n if n_resamples is None else n_resamples
    content = record.model_dump(mode="json")
    of_task = {"multiclass": _multiclass, "binary": _binary, "multilabel": _multilabel}.get(record.task)
    return {} if of_task is None else dict(of_task(content, n))


def _exact(prefix: str, found: Mapping[str, Any], *, bounds: bool = True) -> Iterator[tuple[str, Again]]:
    for name, value in found.items():
        field = f"{prefix}{name}"
        if isinstance(value, Interval):
            yield field, Again(value, value, bounds)
        else:
            yield from _exact(f"{field}.", value, bounds=bounds)


# --- several classes --------------------------------------------------------------------------------------------------


def _multiclass(record: dict[str, Any], n: int) -> Iterator[tuple[str, Again]]:
    if record["classes"] != list(aami.CLASSES):
        return
    yield from _decision("", record, n)
    if moved := record.get("moved"):
        yield from _decision("moved.", record | {"by_record": {}, "unadapted": {}} | moved, n)


def _decision(prefix: str, record: dict[str, Any], n: int) -> Iterator[tuple[str, Again]]:
    """What follows from the confusion matrices of one decision: that of the networks, or that of moved thresholds."""
    averaged = [aami.CLASSES.index(name) for name in record["macro_classes"] or aami.CLASSES]
    across = record["parameters"].get("protocol") in ("inter", "adapted")
    by_record = record["by_record"]
    if not by_record:
        whole = scoring.scores(np.array(record["confusion"], dtype=np.int64)[:, None], averaged, 0, nsv=across)
        yield from _exact(prefix, {group: found for group, found in whole.items() if record.get(group)}, bounds=False)
        return
    parts: dict[str, Matrices] = {prefix: by_record, "unadapted.": record["unadapted"].get("by_record") or {}}
    if across and "202" in by_record and len(by_record) > 1:
        parts[f"{prefix}without_202."] = {name: one for name, one in by_record.items() if name != "202"}
    for where, matrices in parts.items():
        if matrices:
            each = np.array(list(matrices.values()), dtype=np.int64).swapaxes(0, 1)
            yield from _exact(where, scoring.scores(each, averaged, n, nsv=across))


# --- two classes ------------------------------------------------------------------------------------------------------


def _binary(record: dict[str, Any], n: int) -> Iterator[tuple[str, Again]]:
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
    whole = {name: value for name, value in binary.intervals(decided).items() if name in _OF_DECISIONS}
    yield from _exact("metrics.", whole)
    one = metrics.per_class(matrices.sum(0))
    healthy, ill = record["classes"]
    yield from _exact(f"per_class.{healthy}.", {name: bootstrap.interval(one[name][:, :1]) for name in one})
    yield from _exact(f"per_class.{ill}.", {name: whole[{"specificity": "sp"}.get(name, name)] for name in one})
    for learnt, by_recording in card["scores"].items():
        score = np.array([by_recording[name] for name in parts]).T
        areas = areas_of(label == 1, score, drawn[:, codes], digits=4)
        fields = {"auroc": "metrics.auroc", "auprc": "metrics.auprc"}
        if learnt != "all":
            fields = {"auroc": f"infarction.curve.{learnt}"}
        for name, field in fields.items():
            yield field, Again(bootstrap.interval(areas[name][0]), bootstrap.interval(areas[name][1]))


def areas_of(
    positive: NDArray[np.bool_], rounded: NDArray[np.float64], weights: NDArray[np.integer], digits: int
) -> dict[str, tuple[Values, Values]]:
    """Least and most that AUROC and AUPRC `(seeds, resamples)` can be, of rounded scores `(seeds, recordings)`.

    Scores are rounded to `digits` decimals. Of equal ones, negatives may stand before positives or behind them, and
    positives apart or together. `weights` is `(resamples, recordings)`, as of `labels.recording_weights`.
    """
    found: dict[str, list[Values]] = {"auroc least": [], "auroc most": [], "auprc least": [], "auprc most": []}
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
    names = {"f1": "f1", "se": "se", "sp": "specificity", "ppv": "ppv"}
    values = {name: (np.where(defined, one[kind][..., 1], np.nan),) * 2 for name, kind in names.items()}
    y = np.array(list(card["truth"].values()), dtype=np.bool_)
    p = np.array([card["probabilities"][name] for name in card["truth"]])  # (recordings, seeds, labels)
    digits = 9 if registry.entry(record["parameters"]["model"]).yardstick else 4  # as `ecglib.twelve_lead` keeps them
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
