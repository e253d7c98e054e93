"""PTB-XL (Wagner et al. 2020): its statements as classes, or as infarction and healthy."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pandas as pd

from ecglib.data.catalogues import snomed
from ecglib.data.catalogues.catalogue import BLANK, OTHER, Entry, Person, Records, age_and_sex
from ecglib.data.databases import Source
from ecglib.data.splits import FOLDS
from ecglib.errors import RecordError, UserError

SUPERCLASSES: Final = ("NORM", "MI", "STTC", "CD", "HYP")
"""The diagnostic superclasses."""
TABLE: Final = "ptbxl_database.csv"
SEXES: Final = {"0": "male", "1": "female"}
UNKNOWN: Final = "a statement that scp_statements.csv lacks"
"""Why a recording is left out whose classes are unknown."""
_NEEDED: Final = ("patient_id", "scp_codes", "age", "sex", "filename_lr")


def read(source: Source, scored: bool = False) -> Records:
    """PTB-XL's recordings that are on disk, at 500 Hz where that is, with its own ten folds; a `UserError` when a table
    of it can't be read, a recording stands in two rows, or none can be used.

    Labels are the five superclasses of all statements, whatever their likelihood; or, `scored`, the classes that the
    Challenge scores, by `snomed.of_ptb_xl`.
    """
    rows = _people(source, "ecg_id", "strat_fold")
    of_class = _classes(source, rows)
    folds = pd.to_numeric(rows["strat_fold"], errors="coerce")
    folds = folds.where(folds.isin(range(1, FOLDS + 1)))
    rows = rows.assign(strat_fold=folds, n_folds=folds.groupby(rows["patient_id"]).transform("nunique"))
    entries, refused = [], {}
    for record, row in _here(source, rows):
        try:
            said = tuple(statements(row))
        except ValueError:
            refused[record] = "unreadable diagnosis"
            continue
        reasons = {
            "unknown patient or fold": not row["patient_id"] or pd.isna(row["strat_fold"]),
            "patient in several folds": row["n_folds"] > 1,
            UNKNOWN: not of_class.keys() >= set(said),
        }
        if any(reasons.values()):
            refused[record] = next(why for why, is_so in reasons.items() if is_so)
            continue
        codes = snomed.of_ptb_xl(said, str(row.get("heart_axis", "")))
        found = {of_class[name] for name in said}
        labels = snomed.scored(codes) if scored else tuple(name for name in SUPERCLASSES if name in found)
        patient, about = f"ptb-xl {row['patient_id']}", (row["age"], row["sex"], int(row["strat_fold"]), row["repairs"])
        entries.append(Entry(source.folder, record, "PTB-XL", patient, labels, said, *about))
    if not entries:
        first = next((f"can be used; {record}: {why}" for record, why in refused.items()), "is here")
        expected = "" if refused else "records100 or records500"
        raise UserError(source.folder, f"no recording of {TABLE} {first}", expected)
    classes = snomed.SCORED if scored else SUPERCLASSES
    return Records(classes, tuple(entries), source.fingerprint(), refused, sample=source.sample)


def people(source: Source) -> Iterator[Person | RecordError]:
    """Who has an infarction (any code of the superclass MI, whatever its likelihood) and who is healthy (NORM), or why
    a recording is left out; a `UserError` when a table can't be read, or a recording stands in two rows."""
    rows = _people(source)
    of_class = _classes(source, rows)
    infarctions = {code for code, superclass in of_class.items() if superclass == "MI"}
    for record, row in _here(source, rows):
        try:
            likelihood = {code: float(value) for code, value in statements(row).items()}
        except (ValueError, TypeError):
            yield RecordError(record, "unreadable diagnosis", str(row["scp_codes"])[:40], "codes and their likelihoods")
            continue
        found = [value for code, value in likelihood.items() if code in infarctions]
        if not of_class.keys() >= likelihood.keys():
            yield RecordError(record, UNKNOWN)
        elif found and "NORM" in likelihood:
            yield RecordError(record, "unclear diagnosis", "infarction and a normal finding", "one of them")
        elif not found and "NORM" not in likelihood:
            yield RecordError(record, OTHER)
        elif not row["patient_id"]:
            yield RecordError(record, "unknown patient")
        else:
            certain = max(found) if found else likelihood["NORM"]
            about = (row["age"], row["sex"], row["repairs"])
            yield Person(record, row["patient_id"], int(bool(found)), certain, *about)


