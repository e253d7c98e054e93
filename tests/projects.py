"""Copies of the project for tests to work in."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ecglib import config

EXPERIMENTS = {
    "heartbeat": ("baseline", "weighted", "smote", "inter-patient"),
    "infarction": ("scratch",),
    "twelve-lead": ("crnn",),
    "tuning": ("cnn",),
}
"""The experiments of each notebook that stand for all of them; `test_params.py` checks every file."""
NO_RAY = "Ray does not start here"
ROOT = Path(__file__).resolve().parent.parent


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Call = Callable[..., Done]


def make_project(root: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy the sources, without results and executed pages, and point paths there.

    Parameters
    ----------
    root
        The folder to make.
    data
        What `ECGLIB_DATA` is to be.
    """
    root.mkdir(parents=True)
    for name in ("_quarto.yml", "index.qmd"):
        shutil.copy(ROOT / name, root / name)
    for name in ("book", "notebooks", "params"):
        ignore = shutil.ignore_patterns("experiments", "*.ipynb", "results", ".ipynb_checkpoints")
        shutil.copytree(ROOT / name, root / name, ignore=ignore)
    (root / "book" / "results").mkdir()
    keep_few(root)
    monkeypatch.setenv("ECGLIB_ROOT", str(root))
    monkeypatch.setenv("ECGLIB_DATA", str(data))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return root


def kept() -> list[str]:
    """The experiments of such a project, as `config.experiments` names them."""
    parts = [(name, *name.split("/")) for name in config.experiments()]
    return [name for name, notebook, own in parts if own in EXPERIMENTS.get(notebook, (own,))]


def keep_few(root: Path) -> None:
    """Leave out all but `EXPERIMENTS`, with their pages: a journey through every one takes as long as the book."""
    chapters = root / "book" / "chapters.yml"
    lines = chapters.read_text(encoding="utf-8").splitlines(keepends=True)
    for notebook, some in EXPERIMENTS.items():
        for path in (root / "params" / notebook).glob("*.yaml"):
            if path.stem not in some:
                path.unlink()
                lines = [line for line in lines if f"/{notebook}/{path.stem}.ipynb" not in line]
    chapters.write_text("".join(lines), encoding="utf-8")


def tracked(root: Path, **tags: str) -> list[Any]:
    """MLflow's runs in a project's store, deleted ones not among them, with these tags."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{root / 'mlflow.db'}")
    ids = [one.experiment_id for one in client.search_experiments()]
    return [run for run in client.search_runs(ids, max_results=1000) if tags.items() <= run.data.tags.items()]
