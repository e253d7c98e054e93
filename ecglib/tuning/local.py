"""The engine of one machine: Optuna in a few worker processes, and a journal file on disk.

The journal is the whole state. A trial is locked by the worker that runs it, and a lock falls with its process, however
that ended: a trial that is running and not locked was left, and whoever finds it goes on from its checkpoint.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from filelock import FileLock, Timeout

from ecglib import files, paths
from ecglib.errors import UserError
from ecglib.tuning import search as searches
from ecglib.tuning import trial as trials
from ecglib.tuning.search import Search, Trial
from ecglib.tuning.space import Dimension, Values
from ecglib.tuning.trial import Epoch

if TYPE_CHECKING:
    import optuna
    import optuna.pruners
    import optuna.samplers
    import optuna.trial
    from optuna import Study

JOURNAL: Final = "journal.log"
OUT_OF_TIME: Final = "the time was up"
ATTEMPTS: Final = 3
"""Processes that may die with a trial before it has failed."""
PAUSE: Final = 0.5
STARTUP: Final = 10
"""Trials at random before the estimator has something to go by."""


def library() -> Any:
    """Optuna; a `UserError` where it is not installed."""
    try:
        import optuna
    except ImportError:
        do = 'pip install "ecglib-book[tune]"'
        raise UserError("ecglib tune", "optuna is not installed", "the extra tune", do) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    return optuna


def _mend(journal: Path) -> None:
    """Cut off what a killed process left of a line, which the next one would go on in."""
    if journal.is_file() and not (whole := journal.read_bytes()).endswith(b"\n"):
        files.write(journal, whole[: whole.rfind(b"\n") + 1])


@dataclass(frozen=True)
class Journal:
    """A search's journal, opened: Optuna's study, and the storage that it lies in."""

    study: Study
    storage: Any

    def again(self, number: int) -> optuna.trial.Trial:
        """A trial of the study, to go on with."""
        study = self.storage.get_study_id_from_name(self.study.study_name)
        found = self.storage.get_trial_id_from_study_id_trial_number(study, number)
        made: optuna.trial.Trial = library().trial.Trial(self.study, found)
        return made


def opened(search: Search) -> Journal:
    """The journal of a search, made where it is not there."""
    optuna = library()
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    # falls with its process, where Optuna's own, a file, would stay for half a minute
    lock: Any = FileLock(search.folder / f"{JOURNAL}.lock")
    storage = JournalStorage(JournalFileBackend(str(search.folder / JOURNAL), lock_obj=lock))
    given = {"pruner": _pruner(search), "load_if_exists": True}
    return Journal(optuna.create_study(storage=storage, study_name=search.name, direction="maximize", **given), storage)


def _pruner(search: Search) -> optuna.pruners.BasePruner:
    pruners, asked = library().pruners, search.asked
    grace, reduction = asked.grace, asked.reduction
    made: optuna.pruners.BasePruner
    if asked.scheduler == "asha":
        made = pruners.SuccessiveHalvingPruner(min_resource=grace, reduction_factor=reduction)
    elif asked.scheduler == "hyperband":
        made = pruners.HyperbandPruner(grace, search.epochs, reduction)
    elif asked.scheduler == "median":
        made = pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=grace)
    else:
        made = pruners.NopPruner()
    return made


def sampler(search: Search, number: int) -> optuna.samplers.BaseSampler:
    """Who draws a trial's parameters; its seed is of the trial, so that workers do not draw the same."""
    samplers, seed = library().samplers, search.asked.seed * 100_003 + number
    made: optuna.samplers.BaseSampler
    if search.asked.searcher == "gp":
        made = samplers.GPSampler(seed=seed, n_startup_trials=STARTUP)
    elif search.asked.searcher == "tpe":
        known = {"multivariate": True, "group": True, "constant_liar": True, "n_startup_trials": STARTUP}
        made = samplers.TPESampler(seed=seed, **known)
    else:
        made = samplers.RandomSampler(seed=seed)
    return made


def suggested(search: Search, of: optuna.trial.Trial) -> Values:
    """The parameters of a trial; what it was given before, it is given again."""
    drawn: Values = {}
    for one in search.space.dimensions:
        if search.space.is_drawn(one, drawn, search.base):
            drawn[one.name] = _suggest(of, one)
    return drawn


