"""The kernel yardstick: reads shapes that no linear model reads, and is blind to the fold that it scores."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from ecglib.evaluation import yardsticks
from ecglib.training import median_beat


def people(n: int = 120) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """A wave of either sign in both leads; those are ill whose signs differ."""
    draw = np.random.default_rng(0)
    first, second = draw.integers(0, 2, n), draw.integers(0, 2, n)
    label = (first != second).astype(int)
    rows = pd.DataFrame({"patient": [f"p{i}" for i in range(n)], "label": label, "age": np.nan, "female": np.nan})
    beats = 0.1 * draw.normal(size=(n, 2, 20))
    beats[:, 0, 5:12] += 2.0 * first[:, None] - 1
    beats[:, 1, 5:12] += 2.0 * second[:, None] - 1
    return rows, beats.astype(np.float32), np.arange(n) % 5


def kernel(rows: pd.DataFrame, beats: np.ndarray, fold: np.ndarray) -> np.ndarray:
    return median_beat.scores(rows, beats, fold)[median_beat.NAME]


def test_it_reads_two_leads_together_which_no_linear_model_does() -> None:
    rows, beats, fold = people()
    linear = yardsticks.scores(rows, beats, fold, seed=0)["median beat"]
    assert roc_auc_score(rows["label"], linear) < 0.7
    assert roc_auc_score(rows["label"], kernel(rows, beats, fold)) > 0.99


def test_a_lead_counts_as_much_as_its_voltage() -> None:
    rows, beats, fold = people()
    small = beats * np.array([1.0, 1e-3], dtype=np.float32)[None, :, None]
    assert roc_auc_score(rows["label"], kernel(rows, small, fold)) < 0.7


def test_the_labels_of_a_fold_have_no_part_in_its_scores() -> None:
    rows, beats, fold = people()
    before = kernel(rows, beats, fold)
    other = rows.assign(label=np.where(fold == 2, 1 - rows["label"], rows["label"]))
    after = kernel(other, beats, fold)
    np.testing.assert_array_equal(before[fold == 2], after[fold == 2])
    assert (before[fold != 2] != after[fold != 2]).any()


def test_a_handful_of_patients_is_enough_and_beats_alone_give_nothing() -> None:
    rows, beats, _ = people(12)
    fold = np.arange(12) // 4
    assert np.isfinite(kernel(rows, beats, fold)).all()
    assert median_beat.scores(rows, beats[:, :, :0], fold) == {}
