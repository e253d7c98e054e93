"""The README's commands, as it writes them, in a fresh clone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import excerpts
import pytest
from projects import ROOT, keep_few, run_where_it_lies

from ecglib import config
from tools import environment

NOBODY = ["-c", "user.name=nobody", "-c", "user.email=nobody@localhost"]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands(heading: str) -> list[str]:
    section = README.split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)[0].strip().splitlines()


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh clone; only the environment, which `make` would set up from the index, is this one's."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(tmp_path / "clone")], check=True)
    own = tmp_path / "clone" / ".venv"
    own.mkdir()
    for entry in Path(sys.prefix).iterdir():
        if entry.name != "installed":
            (own / entry.name).symlink_to(entry)
    monkeypatch.setattr(environment, "ROOT", tmp_path / "clone")
    (own / "installed").write_text(environment.wanted(), encoding="utf-8")  # never installs into the shared one
    return tmp_path / "clone"


@pytest.mark.slow
def test_direct_use_and_the_notebooks_folder_finds_the_same_run(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_few(clone)  # their pages are like the others'
    subprocess.run(["git", *NOBODY, "commit", "--quiet", "--all", "--message", "Few"], cwd=clone, check=True)
    excerpts.mitdb(tmp_path / "data" / "mitdb", seconds=30)
    monkeypatch.setenv("PATH", f"{clone / '.venv' / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(clone))
    monkeypatch.setenv("ECGLIB_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("ECGLIB_ROOT", raising=False)
    lines = commands("Direct use")
    assert lines == [
        "make notebooks",
        "papermill notebooks/heartbeat.ipynb out.ipynb -f params/heartbeat/baseline.yaml",
        "quarto render",
    ]
    for line in lines if shutil.which("quarto") else lines[:2]:
        done = subprocess.run(line, shell=True, cwd=clone, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    if shutil.which("quarto"):
        page = (clone / "_book" / "book" / "experiments" / "heartbeat" / "baseline.html").read_text(encoding="utf-8")
        assert "Not run yet" in page
    assert len(list((clone / "runs").glob("*/record.json"))) == 1
    runs = {path: path.stat().st_mtime_ns for path in (clone / "runs").glob("*/*")}
    values = config.load_yaml(clone / "params" / "heartbeat" / "baseline.yaml")
    notebooks = (clone / "out.ipynb").read_text(encoding="utf-8"), run_where_it_lies(clone, "heartbeat", values)
    assert all("repeated here" in notebook for notebook in notebooks)
    assert {path: path.stat().st_mtime_ns for path in (clone / "runs").glob("*/*")} == runs
    changed = subprocess.run(["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True)
    assert changed.stdout.split() == ["??", "out.ipynb"], changed.stdout


def test_every_command_of_the_readme_exists() -> None:
    text = subprocess.run([sys.executable, "-m", "ecglib", "--help"], capture_output=True, text=True, check=True).stdout
    for command in set(re.findall(r"^ecglib (\w+)", README, re.MULTILINE)):
        assert command in text
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"make (\w+) ", README)) - {"and"} <= {*targets, "needs"}


def test_files_that_the_readme_names_are_there() -> None:
    for name in re.findall(r"`((?:book|params|notebooks)/[\w./-]+\.\w+)`|\]\((book/[\w./-]+)\)", README):
        assert (ROOT / (name[0] or name[1])).exists(), name
