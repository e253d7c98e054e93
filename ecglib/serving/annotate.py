"""A recording in, an annotated recording out: R peaks, the class of each beat, a summary, and a page to look at it."""

from __future__ import annotations

import csv
import io
import json
import re
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecglib import files
from ecglib.data import detection, records
from ecglib.data.records import Recording
from ecglib.errors import RecordError, UserError
from ecglib.serving.model import Classified, Model, check
from ecglib.serving.page import page
from ecglib.serving.rows import SHORTEST
from ecglib.serving.summary import summarise

ANNOTATOR: Final = "atr"
"""Suffix of the annotation file."""
UNCLASSIFIED: Final = "?"
"""Symbol of a beat that the model could not read, such as the first of a recording: EC57's class Q."""
SUB_TYPE: Final = 1
"""Sub-type of a beat that the model is unsure of; of others 0."""
SUMMARY, REPORT = "summary.json", "report.html"


@dataclass(frozen=True, eq=False)
class Annotated:
    """An annotated recording."""

    recording: Recording
    """With all leads that can be read, those of the model first or not."""
    r_peaks: NDArray[np.int64]
    """All R peaks that were found or given, in samples."""
    classified: Classified
    """The beats of those that the model could read."""
    summary: dict[str, Any]
    """What `summary.json` holds."""


def annotate(model: Model, path: Path, leads: Sequence[str] = (), rate: float | None = None) -> Annotated:
    """Find and classify the beats of a recording.

    Parameters
    ----------
    model
        One of beats.
    path
        A WFDB record (with or without suffix), an EDF or EDF+ file (`.edf`), or a `.csv` with a column of mV for each
        lead, named in its first line.
    leads
        Names of the leads to read in place of the model's own.
    rate
        Sampling rate of a CSV file, in Hz.

    Raises UserError when the file or what it holds can't be used; a RecordError, which is one, of the record itself.
    """
    model.expect("beats")
    if leads and len(leads) != len(model.card.leads):
        raise UserError("--lead", f"{len(leads)} leads", f"{len(model.card.leads)}, as the model reads")
    whole, recording = read(model, path, leads, rate)
    records.check_rate(path, recording.fs)
    records.check_length(path, recording.signals.shape[1] / recording.fs, SHORTEST)
    r_peaks = detection.of_recording(recording, whole)
    classified = model.classify(recording, r_peaks)
    found = summarise(classified, recording.fs, recording.signals.shape[1], model.card.classes)
    about = {
        "record": recording.name,
        "rate": recording.fs,
        "leads": list(recording.leads),
        "model": model.card.name,
        "version": model.card.version,
        "r_peaks": len(r_peaks),
        "not_classified": classified.left_out,
        "repaired": list(recording.repairs),
    }
    return Annotated(whole, r_peaks, classified, about | asdict(found))


def write(model: Model, annotated: Annotated, folder: Path) -> None:
    """Write `<record>.atr`, `summary.json` and `report.html` to a folder, which is made. A `UserError` when the folder
    holds the record itself, whose own annotations must stay, or can't be written."""
    name = Path(annotated.recording.name).name
    if (folder / f"{name}.hea").exists():
        found = f"holds the record {name} itself, whose annotations would be lost"
        raise UserError(folder, found, do="--out names another")
    contents: dict[str, str | bytes] = {
        f"{name}.{ANNOTATOR}": annotation_file(model, annotated),
        SUMMARY: json.dumps(annotated.summary, indent=1) + "\n",
        REPORT: page(model.card, annotated.recording, annotated.classified, annotated.summary, annotated.r_peaks),
    }  # all of it is there before any of it is written
    try:
        for file, content in contents.items():
            files.write(folder / file, content)
    except OSError as error:
        raise UserError(folder, f"can't be written ({error.strerror})", do="--out names another") from None


