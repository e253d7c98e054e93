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
import typer
from projects import ROOT, keep_few

from ecglib import cli
from tools import environment

NOBODY = ["-c", "user.name=nobody", "-c", "user.email=nobody@localhost"]
README = (ROOT / "README.md").read_text(encoding="utf-8")


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
def test_direct_use(clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_few(clone)  # their pages are like the others'
    with (clone / "params" / "heartbeat" / "baseline.yaml").open("a") as parameters:
        parameters.write("max_epochs: 1\nbootstrap: 20\n")
    subprocess.run(["git", *NOBODY, "commit", "--quiet", "--all", "--message", "Few"], cwd=clone, check=True)
    excerpts.mitdb(tmp_path / "data" / "mitdb", seconds=30)
    monkeypatch.setenv("PATH", f"{clone / '.venv' / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(clone))
    monkeypatch.setenv("ECGLIB_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("ECGLIB_ROOT", raising=False)
    section = README.split("## Direct use\n")[1].split("\n## ")[0]
    lines = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)[0].strip().splitlines()
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
    assert "repeated here" in (clone / "out.ipynb").read_text(encoding="utf-8")
    changed = subprocess.run(["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True)
    assert changed.stdout.split() == ["??", "out.ipynb"], changed.stdout


def test_what_the_readme_names_is_there() -> None:
    named = set(re.findall(r"^ecglib (\w+)", README, re.MULTILINE))
    assert named and named <= typer.main.get_command(cli.app).commands.keys()
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"make (\w+) ", README)) - {"and"} <= {*targets, "needs"}
    for name in re.findall(r"`((?:book|params|notebooks)/[\w./-]+\.\w+)`|\]\((book/[\w./-]+)\)", README):
        assert (ROOT / (name[0] or name[1])).exists(), name
