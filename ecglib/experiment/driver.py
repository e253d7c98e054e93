"""What the runs of every task share: found again by their key, never done twice at once, filed and tracked.

`ecglib.experiment` (beats), `ecglib.infarction` and `ecglib.twelve_lead` say what a run is made of, how
it is trained and how it is evaluated; the rest is here.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from ecglib import config, files, fingerprint, paths, tracking
from ecglib.config import SharedParameters, TrainedParameters
from ecglib.errors import UserError
from ecglib.experiment import provenance
from ecglib.experiment import record as results
from ecglib.experiment.record import Record
from ecglib.models import registry
from ecglib.training import device as devices

CHOICES: Final = tuple(f"evaluation/{name}.py" for name in ("metrics", "ranking", "labels", "thresholds"))
"""Of the evaluation, what chooses epochs and thresholds."""
ROOMS: Final = ("aami.py", "data", "losses.py", "training", *CHOICES)
"""The code that can change weights, taken whole; the task's file and those of the network come to it."""
EVALUATION: Final = ("evaluation", "results.py")
"""The code that metrics follow from, beside the task's file."""
VERSIONS: Final = ("torch", "scikit-learn", "imbalanced-learn", "scipy", "wfdb")
"""The packages that read, split, resample and train."""
MADE_OF = "made-of.json"
"""The file of a run's folder that tells what its key is made of."""

Parts = dict[str, Any]
"""What a run's key is made of, by name; of code, file -> hash."""


def parts(
    p: TrainedParameters,
    not_in_key: Iterable[str],
    *,
    data: str,
    task: str,
    model: nn.Module,
    device: torch.device,
    precision: str,
    **more: Any,
) -> Parts:
    """What the key of a run is made of.

    Parameters
    ----------
    p, not_in_key
        Its parameters, and those that can't change its weights.
    data
        Fingerprint of the files.
    task
        The task's file, relative to the package.
    model
        The network.
    device, precision
        Where and how it is trained.
    more
        What else it follows from.
    """
    versions = provenance.versions()
    return {
        "parameters": p.model_dump(exclude={*not_in_key}),
        "data": data,
        "code": fingerprint.of_files([*ROOMS, task, *registry.files(model)]),
        "versions": {name: versions[name] for name in VERSIONS},
        "device": device.type,
        "precision": precision,
        **more,
    }


