"""Tables of infarction results: what is there, what is not, and what differs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ecglib.data.infarction import CLASSES
from ecglib.evaluation.bootstrap import Interval
from ecglib.experiment import record as results
from ecglib.experiment.record import DataCard, InfarctionCard, Record, Resampling
from ecglib.report import infarctions, yardsticks
from ecglib.report.names import NOT_RUN


def example(way: str = "scratch", *, shift: float = 0.0, n_leads: int = 1, **given: Any) -> Record:
    """A result on 40 recordings of 40 patients whose scores are the better the larger `shift` is."""
    draw = np.random.default_rng(0)
    label = np.arange(40) % 4 == 0
    scores = {
        n: {f"r{i:02d}": [float(draw.normal() + by * label[i] - 0.5) for _ in range(2)] for i in range(40)}
        for n, by in (("all", shift), ("5", 0.0), ("20", shift))
    }
    value = Interval(mean=0.8, low=0.7, high=0.9, per_seed=[0.8, 0.8])
    names = ("auroc", "auprc", "se", "sp", "ppv", "f1", "accuracy", "ece")
    ill = dict(zip(scores["all"], label.tolist(), strict=True))
    leads = ["II"] if n_leads == 1 else [f"V{i}" for i in range(n_leads)]
    counts = {"healthy": 30, "infarction": 10}
    parameters = {
        "model": "cnet", "way": way, "leads": leads, "imbalance": "weighted", "protocol": "by-patient",
        "pretrained": "heartbeat/baseline", "folds": 10, "cut": "kachuee", "refit": False,
    }  # fmt: skip
    return Record(
        experiment=f"infarction/{way}" + ("" if n_leads == 1 else "-12-lead"),
        title=f"{way.capitalize()}, {n_leads} leads",
        profile="full", task="binary", seeds=[0, 1], classes=["healthy", "infarction"],
        data=DataCard(
            name="ptb-xl", sample=False, fingerprint="f" * 64, n_train=36, n_val=0, n_test=40,
            test_indices_sha256="a" * 64,
            class_counts={"recordings": counts, "patients": counts, "beats": {"healthy": 270, "infarction": 90}},
        ),
        parameters=parameters | given,
        metrics=dict.fromkeys(names, value),
        infarction=InfarctionCard(
            beat_metrics=dict.fromkeys(names, value),
            likely=dict.fromkeys(names, value),
            curve={"5": Interval(mean=0.6, low=0.5, high=0.7), "20": Interval(mean=0.7, low=0.6, high=0.8)},
            transfer={"loaded": ["c1.weight"], "skipped": ["fc2.weight"], "frozen": [], "n_learning": 1234},
            scores=scores, patients={name: f"p{name}" for name in scores["all"]}, folds=10, epochs=5,
        ),
        per_class=dict.fromkeys(CLASSES, dict.fromkeys(("se", "ppv", "f1", "specificity"), value)),
        intervals=Resampling(unit="patient", n=1000),
        confusion=[[[30, 0], [0, 10]]] * 2,
        by_record={name: [[[int(not sick), 0], [0, int(sick)]]] * 2 for name, sick in ill.items()},
        train_seconds=1.0, hardware="2 cores", versions={}, precision="float32", commit="",
        created="2025-01-02T03:04:05Z",
    )  # fmt: skip


def yardstick(model: str = "age_and_sex", *, shift: float = 0.0, cut: str = "age and sex", **given: Any) -> Record:
    """A yardstick's result on the same recordings; the seed of its scores is another one."""
    made = example("scratch", shift=shift, model=model, cut=cut, **given)
    own = f"infarction/{model.replace('_', '-')}"
    card = results.infarction(made).model_copy(update={"beat_metrics": {}, "curve": {}, "epochs": 0})
    return made.model_copy(update={"experiment": own, "title": "A yardstick", "infarction": card})


def test_what_has_no_result_says_so() -> None:
    text = infarctions.ways([example("scratch"), example("gradual", n_leads=12)], "cnet", 1)
    assert text.count("not run") == 3
    assert infarctions.ways([], "cnet", 12).count("not run") == 4
    assert infarctions.verdict([], "cnet") == infarctions.verdict_of_few([], "cnet") == "Not run."
    assert infarctions.verdict_of_yardsticks([], [yardstick()]) == ""
    assert "open" in infarctions.aims([], "cnet") and NOT_RUN in infarctions.aims([], "cnet")


def test_seeds_together_are_scored_by_their_mean() -> None:
    record = example(shift=1.0)
    scores = np.array(list(results.infarction(record).scores["all"].values()))
    label = np.arange(40) % 4 == 0
    together = yardsticks.together(record)
    assert together.mean == pytest.approx(roc_auc_score(label, scores.mean(1)))
    assert together.mean != pytest.approx(np.mean([roc_auc_score(label, seed) for seed in scores.T]))
    assert together.low is not None and together.high is not None and together.low < together.mean < together.high
    by_beat = record.model_copy(update={"infarction": results.infarction(record).model_copy(update={"scores": {}})})
    assert yardsticks.together(by_beat) == Interval()


def test_a_gain_is_paired_signed_and_told_by_its_interval() -> None:
    scratch, better = example("scratch", shift=1.0), example("finetune", shift=3.0)
    gain = yardsticks.gain(better, scratch)
    assert gain.mean is not None and gain.low is not None and gain.mean > gain.low > 0
    assert yardsticks.gain(scratch, better).mean == pytest.approx(-gain.mean)
    same = yardsticks.gain(scratch, example("frozen", shift=1.0))
    assert (same.mean, same.low, same.high) == (0, 0, 0)
    for shift, said in ((9.0, "better"), (-9.0, "worse"), (1.0, "not told apart from it")):
        assert f"| {said} " in yardsticks.table(example(shift=shift), [yardstick(shift=1.0)])


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


def test_a_yardstick_s_page_says_what_it_is() -> None:
    said = infarctions.provenance(yardstick())
    assert "fitted at once" in said and "scratch" not in said
    assert infarctions.levels(yardstick()).count("| beats") == 0
    assert yardsticks.table(yardstick(), [yardstick()]) == "This is a yardstick itself."


def test_a_yardstick_belongs_to_what_read_the_same_and_is_divided_alike() -> None:
    beside, record, people = yardsticks.beside, example("finetune"), yardstick()
    beats = yardstick("median_beat", cut="median beat")
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
