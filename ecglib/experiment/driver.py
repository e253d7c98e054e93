"""The driver of every experiment: parameters in; a trained, scored, recorded and tracked run out.

A task (`heartbeat`, `infarction`, `twelve_lead`) says in a few functions what a kind of experiment is. The rest is
here, once: a run is found again by its key, trained part by part under every seed, resumed where it was left, evaluated
anew where only code changed that chooses no epoch and no threshold, filed and tracked.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn

from ecglib import config, files, fingerprint, paths, tracking
from ecglib.config import SharedParameters
from ecglib.data import digest
from ecglib.data.infarction import AFTER, BEFORE
from ecglib.data.splits import Part
from ecglib.errors import UserError
from ecglib.evaluation.labels import Values
from ecglib.experiment import provenance, recipes
from ecglib.experiment import record as results
from ecglib.experiment.recipes import Trained
from ecglib.experiment.record import Record
from ecglib.models import registry
from ecglib.models.yardstick import Yardstick
from ecglib.training import device as devices
from ecglib.training import loop
from ecglib.training.history import Epoch, SeedRun

CHOICES: Final = tuple(f"evaluation/{name}.py" for name in ("metrics", "ranking", "labels", "thresholds"))
"""Of the evaluation, what chooses epochs and thresholds."""
ROOMS: Final = ("aami.py", "data", "losses.py", "training", *CHOICES)
"""The code that can change weights, taken whole; the task's file and those of the network come to it."""
EVALUATION: Final = ("evaluation", "experiment/record.py")
"""The code that metrics follow from, beside the task's file."""
VERSIONS: Final = ("torch", "scikit-learn", "imbalanced-learn", "scipy", "wfdb")
"""The packages that read, split, resample and train."""
NOT_IN_KEY: Final = {
    "experiment", "title", "profile", "bootstrap", "device", "precision", "in_book", "workers",
}  # fmt: skip
"""Parameters that can't change weights, or are in the key by what follows from them. Seeds can: a folder is of one list
of them, so that its record, its files and its entry in MLflow are of one result."""
OF_RECIPE: Final = (
    "max_epochs", "patience", "batch_size", "learning_rate", "schedule", "weight_decay", "gradient_clip", "ema",
    "deterministic",
)  # fmt: skip
"""Parameters that are fields of `loop.Recipe`."""
MADE_OF: Final = "made-of.json"
"""The file of a run's folder that tells what its key is made of."""
OUTLASTS: Final = (tracking.NOTE, results.NAMES)
"""The files of a run's folder that hold for the next run with its key too."""

MadeOf = dict[str, Any]
"""What a run's key is made of, by name; of code, file -> hash."""


@dataclass(frozen=True)
class Where:
    """Where and how a part is trained."""

    device: torch.device
    precision: str
    title: str
    """What the line of progress begins with."""
    folder: Path | None = None
    """Checkpoints go to this folder, and are resumed where they carry `key`; None keeps nothing."""
    key: str = ""
    epochs: int | None = None
    """To end after, of the whole course of the learning rate; None for all."""

    def training(self, name: str) -> dict[str, Any]:
        """The arguments of `loop.fit` that say this; `name` is the checkpoint's."""
        return {
            "device": self.device,
            "title": f"{self.title} refit" if name.startswith("refit") else self.title,
            "kept": None if self.folder is None else (self.folder / f"{name}.pt", self.key),
        }


@dataclass(frozen=True)
class Fitted:
    """What the training of a part gave."""

    model: nn.Module | None
    """The network whose weights are kept; None where none are."""
    run: SeedRun | None
    """How its training went; None of what is fitted at once."""
    seconds: float
    tables: dict[str, pd.DataFrame]
    """Kind (`scores`, `predictions`, ...) -> a row for each example."""
    note: dict[str, Any] = field(default_factory=dict)
    """What else is noted of it, in JSON's types."""
    test_reads: dict[str, Values] = field(default_factory=dict)
    """Decision -> its metrics on a test set whose every scoring is logged."""


class Data(ABC):
    """What an experiment rests on. No signal is read before it is asked for."""

    @cached_property
    @abstractmethod
    def sample(self) -> bool:
        """Whether it is excerpts that the package embeds."""

    @cached_property
    @abstractmethod
    def fingerprint(self) -> str:
        """Of its files, those of a pretraining aside."""

    @property
    def in_key(self) -> dict[str, Any]:
        """What else weights follow from, as JSON."""
        return {}

    @abstractmethod
    def digest(self) -> digest.Digest:
        """Of what was cut and how it is divided under each seed."""

    def no_reference(self, record: Record) -> str:
        """Why a run in full on it is no reference result nevertheless; empty where it is one. Other recordings than
        those of its reference result must not replace that."""
        there = results.reference(record.experiment)
        same = there is None or there.data.fingerprint == record.data.fingerprint
        return "" if same else f"that of {record.experiment} rests on other data"


