"""Whether committed results still come out: cut again, train the first epochs again, compare with the record.

`python -m ecglib.experiment.verify losses EXPERIMENT` prints the losses of these epochs; `renew` asks that of the old
code and of today's.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from ecglib import config, paths
from ecglib.config import HeartbeatParameters, InfarctionParameters, TwelveLeadParameters
from ecglib.data import databases, digest
from ecglib.errors import UserError
from ecglib.experiment import driver, heartbeat, infarction, provenance, recipes, tasks
from ecglib.experiment import record as results
from ecglib.experiment.recipes import Trained
from ecglib.experiment.record import Record
from ecglib.training import device as devices
from ecglib.training.history import Epoch

EPOCHS: Final = 2
"""Epochs of the first seed that are trained again."""
LOSSES: Final = ("train_loss", "val_loss")
NOT_REACHED: Final = ("adaptation",)
"""Stages that come after the epochs, so that these prove nothing of them."""
TOLERANCE: Final = {"float32": 0.005, "bfloat16": 0.02, "float16": 0.02}
"""Share by which a loss may differ on another machine, by the precision of the record."""
CIRCUMSTANCES: Final = driver.NOT_IN_KEY - {"bootstrap"} | {"seeds"}
"""Parameters that are no part of what is computed, or are compared by themselves."""

OF_DIGEST: Final[dict[type, set[str]]] = {
    HeartbeatParameters: {
        "database", "annotator", "protocol", "train_on", "test_on", "cut", "features", "leads", "max_beats",
        "validation_fraction", "test", "seeds",
    },
    InfarctionParameters: {*InfarctionParameters.READ, "model", "seeds"},
    TwelveLeadParameters: {*TwelveLeadParameters.READ, "model", "leave_source_out", "wander", "muscle"},
}  # fmt: skip
"""The parameters that the digest of an experiment's data follows from."""


def stale(p: Trained, record: Record) -> list[str]:
    """Why a result does not hold any more, a phrase for each reason; none where it holds.

    It holds while its parameters, the digest of its data and its recipe are those of today, and so are those of the
    pretraining that it starts from. Where its data are not here, or others of that name are, nothing is said of them.
    """
    now = p.model_dump(exclude={*CIRCUMSTANCES, *p.idle()})
    before = {name: record.parameters.get(name, type(p).model_fields[name].default) for name in now}
    pairs = {"seeds": (record.seeds, p.seeds), **{name: (before[name], now[name]) for name in now}}
    said = [f"{name} {a} → {b}" for name, (a, b) in pairs.items() if a != b]
    said += recipes.why(record.recipe, recipes.of(p))
    here = tuple(databases.find(name) if name in databases.DATABASES else None for name in p.databases)
    if record.data.digest and all(here):
        fingerprint, today = _of_data(type(p), here, p.model_dump_json(include=OF_DIGEST[type(p)]))
        moved = digest.moved(record.data.digest, today) if fingerprint == record.data.fingerprint else []
        if databases.find("nstdb") is None:  # today's is the sample's
            moved = [name for name in moved if name != "noise"]
        said += [f"data: {', '.join(moved)} moved"] if moved else []
    first = _pretraining(p)
    if first is not None and (reference := results.reference(first.experiment)) is not None:
        said += [f"{first.experiment}: {reason}" for reason in stale(first, reference) if reason not in said]
    return said


@cache
def _of_data(kind: type[Trained], here: tuple[databases.Source | None, ...], read: str) -> tuple[str, digest.Digest]:
    """Fingerprint and digest of the data `here` as parameters of a kind read them, `OF_DIGEST` of which are given as
    JSON; kept, as experiments share them."""
    p = kind.model_construct(**json.loads(read))
    data = tasks.of(p).data(p)
    return data.fingerprint, data.digest()


def _pretraining(p: Trained) -> HeartbeatParameters | None:
    return infarction.pretraining(p) if isinstance(p, InfarctionParameters) else None


def parameters_of(experiment: str) -> Trained:
    """The parameters of an experiment's reference result; UserError where it is no experiment that trains."""
    p = config.load(experiment, profile="full")
    if not isinstance(p, Trained):
        raise UserError(experiment, "it trains nothing", "an experiment with a result")
    return p


