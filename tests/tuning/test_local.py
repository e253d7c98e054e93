"""The engine of one machine: trials from stored curves, and whole searches that are killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pandas as pd
import pytest
import yaml
from projects import ROOT

from ecglib import config, files, paths, tracking, tuning
from ecglib.config import TuningParameters
from ecglib.errors import UserError
from ecglib.experiment.recipes import Trained
from ecglib.tuning import local, search, trial
from ecglib.tuning.search import Search, Trial
from ecglib.tuning.trial import Epoch

CURVES = ROOT / "book" / "searches" / "curves.parquet"
CurveOf = Callable[[Trained], Iterable[float]]
SMALL: dict[str, Any] = {
    "experiment": "tuning/small",
    "base": "heartbeat/baseline",
    "fixed": {"max_epochs": 4, "max_beats": 1000, "beats_per_epoch": 200, "patience": 4, "model_options": {"width": 8}},
    "space": {
        "learning_rate": {"log-uniform": [0.001, 0.02]},
        "model_options.width": {"int": [4, 8], "step": 2},
    },
    "trials": 6,
}


def asked(**changes: Any) -> TuningParameters:
    return TuningParameters(**SMALL | changes)


def begun(**changes: Any) -> Search:
    made = search.prepared(asked(**changes))
    search.begin(made, resume=False, fresh=False)
    return made


def searched(**changes: Any) -> list[Trial]:
    return local.run(begun(**changes), lambda trials: None)


@pytest.fixture
def replay(project: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[CurveOf], list[int]]:
    """Workers are calls, and trials take their curves from a function, which is given; returns the epochs that were
    asked for."""

    def worker(given: Search, slot: int, deadline: float) -> Mock:
        local.work(given.folder, slot, deadline)
        return Mock(**{"poll.return_value": 0})

    def replayed(curve_of: CurveOf) -> list[int]:
        ran: list[int] = []

        def epochs(p: Trained, *_: object) -> Iterator[Epoch]:
            best = -1.0
            for number, value in enumerate(curve_of(p), 1):
                ran.append(number)
                best = max(best, value)
                yield Epoch(number, value, best, 0.1)

        monkeypatch.setattr(trial, "epochs", epochs)
        return ran

    monkeypatch.setattr(local, "start_worker", worker)
    monkeypatch.setattr(local, "PAUSE", 0.0)
    return replayed


def rising(p: Trained) -> list[float]:
    """Better the nearer the rate is to 0.005."""
    return [0.9 - abs(p.learning_rate - 0.005) * 10 + epoch / 100 for epoch in range(4)]


@pytest.mark.parametrize("searcher", ["tpe", "gp", "random"])
def test_a_search_finds_what_is_best_in_the_space(searcher: str, replay: Any) -> None:
    replay(rising)
    made = begun(searcher=searcher, trials=20, scheduler="none")
    looked: list[int] = []
    found = local.run(made, lambda trials: looked.append(len(trials)))
    assert [one.number for one in found] == list(range(20)) and looked[-1] == 20
    assert {one.state for one in found} == {"finished"} and all(len(one.curve) == 4 for one in found)
    assert found[0].drawn == made.of_base == {"learning_rate": 0.003, "model_options.width": 8}, "the base comes first"
    best = search.best_of(found)
    assert abs(best.drawn["learning_rate"] - 0.005) < 0.001
    assert len({json.dumps(one.drawn) for one in found}) == 20


def test_a_grid_is_tried_whole_and_each_point_once(replay: Any) -> None:
    replay(rising)
    space = {"learning_rate": {"choice": [0.002, 0.005]}, "model_options.width": {"int": [4, 8], "step": 2}}
    found = searched(searcher="grid", space=space, trials=100, scheduler="none")
    assert len(found) == 6 == len({json.dumps(one.drawn) for one in found})
    assert search.best_of(found).drawn["learning_rate"] == 0.005


@pytest.mark.parametrize("scheduler", ["asha", "hyperband", "median"])
def test_the_poor_are_stopped_early(scheduler: str, replay: Any) -> None:
    ran = replay(rising)
    found = searched(searcher="random", scheduler=scheduler, trials=20, reduction=2)
    stopped = [one for one in found if one.state == "stopped"]
    assert stopped and len(ran) == sum(len(one.curve) for one in found) < 20 * 4
    finished = [one.value for one in found if one.state == "finished"]
    assert max(finished) == max(one.value for one in found)


def test_trials_that_fail_are_told_and_do_not_end_the_search(replay: Any) -> None:
    def fails(p: Trained) -> list[float]:
        if p.learning_rate > 0.005:
            raise UserError("training", "the loss became nan in epoch 1")
        return rising(p)

    replay(fails)
    found = searched(searcher="random", scheduler="none")
    failed = [one for one in found if one.state == "failed"]
    assert len(found) == 6 and failed and all("loss became nan" in one.why for one in failed)
    assert all(one.drawn["learning_rate"] > 0.005 for one in failed)


def test_no_trial_begins_when_the_time_is_up(replay: Any) -> None:
    replay(rising)
    assert searched(budget="0s") == []
    with pytest.raises(UserError, match="no trial has a value"):
        search.best_of([])


def test_a_trial_that_was_left_goes_on_and_its_epochs_count_once(replay: Any) -> None:
    def dies(p: Trained) -> Iterator[float]:
        for number, value in enumerate(rising(p)):
            if number == 2 and not died:
                died.append(p)
                raise KeyboardInterrupt
            yield value

    died: list[Trained] = []
    replay(dies)
    made = begun(scheduler="none")
    with pytest.raises(KeyboardInterrupt):
        local.run(made, lambda trials: None)
    (left,) = local.trials_of(local.opened(made).study)
    assert left.state == "running" and [epoch.epoch for epoch in left.curve] == [1, 2]
    with (made.folder / local.JOURNAL).open("a") as journal:
        journal.write('{"half a line')
    found = local.run(made, lambda trials: None)
    assert [one.number for one in found] == list(range(6)) and found[0].drawn == left.drawn
    assert all([epoch.epoch for epoch in one.curve] == [1, 2, 3, 4] for one in found)


def test_a_trial_whose_process_dies_again_and_again_fails(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = begun()
    journal = local.opened(made)
    for _ in range(local.ATTEMPTS):
        found = local.next_trial(made, journal, 0)
        assert found is not None and found[0].number == 0
        found[1].release()
        local.note_death(journal, 0, "killed")
    found = local.next_trial(made, journal, 0)
    assert found is not None and found[0].number == 1
    found[1].release()
    (first, _) = local.trials_of(journal.study)
    assert first.state == "failed" and "died 3 times" in first.why


# --- successive halving on stored curves ------------------------------------------------------------------------------


def test_successive_halving_spends_a_part_and_keeps_the_best(replay: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the full curves of a random search over ecgnet, as they came, with the settings of its file."""
    full = search.trials_of(pd.read_parquet(CURVES))
    epochs = max(len(one.curve) for one in full)
    assert len(full) >= 40 and all(len(one.curve) == epochs for one in full)
    curves = iter(full)
    replay(lambda p: [epoch.value for epoch in next(curves).curve])
    monkeypatch.setattr(Search, "of_base", None)
    fixed = SMALL["fixed"] | {"max_epochs": epochs}
    found = searched(searcher="random", scheduler="asha", grace=2, reduction=4, trials=len(full), fixed=fixed)
    spent = sum(len(one.curve) for one in found) / (epochs * len(full))
    assert spent <= 0.4
    best = search.best_of(full)
    assert search.best_of(found).number == best.number and search.best_of(found).value == best.value