@dataclass(frozen=True)
class Found:
    """What the trained `folder` of a run holds of these seeds."""

    folder: Path
    seeds: list[int]

    @cached_property
    def cards(self) -> list[dict[str, Any]]:
        """What was noted of every seed."""
        return [json.loads(_card(self.folder, seed).read_text(encoding="utf-8")) for seed in self.seeds]

    def parts(self, name: str) -> list[dict[str, Any]]:
        """What was noted of a part under every seed."""
        return [card["parts"][name] for card in self.cards]

    def tables(self, kind: str) -> list[pd.DataFrame]:
        """The rows of every seed, of all parts in their order."""
        return [pd.read_parquet(self.folder / f"{kind}-seed{seed}.parquet") for seed in self.seeds]


P = TypeVar("P", bound=Trained)
D = TypeVar("D", bound=Data)


@dataclass(frozen=True)
class Task(Generic[P, D]):
    """A kind of experiment: its functions."""

    data: Callable[[P], D]
    """What it rests on."""
    network: Callable[[D, P], tuple[Callable[[], nn.Module], devices.Batch]]
    """A function that makes the model, and the shape of a batch that it is timed on."""
    parts: Callable[[D, P, int], list[Part]]
    """The divisions into sets under a seed, each with a network of its own."""
    fit: Callable[[D, Part, P, int, Where], Fitted]
    """Train on a part under a seed and score it."""
    epochs: Callable[[D, P, int, Where], Iterator[Epoch]]
    """The epochs of a training under a seed as they come, of which a search watches the validation metric. What is
    tested is not read."""
    evaluate: Callable[[D, Found, P], dict[str, Any]]
    """The fields of the record that follow from the scores of every seed; `data` and `parameters` are added to what is
    known of the data and to the parameters that the experiment was given."""
    not_in_key: frozenset[str] = frozenset()
    """Parameters that can't change weights in it, beside `NOT_IN_KEY`."""


@dataclass(frozen=True)
class Run:
    """A finished run.

    Its `folder` has `record.json`, and for every seed k `<kind>-seedk.parquet` of every kind of table and
    `weights-seedk[-<part>].safetensors` of every part's network; of what is fitted in seconds weights are not kept.
    """

    record: Record
    folder: Path
    trained: bool
    """False when the run was found and not repeated."""

    def table(self, kind: str) -> pd.DataFrame:
        """The rows of every seed, which is a column of its own."""
        tables = Found(self.folder, self.record.seeds).tables(kind)
        return pd.concat(dict(zip(self.record.seeds, tables, strict=True)), names=["seed"]).reset_index("seed")


@dataclass(frozen=True)
class _Plan(Generic[P, D]):
    """What is decided before anything is computed."""

    task: Task[P, D]
    parameters: P
    data: D
    device: torch.device
    precision: str
    why: str
    """That precision, in words."""
    made_of: MadeOf

    @cached_property
    def key(self) -> str:
        return fingerprint.of_values(self.made_of)[:20]


def _plan(task: Task[P, D], p: P) -> _Plan[P, D]:
    data = task.data(p)
    make, batch = task.network(data, p)
    model = make()  # one that can't take this shape is refused before anything is computed
    device, precision, why = place(p, make, batch)
    versions = provenance.versions()
    own = f"experiment/{task.fit.__module__.rpartition('.')[2]}.py"
    made_of = {
        "parameters": p.model_dump(exclude=NOT_IN_KEY | task.not_in_key | p.idle()),
        "data": data.fingerprint,
        "code": fingerprint.of_files([*ROOMS, "experiment/driver.py", own, *registry.files(model)]),
        "versions": {name: versions[name] for name in VERSIONS},
        "device": device.type,
        "precision": precision,
        **data.in_key,
    }
    return _Plan(task, p, data, device, precision, why, made_of)


# --- what tasks share -------------------------------------------------------------------------------------------------