def _suggest(of: optuna.trial.Trial, one: Dimension) -> Any:
    if one.kind == "choice":
        return one.decoded(of.suggest_categorical(one.name, [one.encoded(value) for value in one.choices]))
    if one.whole:
        step = int(one.step or 1)
        return of.suggest_int(one.name, int(one.low), int(one.high), step=step, log=one.log)
    return one.value(of.suggest_float(one.name, one.low, one.high, step=one.step, log=one.log))


def encoded(search: Search, drawn: Values) -> Values:
    """A draw as Optuna keeps it."""
    return {name: search.space[name].encoded(value) for name, value in drawn.items()}


def run(search: Search, look: Callable[[list[Trial]], None]) -> list[Trial]:
    """Run the search to its end, or go on with it; `look` is given all trials from time to time. Returns them."""
    _mend(search.folder / JOURNAL)
    journal = opened(search)
    study = journal.study
    if search.asked.searcher == "grid":
        known = [one.user_attrs.get("given") for one in study.trials]
        for number, drawn in enumerate(search.space.grid(search.base)[: search.asked.trials]):
            if number not in known:
                study.enqueue_trial(encoded(search, drawn), user_attrs={"given": number})
    elif not study.trials and search.of_base is not None:
        study.enqueue_trial(encoded(search, search.of_base))
    deadline = time.time() + search.budget
    workers = {slot: start_worker(search, slot, deadline) for slot in range(_at_once(search))}
    most, deaths, epochs = ATTEMPTS * len(workers), 0, 0
    try:
        while workers:
            time.sleep(PAUSE)
            found = trials_of(study)
            if (now := sum(len(one.curve) for one in found)) > epochs:
                epochs, deaths = now, 0
            for slot, worker in list(workers.items()):
                if (code := worker.poll()) is None:
                    continue
                del workers[slot]
                if code:
                    deaths += 1
                    if deaths > most:
                        raise UserError("ecglib tune", f"its workers end at once: {_last_words(search, slot)}")
                    note_death(journal, slot, _last_words(search, slot))
                    workers[slot] = start_worker(search, slot, deadline)
            look(found)
    finally:
        for worker in workers.values():
            worker.terminate()
        for worker in workers.values():
            with suppress(subprocess.TimeoutExpired):
                worker.wait(10)
    for one in trials_of(study):
        if one.state == "running":  # it was left by a kill, and the time was up before anybody went on with it
            journal.again(one.number).set_user_attr("why", OUT_OF_TIME)
            states = library().trial.TrialState
            study.tell(one.number, state=states.PRUNED if one.curve else states.FAIL)
    look(found := trials_of(study))
    return found


def refuse_too_much(search: Search) -> None:
    """Raise UserError where a trial asks for more than this machine has."""
    cpus, gpus = os.cpu_count() or 1, torch.cuda.device_count()
    if search.asked.cpus > cpus:
        raise UserError(f"cpus: {search.asked.cpus}", f"this machine has {cpus}", "as many, or fewer")
    if search.asked.gpus > gpus:
        raise UserError(f"gpus: {search.asked.gpus:g}", f"this machine has {gpus or 'none'}", "as many, or fewer")


