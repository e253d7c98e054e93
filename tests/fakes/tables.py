"""Recordings as rows of a table: sound ones, and one for each thing that can be wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from ecglib.data import records
from ecglib.data.records import Recording

NAMES = ("100", "208", "233")
SCHEMA = pa.schema(
    {
        "record": pa.string(),
        "fs": pa.float64(),
        "leads": pa.list_(pa.string()),
        "signal": pa.list_(pa.float32()),
        "r_peaks": pa.list_(pa.int64()),
    }
)


def row(recording: Recording, peaks: Any = None, **other: Any) -> dict[str, Any]:
    """A recording as a row of a table."""
    values = {"record": recording.name, "fs": recording.fs, "leads": list(recording.leads)}
    return values | {"signal": recording.signals.ravel(), "r_peaks": peaks} | other


def of_folder(folder: Path) -> list[dict[str, Any]]:
    """Rows of the records of `NAMES`, with their beats."""
    read = [(records.read_recording(folder, name), records.read_annotations(folder, name)) for name in NAMES]
    return [row(recording, marks.samples[marks.is_beat]) for recording, marks in read]


def table(where: Path, rows: list[dict[str, Any]]) -> str:
    """A Delta table of rows, in place of what is there."""
    write_deltalake(str(where), pa.Table.from_pylist(rows, SCHEMA), mode="overwrite")
    return str(where)


def ordered(found: pa.Table) -> list[dict[str, Any]]:
    """The rows of an output or its quarantine."""
    return sorted(found.to_pylist(), key=lambda row: (row["record"], row.get("sample", 0), row.get("label", "")))


def read(where: str | Path) -> list[dict[str, Any]]:
    """All rows of a Delta table, in order."""
    return ordered(DeltaTable(str(where)).to_pyarrow_table())


def without(found: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    """Rows without what is another in every run, and without these columns."""
    return [{k: v for k, v in row.items() if k not in ("run_id", "time", *names)} for row in found]


def bad(good: Recording) -> dict[str, dict[str, Any]]:
    """Reason -> a row that it is the reason of."""
    n, fs, half = good.signals.shape[1], good.fs, good.signals.copy()
    half[0, 100] = np.nan
    flat = np.zeros_like(good.signals)
    peaks = np.arange(100, n, 300)
    return {
        "missing value": row(good, peaks) | {"signal": None},
        "unsupported rate": row(good, peaks, fs=36.0),
        "signal and leads disagree": row(good, peaks, signal=good.signals.ravel()[:-1]),
        "NaN samples": row(good, peaks, signal=half.ravel()),
        "flat signal": row(good, peaks, signal=flat.ravel()),
        "short signal": row(good, peaks[:3], signal=good.signals[:, : int(3 * fs)].ravel()),
        "empty signal": row(good, None, signal=np.zeros(0, np.float32)),
        "a lead twice": row(good, peaks, leads=["MLII", "mlii"]),
        "too few leads": row(good, peaks, leads=[]) | {"leads": None},
        "bad R peaks": row(good, peaks[::-1]),
        "no beat to classify": row(good, peaks[:1]),
    }