def annotation_file(model: Model, annotated: Annotated) -> bytes:
    """The beats as a WFDB annotation file: AAMI class as symbol, `SUB_TYPE` where the model is unsure, and as a note
    the probability of the class; R peaks without a class are `UNCLASSIFIED`."""
    import wfdb

    classified, classes = annotated.classified, np.array(model.card.classes)
    symbol = np.full(len(annotated.r_peaks), UNCLASSIFIED)
    subtype, note = np.zeros(len(symbol), dtype=np.int64), np.full(len(symbol), "", dtype="U16")
    at = np.searchsorted(annotated.r_peaks, classified.sample)
    symbol[at], subtype[at] = classes[classified.decided], np.where(classified.unsure, SUB_TYPE, 0)
    note[at] = [f"{p:.2f}" for p in classified.sure]
    with tempfile.TemporaryDirectory() as folder:  # wfdb writes a file of its own naming
        wfdb.wrann(
            "annotated", ANNOTATOR, annotated.r_peaks, symbol, subtype, aux_note=note.tolist(),
            fs=annotated.recording.fs, write_dir=folder,
        )  # fmt: skip
        return Path(folder, f"annotated.{ANNOTATOR}").read_bytes()


def told(annotated: Annotated, folder: Path) -> str:
    """A line on what was found."""
    found = annotated.summary
    counts = ", ".join(f"{n} {name}" for name, n in found["counts"].items() if n)
    parts = [f"{found['beats']} beats ({counts}) in {', '.join(found['leads'])}", f"{found['unsure']} unsure"]
    parts += found["repaired"]
    parts += [f"{n} not classified, {reason}" for reason, n in found["not_classified"].items()]
    return f"{found['record']}: {'; '.join(parts)}; {folder / REPORT}"


# --- reading ----------------------------------------------------------------------------------------------------------


def read(model: Model, path: Path, leads: Sequence[str] = (), rate: float | None = None) -> tuple[Recording, Recording]:
    """A recording with all leads that can be read, and with those that the model reads; arguments and errors as of
    `annotate`."""

    def choose(where: Path, there: Sequence[str]) -> list[int]:
        places = [records.find_lead(where, there, lead) for lead in leads]
        missing = [lead for lead, place in zip(leads, places, strict=True) if place is None]
        if missing:
            raise RecordError(where, f"no lead {missing[0]}", expected=f"one of {', '.join(there)}")
        return [place for place in places if place is not None] if leads else model.choose(where, there)

    suffix, name = path.suffix.lower(), name_of(path)
    if suffix != ".csv" and rate is not None:
        raise UserError("--rate", "only means something of a CSV file")
    if suffix in (".csv", ".edf"):
        if not path.is_file():
            raise UserError(path, "no such file", "a recording")
        there, signals, fs = _csv(path, rate) if suffix == ".csv" else _edf(path, choose)
        whole = Recording(name, signals, fs, tuple(there))
    else:
        try:
            whole = records.read_recording(path.parent, name, uncalibrated_gain=records.DEFAULT_GAIN)
        except RecordError:  # the model's own may do
            whole = records.read_recording(path.parent, name, choose, uncalibrated_gain=records.DEFAULT_GAIN)
    chosen = choose(path, whole.leads)
    names, signals = tuple(whole.leads[i] for i in chosen), whole.signals[chosen]
    check(Recording(name, signals, whole.fs, names))
    if suffix in (".csv", ".edf"):
        _check_amplitude(path, signals)
    whole = replace(whole, repairs=(*whole.repairs, *_told(path, model, whole, names)))
    return whole, replace(whole, signals=signals, leads=names)


def name_of(path: Path) -> str:
    """What the recording in a file is called, and the folder that it gets."""
    name = path.stem if path.suffix.lower() in (".csv", ".edf") else path.name.removesuffix(".hea").removesuffix(".dat")
    if not name.strip("."):
        raise UserError(path, "its name is no name of a folder", do="rename it")
    return name


