"""Short records of `mitdb`: a part of each record of the embedded sample, in the database's own format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import wfdb

from ecglib.data import databases
from ecglib.data.records import list_records

FS = 360
SAMPLE = databases.SAMPLE / "mitdb"
"""The package's own, wherever a test makes it look."""
RECORDS = databases.DATABASES["mitdb"].records
FEW = ("100", "208", "234")


def source(folder: Path, *records: str, name: str = "mitdb") -> databases.Source:
    """These records of a folder, or all of them, as `mitdb` or another database."""
    return databases.Source(name, folder, False, records or tuple(list_records(folder)))


def mitdb(folder: Path, *, start: int = 210, seconds: int = 60, records: Sequence[str] = RECORDS) -> None:
    """Write `.hea`, `.dat` in format 212 and `.atr`, with the rhythm in force first.

    The minute taken by default has beats of every class in every set of the inter-patient protocol.
    """
    folder.mkdir(parents=True, exist_ok=True)
    first, last = start * FS, (start + seconds) * FS
    for name in records:
        path = str(SAMPLE / name)
        read = wfdb.rdrecord(path, sampfrom=first, sampto=last, physical=False)
        fields = {key: getattr(read, key) for key in ("fs", "units", "sig_name", "adc_gain", "baseline", "comments")}
        wfdb.wrsamp(name, d_signal=read.d_signal, fmt=["212", "212"], write_dir=str(folder), **fields)
        marks = wfdb.rdann(path, "atr")
        inside = np.flatnonzero((marks.sample > first) & (marks.sample < last))
        rhythm = [i for i in np.flatnonzero(marks.sample <= first) if marks.aux_note[i]][-1:]
        kept, samples = [*rhythm, *inside], np.append(np.zeros(len(rhythm), int), marks.sample[inside] - first)
        symbols, notes = ([values[i] for i in kept] for values in (marks.symbol, marks.aux_note))
        wfdb.wrann(name, "atr", samples, symbols, aux_note=notes, write_dir=str(folder))
    (folder / "RECORDS").write_text("".join(f"{name}\n" for name in records), encoding="ascii")
