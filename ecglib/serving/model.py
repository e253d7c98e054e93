"""A trained model as it is used: one folder, one function that opens it, and no torch.

The folder holds `model.onnx`, which ONNX Runtime runs; `weights.safetensors`, which training goes on from;
`model.json`, the `Card`, which says all that lies between a recording and a probability; and `README.md`, the model
card for a reader. What is read is compared with the hashes in `model.json`, and that with its own: they tell accidents,
not forgery, for who changes a file can sign it anew. Nothing in it is code, and nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, PositiveInt, ValidationError, model_validator
from scipy.special import expit, softmax

from ecglib.data import beats, records
from ecglib.data.records import Recording
from ecglib.errors import RecordError, UserError

Array = NDArray[np.float32]

CARD: Final = "model.json"
ONNX, WEIGHTS, README = "model.onnx", "weights.safetensors", "README.md"
BUNDLED: Final = Path(__file__).parents[1] / "pretrained"
"""The models that the package embeds, named `ecglib:<folder>`."""
AT_ONCE: Final = 64
"""Beats, or windows of them, that the network is given at a time."""
CUTS: Final = {"beats": ("kachuee", "centred", "relative"), "infarction": ("kachuee", "aligned"), "recordings": ("",)}
"""Task -> cuts that it knows."""
Positive = Annotated[FiniteFloat, Field(gt=0)]
UNSURE: Final = 0.8
"""A model is unsure of a beat the probability of whose class is below this."""


class Card(BaseModel):
    """`model.json`: what the model is, how its input is made, and what its output means."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    name: str
    """The experiment that trained it, or else its model in the registry."""
    task: Literal["beats", "infarction", "recordings"]
    """`beats`: the AAMI class of each beat; `infarction`: whether a recording shows one, by the mean of its beats;
    `recordings`: labels of a whole recording."""
    model: str
    model_options: dict[str, int | float | bool | str] = {}
    classes: list[str]
    leads: list[str]
    """The leads that it reads, in order."""
    stand_ins: dict[str, list[str]] = {}
    """Lead -> those taken where a record lacks it, in this order; of beats, the first other one after them."""
    rate: Positive
    """Hz that the leads are brought to."""
    cut: Literal["kachuee", "centred", "relative", "aligned", ""]
    """How beats are cut (`ecglib.data.beats`, `ecglib.data.infarction`); empty of whole recordings."""
    features: list[str] = []
    """The features of a beat that are read, in order."""
    beats_per_sequence: PositiveInt = 1
    """Consecutive beats that are read together."""
    input_shape: Annotated[list[PositiveInt], Field(min_length=2, max_length=2)]
    """Channels and samples of a beat; of a whole recording, which may have any length, those it was trained on."""
    temperature: Positive = 1.0
    """The logits are divided by this."""
    offsets: list[FiniteFloat] | None = None
    """Added to the log-probabilities where a class is decided; None: the likeliest class."""
    thresholds: list[float] | None = None
    """A recording has the label whose probability is at least this."""
    training: dict[str, list[float]] = {}
    """Of the records that were learnt from, the 5th, 50th and 95th percentile of what `described` tells; empty where
    they were not at hand."""
    started_from: str = ""
    """The model that it was taught on from; empty of weights that were drawn."""
    examples: int
    """Beats or recordings that it learnt from."""
    database: str
    sample: bool
    """Whether it was trained on the excerpts that the package embeds, in place of the database."""
    protocol: str
    profile: str
    seed: int
    part: str = ""
    """The part of the run, such as a fold."""
    key: str
    """Of the run."""
    recipe: dict[str, int]
    commit: str
    created: str
    files: dict[str, str]
    """File -> SHA-256."""
    version: str = ""
    """SHA-256 of all this: what the model is told apart by."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        """A `ValueError` where fields contradict each other."""
        n, leads, cut, shape = len(self.classes), len(self.leads), self.cut, tuple(self.input_shape)
        if cut not in CUTS[self.task]:
            raise ValueError(f"cut {cut!r} of the task {self.task}")
        if not n or len(set(self.classes)) < n:
            raise ValueError("no classes, or one twice")
        for name, values in (("offsets", self.offsets), ("thresholds", self.thresholds)):
            if values is not None and len(values) != n:
                raise ValueError(f"{len(values)} {name} of {n} classes")
        wanted, unknown = (leads, shape[1]), set(self.features)
        if cut and cut != "aligned":
            wanted, unknown = beats.shape(cut, leads), unknown - set(beats.features_of(cut, leads))
        if shape != wanted:
            raise ValueError(f"input_shape {shape}, where {leads} leads give {wanted}")
        if unknown:
            raise ValueError(f"unknown features {', '.join(sorted(unknown))}")
        return self

    def sha256(self) -> str:
        """What `version` must be."""
        text = json.dumps(self.model_dump(exclude={"version"}), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class Classified:
    """The beats of a recording."""

    sample: NDArray[np.int64]
    """`(n,)`: R peaks in samples at the recording's own rate, increasing."""
    probability: Array
    """`(n, classes)`"""
    decided: NDArray[np.int64]
    """`(n,)`: index into the card's classes."""
    left_out: dict[str, int]
    """R peaks whose beat was not classified, by reason."""

    @property
    def sure(self) -> Array:
        """`(n,)`: probability of the class decided, which offsets may make another than the likeliest."""
        return np.asarray(self.probability[np.arange(len(self.decided)), self.decided])

    @property
    def unsure(self) -> NDArray[np.bool_]:
        """`(n,)`: whether that is below `UNSURE`."""
        return np.asarray(self.sure < UNSURE)


