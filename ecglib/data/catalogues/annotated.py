"""Annotated beats, as those of `mitdb` or of a folder: how many of which class, by set and by record, and whose.

Symbols mean the same in all of them (`aami.SYMBOLS`), though `svdb` writes S where `mitdb` has A.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import numpy as np
import pandas as pd

from ecglib import aami
from ecglib.data.databases import DATABASES, Source
from ecglib.data.records import comments, read_annotations, read_recording
from ecglib.errors import RecordError

SAME_PATIENT: Final = {"sele0122": "sele0121", "sele0126": "sele0124"}
"""In `qtdb`, records of the patient of another one."""
EXCERPTED: Final = ("mitdb", "svdb", "ltdb")
"""The databases that `qtdb` has excerpts of: its `sel100` is of record 100 (Laguna et al. 1997, table 2)."""
_PATIENT: Final = re.compile(
    r"(?:patient|subject)(?:[ _-]?(?:id|number|no\.?))?(?: *[:=] *(\S+)| +#?(\d+))", re.IGNORECASE
)
"""A comment that says no more than whose the record is; `patient 7` in `incartdb`."""


def excerpt_of(source: Source, record: str) -> str:
    """The database that a record is an excerpt of, or nothing."""
    original = record.removeprefix("sel")
    found = (other for other in EXCERPTED if original in DATABASES[other].records)
    return next(found, "") if source.database == "qtdb" else ""


def patient_of(source: Source, record: str) -> str:
    """Whose a record is, unique over all databases: in `mitdb` the number of the patient's first record, elsewhere with
    the name of the database in front. A header may say it in a comment, which in two folders means the same patient;
    else each record is a patient's own."""
    if owner := excerpt_of(source, record):
        source, record = Source(owner, source.folder, False, ()), record.removeprefix("sel")
    database = source.database
    if database == "mitdb":
        return aami.SAME_PATIENT.get(record, record)
    said = ""
    with suppress(RecordError):  # it is set aside when it is read
        found = (_PATIENT.fullmatch(line) for line in comments(source.folder, record))
        said = next((f"patient {match[1] or match[2]}" for match in found if match), "")
    if database in DATABASES:
        return f"{database}/{said or SAME_PATIENT.get(record, record)}"
    return said or str(source.folder / record)


def not_apart(training: Sequence[Source], tested: Sequence[Source]) -> dict[tuple[str, str], str]:
    """Records to be left out, by name of their source and their own, so that no patient is learnt from and tested on,
    and no beat counts twice -> the reason."""
    names = {source.name for source in (*training, *tested)}
    excerpts, whose = dict[tuple[str, str], str](), dict[tuple[str, str], str]()
    for source in (*training, *tested):
        for record in source.records:
            if (owner := excerpt_of(source, record)) in names:
                excerpts[source.name, record] = f"an excerpt of a record of {owner}"
            else:
                whose[source.name, record] = patient_of(source, record)
    scored = {whose.get((source.name, record)) for source in tested for record in source.records} - {None}
    learnt = [(source.name, record) for source in training for record in source.records]
    return excerpts | {each: "its patient is tested on" for each in learnt if whose.get(each) in scored}


def by_record(source: Source, *, passed_over: Callable[[RecordError], None] | None = None) -> pd.DataFrame:
    """Annotated beats, one row a record, one column a class; records without readable annotations have no row, and
    `passed_over` is called with the reason. Where none has any, the first one's `RecordError` is raised."""
    rows: dict[str, Counter[str]] = {}
    first: RecordError | None = None
    for name in source.records:
        try:
            symbols = read_annotations(source.folder, name, source.annotator).symbols
        except RecordError as error:
            first = first or error
            if passed_over is not None:
                passed_over(error)
            continue
        rows[name] = Counter(aami.SYMBOLS[str(symbol)] for symbol in symbols if str(symbol) in aami.SYMBOLS)
    if not rows:
        raise first or RecordError(source.folder, "no annotated beats")
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(aami.CLASSES))
    return table.fillna(0).astype(int)


def by_set(
    source: Source, *, sums: bool = True, passed_over: Callable[[RecordError], None] | None = None
) -> dict[str, dict[str, int]]:
    """Annotated beats by class of DS1 and DS2, which `mitdb` alone has; with sums also of all records, and of all
    classes (see `by_record`)."""
    table = by_record(source, passed_over=passed_over)
    if sums:
        table["all"] = table.sum(axis=1)
    sets: dict[str, Any] = {"DS1": aami.DS1, "DS2": aami.DS2} if source.database == "mitdb" else {}
    sets |= {"all": table.index} if sums else {}
    counted = {name: table[table.index.isin(records)].sum() for name, records in sets.items()}
    return {name: {str(cls): int(n) for cls, n in row.items()} for name, row in counted.items()}


def busiest_strip(source: Source, seconds: float) -> dict[str, Any]:
    """The stretch of a record with beats of the most classes, as arguments of `figures.record_strip`; a `RecordError`
    when no record can be read."""
    best: tuple[int, int] = (0, 0)
    found: dict[str, Any] | None = None
    for name in source.records:
        try:
            recording = read_recording(source.folder, name)
            annotations = read_annotations(source.folder, name, source.annotator)
        except RecordError:
            continue
        classes = np.array([aami.SYMBOLS.get(str(symbol), "") for symbol in annotations.symbols])
        width = int(seconds * recording.fs)
        for start in range(0, recording.signals.shape[1] - width, width):
            inside = (annotations.samples >= start) & (annotations.samples < start + width)
            here = Counter(label for label in classes[inside] if label)
            score = (len(here), sum(here.values()) - max(here.values(), default=0))
            if score > best:
                best = score
                found = {
                    "signals_mv": recording.signals[:, start : start + width],
                    "fs": recording.fs,
                    "samples": annotations.samples,
                    "symbols": [str(symbol) for symbol in annotations.symbols],
                    "lead_names": recording.leads,
                    "start": start,
                }
    if found is None:
        raise RecordError(source.folder, "no annotated beats")
    return found
