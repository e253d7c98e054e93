"""The three places that declare the packages agree, and `.venv` is set up from them."""

from __future__ import annotations

import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import yaml
from projects import ROOT

from ecglib import environment

WANTED = {
    "jupyter": r"jupyter lab", "jupytext": r"import jupytext", "papermill": r"papermill\.execute_notebook",
    "quarto-cli": r"quarto-cli", "torch": r"import torch", "pandas": r"import pandas", "seaborn": r"import seaborn",
    "scikit-learn": r"from sklearn", "imbalanced-learn": r"from imblearn", "mlflow": r"import mlflow|from mlflow",
}  # fmt: skip
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def name_of(requirement: str) -> str:
    return re.split(r"[<>=!~\[; ]", requirement)[0].lower().replace("_", "-")


def lock() -> dict[str, str]:
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if line and line[0] != "#"]
    return {name_of(line): line.split("==")[1] for line in lines}


@pytest.mark.parametrize("package", WANTED)
def test_a_wanted_package_is_declared_in_all_three_places(package: str) -> None:
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (pip,) = [entry["pip"] for entry in conda if isinstance(entry, dict)]
    assert "-r requirements.lock" in pip
    if package == "quarto-cli":
        assert PROJECT["optional-dependencies"]["quarto"] == ["quarto-cli"]
        assert "quarto" in conda
        assert package not in lock()
    else:
        assert package in [name_of(line) for line in PROJECT["dependencies"]]
        assert package in lock()


@pytest.mark.parametrize(("package", "use"), WANTED.items())
def test_a_wanted_package_is_used(package: str, use: str) -> None:
    files = [ROOT / "Makefile", *(ROOT / "ecglib").rglob("*.py"), *(ROOT / "notebooks").glob("*.py")]
    assert any(re.search(use, file.read_text(encoding="utf-8")) for file in files), package


def test_the_lock_pins_everything_and_holds_nothing_of_one_machine() -> None:
    text = (ROOT / "requirements.lock").read_text()
    for line in text.splitlines():
        assert re.fullmatch(r"#.*|[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", line), line
    assert lock()["torch"] == "2.13.0"
    assert not re.search(r"nvidia|triton|://|sha256", text)
    declared = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
    assert sorted(name_of(line) for line in declared if name_of(line) not in lock()) == []


def test_the_lock_is_what_is_installed() -> None:
    listed = subprocess.run([sys.executable, "-m", "pip", "freeze"], capture_output=True, text=True, check=True).stdout
    installed = {name_of(line): line.split("==")[1].split("+")[0] for line in listed.splitlines() if "==" in line}
    assert {name: installed.get(name) for name in lock() if name != "setuptools"} == {
        name: version for name, version in lock().items() if name != "setuptools"
    }


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environment module pointed at a folder of its own."""
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).write_text("x")
    for name, path in (("ROOT", ""), ("FOLDER", ".venv"), ("MARK", ".venv/installed"), ("LOCK", ".venv.lock")):
        monkeypatch.setattr(environment, name, tmp_path / path)
    return tmp_path


def test_a_ready_environment_costs_nothing_and_a_changed_lock_renews_it(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(
        environment.venv, "create", lambda folder, with_pip: (folder / "bin").mkdir(parents=True, exist_ok=True)
    )
    monkeypatch.setattr(environment.subprocess, "run", lambda command, check: calls.append(command))
    assert environment.main() == 0
    assert len(calls) == 2
    start = time.perf_counter()
    assert environment.main() == 0
    assert len(calls) == 2
    assert time.perf_counter() - start < 1
    (elsewhere / "requirements.lock").write_text("y")
    assert environment.main() == 0
    assert len(calls) == 4
    assert not environment.LOCK.exists()


def test_a_failed_installation_is_one_line(elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def fail(command: list[str], check: bool) -> None:
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(
        environment.venv, "create", lambda folder, with_pip: (folder / "bin").mkdir(parents=True, exist_ok=True)
    )
    monkeypatch.setattr(environment.subprocess, "run", fail)
    assert environment.main() == 2
    assert capsys.readouterr().err.startswith("error: .venv: pip could not install")
    assert not environment.is_ready()
    assert not environment.LOCK.exists()


def test_the_lock_of_a_process_that_died_does_not_block_for_ever(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    environment.LOCK.write_text("")
    old = time.time() - environment.STALE_SECONDS - 1
    os.utime(environment.LOCK, (old, old))
    monkeypatch.setattr(environment, "install", lambda: None)
    assert environment.main() == 0


def test_an_old_python_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(environment.sys, "version_info", (3, 9, 1))
    assert environment.main() == 2
    assert capsys.readouterr().err.startswith("error: python3 is 3.9; expected 3.11 or newer")
