"""A search: what is checked before it begins, what its folder holds, and what is written when it ends.

Its folder `runs/tuning/<name>` has `search.json` (what was asked), the engine's journal, and a folder of every trial
with its checkpoint. In the end `book/searches/<name>.json` and `.parquet` tell what was found, and
`params/<notebook>/<name>-tuned.yaml` is the experiment of the best parameters.
"""

from __future__ import annotations

import json
import math
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import pandas as pd
import torch
import yaml

from ecglib import config, files, paths
from ecglib.config import HOW_MUCH, TrainedParameters, TuningParameters
from ecglib.errors import UserError
from ecglib.experiment import provenance, tasks
from ecglib.experiment import record as results
from ecglib.experiment.recipes import Trained
from ecglib.training import device
from ecglib.tuning import space as spaces
from ecglib.tuning import trial
from ecglib.tuning.space import OPTION, Space, Values
from ecglib.tuning.trial import Epoch, Place

ASKED: Final = "search.json"
UNITS: Final = {"s": 1, "m": 60, "h": 3600}
METRICS: Final = {
    "heartbeat": ("macro_f1", "macro_recall", "abnormal_recall"),
    "infarction": ("auroc",),
    "twelve-lead": ("macro_auroc",),
}
"""Notebook -> what its trials can be judged by, the default first."""
SAME: Final = ("experiment", "space", "metric", "searcher", "scheduler", "grace", "reduction", "seed")
"""Of what was asked, what a search must share with the one that it goes on with."""
NAMED: Final = re.compile(r"tuning/[A-Za-z0-9][\w-]*")
"""A search's name, which is that of files and folders."""


@dataclass
class Trial:
    """One set of parameters and how it went."""

    number: int
    drawn: Values
    state: str = "running"
    """`running`, `finished`, `stopped` early, or `failed`."""
    curve: list[Epoch] = field(default_factory=list)
    why: str = ""
    """Why it failed or was stopped, where that is not the scheduler's doing."""

    @property
    def value(self) -> float:
        """The highest validation metric of its epochs; NaN where there is none."""
        best = self.curve[-1].best if self.curve else math.nan
        return best if math.isfinite(best) else math.nan

    @property
    def seconds(self) -> float:
        return sum(epoch.seconds for epoch in self.curve)


@dataclass(frozen=True)
class Search:
    """What is searched, checked."""

    asked: TuningParameters
    base: Trained
    """In development, with what is fixed."""
    space: Space
    place: Place
    folder: Path

    @property
    def name(self) -> str:
        return self.asked.experiment.partition("/")[2]

    @property
    def notebook(self) -> str:
        return self.asked.base.partition("/")[0]

    @property
    def tuned(self) -> str:
        """The experiment that the best parameters become."""
        return f"{self.notebook}/{self.name}{config.TUNED}"

    @property
    def budget(self) -> float:
        """Seconds; infinite where none is given."""
        text = self.asked.budget
        return int(text[:-1]) * UNITS[text[-1]] if text else math.inf

    @property
    def epochs(self) -> int:
        """Those of a trial in full, or its folds."""
        return trial.n_epochs(self.base)

    def parameters(self, drawn: Mapping[str, Any], seed: int | None = None) -> Trained:
        """Those of a trial, under the search's seed or another one."""
        p = spaces.applied(self.base, drawn)
        return p if seed is None else p.model_copy(update={"seeds": [seed]})

    def comparable(self, trials: list[Trial]) -> list[Trial]:
        """Those whose values can be compared: that of folds, some of which are harder, only where all were scored."""
        whole = trial.in_folds(self.base)
        return [one for one in trials if not math.isnan(one.value) and (one.state == "finished" or not whole)]

    @cached_property
    def of_base(self) -> Values | None:
        """The base's own values, as a draw; None where they lie outside the space."""
        own = self.space.own(self.base)
        return own if all(self.space[name].holds(value) for name, value in own.items()) else None

    @cached_property
    def made_of(self) -> dict[str, Any]:
        """What a search must share with the one that it goes on with."""
        asked = self.asked.model_dump(include=set(SAME))
        return asked | {
            "base": self.base.model_dump(),
            "data": trial.data_of(self.base).fingerprint,
            **vars(self.place),
        }


def folder_of(name: str) -> Path:
    return paths.runs() / "tuning" / name


def base_of(asked: TuningParameters) -> Trained:
    """The experiment to start from as its trials have it, in the profile of the search."""
    base = config.load(asked.base, profile="full" if asked.profile == "full" else "quick")
    if not isinstance(base, TrainedParameters):
        raise UserError(f"base: {asked.base}", "it trains nothing", "an experiment that trains")
    assert isinstance(base, Trained)
    return trial.in_development(base, asked.fixed, asked.metric, asked.seed)


