"""Published results beside ours, aims, and what was tried: `published.yml`, `aims.yml` and `tried.yml` of `book/`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

import yaml

from ecglib import paths
from ecglib.errors import UserError
from ecglib.evaluation.bootstrap import Interval
from ecglib.experiment.record import Record
from ecglib.report import tables
from ecglib.report.comparisons import best, link, of
from ecglib.report.names import ANSWERS, NOT_RUN, PROTOCOLS, UNDEFINED, metric_name
from ecglib.report.tables import HOLDS_MOST_S, interval, number, without

_SCORES: Final = ("S", "V", "accuracy", "macro-F1", "S F1 in excerpts")
"""Keys of scores in `tried.yml`: F1 of a class, or the score of that name."""


def published(records: Sequence[Record]) -> str:
    """Published results beside the one of ours that is best on validation under the same protocol (`published.yml`)."""
    rows = []
    for entry in of_task(entries(), "beats"):
        ours = best(of(records, **entry.get("ours", {})), entry["protocol"], entry["metric"])
        value, of_s = None if ours is None else _value(ours, entry), entry["metric"].split(".")[0] in ("S", "SVEB")
        rows.append(theirs(entry) | {"ours": _ours(ours, value, of_s=of_s)})
    return tables.table(rows)


def one_record(records: Iterable[Record]) -> str:
    """Results of ours whose features were changed because of a record of DS2, with and without that record."""
    rows = [
        {
            "model": link(r),
            "protocol": PROTOCOLS[r.parameters["protocol"]],
            "imbalance": ANSWERS[r.parameters["imbalance"]],
            "S F1": interval(r.per_class["S"]["f1"]),
            f"S F1 without {HOLDS_MOST_S}": number(without(r, HOLDS_MOST_S, "S")),
            "V F1": interval(r.per_class["V"]["f1"]),
            "accuracy": interval(r.metrics["accuracy"]),
        }
        for r in filter(tables.suggested_by_test, records)
    ]
    return tables.table(rows)


def theirs(entry: Mapping[str, Any]) -> dict[str, str]:
    """A published result as cells of a row."""
    source = f"{entry['model']} [@{entry['cite']}]" if entry.get("cite") else entry["model"]
    row = {"source": source, "protocol": PROTOCOLS[entry["protocol"]], "metric": _metric_title(entry)}
    row["published"] = number(entry["value"]) + (f" ± {number(entry['spread'])}" if "spread" in entry else "")
    return row | {"known flaw": entry.get("flaw", UNDEFINED)}


def entries() -> list[dict[str, Any]]:
    """The entries of `book/published.yml`; UserError where it is no list of mappings with the fields needed, or one
    names no protocol."""
    found = listed("published.yml", {"model", "protocol", "metric", "value"})
    for i, entry in enumerate(found, 1):
        if entry["protocol"] not in PROTOCOLS:
            raise UserError(paths.book() / "published.yml", f"entry {i}: {entry['protocol']}", ", ".join(PROTOCOLS))
    return found


def _ours(found: Record | None, value: Interval | None, *, of_s: bool = False) -> str:
    """Our result as a cell; of S that of a test set which suggested its features is told without that record too."""
    if found is None:
        return NOT_RUN
    alone = ""
    if of_s and tables.suggested_by_test(found):
        alone = f", {number(without(found, HOLDS_MOST_S, 'S'))} without {HOLDS_MOST_S}"
    return f"{interval(value)} ({link(found)}{alone})"


def _value(record: Record, entry: Mapping[str, Any]) -> Interval | None:
    """`macro_f1`, `S.f1` of a class, or `SVEB.f1` by EC57; over other classes than the record's own, the mean alone."""
    name, _, key = entry["metric"].rpartition(".")
    if name in record.ec57:
        return record.ec57[name].get(key)
    if entry.get("classes") is not None:
        kind = "f1" if key == "macro_f1" else "se"
        return Interval(mean=tables.mean_of(record.per_class[c][kind].mean for c in entry["classes"]))
    return record.per_class.get(name, {}).get(key) if name else record.metrics.get(key)


