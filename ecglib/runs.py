"""What the runs of every task share: found again by their key, never done twice at once, filed and tracked.

`ecglib.experiment` (beats) and `ecglib.infarction` say what a run's key is made of, how it is trained and how it is
evaluated; the rest is here.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import nn

from ecglib import config, paths, provenance, results
from ecglib.config import SharedParameters, TrainedParameters
from ecglib.errors import UserError
from ecglib.results import Record
from ecglib.training import device as devices


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
    p: SharedParameters,
    key: str,
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
    key
        Its key; `runs/<key>` is its folder.
    train
        Trains in the folder what is missing, and returns whether anything was.
    evaluate
        The folder's record.
    why_not
        Why an experiment's run in full on real data is no reference result nevertheless; empty where it is one.
    fresh
        Throw away an earlier run (or half a run) with this key first.
    """
    folder = paths.runs() / key
    names = named(p)  # before hours of training: this reads the experiment's file
    with folder_lock(folder):
        if fresh and folder.is_dir():
            shutil.rmtree(folder)
        trained = train(folder)
        record = evaluate(folder)
    record = record.model_copy(update=names)
    if is_reference(record):
        if reason := why_not(record):
            warnings.warn(f"no reference result written: {reason}", stacklevel=3)
        else:
            record.save(paths.reference(record.experiment))
    track(record, folder)
    _name_to_watcher(folder)
    return Run(record, folder, trained)


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Two processes that want the same run: the second waits, then finds it."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.with_suffix(".lock"))
        lock.acquire()
    except OSError as error:
        raise UserError(folder.parent, f"can't be written: {error.strerror}", do="free space or rights") from None
    try:
        yield
    finally:
        lock.release()


def place(
    p: TrainedParameters,
    make: Callable[[], nn.Module],
    batch: devices.Batch,
    like: Record | None,
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
    like
        A record whose device and precision are taken where the parameters allow it; None: this machine's.
    probes
        False of what is not trained step by step: it runs on the CPU in single precision.
    """
    if like is not None and p.device in ("auto", like.device):
        device = torch.device(like.device)
    else:
        device = devices.choose(p.device) if probes else torch.device("cpu")
    if like is not None and p.precision in ("auto", like.precision):
        return device, like.precision
    if p.deterministic or not probes:
        return device, "float32"
    return device, devices.choose_precision(p.precision, device, make, batch, paths.cache() / "precision")


def saved(path: Path, evaluation: str, evaluate: Callable[[], Record]) -> Record:
    """The record at a path, computed and saved there first unless it is there and of this evaluation code."""
    with contextlib.suppress(UserError):  # not there yet, or damaged: what the run keeps beside it says it all
        record = results.load(path)
        if record.evaluation == evaluation:
            return record
    evaluate().save(path)
    return results.load(path)  # a run just made and one found later are the same


def note(path: Path) -> dict[str, Any] | None:
    """What was noted of a seed or a fold when it was done; None where it isn't, or where the note is damaged."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return found


def write_note(path: Path, value: Any) -> None:
    """Write a note whole or not at all."""
    temporary = path.with_suffix(f".{time.time_ns()}.tmp")
    temporary.write_text(json.dumps(value), encoding="utf-8")
    temporary.replace(path)


def named(p: SharedParameters) -> dict[str, Any]:
    """The fields of a record that can't change what it measured."""
    return {"experiment": p.experiment, "title": p.title, "profile": p.profile, "overridden": overridden(p)}


def provenance_of(cards: list[dict[str, Any]], device: torch.device, precision: str, evaluation: str) -> dict[str, Any]:
    """The fields of a record that say where it comes from.

    Parameters
    ----------
    cards
        What each seed's training noted when it was done. The first one's speaks for all, but for the time they took.
    device, precision
        What they were trained on and in.
    evaluation
        Hash of the evaluation code.
    """
    first = cards[0]
    same = ("n_parameters", "input_shape", "hardware", "versions", "commit", "created")
    return {name: first[name] for name in same} | {
        "train_seconds": sum(card["seconds"] for card in cards),
        "device": device.type,
        "precision": precision,
        "evaluation": evaluation,
        "evaluated": {"commit": provenance.commit(), "created": provenance.now()},
    }


def overridden(p: SharedParameters) -> list[str]:
    """The parameters in which these differ from the experiment's own file under their profile."""
    if not p.experiment:
        return []
    own = config.load(p.experiment, profile=p.profile)
    return sorted(name for name, value in p.model_dump().items() if value != getattr(own, name))


def _name_to_watcher(folder: Path) -> None:
    """Name a finished run to `ecglib run`, which started this process and tells what the run's record says."""
    if watched := os.environ.get("ECGLIB_PROGRESS"):
        with Path(watched).with_suffix(".runs").open("a", encoding="utf-8") as file:
            file.write(f"{folder}\n")


def is_reference(record: Record) -> bool:
    """Whether a run is its experiment's, in full, on real data."""
    whole = record.experiment and record.profile == "full" and not record.overridden
    return bool(whole) and not record.data.synthetic and record.parameters["test"]


def track(record: Record, folder: Path) -> None:
    """Log a run to MLflow, with a warning where that fails."""
    from ecglib import tracking

    try:
        tracking.log(record, folder)
    except Exception as error:  # a result must not be lost because its tracking failed
        warnings.warn(f"run {record.key} is not in MLflow: {error}", stacklevel=4)
