"""Yardsticks: as good as what they read, and blind to the fold that they score."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from ecglib.evaluation import yardsticks


def people(n: int = 80, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    label = np.arange(n) % 4 == 0
    rows = pd.DataFrame({
        "patient": [f"p{i}" for i in range(n)],
        "label": label.astype(int),
        "age": draw.normal(50, 10, n) + 15 * label,
        "female": draw.integers(0, 2, n).astype(float),
    })  # fmt: skip
    beats = draw.normal(size=(n, 2, 20)).astype(np.float32)
    beats[:, 1, 7] += 2.5 * label
    return rows, beats, np.arange(n) // 4 % 5


def test_they_rank_by_what_they_read() -> None:
    rows, beats, fold = people()
    found = yardsticks.scores(rows, beats, fold, seed=0)
    assert list(found) == ["age and sex", "median beat"]
    assert roc_auc_score(rows["label"], found["median beat"]) > 0.8
    alone = roc_auc_score(rows["label"], rows["age"])
    assert abs(roc_auc_score(rows["label"], found["age and sex"]) - alone) < 0.05


def test_the_labels_of_a_fold_have_no_part_in_its_scores() -> None:
    rows, beats, fold = people()
    before = yardsticks.scores(rows, beats, fold, seed=0)
    other = rows.copy()
    other.loc[fold == 2, "label"] = np.roll(other.loc[fold == 2, "label"], 1)
    after = yardsticks.scores(other, beats, fold, seed=0)
    for name in before:
        np.testing.assert_array_equal(before[name][fold == 2], after[name][fold == 2])
        assert (before[name][fold != 2] != after[name][fold != 2]).any()


def test_unknown_ages_take_the_median_and_unknown_people_no_yardstick() -> None:
    rows, beats, fold = people()
    rows.loc[::7, "age"] = np.nan
    assert np.isfinite(yardsticks.scores(rows, beats, fold, seed=0)["age and sex"]).all()
    rows["age"] = np.nan
    assert list(yardsticks.scores(rows, beats, fold, seed=0)) == ["median beat"]
    assert yardsticks.scores(rows, beats[:, :, :0], fold, seed=0) == {}


def test_a_handful_of_patients_is_enough() -> None:
    rows, beats, _ = people(12)
    found = yardsticks.scores(rows, beats, np.arange(12) // 4, seed=0)
    assert np.isfinite(found["median beat"]).all()
