"""What is known of recordings before any signal is read: whose they are, and with which labels."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecglib.data import records, splits
from ecglib.data.catalogues import snomed
from ecglib.data.delta import Row
from ecglib.data.records import Recording
from ecglib.errors import UserError

OLDEST: Final = 90.0
"""Years: databases hide ages above 89."""
HIDDEN: Final = 300.0
"""What PTB-XL says in place of them."""
HIGHEST: Final = 130.0
"""Years: above it nobody's age."""
BLANK: Final = ("", "nan", "na", "n/a", "#n/a", "<na>", "null", "none")
"""What stands for nothing, in small letters."""
FEMALE: Final = {"female": 1.0, "f": 1.0, "male": 0.0, "m": 0.0}
OTHER: Final = "another diagnosis"
"""Why a recording is left out that neither has an infarction nor is healthy."""


@dataclass(frozen=True)
class Entry:
    """What is known of a recording before its signal is read."""

    folder: Path
    record: str
    """Its name in the folder, as `records.read_repaired` takes both."""
    source: str
    """Where it comes from, such as `PTB-XL` or `Georgia`."""
    patient: str
    """Unique over all sources."""
    labels: tuple[str, ...]
    """Names of the classes that it has."""
    codes: tuple[str, ...] = ()
    """Labels as the source writes them."""
    age: float = float("nan")
    """Years; NaN where unknown."""
    female: float = float("nan")
    """0 or 1; NaN where unknown."""
    fold: int = 0
    """1 to 10: the part that it belongs to. A patient's recordings are of one."""
    repairs: tuple[str, ...] = ()
    """What the source says of it and was put right, one sentence each."""
    row: Row | None = None
    """Where it is in a table; None of a WFDB record."""


@dataclass(frozen=True)
class Person:
    """A recording of someone who has an infarction (label 1) or is healthy (0)."""

    record: str
    patient: str
    label: int
    likelihood: float = float("nan")
    """Percent that the diagnosis is certain to; NaN where unknown."""
    age: float = float("nan")
    """Years; NaN where unknown."""
    female: float = float("nan")
    """0 or 1; NaN where unknown."""
    repairs: tuple[str, ...] = ()
    """As of an `Entry`."""


@dataclass(frozen=True)
class Records:
    """Recordings with labels, and the notes of how the list came about."""

    classes: tuple[str, ...]
    """Names of all labels."""
    entries: tuple[Entry, ...]
    fingerprint: str
    """Hash of the files."""
    refused: dict[str, str] = field(default_factory=dict)
    """Recordings that the tables can't place -> the reason."""
    duplicates: dict[str, str] = field(default_factory=dict)
    """Recordings left out because another one is the same -> that one."""
    assumed: tuple[str, ...] = ()
    """What the tables leave open and was assumed, a sentence each."""
    sample: bool = False
    """Whether they are excerpts that the package embeds."""

    def read(self, entry: Entry) -> Recording:
        """Read a recording's twelve leads, the entry's repairs before its own; errors as of `records.read_repaired`."""
        row, name = entry.row, entry.record
        found = records.read_repaired(entry.folder, name) if row is None else row.read(name)
        return replace(found, repairs=(*entry.repairs, *found.repairs))


def labels(source: Records) -> NDArray[np.bool_]:
    """Which recording has which label, `(records, classes)`."""
    return np.array([[name in entry.labels for name in source.classes] for entry in source.entries], dtype=bool)


def with_folds(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """The entries with folds dealt out by patient within each source (`splits.dealt`)."""
    entries = list(entries)
    folds = splits.dealt([entry.patient for entry in entries], [entry.source for entry in entries])
    return tuple(replace(entry, fold=fold) for entry, fold in zip(entries, folds, strict=True))


def with_enough(source: Records, least: int) -> Records:
    """The source with those classes alone that this many recordings have, and as many have not."""
    most = len(source.entries) - least
    kept = tuple(name for name, n in zip(source.classes, labels(source).sum(0), strict=True) if least <= n <= most)
    if len(kept) < 2:
        raise UserError("min_positives", f"{least} leaves {len(kept)} classes", "two or more")
    entries = (replace(entry, labels=tuple(name for name in entry.labels if name in kept)) for entry in source.entries)
    return replace(source, classes=kept, entries=tuple(entries))


def conflicts(source: Records) -> dict[str, str]:
    """Recordings whose labels contradict others of the same patient -> in what.

    A sinus rhythm without an infarction is no contradiction in itself; where another recording of the same patient has
    the infarction, a label that leaves it out is.
    """
    infarctions = snomed.MYOCARDIAL_INFARCTION
    sick = {each.patient: each.record for each in reversed(source.entries) if infarctions & set(each.codes)}
    found = {}
    for entry in source.entries:
        if entry.patient in sick and not infarctions & set(entry.codes):
            names = ", ".join(each.name for each in snomed.CLASSES if each.abbreviation in entry.labels)
            said = f"but {sick[entry.patient]} of the same patient is an infarction"
            found[entry.record] = f"{names or 'no scored label'}, {said}"
    return found


def years(said: object) -> float:
    """An age, capped where databases hide it; NaN where it is unknown, or nobody's, such as -1 or 999."""
    found = float(pd.to_numeric(said, errors="coerce"))  # type: ignore[call-overload]
    return min(found, OLDEST) if 0 <= found <= HIGHEST or found == HIDDEN else math.nan


def age_and_sex(age: object, sex: object) -> tuple[float, float, tuple[str, ...]]:
    """Years, and 0 for male or 1 for female, NaN where unknown; with a sentence where one is said and is none."""
    number, female = years(age), FEMALE.get(str(sex).strip().lower(), math.nan)
    found = ((age, number, f"age is not of 0 to {HIGHEST:g} years"), (sex, female, "sex is neither male nor female"))
    odd = [what for said, value, what in found if math.isnan(value) and str(said).lower() not in (*BLANK, "unknown")]
    return number, female, tuple(f"{what}, so taken for unknown" for what in odd)


def of_all(lines: Iterable[str], name: str, between: str = " and ") -> str:
    """What a header's comments say of a field, each line that has it once; as of `records.field`."""
    return between.join(dict.fromkeys(said for line in lines if (said := records.field([line], name))))
