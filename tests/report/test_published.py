from __future__ import annotations

from pathlib import Path

import pytest
from test_comparisons import EVERY, record
from test_tables import cells

from ecglib import paths
from ecglib.errors import UserError
from ecglib.experiment.record import Record
from ecglib.report import published, recordings


def validated(made: Record, f1: float, recall: float) -> Record:
    """A copy with these validation scores."""
    runs = [run.model_copy(update={"validation": f1, "validation_recall": recall}) for run in made.training]
    return made.model_copy(update={"training": runs})


def ours(records: list[Record], source: str, metric: str) -> str:
    """Our cell beside the published result of this source."""
    rows = cells(published.published(records))
    return next(row[5] for row in rows if row[0].startswith(source) and row[2] == metric)


@pytest.mark.parametrize("better", ["weighted", "smote-tomek"])
def test_validation_chooses_our_result_whatever_the_test_set_says(better: str) -> None:
    intra = {name: r for name, r in EVERY.items() if r.parameters["protocol"] == "intra"}
    records = [validated(r, 0.9, 0.99 if name.endswith(f"/{better}") else 0.9) for name, r in intra.items()]
    assert f"heartbeat/{better}.ipynb" in ours(records, "CNet [@", "macro recall")
    assert "heartbeat/baseline.ipynb" in ours(records, "CNet, public", "macro-F1"), "a plain network beside a plain one"
    assert "heartbeat/bilstm.ipynb" in ours(records, "BiLSTM, public", "macro-F1"), "a network beside its kin"
    assert ours(records, "Weighted baseline CNN", "macro recall") == "not run", "not beside one without weights"


def test_a_damaged_file_of_published_results_is_told(project: Path) -> None:
    path = paths.book() / "published.yml"
    path.write_text("- {model: X, protocol: intra}")
    with pytest.raises(UserError, match="entry 1 lacks a field"):
        published.entries()
    path.write_text("- {model: X, protocol: none, metric: accuracy, value: 1}")
    with pytest.raises(UserError, match="entry 1: none"):
        published.entries()


def test_an_aim_of_recall_is_of_the_best_validated_recall_with_enough_macro_f1(project: Path) -> None:
    aim = "- {what: recall, protocol: intra, metric: macro_recall, least: 0.0, least_f1: %s, parameters: {}}\n"
    careful = validated(record("careful", "cnet", "intra", "none"), 0.95, 0.90)
    bold = validated(record("bold", "cnet", "intra", "weighted", draw=1), 0.92, 0.96)

    def row(floor: float) -> list[str]:
        (paths.book() / "aims.yml").write_text(aim % floor)
        return cells(published.aims([careful, bold]))[1]

    assert "heartbeat/bold" in row(0.0)[4] and row(0.0)[-1] == "reached"
    assert "heartbeat/careful" in row(0.94)[4], "the other has too little macro-F1 on validation"
    assert row(0.94)[-1] == "open", "and this one on the test set"
    assert "macro-F1 0.94" in row(0.94)[3]


def test_the_setting_taken_is_validations_best_of_those_tried(project: Path) -> None:
    crnn = Record.model_construct(experiment="twelve-lead/crnn")
    (study,) = [each for each in published.listed("tried.yml", set()) if each["aim"] == crnn.experiment]
    best = max(study["rows"], key=lambda row: row["validation"])
    assert [row["tried"] for row in study["rows"] if "taken" in row["tried"]] == [best["tried"]]
    assert f"{best['validation']:.4f}" in next(row for row in recordings.tried(crnn).splitlines() if "taken" in row)
    assert "twelve-lead" not in published.tried(), "it is no study of beats"