def _metric_title(entry: Mapping[str, Any]) -> str:
    name, _, key = entry["metric"].rpartition(".")
    by = " (EC57)" if name in ("VEB", "SVEB") else ""
    over = f" over {', '.join(entry['classes'])}" if entry.get("classes") else ""
    return f"{name}{by} {metric_name(key)}".strip() + over


def aims(records: Sequence[Record]) -> str:
    """What was aimed at beside the best that was reached, by `book/aims.yml`."""
    rows = []
    for aim in of_task(listed("aims.yml", {"what", "protocol", "metric", "least"}), "beats"):
        mine = of(records, **aim.get("parameters", {}))
        if aim.get("single_beats"):
            mine = [r for r in mine if not tables.reads_neighbours(r)]
        found, alone = best(mine, aim["protocol"], aim["metric"], aim.get("least_f1", 0.0)), None
        row = aim_row(aim, found, None if found is None else _value(found, aim))
        if found is not None and aim["metric"] == "S.f1" and HOLDS_MOST_S in found.by_record:
            alone = without(found, HOLDS_MOST_S, "S")
        last = {f"without {HOLDS_MOST_S}": number(alone), "aim": row.pop("aim")}
        rows.append({"what": aim["what"], "protocol": PROTOCOLS[aim["protocol"]], **row, **last})
    return tables.table(rows)


def aim_row(aim: Mapping[str, Any], found: Record | None, value: Interval | None) -> dict[str, str]:
    """An aim as cells of a row: the best result there is, its value, and the macro-F1 that it must have besides."""
    floor: float = aim.get("least_f1", 0.0)
    reached = value is not None and value.mean is not None and value.mean >= aim["least"]
    if found is not None and floor:
        reached = reached and (found.metrics["macro_f1"].mean or 0.0) >= floor
    aimed_at = number(aim["least"]) + (f", macro-F1 {number(floor)}" if floor else "")
    row = {"what": aim["what"], "metric": _metric_title(aim), "aimed at": aimed_at, "reached": _ours(found, value)}
    return row | {"aim": "reached" if reached else "open"}


def tried() -> str:
    """What was tried without the test set (`tried.yml`); its aim and how it was measured stand in the first row of a
    study."""
    rows = []
    for study, row in studies("beats"):
        shown = {f"{name} F1" if name in "SV" else name: span(row.get(name)) for name in _SCORES}
        aim, measured = (study[name] if row is study["rows"][0] else "" for name in ("aim", "measured"))
        rows.append({"for": aim, "tried": row["tried"], **shown, "measured on": measured})
    return tables.table(rows)


def studies(task: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Every row of the task's studies in `tried.yml`, with its study."""
    found = of_task(listed("tried.yml", {"aim", "measured", "rows"}), task)
    return [(study, row) for study in found for row in study["rows"]]


def span(value: float | Sequence[float] | None) -> str:
    """A value, or the range of several."""
    if isinstance(value, Sequence):
        return f"{number(min(value))} to {number(max(value))}".replace(" ", "\N{NO-BREAK SPACE}")
    return number(value)


def of_task(entries: Iterable[dict[str, Any]], task: str) -> list[dict[str, Any]]:
    """The entries of one task: `beats`, where an entry names none, `infarction`, `twelve-lead`."""
    return [entry for entry in entries if entry.get("task", "beats") == task]


def listed(name: str, needed: AbstractSet[str]) -> list[dict[str, Any]]:
    """The entries of a file of the book; UserError where it is no list of mappings with the fields needed."""
    path = paths.book() / name
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    for i, entry in enumerate(found if isinstance(found, list) else [None], 1):
        if not isinstance(entry, dict) or not needed <= entry.keys():
            raise UserError(path, f"entry {i} lacks a field", ", ".join(sorted(needed)))
    return list(found)
