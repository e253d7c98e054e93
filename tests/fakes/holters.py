"""Annotated records in the form of other databases than `mitdb`, written from records of the sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import wfdb
from excerpts import SAMPLE

from ecglib.data.records import at_rate, read_annotations, read_recording

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


def record(
    folder: Path,
    name: str,
    of: str = "208",
    *,
    fs: float = 128,
    leads: Sequence[str] = ("ECG1", "ECG2"),
    fmt: str = "16",
    comments: Sequence[str] = (),
    annotators: Sequence[str] = ("atr",),
    symbols: Mapping[str, str] | None = None,
    seconds: float = 300,
) -> None:
    """A record of the sample, `of`, at another rate: its lead MLII, or first, as each of the leads, the second and all
    after it turned over, and its annotations with other `symbols`, once for each annotator."""
    folder.mkdir(parents=True, exist_ok=True)
    read, marks = read_recording(SAMPLE, of), read_annotations(SAMPLE, of)
    row = read.leads.index("MLII") if "MLII" in read.leads else 0
    lead = at_rate(read.signals[[row]], read.fs, fs)[0, : int(seconds * fs)]
    units = np.stack([np.rint(lead * (200 if i == 0 else -150)) for i in range(len(leads))], 1).astype(np.int16)
    n = len(leads)
    how = {"fs": fs, "units": ["mV"] * n, "sig_name": list(leads), "fmt": [fmt] * n, "comments": list(comments)}
    wfdb.wrsamp(name, d_signal=units, adc_gain=[200.0] * n, baseline=[0] * n, write_dir=str(folder), **how)
    samples = np.rint(marks.samples * fs / read.fs).astype(np.int64)
    kept = samples < len(lead)
    named = [(symbols or {}).get(str(symbol), str(symbol)) for symbol in marks.symbols[kept]]
    for annotator in annotators:
        wfdb.wrann(name, annotator, samples[kept], named, write_dir=str(folder))


def svdb(folder: Path, names: Mapping[str, str]) -> None:
    """Records as those of `svdb`, name -> that in `mitdb`: 128 Hz, `ECG1` and `ECG2`, S for A, every second one without
    a gain, no comments."""
    for i, (name, of) in enumerate(names.items()):
        record(folder, name, of, fmt="212", symbols={"A": "S"})
        if i % 2:
            without_gain(folder, name)


def without_gain(folder: Path, name: str) -> None:
    """Take the gain out of a record's header."""
    path = folder / f"{name}.hea"
    path.write_text(path.read_text().replace(" 200.0(0)/mV", " 0"))


def incartdb(folder: Path, names: Mapping[str, tuple[str, int]]) -> None:
    """Records as those of `incartdb`, name -> that in `mitdb` and the patient's number: 257 Hz, twelve leads, of which
    lead II is the record's own, and comments."""
    for name, (of, patient) in names.items():
        about = ("<age>: 65 <sex>: F <diagnoses> Coronary artery disease", f" patient {patient}", " PVCs, noise")
        record(folder, name, of, fs=257, leads=("II", *(lead for lead in LEADS if lead != "II")), comments=about)


def qtdb(folder: Path, names: Mapping[str, str]) -> None:
    """Records as those of `qtdb`: 250 Hz, and beats that were annotated again."""
    for name, of in names.items():
        record(folder, name, of, fs=250, leads=("MLII", "V5"), annotators=("atr", "man"))
