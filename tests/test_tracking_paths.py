"""The embedded store lies in the project, whatever that folder is called."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import make_url

from ecglib import tracking
from tests.report.example import example_record


@pytest.mark.parametrize(
    ("uri", "name"),
    [("", "mlflow.db"), ("sqlite:///of%20mine%3F/50%2525.db?timeout=9", "of mine?/50%25.db")],
)
def test_a_folder_of_any_name(tmp_path: Path, uri: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "a?b 50%25 %2F %s #&=;+@:'~{x}心"
    root.mkdir()
    (root / "_quarto.yml").touch()
    monkeypatch.setenv("ECGLIB_ROOT", str(root))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(root)
    record, folder = example_record(epochs=2), root / "runs" / "key"
    record.save(folder / "record.json")
    run_id = tracking.log(record, folder)
    assert tracking.log(record, folder) == run_id
    assert (root / name).parent.joinpath("mlartifacts", run_id, "artifacts", "record.json").is_file()
    database = make_url(next(part for part in tracking.ui_command() if part.startswith("sqlite"))).database
    assert database is not None and Path(database) == root / name and Path(database).is_file()
    assert [path.name for path in tmp_path.iterdir()] == [root.name]
    expected = {"_quarto.yml", "runs", *(["of mine?"] if uri else ["mlflow.db", "mlflow.db.lock", "mlartifacts"])}
    assert {path.name for path in root.iterdir()} == expected
