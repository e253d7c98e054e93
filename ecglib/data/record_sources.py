"""Twelve-lead recordings with their labels, from PTB-XL, the PhysioNet/CinC Challenges or a folder of one's own.

A `RecordSource` knows who and what a recording is before any signal is read; `read` then reads one. Whatever gives
entries and reads them can take its place.
"""

from __future__ import annotations

import ast
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecglib import fingerprint
from ecglib.data import clinical, databases, infarction, label_table, snomed, splits
from ecglib.data.clinical import Signal
from ecglib.errors import RecordError, UserError

SUPERCLASSES: Final = ("NORM", "MI", "STTC", "CD", "HYP")
"""PTB-XL's diagnostic superclasses (Wagner et al. 2020)."""
SCORED: Final = tuple(each.abbreviation for each in snomed.CLASSES)
SOURCES: Final = {
    "A": "CPSC 2018",
    "Q": "CPSC extra",
    "I": "INCART",
    "S": "PTB",
    "HR": "PTB-XL",
    "E": "Georgia",
    "JS": "Chapman-Shaoxing and Ningbo",
}
"""Beginning of a Challenge record's name -> where it comes from."""
SAME_PATIENT: Final = {"S0001": "S0001", "S0002": "S0001", "S0003": "S0001"}
"""Challenge records of one patient, so far as is known: the Challenge names no patients."""


@dataclass(frozen=True)
class Entry:
    """What is known of a recording before its signal is read.

    Attributes
    ----------
    folder, record
        Where it lies, and its name there, as `clinical.read` takes them.
    source
        Where it comes from, such as `PTB-XL` or `Georgia`.
    patient
        Unique over all sources.
    labels
        Names of the classes that it has.
    codes
        Labels as the source writes them.
    age, female
        Years, and 0 or 1; NaN where unknown.
    fold
        1 to 10: the part that it belongs to. A patient's recordings are of one.
    """

    folder: Path
    record: str
    source: str
    patient: str
    labels: tuple[str, ...]
    codes: tuple[str, ...] = ()
    age: float = float("nan")
    female: float = float("nan")
    fold: int = 0


class RecordSource(Protocol):
    """Recordings with labels."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of all labels."""
        ...

    @property
    def entries(self) -> Sequence[Entry]:
        """The recordings."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of the files."""
        ...

    def read(self, entry: Entry) -> Signal:
        """Read a recording's signal.

        Raises
        ------
        RecordError
            As for `clinical.read`.
        """
        ...


@dataclass(frozen=True)
class Records:
    """A `RecordSource` of files; fields as there, and the notes of how it came about."""

    classes: tuple[str, ...]
    entries: tuple[Entry, ...]
    fingerprint: str
    refused: dict[str, str] = field(default_factory=dict)
    """Recordings that the tables can't place -> the reason."""
    duplicates: dict[str, str] = field(default_factory=dict)
    """Recordings left out because another one is the same -> that one."""
    assumed: tuple[str, ...] = ()
    """What the tables leave open and was assumed, a sentence each."""

    def read(self, entry: Entry) -> Signal:
        """As in `RecordSource`."""
        return clinical.read(entry.folder, entry.record)


def labels(source: RecordSource) -> NDArray[np.bool_]:
    """Which recording has which label, `(records, classes)`."""
    return np.array([[name in entry.labels for name in source.classes] for entry in source.entries], dtype=bool)


# --- the sources ------------------------------------------------------------------------------------------------------


def ptb_xl(source: databases.Source, scored: bool = False) -> Records:
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
    rows = infarction._table(source.folder / "ptbxl_database.csv", needed)
    statements = infarction._table(source.folder / "scp_statements.csv", ("diagnostic_class",))
    of_class = dict(zip(statements.iloc[:, 0], statements["diagnostic_class"].fillna(""), strict=True))
    there, entries, refused = set(source.records), [], {}
    for row in rows.to_dict("records"):
        files = [str(row.get(column, "")) for column in ("filename_hr", "filename_lr")]
        record = next((file for file in files if file in there), "")
        if not record:
            continue  # the database has more recordings than are on disk
        try:
            said = tuple(str(name) for name in dict(ast.literal_eval(str(row["scp_codes"]))))
        except (ValueError, SyntaxError, TypeError, AttributeError, RecursionError, MemoryError):
            refused[record] = "unreadable diagnosis"
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
                infarction._years(row["age"]),
                float(pd.to_numeric(row["sex"], errors="coerce")),  # 0 is male, 1 female
                int(row["strat_fold"]),
            )
        )
    if not entries:
        raise UserError(source.folder, "no recording of ptbxl_database.csv is here", "records100 or records500")
    return Records(
        SCORED if scored else SUPERCLASSES,
        tuple(entries),
        source.fingerprint(),
        refused,
    )


