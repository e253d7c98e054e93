"""Networks of a fold: what they learn from, what they score."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from ecglib.config import InfarctionParameters
from ecglib.data import infarction, splits
from ecglib.data.infarction import CLASSES, Cohort
from ecglib.data.splits import Index
from ecglib.experiment import infarction as task
from ecglib.experiment.driver import Where


def cohort(sick: int = 6, healthy: int = 14, beats: int = 5, of_each: int = 2) -> Cohort:
    """Recordings of `of_each` a patient, a beat's class plain to see."""
    n = (sick + healthy) * of_each
    label = np.repeat([1] * sick + [0] * healthy, of_each)
    table = pd.DataFrame({
        "record": [f"r{i}" for i in range(n)], "patient": [f"p{i // of_each}" for i in range(n)], "label": label,
        "likelihood": 100.0, "age": 50.0, "female": 0.0,
    })  # fmt: skip
    recording = np.repeat(np.arange(n), beats)
    draw = np.random.default_rng(0)
    signals = draw.random((len(recording), 1, 187), dtype=np.float32) * 0.2
    signals[label[recording] == 1, 0, 40:80] += 0.7
    return Cohort(
        signals,
        label[recording],
        recording,
        np.arange(len(recording)),
        table,
        np.zeros((n, 1, 101), np.float32),
        {},
        {},
    )


def parameters(**given: Any) -> InfarctionParameters:
    return InfarctionParameters(
        **{"way": "scratch", "epochs": 2, "max_epochs": 2, "batch_size": 16, "folds": 4} | given
    )


def divided(data: Cohort, number: int = 0) -> tuple[Index, Index]:
    return splits.held_out(splits.folds(data.labels, data.patients, 4, 0, CLASSES), number)


def learn(p: InfarctionParameters, cohort: Cohort, seed: int, train: Index, test: Index) -> task.Learnt:
    data = task.Data(p)
    vars(data)["cohort"] = cohort
    return task.learn(p, data, seed, train, test, Where(torch.device("cpu"), "float32", "test"))


def train(p: InfarctionParameters, data: Cohort, train: Index, test: Index) -> task.Learnt:
    return learn(p, data, 0, train, test)


@pytest.mark.parametrize(("sick", "healthy", "n"), [(6, 14, 8), (20, 4, 12), (3, 30, 10), (6, 14, 1000)])
def test_limited_to_some_recordings_both_classes_keep_patients(sick: int, healthy: int, n: int) -> None:
    few = infarction.limited(cohort(sick, healthy), n)
    assert len(few.recordings) == (n if n < 40 else 40)
    if n < 40:
        assert few.recordings["patient"].is_unique
    found = few.recordings.groupby("label")["patient"].nunique()
    assert found[1] >= min(4, sick) and found[0] >= min(4, healthy)
    assert set(few.recording) == set(range(len(few.recordings)))


@pytest.mark.parametrize("imbalance", ["weighted", "smote", "smote-tomek", "random-under"])
def test_what_is_plain_to_see_is_learnt(imbalance: str) -> None:
    data = cohort()
    p = parameters(imbalance=imbalance, **({"smote_neighbours": 3} if imbalance.startswith("smote") else {}))
    parts = divided(data)
    done = train(p, data, *parts)
    assert ((done.scores > 0) == (data.labels[parts[1]] == 1)).all()
    sick = (data.labels[parts[0]] == 1).mean()
    assert done.log_odds == pytest.approx(np.log(sick / (1 - sick)))


def test_the_labels_that_are_scored_have_no_part_in_the_scores() -> None:
    data = cohort()
    p = parameters(deterministic=True)
    parts = divided(data, 1)
    other = cohort()
    other.labels[parts[1]] = 1 - other.labels[parts[1]]
    np.testing.assert_array_equal(train(p, data, *parts).scores, train(p, other, *parts).scores)


def test_parameters_that_mean_nothing_together_are_refused() -> None:
    for given, said in (
        ({"way": "scratch", "layer_decay": 0.5}, "layer_decay"),
        ({"database": "heartbeat"}, "protocol: by-beat"),
        ({"protocol": "by-beat", "curve": [5]}, "curve"),
        ({"smote_neighbours": 3}, "smote_neighbours"),
        ({"leads": ["II", "II"]}, "names a lead twice"),
        ({"model": "hydra"}, "nothing can be transferred"),
        ({"model": "ecgnet"}, "nothing can be transferred"),
        ({"model": "strided_cnn", "way": "finetune"}, "takes aligned beats; take way: scratch"),
        ({"model": "strided_cnn", "protocol": "by-beat"}, "takes aligned beats; .*protocol: by-patient"),
        ({"model": "strided_cnn", "noise": 0.1}, "noise: means nothing"),
        ({"model": "strided_cnn", "hidden": 8}, "hidden: means nothing"),
        ({"networks": 2}, "networks: means nothing"),
        ({"deterministic": True, "precision": "bfloat16"}, "deterministic"),
    ):
        with pytest.raises(ValueError, match=said):
            InfarctionParameters(**{"way": "scratch"} | given)