def prepared(asked: TuningParameters) -> Search:
    """Check all that can be checked before anything is trained, and prepare the data. A `UserError` says, in a line,
    what does not fit."""
    notebook, name = asked.base.partition("/")[0], asked.experiment.partition("/")[2]
    if not NAMED.fullmatch(asked.experiment):
        raise UserError("experiment", f"{asked.experiment!r}", "tuning/NAME, of letters, digits, - and _")
    if asked.metric not in METRICS.get(notebook, asked.metric):
        raise UserError(f"metric: {asked.metric}", f"not of {notebook}", f"one of {', '.join(METRICS[notebook])}")
    if both := sorted({*asked.fixed} & {*asked.space}):
        raise UserError(f"fixed: {both[0]}", "it is in the space too", "one of them")
    base = base_of(asked)
    space = spaces.parsed(asked.space, base)
    if asked.searcher == "gp" and any(one.when for one in space.dimensions):
        raise UserError("searcher: gp", "a space with when", "every parameter in every trial", "take tpe")
    if asked.searcher == "grid":
        space.grid(base)
    if asked.seed in asked.confirm or len(set(asked.confirm)) < len(asked.confirm):
        raise UserError(f"confirm: {asked.confirm}", "a seed twice, or the search's own", "seeds that it did not see")
    if asked.scheduler != "none" and asked.grace >= trial.n_epochs(base) > 1:
        found = f"every trial gets all {trial.n_epochs(base)} epochs"
        raise UserError(f"grace: {asked.grace}", found, "fewer", "or scheduler: none")
    task, data = tasks.of(base), trial.data_of(base)
    space.check(base, lambda p: task.network(data, p)[0]())
    return Search(asked, base, space, Place.of(base), folder_of(name))


def opened(folder: Path) -> Search:
    """The search of a folder, as a worker has it: checked before."""
    known = json.loads((folder / ASKED).read_text(encoding="utf-8"))
    asked = config.check("tuning", known["asked"], folder / ASKED)
    assert isinstance(asked, TuningParameters)
    base, made = base_of(asked), known["made_of"]
    return Search(asked, base, spaces.parsed(asked.space, base), Place(made["device"], made["precision"]), folder)


def begin(search: Search, engine: str = "local", *, resume: bool, fresh: bool) -> None:
    """Make the search's folder, or go on in it. A `UserError` where it holds a search and neither is said, or another
    search than this one, or one of another engine. One that was refused before its first trial is none."""
    path, asked = search.folder / ASKED, search.asked.model_dump()
    if resume and fresh:
        raise UserError("--fresh", "--resume is given too", "one of them")
    if fresh and search.folder.is_dir():
        shutil.rmtree(search.folder)
    known = {"id": secrets.token_hex(8), "engine": engine, "made_of": search.made_of, "seconds": 0.0}
    if path.is_file() and any(one != path for one in search.folder.iterdir()):
        known = json.loads(path.read_text(encoding="utf-8"))
        before, now = known["made_of"], json.loads(json.dumps(search.made_of))
        if differs := [name for name in now if before.get(name) != now[name]]:
            found = f"holds another search ({', '.join(differs)} differ)"
            raise UserError(search.folder, found, do="--fresh throws it away; or give the search another name")
        if known["engine"] != engine:
            do = f"--engine {known['engine']} goes on with it, --fresh begins anew"
            raise UserError(search.folder, f"holds this search, begun with --engine {known['engine']}", do=do)
        if not resume:
            raise UserError(search.folder, "holds this search", do="--resume goes on with it, --fresh begins anew")
    elif resume and not path.is_file():
        raise UserError(search.folder, "no search to go on with", do="leave --resume away")
    files.write(path, json.dumps(known | {"asked": asked}, indent=1))


def begun(search: Search) -> dict[str, Any]:
    """What the search's folder tells of it: `asked`, `made_of`, `engine`, its `id`, and the `seconds` it has run."""
    known: dict[str, Any] = json.loads((search.folder / ASKED).read_text(encoding="utf-8"))
    return known


@contextmanager
def timed(search: Search) -> Iterator[None]:
    """Adds the time of what is done within to the search's `seconds`; a kill loses that since the last one."""
    started = time.monotonic()
    try:
        yield
    finally:
        known = begun(search)
        known["seconds"] += time.monotonic() - started
        files.write(search.folder / ASKED, json.dumps(known, indent=1))


def best_of(trials: list[Trial]) -> Trial:
    """The one with the highest value, of equal ones the first; a `UserError` where none has one."""
    valued = [one for one in trials if not math.isnan(one.value)]
    if not valued:
        why = next((one.why for one in trials if one.why), "none came to the end of an epoch")
        raise UserError("search", f"no trial has a value: {why}")
    return max(valued, key=lambda one: (one.value, -one.number))