def key(parts: Parts) -> str:
    """The key of a run that is made of this."""
    return fingerprint.of_values(parts)[:20]


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes
    ----------
    record
        What it gave.
    folder
        Its files: `record.json`, and what its task keeps.
    trained
        False when the run was found and not repeated.
    """

    record: Record
    folder: Path
    trained: bool

    def reference(self) -> Record | None:
        """The committed reference result of the same experiment, if there is one."""
        return results.reference(self.record.experiment) if self.record.experiment else None


def do(
    p: TrainedParameters,
    made_of: Parts,
    train: Callable[[Path], bool],
    evaluate: Callable[[Path], Record],
    why_not: Callable[[Record], str],
    *,
    fresh: bool,
) -> Run:
    """Train and evaluate, or find the run that did; then file and track it.

    Parameters
    ----------
    p
        The run's parameters.
    made_of
        What its key is made of; `runs/<key>` is its folder.
    train
        Trains in the folder what is missing, and returns whether anything was.
    evaluate
        The folder's record.
    why_not
        Why an experiment's run in full on real data is no reference result nevertheless; empty where it is one.
    fresh
        Throw away an earlier run (or half a run) with this key first.
    """
    folder = _folder(made_of)
    names = named(p)  # before hours of training: this reads the experiment's file
    with files.lock(folder.with_suffix(".lock")):
        if fresh and folder.is_dir():
            shutil.rmtree(folder)
        if not folder.is_dir():
            _say_what_is_not_resumed(p, made_of)
            folder.mkdir()
            write_note(folder / MADE_OF, {"experiment": p.experiment, "profile": p.profile, **made_of})
        try:
            trained = train(folder)
        finally:
            if [file.name for file in folder.iterdir()] == [MADE_OF]:  # nothing was begun
                shutil.rmtree(folder)
        record = evaluate(folder)
    record = record.model_copy(update=names)
    if folder.parent != paths.runs():
        return Run(record, folder, trained)
    if is_reference(record):
        commits = (record.commit, record.evaluated.get("commit", ""))
        uncommitted = "the working tree has uncommitted changes" * any(one.endswith("-dirty") for one in commits)
        if reason := uncommitted or why_not(record):
            warnings.warn(f"no reference result written: {reason}", stacklevel=3)
        else:
            _with_verification(record).save(paths.reference(record.experiment))
    track(record, folder)
    _to_watcher("runs", str(folder))
    return Run(record, folder, trained)


def _with_verification(record: Record) -> Record:
    """The record with what `ecglib verify` found of the same run, if it did."""
    there = results.reference(record.experiment)
    same = there is not None and (there.key, there.recipe) == (record.key, record.recipe)
    return record.model_copy(update={"verified": there.verified}) if same and there is not None else record


def _folder(made_of: Parts) -> Path:
    """The run's own; one that ends with this process where its code was edited meanwhile, as no key tells then what
    was run."""
    edited = fingerprint.edited()
    if not edited:
        return paths.runs() / key(made_of)
    warnings.warn(
        f"{', '.join(edited)}: edited after this process started; the run is not filed; restart the kernel",
        stacklevel=4,
    )
    return Path(_unfiled().name) / key(made_of)


@cache
def _unfiled() -> tempfile.TemporaryDirectory[str]:
    """Where such runs lie while the process lives."""
    return tempfile.TemporaryDirectory(prefix="ecglib-unfiled-")


def _say_what_is_not_resumed(p: TrainedParameters, made_of: Parts) -> None:
    """Warn of half a run of the same experiment and profile that was made of something else, and say of what."""
    for path in sorted(paths.runs().glob(f"*/{MADE_OF}")):
        before = note(path) or {}
        same = (before.get("experiment"), before.get("profile")) == (p.experiment, p.profile)
        begun = any(file.name != MADE_OF for file in path.parent.iterdir())
        if p.experiment and same and begun and not (path.parent / "record.json").is_file():
            other = "; ".join(differences(before, made_of))
            said = f"half a run of {p.experiment} in {path.parent} is not resumed: {other}"
            warnings.warn(said, stacklevel=4)
            _to_watcher("said", said)


def differences(before: Parts, now: Parts) -> list[str]:
    """In what two runs differ, a phrase for each part."""
    said = []
    for name in {**now, **before}:
        mine, theirs = now.get(name), before.get(name)
        if theirs == mine or name in ("experiment", "profile"):
            continue
        if isinstance(mine, dict) and isinstance(theirs, dict):
            said.append(f"{name}: {', '.join(n for n in {**theirs, **mine} if theirs.get(n) != mine.get(n))}")
        else:
            said.append(str(name))
    return said


def of_old_layout() -> int:
    """How many runs of before keys had a note of what they are made of lie here; they are not found any more."""
    return sum(not (path.parent / MADE_OF).is_file() for path in paths.runs().glob("*/record.json"))


def place(
    p: TrainedParameters,
    make: Callable[[], nn.Module],
    batch: devices.Batch,
    *,
    probes: bool = True,
) -> tuple[torch.device, str]:
    """Device and precision of a run.

    Parameters
    ----------
    p
        Its parameters, which may leave both to the machine (`auto`).
    make, batch
        What is probed for the faster precision (see `devices.choose_precision`).
    probes
        False of what is not trained step by step: it runs on the CPU in single precision.
    """
    device = devices.choose(p.device) if probes else torch.device("cpu")
    if p.deterministic or not probes:
        return device, "float32"
    return device, devices.choose_precision(p.precision, device, make, batch, paths.cache() / "precision")


def saved(folder: Path, p: TrainedParameters, evaluate: Callable[[], Record]) -> Record:
    """The record in a run's folder, computed and saved there first unless it is there and of this evaluation code."""
    evaluation = fingerprint.of_values(fingerprint.of_code(EVALUATION), p.bootstrap, p.seeds)
    path, done = folder / "record.json", folder / "evaluated.json"
    if note(done) == evaluation:
        with contextlib.suppress(UserError):  # damaged: what the run keeps beside it says it all
            return results.load(path)
    evaluate().save(path)
    write_note(done, evaluation)
    return results.load(path)  # a run just made and one found later are the same


def note(path: Path) -> Any:
    """What was noted of a seed, a fold or a run; None where nothing was, or where the note is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def write_note(path: Path, value: Any) -> None:
    """Write a note whole or not at all."""
    files.write(path, json.dumps(value))


def named(p: SharedParameters) -> dict[str, Any]:
    """The fields of a record that can't change what it measured."""
    return {"experiment": p.experiment, "title": p.title, "profile": p.profile, "overridden": overridden(p)}


def provenance_of(cards: list[dict[str, Any]], device: torch.device, precision: str) -> dict[str, Any]:
    """The fields of a record that say where it comes from.

    Parameters
    ----------
    cards
        What each seed's training noted when it was done. The first one's speaks for all, but for the time they took.
    device, precision
        What they were trained on and in.
    """
    first = cards[0]
    same = ("n_parameters", "input_shape", "hardware", "versions", "commit", "created")
    return {name: first[name] for name in same} | {
        "train_seconds": sum(card["seconds"] for card in cards),
        "device": device.type,
        "precision": precision,
        "evaluated": {"commit": provenance.commit(), "created": provenance.now()},
    }


def overridden(p: SharedParameters) -> list[str]:
    """The parameters in which these differ from the experiment's own file under their profile."""
    if not p.experiment:
        return []
    own = config.load(p.experiment, profile=p.profile)
    return sorted(name for name, value in p.model_dump().items() if value != getattr(own, name))


def _to_watcher(kind: str, line: str) -> None:
    """Hand a line to `ecglib run`, which started this process: `runs`, the folder of a finished run, whose record it
    tells of; `said`, what it says as it is."""
    if watched := os.environ.get("ECGLIB_PROGRESS"):
        with Path(watched).with_suffix(f".{kind}").open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")


def is_reference(record: Record) -> bool:
    """Whether a run is its experiment's, in full, on real data."""
    whole = record.experiment and record.profile == "full" and not record.overridden
    return bool(whole) and not record.data.synthetic and record.parameters["test"]


def track(record: Record, folder: Path) -> None:
    """Log a run to MLflow, with a warning where that fails."""
    try:
        tracking.log(record, folder)
    except Exception as error:  # a result must not be lost because its tracking failed
        warnings.warn(f"run {record.key} is not in MLflow: {error}", stacklevel=4)
