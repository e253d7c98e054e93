"""Recordings as clinical machines and the Challenges write them: headers and signals of any leads, units and rates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.io
from numpy.typing import NDArray

from ecglib.data.infarction import LEADS

Units = NDArray[np.int16]
COMMENTS = ("Age: 61", "Sex: Female", "Dx: 426783006")


def units(samples: int = 1000, leads: int = len(LEADS), *, fs: float = 500, seed: int = 0) -> Units:
    """`(leads, samples)`, 1000 to a mV: a noisy beat a second, larger from lead to lead."""
    rng = np.random.default_rng(seed)
    beat = np.exp(-0.5 * ((np.arange(samples) / fs % 1 - 0.5) / 0.02) ** 2)
    sizes = 1000 + 100 * np.arange(leads)
    return np.round(sizes[:, None] * beat + 20 * rng.standard_normal((leads, samples))).astype(np.int16)


def header(
    folder: Path, name: str, n_samples: int, leads: Sequence[str], *, file: str, fs: float = 500,
    gain: str = "1000/mV", comments: Sequence[str] = COMMENTS, mark: str = "#", first: str | None = None,
) -> Path:  # fmt: skip
    """A header alone; `first` is its record line where that isn't `<name> <leads> <rate> <samples>`."""
    fmt = "16+24" if file.endswith(".mat") else "16"
    lines = [first or f"{name.rpartition('/')[2]} {len(leads)} {fs:g} {n_samples}"]
    lines += [f"{file} {fmt} {gain} 16 0 0 0 0 {lead}".rstrip() for lead in leads]
    path = folder / f"{name}.hea"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines, *(mark + line for line in comments)]) + "\n", encoding="utf-8")
    return path


def mat(
    folder: Path, name: str, signals: Units | None = None, leads: Sequence[str] = LEADS, *, fs: float = 500,
    gain: str = "1000/mV", comments: Sequence[str] = COMMENTS, mark: str = "#", first: str | None = None,
) -> Path:  # fmt: skip
    """A Challenge record; returns its header."""
    signals = units(leads=len(leads), fs=fs) if signals is None else signals
    file = f"{name.rpartition('/')[2]}.mat"
    path = header(
        folder, name, signals.shape[1], leads, file=file, fs=fs, gain=gain, comments=comments, mark=mark, first=first
    )
    scipy.io.savemat(path.with_suffix(".mat"), {"val": signals})
    return path


def dat(
    folder: Path, name: str, signals: Units | None = None, leads: Sequence[str] = LEADS, *, fs: float = 500,
    gain: str = "1000/mV", comments: Sequence[str] = COMMENTS,
) -> Path:  # fmt: skip
    """A WFDB record of format 16; returns its header."""
    signals = units(leads=len(leads), fs=fs) if signals is None else signals
    file = f"{name.rpartition('/')[2]}.dat"
    path = header(folder, name, signals.shape[1], leads, file=file, fs=fs, gain=gain, comments=comments)
    signals.T.astype("<i2").tofile(path.with_suffix(".dat"))
    return path
