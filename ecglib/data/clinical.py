"""Whole recordings of clinical machines, whatever they are written as, brought to twelve leads in mV.

Reads WFDB records with `.dat` signals, and those whose signal is a matrix in a `.mat` file, as `wfdb2mat` and the
PhysioNet/CinC Challenges write them. What is wrong with a header and can be put right by a stated rule is put right,
and named in `Signal.repairs`; anything else is a `RecordError` with its reason:

- a record line that the `wfdb` package can't parse (`E00015.mat 12 500 5000 …`, in the Challenge's first release) is
  read by the position of its fields: name, number of leads, rate, samples;
- a Challenge `.mat` has 1000 units per mV where its header has one of the Challenge's `WRONG_GAINS`;
- a record's amplitude, the median over its leads of the range between the 0.5th and the 99.5th percentile, must
  be in `PLAUSIBLE`; where a factor of 1000 brings it there, µV or V were written as mV;
- samples that are no number are interpolated where they are few (`GAPS`), else the lead counts as not recorded;
- a lead that never varies counts as not recorded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np
import scipy.io
import wfdb
from numpy.typing import NDArray
from scipy.signal import resample_poly

from ecglib.data import records
from ecglib.data.records import LEADS, Calibration
from ecglib.errors import RecordError

ALIASES: Final = {"D1": "I", "D2": "II", "D3": "III", "DI": "I", "DII": "II", "DIII": "III"}
"""Other spellings of standard leads, in upper case."""
UNITS_PER_MV: Final = 1000.0
"""Of every `.mat` of the Challenges."""
WRONG_GAINS: Final = (4880.0, 200.0)
"""Gains that the headers of some of them have instead: all of the Georgia database's (`E00015`) and PTB-XL's
(`HR00599`)."""
RATES: Final = (100.0, 1000.0)
"""Lowest and highest sampling rate in Hz."""
PLAUSIBLE: Final = (0.05, 20.0)
"""Bounds in mV of a recording's amplitude."""
GAPS: Final = 0.05
"""Share of a lead's samples that may be no number."""
SHORTEST: Final = 1.0
"""Seconds."""

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Signal:
    """A recording in standard order.

    Attributes
    ----------
    signals
        float32 `(12, samples)` in mV, leads as in `LEADS`; 0 throughout where a lead is not known.
    fs
        Samples per second.
    known
        bool `(12,)`: the leads that were recorded.
    comments
        The header's comment lines without `#`.
    repairs
        What was put right, one sentence each.
    """

    signals: Array
    fs: float
    known: NDArray[np.bool_]
    comments: tuple[str, ...] = ()
    repairs: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Lead:
    """A signal line of a header."""

    name: str
    file: str
    fmt: str
    calibration: Calibration | None
    """None of a channel that is none of the twelve leads, whatever it measures."""


@dataclass(frozen=True)
class _Header:
    fs: float
    samples: int
    leads: tuple[_Lead, ...]
    comments: tuple[str, ...]
    repairs: tuple[str, ...]


def read(folder: Path, name: str) -> Signal:
    """Read a record, with leads in standard order.

    Parameters
    ----------
    folder
        Of the database.
    name
        The record's, as `records.list_records` gives it.

    Raises
    ------
    RecordError
        When a file is missing, unreadable or another one than its header says, the rate is not between 100 and 1000 Hz,
        the record is empty or shorter than a second, its amplitude is none of an ECG's, or it has no standard lead with
        a signal.
    """
    path = records._file(folder, name, ".hea")
    header = _header(path)
    if not RATES[0] <= header.fs <= RATES[1]:
        raise RecordError(path, "unsupported rate", f"{header.fs:g} Hz", f"{RATES[0]:g} to {RATES[1]:g} Hz")
    units = (_matrix if header.leads[0].file.endswith(".mat") else _decoded)(path, header)
    signals = np.zeros(units.shape, dtype=np.float32)
    for row, digital, lead in zip(signals, units, header.leads, strict=True):
        if lead.calibration is not None:
            row[:] = records.millivolts(digital, lead.calibration)
            row[digital == records._INVALID.get(lead.fmt)] = np.nan
    repairs = list(header.repairs)
    if len(signals[0]) < SHORTEST * header.fs:
        reason = "short signal" if len(signals[0]) else "empty signal"
        raise RecordError(path, reason, f"{len(signals[0]) / header.fs:.2f} s", f"{SHORTEST:g} s or more")
    arranged, known, more = _arranged(path, signals, [lead.name for lead in header.leads])
    repairs += more
    arranged, more = _plausible(path, arranged, known)
    repairs += more
    return Signal(arranged, header.fs, known, header.comments, tuple(repairs))


