"""PTB-XL (Wagner et al. 2020): its statements as classes, or as infarction and healthy."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
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


def read(source: Source, scored: bool = False) -> Records:
    """PTB-XL's recordings that are on disk, at 500 Hz where that is, with its own ten folds.

    Parameters
    ----------
    source
        Of `ptb-xl`.
    scored
        Labels are the classes that the Challenge scores, by `snomed.of_ptb_xl`; else the five superclasses of all
        statements, whatever their likelihood.

    Raises
    ------
    UserError
        When a table of it can't be read.
    """
    needed = ("ecg_id", "patient_id", "scp_codes", "age", "sex", "filename_lr", "strat_fold")
    of_class = _classes(source)
    entries, refused = [], {}
    for record, row in _here(source, _table(source.folder / TABLE, needed)):
        try:
            said = tuple(_statements(row))
        except RecordError as error:
            refused[record] = error.reason
            continue
        if pd.isna(row["patient_id"]) or not str(row["strat_fold"]).removesuffix(".0").isdigit():
            refused[record] = "unknown patient or fold"
            continue
        codes = snomed.of_ptb_xl(said, str(row.get("heart_axis", "")))
        found = {of_class.get(name, "") for name in said}
        entries.append(
            Entry(
                source.folder,
                record,
                "PTB-XL",
                f"ptb-xl {str(row['patient_id']).removesuffix('.0')}",
                snomed.scored(codes) if scored else tuple(name for name in SUPERCLASSES if name in found),
                said,
                years(row["age"]),
                float(pd.to_numeric(row["sex"], errors="coerce")),  # 0 is male, 1 female
                int(row["strat_fold"]),
            )
        )
    if not entries:
        raise UserError(source.folder, "no recording of ptbxl_database.csv is here", "records100 or records500")
    return Records(snomed.SCORED if scored else SUPERCLASSES, tuple(entries), source.fingerprint(), refused)


def people(source: Source) -> Iterator[Person | RecordError]:
    """Who has an infarction (any code of the superclass MI, whatever its likelihood) and who is healthy (NORM), or why
    a recording is left out.

    Raises
    ------
    UserError
        When a table can't be read, or a recording stands in two rows.
    """
    rows = _table(source.folder / TABLE, ("patient_id", "scp_codes", "age", "sex", "filename_lr"))
    infarctions = {code for code, superclass in _classes(source).items() if superclass == "MI"}
    twice = rows["filename_lr"].duplicated(keep=False)
    if twice.any():
        raise UserError(source.folder / TABLE, f"{rows['filename_lr'][twice].iloc[0]} stands in two rows")
    for record, row in _here(source, rows):
        try:
            likelihood = {code: float(value) for code, value in _statements(row).items()}
        except (RecordError, ValueError, TypeError):
            yield RecordError(record, "unreadable diagnosis", str(row["scp_codes"])[:40], "codes and their likelihoods")
            continue
        found = [value for code, value in likelihood.items() if code in infarctions]
        if bool(found) == ("NORM" in likelihood):
            contradiction = RecordError(record, "unclear diagnosis", "infarction and a normal finding", "one of them")
            yield contradiction if found else RecordError(record, OTHER)
            continue
        female = pd.to_numeric(row["sex"], errors="coerce")  # 0 is male, 1 female
        patient = "" if pd.isna(row["patient_id"]) else str(row["patient_id"]).removesuffix(".0")
        if not patient:
            yield RecordError(record, "unknown patient")
            continue
        certain = max(found) if found else likelihood["NORM"]
        yield Person(record, patient, int(bool(found)), certain, years(row["age"]), float(female))


def _here(source: Source, rows: pd.DataFrame) -> Iterator[tuple[str, dict[Any, Any]]]:
    """Record and row of every recording that is on disk; of both rates the higher one where that is."""
    there = set(source.records)
    for row in rows.to_dict("records"):
        files = [str(row.get(column, "")) for column in ("filename_hr", "filename_lr")]
        record = next((file for file in files if file in there), "")
        if record:
            yield record, row


def _statements(row: dict[Any, Any]) -> dict[str, Any]:
    """Code -> likelihood."""
    try:
        return {str(code): value for code, value in dict(ast.literal_eval(str(row["scp_codes"]))).items()}
    except (ValueError, SyntaxError, TypeError, AttributeError, RecursionError, MemoryError):
        raise RecordError(str(row["filename_lr"]), "unreadable diagnosis") from None


def _classes(source: Source) -> dict[str, str]:
    """Code of a statement -> its superclass, empty where it has none."""
    statements = _table(source.folder / "scp_statements.csv", ("diagnostic_class",))
    return dict(zip(statements.iloc[:, 0], statements["diagnostic_class"].fillna(""), strict=True))


def _table(path: Path, needed: Iterable[str]) -> pd.DataFrame:
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