def _told(path: Path, model: Model, whole: Recording, names: Sequence[str]) -> list[str]:
    """What of its leads a reader must know."""
    own = model.card.leads
    said = [
        f"{name} read in place of {lead}"
        for lead, name in zip(own, names, strict=True)
        if records.find_lead(path, [name], lead) is None
    ]
    lost = np.count_nonzero(~np.isfinite(whole.signals), axis=1)
    return said + [f"{n} samples of {lead} are no number" for lead, n in zip(whole.leads, lost, strict=True) if n]


def _check_amplitude(path: Path, signals: NDArray[np.float32]) -> None:
    """A `RecordError` where it is none of an ECG in mV, such as of numbers in µV or of a converter."""
    low, high = np.percentile(signals, (0.5, 99.5), axis=1)
    amplitude, peaks = float(np.median(high - low)), float(np.median(np.ptp(signals, axis=1)))
    least, most = records.PLAUSIBLE
    if amplitude > most or peaks < least:  # a few beats in a record that is nearly still are an ECG
        raise RecordError(
            path, "implausible amplitude", f"{amplitude:.3g} mV", f"{least:g} to {most:g} mV", "write it in mV"
        )


def _csv(path: Path, rate: float | None) -> tuple[list[str], NDArray[np.float32], float]:
    if rate is None:
        raise UserError(path, "no sampling rate", "--rate with that of the file, in Hz")
    wanted = "a line of lead names, then as many numbers in mV a line, with commas between them"
    try:
        text = path.read_text(encoding="utf-8-sig").rstrip()  # a blank line further up is a sample that is missing
        names = [name.strip() for name in next(csv.reader(io.StringIO(text)), [])]
        values = np.zeros((0, len(names)), np.float32)
        if "\n" in text:
            table = pd.read_csv(io.StringIO(text), header=None, skiprows=1, skip_blank_lines=False)
            values = table.to_numpy(np.float32)
    except (ValueError, csv.Error) as error:
        said = str(error).splitlines()[0][:100]
        raise UserError(path, f"can't be read ({said})", wanted) from None
    first = ",".join(names)[:60]
    if not names or not all(names) or len({name.upper() for name in names}) < len(names) or any(map(_is_number, names)):
        raise UserError(path, f"its first line is {first!r}", "names of the leads, each once")
    if values.shape[1] != len(names) or re.search("[;\t]", first):
        raise UserError(path, f"{values.shape[1]} numbers a line under {first!r}", wanted)
    return names, np.ascontiguousarray(values.T), rate


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _edf(
    path: Path, choose: Callable[[Path, Sequence[str]], list[int]]
) -> tuple[list[str], NDArray[np.float32], float]:
    """The leads in volts that have the sampling rate of those chosen."""
    import edfio

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", r"Incomplete data record|\w+ header indicates \d")  # what is truncated
            file = edfio.read_edf(path)
        continuous = file.is_continuous
        there = [signal for signal in file.signals if signal.physical_dimension.lower() in UNITS]
        rates = [signal.sampling_frequency for signal in there]
    except Exception:  # edfio raises many kinds for what is damaged
        raise UserError(path, "damaged, truncated, or no EDF", "an EDF or EDF+ file") from None
    if not continuous:
        raise UserError(path, "it has interruptions (EDF+D)", "a recording without any", "cut it at them")
    if not there:
        raise UserError(path, "no signal in V, mV or µV", "an ECG")
    names = [signal.label.removeprefix("ECG ") for signal in there]  # EDF+ puts the kind of signal first
    wanted = {rates[i] for i in choose(path, names)}
    if len(wanted) > 1:
        raise UserError(path, f"leads of {len(wanted)} sampling rates", "one of those that are read")
    kept = [i for i, rate in enumerate(rates) if rate in wanted]
    signals = [(there[i].data * UNITS[there[i].physical_dimension.lower()]).astype(np.float32) for i in kept]
    return [names[i] for i in kept], np.stack(signals), wanted.pop()


UNITS: Final = {"v": 1e3, "mv": 1.0, "uv": 1e-3, "µv": 1e-3}
"""Unit of an EDF signal -> mV."""
