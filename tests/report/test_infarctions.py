"""Tables of infarction results: what is there, what is not, and what differs."""

from __future__ import annotations

from typing import Any

import pytest

from ecglib.evaluation.bootstrap import Interval
from ecglib.experiment import record as results
from ecglib.experiment.record import InfarctionCard, Record
from ecglib.report import infarctions, yardsticks
from ecglib.report.names import NOT_RUN
from tests.report.example import example_record


def example(way: str = "scratch", **given: Any) -> Record:
    """A result on two recordings of two patients."""
    parameters = {
        "model": "cnet", "way": way, "leads": ["II"], "imbalance": "weighted", "protocol": "by-patient", "folds": 10,
        "cut": "kachuee",
    }  # fmt: skip
    made = example_record(f"infarction/{way}", seeds=[0, 1])
    return made.model_copy(
        update={
            "task": "binary",
            "classes": ["healthy", "infarction"],
            "data": made.data.model_copy(update={"name": "ptb-xl"}),
            "parameters": parameters | given,
            "metrics": {"auroc": Interval(mean=0.8, low=0.7, high=0.9)},
            "by_record": {"well": [[[1, 0], [0, 0]]] * 2, "ill": [[[0, 0], [0, 1]]] * 2},
            "infarction": InfarctionCard(
                beat_metrics={}, likely={}, curve={}, transfer={}, epochs=5, folds=10,
                scores={"all": {"well": [-1.0, -2.0], "ill": [1.0, 2.0]}}, patients={"well": "a", "ill": "b"},
            ),
        }
    )  # fmt: skip


def yardstick(model: str = "age_and_sex", cut: str = "age and sex") -> Record:
    """A yardstick's result on the same recordings."""
    made = example(model=model, cut=cut)
    return made.model_copy(update={"experiment": f"infarction/{model.replace('_', '-')}"})


def test_what_has_no_result_says_so() -> None:
    text = infarctions.ways([example("scratch"), example("gradual", leads=["I", "II"])], "cnet", 1)
    assert text.count("not run") == 3
    assert infarctions.ways([], "cnet", 12).count("not run") == 4
    assert infarctions.verdict([], "cnet") == infarctions.verdict_of_few([], "cnet") == "Not run."
    assert infarctions.verdict_of_yardsticks([], [yardstick()]) == ""
    assert "open" in infarctions.aims([], "cnet") and NOT_RUN in infarctions.aims([], "cnet")


def test_other_folds_are_not_compared() -> None:
    other = example("finetune")
    other.data.test_indices_sha256 = "b" * 64
    assert infarctions.gains([example("scratch"), other], "cnet") == "Not run."
    assert infarctions.aligned([other], "cnet") == infarctions.verdict_of_aligned([other], "cnet") == "Not run."


def test_a_split_by_beat_stands_beside_its_like_alone() -> None:
    by_patient = example("finetune")
    assert infarctions.splits([by_patient, example("scratch", protocol="by-beat")], "cnet") == "Not run."


def test_results_of_another_database_and_yardsticks_are_not_of_the_chapter(monkeypatch: pytest.MonkeyPatch) -> None:
    record, other = example("scratch"), example("frozen")
    other.data.name = "ptbdb"
    every = {one.experiment: one for one in (record, other, yardstick())}
    monkeypatch.setattr(results, "references", lambda notebook: every)
    assert infarctions.infarction_results() == [record]


def test_a_yardstick_belongs_to_what_read_the_same_and_is_divided_alike() -> None:
    beside, record, people = yardsticks.beside, example("finetune"), yardstick()
    beats = yardstick("median_beat", "median beat")
    assert beside(record, [beats]) == {"median beat": beats}
    assert beside(beats, [beats]) == {}, "a yardstick has none beside it"
    apart: list[dict[str, Any]] = [
        {"leads": ["V1"]}, {"protocol": "by-beat"}, {"folds": 4}, {"database": "ptbdb"}, {"max_records": 20}
    ]  # fmt: skip
    for other in apart:
        assert beside(example("finetune", **other), [beats]) == {}, other
    assert beside(example("finetune", leads=["V1"]), [people, beats]) == {"age and sex": people}, "it reads no lead"
    assert beside(example("finetune", folds=4), [people]) == {}
    for changed, value in {"seeds": [0], "classes": ["a", "b"], "task": "multilabel"}.items():
        assert beside(record.model_copy(update={changed: value}), [people]) == {}
    record.data.fingerprint = "other"
    assert beside(record, [people]) == {}
