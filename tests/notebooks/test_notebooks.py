"""Every notebook, run as its readers run it: by papermill from the root, and where it lies, as JupyterLab does."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import papermill
import pytest
import torch
from projects import ROOT, make_project

from ecglib import config, paths
from ecglib.experiment import heartbeat, infarction, twelve_lead
from ecglib.models import registry
from ecglib.report import book
from ecglib.training import loop, transfer

QUICK = {"max_beats": 600, "max_epochs": 1, "bootstrap": 20}
"""Laid over the default parameters, so that the defaults are what is tested."""
NOTEBOOKS = {path.stem for path in (ROOT / "notebooks").glob("*.py")}
CHAPTERS = sorted(NOTEBOOKS - {"explore", "heartbeat", "infarction", "twelve-lead"})
RESULTS = [
    "baseline", "weighted", "inter-patient", "weighted-inter", "hydra", "hydra-inter", "seq2seq",
    "ecgnet-inter", "ecgnet-adapted",
]  # fmt: skip
"""Reference results that the chapters find: of every protocol, and of what is told apart in their tables."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, small_mitdb: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        made = make_project(tmp_path_factory.mktemp("notebooks") / "project", small_mitdb, patch)
        book.make_notebooks()
    (made / "book" / "results" / "heartbeat").mkdir()
    for name in RESULTS:
        for file in (ROOT / "book" / "results" / "heartbeat").glob(f"{name}.*"):
            shutil.copy(file, made / "book" / "results" / "heartbeat")
    torch.save(registry.build("cnet", 1, 187, 5).state_dict(), made / "cnet.pt")
    return made


@pytest.fixture(autouse=True)
def in_root(root: Path, small_mitdb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the working directory says where the project is."""
    monkeypatch.chdir(root)
    monkeypatch.delenv("ECGLIB_ROOT", raising=False)
    monkeypatch.setenv("ECGLIB_DATA", str(small_mitdb))


def run_where_it_lies(root: Path, name: str, values: dict[str, Any]) -> nbformat.NotebookNode:
    """Run a notebook as JupyterLab does, `values` laid over its parameters; at its end it reads them once more."""
    notebook = nbformat.read(root / "notebooks" / f"{name}.ipynb", as_version=4)
    cell = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    cell.source += "".join(f"\n{key} = {value!r}" for key, value in values.items())
    again = f'again = config.from_notebook(globals(), "{name}"); assert again == parameters'
    notebook.cells.append(nbformat.v4.new_code_cell(again))
    where = {"metadata": {"path": str(root / "notebooks")}}
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources=where).execute()
    assert not (root / "notebooks" / "runs").exists()
    return notebook


def outputs(path: Path) -> str:
    return "".join(str(cell.get("outputs", "")) for cell in nbformat.read(path, as_version=4).cells)


def parameters_of(root: Path, experiment: str) -> dict[str, Any]:
    own = config.MODELS[experiment.split("/")[0]].model_fields
    return config.load_yaml(root / "params" / f"{experiment}.yaml") | {n: v for n, v in QUICK.items() if n in own}


@pytest.mark.slow
def test_papermill_runs_it_and_the_notebooks_folder_finds_the_same_run(root: Path, tmp_path: Path) -> None:
    values = parameters_of(root, "heartbeat/baseline")
    papermill.execute_notebook("notebooks/heartbeat.ipynb", tmp_path / "a.ipynb", values, progress_bar=False)
    runs = {path: path.stat().st_mtime_ns for path in paths.runs().glob("*/*")}
    assert runs
    notebook = run_where_it_lies(root, "heartbeat", values)
    assert {path: path.stat().st_mtime_ns for path in paths.runs().glob("*/*")} == runs
    assert all("repeated here" in text for text in (outputs(tmp_path / "a.ipynb"), str(notebook)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("experiment", "values"),
    [
        ("explore/mitdb", {}),
        ("infarction/scratch", {"way": "frozen", "pretrained": "cnet.pt"}),
        ("twelve-lead/crnn", {"test_folds": [4], "min_positives": 4, "fewest_per_epoch": 32}),
    ],
)
def test_it_runs_where_it_lies(experiment: str, values: dict[str, Any], root: Path) -> None:
    """By papermill, `tests/test_cli.py` runs it."""
    earlier = set(paths.runs().glob("*/*"))
    run_where_it_lies(root, experiment.split("/")[0], parameters_of(root, experiment) | values)
    assert (earlier == set(paths.runs().glob("*/*"))) == (experiment == "explore/mitdb")


def test_a_wrong_parameter_fails_by_papermill_alone_and_is_named(root: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text((root / "params/heartbeat/baseline.yaml").read_text() + "epoch: 3\n")
    command = [sys.executable, "-m", "papermill", "notebooks/heartbeat.ipynb", str(tmp_path / "out.ipynb"), "-f", wrong]
    done = subprocess.run(command, cwd=root, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "unknown parameter epoch" in done.stderr


@pytest.mark.parametrize("name", CHAPTERS)
def test_chapters_train_nothing(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (heartbeat, infarction, twelve_lead):
        monkeypatch.setattr(module, "run", None)
    for module in (loop, transfer, *(entry.build for entry in registry.ENTRIES.values() if entry.classical)):
        monkeypatch.setattr(module, "fit", None)
    runpy.run_path(str(root / "notebooks" / f"{name}.py"))
