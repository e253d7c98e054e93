"""A trial: parameters in, the validation metric of every epoch out. It knows no engine, and reads nothing tested."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from ecglib import config, fingerprint
from ecglib.config import HeartbeatParameters, InfarctionParameters, TwelveLeadParameters
from ecglib.errors import UserError
from ecglib.experiment import driver, tasks
from ecglib.experiment.recipes import Trained
from ecglib.experiment.verify import OF_DIGEST

MOST_KEPT: Final = 4
"""Sets of data that a process keeps; more come up where a space says how beats are cut."""
PREPARED: Final[dict[str, Any]] = {}
"""Those that this one keeps."""
HANDED: Final[dict[type, tuple[str, ...]]] = {
    HeartbeatParameters: ("fingerprint", "beats"),
    InfarctionParameters: ("fingerprint", "cohort"),
    TwelveLeadParameters: (),  # read from disk batch by batch
}
"""Of a task's data, what trials on other machines are given."""


@dataclass(frozen=True)
class Epoch:
    """What an epoch, or a fold, gave."""

    epoch: int
    """From 1 on; those before a resumption come again."""
    value: float
    """The validation metric after it."""
    best: float
    """What the trial is worth after it: the highest so far, or of folds, which are scored together, the latest."""
    seconds: float


@dataclass(frozen=True)
class Place:
    """Where trials are computed: the same for all of a search, so that they can be compared."""

    device: str
    precision: str

    @classmethod
    def of(cls, base: Trained) -> Place:
        """As the base's parameters, and the machine, have it."""
        device, precision, _ = driver.place(base, *tasks.of(base).network(data_of(base), base))
        return cls(device.type, precision)


def epochs(p: Trained, place: Place, folder: Path | None = None, title: str = "trial") -> Iterator[Epoch]:
    """Train with these parameters, which must be of development (`test: false`), under their first seed.

    After each epoch the state is kept in `folder`; a trial that finds one there of the same parameters and data goes on
    from it. Errors are those of the training.
    """
    if p.test:
        raise ValueError("a trial with test: true would read what is tested")
    task, data, best = tasks.of(p), data_of(p), -float("inf")
    key = fingerprint.of_values(p.model_dump(), data.fingerprint, place.precision)
    where = driver.Where(torch.device(place.device), place.precision, title, folder, key)
    for epoch in task.epochs(data, p, p.seeds[0], where):
        value = float("nan") if epoch.val_metric is None else epoch.val_metric
        best = value if in_folds(p) and not math.isnan(value) else max(best, value)
        yield Epoch(epoch.epoch, value, best, epoch.seconds)


def in_folds(p: Trained) -> bool:
    """Whether a trial goes on from fold to fold, each with a training of its own, and not from epoch to epoch."""
    return isinstance(p, InfarctionParameters)


def n_epochs(p: Trained) -> int:
    """How many epochs, or folds, a trial in full has; fewer where a class has too few patients for so many folds."""
    return p.folds if isinstance(p, InfarctionParameters) else p.max_epochs


def name_of_data(p: Trained) -> str:
    """What tells sets of data apart; they are divided anew under every seed."""
    return f"{type(p).__name__} {p.model_dump_json(include=OF_DIGEST[type(p)] - {'seeds'})}"


def data_of(p: Trained) -> Any:
    """What trials of these parameters rest on: prepared once a process, and once a machine in the cache."""
    if (name := name_of_data(p)) not in PREPARED:
        _keep(name, tasks.of(p).data(p))
    return PREPARED[name]


def _keep(name: str, data: Any) -> None:
    while len(PREPARED) >= MOST_KEPT:
        del PREPARED[next(iter(PREPARED))]
    PREPARED[name] = data


def handed(p: Trained) -> dict[str, Any]:
    """Of that, what another process needs to train without reading a file: arrays, and what they are of."""
    data = data_of(p)
    return {name: getattr(data, name) for name in HANDED[type(p)]}


def take(p: Trained, given: dict[str, Any]) -> None:
    """Rest trials of these parameters, in this process, on what another one `handed`."""
    if (name := name_of_data(p)) not in PREPARED:
        data = tasks.of(p).data(p)
        vars(data).update(given)  # where its cached properties keep what they have read
        _keep(name, data)


def in_development(base: Trained, fixed: dict[str, Any], metric: str, seed: int) -> Trained:
    """The base as its trials have it: what is tested is not read, and the metric chooses the epoch."""
    if own := sorted({*fixed} & {"test", "seeds", "bootstrap", "selection", *config.SharedParameters.model_fields}):
        raise UserError(f"fixed: {own[0]}", "a search says that itself", do="leave it away")
    given = base.model_dump() | fixed | {"test": False, "seeds": [seed], "bootstrap": 0}
    if "selection" in type(base).model_fields:
        given["selection"] = metric
    notebook = next(name for name, model in config.MODELS.items() if model is type(base))
    p = config.check(notebook, given, "fixed")
    assert isinstance(p, Trained)
    return p