def at_rate(signal: Signal, rate: float) -> Signal:
    """The recording at another rate in Hz, by polyphase filtering; what is not known stays zero."""
    if signal.fs == rate:
        return signal
    ratio = Fraction(rate / signal.fs).limit_denominator(1000)
    found = np.zeros((len(LEADS), -(-signal.signals.shape[1] * ratio.numerator // ratio.denominator)), np.float32)
    found[signal.known] = resample_poly(
        signal.signals[signal.known], ratio.numerator, ratio.denominator, axis=1, padtype="line"
    )
    return Signal(found, rate, signal.known, signal.comments, signal.repairs)


def comments(folder: Path, name: str) -> tuple[str, ...]:
    """The comment lines of a record's header, without `#`; its signal is not read. Errors as for `read`."""
    text = records.header_text(records._file(folder, name, ".hea"))
    return tuple(line.lstrip()[1:].strip() for line in text.splitlines() if line.lstrip().startswith("#"))


# --- headers ----------------------------------------------------------------------------------------------------------


def _header(path: Path) -> _Header:
    """Fields by their position, so that what stands in one of no interest (date, time) can't spoil the others."""
    text = records.header_text(path)
    lines = [line.split() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        raise RecordError(path, "empty header")
    if "/" in lines[0][0]:
        raise RecordError(path, "unsupported record", "a record of several segments", "a record of one segment")
    try:
        n, fs, samples = int(lines[0][1]), float(lines[0][2].partition("/")[0]), int((lines[0] + ["0"] * 3)[3])
        if not 0 <= samples <= records._MOST:
            raise ValueError(samples)
    except (ValueError, IndexError):
        found = " ".join(lines[0])[:60]
        raise RecordError(path, "unreadable header", found, "name, number of leads, rate, samples") from None
    if not 0 < n == len(lines) - 1:
        raise RecordError(path, "unreadable header", f"{len(lines) - 1} signal lines", f"{str(n)[:20]} (at least 1)")
    leads = tuple(_lead(path, line) for line in lines[1:])
    files = {lead.file for lead in leads}
    if len(files) > 1 and any(file.endswith(".mat") for file in files):
        raise RecordError(path, "unsupported record", "several signal files", "one .mat file")
    said = tuple(line.lstrip()[1:].strip() for line in text.splitlines() if line.lstrip().startswith("#"))
    leads, wrong = _with_right_gains(path.stem, leads, said)
    repairs: tuple[str, ...] = ()
    if not re.fullmatch(r"[\w-]+", lines[0][0]):
        repairs = (f"record line begins with {lines[0][0]!r}, which is no record name",)
    return _Header(fs, samples, leads, said, (*repairs, *wrong))


def _lead(path: Path, line: list[str]) -> _Lead:
    if not records._NAME.fullmatch(line[0]):
        raise RecordError(path, "unsafe path", f"signal file {line[0]!r}", "a file name in the record's folder")
    name = line[8] if len(line) > 8 else ""
    fmt = re.split(r"\D", line[1])[0] if len(line) > 1 else ""
    return _Lead(name, line[0], fmt, records.calibration(path, line, name) if _standard(name) in LEADS else None)


def _standard(name: str) -> str:
    return ALIASES.get(name.upper(), name.upper())


def _with_right_gains(
    record: str, leads: tuple[_Lead, ...], comments: tuple[str, ...]
) -> tuple[tuple[_Lead, ...], tuple[str, ...]]:
    """The leads with the Challenge's wrong gains put right, and a sentence that says so.

    Signs of the Challenge are a name of those databases and a diagnosis. 4880 stands for the 4.88 µV of the machine's
    unit, in nV, and is nobody's gain: one sign will do, as records are renamed, or copied without their diagnosis. 200
    is right for what `wfdb2mat` makes of many a database, so it takes both.
    """
    signs = bool(re.fullmatch(r"(E|HR)\d{5}", record)) + bool(field(comments, "Dx"))
    right, found, said = Calibration(UNITS_PER_MV, 0), [], set()
    for lead in leads:
        its = lead.calibration
        wrong = lead.file.endswith(".mat") and its and its.gain in WRONG_GAINS[:signs] and not its.baseline
        if its and wrong:
            said.add(f"{its.gain:g}")
        found.append(replace(lead, calibration=right) if wrong else lead)
    text = f"gain of {' and '.join(sorted(said))} units per mV taken for {UNITS_PER_MV:g}"
    return tuple(found), (text,) if said else ()


# --- signals ----------------------------------------------------------------------------------------------------------


def _matrix(path: Path, header: _Header) -> NDArray[Any]:
    """Digital units `(leads, samples)` of a `.mat`, or whatever numbers gain and baseline make mV of."""
    file = path.parent / header.leads[0].file
    records._size(file)
    try:
        found = scipy.io.loadmat(file)
    except PermissionError:
        raise RecordError(file, "no permission", do="give yourself read access to the file") from None
    except Exception as error:  # a damaged file raises what it likes
        message = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RecordError(file, "unreadable signal", message[:80], "a MATLAB matrix named val") from None
    matrix = found.get("val")
    if not isinstance(matrix, np.ndarray) or matrix.ndim != 2 or matrix.dtype.kind not in "iuf":
        raise RecordError(file, "unreadable signal", "no matrix of numbers named val", "a MATLAB matrix named val")
    expected = (len(header.leads), header.samples or matrix.shape[1])
    if matrix.shape != expected:
        raise RecordError(file, "header and signal disagree", f"a matrix {matrix.shape}", f"{expected} by its header")
    if matrix.size and matrix.dtype.kind in "iu" and max(-int(matrix.min()), int(matrix.max())) > 2**53:
        raise RecordError(file, "unreadable signal", "numbers of more than 53 bits", "the numbers of a converter")
    if header.leads[0].fmt == "80" and matrix.dtype == np.uint8:
        return matrix.astype(np.int16) - 128  # the format's own zero, which MATLAB knows nothing of
    return matrix


def _decoded(path: Path, ours: _Header) -> NDArray[Any]:
    """Digital units `(leads, samples)` of a record with signals in WFDB formats, decoded by the `wfdb` package."""
    header, _ = records._read_header(path)
    records._check_lengths(path, header)
    if not (header.sig_len or header.file_name):
        raise RecordError(path, "empty signal")
    file = path.parent / header.file_name[0]
    with records._wfdb_errors(file, "unreadable signal"):
        record = wfdb.rdrecord(str(path.with_suffix("")), physical=False, return_res=32)
    if record.d_signal is None or not record.d_signal.size:
        raise RecordError(file, "empty signal")
    return np.asarray(record.d_signal).T


def _arranged(path: Path, signals: Array, names: list[str]) -> tuple[Array, NDArray[np.bool_], list[str]]:
    """Standard leads in their order, which of them are known, and what was put right."""
    there = [_standard(name) for name in names]
    twice = sorted({name for name in there if name in LEADS and there.count(name) > 1})
    if twice:
        raise RecordError(path, "a lead twice", ", ".join(twice))
    arranged = np.zeros((len(LEADS), signals.shape[1]), dtype=np.float32)
    known = np.zeros(len(LEADS), dtype=bool)
    said: dict[str, list[str]] = {}
    for row, name in enumerate(LEADS):
        if name not in there:
            continue
        lead = signals[there.index(name)]
        bad = ~np.isfinite(lead)
        if bad.mean() > GAPS:
            said.setdefault("no number in too many samples, so taken for not recorded", []).append(name)
            continue
        if bad.any():
            good = np.flatnonzero(~bad)
            lead = np.interp(np.arange(len(lead)), good, lead[good]).astype(np.float32)
            said.setdefault("samples without a number interpolated", []).append(name)
        if lead.min() == lead.max():
            said.setdefault("never varies, so taken for not recorded", []).append(name)
            continue
        arranged[row], known[row] = lead, True
    if not known.any():
        found = ", ".join(names) or "none"
        raise RecordError(path, "no standard lead with a signal", found[:60], f"some of {', '.join(LEADS)}")
    return arranged, known, [f"{', '.join(leads)}: {what}" for what, leads in said.items()]


def _plausible(path: Path, signals: Array, known: NDArray[np.bool_]) -> tuple[Array, list[str]]:
    low, high = np.percentile(signals[known], (0.5, 99.5), axis=1)
    amplitude = float(np.median(high - low))
    for factor, what in ((1.0, ""), (1e-3, "µV"), (1e3, "V")):
        if PLAUSIBLE[0] <= factor * amplitude <= PLAUSIBLE[1]:
            return signals * np.float32(factor), [f"{what} written as mV"] if what else []
    expected = f"{PLAUSIBLE[0]:g} to {PLAUSIBLE[1]:g} mV"
    raise RecordError(path, "implausible amplitude", f"{amplitude:.3g} mV", expected)


def field(lines: Iterable[str], name: str) -> str:
    """What a header's comments say of a field such as `Dx`, upper or lower case; empty where they don't."""
    for line in lines:
        key, colon, value = line.partition(":")
        if colon and key.strip().lower() == name.lower():
            return value.strip()
    return ""
