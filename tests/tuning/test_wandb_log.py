"""Trials are logged to Weights & Biases, offline here: nothing is sent, and nothing is kept in the home folder."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from projects import ROOT

from ecglib import config
from ecglib.config import TuningParameters
from ecglib.errors import UserError
from ecglib.tuning import space as spaces
from ecglib.tuning import wandb_log, watch
from ecglib.tuning.search import Search, Trial
from ecglib.tuning.trial import Epoch, Place

BASE = "heartbeat/baseline"
SWEEP = """
method: grid
metric: {name: val_loss, goal: minimize}
parameters:
  lr: {values: [0.001, 0.003]}
  epochs: {value: 1}
  max_beats: {value: 400}
"""


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home that W&B finds empty, and may keep nothing in."""
    wandb = pytest.importorskip("wandb")
    home, own = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("wandb")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_API_KEY", "WANDB_DIR"):
            patch.delenv(name, raising=False)
        patch.setenv("HOME", str(home))
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("WANDB_ERROR_REPORTING", "false")
        for name in ("CACHE", "CONFIG", "DATA"):
            patch.setenv(f"WANDB_{name}_DIR", str(own))
        wandb.teardown()
        yield home
        wandb.teardown()


def search_in(folder: Path) -> Search:
    asked = TuningParameters(
        experiment="tuning/some",
        base=BASE,
        space={"learning_rate": {"choice": [0.001, 0.01]}, "model_options.width": {"choice": [8, 16]}},
        fixed={"max_epochs": 2, "model_options": {"dropout": 0.1}},
    )
    base: Any = config.load(BASE)
    return Search(asked, base, spaces.parsed(asked.space, base), Place("cpu", "float32"), folder)


def runs_in(folder: Path) -> list[Any]:
    """The runs below a folder, each as the records that W&B wrote, in the order of their trials."""
    import wandb
    from wandb.proto import wandb_internal_pb2

    wandb.teardown()  # its own process may still be writing
    found = []
    for path in folder.glob("wandb/offline-run-*/*.wandb"):
        data, at, records = path.read_bytes(), 7, []
        while at < len(data):  # a LevelDB log of less than a block: checksum, length, type, record
            _, length, _ = struct.unpack_from("<IHB", data, at)
            records.append(wandb_internal_pb2.Record.FromString(data[at + 7 : at + 7 + length]))
            at += 7 + length
        found.append(records)
    return sorted(found, key=lambda records: run_of(records).display_name)


def run_of(records: list[Any]) -> Any:
    return next(one.run for one in records if one.HasField("run"))


def test_each_trial_that_ended_is_a_run_of_the_searchs_group_once(tmp_path: Path, offline: Path) -> None:
    finished = Trial(0, {"learning_rate": 0.01, "model_options.width": 8}, "finished", [Epoch(1, 0.4, 0.4, 1.0)])
    finished.curve.append(Epoch(2, 0.3, 0.4, 1.0))
    failed = Trial(2, {"learning_rate": 0.001, "model_options.width": 8}, "failed", why="the loss is NaN")
    trials = [finished, Trial(1, {}, "running", [Epoch(1, 0.5, 0.5, 1.0)]), failed]
    search = search_in(tmp_path)
    for _ in range(2):  # as a search that is gone on with
        shown = watch.Watch(search, {"W&B": wandb_log.Log(search, "ecg").log})
        for _ in range(2):
            shown.look(trials)
    runs = runs_in(tmp_path)
    assert [(run_of(one).project, run_of(one).run_group, run_of(one).display_name) for one in runs] == [
        ("ecg", "some", "some 0"),
        ("ecg", "some", "some 2"),
    ]
    of_run = {item.key: json.loads(item.value_json) for item in run_of(runs[0]).config.update}
    assert of_run.items() >= {"base": BASE, "max_epochs": 2, "learning_rate": 0.01}.items()
    assert of_run["model_options"] == {"dropout": 0.1, "width": 8}
    history = [
        {(item.key or item.nested_key[0]): json.loads(item.value_json) for item in one.history.item}
        for one in runs[0]
        if one.HasField("history")
    ]
    assert [(row["_step"], row["macro_f1"], row["best_macro_f1"]) for row in history] == [(1, 0.4, 0.4), (2, 0.3, 0.4)]
    assert [one.exit.exit_code for records in runs for one in records if one.HasField("exit")] == [0, 1]
    assert not list(offline.iterdir())


def test_where_wandb_fails_the_search_goes_on_and_what_is_missing_is_logged_later(
    tmp_path: Path, offline: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    search = search_in(tmp_path)
    trials = [Trial(number, {}, "finished", [Epoch(1, 0.4, 0.4, 1.0)]) for number in (0, 1)]
    log = wandb_log.Log(search, "ecg")
    with monkeypatch.context() as patch:

        def broken(**_: object) -> None:
            raise log.wandb.errors.CommError("no network")

        patch.setattr(log.wandb, "init", broken)
        watch.Watch(search, {"W&B": log.log}).look(trials)
    said = capsys.readouterr().err
    assert said.count("has no trials") == 1
    assert "W&B has no trials that end from here on (no network); --resume logs them\n" in said
    watch.Watch(search, {"W&B": wandb_log.Log(search, "ecg").log}).look(trials)
    assert len(runs_in(tmp_path)) == 2


def test_wandb_that_is_absent_or_has_no_key_is_one_line(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    with monkeypatch.context() as patch:
        patch.setenv("WANDB_MODE", "online")
        wandb.teardown()
        with pytest.raises(UserError, match=r"No API key.*WANDB_MODE=offline"):
            wandb_log.library()
    wandb.teardown()
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r"wandb is not installed.*ecglib-book\[wandb\]"):
        wandb_log.library()


@pytest.mark.long
def test_a_sweep_runs_from_the_command_and_is_logged(project: Path, offline: Path) -> None:
    (project / "sweep.yaml").write_text(SWEEP, encoding="utf-8")
    command = [sys.executable, "-m", "ecglib", "tune", "sweep.yaml", "--base", BASE, "--wandb", "ecg"]
    before = {one.name for one in project.iterdir()}
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "in place of minimizing val_loss" in done.stderr
    found = json.loads((project / "book" / "searches" / "sweep.json").read_text(encoding="utf-8"))
    assert (found["searcher"], found["trials"], found["states"]["finished"]) == ("grid", 2, 2)
    assert len(runs_in(project / "runs" / "tuning" / "sweep")) == 2
    assert "wandb" not in {one.name for one in project.iterdir()} - before
    assert not [one for one in offline.rglob("*") if "wandb" in str(one)]
