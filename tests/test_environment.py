"""The three places that declare the packages agree, and `.venv` is set up from them."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
import venv
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from projects import ROOT

from tools import environment

WANTED = {
    "jupyter": r"jupyter lab", "jupytext": r"import jupytext", "papermill": r"papermill\.execute_notebook",
    "quarto-cli": r"quarto-cli", "torch": r"import torch", "pandas": r"import pandas", "seaborn": r"import seaborn",
    "scikit-learn": r"from sklearn", "imbalanced-learn": r"from imblearn", "mlflow": r"import mlflow|from mlflow",
}  # fmt: skip
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def name_of(requirement: str) -> str:
    return re.split(r"[<>=!~\[; ]", requirement)[0].lower().replace("_", "-")


def lock() -> dict[str, str]:
    text = "".join((ROOT / name).read_text() for name in environment.PINNED)
    lines = [line for line in text.splitlines() if line and line[0] != "#"]
    return {name_of(line): line.split("==")[1] for line in lines}


@pytest.mark.parametrize(("package", "use"), WANTED.items())
def test_a_wanted_package_is_declared_in_all_three_places_and_used(package: str, use: str) -> None:
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (pip,) = [entry["pip"] for entry in conda if isinstance(entry, dict)]
    assert {f"-r {name}" for name in environment.PINNED} <= {*pip}
    if package == "quarto-cli":
        assert PROJECT["optional-dependencies"]["quarto"] == ["quarto-cli"]
        assert "quarto" in conda
        assert package not in lock()
    else:
        assert package in map(name_of, PROJECT["dependencies"])
        assert package in lock()
    files = [ROOT / "Makefile", *(ROOT / "ecglib").rglob("*.py"), *(ROOT / "notebooks").glob("*.py")]
    assert any(re.search(use, file.read_text(encoding="utf-8")) for file in files)


def test_the_lock_pins_everything_and_holds_nothing_of_one_machine() -> None:
    text = "".join((ROOT / name).read_text() for name in environment.PINNED)
    for line in text.splitlines():
        assert re.fullmatch(r"#.*|[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", line), line
    assert lock()["torch"] == "2.13.0"
    assert not re.search(r"nvidia|triton|://|sha256", text)
    declared = sum(
        (PROJECT["optional-dependencies"][name] for name in ("dev", "serve", "wandb")), PROJECT["dependencies"]
    )
    assert sorted(name_of(line) for line in declared if name_of(line) not in lock()) == []


def test_the_lock_is_what_is_installed() -> None:
    installed = {name_of(one.name): one.version.split("+")[0] for one in metadata.distributions()}
    pinned = {name: version for name, version in lock().items() if name != "setuptools"}
    assert {name: installed.get(name) for name in pinned} == pinned


BACKEND = """
import pathlib, zipfile
def build_editable(folder, *_):
    with zipfile.ZipFile(f"{folder}/tiny-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny.pth", str(pathlib.Path.cwd()))
        wheel.writestr("tiny-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: tiny\\nVersion: 1\\n")
        wheel.writestr("tiny-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("tiny-1.dist-info/RECORD", "")
    return "tiny-1-py3-none-any.whl"
"""
PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


def tiny_project(folder: Path) -> Path:
    """A project with the real environment.py, an empty lock and a package that needs nothing to be installed."""
    (folder / "tools").mkdir(parents=True)
    shutil.copy(environment.__file__, folder / "tools" / "environment.py")
    for name in environment.PINNED:
        (folder / name).write_text("# nothing\n")
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "backend.py").write_text(BACKEND)
    return folder


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    return tiny_project(tmp_path)


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny project whose `.venv` has been set up, in the place of a broken one, after a first try was killed."""
    project = tiny_project(tmp_path_factory.mktemp("ready"))
    venv.create(project / ".venv", symlinks=True, with_pip=False)
    own = project / ".venv" / "own"
    own.touch()
    remove_its_python(project / ".venv" / "bin" / "python")
    with start(project) as killed:
        first = killed.stdout.readline()
        assert re.fullmatch(r"making \.venv with Python 3\.\d+: its Python is missing or does not start\n", first)
        while own.exists():  # until venv is at work
            time.sleep(0.01)
        killed.kill()
        code, out, err = set_up(project)
    assert code == 0, err
    assert out.startswith("waiting for another `make` to set up .venv\n")
    assert out.endswith("installing the locked packages into .venv\n")
    return project


def start(project: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(project / "tools" / "environment.py")]
    closed = {**os.environ, "PIP_NO_INDEX": "1"}
    return subprocess.Popen(command, env=closed, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def set_up(project: Path) -> tuple[int, str, str]:
    """Exit code, output and errors."""
    process = start(project)
    out, err = process.communicate()
    return process.returncode, out, err


def test_a_broken_environment_is_made_anew_the_project_installed_in_place_and_a_second_call_costs_nothing(
    ready: Path,
) -> None:
    """The first call says why, and waits for what a killed one left running (see `ready`)."""
    command = [ready / ".venv" / "bin" / "python", "-c", "import backend; print(backend.__file__)"]
    found = subprocess.run(command, cwd="/", capture_output=True, text=True, check=True).stdout
    assert Path(found.strip()) == ready / "backend.py"
    before = {path: path.stat().st_mtime_ns for path in (ready / ".venv").rglob("*")}
    assert set_up(ready) == (0, "", "")
    assert {path: path.stat().st_mtime_ns for path in (ready / ".venv").rglob("*")} == before


def test_a_changed_lock_is_installed_and_where_that_fails_it_is_said_what_to_run_and_tried_again(ready: Path) -> None:
    """The environment is not made anew."""
    (ready / ".venv" / "own").touch()
    good = (ready / "requirements.lock").read_text()
    (ready / "requirements.lock").write_text("no-such-package==1\n")
    code, out, err = set_up(ready)
    (ready / "requirements.lock").write_text(good)
    assert (code, out) == (2, "installing the locked packages into .venv\n")
    last = err.splitlines()[-1]
    assert last.startswith("error: .venv: pip failed; its message is above; to see more, run .venv/bin/python -m pip")
    assert "--quiet" not in last
    assert "no-such-package" in err
    # what the failure left is not taken for ready, though the lock is back
    assert set_up(ready)[1] == "installing the locked packages into .venv\n"
    assert (ready / ".venv" / "own").exists()
    assert set_up(ready)[1] == ""


def remove_its_python(python: Path) -> None:
    python.unlink()
    python.symlink_to("/no/such/python3")


def change_its_version(python: Path) -> None:
    python.unlink()
    python.write_text("#!/bin/sh\necho 'pip 20.0 from /x (python 3.1)'\n")
    python.chmod(0o755)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda python: (python.parent.parent / "pyvenv.cfg").unlink(), "there is no complete one yet"),
        (remove_its_python, "its Python is missing"),
        (lambda python: None, "its Python or pip does not work"),  # killed before pip came
        (change_its_version, "the one there has Python 3.1"),
    ],
)
def test_an_unusable_environment_is_told_from_a_good_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None], why: str
) -> None:
    venv.create(tmp_path / ".venv", symlinks=True, with_pip=False)
    monkeypatch.setattr(environment, "FOLDER", tmp_path / ".venv")
    monkeypatch.setattr(environment, "PYTHON", tmp_path / ".venv" / "bin" / "python")
    damage(environment.PYTHON)
    assert environment.why_unusable().startswith(why)


