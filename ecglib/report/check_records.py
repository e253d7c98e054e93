"""Whether a result record's metrics follow from its confusion matrices, and whether it may be a reference result."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ecglib import aami, raw, results
from ecglib.errors import UserError
from ecglib.evaluation import metrics
from ecglib.report.problem import Problem, relative

TOLERANCE: Final = 1e-9
Values = dict[str, NDArray[np.float64]]


def recomputed(record: dict[str, Any]) -> Values:
    """Each field that the confusion matrices give (`metrics.mcc`, `ec57.VEB.se`) -> `(seeds,)`, NaN where undefined.

    Of a multi-class record: all that `ecglib.evaluation.scoring.scores` gives, `macro_f1_nsv` for an inter-patient one,
    `ec57` where the classes are AAMI's. Of a binary one, whose second class is the positive one: `se`, `sp`, `ppv`,
    `f1` and `per_class`. Of a multi-label one: nothing.
    """
    task, classes = record["task"], record["classes"]
    if task not in {"multiclass", "binary"}:
        return {}
    matrices = np.array(record["confusion"], dtype=np.int64)
    one = metrics.per_class(matrices)
    found = {f"per_class.{name}.{kind}": one[kind][:, i] for i, name in enumerate(classes) for kind in one}
    if task == "binary":
        kinds = {"se": "se", "sp": "specificity", "ppv": "ppv", "f1": "f1"}
        return found | {f"metrics.{key}": one[kind][:, 1] for key, kind in kinds.items()}
    macro = [classes.index(name) for name in record["macro_classes"] or classes]
    found |= {f"metrics.{key}": values for key, values in metrics.summary(matrices, macro).items()}
    if record["parameters"].get("protocol") in ("inter", "adapted"):
        nsv = metrics.summary(matrices, [classes.index(name) for name in "NSV"])
        found["metrics.macro_f1_nsv"] = nsv["macro_f1"]
    if set(aami.CLASSES) <= set(classes):
        ectopy = metrics.ec57(matrices, classes)
        found |= {f"ec57.{name}.{key}": values for name, scores in ectopy.items() for key, values in scores.items()}
    return found


def _mean(values: list[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def _differ(a: float | None, b: float | None) -> bool:
    return (a is None) != (b is None) or (a is not None and b is not None and abs(a - b) > TOLERANCE)


def _intervals(content: Any, where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every `{"mean": …}` in the record, with the path of its field."""
    if isinstance(content, dict):
        if "mean" in content:
            yield where, content
        else:
            for key, value in content.items():
                yield from _intervals(value, f"{where}.{key}" if where else key)


def _inconsistent(intervals: dict[str, dict[str, Any]], n_seeds: int) -> Iterator[str]:
    for where, interval in intervals.items():
        mean, low, high = interval["mean"], interval.get("low"), interval.get("high")
        per_seed = interval.get("per_seed") or []
        if len(per_seed) != n_seeds:
            yield f"{where}: {len(per_seed)} values, but {n_seeds} seeds"
        elif _differ(mean, _mean(per_seed)):
            yield f"{where}: mean {mean}, but its seeds give {_mean(per_seed)}"
        # chance adds to an absolute gap, in a resample more than in the set that it is drawn from
        biased = where.rsplit(".", 1)[-1] == "ece"
        if mean is not None and low is not None and low > mean + TOLERANCE and not biased:
            yield f"{where}: low {low} lies above the mean {mean}"
        if mean is not None and high is not None and high < mean - TOLERANCE:
            yield f"{where}: high {high} lies below the mean {mean}"


def _misshapen(record: dict[str, Any]) -> Iterator[str]:
    """Why nothing can be computed from the confusion matrices."""
    classes, seeds, matrices = record["classes"], record["seeds"], record["confusion"]
    n = len(classes)
    needed = set(record["macro_classes"]) | (
        set("NSV") if record["parameters"].get("protocol") in ("inter", "adapted") else set()
    )
    if not seeds:
        yield "seeds: none"
    if record["task"] in {"multiclass", "binary"} and (
        len(matrices) != len(seeds) or any(len(m) != n or any(len(row) != n for row in m) for m in matrices)
    ):
        yield f"confusion: {len(seeds)} seeds and {n} classes ask for {len(seeds)} matrices of {n} x {n}"
    if missing := sorted(needed - set(classes)):
        yield f"classes: {', '.join(missing)} missing"