# --- what is checked before anything starts ---------------------------------------------------------------------------

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"base": "heartbeat/basline"}, "no such experiment; .*did you mean heartbeat/baseline"),
    ({"base": "imbalance/cnet"}, "no such experiment|it trains nothing"),
    ({"metric": "auroc"}, "metric: auroc: not of heartbeat"),
    ({"fixed": {"max_epoch": 3}}, "unknown parameter max_epoch"),
    ({"searcher": "gp", "space": {"imbalance": {"choice": ["none", "focal"]}, "focal_gamma": {"uniform": [1, 2],
      "when": {"imbalance": "focal"}}}}, "a space with when"),
    ({"searcher": "grid"}, "without a step"),
    ({"confirm": [0, 1]}, "confirm"),
    ({"grace": 4}, "grace: 4: every trial gets all 4 epochs"),
    ({"fixed": {"learning_rate": 0.1}}, "fixed: learning_rate: it is in the space too"),
    ({"fixed": {"test": True}}, "fixed: test: a search says that itself"),
    ({"experiment": "tuning/.."}, "tuning/NAME"),
    ({"experiment": "heartbeat/baseline"}, "tuning/NAME"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_what_does_not_fit_is_said_before_anything_starts(changes: dict[str, Any], said: str, project: Path) -> None:
    with pytest.raises(UserError, match=said) as caught:
        search.prepared(asked(**changes))
    assert "\n" not in str(caught.value) and not (project / "runs" / "tuning").exists()


def test_a_folder_with_another_search_is_not_gone_on_with(project: Path) -> None:
    first = begun()
    begun()  # nothing was tried yet
    local.opened(first)
    with pytest.raises(UserError, match="holds this search; --resume goes on with it"):
        begun()
    with pytest.raises(UserError, match="--fresh: --resume is given too"):
        search.begin(first, resume=True, fresh=True)
    with pytest.raises(UserError, match="begun with --engine local; --engine local goes on"):
        search.begin(first, "ray", resume=True, fresh=False)
    search.begin(search.prepared(asked(trials=9)), resume=True, fresh=False)
    assert search.begun(first)["asked"]["trials"] == 9
    changed = search.prepared(asked())
    vars(changed)["made_of"] = first.made_of | {"data": "of other files"}
    with pytest.raises(UserError, match=r"holds another search \(data differ\)"):
        search.begin(changed, resume=True, fresh=False)
    other = search.prepared(asked(space={"learning_rate": {"uniform": [0.001, 0.01]}}))
    with pytest.raises(UserError, match=r"holds another search \(space differ\)"):
        search.begin(other, resume=True, fresh=False)
    search.begin(other, resume=False, fresh=True)
    with pytest.raises(UserError, match="no search to go on with"):
        search.begin(search.prepared(asked(experiment="tuning/new")), resume=True, fresh=False)


def test_two_at_once_are_refused(project: Path) -> None:
    with files.lock(project / "runs" / "tuning" / "small.lock"), pytest.raises(UserError, match="another process runs"):
        tuning.run(asked())


def test_what_was_found_stays_where_a_confirmation_fails(replay: Any) -> None:
    def fails(p: Trained) -> list[float]:
        if p.seeds != [0]:
            raise UserError("training", "the loss became nan in epoch 1")
        return rising(p)

    replay(fails)
    with pytest.raises(UserError, match="the loss became nan"):
        tuning.run(asked())
    found = json.loads(paths.search("small").read_text())
    assert found["confirmed"] == {} and found["best"]["value"] > 0.8 and found["seconds"] > 0
    assert config.load("heartbeat/small-tuned").experiment == "heartbeat/small-tuned"


def test_workers_that_end_at_once_end_the_search(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dead(given: Search, slot: int, deadline: float) -> Mock:
        (given.folder / f"worker-{slot}.err").write_text("MemoryError\n")
        return Mock(**{"poll.return_value": 1})

    monkeypatch.setattr(local, "start_worker", dead)
    monkeypatch.setattr(local, "PAUSE", 0.0)
    with pytest.raises(UserError, match="its workers end at once: MemoryError"):
        searched()


def test_more_than_the_machine_has_is_refused(project: Path) -> None:
    with pytest.raises(UserError, match="cpus: 1000: this machine has"):
        tuning.run(asked(cpus=1000))
    with pytest.raises(UserError, match="--address: there is no cluster without --engine ray"):
        tuning.run(asked(), address="127.0.0.1:1")


def test_what_is_no_search_is_refused_in_a_line(project: Path) -> None:
    for name, said in (
        ("cn", "no such search; expected one of tuning/cnn.*did you mean tuning/cnn"),
        ("heartbeat/baseline", "no such search"),
    ):
        with pytest.raises(UserError, match=said):
            tuning.load(name)
    with pytest.raises(UserError, match="smoke: no profile of a search"):
        tuning.load("tuning/cnn", profile="smoke")
    with pytest.raises(UserError, match="budget: 40x is no time; write 40m"):
        tuning.load("tuning/cnn", overrides={"budget": "40x"})
    (project / "mine.yaml").write_text("base: heartbeat/baseline\nspace: {}\nquick: {fixed: 3}\n")
    with pytest.raises(UserError, match="quick: fixed: 3 is no mapping"):
        tuning.load(str(project / "mine.yaml"))


def test_without_optuna_it_is_said_what_to_install(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r'optuna is not installed; .*pip install "ecglib-book\[tune\]"'):
        tuning.run(asked())


# --- whole searches ---------------------------------------------------------------------------------------------------


def written(project: Path, **changes: Any) -> Path:
    path = project / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL | changes))
    return path


