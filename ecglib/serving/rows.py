"""One record in, rows or a reason out: all that batch inference does to a record, in plain functions for any engine.

`score` classifies a record, and `of` makes a record batch of what it gives. A record is a `Wfdb` record, or a `Row`
of a table with `COLUMNS`, which Spark reads and writes:

| column | type | |
|---|---|---|
| `record` | string | its name, of one record in all of the output: it replaces the rows of an earlier one |
| `fs` | double | sampling rate in Hz |
| `leads` | array<string> | names of the leads |
| `signal` | array<float> | mV, lead after lead, as many samples of each |
| `r_peaks` | array<long> | may be missing: samples of the R peaks, increasing; where it is null they are detected |
"""

from __future__ import annotations

import functools
import hashlib
import tempfile
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ecglib import fingerprint
from ecglib.data import databases, delta, detection, records
from ecglib.data.records import Recording
from ecglib.errors import RecordError, UserError, some
from ecglib.serving import model as serving
from ecglib.serving.model import Card, Model

SHORTEST: Final = 5.0
"""Seconds of a recording whose beats are classified, at least."""
_MADE: Final = [
    pa.field("model", pa.string(), nullable=False),
    pa.field("version", pa.string(), nullable=False),
    pa.field("input_hash", pa.string(), nullable=False),
    pa.field("run_id", pa.string(), nullable=False),
    pa.field("time", pa.timestamp("us", "UTC"), nullable=False),
]
"""What every row ends with: the model's name and version, SHA-256 of the input, the run, and when."""
QUARANTINE: Final = pa.schema(
    [*(pa.field(name, pa.string(), False) for name in ("record", "reason", "message")), *_MADE]
)
"""Of the quarantine: `reason` can be counted, `message` says all."""


def schema(card: Card) -> pa.Schema:
    """Of a model's output. Of beats: record, sample (of the R peak, at the record's own rate), its time in seconds, the
    class decided, and a column of probabilities for every class; of recordings: record, label, its probability, and
    whether the model decides for it."""
    if card.task == "beats":
        own = {"sample": pa.int64(), "time_s": pa.float64(), "class": pa.string()}
        own |= {f"p_{name}": pa.float32() for name in card.classes}
    else:
        own = {"label": pa.string(), "probability": pa.float32(), "decided": pa.bool_()}
    columns = {"record": pa.string()} | own
    return pa.schema([*(pa.field(name, kind, nullable=False) for name, kind in columns.items()), *_MADE])


def _detector() -> str:
    """The code that R peaks are detected with: where it changes, what was done is done anew."""
    return fingerprint.of_code(["data/detection.py"])


@dataclass(frozen=True, eq=False)
class Wfdb:
    """A WFDB record of a folder, and the suffix of the annotations that its R peaks are taken from, or none."""

    folder: Path
    name: str
    annotator: str
    size = 0

    def digest(self) -> str:
        """SHA-256 of its files, and of where its R peaks are from."""
        files = databases.Source("", self.folder, False, (self.name,), self.annotator).fingerprint()
        return fingerprint.of_values(files, self.annotator or _detector())

    def read(self, model: Model) -> tuple[Recording, Recording, NDArray[np.int64] | None]:
        """With the leads that the model reads; with others too, if R peaks must be found; and the R peaks, if they are
        annotated. A `RecordError` as of the readers."""
        if not self.annotator:
            return *model.read_whole(self.folder, self.name), None
        recording = model.read(self.folder, self.name)
        marks = records.read_annotations(self.folder, self.name, self.annotator)
        return recording, recording, marks.samples[marks.is_beat]


