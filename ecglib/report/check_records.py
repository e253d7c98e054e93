"""Whether a result record's metrics follow from its raw material, and whether it may be a reference result."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ecglib.errors import UserError
from ecglib.experiment import raw
from ecglib.experiment import record as results
from ecglib.experiment.record import Record
from ecglib.report import recompute
from ecglib.report.problem import Problem, relative
from ecglib.report.tables import logged, mean_of

TOLERANCE: Final = 1e-9
_OF_CLASSES: Final = {"se", "sp", "specificity", "ppv", "f1", "fpr", "auroc", "auprc"}
_MACRO: Final = {f"macro_{kind}" for kind in ("recall", "f1", "f1_nsv", "se", "sp", "ppv", "auroc", "auprc")}
IN_EVERY_RECORD: Final = {"accuracy", "balanced_accuracy", "mcc"} | _OF_CLASSES | _MACRO
"""Metrics that no record may lack. One that is added later is not in the records of before, which show "–"."""


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
        elif _outside(mean, expected := mean_of(per_seed), expected):
            yield f"{where}: mean {mean}, but its seeds give {expected}"
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
    needed = {*record["macro_classes"], *("NSV" if recompute.across_patients(record["parameters"]) else "")}
    if not seeds:
        yield "seeds: none"
    shape = [[len(row) for row in matrix] for matrix in matrices]
    if record["task"] in {"multiclass", "binary"} and shape != [[n] * n] * len(seeds):
        yield f"confusion: {len(seeds)} seeds and {n} classes ask for {len(seeds)} matrices of {n} x {n}"
    if missing := sorted(needed - set(classes)):
        yield f"classes: {', '.join(missing)} missing"


def _contradictions(loaded: Record, record: dict[str, Any]) -> Iterator[str]:
    """What the raw material contradicts."""
    for where, decided in recompute.decisions(record):
        intervals = dict(_intervals(decided))
        shown = [field for field in intervals if field.startswith(("metrics.", "per_class.", "ec57."))]
        wrong = [f"without_202.{field}: missing" for field in shown if f"without_202.{field}" not in intervals]
        yield from (f"{where}{message}" for message in wrong if results.from_ds1(record["parameters"]))
        yield from (f"{where}{message}" for message in _wrong_parts(decided))
    yield from _wrong_again(loaded, dict(_intervals(record)))


def _wrong_again(record: Record, intervals: dict[str, dict[str, Any]]) -> Iterator[str]:
    """The metrics that are missing or that the raw material contradicts, with their intervals."""
    for field, again in recompute.again(record).items():
        if field not in intervals:
            if field.startswith("infarction.") or field.rpartition(".")[2] in IN_EVERY_RECORD:
                yield f"{field}: missing"
            continue
        given, (least, most) = intervals[field], (one.model_dump() for one in (again.least, again.most))
        values = zip(record.seeds, given["per_seed"], least["per_seed"], most["per_seed"], strict=False)
        shown = [(f"{value} for seed {seed}", value, lowest, highest) for seed, value, lowest, highest in values]
        bounds = ("low", "high") if again.bounds else ()
        shown += [(f"{bound} {given[bound]}", given[bound], least[bound], most[bound]) for bound in bounds]
        for said, value, lowest, highest in shown:
            if _outside(value, lowest, highest):
                wanted = lowest if lowest == highest else f"{lowest} to {highest}"
                yield f"{field}: {said}, but the raw material gives {wanted}"
                break


def _outside(given: float | None, least: float | None, most: float | None) -> bool:
    if given is None or least is None or most is None:
        return not given is least is most
    return not least - TOLERANCE <= given <= most + TOLERANCE


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
    yield from _wrong_beats(record, whole)
    yield from _wrong_recordings(record)


def _wrong_beats(record: dict[str, Any], whole: NDArray[np.int64]) -> Iterator[str]:
    """Where classes or class scores of the first seed's beats contradict its confusion matrix, or each other."""
    if not record["predicted"]:
        return
    predicted = raw.unpack(record["predicted"])
    if (np.bincount(predicted, minlength=len(record["classes"])) != whole[0].sum(0)).any():
        yield "predicted: other numbers of beats than the columns of the confusion matrix"
        return
    levels = np.stack([raw.unpack(record["class_scores"][name]) for name in record["classes"]])
    if (levels[predicted, np.arange(len(predicted))] != levels.max(0)).any():
        yield "class_scores: a beat's class is not that of its highest score"


