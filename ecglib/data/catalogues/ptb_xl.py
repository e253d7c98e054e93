"""PTB-XL (Wagner et al. 2020): its statements as classes, or as infarction and healthy."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pandas as pd

from ecglib.data.catalogues import snomed
from ecglib.data.catalogues.catalogue import OTHER, Entry, Person, Records, years
from ecglib.data.databases import Source
from ecglib.errors import RecordError, UserError

SUPERCLASSES: Final = ("NORM", "MI", "STTC", "CD", "HYP")
"""The diagnostic superclasses."""
TABLE: Final = "ptbxl_database.csv"
_NEEDED: Final = ("patient_id", "scp_codes", "age", "sex", "filename_lr")


def read(source: Source, scored: bool = False) -> Records:
    """PTB-XL's recordings that are on disk, at 500 Hz where that is, with its own ten folds; a `UserError` when a table
    of it can't be read.

    Labels are the five superclasses of all statements, whatever their likelihood; or, `scored`, the classes that the
    Challenge scores, by `snomed.of_ptb_xl`.
    """
    of_class = _classes(source)
    entries, refused = [], {}
    for record, row in _here(source, _people(source, "ecg_id", "strat_fold")):
        try:
            said, fold = tuple(statements(row)), str(row["strat_fold"]).removesuffix(".0")
        except ValueError:
            refused[record] = "unreadable diagnosis"
            continue
        if not row["patient_id"] or not fold.isdigit():
            refused[record] = "unknown patient or fold"
            continue
        codes = snomed.of_ptb_xl(said, str(row.get("heart_axis", "")))
        found = {of_class.get(name, "") for name in said}
        labels = snomed.scored(codes) if scored else tuple(name for name in SUPERCLASSES if name in found)
        patient, about = f"ptb-xl {row['patient_id']}", (row["age"], row["sex"], int(fold))
        entries.append(Entry(source.folder, record, "PTB-XL", patient, labels, said, *about))
    if not entries:
        raise UserError(source.folder, "no recording of ptbxl_database.csv is here", "records100 or records500")
    return Records(snomed.SCORED if scored else SUPERCLASSES, tuple(entries), source.fingerprint(), refused)


def people(source: Source) -> Iterator[Person | RecordError]:
    """Who has an infarction (any code of the superclass MI, whatever its likelihood) and who is healthy (NORM), or why
    a recording is left out; a `UserError` when a table can't be read, or a recording stands in two rows."""
    rows = _people(source)
    infarctions = {code for code, superclass in _classes(source).items() if superclass == "MI"}
    twice = rows["filename_lr"].duplicated(keep=False)
    if twice.any():
        raise UserError(source.folder / TABLE, f"{rows['filename_lr'][twice].iloc[0]} stands in two rows")
    for record, row in _here(source, rows):
        try:
            likelihood = {code: float(value) for code, value in statements(row).items()}
        except (ValueError, TypeError):
            yield RecordError(record, "unreadable diagnosis", str(row["scp_codes"])[:40], "codes and their likelihoods")
            continue
        found = [value for code, value in likelihood.items() if code in infarctions]
        if found and "NORM" in likelihood:
            yield RecordError(record, "unclear diagnosis", "infarction and a normal finding", "one of them")
        elif not found and "NORM" not in likelihood:
            yield RecordError(record, OTHER)
        elif not row["patient_id"]:
            yield RecordError(record, "unknown patient")
        else:
            certain = max(found) if found else likelihood["NORM"]
            yield Person(record, row["patient_id"], int(bool(found)), certain, row["age"], row["sex"])


def _here(source: Source, rows: pd.DataFrame) -> Iterator[tuple[str, dict[Any, Any]]]:
    """Record and row of every recording that is on disk; of both rates the higher one where that is."""
    there = set(source.records)
    for row in rows.to_dict("records"):
        files = [str(row.get(column, "")) for column in ("filename_hr", "filename_lr")]
        record = next((file for file in files if file in there), "")
        if record:
            yield record, row


def statements(row: dict[Any, Any]) -> dict[str, Any]:
    """Code -> likelihood, or a `ValueError`."""
    try:
        return {str(code): value for code, value in dict(ast.literal_eval(str(row["scp_codes"]))).items()}
    except (SyntaxError, TypeError, AttributeError, RecursionError, MemoryError) as error:
        raise ValueError from error


def _classes(source: Source) -> dict[str, str]:
    """Code of a statement -> its superclass, empty where it has none."""
    statements = _table(source.folder / "scp_statements.csv", "diagnostic_class")
    return dict(zip(statements.iloc[:, 0], statements["diagnostic_class"].fillna(""), strict=True))


def _people(source: Source, *more: str) -> pd.DataFrame:
    """The table of recordings: `patient_id` as text, empty where unknown, ages in years, sex 0 male, 1 female."""
    rows = _table(source.folder / TABLE, *_NEEDED, *more)
    names = rows["patient_id"].map(lambda name: "" if pd.isna(name) else str(name).removesuffix(".0"))
    female = pd.to_numeric(rows["sex"], errors="coerce").astype(float)
    return rows.assign(patient_id=names, age=rows["age"].map(years), sex=female)


def _table(path: Path, *needed: str) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype={"scp_codes": str})
    except FileNotFoundError:
        raise UserError(path, "no such file", "a table of PTB-XL") from None
    except (ValueError, OSError) as error:
        raise UserError(path, f"can't be read ({str(error).splitlines()[0]})", "a table of PTB-XL") from None
    missing = [name for name in needed if name not in table]
    if missing:
        raise UserError(path, f"no column {missing[0]}", "a table of PTB-XL")
    return table