def begin(path: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ecglib", "tune", str(path), *more]
    return subprocess.Popen(command, cwd=path.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> tuple[list[Trial], str, str]:
    """The trials of a search that ends well, as its table has them, and what it said on stdout and stderr."""
    out, errors = process.communicate()
    assert process.returncode == 0, errors
    return search.trials_of(pd.read_parquet(paths.search("small").with_suffix(".parquet"))), out, errors


@pytest.mark.slow
def test_a_search_from_its_file_to_its_experiment(project: Path) -> None:
    trials, out, errors = ended(begin(written(project, trials=3)))
    assert "best of 3 trials" in out and "next: ecglib run heartbeat/small-tuned" in out
    assert "3 of 3 trials" in errors
    found = json.loads(paths.search("small").read_text())
    assert found["epochs"]["run"] == sum(len(one.curve) for one in trials) <= found["epochs"]["full"] == 12
    assert [each["seed"] for each in found["confirmed"]["base"]] == [1, 2]
    p = config.load("heartbeat/small-tuned")
    assert isinstance(p, config.HeartbeatParameters) and p.test and not p.in_book
    assert {"learning_rate": p.learning_rate, "model_options.width": p.model_options["width"]} == found["best"]["drawn"]
    assert (project / "runs" / "tuning" / "small" / "tensorboard").is_dir()
    with tracking.open_store() as store:
        runs = store.client.search_runs([store.experiment("tuning")])
    assert len(runs) == 4 and sum("trial" in run.data.tags for run in runs) == 3


@pytest.mark.long
def test_a_search_that_is_killed_ten_times_ends_with_every_trial_once(project: Path) -> None:
    """`kill -9` of the search, whose workers end with it, or of a worker, which is replaced."""
    path, draw = written(project, trials=12, scheduler="none"), random.Random(0)
    folder = project / "runs" / "tuning" / "small"

    def steps() -> int:
        return (folder / local.JOURNAL).read_bytes().count(b"\n") if (folder / local.JOURNAL).is_file() else 0

    for _ in range(10):
        more, wanted = ["--resume"] if steps() else [], steps() + draw.randint(1, 12)  # of some 200
        process = begin(path, *more)
        while steps() < wanted:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    trials, _, _ = ended(begin(path, "--resume"))
    assert [one.number for one in trials] == list(range(12))
    assert all([epoch.epoch for epoch in one.curve] == [1, 2, 3, 4] for one in trials)
    print(f"10 kills; {len(trials)} trials, each once")


@pytest.mark.long
def test_a_killed_worker_is_replaced_and_its_trial_goes_on(project: Path) -> None:
    path, folder = written(project, trials=6, scheduler="none"), project / "runs" / "tuning" / "small"
    process = begin(path)
    while process.poll() is None and not any(folder.glob("trials/*/*.pt")):
        time.sleep(0.1)
    worker = next(int(pid.name) for pid in Path("/proc").iterdir() if pid.name.isdigit() and _is_worker(pid, folder))
    os.kill(worker, signal.SIGKILL)
    trials, _, _ = ended(process)
    assert len(trials) == 6 and all([epoch.epoch for epoch in one.curve] == [1, 2, 3, 4] for one in trials)


def _is_worker(process: Path, folder: Path) -> bool:
    try:
        said = (process / "cmdline").read_bytes().decode()
    except OSError:
        return False
    return "ecglib.tuning.local" in said and str(folder) in said
