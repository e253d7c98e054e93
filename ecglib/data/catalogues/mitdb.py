"""Annotated beats, as those of `mitdb`: how many of which class, by set and by record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from ecglib import aami
from ecglib.data.databases import Source
from ecglib.data.records import read_annotations, read_recording
from ecglib.errors import RecordError


def by_record(source: Source, *, passed_over: Callable[[RecordError], None] | None = None) -> pd.DataFrame:
    """Annotated beats, one row a record, one column a class; records without readable annotations have no row, and
    `passed_over` is called with the reason. Where none has any, the first one's `RecordError` is raised."""
    rows: dict[str, Counter[str]] = {}
    first: RecordError | None = None
    for name in source.records:
        try:
            symbols = read_annotations(source.folder, name).symbols
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
    """Annotated beats of DS1 and DS2 by class; with sums also of all records, and of all classes (see `by_record`)."""
    table = by_record(source, passed_over=passed_over)
    if sums:
        table["all"] = table.sum(axis=1)
    sets = {"DS1": aami.DS1, "DS2": aami.DS2} | ({"all": table.index} if sums else {})
    counted = {name: table[table.index.isin(records)].sum() for name, records in sets.items()}
    return {name: {str(cls): int(n) for cls, n in row.items()} for name, row in counted.items()}


def busiest_strip(source: Source, seconds: float) -> dict[str, Any]:
    """The stretch of a record with beats of the most classes, as arguments of `figures.record_strip`; a `RecordError`
    when no record can be read."""
    best: tuple[int, int] = (0, 0)
    found: dict[str, Any] | None = None
    for name in source.records:
        try:
            recording, annotations = read_recording(source.folder, name), read_annotations(source.folder, name)
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