def _wrong_recordings(record: dict[str, Any]) -> Iterator[str]:
    """Where the scores of recordings contradict the decisions on them, or the labels the confusion matrices."""
    if (card := record.get("infarction")) and "all" in card["scores"]:
        for name, matrices in record["by_record"].items():
            for seed, matrix, score in zip(record["seeds"], matrices, card["scores"]["all"][name], strict=False):
                if score and (score > 0) != bool(np.sum(matrix, axis=0)[1]):
                    yield f"infarction.scores: {score} of {name} for seed {seed}, but it was decided otherwise"
    if card := record.get("twelve_lead"):
        positives = np.sum(list(card["truth"].values()), axis=0).tolist()
        for seed, cells in zip(record["seeds"], np.array(record["confusion"]), strict=False):
            if positives != cells.reshape(len(positives), 4)[:, 2:].sum(1).tolist():
                yield f"twelve_lead.truth: other numbers of labels than the confusion matrices of seed {seed}"


def _no_reference(record: dict[str, Any]) -> Iterator[str]:
    """Why this can't be a reference result."""
    data = record["data"]
    if record["profile"] != "full":
        yield f"profile: {record['profile']}, but a reference result is made with full"
    if record["overridden"]:
        yield f"overridden: {', '.join(record['overridden'])} changed, but a reference result has its file's parameters"
    if data["sample"]:
        yield "data.sample: true, but a reference result rests on more than the sample"
    if record["scored"] != "test":
        yield f"scored: {record['scored']}, but a reference result is one on the test set"
    elif record["task"] in {"multiclass", "binary"}:
        for seed, matrix in zip(record["seeds"], record["confusion"], strict=False):
            if (n := sum(map(sum, matrix))) != data["n_test"]:
                yield f"confusion: {n} beats for seed {seed}, but data.n_test is {data['n_test']}"


def faults(record: Record) -> list[str]:
    """Why a record is no reference result: each field that contradicts others, and what such a result may not be.

    A reference result has the profile `full`, more than the sample, no overridden parameter, and the test set scored,
    whose size every confusion matrix sums to. What `recompute.again` gives must be there and agree within `TOLERANCE`,
    low and high among it; without record 202 the same fields must be there. The decision with moved thresholds is held
    to the same. Each mean is that of its seeds, one value a seed, and lies within its interval, which only a
    calibration error may undercut. A value whose denominator is 0 is null, and left out of means. Macro means are over
    the record's `macro_classes` where it names them, else over all its classes.
    """
    content = record.model_dump(mode="json")
    messages = [*_no_reference(content), *_inconsistent(dict(_intervals(content)), len(record.seeds))]
    misshapen = [f"{where}{said}" for where, one in recompute.decisions(content) for said in _misshapen(one)]
    try:
        messages += misshapen or _contradictions(record, content)
    except (LookupError, ValueError) as error:
        messages.append(f"raw material: its parts don't fit each other ({type(error).__name__}: {error})")
    return list(dict.fromkeys(messages))


def check_records(root: Path) -> Iterator[Problem]:
    """The `faults` of the reference results, `book/results/*/*.json`, and every seed that was scored on DS2 without its
    line in the log of scorings; one that can't be read holds none."""
    try:
        scored = {(line["key"], line["seed"]) for line in logged(root / "book" / "results" / "test-reads.jsonl")}
    except (UserError, KeyError):
        scored = set()
    for file in sorted((root / "book" / "results").glob("*/*.json")):
        try:
            record = results.load(file)
        except UserError as error:
            yield Problem.of(error, root, file)
            continue
        seeds = record.seeds if results.on_ds2(record.parameters) else []
        unlogged = [seed for seed in seeds if (record.key, seed) not in scored]
        messages = [f"seed {seed}: scored on DS2, but test-reads.jsonl has no line of it" for seed in unlogged]
        for message in [*messages, *faults(record)]:
            yield Problem(relative(file, root), 0, f"{message}; make the record anew: ecglib run --fresh")


def not_recomputed(records: Iterable[Record]) -> list[str]:
    """The metrics that nothing in their records can be computed again from, one line a task, and those of which only
    low and high can't."""
    kinds: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        try:
            again = recompute.again(record, 0)
        except (LookupError, ValueError):
            continue  # a fault, and told as one
        fields = dict(_intervals(record.model_dump(mode="json")))
        bounded = [field for field in fields.keys() & again.keys() if fields[field]["low"] is not None]
        kinds[record.task].update({_kind(field) for field in fields.keys() - again.keys()})
        unknown = {_kind(field) for field in bounded if not again[field].bounds}
        kinds[f"{record.task}, low and high"].update(unknown)
    return [
        f"{task}: not computed again, for want of raw material: "
        + ", ".join(f"{kind} ({n})" for kind, n in sorted(counts.items()))
        for task, counts in kinds.items()
        if counts
    ]


def _kind(field: str) -> str:
    """A field without the name of its class; of a card's, only which part of the card."""
    part = re.match(r"(?:infarction|twelve_lead)\.[^.]+", field)
    return part[0] if part else re.sub(r"(per_class|ec57)\.[^.]+", r"\1.*", field)