def _decisions(record: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Where its fields begin, and the record as it is with that decision: its own, and that of moved thresholds."""
    yield "", record
    if record["moved"]:
        yield "moved.", record | record["moved"] | {"unadapted": {}}


def _wrong_scores(record: dict[str, Any], intervals: dict[str, dict[str, Any]]) -> Iterator[str]:
    """The scores that are missing or that the confusion matrices contradict."""
    wanted = recomputed(record)
    if parts := record["unadapted"].get("by_record"):
        before = recomputed(record | {"confusion": np.sum(list(parts.values()), axis=0)})
        wanted |= {f"unadapted.{field}": values for field, values in before.items()}
    for field, values in wanted.items():
        if field not in intervals:
            yield f"{field}: missing"
            continue
        given = intervals[field].get("per_seed") or []
        for seed, a, value in zip(record["seeds"], given, values, strict=False):
            b = None if np.isnan(value) else float(value)
            if _differ(a, b):
                yield f"{field}: {a} for seed {seed}, but the confusion matrix gives {b}"
                break
    if record["parameters"].get("protocol") in ("inter", "adapted"):
        for field in intervals:
            if field.startswith(("metrics.", "per_class.", "ec57.")) and f"without_202.{field}" not in intervals:
                yield f"without_202.{field}: missing"


def _wrong_parts(record: dict[str, Any]) -> Iterator[str]:
    """Where the matrices of the records, or the list of right beats, contradict the confusion matrices."""
    whole = np.array(record["confusion"])
    if record["by_record"]:
        parts = np.sum([np.array(matrices) for matrices in record["by_record"].values()], axis=0)
        if parts.shape != whole.shape or (parts != whole).any():
            yield "by_record: does not add up to confusion"
    for seed, matrix, packed in zip(record["seeds"], whole, record["right"], strict=False):
        try:
            n = int(raw.unpack(packed, int(matrix.sum())).sum())
        except UserError as error:
            yield str(error)
            continue
        if n != np.trace(matrix):
            yield f"right: {n} beats for seed {seed}, but the confusion matrix gives {np.trace(matrix)}"


def _no_reference(record: dict[str, Any]) -> Iterator[str]:
    """Why this can't be a reference result."""
    data = record["data"]
    if record["profile"] != "full":
        yield f"profile: {record['profile']}, but a reference result is made with full"
    if record["overridden"]:
        yield f"overridden: {', '.join(record['overridden'])} changed, but a reference result has its file's parameters"
    if data["synthetic"]:
        yield "data.synthetic: true, but a reference result rests on real records"
    if record["scored"] != "test":
        yield f"scored: {record['scored']}, but a reference result is one on the test set"
    elif record["task"] in {"multiclass", "binary"}:
        for seed, matrix in zip(record["seeds"], record["confusion"], strict=False):
            if (n := sum(map(sum, matrix))) != data["n_test"]:
                yield f"confusion: {n} beats for seed {seed}, but data.n_test is {data['n_test']}"


def _logged(root: Path) -> set[tuple[str, int]]:
    """Key and seed of every logged scoring of DS2; a log that can't be read holds none."""
    path = root / "book" / "results" / "test-reads.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    try:
        return {(line["key"], line["seed"]) for line in map(json.loads, filter(str.strip, lines))}
    except (ValueError, KeyError, TypeError):
        return set()


def _unlogged(record: dict[str, Any], logged: set[tuple[str, int]]) -> Iterator[str]:
    """The seeds that were scored on DS2 without a line in its log."""
    if record["parameters"].get("protocol") in ("inter", "adapted"):
        for seed in record["seeds"]:
            if (record["key"], seed) not in logged:
                yield f"seed {seed}: scored on DS2, but test-reads.jsonl has no line of it"


def check_records(root: Path) -> Iterator[Problem]:
    """Problems of the reference results, `book/results/*/*.json`.

    A reference result has the profile `full`, real records, no overridden parameter, and the test set scored, whose
    size every confusion matrix sums to. What `recomputed` gives must be there and agree within `TOLERANCE`; without
    record 202 the same fields must be there. The decision with moved thresholds is held to the same. Each mean is that
    of its seeds, one value a seed, and lies within its interval, which only a calibration error may undercut. A value
    whose denominator is 0 is null, and left out of means. Macro means are over the record's `macro_classes` where it
    names them, else over all its classes. Every seed that was scored on DS2 has its line in the log of scorings.
    """
    logged = _logged(root)
    for file in sorted((root / "book" / "results").glob("*/*.json")):
        try:
            record = results.load(file).model_dump(mode="json")
        except UserError as error:
            yield Problem.of(error, root, file)
            continue
        messages = [*_no_reference(record), *_unlogged(record, logged)]
        messages += _inconsistent(dict(_intervals(record)), len(record["seeds"]))
        for where, decided in _decisions(record):
            wrong = list(_misshapen(decided))
            wrong = wrong or [*_wrong_scores(decided, dict(_intervals(decided))), *_wrong_parts(decided)]
            messages += [f"{where}{message}" for message in wrong]
        for message in messages:
            yield Problem(relative(file, root), 0, f"{message}; make the record anew: ecglib run --fresh")
