"""WFDB records and annotations, read in one way: strictly, or with what is wrong put right by a stated rule.

The `wfdb` package does the decoding. Around it stand the checks it leaves out (lengths, gains, checksums, flat and
clipped leads, file names that lead out of the folder), and every failure is a `RecordError`: callers set the record
aside and count the `reason`.

Strict reading takes a record as it says it is, or not at all. Recordings of clinical machines, whatever they are
written as, are brought to twelve leads in mV by `read_repaired`; each repair is named in `Recording.repairs`:

- the signal may be a matrix in a `.mat` file, as `wfdb2mat` and the PhysioNet/CinC Challenges write them;
- of such a record, a record line that the `wfdb` package can't parse (`E00015.mat 12 500 5000 …`, in the Challenge's
  first release) is read by the position of its fields: name, number of leads, rate, samples;
- a Challenge `.mat` has 1000 units per mV where its header has one of the Challenge's `WRONG_GAINS`;
- numbers of a `.mat` that are not whole are taken for mV where gain and baseline make no ECG of them;
- a record's amplitude, the median over its leads of the range between the 0.5th and the 99.5th percentile, or of
  the whole range where little else moves, must be in `PLAUSIBLE`; where a factor of 1000 brings it there, µV or V
  were written as mV;
- samples that are no number are interpolated where they are few (`GAPS`), else the lead counts as not recorded;
- a lead that never varies counts as not recorded;
- a lead whose name says that it is negated is turned over;
- of several channels that may be one lead, the plainly spelt one is it, and the others are named;
- other channels are not read, and named where a standard lead is missing.

Header fields are read here by their position, so that a date or a name that `wfdb` can't parse spoils nothing; it
decodes the samples. Of a frame of several samples the mean is taken, which is missing where one of them is. The file
formats: https://physionet.org/physiotools/wag/header-5.htm, signal-5.htm and annot-5.htm.
"""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly
from wfdb.io import _signal
from wfdb.io import annotation as wfdb_annotation

from ecglib import aami
from ecglib.data import matlab
from ecglib.errors import RecordError, UserError

RATE = 125
"""Rate in Hz that signals are brought to before beats are cut from them."""
LEADS: Final = ("I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6")
"""The twelve standard leads, in their order."""
ALIASES: Final = {"D1": "I", "D2": "II", "D3": "III", "DI": "I", "DII": "II", "DIII": "III"}
"""Other spellings of standard leads, in upper case."""
DEFAULT_GAIN: Final = 200.0
"""Units per mV of a lead whose header says none, by the format."""
UNITS_PER_MV: Final = 1000.0
"""Of every `.mat` of the Challenges."""
WRONG_GAINS: Final = (4880.0, 200.0)
"""Gains that the headers of some of them have instead: all of the Georgia database's (`E00015`) and PTB-XL's
(`HR00599`)."""
RATES: Final = (100.0, 1000.0)
"""Lowest and highest sampling rate in Hz of a repaired record."""
PLAUSIBLE: Final = (0.05, 20.0)
"""Bounds in mV of a recording's amplitude."""
GAPS: Final = 0.05
"""Share of a lead's samples that may be no number."""
SHORTEST: Final = 1.0
"""Seconds of a repaired record."""
ONE_BEAT: Final = 0.1
"""Seconds in which a heart beats once; the shortest interval in `mitdb` is 0.25 s."""
PIECE: Final = 2**22
"""Samples that are decoded at a time, so that a recording of days takes little more memory than its samples."""
CLIPPED_RUN: Final = 5
"""Samples in succession on a lead's lowest or highest value that make a plateau."""
CLIPPED_SHARE: Final = 0.01
"""A lead is clipped when more of its samples than this lie in plateaus. The highest share in the 48 records of `mitdb`
is 0.0014 (116, MLII); cut at 0.5 mV around the median, record 100 has 0.026."""

Array = NDArray[np.float32]
Leads = Sequence[str] | Callable[[Path, Sequence[str]], Sequence[int]]
"""Names of the leads wanted, in the order wanted, upper or lower case; or what gives their places, of the header's path
and the names there."""