@dataclass(frozen=True, eq=False)
class Row:
    """A row of a table; None stands for null."""

    name: str
    fs: float | None
    leads: list[str | None] | None
    signal: NDArray[np.float32] | None
    """`(leads * samples,)`, NaN for null."""
    r_peaks: NDArray[np.int64] | None

    @classmethod
    def of(cls, batch: pa.RecordBatch, i: int) -> Row:
        """Row `i` of a batch with the columns of an input."""
        values = {name: batch[name][i] for name in COLUMNS if name in batch.schema.names}
        peaks = values[OPTIONAL].values if OPTIONAL in values else None
        name, fs, leads = (values[name].as_py() for name in ("record", "fs", "leads"))
        whole = None if peaks is None else peaks.fill_null(-1).to_numpy().astype(np.int64)
        return cls(name, fs, leads, delta.samples(values["signal"]), whole)

    @property
    def size(self) -> int:
        return 0 if self.signal is None else self.signal.nbytes

    def digest(self) -> str:
        """SHA-256 of its values, and of where its R peaks are from."""
        whole = hashlib.sha256(repr((self.fs, self.leads, "" if self.r_peaks is not None else _detector())).encode())
        for array in (self.signal, self.r_peaks):
            whole.update(b"-" if array is None else len(array).to_bytes(8) + array.tobytes())
        return whole.hexdigest()

    def read(self, model: Model) -> tuple[Recording, Recording, NDArray[np.int64] | None]:
        """As of `Wfdb`."""
        recording = delta.recording(self.name, self.fs, self.leads, self.signal)
        peaks, n = self.r_peaks, recording.signals.shape[1]
        if peaks is not None and peaks.size and (peaks[0] < 0 or peaks[-1] >= n or (np.diff(peaks) <= 0).any()):
            raise RecordError(self.name, "bad R peaks", expected=f"increasing samples of 0 to {n - 1}")
        return model.pick(recording), recording, peaks


@dataclass(frozen=True, eq=False)
class Scored:
    """What became of one record: its probabilities, a reason why there are none, or neither where it was done."""

    record: str
    input_hash: str = ""
    reason: str = ""
    message: str = ""
    probability: NDArray[np.float32] | None = None
    """`(beats, classes)`, or `(classes,)` of a recording."""
    decided: NDArray[np.integer | np.bool_] | None = None
    """`(beats,)`, index into the card's classes; or `(classes,)`, whether the recording has the label."""
    sample: NDArray[np.int64] | None = None
    """`(beats,)`, R peaks in samples of the record's own rate, `fs`."""
    fs: float = 0.0
    leads: tuple[str, ...] = ()
    """Those that were read, without what stands for a lead that the record lacks."""
    about: dict[str, float] = field(default_factory=dict)
    """As of `serving.described`."""

    def __len__(self) -> int:
        """Rows in the output."""
        return 0 if self.probability is None else len(self.probability)


@dataclass(frozen=True)
class Packed:
    """A model that travels with its work, so that another machine needs neither its folder nor a registry."""

    version: str
    files: dict[str, bytes] = field(compare=False, repr=False)

    @classmethod
    def of(cls, model: Model) -> Packed:
        names = (serving.CARD, *model.card.files)
        return cls(model.card.version, {name: (model.folder / name).read_bytes() for name in names})

    def load(self) -> Model:
        with tempfile.TemporaryDirectory() as folder:
            for name, content in self.files.items():
                (Path(folder) / name).write_bytes(content)
            return serving.load(folder, threads=1)


@functools.lru_cache(maxsize=1)
def _model(where: str | Packed, version: str) -> Model:
    """Loaded once in a process, for one thread."""
    model = where.load() if isinstance(where, Packed) else serving.load(where, threads=1)
    if model.card.version != version:
        raise UserError(str(where), f"version {model.card.version[:12]}", f"{version[:12]}, as when this began")
    return model


def score(where: str | Packed, version: str, given: Wfdb | Row, done: str = "") -> Scored:
    """Classify one record with the model, of this folder or packed, and of this version, unless `done` is its digest.
    Whatever is wrong with the record is the reason of its quarantine."""
    model, digest = _model(where, version), ""
    try:
        digest = given.digest()
        return Scored(given.name, digest) if digest == done else _scored(model, given, digest)
    except UserError as error:
        reason = error.reason if isinstance(error, RecordError) else error.found
        return Scored(given.name, digest, reason, str(error))
    except Exception as error:  # one record among many must not end them all, now and at every repetition
        return Scored(given.name, digest, "failed", f"{type(error).__name__}: {error}"[:500])


