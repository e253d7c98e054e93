"""Every notebook, run as its readers run it."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import pytest
import torch
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook
from projects import ROOT, make_project

from ecglib import config, paths
from ecglib.errors import UserError
from ecglib.experiment import heartbeat, infarction, tasks, twelve_lead
from ecglib.models import registry
from ecglib.report import book
from ecglib.training import loop

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


def run(notebook: nbformat.NotebookNode) -> dict[str, Any]:
    """Run a notebook's cells as a kernel does; its variables then."""
    names: dict[str, Any] = {"In": []}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            names["In"].append(cell.source)
            exec(cell.source, names)
    return names


@pytest.mark.slow
@pytest.mark.parametrize(
    ("experiment", "values"),
    [
        ("explore/mitdb", {}),
        ("infarction/scratch", {"way": "frozen", "pretrained": "cnet.pt"}),
        ("twelve-lead/crnn", {"test_folds": [4], "min_positives": 4, "fewest_per_epoch": 32}),
    ],
)
def test_it_runs_where_it_lies(
    experiment: str, values: dict[str, Any], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its parameters edited as a reader does; a command finds the run. Papermill: see `tests/test_cli.py`."""
    name = experiment.split("/")[0]
    own = config.MODELS[name].model_fields
    quick = {field: value for field, value in QUICK.items() if field in own}
    values = config.load_yaml(root / "params" / f"{experiment}.yaml") | quick | values
    notebook = load_notebook_node(str(root / "notebooks" / f"{name}.ipynb"))
    cell = next(cell for cell in notebook.cells if "parameters" in cell.metadata.tags)
    cell.source += "".join(f"\n{key} = {value!r}" for key, value in values.items())
    earlier = set(paths.runs().glob("*"))
    with monkeypatch.context() as patch:
        patch.chdir(root / "notebooks")
        names = run(notebook)
        assert config.from_notebook(names, name) == names["parameters"], "its variables are no parameters"
    assert not (root / "notebooks" / "runs").exists()
    if name == "explore":
        assert earlier == set(paths.runs().glob("*"))
    else:
        assert not tasks.run(names["parameters"]).trained


def test_a_wrong_parameter_fails_by_papermill_alone_and_is_named(root: Path) -> None:
    wrong = config.load_yaml(root / "params/heartbeat/baseline.yaml") | {"epoch": 3}
    notebook = load_notebook_node(str(root / "notebooks" / "heartbeat.ipynb"))
    with pytest.raises(UserError, match="unknown parameter epoch"):
        run(parameterize_notebook(notebook, wrong, kernel_name="python3", language="python"))


@pytest.mark.parametrize("name", CHAPTERS)
def test_chapters_train_nothing(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (heartbeat, infarction, twelve_lead):
        monkeypatch.setattr(module, "run", None)
    for module in (loop, *(entry.build for entry in registry.ENTRIES.values() if entry.classical)):
        monkeypatch.setattr(module, "fit", None)
    runpy.run_path(str(root / "notebooks" / f"{name}.py"))


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.py")), ids=lambda path: path.stem)
def test_every_figure_has_a_text_in_its_place(path: Path) -> None:
    for cell in jupytext.read(path).cells:
        found = {f"#| {option}" in cell.source for option in ("label: fig-", "fig-cap:", "fig-alt:")}
        assert len(found) == 1, cell.source
