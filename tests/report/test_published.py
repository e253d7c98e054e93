from __future__ import annotations

from pathlib import Path

import pytest
from test_comparisons import EVERY, record
from test_tables import cells

from ecglib import paths
from ecglib.errors import UserError
from ecglib.experiment.record import Record
from ecglib.report import published


def validated(made: Record, f1: float, recall: float = 0.5) -> Record:
    """A copy with these validation scores."""
    runs = [run.model_copy(update={"validation": f1, "validation_recall": recall}) for run in made.training]
    return made.model_copy(update={"training": runs})


def ours(records: list[Record], source: str, metric: str) -> str:
    """Our cell beside the published result of this source."""
    rows = cells(published.published(records))
    return next(row[5] for row in rows if row[0].startswith(source) and row[2] == metric)


@pytest.mark.parametrize("better", ["weighted", "smote-tomek"])
def test_validation_chooses_our_result_whatever_the_test_set_says(better: str) -> None:
    records = [
        validated(r, 0.9, 0.99 if name.endswith(f"/{better}") else 0.9)
        for name, r in EVERY.items()
        if r.parameters["protocol"] == "intra"
    ]
    assert f"heartbeat/{better}.ipynb" in ours(records, "CNet [@", "macro recall")
    assert "heartbeat/baseline.ipynb" in ours(records, "CNet, public", "macro-F1"), "a plain network beside a plain one"
    assert "heartbeat/bilstm.ipynb" in ours(records, "BiLSTM, public", "macro-F1"), "a network beside its kin"
    assert ours(records, "Weighted baseline CNN", "macro recall") == "not run", "not beside one without weights"


def test_every_published_result_of_beats_has_its_row_and_a_damaged_file_is_told(project: Path) -> None:
    rows = cells(published.published([]))[1:]
    assert len(rows) == sum(entry.get("task") != "infarction" for entry in published.entries())
    path = paths.book() / "published.yml"
    path.write_text("- {model: X, protocol: intra}")
    with pytest.raises(UserError, match="entry 1 lacks a field"):
        published.entries()
    path.write_text("- {model: X, protocol: none, metric: accuracy, value: 1}")
    with pytest.raises(UserError, match="entry 1: none"):
        published.entries()


def test_an_aim_of_recall_is_of_the_best_validated_recall_with_enough_macro_f1(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aim = "- {what: recall, protocol: intra, metric: macro_recall, least: 0.0, least_f1: %s, parameters: {}}\n"
    careful, bold = record("careful", "cnet", "intra", "none"), record("bold", "cnet", "intra", "weighted", draw=1)
    for r, f1, recall in ((careful, 0.95, 0.90), (bold, 0.92, 0.96)):
        for run in r.training:
            run.validation, run.validation_recall = f1, recall
    (tmp := project / "book").mkdir(exist_ok=True)
    monkeypatch.setattr(paths, "book", lambda: tmp)

    def row(floor: float) -> list[str]:
        (tmp / "aims.yml").write_text(aim % floor)
        return cells(published.aims([careful, bold]))[1]

    assert "heartbeat/bold" in row(0.0)[4] and row(0.0)[-1] == "reached"
    assert "heartbeat/careful" in row(0.94)[4], "the other has too little macro-F1 on validation"
    assert row(0.94)[-1] == "open", "and this one on the test set"
    assert "macro-F1 0.94" in row(0.94)[3]
