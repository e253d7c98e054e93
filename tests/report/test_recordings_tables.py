"""Tables about experiments on whole recordings."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ecglib import paths
from ecglib.experiment.record import Record
from ecglib.report import published, recordings


@pytest.fixture
def crnn() -> Record:
    return Record.model_construct(experiment="twelve-lead/crnn")


def test_the_settings_tried_name_the_one_taken_which_is_validations_best(project: Path, crnn: Record) -> None:
    (study,) = [each for each in published.listed("tried.yml", set()) if each["aim"] == crnn.experiment]
    best = max(study["rows"], key=lambda row: row["validation"])
    assert [row["tried"] for row in study["rows"] if "taken" in row["tried"]] == [best["tried"]]
    lines = recordings.tried(crnn).splitlines()
    assert len(lines) == 2 + len(study["rows"])
    assert f"{best['validation']:.4f}" in next(line for line in lines if "taken" in line)
    assert "twelve-lead" not in published.tried(), "it is no study of beats"


def test_where_nothing_was_tried_it_says_so(project: Path, crnn: Record) -> None:
    (paths.book() / "tried.yml").write_text(yaml.safe_dump([{"aim": "other", "measured": "x", "rows": []}]))
    assert recordings.tried(crnn) == "With this experiment itself nothing else was tried."