def _scored(model: Model, given: Wfdb | Row, digest: str) -> Scored:
    recording, whole, r_peaks = given.read(model)
    name, fs, n = given.name, recording.fs, recording.signals.shape[1]
    records.check_rate(Path(name), fs)
    leads = tuple(lead for lead, signal in zip(recording.leads, recording.signals, strict=True) if signal.any())
    found = functools.partial(Scored, name, digest, fs=fs, leads=leads)
    if model.card.task != "beats":
        p = model.score(recording)
        scored = found(probability=p, decided=model.decide(p))
    else:
        records.check_length(Path(name), n / fs, SHORTEST)
        if r_peaks is None:
            r_peaks = detection.of_recording(recording, whole)
        beats = model.classify(recording, r_peaks)
        if not len(beats.sample):
            raise RecordError(name, "no beat to classify", f"{len(r_peaks)} R peaks", "two or more")
        about = serving.described(recording, beats)
        scored = found(probability=beats.probability, decided=beats.decided, sample=beats.sample, about=about)
    if scored.probability is None or not np.isfinite(scored.probability).all():
        raise RecordError(name, "no probabilities", "NaN from the model")
    return scored


def of(card: Card, scored: Scored, run_id: str, made: datetime) -> pa.RecordBatch:
    """The output's rows of a record that was classified."""
    n, p, decided = len(scored), scored.probability, scored.decided
    assert p is not None and decided is not None
    own: list[Any] = [pa.repeat(scored.record, n)]
    if scored.sample is None:
        own += [pa.array(card.classes), p, decided]
    else:
        classes = pa.DictionaryArray.from_arrays(decided, card.classes).dictionary_decode()
        own += [scored.sample, scored.sample / scored.fs, classes, *np.ascontiguousarray(p.T)]
    made_by = zip([card.name, card.version, scored.input_hash, run_id, made], _MADE, strict=True)
    own += [pa.repeat(pa.scalar(value, column.type), n) for value, column in made_by]
    return pa.record_batch(own, schema=schema(card))


def aside(card: Card, scored: Scored, run_id: str, made: datetime) -> dict[str, Any]:
    """The quarantine's row of a record that was not classified."""
    own = {"record": scored.record, "reason": scored.reason, "message": scored.message, "input_hash": scored.input_hash}
    return own | {"model": card.name, "version": card.version, "run_id": run_id, "time": made}


def twice(name: str, n: int) -> Scored:
    """Of a record with so many rows."""
    return Scored(name, "", "a record twice", f"{name}: a record twice ({n} rows)")


COLUMNS: Final = {
    "record": delta.TEXT, "fs": delta.NUMBER, "leads": delta.TEXTS, "signal": delta.SAMPLES, "r_peaks": delta.PLACES,
}  # fmt: skip
"""Of a table of recordings: whether a type fits, and the one to take."""
OPTIONAL: Final = "r_peaks"


def check_columns(where: str, schema: pa.Schema) -> None:
    """A `UserError` where a column of an input is missing, or of another type."""
    for name, (fits, kind) in COLUMNS.items():
        if name in schema.names and not fits(schema.field(name).type):
            raise UserError(where, f"column {name} is {schema.field(name).type}", kind)
        if name not in schema.names and name != OPTIONAL:
            raise UserError(where, f"no column {name} ({some(schema.names, 8)})", f"columns {', '.join(COLUMNS)}")


def check_names(where: str, names: Collection[str | None]) -> None:
    """A `UserError` where there are none, or a record has none."""
    if not names:
        raise UserError(where, "empty", "a row a recording")
    if not all(names):
        raise UserError(where, f"{sum(not name for name in names)} rows without a name", "a name in column record")
