"""What a command says before a notebook starts, or in its place: a device that isn't here, a dead tracking server."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from projects import Call

from ecglib import config
from ecglib.errors import UserError
from ecglib.report import book as builder
from ecglib.report import runner

DEAD = "not in MLflow: MLFLOW_TRACKING_URI: http://127.0.0.1:9 can't be used"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The experiments whose notebooks would have started, on a machine without a GPU; each finds the server dead."""
    names: list[str] = []

    def run(jobs: list[runner.Job], at_once: int = 1) -> list[runner.Job]:
        for job in jobs:
            names.append(job.name)
            job.said = (DEAD,)
        return []

    monkeypatch.setattr(runner, "run", run)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(builder, "render", lambda plainly: (Path("index.html"), "quarto"))
    return names


@pytest.mark.parametrize(
    ("arguments", "in_file", "refused"),
    [
        ("run heartbeat/baseline -p device cuda", "", True),
        ("run heartbeat/smote heartbeat/baseline", "cuda", True),
        ("run --all -p device cuda -j 2", "", True),
        ("book --no-fetch --profile smoke", "cuda", True),
        ("run heartbeat/baseline -p device cuda -p model nearest_neighbour", "", False),
        ("run heartbeat/baseline -p device cpu", "", False),
        ("run heartbeat/smote", "cuda", False),
        ("run --all --list", "cuda", False),
    ],
)
def test_a_device_that_is_not_here_is_refused_before_any_notebook(
    project: Path, started: list[str], arguments: str, in_file: str, refused: bool, call: Call
) -> None:
    if in_file:
        with (project / "params" / "heartbeat" / "baseline.yaml").open("a", encoding="utf-8") as file:
            file.write(f"device: {in_file}\n")
    done = call(*arguments.split())
    assert done.code == (2 if refused else 0)
    said = "error: device: cuda is not available; expected auto or one of cpu" if refused else ""
    assert [line for line in done.err.splitlines() if DEAD not in line] == [said] * refused
    assert bool(started) is not refused or "--list" in arguments
    assert not refused or not list((project / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize(("device", "refused"), [("cuda", True), ("auto", False), ("cpu", False)])
def test_a_notebook_refuses_it_in_its_first_cell(project: Path, started: list[str], device: str, refused: bool) -> None:
    cell = f"# Parameters\nexperiment = 'heartbeat/baseline'\ndevice = '{device}'\n"
    given = {"experiment": "heartbeat/baseline", "device": device, "In": [cell]}
    if not refused:
        assert config.from_notebook(given, "heartbeat").device == device
        return
    with pytest.raises(UserError, match="cuda is not available"):
        config.from_notebook(given, "heartbeat")


@pytest.mark.parametrize("command", ["run heartbeat/baseline heartbeat/smote", "book --no-fetch --profile smoke"])
def test_a_dead_tracking_server_is_one_line_of_the_command(
    project: Path, started: list[str], command: str, call: Call
) -> None:
    done = call(*command.split())
    assert done.code == 0
    (line,) = done.err.splitlines()
    assert line.endswith(f": {DEAD}") and all(name in line for name in started[:2])
    assert (f"{len(started) - 2} more" in line) is (len(started) > 2)
