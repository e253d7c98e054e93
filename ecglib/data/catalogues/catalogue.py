"""What is known of recordings before any signal is read: whose they are, and with which labels.

A `RecordSource` has entries and reads the signal of one. Whatever does so can take its place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecglib.data import records, splits
from ecglib.data.catalogues import snomed
from ecglib.data.records import Recording
from ecglib.errors import UserError

OLDEST: Final = 90.0
"""Years: databases hide ages above 89, PTB-XL as 300."""
FEMALE: Final = {"female": 1.0, "f": 1.0, "male": 0.0, "m": 0.0}
OTHER: Final = "another diagnosis"
"""Why a recording is left out that neither has an infarction nor is healthy."""


@dataclass(frozen=True)
class Entry:
    """What is known of a recording before its signal is read.

    Attributes
    ----------
    folder, record
        Where it lies, and its name there, as `records.read_repaired` takes them.
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


@dataclass(frozen=True)
class Person:
    """A recording of someone who has an infarction or is healthy.

    Attributes
    ----------
    record, patient
        Names.
    label
        1 for an infarction, 0 for healthy.
    likelihood
        Percent that the diagnosis is certain to; NaN where unknown.
    age, female
        Years, and 0 or 1; NaN where unknown.
    """

    record: str
    patient: str
    label: int
    likelihood: float = float("nan")
    age: float = float("nan")
    female: float = float("nan")


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

    def read(self, entry: Entry) -> Recording:
        """Read a recording's twelve leads.

        Raises
        ------
        RecordError
            As for `records.read_repaired`.
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

    def read(self, entry: Entry) -> Recording:
        """As in `RecordSource`."""
        return records.read_repaired(entry.folder, entry.record)


def labels(source: RecordSource) -> NDArray[np.bool_]:
    """Which recording has which label, `(records, classes)`."""
    return np.array([[name in entry.labels for name in source.classes] for entry in source.entries], dtype=bool)


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


def years(said: object) -> float:
    """An age, capped where databases hide it; NaN where it is unknown."""
    return float(min(pd.to_numeric(said, errors="coerce"), OLDEST))  # type: ignore[call-overload]
