"""Three short synthetic records of `mitdb`, and a project that has no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecglib.data import synthetic

FEW = ("100", "208", "234")


@pytest.fixture(scope="session")
def few_records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("few")
    synthetic.write(folder, minutes=0.5, records=FEW)
    return folder


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with an empty data folder, where synthetic records are those few."""
    (tmp_path / "_quarto.yml").touch()
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("ECGLIB_ROOT", str(tmp_path))
    monkeypatch.delenv("ECGLIB_DATA", raising=False)
    write = synthetic.write
    monkeypatch.setattr(synthetic, "write", lambda folder: write(folder, minutes=0.5, records=FEW))
    return tmp_path