def reference_of(experiment: str) -> Record:
    """Its reference result; UserError where there is none."""
    record = results.reference(experiment)
    if record is None:
        do = f"ecglib run {experiment} --profile full"
        raise UserError(experiment, "no reference result", "one in book/results", do)
    return record


def verify(experiment: str, precision: str | None = None) -> dict[str, Any]:
    """Cut and train again, and write what was found into the record.

    `precision` is what to train in; None: that of the record. On a processor without bfloat16 it is float32, rounded
    (`Rounded`).

    Returns `moved`: the parts of the data's digest that differ; `train_loss`, `val_loss`: the largest share by which a
    loss of the first epochs differs, None where the record has no history; `holds`: whether all is within its
    tolerance; and the circumstances.
    """
    p, record = parameters_of(experiment), reference_of(experiment)
    known = record.training[0].history[:EPOCHS] if record.training else []
    found: dict[str, Any] = {
        "moved": digest.moved(record.data.digest, tasks.of(p).data(p).digest()),
        **dict.fromkeys(LOSSES),
        "epochs": len(known),
    }
    if known:
        device = devices.choose("auto")
        with _in_precision(device, precision or record.precision):
            again = first_epochs(p, EPOCHS, device, precision or record.precision)
        found |= {name: _largest(known, again[: len(known)], name) for name in LOSSES}
        found["hardware"] = devices.hardware(device)
    off = [found[name] for name in LOSSES if known]
    found |= {
        "holds": not found["moved"] and all(share <= TOLERANCE[record.precision] for share in off),
        "stale": stale(p, record),
        "precision": precision or record.precision,
        "torch": provenance.versions()["torch"],
        "commit": provenance.commit(),
        "created": provenance.now(),
    }
    keep = {"renewed": record.verified["renewed"]} if "renewed" in record.verified else {}
    record.model_copy(update={"verified": found | keep}).save(paths.reference(experiment))
    return found


class Rounded(TorchDispatchMode):
    """Within, what multiplies bfloat16 is computed in float32 and rounded, as kernels for bfloat16 do with their sums.
    A processor without such kernels takes many times as long for the same numbers."""

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if operation not in MULTIPLY or not any(_is(value, torch.bfloat16) for value in args):
            return operation(*args, **kwargs)
        args, kwargs = tree_map(lambda t: t.float() if _is(t, torch.bfloat16) else t, (args, kwargs))
        return tree_map(lambda t: t.bfloat16() if _is(t, torch.float32) else t, operation(*args, **kwargs))


MULTIPLY: Final = frozenset(
    getattr(torch.ops.aten, name).default
    for name in ("convolution", "convolution_backward", "mm", "addmm", "bmm", "baddbmm")
)


def _is(value: object, kind: torch.dtype) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype == kind


def _in_precision(device: torch.device, precision: str) -> contextlib.AbstractContextManager[Any]:
    lacks = device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported()
    rounded = Rounded()  # type: ignore[no-untyped-call]
    return rounded if precision == "bfloat16" and lacks else contextlib.nullcontext()


def first_epochs(p: Trained, n: int, device: torch.device, precision: str) -> list[Epoch]:
    """The first epochs of the first seed's training, and of a transfer those of its pretraining; nothing is filed."""
    found = driver.first_epochs(tasks.of(p), p, n, device, precision)
    before = _pretraining(p)
    return found if before is None else found + driver.first_epochs(heartbeat.TASK, before, n, device, precision)


def _largest(known: Sequence[Epoch], again: Sequence[Epoch], name: str) -> float:
    """The largest share by which a loss differs; infinite where an epoch is missing or a loss is no number."""
    pairs = [(getattr(a, name), getattr(b, name)) for a, b in zip(known, again, strict=False)]
    if len(again) < len(known) or any(a is None or b is None or not math.isfinite(b) for a, b in pairs):
        return math.inf
    return float(max(abs(b - a) / max(abs(a), 1e-12) for a, b in pairs))


