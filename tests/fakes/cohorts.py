"""Small databases of infarctions in their own formats, with beats that tell the classes apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import clinics
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecglib.data.records import LEADS

FS = 500


def lead_ii(sick: bool, *, seconds: float = 10.0, fs: int = FS, seed: int = 0) -> NDArray[np.float64]:
    """A lead in mV, a beat every 0.8 s or so; sick ones have a Q wave, a raised ST segment and an inverted T wave."""
    rng = np.random.default_rng(seed)
    peaks = np.cumsum(rng.normal(0.8, 0.02, int(seconds / 0.7)))
    t = np.arange(int(seconds * fs)) / fs
    waves = [(-0.18, 0.03, 0.12), (0.0, 0.012, 1.0), (0.3, 0.05, 0.25)]
    if sick:
        waves = [(-0.18, 0.03, 0.12), (-0.04, 0.015, -0.35), (0.0, 0.012, 0.7), (0.12, 0.06, 0.2), (0.32, 0.05, -0.25)]
    signal = sum(size * np.exp(-0.5 * ((t - peak - at) / width) ** 2) for peak in peaks for at, width, size in waves)
    return np.asarray(signal + 0.01 * rng.standard_normal(len(t)))


def record(
    folder: Path, name: str, sick: bool, leads: Sequence[str] = LEADS, fs: int = FS, seconds: float = 10, seed: int = 0
) -> None:
    """One WFDB record; all leads are lead II at other sizes."""
    sizes = 1000 * (1 + 0.1 * np.arange(len(leads)))
    units = np.round(sizes[:, None] * lead_ii(sick, seconds=seconds, fs=fs, seed=seed)).astype(np.int16)
    clinics.dat(folder, name, units, leads, fs=fs, gain="1000.0(0)/mV", comments=())


def row(n: int, codes: str, *, patient: int | None = None, age: float = 60.0, sex: int = 0) -> dict[str, object]:
    """A row of `ptbxl_database.csv`."""
    patient = n if patient is None else patient
    files = {f"filename_{kind}r": f"records{rate}00/00000/{n:05d}_{kind}r" for kind, rate in (("l", 1), ("h", 5))}
    about = {"patient_id": float(patient), "age": age, "sex": sex, "scp_codes": codes, "strat_fold": patient % 10 + 1}
    return {"ecg_id": n, **about, **files}


def write_ptb_xl(folder: Path, rows: Sequence[dict[str, object]]) -> Path:
    """PTB-XL with these rows, 500 Hz, a short record for each; those with a code of infarction look sick."""
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(folder / "ptbxl_database.csv", index=False)
    statements = {"NORM": "NORM", "IMI": "MI", "AMI": "MI", "LVH": "HYP", "SR": None}
    table = pd.DataFrame({"": statements.keys(), "diagnostic_class": statements.values()})
    table.to_csv(folder / "scp_statements.csv", index=False)
    for n, each in enumerate(rows):
        record(folder, str(each["filename_hr"]), "MI'" in str(each["scp_codes"]), seed=n)
    return folder


def ptb_xl(folder: Path, healthy: int = 16, sick: int = 8) -> Path:
    """A small PTB-XL, some patients with two recordings, the sick ones older."""
    rows = [row(n, "{'NORM': 100.0, 'SR': 0.0}", patient=100 + n // 2, age=40.0 + n) for n in range(healthy)]
    rows += [
        row(healthy + n, f"{{'IMI': {50.0 if n % 2 else 15.0}}}", patient=500 + n // 2 * 2, age=60.0 + n, sex=1)
        for n in range(sick)
    ]
    return write_ptb_xl(folder, rows)


def write_ptb(folder: Path, name: str, sick: bool, comments: Sequence[str], seed: int = 0) -> None:
    """A record as PTB's are: 8 s at 1000 Hz, 12 leads in `.dat` and the three of Frank in `.xyz`, gain 2000 without
    units, names in lower case, and comments after a bare `#`."""
    signal = np.round(2000 * lead_ii(sick, seconds=8.0, fs=1000, seed=seed)).astype(np.int16)
    leads, said = [lead.lower() for lead in LEADS], ["", *(f" {comment}" for comment in comments)]
    clinics.with_frank(folder, name, np.tile(signal, (15, 1)), leads, fs=1000, gain="2000", comments=said)


def ptb(folder: Path, healthy: int = 4, sick: int = 4) -> Path:
    """A small PTB, two recordings of every patient."""
    names = []
    for n in range(2 * (healthy + sick)):
        ill = n >= 2 * healthy
        names.append(f"patient{n // 2 + 1:03d}/s{n:04d}lre")
        reason = "Myocardial infarction" if ill else "Healthy control"
        write_ptb(folder, names[-1], ill, [f"age: {40 + n}", "sex: male", f"Reason for admission: {reason}"], seed=n)
    (folder / "RECORDS").write_text("\n".join(names))
    return folder


def kaggle(folder: Path, healthy: int = 20, sick: int = 30) -> Path:
    """The two CSVs of beats, 187 samples and the class in the last column."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for file, label, n in (("ptbdb_normal.csv", 0, healthy), ("ptbdb_abnormal.csv", 1, sick)):
        beats = rng.random((n, 187)) * 0.2
        beats[:, 40:80] += 0.7 * label
        np.savetxt(folder / file, np.column_stack([beats, np.full(n, label)]), delimiter=",", fmt="%.18e")
    return folder
