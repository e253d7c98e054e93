"""A recording in, an annotated recording out: R peaks, the class of each beat, a summary, and a page to look at it."""

from __future__ import annotations

import json
from collections.abc import Sequence
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
    check(recording)
    r_peaks = detection.unsw(recording.signals[0], recording.fs, recording.name)
    classified = model.classify(recording, r_peaks)
    found = summarise(
        classified.sample,
        classified.decided,
        classified.probability,
        recording.fs,
        recording.signals.shape[1],
        model.card.classes,
    )
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
    try:
        with files.writing(folder / f"{name}.{ANNOTATOR}") as temporary:
            write_annotations(model, annotated, temporary)
        files.write(folder / SUMMARY, json.dumps(annotated.summary, indent=1) + "\n")
        files.write(folder / REPORT, page(model.card, annotated.recording, annotated.classified, annotated.summary))
    except OSError as error:
        raise UserError(folder, f"can't be written: {error.strerror}", do="free space or rights") from None


def write_annotations(model: Model, annotated: Annotated, path: Path) -> None:
    """The beats as a WFDB annotation file: AAMI class as symbol, `SUB_TYPE` where the model is unsure, and as a note
    the probability of the class; R peaks without a class are `UNCLASSIFIED`."""
    import wfdb

    classified, classes = annotated.classified, np.array(model.card.classes)
    symbol = np.full(len(annotated.r_peaks), UNCLASSIFIED)
    subtype, note = np.zeros(len(symbol), dtype=np.int64), np.full(len(symbol), "", dtype="U16")
    at = np.searchsorted(annotated.r_peaks, classified.sample)
    symbol[at], subtype[at] = classes[classified.decided], np.where(classified.unsure, SUB_TYPE, 0)
    sure = classified.probability[np.arange(len(at)), classified.decided]
    note[at] = [f"{p:.2f}" for p in sure]
    wfdb.wrann(
        "annotated", ANNOTATOR, annotated.r_peaks, symbol, subtype, aux_note=note.tolist(),
        fs=annotated.recording.fs, write_dir=str(path.parent),
    )  # fmt: skip
    (path.parent / f"annotated.{ANNOTATOR}").replace(path)


def told(annotated: Annotated, folder: Path) -> str:
    """A line on what was found."""
    found = annotated.summary
    counts = ", ".join(f"{n} {name}" for name, n in found["counts"].items() if n)
    parts = [f"{found['beats']} beats ({counts})", f"{found['unsure']} unsure", *found["repaired"]]
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

    suffix = path.suffix.lower()
    if suffix in (".csv", ".edf"):
        if not path.is_file():
            raise UserError(path, "no such file", "a recording")
        there, signals, fs = _csv(path, rate) if suffix == ".csv" else _edf(path)
        whole = Recording(path.stem, signals, fs, tuple(there))
    elif rate is not None:
        raise UserError("--rate", "only means something of a CSV file")
    else:
        folder, name = path.parent, path.name.removesuffix(".hea").removesuffix(".dat")
        try:
            whole = records.read_recording(folder, name, uncalibrated_gain=records.DEFAULT_GAIN)
        except RecordError:  # the model's own may do
            whole = records.read_recording(folder, name, choose, uncalibrated_gain=records.DEFAULT_GAIN)
    chosen = choose(path, whole.leads)
    return whole, replace(whole, signals=whole.signals[chosen], leads=tuple(whole.leads[i] for i in chosen))


def _csv(path: Path, rate: float | None) -> tuple[list[str], NDArray[np.float32], float]:
    if rate is None:
        raise UserError(path, "no sampling rate", "--rate with that of the file, in Hz")
    try:
        table = pd.read_csv(path)
        values = table.to_numpy(np.float32)
    except (ValueError, UnicodeDecodeError, pd.errors.ParserError) as error:
        said = str(error).splitlines()[0][:100]
        raise UserError(path, f"can't be read ({said})", "a line of lead names, then numbers in mV") from None
    names = [str(name).strip() for name in table]
    if any(_is_number(name) for name in names):
        raise UserError(path, f"its first line is {', '.join(names)[:60]}", "names of the leads")
    return names, np.ascontiguousarray(values.T), rate


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _edf(path: Path) -> tuple[list[str], NDArray[np.float32], float]:
    import edfio

    try:
        file = edfio.read_edf(path)
        signals = [signal for signal in file.signals if signal.physical_dimension.lower() in UNITS]
        scaled = [(signal.data * UNITS[signal.physical_dimension.lower()]).astype(np.float32) for signal in signals]
    except Exception as error:  # edfio raises many kinds for what is damaged
        raise UserError(path, f"can't be read ({str(error).splitlines()[0][:100]})", "an EDF or EDF+ file") from None
    rates = {signal.sampling_frequency for signal in signals}
    if len(rates) != 1:
        raise UserError(path, f"leads of {len(rates)} sampling rates in volts", "one")
    return [signal.label for signal in signals], np.stack(scaled), rates.pop()


UNITS: Final = {"v": 1e3, "mv": 1.0, "uv": 1e-3, "µv": 1e-3}
"""Unit of an EDF signal -> mV."""