# --- renewal ----------------------------------------------------------------------------------------------------------


def renew(experiment: str) -> list[str]:
    """Write today's recipe into a record, where the old code and today's train the first epochs alike, to the last bit.

    The old code is that of the newest commit whose recipe of the experiment is the record's.

    Returns what differed between the recipes; nothing where they are the same. A `UserError` when no such commit is
    found, there is nothing to train in epochs, or the epochs differ.
    """
    p, record = parameters_of(experiment), reference_of(experiment)
    today = recipes.of(p)
    said = recipes.why(record.recipe, today)
    if not said:
        return []
    if unreached := [stage for stage in NOT_REACHED if record.recipe.get(stage) != today.get(stage)]:
        raise UserError(experiment, f"the first epochs do not reach {', '.join(unreached)}", do="run it anew, in full")
    with tempfile.TemporaryDirectory(prefix="ecglib-renew-") as scratch:
        old, commit = _old_code(experiment, record, Path(scratch))
        before, after = (_python(root, "losses", experiment) for root in (old, paths.root()))
    if not before:
        raise UserError(experiment, "it is fitted at once and has no epochs", "a network", "run it anew, in full")
    if before != after:
        first = next(i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b)
        found = f"epoch {first + 1}: {before[first]} before, {after[first]} today"
        raise UserError(experiment, found, "equal losses", f"ecglib run {experiment} --profile full --fresh")
    proof = {"from": record.recipe, "commit": commit, "losses": after, "created": provenance.now()}
    changed = {"recipe": today, "verified": record.verified | {"renewed": proof}}
    record.model_copy(update=changed).save(paths.reference(experiment))
    return said


def _old_code(experiment: str, record: Record, scratch: Path) -> tuple[Path, str]:
    """A folder with the code that the record's recipe is of, and its commit: one before a stage of it was touched."""
    modules = recipes.STAGES | recipes.networks()
    files = [f"{modules[stage].replace('.', '/')}.py" for stage in record.recipe if stage in modules]
    for touched in _git("log", "--format=%H", "--", *files).decode().split():  # newest first
        commit = f"{touched}^"
        folder = scratch / commit
        with contextlib.suppress(UserError):  # it is not in this clone, or had no such experiment, or no recipes, then
            archived = _git("archive", commit, "ecglib", "params", "_quarto.yml")
            with tarfile.open(fileobj=io.BytesIO(archived)) as archive:
                if hasattr(tarfile, "data_filter"):  # Python 3.11 has it from its fourth patch on, Debian 12 the second
                    archive.extraction_filter = tarfile.data_filter
                archive.extractall(folder)
            if _python(folder, "recipe", experiment) == record.recipe:
                return folder, commit
    raise UserError(experiment, "no commit with its recipe", "one in this history", "run it anew, in full")


def _python(root: Path, what: str, experiment: str) -> Any:
    """What `main` prints with the code in a folder."""
    environment = {**os.environ, "PYTHONPATH": str(root), "ECGLIB_ROOT": str(root), "ECGLIB_DATA": str(paths.data())}
    before = (root / "ecglib" / "verify.py").is_file()  # it moved
    module = "ecglib.verify" if before else "ecglib.experiment.verify"
    command = [sys.executable, "-m", module, what, experiment]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(experiment, f"the code in {root.name} ended with: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def _git(*arguments: str) -> bytes:
    try:
        return subprocess.run(["git", "-C", str(paths.root()), *arguments], capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError("git", f"{arguments[0]} failed ({error})", "a clone with its history") from None


def main(what: str, experiment: str) -> None:
    """Print an experiment's recipe, or the losses of its first epochs, as JSON."""
    p = parameters_of(experiment)
    if what == "recipe":
        print(json.dumps(recipes.of(p)))
        return
    torch.set_num_threads(1)
    p = p.model_copy(update={"deterministic": True})
    epochs = first_epochs(p, EPOCHS, torch.device("cpu"), "float32")
    print(json.dumps([[epoch.train_loss, epoch.val_loss] for epoch in epochs]))


if __name__ == "__main__":
    main(*sys.argv[1:3])
