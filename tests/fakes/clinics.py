"""Recordings as clinical machines and the Challenges write them: headers and signals of any leads, units and rates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from numpy.typing import NDArray

from ecglib.data.records import LEADS
from ecglib.errors import RecordError

Units = NDArray[np.int16]
Values = NDArray[Any]
COMMENTS = ("Age: 61", "Sex: Female", "Dx: 426783006")


def units(samples: int = 1000, leads: int = len(LEADS), *, fs: float = 500, seed: int = 0) -> Units:
    """`(leads, samples)`, 1000 to a mV: a noisy beat a second, larger from lead to lead."""
    rng = np.random.default_rng(seed)
    beat = np.exp(-0.5 * ((np.arange(samples) / fs % 1 - 0.5) / 0.02) ** 2)
    sizes = 1000 + 100 * np.arange(leads)
    return np.round(sizes[:, None] * beat + 20 * rng.standard_normal((leads, samples))).astype(np.int16)


def header(
    folder: Path, name: str, n_samples: int, leads: Sequence[str], *, file: str, fs: float = 500, fmt: str = "16",
    gain: str | Sequence[str] = "1000/mV", comments: Sequence[str] = COMMENTS, mark: str = "#",
    first: str | None = None, ends: Sequence[str] | None = None, encoding: str = "utf-8",
) -> Path:  # fmt: skip
    """A header alone.

    `first` is its record line where that isn't `<name> <leads> <rate> <samples>`; `gain` the third field of every
    signal's line, or of each; `ends` their first values and checksums where those aren't 0.
    """
    gains = [gain] * len(leads) if isinstance(gain, str) else gain
    fmt += "+24" if file.endswith(".mat") else ""
    lines = [first or f"{name.rpartition('/')[2]} {len(leads)} {fs:g} {n_samples}"]
    for lead, one, end in zip(leads, gains, ends or ["0 0"] * len(leads), strict=True):
        lines.append(f"{file} {fmt} {one} 16 0 {end} 0 {lead}".rstrip())
    path = folder / f"{name}.hea"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines, *(mark + line for line in comments)]) + "\n", encoding=encoding)
    return path


def mat(
    folder: Path, name: str, signals: Values | None = None, leads: Sequence[str] = LEADS, *, fs: float = 500, **how: Any
) -> Path:
    """A record with a matrix `val` of any numbers, as the Challenges' are; returns its `header`, which `how` is for."""
    signals = units(leads=len(leads), fs=fs) if signals is None else signals
    file = f"{name.rpartition('/')[2]}.mat"
    path = header(folder, name, signals.shape[1], leads, file=file, fs=fs, **how)
    scipy.io.savemat(path.with_suffix(".mat"), {"val": signals})
    return path


def dat(
    folder: Path, name: str, signals: Values | None = None, leads: Sequence[str] = LEADS, *, fs: float = 500, **how: Any
) -> Path:
    """A WFDB record of format 16 or 32 with its first values and checksums; returns its header, likewise."""
    signals = units(leads=len(leads), fs=fs) if signals is None else signals
    file = f"{name.rpartition('/')[2]}.dat"
    sums = (signals.sum(1, dtype=np.int64) + 2**15) % 2**16 - 2**15
    firsts = signals[:, 0] if signals.size else np.zeros_like(sums)
    ends = [f"{first} {total}" for first, total in zip(firsts, sums, strict=True)]
    path = header(folder, name, signals.shape[1], leads, file=file, fs=fs, ends=ends, **how)
    signals.T.astype({"16": "<i2", "32": "<i4"}[how.get("fmt", "16")]).tofile(path.with_suffix(".dat"))
    return path


def with_frank(folder: Path, name: str, signals: Values, leads: Sequence[str] = LEADS, **how: Any) -> None:
    """A record as PTB's are: twelve leads in `.dat`, the three of Frank in `.xyz`; `signals` are `(15, samples)`."""
    path = dat(folder, name, signals, [*leads, "vx", "vy", "vz"], **how)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:13], *(line.replace(".dat ", ".xyz ") for line in lines[13:])]))
    for suffix, rows in ((".dat", signals[:12]), (".xyz", signals[12:])):
        rows.T.astype("<i2").tofile(path.with_suffix(suffix))


def edit(path: Path, old: str, new: str) -> None:
    """Put `new` in the place of `old` wherever it stands in a text file."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def refused(read: Callable[..., object], folder: Path, *args: object) -> str:
    """Why a record can't be read; the message is one line, and short."""
    with pytest.raises(RecordError) as caught:
        read(folder, *args)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(folder))
    return caught.value.reason