class Model:
    """A model that was opened; it reads `Recording`s (`ecglib.data.records`), with the leads that it asks for."""

    def __init__(self, card: Card, folder: Path, threads: int = 0) -> None:
        import onnxruntime

        self.card, self.folder = card, folder
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        content = (folder / ONNX).read_bytes()
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # it has a kind of its own for every fault
            raise UserError(folder / ONNX, f"damaged ({type(error).__name__})", do="export it again") from None
        windows = [card.beats_per_sequence] if card.beats_per_sequence > 1 else []
        wanted = {"x": windows + card.input_shape, "features": [len(card.features)]}
        wanted["logits"] = [*windows, len(card.classes)]
        for one in (*self._session.get_inputs(), *self._session.get_outputs()):
            shape, expected = one.shape[1:], wanted.get(one.name, [])
            fixed = [a if isinstance(a, int) else b for a, b in zip(shape, expected, strict=False)]
            if not expected or len(shape) != len(expected) or fixed != expected:
                raise UserError(folder / ONNX, f"{one.name} of the shape {shape}", f"{expected}, as {CARD} says")

    def read(self, folder: Path, name: str) -> Recording:
        """A WFDB record with the leads that it reads; a `RecordError` where it can't be used."""
        if self.card.task == "recordings":
            return records.read_repaired(folder, name)
        if self.card.task == "infarction":
            from ecglib.data import infarction

            return records.read_recording(folder, name, infarction.wanted_leads(self.card.leads))
        recording = records.read_recording(folder, name, self.choose, uncalibrated_gain=records.DEFAULT_GAIN)
        return self.upright(recording)

    def read_whole(self, folder: Path, name: str) -> tuple[Recording, Recording]:
        """As `read`, and with one more lead, where that can be read: `detection.of_recording` takes both."""
        if self.card.task == "beats":
            with suppress(RecordError):  # its own may do
                whole = records.read_recording(folder, name, self._one_more, uncalibrated_gain=records.DEFAULT_GAIN)
                return self.pick(whole), whole
        recording = self.read(folder, name)
        return recording, recording

    def pick(self, recording: Recording) -> Recording:
        """As `read` of a recording that comes from no file, with all of its leads."""
        if self.card.task == "recordings":
            return records.repaired(recording)
        if self.card.task == "infarction":
            from ecglib.data import infarction

            return records.picked(recording, infarction.wanted_leads(self.card.leads))
        return self.upright(records.picked(recording, self.choose))

    def choose(self, where: Path, there: Any) -> list[int]:
        """Places of the leads that it reads among a record's of these names; a `RecordError` where it has too few, or
        two of one that it reads."""
        names = [name.upper() for name in there]
        for lead in self.card.leads:
            if names.count(lead.upper()) > 1:
                raise RecordError(where, "a lead twice", lead)
        return beats.choose_leads(where, there, self.card.leads, self.card.stand_ins)

    def _one_more(self, where: Path, there: Any) -> list[int]:
        """As `choose`, and the next lead of an ECG."""
        chosen = self.choose(where, there)
        return [*chosen, *beats.other_leads(there, chosen)[:1]]

    def upright(self, recording: Recording) -> Recording:
        """A recording with the leads that were chosen, those turned over whose names say that they are negated; its
        `repairs` tell of these, and of a lead that stands in without being known to."""
        sign = np.array([-1 if records.is_negated(name) else 1 for name in recording.leads], dtype=np.float32)
        said = [f"lead {name} turned over" for name in recording.leads if records.is_negated(name)]
        for wanted, name in zip(self.card.leads, recording.leads, strict=True):
            known = (wanted, *self.card.stand_ins.get(wanted, ()))
            if all(records.find_lead(Path(recording.name), [name], lead) is None for lead in known):
                said.append(f"no lead {wanted}, so {name} was read")
        signals = recording.signals * sign[:, None] if (sign < 0).any() else recording.signals
        return replace(recording, signals=signals, repairs=(*recording.repairs, *said))

    def classify(self, recording: Recording, r_peaks: NDArray[np.int64]) -> Classified:
        """The class of every beat of a recording, whose signals are its leads in order, in mV, at R peaks `(n,)` in its
        own samples, increasing. A `RecordError` where a signal holds no number or never varies."""
        self.expect("beats")
        check(recording)
        cuts, features, kept, left_out = beats.cut_signals(
            recording.signals,
            recording.fs,
            r_peaks,
            self.card.cut,  # type: ignore[arg-type]
        )
        logits = self.logits(cuts, features)
        p = softmax(logits / np.float32(self.card.temperature), axis=1)
        moved = logits if self.card.offsets is None else logits + np.array(self.card.offsets, np.float32)
        return Classified(r_peaks[kept], p, moved.argmax(1), {name: n for name, n in left_out.items() if n})

    def logits(self, cuts: Array, features: Array) -> Array:
        """Logits `(n, classes)` of consecutive beats of one record as they are cut, `(n, channels, samples)`, and all
        features of the cut."""
        if self.card.features:
            columns = beats.features_of(self.card.cut, len(self.card.leads))  # type: ignore[arg-type]
            features = features[:, [columns[name] for name in self.card.features]]
        if self.card.beats_per_sequence == 1 or not len(cuts):
            return self.run(cuts, features)
        windows = beats.windows(np.zeros(len(cuts), np.str_), self.card.beats_per_sequence)
        found = self.run(cuts[windows.position])
        return np.asarray(found[windows.first])

    def score(self, recording: Recording) -> Array:
        """Probabilities `(classes,)` of a whole recording, with the leads that it was `read` with; of an infarction at
        even prior odds. A `RecordError` where it can't be used."""
        if self.card.task == "infarction":
            p = expit(self.log_odds(recording))
            return np.array([1 - p, p], dtype=np.float32)
        self.expect("recordings")
        check(recording)
        x = records.at_rate(recording.signals, recording.fs, self.card.rate)
        return np.asarray(expit(self.run(x[None])[0] / np.float32(self.card.temperature)), dtype=np.float32)

    def log_odds(self, recording: Recording) -> float:
        """Log-odds of an infarction at even prior odds, of a recording as `score` takes it."""
        from ecglib.data import infarction

        self.expect("infarction")
        check(recording)
        found = infarction.cut(recording, self.card.leads)
        x = found.aligned[found.kept] if self.card.cut == "aligned" else found.whole
        logits = self.run(x).astype(np.float64)
        return float((logits[:, 1] - logits[:, 0]).mean() / self.card.temperature)

    def decide(self, probability: Array) -> NDArray[np.bool_]:
        """Which labels a recording with these probabilities `(classes,)` has."""
        return np.asarray(probability >= np.array(self.card.thresholds or [0.5] * len(probability)))

    def run(self, x: Array, features: Array | None = None) -> Array:
        """What the network gives for its inputs, some at a time."""
        given = {"x": x} if features is None else {"x": x, "features": features}
        wanted = [one.name for one in self._session.get_inputs()]
        parts = [
            self._session.run(None, {name: given[name][i : i + AT_ONCE] for name in wanted})[0]
            for i in range(0, len(x), AT_ONCE)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, len(self.card.classes)), dtype=np.float32)

    def expect(self, task: str) -> None:
        """A `UserError` where the model is of another task."""
        if self.card.task != task:
            raise UserError(self.card.name, f"a model of {self.card.task}", f"one of {task}")


