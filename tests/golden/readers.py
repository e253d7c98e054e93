"""What either way of reading makes of records as they are in the wild, made of an excerpt of a real one."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import scipy.io
import wfdb
from numpy.typing import NDArray

from ecglib.data import digest, records
from ecglib.data.records import LEADS
from ecglib.errors import RecordError

DATA: Final = Path(__file__).parent / "data"


def numbers() -> dict[str, Any]:
    """Of every record, what each reader gives: a digest, or why it refuses."""
    units = wfdb.rdrecord(str(DATA / "ptb-xl" / "records100" / "00000" / "00001_lr"), physical=False).d_signal
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        _write(folder, units)
        names = records.list_records(folder)
        (folder / "RECORDS").write_text("\n".join(names), encoding="utf-8")
        assert records.list_records(folder) == names
        found: dict[str, Any] = {name: [_strict(folder, name), _repairing(folder, name)] for name in names}
        found["comments"] = records.field(records.comments(folder, "plain"), "Dx")
        plain = records.read_repaired(folder, "plain")
        other = replace(plain, signals=1000 * plain.signals, leads=("-I", *LEADS[1:]))
        in_memory = records.repaired(other), records.picked(plain, ["V2", "ii"])
        found["in memory"] = [[digest.of(x=one.signals)["x"], *one.repairs] for one in in_memory]
        found["rates"] = records.at_rate(plain.signals, plain.fs, 250.0).shape
        found["rate"] = records.sampling_rate(folder, "plain")
        return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


def _write(folder: Path, units: NDArray[np.int64]) -> None:
    few, many, flat, clipped = (units.copy() for _ in range(4))
    few[100:103, 1] = -(2**15)
    many[:, 2] = -(2**15)
    flat[:, 5] = 7
    limit = int(np.percentile(units[:, 1], 98))
    clipped[200:230, 1] = limit
    clipped[:, 1] = np.minimum(clipped[:, 1], limit)
    _record(folder, "plain", units, comments="#Dx: 426783006\n")
    for fmt in ("24", "32", "212"):
        _record(folder, f"format-{fmt}", np.clip(units, -2000, 2000), fmt=fmt)
    for name, changed in {"few-missing": few, "lead-missing": many, "flat": flat, "clipped": clipped}.items():
        _record(folder, name, changed)
    _record(folder, "micro", units, gain="1(0)/µV", encoding="cp1252")
    _record(folder, "other-zero", units + 500, gain="1000/mV", zero=500)
    _record(folder, "uncalibrated", units, gain="0")
    _record(folder, "volts-as-millivolts", units, gain="1000000(0)/mV")
    for name, matrix, fmt, gain in (
        ("matrix", units.T, "16", "1000(0)/mV"),
        ("matrix-of-bytes", np.clip(units.T // 10, -128, 127) + 128, "80", "100(0)/mV"),
    ):
        scipy.io.savemat(folder / f"{name}.mat", {"val": matrix.astype("u1" if fmt == "80" else "i2")}, format="4")
        _header(folder, name, f"{name}.mat", units, fmt, gain)


def _record(folder: Path, name: str, units: NDArray[np.int64], *, fmt: str = "16", **header: Any) -> None:
    leads = {"fmt": [fmt] * 12, "adc_gain": [1000.0] * 12, "baseline": [0] * 12, "units": ["mV"] * 12}
    wfdb.wrsamp(name, fs=100, sig_name=list(LEADS), d_signal=units, write_dir=str(folder), **leads)
    if header:
        gain = header.pop("gain", "1000(0)/mV")
        _header(folder, name, f"{name}.dat", units, fmt, gain, **header)


def _header(
    folder: Path, name: str, file: str, units: NDArray[np.int64], fmt: str, gain: str, *,
    zero: int = 0, comments: str = "", encoding: str = "utf-8",
) -> None:  # fmt: skip
    lines = [f"{name} 12 100 {len(units)}"]
    for lead, own in zip(LEADS, units.T, strict=True):
        checksum = (int(own.sum()) + 2**15) % 2**16 - 2**15
        lines.append(f"{file} {fmt} {gain} 16 {zero} {own[0]} {checksum} 0 {lead}")
    (folder / f"{name}.hea").write_text("\n".join([*lines, comments]), encoding=encoding)


def _strict(folder: Path, name: str) -> Any:
    try:
        return digest.of(x=records.read_recording(folder, name, ["V2", "ii"], uncalibrated_gain=200.0).signals)["x"]
    except RecordError as error:
        return error.reason


def _repairing(folder: Path, name: str) -> Any:
    try:
        found = records.read_repaired(folder, name)
    except RecordError as error:
        return error.reason
    return [digest.of(x=found.signals)["x"], *found.repairs]
