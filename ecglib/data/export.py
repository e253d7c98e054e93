"""Data in other forms: the files of the Kaggle set rebuilt from the databases that it was cut from, with the record of
each row; and 12-lead recordings as a Delta table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.csv
from numpy.typing import NDArray

from ecglib import files
from ecglib.data import beats, databases, infarction, splits
from ecglib.data import delta as tables
from ecglib.data.catalogues import delta, kaggle_csv
from ecglib.data.catalogues.catalogue import Entry, Records
from ecglib.data.records import LEADS, Recording
from ecglib.errors import RecordError, UserError, some

ROWS: Final = "_rows.csv"
"""How the name ends of the file that says whose rows a table has."""
COLUMNS: Final = ["record", "patient", "sample", "symbol"]
"""Its columns."""
GROUP: Final = 16
"""Recordings in a row group of a Delta table, which is read at once."""
SEX: Final = {0.0: "male", 1.0: "female"}
_TEXT, _TEXTS = pyarrow.string(), pyarrow.list_(pyarrow.string())
_TYPES: Final = {
    "record_id": _TEXT, "patient": _TEXT, "fs": pyarrow.float64(), "leads": _TEXTS,
    "signal": pyarrow.list_(pyarrow.float32()), "labels": _TEXTS, "age": pyarrow.float64(), "sex": _TEXT,
    "source": _TEXT, "fold": pyarrow.int32(), "codes": _TEXTS, "repairs": _TEXTS, "position": pyarrow.int32(),
}  # fmt: skip
"""Of the columns of `catalogues.delta`, all of them."""
Tables = dict[str, tuple[NDArray[np.float32], NDArray[np.int64], pd.DataFrame]]
"""File -> signals `(n, 187)`, labels `(n,)`, and the `COLUMNS` of every row."""


def kaggle(out: Path, seed: int) -> dict[str, int]:
    """Write `mitbih_train.csv` and `mitbih_test.csv`, beats of `mitdb` in the `kachuee` cut divided as `splits.intra`
    does under the seed (validation beats are in the training file), and where `ptbdb` is here `ptbdb_normal.csv` and
    `ptbdb_abnormal.csv`. A file has its beats in the order of the cut, with the samples as they are (float32).

    Beside each, `…_rows.csv` says `record`, `patient`, `sample` (of the R peak, at the record's own rate) and `symbol`
    of every row; R peaks of `ptbdb` are detected and have no symbol.

    Returns the beats of each file. They are written all or none: a `UserError` when one of them is there already.
    """
    recordings = databases.find("ptbdb")
    names = list(kaggle_csv.CLASSES)[: 2 if recordings is None else 4]
    wanted = [name for table in names for name in (table, _of_rows(table))]
    if there := [name for name in wanted if (out / name).exists()]:
        raise UserError(out, f"{some(there)} already there", do="take another folder, or move them away")
    tables = _mitbih(seed) | ({} if recordings is None else _ptbdb(recordings))
    with ExitStack() as whole:
        for name, (signals, labels, rows) in tables.items():
            _write(whole.enter_context(files.writing(out / name)), signals, labels)
            rows.to_csv(whole.enter_context(files.writing(out / _of_rows(name))), index=False)
    return {name: len(rows) for name, (_, _, rows) in tables.items()}


def _of_rows(table: str) -> str:
    return table.removesuffix(".csv") + ROWS


def _mitbih(seed: int) -> Tables:
    cut = beats.load(databases.get("mitdb"), "kachuee")
    rows = pd.DataFrame({name: getattr(cut, name) for name in COLUMNS})
    split = splits.intra(cut.labels, seed)
    parts = {kaggle_csv.TRAIN: np.sort(np.concatenate([split.train, split.val])), kaggle_csv.TEST: split.test}
    return {
        f"{name}.csv": (cut.signals[index, 0], cut.labels[index], rows.iloc[index]) for name, index in parts.items()
    }


def _ptbdb(source: databases.Source) -> Tables:
    cohort = infarction.load(source)
    about = cohort.recordings.iloc[cohort.recording]
    rows = about[["record", "patient"]].assign(sample=cohort.sample, symbol="")
    parts = {name: np.flatnonzero(cohort.labels == label) for label, name in enumerate(list(kaggle_csv.CLASSES)[2:])}
    return {name: (cohort.signals[index, 0], cohort.labels[index], rows.iloc[index]) for name, index in parts.items()}


def _write(path: Path, signals: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
    columns = [*signals.T, labels.astype(np.float32)]
    table = pyarrow.table({str(i): np.ascontiguousarray(column) for i, column in enumerate(columns)})
    pyarrow.csv.write_csv(table, path, pyarrow.csv.WriteOptions(include_header=False))


def table(source: Records, out: Path) -> dict[str, str]:
    """Write recordings as a Delta table (see `catalogues.delta`): leads that are known, in mV at the record's own rate
    after all repairs, so that the table gives the same bits as the source.

    Returns the recordings that can't be read -> why; they have no row. A `UserError` when all are so, or something is
    there already; nothing is written then.
    """
    files.refuse_taken(out)
    notes = {"labels": {delta.NOTES: json.dumps({"classes": source.classes, "sample": source.sample})}}
    schema = pyarrow.schema(
        [pyarrow.field(name, kind, name in delta.OPTIONAL, notes.get(name)) for name, kind in _TYPES.items()]
    )
    refused: dict[str, str] = {}
    with files.writing_folder(out, new=True) as folder:
        tables.write(folder, schema, _batches(source, schema, refused))
    return refused


def _batches(source: Records, schema: pyarrow.Schema, refused: dict[str, str]) -> Iterator[pyarrow.RecordBatch]:
    entries = {entry.record: (i, entry) for i, entry in enumerate(source.entries)}

    def read(name: str) -> dict[str, Any]:
        position, entry = entries[name]
        return _row(entry, source.read(entry), position)

    names = list(entries)
    for start in range(0, len(names), GROUP):
        found = beats.tried(read, names[start : start + GROUP])
        refused |= {name: row.reason for name, row in found.items() if isinstance(row, RecordError)}
        rows = [row for row in found.values() if isinstance(row, dict)]
        if rows:
            yield pyarrow.RecordBatch.from_pylist(rows, schema)
    if len(refused) == len(names):
        raise UserError("data export", "no recording can be read; {}: {}".format(*next(iter(refused.items()))))


def _row(entry: Entry, recording: Recording, position: int) -> dict[str, Any]:
    known = np.flatnonzero(recording.signals.any(1))
    return {
        "record_id": entry.record,
        "fs": recording.fs,
        "leads": [LEADS[i] for i in known],
        "signal": recording.signals[known].ravel(),
        "age": None if np.isnan(entry.age) else entry.age,
        "sex": SEX.get(entry.female),
        "repairs": recording.repairs,
        "position": position,
        **{name: getattr(entry, name) for name in ("patient", "labels", "source", "fold", "codes")},
    }