def confirmed(search: Search, best: Trial) -> dict[str, list[dict[str, float]]]:
    """Base and best, trained in full under the seeds that the search did not see: value and epoch of each."""
    found: dict[str, list[dict[str, float]]] = {}
    for name, drawn in (("base", {}), ("best", best.drawn)):
        found[name] = []
        for seed in search.asked.confirm:
            folder = search.folder / "confirm" / f"{name}-{seed}"
            folder.mkdir(parents=True, exist_ok=True)
            curve = [*trial.epochs(search.parameters(drawn, seed), search.place, folder, f"{name}, seed {seed}")]
            found[name].append({"seed": seed, "value": curve[-1].best, "epochs": len(curve)})
    return found


def finish(search: Search, trials: list[Trial], engine: str) -> dict[str, Any]:
    """Write what was found, compare the best with the base and write that too; returns it. A `UserError` where one of
    these can't be trained under another seed leaves all else written."""
    from ecglib.tuning import importance

    best, path = best_of(search.comparable(trials)), paths.search(search.name)
    asked = search.asked.model_dump(exclude={"experiment", "title", "in_book", "quick", "confirm"})
    states, data = [one.state for one in trials], trial.data_of(search.base)
    found: dict[str, Any] = {
        "name": search.name,
        **asked,
        "tuned": search.tuned,
        "engine": engine,
        "states": {name: states.count(name) for name in ("finished", "stopped", "failed")},
        "epochs": {
            "trial": search.epochs,
            "run": sum(len(one.curve) for one in trials),
            "full": search.epochs * sum(bool(one.curve) for one in trials),
        },
        "seconds": round(begun(search)["seconds"], 1),
        "best": {"trial": best.number, "value": best.value, "epochs": len(best.curve), "drawn": best.drawn},
        "confirmed": {},
        "importances": importance.of(search, trials),
        "data": data.fingerprint,
        "sample": data.sample,
        "precision": search.place.precision,
        "hardware": device.hardware(torch.device(search.place.device)),
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "created": provenance.now(),
    }
    with files.writing(path.with_suffix(".parquet")) as temporary:
        table(trials).to_parquet(temporary, index=False, compression="zstd")
    write_parameters(search, best)
    _write(path, found)
    return _write(path, found | {"confirmed": confirmed(search, best)})


def _write(path: Path, found: dict[str, Any]) -> dict[str, Any]:
    files.write(path, "\n".join(results.json_lines(found)) + "\n")
    return found


def table(trials: list[Trial]) -> pd.DataFrame:
    """A row for every epoch of every trial, and one with epoch 0 of a trial without any: `trial, state, why, drawn`
    (JSON), `epoch, value, best, seconds`."""
    rows = []
    for one in trials:
        own = {"trial": one.number, "state": one.state, "why": one.why, "drawn": json.dumps(one.drawn)}
        rows += [own | asdict(epoch) for epoch in one.curve or [Epoch(0, math.nan, math.nan, 0.0)]]
    kinds = {"trial": "int32", "epoch": "int32", "value": "float64", "best": "float64", "seconds": "float32"}
    return pd.DataFrame(rows).astype(kinds)


def trials_of(stored: pd.DataFrame) -> list[Trial]:
    """The trials of such a table."""
    found = []
    for number, rows in stored.groupby("trial"):
        first = rows.iloc[0]
        curve = [Epoch(*one) for one in rows[[one.name for one in fields(Epoch)]].itertuples(index=False) if one.epoch]
        found.append(Trial(int(str(number)), json.loads(first["drawn"]), first["state"], curve, first["why"]))
    return found


def write_parameters(search: Search, best: Trial) -> None:
    """Write the experiment of the best parameters: the base's own file, with what was found over it."""
    base = config.load(search.asked.base)
    assert isinstance(base, Trained)
    fixed = {name: value for name, value in search.asked.fixed.items() if name not in HOW_MUCH}
    p = spaces.applied(base.model_copy(update=fixed), best.drawn)
    own = config.load_yaml(paths.params() / f"{search.asked.base}.yaml")
    names = {*own, *fixed, *(name for name in best.drawn if not name.startswith(OPTION))} - {"experiment", "title"}
    values = {"experiment": search.tuned, "title": f"{base.title}, tuned", "in_book": False}
    given = p.model_dump()
    values |= {name: given[name] for name in type(p).model_fields if name in names}
    if p.model_options:
        values["model_options"] = dict(p.model_options)
    if search.asked.metric != METRICS[search.notebook][0]:
        values["selection"] = search.asked.metric
    kept = {name: value for name, value in values.items() if name not in p.idle()}
    head = f"# The best of {search.asked.experiment}, a search over {search.asked.base}.\n"
    text = head + yaml.safe_dump(kept, sort_keys=False, allow_unicode=True, width=120)
    files.write(paths.params() / f"{search.tuned}.yaml", text)