def _at_once(search: Search) -> int:
    """How many trials this machine has processors, and GPUs, for at once."""
    asked = search.asked
    most = min(asked.concurrency, (os.cpu_count() or 1) // asked.cpus)
    return min(most, int(torch.cuda.device_count() / asked.gpus)) if asked.gpus else most


def start_worker(search: Search, slot: int, deadline: float) -> subprocess.Popen[bytes]:
    """A process that runs trials until there are enough of them, or it is after `deadline`."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(search.asked.cpus))
    if search.asked.gpus and (n := torch.cuda.device_count()) > 1:
        threads["CUDA_VISIBLE_DEVICES"] = str(slot % n)
    # This process has prepared the same data, and told what they lack; the worker's own lines go to a file.
    own = {"ECGLIB_ROOT": str(paths.root()), "ECGLIB_PROGRESS": str(search.folder / f"worker-{slot}.txt")}
    limit = "" if math.isinf(deadline) else str(deadline)
    command = [sys.executable, "-m", "ecglib.tuning.local", str(search.folder), str(os.getpid()), str(slot), limit]
    with _errors(search, slot).open("a", encoding="utf-8") as errors:
        return subprocess.Popen(
            command, env=os.environ | own | threads, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors
        )


def _errors(search: Search, slot: int) -> Path:
    return search.folder / f"worker-{slot}.err"


def _last_words(search: Search, slot: int) -> str:
    lines = _errors(search, slot).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "without a word"


def note_death(journal: Journal, slot: int, words: str) -> None:
    """Note of the trial that a worker ran that it died with it, and its last words. That the whole search was killed is
    no fault of it."""
    for one in journal.study.get_trials(deepcopy=False, states=[library().trial.TrialState.RUNNING]):
        if one.user_attrs.get("slot") == slot:
            of = journal.again(one.number)
            of.set_user_attr("died", one.user_attrs.get("died", 0) + 1)
            of.set_user_attr("words", words)


STATES: Final = {"RUNNING": "running", "COMPLETE": "finished", "PRUNED": "stopped", "FAIL": "failed"}


def trials_of(study: Study) -> list[Trial]:
    """The trials of a study, but for those that wait."""
    found = []
    for one in study.get_trials(deepcopy=False):
        if one.state.name not in STATES:
            continue
        attributes = one.user_attrs
        curve = [Epoch(*each) for each in attributes.get("curve", [])]
        found.append(
            Trial(one.number, attributes.get("drawn", {}), STATES[one.state.name], curve, attributes.get("why", ""))
        )
    return found


# --- in a worker ------------------------------------------------------------------------------------------------------


def work(folder: Path, slot: int, deadline: float) -> None:
    """Run trials until there are enough of them."""
    search = searches.opened(folder)
    journal = opened(search)
    while time.time() < deadline:
        found = next_trial(search, journal, slot)
        if found is None:
            return
        of, lock = found
        try:
            _run_trial(search, journal.study, of, deadline)
        finally:
            lock.release()


def next_trial(search: Search, journal: Journal, slot: int) -> tuple[optuna.trial.Trial, FileLock] | None:
    """A trial that was left, or a new one; None where there are enough."""
    study, states = journal.study, library().trial.TrialState
    with files.lock(search.folder / "next.lock"):
        there = study.get_trials(deepcopy=False)
        for one in there:
            if one.state == states.RUNNING and (lock := _locked(search, one.number)) is not None:
                of = journal.again(one.number)
                of.set_user_attr("slot", slot)
                if (died := one.user_attrs.get("died", 0)) < ATTEMPTS:
                    return of, lock
                of.set_user_attr("why", f"its process died {died} times: {one.user_attrs['words']}")
                study.tell(of, state=states.FAIL)
                lock.release()
        begun = [one for one in there if one.state != states.WAITING]
        waiting = len(there) > len(begun)
        if len(begun) >= search.asked.trials or (search.asked.searcher == "grid" and not waiting):
            return None
        study.sampler = sampler(search, len(begun))
        of = study.ask()
        of.set_user_attr("slot", slot)
        lock = _locked(search, of.number)
        assert lock is not None
        return of, lock


def _locked(search: Search, number: int) -> FileLock | None:
    """A trial's lock, where nobody holds it."""
    (search.folder / "trials").mkdir(exist_ok=True)
    lock = FileLock(search.folder / "trials" / f"{number}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return None
    return lock


def _run_trial(search: Search, study: Study, of: optuna.trial.Trial, deadline: float) -> None:
    states = library().trial.TrialState
    folder = search.folder / "trials" / str(of.number)
    folder.mkdir(exist_ok=True)
    drawn = suggested(search, of)
    of.set_user_attr("drawn", drawn)
    curve: list[list[float]] = of.user_attrs.get("curve", [])
    state, title = states.COMPLETE, f"trial {of.number}"
    try:
        for epoch in trials.epochs(search.parameters(drawn), search.place, folder, title):
            if epoch.epoch <= len(curve):
                continue
            curve.append(list(astuple(epoch)))
            of.set_user_attr("curve", curve)
            of.report(epoch.best, epoch.epoch)
            if epoch.epoch < search.epochs and of.should_prune():
                state = states.PRUNED
                break
            if time.time() > deadline and epoch.epoch < search.epochs:
                of.set_user_attr("why", OUT_OF_TIME)
                state = states.PRUNED
                break
    except UserError as error:  # such as a loss that is no number any more
        of.set_user_attr("why", str(error))
        study.tell(of, state=states.FAIL)
    else:
        study.tell(of, curve[-1][2] if state == states.COMPLETE else None, state=state)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    files.end_with(int(sys.argv[2]))
    try:
        work(Path(sys.argv[1]), int(sys.argv[3]), float(sys.argv[4] or "inf"))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        raise SystemExit(2) from None