def described(recording: Recording, classified: Classified) -> dict[str, float]:
    """What of a record is compared with those that were learnt from: `amplitude_mv`, the range between the 0.5th and
    the 99.5th percentile of its first lead; `beats_per_minute`, the mean rate from the first beat that was classified
    to the last, where there are two; and `unsure`, the share of beats."""
    low, high = np.percentile(recording.signals[0], (0.5, 99.5))
    sample = classified.sample
    about = {"amplitude_mv": float(high - low), "unsure": float(classified.unsure.mean()) if len(sample) else 0.0}
    if len(sample) > 1:
        about["beats_per_minute"] = float((len(sample) - 1) * 60 * recording.fs / (sample[-1] - sample[0]))
    return about


def check(recording: Recording) -> None:
    """A `RecordError` where a lead is empty, holds what is no number, or all of them are flat."""
    if not recording.signals.size:
        raise RecordError(recording.name, "empty signal")
    if not np.isfinite(recording.signals).all():
        raise RecordError(recording.name, "no number", "NaN or infinity among the samples", "a lead without gaps")
    if not np.ptp(recording.signals, axis=1).any():
        raise RecordError(recording.name, "flat lead", "nothing but one value")


def load(where: str | Path, threads: int = 0) -> Model:
    """Open a model: `ecglib:cnet` and its kin, a folder that `ecglib export` wrote, a registered one (`models:/…`), or
    a run by experiment, key or folder, which is exported into the cache first.

    `threads` of ONNX Runtime, 0 for one a core. A `UserError` when there is none, a file of it is missing, damaged, or
    not the one that it was, or the network has other inputs or outputs than the card says.
    """
    folder = located(str(where))
    return Model(checked(folder), folder, threads)