def place(p: Trained, make: Callable[[], nn.Module], batch: devices.Batch) -> tuple[torch.device, str, str]:
    """Device and precision of a run, which its parameters may leave to the machine (`auto`), and why that precision.

    `make` and `batch` are what is probed for the faster precision (see `devices.choose_precision`). What is fitted at
    once is not: it runs on the CPU in single precision.
    """
    if p.entry.classical:
        return torch.device("cpu"), "float32", "it is fitted at once"
    device = devices.choose(p.device)
    if p.deterministic:
        return device, "float32", "it is to be deterministic"
    return device, *devices.choose_precision(p.precision, device, make, batch, paths.cache() / "precision")


def recipe(p: Trained, examples_per_epoch: int, where: Where, **own: Any) -> loop.Recipe:
    """How a network of these parameters is trained; `own` are further fields of `loop.Recipe`."""
    given = {name: getattr(p, name) for name in OF_RECIPE} | {"precision": where.precision, "stop_after": where.epochs}
    return loop.Recipe(**given | {"examples_per_epoch": examples_per_epoch} | own)


def shape_for_yardstick(model: str, n_leads: int) -> tuple[int, int]:
    """Leads and samples of what a yardstick reads of a recording: its median beat, or age and sex."""
    return (n_leads, BEFORE + AFTER) if registry.entry(model).takes == "median beat" else (1, 2)


def yardstick(model: str, n_leads: int, n_labels: int) -> Yardstick:
    """A yardstick that nothing was fitted to yet."""
    made = registry.build(model, *shape_for_yardstick(model, n_leads), n_labels)
    assert isinstance(made, Yardstick)
    return made


def counted(names: Sequence[str], counts: NDArray[np.integer]) -> dict[str, int]:
    """Name -> its count."""
    return dict(zip(names, counts.tolist(), strict=True))


# --- runs -------------------------------------------------------------------------------------------------------------


def run(task: Task[P, D], p: P, *, fresh: bool = False) -> Run:
    """Train and evaluate, or find the run that did; then file and track it. With `fresh`, an earlier run (or half a
    run) with this key is thrown away first. A `UserError` when data, parameters or disk don't allow it."""
    plan = _plan(task, p)
    folder = _folder(plan)
    names = named(p)  # before hours of training: this reads the experiment's file
    with files.lock(folder.with_suffix(".lock")):
        if fresh and folder.is_dir():
            _clear(folder)
        if not (folder / MADE_OF).is_file():
            _say_what_is_not_resumed(p, plan.made_of)
            folder.mkdir(exist_ok=True)
            write_note(folder / MADE_OF, {"experiment": p.experiment, "profile": p.profile, **plan.made_of})
        try:
            missing = [seed for seed in p.seeds if note(_card(folder, seed)) is None]
            if missing:
                files.to_watcher("said", f"trains in {plan.precision}: {plan.why}")
            for seed in missing:
                _train_seed(plan, folder, seed)
        finally:
            if not _begun(folder):
                shutil.rmtree(folder)
        record = _evaluated(plan, folder).model_copy(update=names)
        asked = note(folder / results.NAMES) or {}
        if asked.get(p.experiment) != names:
            write_note(folder / results.NAMES, asked | {p.experiment: names})
    if folder.parent == paths.runs():
        _file(plan, record, folder)
    return Run(record, folder, bool(missing))


def key_of(task: Task[P, D], p: P) -> str:
    """The key of a run with these parameters, on this data, this code and this machine."""
    return _plan(task, p).key


def first_epochs(task: Task[P, D], p: P, n: int, device: torch.device, precision: str) -> list[Epoch]:
    """The first epochs of the first seed, of the part that the record's history tells of; none of what is fitted at
    once. Nothing is filed."""
    if p.entry.classical:
        return []
    data, seed = task.data(p), p.seeds[0]
    where = Where(device, precision, f"{p.experiment or p.model} first epochs", epochs=n)
    done = task.fit(data, told_of(task.parts(data, p, seed)), p, seed, where).run
    return done.history if done else []


def told_of(parts: list[Part]) -> Part:
    """The part that a record's history tells of: the last fold, or the only one."""
    return [part for part in parts if not part.name.startswith("source-")][-1]


def _train_seed(plan: _Plan[P, D], folder: Path, seed: int) -> None:
    commit, parts = provenance.commit(), plan.task.parts(plan.data, plan.parameters, seed)
    done = {part.name: _train_part(plan, folder, part, seed) for part in parts}
    for kind in next(iter(done.values()))["tables"]:
        tables = [pd.read_parquet(_part_file(folder, kind, seed, part.name)) for part in parts]
        pd.concat(tables).to_parquet(folder / f"{kind}-seed{seed}.parquet", index=False)
    card = {
        "seed": seed,
        "parts": done,
        "seconds": sum(one["seconds"] for one in done.values()),
        "hardware": devices.hardware(plan.device),
        "versions": provenance.versions(),
        "commit": commit,
        "created": provenance.now(),
    }
    write_note(_card(folder, seed), card)  # last: its presence says that the seed is done
    for pattern in (f"part-*-seed{seed}-*", f"*-seed{seed}.pt", f"*-seed{seed}-*.pt"):
        for left in folder.glob(pattern):
            left.unlink()