_PREFIXES: Final = {
    "": 1e3, "m": 1.0, "milli": 1.0, "n": 1e-6, "nano": 1e-6,
    "u": 1e-3, "\N{GREEK SMALL LETTER MU}": 1e-3, "micro": 1e-3,
}  # fmt: skip
"""Before V, volt or volts in small letters, the micro sign as the Greek letter -> mV in one of it."""
_WHOLE: Final = r"[-+]?[0-9]{1,300}"
_CALIBRATION: Final = re.compile(rf"(?P<gain>[^(/]+)(?:\((?P<baseline>{_WHOLE})\))?(?:/(?P<unit>.*))?")
_INVALID: Final[dict[str, int | None]] = _signal.INVALID_SAMPLE_VALUE
"""Format -> what stands for a sample that is missing."""
_SYMBOLS: Final[dict[int, str]] = {label.label_store: label.symbol for label in wfdb_annotation.ann_labels}
"""Code of an annotation -> its symbol, by the format."""
_NOTE: Final = 22
"""The code of a comment; at sample 0 one that defines something of the file."""
_FILE, _FORMAT, _GAIN, _BITS, _ZERO, _FIRST, _SUM, _LEAD = 0, 1, 2, 3, 4, 5, 6, 8
"""Places of the fields in a signal's line."""
_LAYOUT: Final = re.compile(r"([0-9]{1,15})x?([0-9]{0,15}):?([0-9]{0,15})\+?([0-9]{0,15})")
"""The field of the format: it, samples in a frame, skew and offset."""
_RATE: Final = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(?:[/(].*)?")
"""Of samples; what follows is that of a counter."""
_NAME: Final = re.compile(r"(?![.~ ])[^/\\:*?\"<>|\x00-\x1f\x7f]+")
"""Of a file or folder."""
_BETWEEN: Final = r"[ _.\-\u2212\u2013]"
"""What may part a name's words; the last three are a minus only where nothing or a blank is in front of them."""
_LEAD_NAME: Final = re.compile(
    rf"(?:MDC_ECG_LEAD_|(?:E[CK]G(?:{_BETWEEN}|:)?)?(?:LEAD(?:{_BETWEEN}|:)?)?)((?<![^ ])[-\u2212\u2013])?"
    rf"(I{{1,3}}|D{_BETWEEN}?(?:I{{1,3}}|[1-3])|AV{_BETWEEN}?[RLF]|[VC]{_BETWEEN}?[1-6])(NEG)?[ .,:;]*"
)
"""In capitals; its groups are a minus, the lead, and another way to say minus."""
_CHEST: Final = {f"C{i}": f"V{i}" for i in range(1, 7)}
"""Other names of the chest leads; those of an EEG's electrodes too."""
_COUNT: Final = re.compile(r"[0-9]{1,15}")
_WHEN: Final = re.compile(r"[0-9]{1,2}:.*|[0-9]{1,4}[-/]\w{1,3}[-/][0-9].*")
"""A time or a date, of which the format has several."""
_DEFAULT_RATE: Final = 250.0
"""Hz of a record that does not say its rate, by the format."""
_FASTEST: Final = 1e5
"""In Hz; no ECG is sampled faster, and what is can't be brought to another rate."""
_MOST: Final = 2**40
"""No file has more samples; a count beyond it is no count."""


@dataclass(frozen=True, eq=False)
class Recording:
    """The signals of one record."""

    name: str
    """With its subfolder where it has one (`records100/00000/00001_lr`)."""
    signals: Array
    """float32 `(n_leads, n_samples)`, in mV; 0 throughout where a lead was not recorded, else it varies."""
    fs: float
    """Sampling rate in Hz."""
    leads: tuple[str, ...]
    """In the order of `signals`: as the header spells them, or of a repaired record `LEADS`."""
    comments: tuple[str, ...] = ()
    """The header's comment lines without `#`."""
    repairs: tuple[str, ...] = ()
    """What was put right, one sentence each."""


@dataclass(frozen=True, eq=False)
class Annotations:
    """The annotations of one record."""

    samples: NDArray[np.int64]
    """`(n,)`, in samples of the record's own rate from its start, not decreasing. Two beats of one class are `ONE_BEAT`
    apart or more, and of two classes at different samples."""
    symbols: NDArray[np.str_]
    """`(n,)`, one symbol each, of WFDB or the file's own."""
    left_out: dict[str, int]
    """What may be beats and was not taken for any, by reason."""

    @property
    def is_beat(self) -> NDArray[np.bool_]:
        """`(n,)`: whether the symbol marks a beat."""
        return np.array([symbol in aami.SYMBOLS for symbol in self.symbols], dtype=bool)


@dataclass(frozen=True)
class _Header:
    """Fields of a header by their position, so that what stands in one of no interest can't spoil the others."""

    record: str
    """What the record line begins with."""
    fs: float
    """Hz, above 0."""
    sig_len: int
    """Samples of each signal, or frames of several; 0 where it isn't said."""
    signals: list[list[str]]
    """Of each signal nine fields, empty where it has none; the last is the lead's name."""
    comments: tuple[str, ...]


def list_records(folder: Path) -> list[str]:
    """Names of the records in a folder, each once: the lines of `RECORDS` where that file has any, else every `*.hea`,
    sorted.

    A line of `RECORDS` that names a folder stands for the records in it. Records that `RECORDS` names and that are
    missing or broken are listed too, and folders without a record, so that the reader counts them. Without `RECORDS`,
    headers in subfolders are listed (`sub/name`) only where the folder itself has none, but for subfolders that may not
    be read. A `UserError` when the folder is missing or may not be read, a `RecordError` when a line of `RECORDS` leads
    out of it.
    """
    where = folder / "RECORDS"
    try:
        text = where.read_text(encoding="utf-8-sig") if where.is_file() else ""
        if text.strip():
            lines = [(line.strip(), line.split()) for line in text.splitlines()]
            words = [word for line, parts in lines for word in ([line] if _there(folder, line) else parts)]
            names = [_checked_name(where, word.removeprefix("./").rstrip("/").removesuffix(".hea")) for word in words]
            depth = min(name.count("/") for name in names)
            return list(dict.fromkeys(record for name in names for record in _meant(folder, name, depth)))
        own = takewhile(lambda file: file.parent == folder, walked(folder))
        headers = _headers(own) or _headers(walked(folder))
    except PermissionError:
        raise UserError(folder, "no permission to read it", do="give yourself read access to the folder") from None
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(folder, "no such folder", "a folder of WFDB records") from None
    except UnicodeDecodeError:
        raise UserError(where, "it is no text in UTF-8", "a list of records", "save it so") from None
    except OSError as error:
        raise UserError(folder, f"can't be read ({error.strerror})", "a folder of WFDB records") from None
    return [header.relative_to(folder).with_suffix("").as_posix() for header in headers]


def _headers(files: Iterable[Path]) -> list[Path]:
    return sorted(file for file in files if file.suffix == ".hea")


def walked(folder: Path) -> Iterator[Path]:
    """The files of a folder and of those below it, but for hidden ones and for subfolders that may not be read.

    Links to folders are followed, but for those that lead to where the walk comes by itself; so each folder comes once.
    An `OSError` when the folder itself may not be read.
    """
    top, seen = folder.resolve(), set[Path]()

    def refuse(error: OSError) -> None:
        if not isinstance(error, PermissionError) or error.filename == str(folder):
            raise error

    for parent, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        real = Path(parent).resolve()
        links = {name: Path(parent, name).resolve() for name in folders if Path(parent, name).is_symlink()}
        here = {name for name, to in links.items() if to.is_relative_to(top) or top.is_relative_to(to)}
        folders[:] = [name for name in sorted(folders) if real not in seen and name[0] != "." and name not in here]
        yield from (Path(parent, name) for name in files if real not in seen and name[0] != ".")
        seen.add(real)


def _there(folder: Path, name: str) -> bool:
    return os.path.isfile(f"{folder}/{name}.hea")  # noqa: PTH113  (that of Path is slow, and raises at a long name)


def _meant(folder: Path, name: str, depth: int) -> list[str]:
    """What a line of `RECORDS` names, whose other lines have `depth` slashes or more: a record; the records of a
    folder, or it where it has none; or two records that lack the line end between them, as PTB-XL's list has it."""
    if _there(folder, name):
        return [name]
    if (folder / name).is_dir():
        return [f"{name}/{record}" for record in list_records(folder / name)] or [name]
    for i in range(1, len(name)):
        both = name[:i], name[i:]
        if all(half.count("/") == depth and _is_name(half) for half in both):
            # Two names of a subfolder have two names' slashes: one of them will do, as a part may be downloaded.
            found = [half for half in both if _there(folder, half)]
            if len(found) == 2 or (found and depth):
                return list(both)
    return [name]


def read_recording(
    folder: Path,
    name: str,
    leads: Leads | None = None,
    *,
    uncalibrated_gain: float | None = None,
) -> Recording:
    """Read the signals of a record strictly: a `RecordError` when a file is missing, empty, truncated or unreadable,
    header and signal disagree, or a lead is missing, may be either of two channels, holds NaN or nothing but one value,
    or is clipped.

    Parameters
    ----------
    folder, name
        The database's folder, and the record's name as `list_records` gives it.
    leads
        Those wanted; None for all, in the file's order. Checks of the signal itself (checksum, NaN, flat, clipped,
        gain) apply to them only.
    uncalibrated_gain
        Units per mV to take for a lead whose header says 0 (uncalibrated, as in the noise records of `nstdb`, where
        `DEFAULT_GAIN` is meant), which its `repairs` say; None refuses such a lead.
    """
    path = header_path(folder, name)
    header = _read_header(path)
    there = [line[_LEAD] for line in header.signals]
    chosen = _choose(path, there, leads)
    calibrations = [_calibration(path, header.signals[i], uncalibrated_gain) for i in chosen]
    units = _decoded(path, header, chosen)
    signals = np.empty(units.shape, dtype=np.float32)
    for row, i in enumerate(chosen):
        _check_lead(path.parent / header.signals[i][_FILE], header, i, units[row])
        for low in range(0, units.shape[1], PIECE):
            signals[row, low : low + PIECE] = millivolts(units[row, low : low + PIECE], *calibrations[row])
        if not np.isfinite(signals[row]).all():
            found = f"{calibrations[row][0]:g} units per mV for lead {there[i]}"
            raise RecordError(path, "bad gain", found, "one that gives an amplitude in mV")
    assumed = any(_gain(header.signals[i]) == 0 for i in chosen)
    repairs = (f"no gain in the header, so {uncalibrated_gain:g} units per mV",) if assumed else ()
    return Recording(name, signals, header.fs, tuple(there[i] for i in chosen), header.comments, repairs)


def read_repaired(folder: Path, name: str) -> Recording:
    """Read a record, brought to the twelve leads of `LEADS`, known or not, and put right where a rule says how.

    Folder and name as in `read_recording`. A `RecordError` when a file is missing, empty, truncated or unreadable,
    header and signal disagree, the rate is not between 100 and 1000 Hz, the record is empty or shorter than a second,
    its amplitude is none of an ECG's, or it has no standard lead with a signal, or one twice, equally spelt.
    """
    path = header_path(folder, name)
    header = _read_header(path)
    check_rate(path, header.fs)
    files = list(dict.fromkeys(line[_FILE] for line in header.signals))
    if len(files) > 1 and any(file.endswith(".mat") for file in files):
        raise RecordError(path, "unsupported record", "several signal files", "one .mat file")
    names = [line[_LEAD] for line in header.signals]
    standard = _standard_leads(path, names)
    if not standard:
        raise _without_lead(path, names)
    repairs = []
    if not re.fullmatch(r"[\w-]+", header.record) and header.record.rpartition("/")[2] != path.stem:
        repairs.append(f"record line begins with {header.record!r}, which is no record name")
    # whatever other channels measure is no matter
    calibrations = {i: _calibration(path, header.signals[i]) for i in standard}
    if files[0].endswith(".mat"):
        repairs += _mend_gains(path.stem, calibrations, header.comments)
        units = _matrix(path, header)[list(standard)]
    else:
        units = _decoded(path, header, list(standard))
    check_length(path, units.shape[1] / header.fs)

    def in_mv(calibrations: Iterable[tuple[float, int]]) -> tuple[Array, list[str]]:
        leads: dict[str, Array] = {}
        for row, (i, (lead, sign)), its in zip(units, standard.items(), calibrations, strict=True):
            leads[lead] = millivolts(row, *its) * np.float32(sign)
            leads[lead][row == _INVALID.get(_format(header.signals[i]))] = np.nan
            if files[0].endswith(".mat") and (late := min(_skew(header.signals[i]), len(row))):
                leads[lead] = np.append(leads[lead][late:], np.full(late, np.nan, np.float32))
        return _arranged(leads, units.shape[1])

    arranged, more = in_mv(calibrations.values())
    if not arranged.any():
        raise _without_lead(path, names)
    factor, unit = _scale(arranged)
    if factor != 1 and units.dtype.kind == "f" and (units % 1).any():  # no units of a converter
        as_they_are, said = in_mv([(1.0, 0)] * len(standard))
        if _scale(as_they_are)[0] == 1:
            arranged, more, factor, unit = as_they_are, said, 1.0, "numbers that are no whole ones taken for mV"
    if not factor:
        raise _implausible(path, unit)
    repairs += more + [unit] * bool(unit) + _of_names(names, standard)
    return Recording(name, arranged * np.float32(factor), header.fs, LEADS, header.comments, tuple(repairs))


def repaired(recording: Recording) -> Recording:
    """A recording that comes from no file, brought to the twelve leads as `read_repaired` does it, with the same
    `RecordError`s; a sample that is missing is NaN."""
    where, names, n = Path(recording.name), recording.leads, recording.signals.shape[1]
    check_rate(where, recording.fs)
    check_length(where, n / recording.fs)
    standard = _standard_leads(where, names)
    leads = {lead: recording.signals[i] * np.float32(sign) for i, (lead, sign) in standard.items()}
    arranged, repairs = _arranged(leads, n)
    if not arranged.any():
        raise _without_lead(where, names)
    factor, unit = _scale(arranged)
    if not factor:
        raise _implausible(where, unit)
    repairs += [unit] * bool(unit) + _of_names(names, standard)
    return replace(recording, signals=arranged * np.float32(factor), leads=LEADS, repairs=tuple(repairs))


def picked(recording: Recording, leads: Leads) -> Recording:
    """These leads of a recording that comes from no file, as `read_recording` takes them and with its `RecordError`s
    for a lead that is missing, flat or has NaN."""
    where = Path(recording.name)
    chosen = _choose(where, recording.leads, leads)
    names, signals = tuple(recording.leads[i] for i in chosen), recording.signals[chosen]
    for name, lead in zip(names, signals, strict=True):
        if bad := int(np.count_nonzero(~np.isfinite(lead))):
            raise RecordError(where, "NaN samples", f"{bad} in lead {name}", "numbers only")
        if lead.size and lead.min() == lead.max():
            raise RecordError(where, "flat signal", f"lead {name} never varies")
    return replace(recording, signals=signals, leads=names)


def is_negated(name: str) -> bool:
    """Whether a lead's name says that it is turned over, as `-aVR` or `MLII neg`."""
    return re.match(r"\s*[-\u2212\u2013]", name) is not None or name.strip().upper().endswith("NEG")


def check_rate(where: Path, fs: float) -> None:
    """A `RecordError` where the rate is not between `RATES`."""
    if not RATES[0] <= fs <= RATES[1]:
        raise RecordError(where, "unsupported rate", f"{fs:g} Hz", f"{RATES[0]:g} to {RATES[1]:g} Hz")


def check_length(where: Path, seconds: float, shortest: float = SHORTEST) -> None:
    """A `RecordError` where a recording is shorter."""
    if seconds < shortest:
        reason = "short signal" if seconds else "empty signal"
        raise RecordError(where, reason, f"{seconds:.2f} s", f"{shortest:g} s or more")


def _without_lead(where: Path, names: Sequence[str]) -> RecordError:
    found = (", ".join(names) or "none")[:60]
    return RecordError(where, "no standard lead with a signal", found, f"some of {', '.join(LEADS)}")


def _implausible(where: Path, found: str) -> RecordError:
    return RecordError(where, "implausible amplitude", found, f"{PLAUSIBLE[0]:g} to {PLAUSIBLE[1]:g} mV")


def at_rate(signals: Array, fs: float, rate: float) -> Array:
    """Signals `(leads, samples)` of `fs` Hz at another rate in Hz, by polyphase filtering; what is zero throughout
    stays so."""
    if fs == rate:
        return signals
    ratio = Fraction(rate / fs).limit_denominator(1000)
    return np.asarray(resample_poly(signals, ratio.numerator, ratio.denominator, axis=1, padtype="line"), np.float32)


def sampling_rate(folder: Path, name: str) -> float:
    """The sampling rate of a record in Hz, by its header. Errors as for `read_recording`, so far as the header goes."""
    return _read_header(header_path(folder, name)).fs


def comments(folder: Path, name: str) -> tuple[str, ...]:
    """The comment lines of a record's header, without `#`; its signal is not read. Errors as for `read_recording`."""
    return _split(header_path(folder, name))[1]


def beside(folder: Path, name: str) -> set[Path]:
    """A record's signal files, of whatever name, beside its header; none where that can't be read."""
    with suppress(RecordError):
        path = header_path(folder, name)
        return {path.parent / line[_FILE] for line in _read_header(path).signals}
    return set()


def field(lines: Iterable[str], name: str) -> str:
    """What a header's comments say of a field such as `Dx`, upper or lower case; empty where they don't."""
    for line in lines:
        key, colon, value = line.partition(":")
        if colon and key.strip().lower() == name.lower():
            return value.strip()
    return ""


def read_annotations(folder: Path, name: str, annotator: str = "atr") -> Annotations:
    """Read the annotations of a record, and its header, which says how long the record is.

    Folder and name as in `read_recording`; the annotator is the suffix of the file. Of a beat that is annotated again
    within `ONE_BEAT`, as in another channel, the first stands. A `RecordError` when the file is missing, empty,
    truncated or unreadable, an annotation lies outside the record, samples decrease, or one sample is annotated as two
    classes of beats.
    """
    path = header_path(folder, name)
    header = _read_header(path)
    sig_len = header.sig_len or _decoded(path, header, [0]).shape[1]
    path = path.with_suffix(f".{annotator}")
    samples, symbols, fs, left_out = annotation_file(path)
    if not samples.size:
        raise RecordError(path, "empty annotations", expected="at least one annotation")
    if fs and not math.isclose(fs, header.fs, rel_tol=1e-6):
        raise RecordError(path, "unreadable annotations", f"counted at {fs:g} Hz", f"the record's {header.fs} Hz")
    wrong = np.flatnonzero(np.diff(samples) < 0)
    if wrong.size:
        first, second = samples[wrong[0] : wrong[0] + 2]
        raise RecordError(path, "annotations out of order", f"sample {second} after {first}", "increasing samples")
    if samples[0] < 0 or samples[-1] >= sig_len:
        found = samples[0] if samples[0] < 0 else samples[-1]
        raise RecordError(path, "annotations out of range", f"sample {found}", f"0 to {sig_len - 1}")
    again = _annotated_again(path, samples, symbols, ONE_BEAT * header.fs)
    if again:
        left_out["annotated again"] = len(again)
    return Annotations(np.delete(samples, again), np.delete(symbols, again), left_out)


def _annotated_again(path: Path, samples: NDArray[np.int64], symbols: NDArray[np.str_], near: float) -> list[int]:
    """Places of the beats nearer than that to the last one of their class that is kept."""
    again, kept, last = list[int](), dict[str, np.int64](), 0
    for i in np.flatnonzero(np.isin(symbols, list(aami.SYMBOLS))).tolist():
        sample, label = samples[i], aami.SYMBOLS[symbols[i]]
        if sample == samples[last] and aami.SYMBOLS.get(symbols[last], label) != label:
            found = f"{symbols[last]} and {symbols[i]} at sample {sample}"
            raise RecordError(path, "contradictory annotations", found, "one class of a beat")
        if label in kept and sample - kept[label] < near:
            again.append(i)
        else:
            kept[label] = sample
        last = i
    return again


def annotation_file(path: Path) -> tuple[NDArray[np.int64], NDArray[np.str_], float, dict[str, int]]:
    """Samples, symbols, the rate that they are counted at (0: not told) and what has a symbol that nobody defines.

    As `wfdb.rdann` reads them, which waits for ever where a definition is expected and a comment found.
    """
    with _reading(path, "annotations"):
        content = path.read_bytes()
    if not content:
        raise RecordError(path, "empty annotations", "0 bytes")
    if len(content) % 2 or content[-2:] != b"\0\0":  # wfdb would read a part
        raise RecordError(path, "truncated annotations", f"{len(content)} bytes without the end mark", "two zero bytes")
    with _reading(path, "annotations"):
        pairs = np.frombuffer(content, dtype=np.uint8).reshape(-1, 2)
        samples, codes, _, _, _, notes = wfdb_annotation.proc_ann_bytes(pairs, None)
        names, fs, kept, defining = dict(_SYMBOLS), 0.0, [], False
        for i, (sample, code, note) in enumerate(zip(samples, codes, notes, strict=False)):
            if code == _NOTE and sample == 0:
                defining = note == "## annotation type definitions" or (defining and note != "## end of definitions")
                if found := re.match(r"## time resolution: (\d+\.?\d*)", note):
                    fs = fs or float(found[1])
                elif defining and (found := re.match(r"(\d+) (\S+) .", note)):
                    names[int(found[1])] = found[2]
            elif code:
                kept.append(i)
        symbols = [names.get(codes[i], f"code {codes[i]}") for i in kept]
        own = Counter(f"annotated as {name}, of no class" for name in symbols if name not in _SYMBOLS.values())
        return np.array([samples[i] for i in kept], np.int64), np.array(symbols, np.str_), fs, dict(own)


def millivolts(digital: NDArray[Any], gain: float, baseline: int) -> Array:
    """Digital units, whole or not, in mV; not finite where they are not, or where mV in single precision are not.

    The baseline is taken off in double precision, which holds any difference of 32-bit numbers, and the result rounded
    once. In 32 bits `digital - baseline` wraps around where gain and baseline fill the range of the format.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        signal: Array = np.subtract(digital, float(baseline), dtype=np.float64).astype(np.float32)
        signal /= np.float32(gain)
    return signal


@contextmanager
def _reading(path: Path, what: str, expected: str = "a WFDB file") -> Iterator[None]:
    """The one place where whatever reading a file raises, a bare `Exception` among it, becomes a `RecordError`."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise RecordError(path, f"missing {what}") from None
    except PermissionError:
        raise RecordError(path, "no permission", do="give yourself read access to the file") from None
    except OSError as error:  # a name too long for the disk, or links in a circle
        raise RecordError(path, f"unreadable {what}", error.strerror or str(error)) from None
    except Exception as error:
        message = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RecordError(path, f"unreadable {what}", message[:200], expected) from None


def _checked_name(where: Path, name: str) -> str:
    if not _is_name(name):
        raise RecordError(where, "unsafe path", f"record name {name!r}", "a name inside the database's folder")
    return name


def _is_name(name: str) -> bool:
    return all(_NAME.fullmatch(part) for part in name.split("/"))


# --- headers ----------------------------------------------------------------------------------------------------------


def header_path(folder: Path, name: str) -> Path:
    return folder / f"{_checked_name(folder, name)}.hea"


def _read_header(path: Path) -> _Header:
    lines, said = _split(path)
    if not lines:
        raise RecordError(path, "empty header")
    record, *signals = lines
    segments = re.fullmatch(r".*/([0-9]+)", record[0])
    if segments and segments[1] != path.stem:
        raise RecordError(path, "unsupported record", "a record of several segments", "a record of one segment")
    # Signal files lie beside their header; wfdb would follow any path written there.
    for line in signals:
        if not _NAME.fullmatch(line[_FILE]):
            reason = "unsafe path" if line[_FILE].isprintable() else "unreadable header"
            raise RecordError(path, reason, f"signal file {line[_FILE]!r}"[:60], "a file name in the record's folder")
    rate = _RATE.fullmatch(record[2] or f"{_DEFAULT_RATE:g}")
    rest = record[_LEAD].split()  # what follows the length, or a word in its place that is no whole number
    length = record[3] or ("" if rest and not _WHEN.fullmatch(rest[0]) else "0")
    fs = float(rate[1]) if rate else math.nan
    n, samples = (int(text) if _COUNT.fullmatch(text) else -1 for text in (record[1], length))
    if not (n >= 0 and 0 <= samples <= _MOST and 0 < fs <= _FASTEST):
        found = " ".join(record)[:60].strip()
        raise RecordError(path, "unreadable header", found, "name, number of leads, rate, samples")
    if n == len(signals) == 0:
        raise RecordError(path, "no signals", "its header has none", "at least one")
    if n != len(signals):
        raise RecordError(path, "unreadable header", f"{len(signals)} signal lines", f"{n} (at least 1)")
    return _Header(record[0], fs, samples, signals, said)


def _format(line: list[str]) -> str:
    """The format's number, without a frame's samples, skew and offset."""
    return re.split(r"\D", line[_FORMAT])[0]


def _skew(line: list[str]) -> int:
    """Samples by which a signal comes late."""
    layout = _LAYOUT.fullmatch(line[_FORMAT])
    return int(layout[3] or 0) if layout else 0


def _split(path: Path) -> tuple[list[list[str]], tuple[str, ...]]:
    """A header's lines, split at blanks, and its comments without `#`. Its text is in UTF-8, or else in the code page
    of Windows, which has the micro sign where Latin-1 has it."""
    with _reading(path, "header"):
        content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
    # a comment in Unicode may have lines of its own, and DOS ends a file in 1A
    lines = [line for line in map(str.strip, re.split(r"[\n-\r\x1a\x1c-\x1e]", text)) if line]
    comments = tuple(line[1:].strip() for line in lines if line.startswith("#"))
    return [_fields(line, path.stem) for line in lines if not line.startswith("#")], comments


def _fields(line: str, stem: str) -> list[str]:
    """Nine fields of a line, the last of whatever words are left; the first may have the blanks of the header's own
    name. A line cut short has its words, which are no numbers, at its end too."""
    own = re.match(rf"{re.escape(stem)}\S*", line)
    first = own[0] if own else line.split()[0]
    words = [first, *line[len(first) :].split()]
    fewer = (i for i in range(_BITS, min(len(words), _LEAD)) if not re.fullmatch(r"[-+]?[0-9]+", words[i]))
    end = _LEAD if len(words) > _LEAD else next(fewer, _LEAD)
    return [*words[:end], *[""] * (_LEAD - len(words[:end])), " ".join(words[end:])]


def _choose(where: Path, there: Sequence[str], leads: Leads | None) -> list[int]:
    if leads is None:
        return list(range(len(there)))
    if callable(leads):
        return list(leads(where, there))
    places = [find_lead(where, there, lead) for lead in leads]
    chosen = [place for place in places if place is not None]
    if len(chosen) < len(leads) or not leads:
        missing = [lead for lead, place in zip(leads, places, strict=True) if place is None]
        found = f"no {', '.join(missing) or 'lead asked for'}"
        raise RecordError(where, "missing lead", found, f"one of: {' '.join(there)}")
    return chosen


def find_lead(where: Path, there: Sequence[str], lead: str) -> int | None:
    """Place of a lead among the channels of these names, upper or lower case or in another spelling; None where it
    isn't one of them, or is only by a name that negates it. A `RecordError` about `where` where it may be either of
    two."""
    names, wanted = [name.upper() for name in there], lead.upper()
    if wanted in names:
        return names.index(wanted)
    return next((i for i, (_, sign) in _standard_leads(where, there, [wanted]).items() if sign > 0), None)


def _gain(line: list[str]) -> float:
    """That of a signal's line as it is written, 0 where it has none, NaN where it is no number."""
    found = _CALIBRATION.fullmatch(line[_GAIN] or "0")
    try:
        return float(found["gain"]) if found else math.nan
    except ValueError:
        return math.nan


def _calibration(where: Path, line: list[str], uncalibrated: float | None = None) -> tuple[float, int]:
    """Digital units per mV, above 0 and finite in single precision too, and those at 0 mV, of any size.

    Read here by the position of their fields, because wfdb takes what it can read of a field and guesses the rest: a
    gain of `1E3` becomes 1, one of `+200` loses its baseline, and of `µV` the V is left. The third field of a signal's
    line is `gain(baseline)/unit`. Without a baseline the fifth, the ADC's zero, is it; without a unit it is mV.
    """
    found, lead, gain = _CALIBRATION.fullmatch(line[_GAIN] or "0"), line[_LEAD][:40], _gain(line)
    # A blank before the bracket or the slash leaves a gain that looks whole.
    if not found or line[_BITS].startswith(("(", "/")):
        shown = " ".join(line[_GAIN : _BITS + 1]).strip()[:40]
        raise RecordError(where, "bad gain", f"{shown} for lead {lead}", "gain(baseline)/unit without blanks")
    baseline = found["baseline"] or line[_ZERO] or "0"
    if not re.fullmatch(_WHOLE, baseline):
        raise RecordError(where, "bad gain", f"zero at {baseline[:40]} for lead {lead}", "a whole number")
    if gain == 0 and uncalibrated is not None:
        return uncalibrated, int(baseline)
    unit = found["unit"] or "mV"
    # Unicode has two letters for micro, and signs of a whole unit beside them.
    volts = re.fullmatch(r"(.*?)v(?:olts?)?", unicodedata.normalize("NFKC", unit).lower())
    in_mv = _PREFIXES.get(volts[1]) if volts else None
    per_mv = gain / (in_mv or 1.0)
    with np.errstate(over="ignore", under="ignore"):
        usable = gain > 0 and 0 < np.float32(per_mv) < math.inf
    if not usable:
        raise RecordError(where, "bad gain", f"{found['gain'][:40]} for lead {lead}", "a number above 0")
    if in_mv is None:
        raise RecordError(where, "no voltage", f"lead {lead} in {unit[:40]}", "mV, uV or V")
    return per_mv, int(baseline)


# --- signals ----------------------------------------------------------------------------------------------------------


def _decoded(path: Path, header: _Header, channels: Sequence[int]) -> NDArray[np.int32]:
    """Digital units `(channels, samples)` of signals in WFDB formats, decoded by the `wfdb` package once every signal
    file has as many bytes as the header's number of samples takes."""
    samples, rows = header.sig_len, dict[int, NDArray[np.int32]]()
    for name in dict.fromkeys(header.signals[i][_FILE] for i in channels):
        in_file = [i for i, line in enumerate(header.signals) if line[_FILE] == name]
        units = _decoded_file(path, [header.signals[i] for i in in_file], samples)
        rows |= dict(zip(in_file, units, strict=True))
        samples = units.shape[1]
    return np.array([rows[i] for i in channels], dtype=np.int32).reshape(len(channels), samples)


def _decoded_file(path: Path, lines: list[list[str]], samples: int) -> NDArray[np.int32]:
    """Digital units of all signals of one file; 0 samples stand for as many as it has."""
    file = path.parent / lines[0][_FILE]
    layouts = [_LAYOUT.fullmatch(line[_FORMAT]) for line in lines]
    fmt = layouts[0][1] if layouts[0] else ""
    frames, skews, offsets = ([int(layout[i] or i == 2) for layout in layouts if layout] for i in (2, 3, 4))
    known = fmt in _signal.DAT_FMTS and all(layout and layout[1] == fmt for layout in layouts)
    if not known or min(frames) < 1:
        found = ", ".join(dict.fromkeys(line[_FORMAT][:20] for line in lines))[:60]
        raise RecordError(path, "unreadable header", f"format {found} for {file.name}", "one of WFDB's for each file")
    compressed = fmt in _signal.COMPRESSED_FMTS
    with _reading(file, "signal"):
        size = file.stat().st_size
        size = _flac_samples(file) if size and compressed else size

    def takes(samples: int) -> int:
        if compressed:
            return samples * frames[0]
        return int(_signal._required_byte_num("read", fmt, samples * sum(frames)))

    samples = samples or 6 * (size - offsets[0]) // takes(6)  # of all formats six are whole blocks
    if samples <= 0 or not size:
        raise RecordError(file, "empty signal")
    need, unit = takes(samples) + offsets[0], "samples" if compressed else "bytes"
    if not 0 <= size - need < max(takes(1), 1 if compressed else 2):
        reason = "truncated signal" if size < need else "signal longer than header says"
        raise RecordError(file, reason, f"{size} {unit}", f"{need} {unit} for the {samples} samples of its header")
    if max(skews) > samples:
        raise RecordError(path, "unreadable header", f"a skew of {max(skews)} samples")
    firsts = [_whole(path, line[_FIRST]) or 0 if fmt == "8" else 0 for line in lines]
    units = np.empty((len(lines), samples), dtype=np.int32)
    # what one sample takes of others can't be read in pieces
    step = samples if compressed or fmt == "8" or any(skews) else PIECE
    with _reading(file, "signal"):
        for low in range(0, samples, step):
            high = min(low + step, samples)
            about = len(lines), samples, offsets[0], frames, skews, firsts, low, high
            each = _signal._rd_dat_signals(file.name, str(file.parent), None, fmt, *about)
            for row, one, skew in zip(units, each, skews, strict=True):
                row[low:high] = _framed(one.reshape(high - low, -1), fmt, skew)
    return units


def _framed(frames: NDArray[Any], fmt: str, skew: int) -> NDArray[np.int32]:
    """Of frames `(samples, in each)` the mean, as wfdb rounds it, missing where one of them is; the last `skew` are,
    of which wfdb marks too few."""
    whole = frames[:, 0] if frames.shape[1] == 1 else frames.sum(1, dtype=np.int64) / frames.shape[1]
    mean, missing = whole.astype(np.int32), (frames == _INVALID[fmt]).any(1)
    missing[len(mean) - skew :] = True
    mean[missing] = _INVALID[fmt] or 0  # format 8, which has no mark, has no skew either: wfdb can't read it
    return mean


def _flac_samples(file: Path) -> int:
    """Samples of each channel of a FLAC file, by its first block; no more than a file of its size can hold, whose
    blocks of 65535 samples or fewer take 8 bytes or more."""
    with file.open("rb") as stream:
        return min(int.from_bytes(stream.read(26)[21:]) % 2**36, 2**13 * file.stat().st_size)


def _whole(path: Path, text: str) -> int | None:
    """A field that has a whole number, or nothing."""
    if text and not re.fullmatch(_WHOLE, text):
        raise RecordError(path, "unreadable header", f"{text[:40]} in a signal's line", "a whole number")
    return int(text) if text else None


def _check_lead(where: Path, header: _Header, i: int, digital: NDArray[np.int32]) -> None:
    """Refuse a lead whose samples disagree with the header, are not numbers, or carry no usable signal."""
    line = header.signals[i]
    lead, fmt = f"lead {line[_LEAD]}", _format(line)
    first, checksum = (_whole(where, line[field]) for field in (_FIRST, _SUM))
    # Frames of several samples are averaged by the reader; the header's values are those of the samples.
    layout = _LAYOUT.fullmatch(line[_FORMAT])
    if layout and layout[2] in ("", "1"):
        if first is not None and first != digital[0]:
            found = f"{lead} begins with {digital[0]}"
            raise RecordError(where, "initial value mismatch", found, f"{str(first)[:40]} (header)")
        total = int(digital.sum(dtype=np.int64))
        if checksum is not None and (checksum - total) % 65536:
            found = f"{lead} sums up to {total % 65536}"
            raise RecordError(where, "checksum mismatch", found, f"{checksum % 65536} (header)")
    low, high = int(digital.min()), int(digital.max())
    if low == _INVALID.get(fmt):
        raise RecordError(where, "NaN samples", f"{np.count_nonzero(digital == low)} in {lead}", "numbers only")
    if low == high:
        raise RecordError(where, "flat signal", f"{lead} never varies")
    share = _clipped_share(digital, low, high, header.fs)
    if share > CLIPPED_SHARE:
        found = f"{lead}: {share:.1%} of the samples"
        raise RecordError(where, "clipped signal", found, f"at most {CLIPPED_SHARE:.0%}")


def _clipped_share(digital: NDArray[np.int32], low: int, high: int, fs: float) -> float:
    """Share of the samples that lie in plateaus on the lead's lowest or highest value.

    A plateau counts where the signal enters or leaves it by at least two quantisation steps: the rounded top of a slow,
    smooth wave stays on one value too, but steps into it by one. At the record's very beginning or end it counts only
    from one second on: PTB-XL fills the last tenth of a second of some leads with one value.
    """
    if np.count_nonzero((digital == low) | (digital == high)) <= CLIPPED_SHARE * digital.size:
        return 0.0
    jumps = np.abs(np.diff(digital.astype(np.int64)))  # two of 32 bits may lie 33 bits apart
    sharp = 2 * int(jumps[jumps > 0].min())
    jumps = np.concatenate(([0], jumps, [0]))
    starts = np.append(0, np.flatnonzero(jumps))
    ends = np.append(starts[1:], digital.size)
    lengths = ends - starts
    inside = ((starts > 0) & (ends < digital.size)) | (lengths >= fs)
    clipped = np.isin(digital[starts], (low, high)) & inside & (lengths >= CLIPPED_RUN)
    clipped &= np.maximum(jumps[starts], jumps[ends]) >= sharp
    return float(lengths[clipped].sum() / digital.size)


# --- repairs ----------------------------------------------------------------------------------------------------------


def _standard(name: str) -> tuple[int, int, str]:
    """How the name is spelt (0: plainly, 1: in another way, 2: as negated), -1 where it is negated, else 1, and its
    standard lead, one of `_CHEST`, or nothing."""
    spelt = unicodedata.normalize("NFKC", name).strip(" \"'").upper()
    found = _LEAD_NAME.fullmatch(spelt)
    if not found:
        return 1, 1, ""
    plain, sign = re.sub(_BETWEEN, "", found[2]), -1 if found[1] or found[3] else 1
    rank = 0 if spelt in LEADS or spelt in ALIASES else 1 if sign > 0 else 2
    return rank, sign, ALIASES.get(plain, plain)


def _standard_leads(where: Path, names: Sequence[str], wanted: Iterable[str] = LEADS) -> dict[int, tuple[str, int]]:
    """Place of a channel -> the standard lead that it is, of those wanted, and -1 where it is negated, else 1.

    The plainly spelt one of several; a `RecordError` where two are spelt equally. C1 to C6 are chest leads where all
    of them are there, and none that begins with V.
    """
    spelt = [(*_standard(name), i) for i, name in enumerate(names)]
    there = {lead for _, _, lead, _ in spelt}
    chest = _CHEST if _CHEST.keys() <= there and not there & set(_CHEST.values()) else {}
    standard: dict[int, tuple[str, int]] = {}
    for lead in wanted:
        found = sorted((rank, i, sign) for rank, sign, its, i in spelt if its and chest.get(its, its) == lead)
        if len(found) > 1 and found[0][0] == found[1][0]:
            raise RecordError(where, "a lead twice", f"{names[found[0][1]]} and {names[found[1][1]]}"[:60])
        standard |= {i: (lead, sign) for _, i, sign in found[:1]}
    return dict(sorted(standard.items()))


def _of_names(names: Sequence[str], standard: dict[int, tuple[str, int]]) -> list[str]:
    """What was made of the channels' names, that is more than another spelling."""
    leads = {lead for lead, _ in standard.values()}
    others = [i for i in range(len(names)) if i not in standard]
    second = [i for i in others if (lead := _standard(names[i])[2]) and _CHEST.get(lead, lead) in leads]
    said = {
        "negated by its name, so turned over": [i for i, (_, sign) in standard.items() if sign < 0],
        "another channel is plainly this lead, so not read": second,
        "no standard lead, so not read": [i for i in others if i not in second] if len(leads) < len(LEADS) else [],
    }
    shown = {what: ", ".join(names[i] or "a channel without a name" for i in which) for what, which in said.items()}
    return [f"{what}: {which[:60]}" for what, which in shown.items() if which]


def _mend_gains(record: str, calibrations: dict[int, tuple[float, int]], comments: Sequence[str]) -> list[str]:
    """Put the Challenge's wrong gains right, and say so in a sentence.

    Signs of the Challenge are a name of those databases and a diagnosis. 4880 stands for the 4.88 µV of the machine's
    unit, in nV, and is nobody's gain: one sign will do, as records are renamed, or copied without their diagnosis. 200
    is right for what `wfdb2mat` makes of many a database, so it takes both.
    """
    signs = bool(re.fullmatch(r"(E|HR)\d{5}", record)) + bool(field(comments, "Dx"))
    said = set()
    for i, (gain, baseline) in calibrations.items():
        if gain in WRONG_GAINS[:signs] and not baseline:
            said.add(f"{gain:g}")
            calibrations[i] = UNITS_PER_MV, 0
    return [f"gain of {' and '.join(sorted(said))} units per mV taken for {UNITS_PER_MV:g}"] if said else []


def _matrix(path: Path, header: _Header) -> NDArray[Any]:
    """Digital units `(leads, samples)` of a `.mat`, or whatever numbers gain and baseline make mV of."""
    file = path.parent / header.signals[0][_FILE]
    with _reading(file, "signal", "a MATLAB matrix named val"):
        matrix = matlab.val(file.read_bytes())
    expected = (len(header.signals), header.sig_len or matrix.shape[1])
    if matrix.shape != expected:
        raise RecordError(file, "header and signal disagree", f"a matrix {matrix.shape}", f"{expected} by its header")
    if matrix.size and matrix.dtype.kind in "iu" and max(-int(matrix.min()), int(matrix.max())) > 2**53:
        raise RecordError(file, "unreadable signal", "numbers of more than 53 bits", "the numbers of a converter")
    if _format(header.signals[0]) == "80" and matrix.dtype == np.uint8:
        return matrix.astype(np.int16) - 128  # the format's own zero, which MATLAB knows nothing of
    return matrix


def _arranged(leads: dict[str, Array], samples: int) -> tuple[Array, list[str]]:
    """Standard leads in their order, zero throughout where one is not known, and what was put right."""
    arranged = np.zeros((len(LEADS), samples), dtype=np.float32)
    said: dict[str, list[str]] = {}
    for row, name in enumerate(LEADS):
        if name not in leads:
            continue
        lead = leads[name]
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
        arranged[row] = lead
    return arranged, [f"{', '.join(leads)}: {what}" for what, leads in said.items()]


def _scale(signals: Array) -> tuple[float, str]:
    """What to multiply by for mV, and what is put right thereby; 0 and the amplitude where nothing helps.

    The amplitude is the median over the leads of the range between the 0.5th and the 99.5th percentile. Where it is too
    small but the whole range's median is not, a few beats in a record that is nearly still, the unit is right. V
    are taken for the unit only where neither that range nor the smallest step between two values of a lead is then
    larger than an ECG's.
    """
    leads = signals[signals.any(1)]
    low, high = np.percentile(leads, (0.5, 99.5), axis=1)
    amplitude, peaks = float(np.median(high - low)), float(np.median(np.ptp(leads, 1)))  # a pop is in one lead
    if PLAUSIBLE[0] <= amplitude <= PLAUSIBLE[1] or amplitude < PLAUSIBLE[0] <= peaks:
        return 1.0, ""
    if PLAUSIBLE[0] <= 1e-3 * amplitude <= PLAUSIBLE[1]:
        return 1e-3, "µV written as mV"
    step = min(np.diff(np.unique(lead)).min() for lead in leads)
    if PLAUSIBLE[0] <= 1e3 * amplitude and 1e3 * peaks <= PLAUSIBLE[1] and 1e3 * step <= PLAUSIBLE[0]:
        return 1e3, "V written as mV"
    return 0.0, f"{amplitude:.3g} mV"
