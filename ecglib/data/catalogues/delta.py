"""Recordings and their labels in a Delta table, a row each; its version stands for its content."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Any, Final

from ecglib.data.catalogues.catalogue import Entry, Records, age_and_sex, with_folds
from ecglib.data.delta import NUMBER, RECORDING, TEXT, TEXTS, WHOLE, Table
from ecglib.data.splits import FOLDS
from ecglib.errors import UserError, some

NEEDED: Final = {**RECORDING, "patient": TEXT, "labels": TEXTS}
"""The columns of such a table."""
OPTIONAL: Final = {
    "age": NUMBER, "sex": TEXT, "source": TEXT, "fold": WHOLE, "codes": TEXTS, "repairs": TEXTS, "position": WHOLE,
}  # fmt: skip
"""Those that it may have: fields of an `Entry`, and a number that says the recordings' order."""
NOTES: Final = "ecglib"
"""Name of what the column `labels` has beside its type: in JSON, the `classes` in their order, and whether it is of a
`sample`."""


def read(where: str) -> Records:
    """The recordings of a Delta table, `PATH` or `PATH@VERSION`.

    Classes are the names of all labels, in the order that the table notes, or else sorted. Rows are in the order of
    `position`, then of `record_id`. Folds of 1 to 10 are the table's own, or dealt out by patient. A row whose labels
    are null, or one of them without a name, or whose fold doesn't do is set aside. Where there is no patient, a record
    is one of its own, and `assumed` says so.

    A `UserError` when the table can't be read, a column is missing or of another type, it has no usable row, or a
    record is not named or stands in two rows.
    """
    table = Table(where)
    others = table.check(NEEDED, OPTIONAL)
    rows = sorted(table.rows(), key=lambda item: (item[1].get("position") or 0, item[1]["record_id"] or ""))
    names = [row["record_id"] for _, row in rows]
    if not names:
        raise UserError(table.where, "it is empty", "a row for each recording")
    if nameless := sum(not (name or "").strip() for name in names):
        raise UserError(table.where, f"{nameless} rows without a record_id", "a name in every row")
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise UserError(table.where, f"{name} stands in {'two' if times == 2 else times} rows", "each record once")
    nobody = [row["record_id"] for _, row in rows if not (row["patient"] or "").strip()]
    assumed = [f"no patient in {len(nobody)} rows, so each counts as a patient of its own ({some(nobody)})"]
    assumed = assumed * bool(nobody) + [f"{some(others, 6)}: no column of a recording, so passed over"] * bool(others)
    folds, entries, refused = _folds(row for _, row in rows), [], {}
    for place, row in rows:
        record = row["record_id"]
        if why := _refused(row, folds):
            refused[record] = why
            continue
        age, female, odd = age_and_sex(row.get("age"), row.get("sex"))
        labels = tuple(dict.fromkeys(label.strip() for label in row["labels"]))
        entries.append(
            Entry(
                table.where, record, row.get("source") or table.where.name, _patient(row), labels,
                tuple(row.get("codes") or labels), age, female, row.get("fold") or 0,
                (*(row.get("repairs") or ()), *odd), place,
            )
        )  # fmt: skip
    if not entries:
        raise UserError(table.where, "no usable row; {}: {}".format(*next(iter(refused.items()))))
    notes = json.loads((table.schema.field("labels").metadata or {}).get(NOTES.encode(), b"{}"))
    known = notes.get("classes", [])
    classes = (*known, *sorted({label for entry in entries for label in entry.labels} - {*known}))
    if not classes:
        raise UserError(table.where, "no row has a label", "names of labels in column labels")
    placed = tuple(entries) if "fold" in table.schema.names else with_folds(entries)
    sample = bool(notes.get("sample"))
    return Records(classes, placed, table.fingerprint, refused, assumed=tuple(assumed), sample=sample)


def _patient(row: dict[str, Any]) -> str:
    return str((row["patient"] or "").strip() or row["record_id"])


def _folds(rows: Any) -> dict[str, set[Any]]:
    """Patient -> the folds of the recordings."""
    found = defaultdict[str, set[Any]](set)
    for row in rows:
        found[_patient(row)].add(row.get("fold"))
    return found


def _refused(row: dict[str, Any], folds: dict[str, set[Any]]) -> str:
    """Why a row is set aside; empty where it is not."""
    reasons = {
        "no labels": row["labels"] is None,
        "a label without a name": not all((label or "").strip() for label in row["labels"] or ()),
        f"a fold that is not of 1 to {FOLDS}": "fold" in row and row["fold"] not in range(1, FOLDS + 1),
        "patient in several folds": len(folds[_patient(row)]) > 1,
    }
    return next((why for why, is_so in reasons.items() if is_so), "")
