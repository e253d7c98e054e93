"""Networks of a fold, of beats and of all leads of aligned beats together: what they learn from, what they score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from ecglib.config import InfarctionParameters
from ecglib.data import infarction, splits
from ecglib.data.infarction import CLASSES, Cohort
from ecglib.data.splits import Index
from ecglib.experiment import infarction as task
from ecglib.experiment.driver import Where
from ecglib.models.layers import Vote

ALIGNED = {"model": "strided_cnn", "leads": ["I", "II"]}


def made(label: NDArray[np.int64], of_each: int, signals: NDArray[np.float32]) -> Cohort:
    """Recordings with these labels, `of_each` a patient, as many beats of each as there are signals for."""
    n = len(label)
    recording = np.repeat(np.arange(n), len(signals) // n)
    table = pd.DataFrame({
        "record": [f"r{i}" for i in range(n)], "patient": [f"p{i // of_each}" for i in range(n)], "label": label,
        "likelihood": 100.0, "age": 50.0, "female": 0.0,
    })  # fmt: skip
    median = np.zeros((n, signals.shape[1], 101), np.float32)
    return Cohort(signals, label[recording], recording, np.arange(len(recording)), table, median, {}, {})


def plain(sick: int = 6, healthy: int = 14, beats: int = 5, of_each: int = 2) -> Cohort:
    """A beat's class is plain to see."""
    label = np.repeat([1] * sick + [0] * healthy, of_each)
    signals = np.random.default_rng(0).random((len(label) * beats, 1, 187), dtype=np.float32) * 0.2
    signals[np.repeat(label, beats) == 1, 0, 40:80] += 0.7
    return made(label, of_each, signals)


def together(n: int = 40, beats: int = 5) -> Cohort:
    """Aligned beats of two leads. Their class shows in neither lead alone, only in whether they go together."""
    draw, label = np.random.default_rng(0), np.arange(n) % 2
    sign = draw.choice([-1.0, 1.0], n * beats)
    signals = 0.1 * draw.standard_normal((n * beats, 2, 101)).astype(np.float32)
    signals[:, 0, 30:50] += sign[:, None]
    signals[:, 1, 30:50] += (sign * np.where(np.repeat(label, beats) == 1, 1.0, -1.0))[:, None]
    return made(label, 1, signals)


KINDS: dict[str, tuple[Callable[[], Cohort], dict[str, Any]]] = {"beats": (plain, {}), "aligned": (together, ALIGNED)}


def parameters(**given: Any) -> InfarctionParameters:
    return InfarctionParameters(
        **{"way": "scratch", "epochs": 2, "max_epochs": 2, "batch_size": 16, "folds": 4} | given
    )


def score(
    p: InfarctionParameters, cohort: Cohort, seed: int = 0, parts: tuple[Index, Index] | None = None
) -> tuple[task.Learnt, Index]:
    """What is learnt without the first fold, or in these parts, and the places of the beats that are scored."""
    folds = splits.folds(cohort.labels, cohort.patients, 4, 0, CLASSES)
    train, test = parts or splits.held_out(folds, 0)
    data = task.Data(p)
    vars(data)["cohort"] = cohort
    return task.learn(p, data, seed, train, test, Where(torch.device("cpu"), "float32", "test")), test


@pytest.mark.parametrize(("sick", "healthy", "n"), [(6, 14, 8), (20, 4, 12), (3, 30, 10), (6, 14, 1000)])
def test_limited_to_some_recordings_both_classes_keep_patients(sick: int, healthy: int, n: int) -> None:
    few = infarction.limited(plain(sick, healthy), n)
    assert len(few.recordings) == (n if n < 40 else 40)
    if n < 40:
        assert few.recordings["patient"].is_unique
    found = few.recordings.groupby("label")["patient"].nunique()
    assert found[1] >= min(4, sick) and found[0] >= min(4, healthy)
    assert set(few.recording) == set(range(len(few.recordings)))


@pytest.mark.parametrize(
    ("kind", "imbalance"),
    [
        *(("beats", name) for name in ("weighted", "smote")),
        *(("aligned", name) for name in ("weighted", "random-over")),
    ],
)
def test_what_is_to_be_seen_is_learnt(kind: str, imbalance: str) -> None:
    cohort, own = KINDS[kind]
    data, own = cohort(), own | ({"smote_neighbours": 3} if imbalance.startswith("smote") else {})
    found, test = score(parameters(imbalance=imbalance, **own), data)
    assert ((found.scores > 0) == (data.labels[test] == 1)).mean() > 0.95
    assert found.run.epochs_run == 2 and not found.model.training
    sick = np.delete(data.labels, test).mean()
    assert found.log_odds == pytest.approx(np.log(sick / (1 - sick)))


def test_leads_apart_can_not_tell_it() -> None:
    """The same beats with the second lead drawn from any recording: the test above could fail."""
    data = together()
    other = data.signals.copy()
    other[:, 1] = other[np.random.default_rng(1).permutation(len(other)), 1]
    found, test = score(parameters(**ALIGNED), replace(data, signals=other))
    assert ((found.scores > 0) == (data.labels[test] == 1)).mean() < 0.75


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_fixes_the_scores_and_the_labels_that_are_scored_have_no_part_in_them(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task, "FEWEST", 1)
    cohort, own = KINDS[kind]
    data, p = cohort(), parameters(deterministic=True, **own)
    first, test = score(p, data)
    labels = data.labels.copy()
    labels[test] = 1 - labels[test]
    parts = np.setdiff1d(np.arange(len(labels)), test), test
    np.testing.assert_array_equal(first.scores, score(p, replace(data, labels=labels), 0, parts)[0].scores)
    assert (score(p, data, seed=1)[0].scores != first.scores).any()


def test_a_vote_is_the_mean_of_its_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "FEWEST", 1)
    data = together()
    found, test = score(parameters(deterministic=True, networks=3, **ALIGNED), data)
    assert isinstance(found.model, Vote) and len(found.model.networks) == 3
    x = torch.from_numpy(data.signals[test])
    with torch.no_grad():
        each = torch.stack([network(x) for network in found.model.networks]).numpy()
    np.testing.assert_allclose(found.scores, (each[:, :, 1] - each[:, :, 0]).mean(0), rtol=1e-4, atol=1e-5)
    assert np.abs(each[0] - each[1]).max() > 0.01, "they differ"
    alone = score(parameters(deterministic=True, **ALIGNED), data)[0]
    np.testing.assert_allclose(alone.scores, each[0, :, 1] - each[0, :, 0], rtol=1e-4, atol=1e-5)
    assert sum(epoch.seconds for epoch in found.run.history) > sum(epoch.seconds for epoch in alone.run.history)
