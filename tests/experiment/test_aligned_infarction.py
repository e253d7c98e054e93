"""Networks that read all leads of an aligned beat together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from ecglib.config import InfarctionParameters
from ecglib.data import splits
from ecglib.data.infarction import CLASSES, Cohort
from ecglib.data.splits import Index
from ecglib.experiment import infarction as task
from ecglib.experiment.driver import Where
from ecglib.models.layers import Vote


def cohort(n: int = 40, beats: int = 5) -> Cohort:
    """Recordings of two leads. Which class one is of shows in neither lead alone, only in whether they go together."""
    draw = np.random.default_rng(0)
    label = np.arange(n) % 2
    sign = draw.choice([-1.0, 1.0], n * beats)
    recording = np.repeat(np.arange(n), beats)
    signals = 0.1 * draw.standard_normal((n * beats, 2, 101)).astype(np.float32)
    signals[:, 0, 30:50] += sign[:, None]
    signals[:, 1, 30:50] += (sign * np.where(label[recording] == 1, 1.0, -1.0))[:, None]
    table = pd.DataFrame({
        "record": [f"r{i}" for i in range(n)], "patient": [f"p{i}" for i in range(n)], "label": label,
        "likelihood": 100.0, "age": 50.0, "female": 0.0,
    })  # fmt: skip
    median = np.zeros((n, 2, 101), np.float32)
    return Cohort(signals, label[recording], recording, np.arange(len(recording)), table, median, {}, {})


def parameters(**given: Any) -> InfarctionParameters:
    base = {"model": "strided_cnn", "way": "scratch", "leads": ["I", "II"], "folds": 4, "epochs": 2, "batch_size": 16}
    return InfarctionParameters(**base | given)


def divided(data: Cohort) -> tuple[Index, Index]:
    return splits.held_out(splits.folds(data.labels, data.patients, 4, 0, CLASSES), 0)


def learn(p: InfarctionParameters, cohort: Cohort, seed: int, train: Index, test: Index) -> task.Learnt:
    data = task.Data(p)
    vars(data)["cohort"] = cohort
    return task.learn(p, data, seed, train, test, Where(torch.device("cpu"), "float32", "test"))


def score(p: InfarctionParameters, data: Cohort, seed: int = 0) -> tuple[task.Learnt, NDArray[np.int64]]:
    train, test = divided(data)
    return learn(p, data, seed, train, test), test


@pytest.mark.parametrize("imbalance", ["weighted", "smote", "random-over"])
def test_what_only_both_leads_together_tell_is_learnt(imbalance: str) -> None:
    data = cohort()
    found, test = score(parameters(imbalance=imbalance), data)
    assert ((found.scores > 0) == (data.labels[test] == 1)).mean() > 0.95
    assert found.run.epochs_run == 2 and not found.model.training


def test_leads_apart_can_not_tell_it() -> None:
    """The same beats with the second lead drawn from any recording: the test above could fail."""
    data = cohort()
    other = data.signals.copy()
    other[:, 1] = other[np.random.default_rng(1).permutation(len(other)), 1]
    data = replace(data, signals=other)
    found, test = score(parameters(), data)
    assert ((found.scores > 0) == (data.labels[test] == 1)).mean() < 0.75


def test_a_seed_fixes_the_scores() -> None:
    data, p = cohort(), parameters(deterministic=True)
    first, again, other = (score(p, data, seed)[0].scores for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_the_prior_is_that_of_the_training_part() -> None:
    data = cohort()
    found, _ = score(parameters(), data)
    train, _ = divided(data)
    counts = np.bincount(data.labels[train])
    assert found.log_odds == pytest.approx(np.log(counts[1] / counts[0]))


def test_labels_of_what_is_scored_are_not_learnt() -> None:
    data, p = cohort(), parameters(deterministic=True)
    first, test = score(p, data)
    labels = data.labels.copy()
    labels[test] = 1 - labels[test]
    train = divided(data)[0]
    other = replace(data, labels=labels)
    again = learn(p, other, 0, train, test)
    np.testing.assert_array_equal(first.scores, again.scores)


def test_a_vote_is_the_mean_of_its_networks() -> None:
    data = cohort()
    p = parameters(deterministic=True, networks=3)
    found, test = score(p, data)
    assert isinstance(found.model, Vote) and len(found.model.networks) == 3
    x = torch.from_numpy(data.signals[test])
    with torch.no_grad():
        each = torch.stack([network(x) for network in found.model.networks]).numpy()
    np.testing.assert_allclose(found.scores, (each[:, :, 1] - each[:, :, 0]).mean(0), rtol=1e-4, atol=1e-5)
    assert np.abs(each[0] - each[1]).max() > 0.01, "they differ"
    alone = score(parameters(deterministic=True), data)[0]
    np.testing.assert_allclose(alone.scores, each[0, :, 1] - each[0, :, 0], rtol=1e-4, atol=1e-5)
    assert sum(epoch.seconds for epoch in found.run.history) > sum(epoch.seconds for epoch in alone.run.history)