def located(where: str) -> Path:
    """The folder of a model of this name, as of `load`."""
    if where.startswith("ecglib:"):
        folder = BUNDLED / where.removeprefix("ecglib:")
        if not (folder / CARD).is_file():
            raise UserError(where, "no such model", f"one of {', '.join(bundled())}")
        return folder
    if where.startswith("models:/"):
        from ecglib.serving import registry

        return registry.fetch(where)
    if (Path(where) / CARD).is_file():
        return Path(where)
    if Path(where).is_dir() and not (Path(where) / "record.json").is_file():
        raise UserError(where, f"no {CARD} in it", "a folder written by ecglib export")
    from ecglib.experiment import record

    try:
        run = record.find(where)
    except UserError as error:
        known = f"{', '.join(bundled())}, a folder written by ecglib export, models:/NAME@ALIAS, or a run"
        raise UserError(where, "no such model", known, error.do) from None
    from ecglib.serving import export

    return export.cached(*run)


def bundled() -> list[str]:
    """Names of the models that the package embeds."""
    return sorted(f"ecglib:{path.parent.name}" for path in BUNDLED.glob(f"*/{CARD}"))


def checked(folder: Path) -> Card:
    """The card of a model's folder. A `UserError` where it, or a file that it names, is missing, damaged or changed."""
    card = _card(folder)
    for name, digest in card.files.items():
        path = folder / name
        if not path.is_file():
            raise UserError(folder, f"no {name}", "a folder written by ecglib export")
        if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise UserError(path, "changed since it was exported", "the file that model.json names", "export it again")
    return card


def _card(folder: Path) -> Card:
    path = folder / CARD
    try:
        card = Card.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        found = ": ".join([*map(str, first["loc"]), first["msg"].removeprefix("Value error, ")])
        raise UserError(path, f"damaged ({found})", do="export it again") from None
    except OSError as error:
        raise UserError(path, f"damaged ({error.strerror})", do="export it again") from None
    if card.version != card.sha256() or set(card.files) != {ONNX, WEIGHTS}:
        raise UserError(path, "changed since it was exported", do="export it again")
    return card
