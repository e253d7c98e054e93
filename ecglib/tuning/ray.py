"""The engine of a cluster, or of one machine as a cluster: Ray Tune.

Trials are actors of Ray, with their share of processors and GPUs; data is prepared in this process and put into Ray's
object store once, from where every machine has one copy that its trials read. Ray's state and that of the trials lie in
the search's folder, which machines of a cluster see at the same path. What Ray is told of a trial after each epoch is
its whole curve: whatever is repeated after a kill, an epoch is there once.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout, suppress
from dataclasses import astuple
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

from ecglib import cluster, files
from ecglib.errors import UserError
from ecglib.experiment.verify import OF_DIGEST
from ecglib.tuning import local
from ecglib.tuning import trial as trials
from ecglib.tuning.search import Search, Trial
from ecglib.tuning.space import Dimension, Values
from ecglib.tuning.trial import Epoch

NAME: Final = "ray"
"""The folder, in the search's, of what Ray keeps."""
BEGUN: Final = "ray.json"
"""The file, in the search's folder, of what was asked at the beginning of what Ray can't change when it goes on."""
UNCHANGED: Final = ("trials", "concurrency", "budget", "cpus", "gpus")
DEATHS: Final = 2
"""Processes, or machines, that a trial may lose before it has failed."""
STATE: Final = "state"
"""The folder, in a trial's, of its training, which lives as long as the search. Ray's own checkpoints hold no more than
how far it was: a driver that was killed may remember one that Ray has replaced since."""
REPORTED: Final = "reported.json"
"""The file of such a checkpoint, with the number of epochs that Ray was told of."""
SCORE: Final = "score"


def run(search: Search, look: Callable[[list[Trial]], None], address: str = "") -> list[Trial]:
    """Run the search to its end on the cluster at an address (see `cluster.joined`), or go on with it; `look` is given
    all trials from time to time. Returns them. A `UserError` where no machine has what a trial asks for, where it went
    on with other trials, budget or resources than it was begun with, and where Ray fails."""
    kept = search.folder / NAME
    begun = any(kept.glob("experiment_state-*.json"))
    if begun:
        refuse_other_amount(search)
    with cluster.joined(address) as ray:
        from ray import tune

        cluster.refuse_too_much(
            {"CPU": search.asked.cpus, "GPU": search.asked.gpus}, cluster.nodes(ray), "resources of a trial"
        )
        refuse_other_device(search)
        of_trial = tune.with_parameters(_train, search=search, data=shared(ray, search))
        trainable = tune.with_resources(of_trial, {"cpu": search.asked.cpus, "gpu": search.asked.gpus})
        if not begun:
            shutil.rmtree(kept, ignore_errors=True)
            asked = search.asked.model_dump(include={*UNCHANGED})
            files.write(search.folder / BEGUN, json.dumps(asked))
        try:
            tuner = tune.Tuner.restore(str(kept), trainable) if begun else tuner_of(tune, search, trainable)
            with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):  # Ray's own tables
                results = _watched(search, look, tuner.fit)
        except Exception as error:  # Tune has no common kind for what it can't read, or do
            do = "--resume goes on with what is done, --fresh begins anew"
            raise UserError(cluster.WHERE, f"Ray failed ({cluster.line(error)})", do=do) from error
        made = []
        for one in results:
            status = "TERMINATED" if one.error is None else "ERROR"
            why = "" if one.error is None else cluster.line(one.error)
            number = int(Path(one.path).name.partition("_")[0])  # Ray adds some letters to a folder that was there
            made.append(_trial(search, number, one.config or {}, one.metrics or {}, status, why))
    found = sorted((one for one in made if one is not None), key=lambda one: one.number)
    for one in found:
        if one.state == "stopped" and one.number in WATCH["running"]:
            one.why = "the time was up"
    look(found)
    for state in kept.glob(f"*/{STATE}"):
        shutil.rmtree(state)
    return found


def refuse_other_amount(search: Search) -> None:
    """Raise UserError where the search was begun with other trials, budget or resources."""
    before, now = json.loads((search.folder / BEGUN).read_text(encoding="utf-8")), search.asked.model_dump()
    if differs := [name for name in UNCHANGED if before[name] != now[name]]:
        said = ", ".join(f"{name}: {before[name] or 'none'}" for name in differs)
        raise UserError(search.folder, f"begun with {said}", "the same, which Ray keeps", "--fresh begins anew")


def refuse_other_device(search: Search) -> None:
    """Raise UserError where trials get no GPU though their precision was chosen on one, or the other way round."""
    device, gpus = search.place.device, search.asked.gpus
    if device == "cuda" and not gpus:
        raise UserError("gpus: 0", "a trial is to train on a GPU", "a share of one, such as 0.25")
    if device != "cuda" and gpus:
        found = f"a trial is to train on {device}, as this machine would"
        raise UserError(f"gpus: {gpus:g}", found, "gpus: 0", "or start the search on a machine with a GPU")


