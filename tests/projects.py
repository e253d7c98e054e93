"""Copies of the project for tests to work in."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


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
    monkeypatch.setenv("ECGLIB_ROOT", str(root))
    monkeypatch.setenv("ECGLIB_DATA", str(data))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return root
