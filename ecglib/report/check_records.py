"""Whether a result record's metrics follow from its confusion matrices, counted here apart from `ecglib.evaluation`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ecglib import results
from ecglib.errors import UserError
from ecglib.report.problem import Problem, relative

TOLERANCE: Final = 1e-9
Counts = NDArray[np.float64]
Scores = dict[str, list[float | None]]


def _share(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


def _mean(values: list[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return _share(sum(defined), len(defined))


def one_against_rest(matrix: Counts) -> Scores:
    """`se`, `ppv`, `f1` and `specificity` of each class; None where the denominator is 0.

    Parameters
    ----------
    matrix
        `(classes, classes)` counts of beats, rows true, columns predicted.
    """
    n, scores = matrix.sum(), Scores(se=[], ppv=[], f1=[], specificity=[])
    for i in range(len(matrix)):
        tp = matrix[i, i]
        fn, fp = matrix[i].sum() - tp, matrix[:, i].sum() - tp
        scores["se"].append(_share(tp, tp + fn))
        scores["ppv"].append(_share(tp, tp + fp))
        scores["f1"].append(_share(2 * tp, 2 * tp + fp + fn))
        scores["specificity"].append(_share(n - tp - fn - fp, n - tp - fn))
    return scores


def overall(matrix: Counts, classes: list[str], macro: list[str]) -> dict[str, float | None]:
    """The metrics over all classes; macro means are over the classes of `macro` where the value is defined."""
    scores = one_against_rest(matrix)

    def mean(kind: str, names: list[str]) -> float | None:
        return _mean([scores[kind][classes.index(name)] for name in names])

    found = {
        "macro_f1": mean("f1", macro),
        "macro_recall": mean("se", macro),
        "accuracy": _share(float(np.trace(matrix)), float(matrix.sum())),
        "balanced_accuracy": mean("se", classes),
    }
    nsv = ["N", "S", "V"]
    return found | ({"macro_f1_nsv": mean("f1", nsv)} if set(nsv) <= set(classes) else {})


def binary(matrix: Counts) -> dict[str, float | None]:
    """The metrics of a 2 × 2 matrix whose second class is the positive one."""
    scores = one_against_rest(matrix)
    return {key: scores[kind][1] for key, kind in (("se", "se"), ("sp", "specificity"), ("ppv", "ppv"), ("f1", "f1"))}


def _differ(a: float | None, b: float | None) -> bool:
    return (a is None) != (b is None) or (a is not None and b is not None and abs(a - b) > TOLERANCE)


def _intervals(content: Any, where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every `{"mean": …, "per_seed": …}` in the record, with the path of its field."""
    if isinstance(content, dict):
        if {"mean", "per_seed"} <= content.keys():
            yield where, content
        else:
            for key, value in content.items():
                yield from _intervals(value, f"{where}.{key}" if where else key)


def _inconsistent(record: dict[str, Any]) -> Iterator[str]:
    for where, interval in _intervals(record):
        mean, low, high = interval["mean"], interval.get("low"), interval.get("high")
        if len(interval["per_seed"]) != len(record["seeds"]):
            yield f"{where}: {len(interval['per_seed'])} values, but {len(record['seeds'])} seeds"
        elif _differ(mean, _mean(interval["per_seed"])):
            yield f"{where}: mean {mean}, but its seeds give {_mean(interval['per_seed'])}"
        if mean is not None and low is not None and low > mean + TOLERANCE:
            yield f"{where}: low {low} lies above the mean {mean}"
        if mean is not None and high is not None and high < mean - TOLERANCE:
            yield f"{where}: high {high} lies below the mean {mean}"


def _wrong_scores(record: dict[str, Any]) -> Iterator[str]:
    """The scores of every seed that its confusion matrix contradicts."""
    task, classes, seeds = record["task"], record["classes"], record["seeds"]
    if task not in {"multiclass", "binary"}:
        return
    size = (len(seeds), len(classes), len(classes))
    matrices = np.array(record["confusion"], dtype=np.float64)
    if matrices.shape != size:
        yield f"confusion: shape {matrices.shape}, but seeds and classes ask for {size}"
        return
    macro = record.get("macro_classes") or classes
    for k, matrix in enumerate(matrices):
        expected = binary(matrix) if task == "binary" else overall(matrix, classes, macro)
        given = {f"metrics.{key}": record["metrics"].get(key) for key in expected}
        counted = {f"metrics.{key}": value for key, value in expected.items()}
        for kind, values in one_against_rest(matrix).items():
            for name, value in zip(classes, values, strict=True):
                field = f"per_class.{name}.{kind}"
                given[field], counted[field] = record["per_class"].get(name, {}).get(kind), value
        for field, value in counted.items():
            found = (given[field] or {}).get("per_seed") or []
            if k < len(found) and _differ(found[k], value):
                yield f"{field}: {found[k]} for seed {seeds[k]}, but the confusion matrix gives {value}"


def check_records(root: Path) -> Iterator[Problem]:
    """Problems of `book/results/*/*.json`.

    Of a multi-class record, `per_class`, `macro_f1`, `macro_recall`, `accuracy`, `balanced_accuracy` and
    `macro_f1_nsv`; of a binary one, `se`, `sp`, `ppv`, `f1` and `per_class`; of all records, that each mean is that of
    its seeds and lies within its interval. A value whose denominator is 0 is null, and left out of means. Macro means
    are over the record's `macro_classes` where it names them, else over all its classes.
    """
    for file in sorted((root / "book" / "results").glob("*/*.json")):
        try:
            record = results.load(file).model_dump(mode="json")
        except UserError as error:
            yield Problem.of(error, root, file)
            continue
        required = ["macro_f1", "macro_recall", "accuracy"] if record["task"] == "multiclass" else []
        missing = [f"metrics.{key}: missing" for key in required if key not in record["metrics"]]
        for message in [*missing, *_inconsistent(record), *_wrong_scores(record)]:
            yield Problem(relative(file, root), 0, f"{message}; make the record anew: ecglib run --fresh")
