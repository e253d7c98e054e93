"""Experiments -> better parameters: spaces, trials, and the engines that run them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ecglib import config, files
from ecglib.config import TuningParameters
from ecglib.errors import UserError, nearest


def load(search: str, *, profile: str = "quick", overrides: Mapping[str, Any] | None = None) -> TuningParameters:
    """The parameters of a search, `tuning/<name>` or a file, with those of its quick profile over them where that is
    asked for; the file may be a sweep of Weights & Biases (see `tuning.sweeps`). A `UserError` where there is no such
    search, or it can't be read."""
    from ecglib.tuning import sweeps

    if profile not in ("quick", "full"):
        raise UserError(f"--profile {profile}", "no profile of a search", "quick or full")
    path = Path(search)
    if path.suffix in (".yaml", ".yml", ".json"):
        values = sweeps.load_json(path) if path.suffix == ".json" else config.load_yaml(path)
        if sweeps.is_sweep(values):
            values, said = sweeps.converted(values, path, (overrides or {}).get("base", ""))
            for line in said:
                print(f"{path}: {line}", file=sys.stderr)
        values.setdefault("experiment", f"tuning/{path.stem}")
        asked = config.check("tuning", values, path)
    else:
        asked = config.load(_named(search))
    assert isinstance(asked, TuningParameters)
    laid = dict(asked.quick) if profile == "quick" else {}
    if "fixed" in laid:
        laid["fixed"] = asked.fixed | laid["fixed"]
    given = asked.model_dump() | laid | {"profile": profile} | dict(overrides or {})
    checked = config.check("tuning", given, search)
    assert isinstance(checked, TuningParameters)
    return checked


def _named(search: str) -> str:
    """The experiment `tuning/<name>` that is meant; a `UserError` where there is none."""
    name = f"tuning/{search.removeprefix('tuning/')}"
    known = [one for one in config.experiments() if one.startswith("tuning/")]
    if name not in known:
        raise UserError(search, "no such search", f"one of {', '.join(known)}, or a file", nearest(name, known))
    return name


def run(
    asked: TuningParameters,
    engine: str = "local",
    *,
    resume: bool = False,
    fresh: bool = False,
    address: str = "",
    wandb: str = "",
) -> dict[str, Any]:
    """Search, compare the best with the base under other seeds, and write what was found (see `tuning.search`), which
    is returned. The engine is `local` or `ray`, that of the cluster at an address (see `cluster.joined`). Trials go to
    the project `wandb` of Weights & Biases, where one is named. A `UserError`, before anything is trained, where
    something does not fit."""
    from ecglib import cluster
    from ecglib.tuning import local, search, wandb_log, watch

    local.library()
    if wandb:
        wandb_log.library()
    if address and engine != "ray":
        raise UserError("--address", "there is no cluster without --engine ray", do="add --engine ray")
    if engine == "ray":
        cluster.library(address)
    elif asked.searcher == "hyperopt":
        raise UserError("searcher: hyperopt", "needs --engine ray")
    prepared = search.prepared(asked)
    if engine == "local":
        local.refuse_too_much(prepared)
    busy = UserError(prepared.folder, "another process runs this search", do="wait for it to end")
    with files.lock(prepared.folder.with_suffix(".lock"), 0, busy):
        search.begin(prepared, engine, resume=resume, fresh=fresh)
        logs = watch.logs(prepared) | ({"Weights & Biases": wandb_log.Log(prepared, wandb).log} if wandb else {})
        shown = watch.Watch(prepared, logs)
        with search.timed(prepared), shown.live or nullcontext():
            if engine == "ray":
                from ecglib.tuning import ray

                trials = ray.run(prepared, shown.look, address)
            else:
                trials = local.run(prepared, shown.look)
        return search.finish(prepared, trials, engine)
