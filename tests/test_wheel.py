"""The package as it is installed from a wheel, outside of any clone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from projects import ROOT

TRAINS = """
import ecglib
from ecglib.config import HeartbeatParameters
from ecglib.experiment import heartbeat
record = heartbeat.run(HeartbeatParameters(max_epochs=1, max_beats=1000, seeds=[0], bootstrap=5)).record
print(ecglib.__file__, record.data.sample, record.data.n_test)
"""


@pytest.mark.long
def test_a_wheel_trains_on_the_sample_where_there_is_no_clone(tmp_path: Path) -> None:
    clone, site, work = tmp_path / "clone", tmp_path / "site", tmp_path / "work"
    shutil.copytree(ROOT / "ecglib", clone / "ecglib", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone)
    build = [sys.executable, "-m", "pip", "wheel", ".", "--quiet", "--no-deps", "--no-build-isolation", "-w", tmp_path]
    subprocess.run(build, cwd=clone, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size <= 17_000_000
    zipfile.ZipFile(wheel).extractall(site)
    work.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ECGLIB_", "MLFLOW_"))}
    environment["PYTHONPATH"] = str(site)

    def python(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, *arguments], cwd=work, env=environment, text=True, capture_output=True)

    run = python("-c", TRAINS)
    assert run.stdout.split() == [str(site / "ecglib" / "__init__.py"), "True", "200"], run
    assert len(list((work / "runs").glob("*/record.json"))) == 1
    assert python("-m", "ecglib", "annotate", str(site / "ecglib" / "sample" / "mitdb" / "208")).returncode == 0
    assert {path.name for path in (work / "annotated" / "208").iterdir()} == {"208.atr", "summary.json", "report.html"}
    for command in (
        ["run", "heartbeat/baseline"],
        ["run", "--all"],
        ["results"],
        ["notebooks"],
        ["book", "--no-fetch"],
    ):
        said = python("-m", "ecglib", *command)
        assert said.returncode == 2 and "change into the clone, or set ECGLIB_ROOT to it" in said.stderr, command