def _train_part(plan: _Plan[P, D], folder: Path, part: Part, seed: int) -> dict[str, Any]:
    """Train and score a part, unless that was done; returns what is noted of it."""
    path = _part_file(folder, "note", seed, part.name)
    found: dict[str, Any] | None = note(path)
    if found is not None:
        return found
    p = plan.parameters
    title = f"{p.experiment or p.model} seed {seed} {part.name}".rstrip()
    fitted = plan.task.fit(plan.data, part, p, seed, Where(plan.device, plan.precision, title, folder, plan.key))
    if not plan.data.sample:
        _log_test_reads(plan, seed, fitted.test_reads)
    if fitted.model is not None:
        weights = {name: t.detach().cpu().contiguous() for name, t in fitted.model.state_dict().items()}
        save_file(weights, folder / f"weights-seed{seed}{f'-{part.name}' if part.name else ''}.safetensors")
    for kind, table in fitted.tables.items():
        table.to_parquet(_part_file(folder, kind, seed, part.name), index=False)
    run = None if fitted.run is None else fitted.run.model_dump()
    done = {"run": run, "seconds": fitted.seconds, "tables": list(fitted.tables), **fitted.note}
    write_note(path, done)
    return done


def _log_test_reads(plan: _Plan[P, D], seed: int, reads: dict[str, Values]) -> None:
    """Add a line for each decision to the log of test scorings, whose number the book prints beside such results; two
    numbers come from two decisions, and either could be picked."""
    p = plan.parameters
    for decision, values in reads.items():
        line = {
            "time": provenance.now(),
            "key": plan.key,
            "experiment": p.experiment,
            "profile": p.profile,
            "model": p.model,
            "seed": seed,
            "decision": decision,
            "metrics": {name: None if np.isnan(value) else round(float(value), 6) for name, value in values.items()},
        }
        results.log_test_read(line)


def _evaluated(plan: _Plan[P, D], folder: Path) -> Record:
    """The run's record, computed from its scores unless it is there and of this evaluation code."""
    p, data = plan.parameters, plan.data
    evaluation = fingerprint.of_values(fingerprint.of_code(EVALUATION), p.bootstrap, p.seeds)
    path, done = folder / "record.json", folder / "evaluated.json"
    if note(done) == evaluation:
        with contextlib.suppress(UserError):  # damaged: what the run keeps beside it says it all
            return results.load(path)
    found = Found(folder, p.seeds)
    first, own = found.cards[0], plan.task.evaluate(data, found, p)
    of_data = {"name": p.database, "sample": data.sample, "fingerprint": data.fingerprint}
    given = p.model_dump(exclude={"experiment", "title", "profile", "seeds"})
    fields: dict[str, Any] = {
        **named(p),
        "key": plan.key,
        "seeds": p.seeds,
        "recipe": recipes.of(p),
        "train_seconds": sum(card["seconds"] for card in found.cards),
        "device": plan.device.type,
        "precision": plan.precision,
        "evaluated": {"commit": provenance.commit(), "created": provenance.now()},
        **{name: first[name] for name in ("hardware", "versions", "commit", "created")},
        **own,
        "data": of_data | {"digest": data.digest()} | own["data"],
        "parameters": given | own.get("parameters", {}),
    }
    done.unlink(missing_ok=True)  # a kill between the two must not leave one of them with the other's
    Record.model_validate(fields).save(path)
    write_note(done, evaluation)
    return results.load(path)  # a run just made and one found later are the same


# --- where runs lie and what is told of them ------------------------------------------------------------------------


def _card(folder: Path, seed: int) -> Path:
    """What was noted of a seed when all its parts were done."""
    return folder / f"training-seed{seed}.json"


def _part_file(folder: Path, kind: str, seed: int, part: str) -> Path:
    return folder / f"part-{kind}-seed{seed}-{part}.{'json' if kind == 'note' else 'parquet'}"


def _begun(folder: Path) -> bool:
    """Whether a folder holds something of a training."""
    return any(path.name not in (MADE_OF, *OUTLASTS) for path in folder.iterdir())