def tuner_of(tune: Any, search: Search, trainable: Any) -> Any:
    asked, points = search.asked, first_draws(search)
    how = tune.TuneConfig(
        metric=SCORE,
        mode="max",
        num_samples=len(points) if asked.searcher == "grid" else asked.trials,
        search_alg=searcher(search, points),
        scheduler=_scheduler(search),
        max_concurrent_trials=asked.concurrency,
        reuse_actors=True,
        trial_dirname_creator=_number,
    )
    kept = tune.RunConfig(
        name=NAME,
        storage_path=str(search.folder.resolve()),
        failure_config=tune.FailureConfig(max_failures=DEATHS),
        callbacks=[_callback()],
        stop=_stopper(),
        verbose=0,
    )
    return tune.Tuner(trainable, tune_config=how, run_config=kept)


def first_draws(search: Search) -> list[Values]:
    """The draws that come first: those of a grid, or the base's own values."""
    if search.asked.searcher == "grid":
        return search.space.grid(search.base)[: search.asked.trials]
    return [] if search.of_base is None else [search.of_base]


def searcher(search: Search, points: list[Values]) -> Any:
    """Ray's searcher, which draws these points first."""
    asked = search.asked
    judged: dict[str, Any] = {"metric": SCORE, "mode": "max"}
    if asked.searcher == "hyperopt":
        from ray.tune.search.hyperopt import HyperOptSearch

        space = {one.name: _hyperopt(one) for one in search.space.dimensions}
        first = [{one.name: to_hyperopt(one, point) for one in search.space.dimensions} for point in points]
        known: dict[str, Any] = {"n_initial_points": local.STARTUP, "random_state_seed": asked.seed}
        return HyperOptSearch(space, points_to_evaluate=first or None, **known, **judged)
    from ray.tune.search.optuna import OptunaSearch

    first = [local.encoded(search, point) for point in points]
    draw = partial(local.suggested, search)
    return OptunaSearch(draw, points_to_evaluate=first, sampler=local.sampler(search, 0), **judged)


def _hyperopt(one: Dimension) -> Any:
    """A parameter as HyperOpt draws it: of one with steps, the number of its value."""
    from hyperopt import hp

    if one.kind == "choice":
        return hp.choice(one.name, [one.encoded(value) for value in one.choices])
    if one.step is not None or one.kind == "int":
        return hp.uniformint(one.name, 0, len(one.grid) - 1)
    return hp.loguniform(one.name, math.log(one.low), math.log(one.high)) if one.log else hp.uniform(
        one.name, one.low, one.high
    )  # fmt: skip


def to_hyperopt(one: Dimension, point: Values) -> Any:
    """A parameter's value as HyperOpt has it; any where the draw has none."""
    value = point.get(one.name, one.ends[0])
    if one.kind == "choice":
        return one.encoded(value)
    if one.step is not None or one.kind == "int":
        return min(range(len(one.grid)), key=lambda i: abs(one.grid[i] - value))
    return value


def drawn(search: Search, config: Mapping[str, Any]) -> Values:
    """The parameters that Ray's configuration of a trial stands for. HyperOpt draws all, of which those are taken that
    are drawn; Optuna draws these alone."""
    if search.asked.searcher != "hyperopt":
        return dict(config)
    every: Values = {}
    for one in search.space.dimensions:
        raw = config[one.name]
        if one.kind == "choice":
            every[one.name] = one.decoded(raw)
        elif one.step is not None or one.kind == "int":
            every[one.name] = one.grid[int(raw)]
        else:
            every[one.name] = min(max(round(raw), int(one.low)), int(one.high)) if one.whole else one.value(raw)
    return search.space.active(every, search.base)


def _scheduler(search: Search) -> Any:
    from ray.tune import schedulers

    asked, most = search.asked, search.epochs
    if asked.scheduler == "asha":
        grace = min(asked.grace, most)
        return schedulers.ASHAScheduler(
            time_attr="epoch", max_t=most, grace_period=grace, reduction_factor=asked.reduction
        )
    if asked.scheduler == "hyperband":
        return schedulers.HyperBandScheduler(time_attr="epoch", max_t=most, reduction_factor=asked.reduction)
    if asked.scheduler == "median":
        return schedulers.MedianStoppingRule(time_attr="epoch", grace_period=asked.grace, min_samples_required=5)
    return None


def _number(trial: Any) -> str:
    """Of Ray's trial, from 0 on in the order in which they were made."""
    return str(int(trial.experiment_tag.partition("_")[0]) - 1)