def challenge(source: databases.Source) -> Records:
    """Records of the PhysioNet/CinC Challenge 2021 with its scored classes, from `#Dx` or `# Dx` of their headers.

    A patient is unknown but for `SAME_PATIENT`, so each record is one of its own; folds are dealt out by patient within
    each of the databases that the Challenge is made of.
    """
    entries, refused = [], {}
    for record in source.records:
        try:
            said = clinical.comments(source.folder, record)
        except RecordError as error:
            refused[record] = error.reason
            continue
        codes = tuple(code.strip() for code in clinical.field(said, "Dx").split(",") if code.strip())
        if not codes or not all(code.isdigit() for code in codes):
            refused[record] = "unreadable diagnosis"
            continue
        name = record.rpartition("/")[2]
        origin = SOURCES.get(name.rstrip("0123456789"), "unknown")
        sex = clinical.field(said, "Sex").lower()
        female = label_table.FEMALE.get(sex, float("nan"))
        age = infarction._years(clinical.field(said, "Age"))
        patient = f"challenge {SAME_PATIENT.get(name, name)}"
        entries.append(Entry(source.folder, record, origin, patient, snomed.scored(codes), codes, age, female))
    if not entries:
        raise UserError(source.folder, "no record with a diagnosis", "Challenge records with a line #Dx:")
    return Records(SCORED, dealt(entries), source.fingerprint(), refused)


def folder(where: Path, table: Path) -> Records:
    """A folder of WFDB records with a table of labels.

    The table is a CSV file with a column `record` (a path relative to the folder, without suffix), maybe `patient`,
    `age` and `sex` (`male`, `female`), and one column for each label with 0 or 1; `label_table.read` says what else it
    may look like. Where there is no `patient`, each record is one of its own, and `assumed` says so.

    Raises
    ------
    UserError
        When folder or table can't be read, or as for `label_table.read`.
    """
    if not where.is_dir():
        raise UserError(where, "no such folder", "a folder of WFDB records")
    said = label_table.read(table)
    entries = [
        Entry(where, row.record, where.name, row.patient, row.labels, row.labels, row.age, row.female)
        for row in said.rows
    ]
    if not entries:
        first = next(iter(said.refused.items()), ("", "it is empty"))
        raise UserError(table, f"no usable row; {first[0]}: {first[1]}", "record, and labels of 0 and 1")
    digest = hashlib.sha256(table.read_bytes()).hexdigest()
    files = [path for path in sorted(where.rglob("*")) if path.is_file()]
    names = [path.relative_to(where).as_posix() for path in files]
    contents = list(zip(names, databases._digests(files), strict=True))
    key = fingerprint.of_values(digest, contents)
    return Records(said.classes, dealt(entries), key, said.refused, assumed=said.assumed)


def joined(of_challenge: Records, of_ptb_xl: Records) -> Records:
    """Both, a recording that is in both counted once.

    The Challenge's `HR00001` is PTB-XL's recording 1, and so on: where PTB-XL's own is here, that one stays.
    """
    numbers = {int(entry.record.rpartition("/")[2].partition("_")[0]): entry for entry in of_ptb_xl.entries}
    duplicates, kept = {}, []
    for entry in of_challenge.entries:
        name = entry.record.rpartition("/")[2]
        twin = numbers.get(int(name[2:])) if name.startswith("HR") and name[2:].isdigit() else None
        if twin is None:
            kept.append(entry)
        else:
            duplicates[entry.record] = twin.record
    return Records(
        of_challenge.classes,
        (*of_ptb_xl.entries, *kept),
        fingerprint.of_values(of_ptb_xl.fingerprint, of_challenge.fingerprint),
        of_ptb_xl.refused | of_challenge.refused,
        duplicates,
    )


def dealt(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """The entries with folds dealt out, by patient and within each source (see `splits.dealt`)."""
    entries = list(entries)
    folds = splits.dealt([entry.patient for entry in entries], [entry.source for entry in entries])
    return tuple(replace(entry, fold=fold) for entry, fold in zip(entries, folds, strict=True))


def with_enough(source: Records, least: int) -> Records:
    """The source with those classes alone that this many recordings have, and as many have not."""
    has = labels(source)
    kept = {
        name for i, name in enumerate(source.classes) if least <= has[:, i].sum() <= len(has) - least
    }  # fmt: skip
    if len(kept) < 2:
        raise UserError("min_positives", f"{least} leaves {len(kept)} classes", "two or more")
    entries = tuple(
        replace(entry, labels=tuple(name for name in entry.labels if name in kept)) for entry in source.entries
    )
    return replace(source, classes=tuple(name for name in source.classes if name in kept), entries=entries)


def conflicts(source: RecordSource) -> dict[str, str]:
    """Recordings whose labels contradict others of the same patient -> in what.

    A sinus rhythm without an infarction is no contradiction in itself; where another recording of the same patient has
    the infarction, a label that leaves it out is.
    """
    by_patient: dict[str, list[Entry]] = defaultdict(list)
    for entry in source.entries:
        by_patient[entry.patient].append(entry)
    infarctions = set(snomed.MYOCARDIAL_INFARCTION)
    found = {}
    for entries in by_patient.values():
        sick = [entry.record for entry in entries if infarctions & set(entry.codes)]
        for entry in entries:
            if sick and not infarctions & set(entry.codes):
                names = [each.name for each in snomed.CLASSES if each.abbreviation in entry.labels]
                found[entry.record] = (
                    f"{', '.join(names) or 'no scored label'}, but {sick[0]} of the same patient is an infarction"
                )
    return found