def _clear(folder: Path) -> None:
    """Empty a run's folder of all but what is known of it in MLflow, whose place the next one takes there, and its
    names."""
    notes = [folder / MADE_OF, folder / "evaluated.json", *folder.glob("training-seed*.json")]
    for path in [*notes, *folder.iterdir()]:  # notes first: what they tell of must be there while they are
        if path.name not in OUTLASTS:
            path.unlink(missing_ok=True)


def _file(plan: _Plan[P, D], record: Record, folder: Path) -> None:
    """Write the reference result where the run is its experiment's, in full, on more than the sample, with what
    `ecglib verify` found of the same run; log it to MLflow, with a warning where that fails."""
    whole = record.experiment and record.profile == "full" and not record.overridden
    if whole and not record.data.sample and record.parameters["test"]:
        commits = (record.commit, record.evaluated.get("commit", ""))
        uncommitted = "the working tree has uncommitted changes" * any(one.endswith("-dirty") for one in commits)
        if reason := uncommitted or plan.data.no_reference(record):
            said = f"no reference result written: {reason}"
            files.to_watcher("said", said)
            warnings.warn(said, stacklevel=4)
        else:
            there = results.reference(record.experiment)
            same = there is not None and (there.key, there.recipe) == (record.key, record.recipe)
            verified = {"verified": there.verified} if same and there is not None else {}
            record.model_copy(update=verified).save(paths.reference(record.experiment))
    with files.lock(folder.with_suffix(".lock")):
        try:
            tracking.log(record, folder)
        except Exception as error:  # a result must not be lost because its tracking failed
            said = f"not in MLflow: {error}"
            if not files.to_watcher("said", said):  # who watches tells it; on a page it would show the server's address
                warnings.warn(f"run {record.key} is {said}", stacklevel=3)
    files.to_watcher("runs", str(folder))


def _folder(plan: _Plan[P, D]) -> Path:
    """The run's own; one that ends with this process where its code was edited meanwhile, as no key tells then what
    was run."""
    edited = fingerprint.edited()
    if not edited:
        return paths.runs() / plan.key
    said = f"{', '.join(edited)}: edited after this process started; the run is not filed; restart the kernel"
    warnings.warn(said, stacklevel=4)
    return Path(_unfiled().name) / plan.key


@cache
def _unfiled() -> tempfile.TemporaryDirectory[str]:
    """Where such runs lie while the process lives."""
    return tempfile.TemporaryDirectory(prefix="ecglib-unfiled-")


def _say_what_is_not_resumed(p: Trained, made_of: MadeOf) -> None:
    """Warn of half a run of the same experiment and profile that was made of something else, and say of what."""
    for path in sorted(paths.runs().glob(f"*/{MADE_OF}")):
        before = note(path) or {}
        same = (before.get("experiment"), before.get("profile")) == (p.experiment, p.profile)
        if p.experiment and same and _begun(path.parent) and not (path.parent / "record.json").is_file():
            other = "; ".join(_differences(before, made_of))
            said = f"half a run of {p.experiment} in {path.parent} is not resumed: {other}"
            warnings.warn(said, stacklevel=4)
            files.to_watcher("said", said)


def _differences(before: MadeOf, now: MadeOf) -> list[str]:
    """In what two runs differ, a phrase for each part."""
    said = []
    for name in {**now, **before}:
        mine, theirs = now.get(name), before.get(name)
        if theirs == mine or name in ("experiment", "profile"):
            continue
        other = ""
        if isinstance(mine, dict) and isinstance(theirs, dict):
            other = ", ".join(each for each in {**theirs, **mine} if theirs.get(each) != mine.get(each))
        said.append(f"{name}: {other}" if other else name)
    return said


def of_old_layout() -> int:
    """How many runs lie here that are older than the notes of what a key is made of; they are not found any more."""
    return sum(not (path.parent / MADE_OF).is_file() for path in paths.runs().glob("*/record.json"))


def note(path: Path) -> Any:
    """What was noted of a seed, a part or a run; None where nothing was, or where the note is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def write_note(path: Path, value: Any) -> None:
    """Write a note whole or not at all."""
    files.write(path, json.dumps(value))


def named(p: SharedParameters) -> dict[str, Any]:
    """The fields of a record that can't change what it measured; `overridden` are the parameters in which these differ
    from the experiment's own file under their profile."""
    own = config.load(p.experiment, profile=p.profile) if p.experiment else p
    overridden = sorted(name for name, value in p.model_dump().items() if value != getattr(own, name))
    return {"experiment": p.experiment, "title": p.title, "profile": p.profile, "overridden": overridden}
