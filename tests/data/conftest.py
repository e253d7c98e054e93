"""Half a minute of three records of `mitdb`, and a project that has no others."""

from __future__ import annotations

from pathlib import Path

import excerpts
import pytest

from ecglib.data import databases


@pytest.fixture(scope="session")
def few_records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("few")
    excerpts.mitdb(folder / "mitdb", seconds=30, records=excerpts.FEW)
    return folder / "mitdb"


@pytest.fixture
def empty(tmp_path: Path, few_records: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with an empty data folder, whose sample are those few records."""
    (tmp_path / "_quarto.yml").touch()
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("ECGLIB_ROOT", str(tmp_path))
    monkeypatch.delenv("ECGLIB_DATA", raising=False)
    monkeypatch.setattr(databases, "SAMPLE", few_records.parent)
    return tmp_path


@pytest.fixture
def data(empty: Path) -> Path:
    """Its data folder."""
    return empty / "data"