def _here(source: Source, rows: pd.DataFrame) -> Iterator[tuple[str, dict[Any, Any]]]:
    """Record and row of every recording that is on disk, or else named by `RECORDS`; of both rates the higher one where
    that is. The row's `repairs` say so where others have that one alone."""
    named, found = set(source.records), []
    for row in rows.to_dict("records"):
        files = [file for column in ("filename_hr", "filename_lr") if (file := str(row.get(column, ""))) in named]
        there = [file for file in files if (source.folder / f"{file}.hea").is_file()]
        found += [(file, file in there and file != row["filename_lr"], row) for file in (there or files)[:1]]
    mixed = any(high for _, high, _ in found)
    for record, high, row in found:
        if mixed and not high:
            row["repairs"] += ("its file of 500 Hz is not here, so that of 100 Hz is read",)
        yield record, row


def statements(row: dict[Any, Any]) -> dict[str, Any]:
    """Code -> likelihood, or a `ValueError`."""
    try:
        return {str(code): value for code, value in dict(ast.literal_eval(str(row["scp_codes"]))).items()}
    except (SyntaxError, TypeError, AttributeError, RecursionError, MemoryError) as error:
        raise ValueError from error


def _classes(source: Source, rows: pd.DataFrame) -> dict[str, str]:
    """Code of a statement -> its superclass, empty where it has none.

    Codes are the column that has most of those in `rows`, wherever it stands and whatever its name: programs that save
    the table again move it, or put an index before it.
    """
    path, used = source.folder / "scp_statements.csv", set[str]()
    table = _table(path, "diagnostic_class", dtype=str, keep_default_na=False)
    table = table.apply(lambda column: column.str.strip()).drop_duplicates()
    table["diagnostic_class"] = table["diagnostic_class"].map(lambda name: "" if name.lower() in BLANK else name)
    for row in rows.to_dict("records"):
        with contextlib.suppress(ValueError):
            used |= statements(row).keys()
    if not used:
        return {}
    others = table.drop(columns="diagnostic_class").items()
    shared = {name: len(used.intersection(column)) for name, column in others if column.is_unique}
    if not any(shared.values()):
        raise UserError(path, f"no column has the codes of {TABLE}, each once", "the table as published")
    classes = set(table["diagnostic_class"]) - {""}
    if not classes or not classes.issubset(SUPERCLASSES):
        odd = ", ".join(sorted(classes - {*SUPERCLASSES})[:3]) or "nothing"
        raise UserError(path, f"diagnostic_class is {odd}", ", ".join(SUPERCLASSES))
    return dict(zip(table[max(shared, key=shared.__getitem__)], table["diagnostic_class"], strict=True))


def _people(source: Source, *more: str) -> pd.DataFrame:
    """The table of recordings: `patient_id` as text, empty where unknown, ages in years, sex 0 male, 1 female, and what
    was put right thereby (`repairs`)."""
    rows = _table(source.folder / TABLE, *_NEEDED, *more, dtype={"scp_codes": str})
    for column in rows.columns.intersection(["filename_lr", "filename_hr"]):
        files = rows[column].dropna()
        for twice in files[files.duplicated()]:
            raise UserError(source.folder / TABLE, f"{twice} stands in two rows", "each once", "take one out")
    names = rows["patient_id"].map(lambda name: "" if pd.isna(name) else str(name).strip().removesuffix(".0"))
    sexes = rows["sex"].map(lambda sex: SEXES.get(str(sex).removesuffix(".0"), sex))
    about = [age_and_sex(age, sex) for age, sex in zip(rows["age"], sexes, strict=True)]
    age, female, repairs = zip(*about, strict=True) if about else ((), (), ())
    return rows.assign(patient_id=names, age=age, sex=female, repairs=repairs)


def _table(path: Path, *needed: str, **how: Any) -> pd.DataFrame:
    try:
        table: pd.DataFrame = pd.read_csv(path, **how)
    except FileNotFoundError:
        raise UserError(path, "no such file", "a table of PTB-XL") from None
    except (ValueError, OSError) as error:
        raise UserError(path, f"can't be read ({str(error).splitlines()[0]})", "a table of PTB-XL") from None
    missing = [name for name in needed if name not in table]
    if missing:
        raise UserError(path, f"no column {missing[0]}", "a table of PTB-XL")
    return table