def _trial(
    search: Search, number: int, config: Mapping[str, Any], last: Mapping[str, Any], status: str, why: str = ""
) -> Trial | None:
    """A trial, from what was told last of it; None of one that never began."""
    curve, why = [Epoch(int(one[0]), *one[1:]) for one in last.get("curve", [])], why or last.get("why", "")
    if not config or (status == "PENDING" and not curve) or (status == "TERMINATED" and not curve and not why):
        return None
    state = "failed" if why else "running"
    if status == "TERMINATED" and not why:
        state = "finished" if last.get("ended") or len(curve) >= search.epochs else "stopped"
    return Trial(number, drawn(search, config), state, curve, why)


WATCH: dict[str, Any] = {"seen": None, "running": frozenset(), "deadline": math.inf}
"""Of the search that runs in this process: what is given Ray's trials after each step, the numbers of those that ran
when the time was up, and when that is. Ray keeps its callbacks and stoppers with the search and reads them when it goes
on, so that they can hold nothing themselves."""


def _watched(search: Search, look: Callable[[list[Trial]], None], fit: Callable[[], Any]) -> Any:
    """What Ray found; meanwhile `look` is given the trials."""
    looked = 0.0

    def seen(every: list[Any]) -> None:
        nonlocal looked
        if (now := time.monotonic()) < looked + local.PAUSE:
            return
        looked = now
        if now < WATCH["deadline"] < math.inf:
            WATCH["running"] = frozenset(int(_number(one)) for one in every if not one.is_finished())
        found = (_trial(search, int(_number(one)), one.config, one.last_result or {}, one.status) for one in every)
        look([one for one in found if one is not None])

    WATCH.update(seen=seen, running=frozenset(), deadline=time.monotonic() + search.budget)
    results = fit()
    if time.monotonic() < WATCH["deadline"]:
        WATCH["running"] = frozenset()
    return results


def _callback() -> Any:
    from ray.tune import Callback

    class Looking(Callback):
        def on_step_end(self, iteration: int, trials: list[Any], **_: Any) -> None:
            from ecglib.tuning import ray as here  # Ray would keep a copy of a name of this module

            here.WATCH["seen"](trials)

    return Looking()


def _stopper() -> Any:
    """Ends the search when its time is up. Ray's own would count the time in which a search that was killed lay."""
    from ray.tune import Stopper

    class Ending(Stopper):
        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            return False

        def stop_all(self) -> bool:
            from ecglib.tuning import ray as here  # as above

            return bool(time.monotonic() > here.WATCH["deadline"])

    return Ending()


def shared(ray: Any, search: Search) -> dict[str, Any]:
    """Name of a set of data -> where it is in the object store, of all that trials may rest on; a set that can't be
    prepared is left to the trial that asks for it, and so are all where there is no end of them."""
    of_data = [one for one in search.space.dimensions if one.name in OF_DIGEST[type(search.base)]]
    put: dict[str, Any] = {}
    try:
        grids = [one.grid for one in of_data]
    except UserError:
        return put
    for values in itertools.product(*grids):
        p = search.base.model_copy(update=dict(zip((one.name for one in of_data), values, strict=True)))
        if (name := trials.name_of_data(p)) not in put:
            with suppress(UserError):
                put[name] = ray.put(trials.handed(p))
    return put


# --- in a worker ------------------------------------------------------------------------------------------------------


def _train(config: Values, search: Search, data: Mapping[str, Any]) -> None:
    """A trial, which tells Ray of each epoch, with a checkpoint."""
    import ray
    from ray import tune

    torch.set_num_threads(search.asked.cpus)
    folder, curve, ended = Path(tune.get_context().get_trial_dir()) / STATE, list[Epoch](), {"ended": True, "why": ""}
    folder.mkdir(exist_ok=True)
    known = _known(tune.get_checkpoint())
    try:
        p = search.parameters(drawn(search, config))
        if (name := trials.name_of_data(p)) in data:
            trials.take(p, ray.get(data[name]))
        for epoch in trials.epochs(p, search.place, folder):
            curve.append(epoch)
            if epoch.epoch > known:
                with tempfile.TemporaryDirectory(prefix="ecglib-trial-") as scratch:
                    files.write(Path(scratch) / REPORTED, json.dumps(epoch.epoch))
                    tune.report(_row(curve), checkpoint=tune.Checkpoint.from_directory(scratch))
    except UserError as error:  # such as a loss that is no number any more: not to be tried again
        ended["why"] = str(error)
    tune.report(_row(curve) | ended)


def _known(checkpoint: Any) -> int:
    """Epochs that Ray was told of before this checkpoint."""
    if checkpoint is None:
        return 0
    with checkpoint.as_directory() as folder:
        return int(json.loads((Path(folder) / REPORTED).read_text(encoding="utf-8")))


def _row(curve: list[Epoch]) -> dict[str, Any]:
    """What Ray is told: the metric that it judges by, 0 of a trial that failed at once, and the whole curve."""
    best = curve[-1].best if curve else 0.0
    return {SCORE: max(best, 0.0), "epoch": len(curve), "curve": [list(astuple(one)) for one in curve]}