@pytest.mark.parametrize("name", [*environment.PINNED, "pyproject.toml"])
def test_a_missing_file_is_named_in_one_line(fresh: Path, name: str) -> None:
    (fresh / name).unlink()
    assert set_up(fresh) == (2, "", f"error: {name}: not found; expected in {fresh}; try git checkout {name}\n")
    assert not (fresh / ".venv").exists()


def test_an_environment_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    code, _, err = set_up(tiny_project(tmp_path / "a:b"))  # venv refuses the separator of PATH
    assert code == 2
    assert re.fullmatch(r"error: \.venv: venv failed; .+ to see more, run .+ --clear \.venv", err.splitlines()[-1])


def test_a_file_in_the_place_of_the_environment_is_one_line(fresh: Path) -> None:
    (fresh / ".venv").write_text("mine")
    code, _, err = set_up(fresh)
    assert code == 2
    assert re.fullmatch(rf"error: .+{re.escape(str(fresh / '.venv'))}.*\n", err)
    assert (fresh / ".venv").read_text() == "mine"


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_a_python_without_venv_is_refused_in_one_line(fresh: Path, module: str) -> None:
    script = f"import runpy, sys; sys.modules[{module!r}] = None; runpy.run_path(sys.argv[1], run_name='__main__')"
    command = [sys.executable, "-c", script, str(fresh / "tools" / "environment.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert re.fullmatch(r"error: .+ has no venv or no ensurepip; .+ apt install python3\.\d+-venv .+\n", done.stderr)
    assert not (fresh / ".venv").exists()


def test_an_old_python_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    source = Path(environment.__file__).read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 6))
    imported = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert "__future__" not in imported  # its `annotations` is an error of syntax in Python 3.6
    assert not re.search(r"\b(dict|list|set|tuple|type)\[", source)  # an error up to Python 3.8
    monkeypatch.setattr(environment.sys, "version_info", (3, 6, 8))
    assert environment.main() == 2
    assert capsys.readouterr().err.startswith("error: python3 is 3.6; expected 3.11 or newer")
