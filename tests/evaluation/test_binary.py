"""Scores of two classes out of fold: scikit-learn's values, and intervals that know patients."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from ecglib.evaluation import binary, bootstrap


def table(n: int, seed: int, patients: int = 0) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    label = np.arange(n) % 4 == 0
    return pd.DataFrame({
        "record": [f"r{i:04d}" for i in range(n)],
        "patient": [f"p{i % patients}" if patients else "" for i in range(n)],
        "label": label.astype(int),
        "score": draw.normal(size=n).round(1) + 0.8 * label,
        "log_odds": np.log(1 / 3),
    })  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(n=st.integers(8, 200), seed=st.integers(0, 2**32))
def test_values_are_scikit_learns(n: int, seed: int) -> None:
    rows = table(n, seed)
    found = {name: v[0] for name, v in binary.values(rows, *bootstrap.patient_weights(rows["patient"], 0)).items()}
    y, score = rows["label"].to_numpy(), rows["score"].to_numpy()
    predicted = score >= 0
    assert tuple(found) == binary.METRICS
    expected = {
        "auroc": reference.roc_auc_score(y, score),
        "auprc": reference.average_precision_score(y, score),
        "se": reference.recall_score(y, predicted),
        "sp": reference.recall_score(1 - y, ~predicted),
        "ppv": reference.precision_score(y, predicted, zero_division=np.nan),
        "f1": reference.f1_score(y, predicted),
        "accuracy": reference.accuracy_score(y, predicted),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, nan_ok=True)
    p = 1 / (1 + np.exp(-score) * 3)
    ece = 0.0
    for low in np.arange(10) / 10:
        inside = (p >= low) & (p < low + 0.1)
        ece += abs(p[inside].sum() - y[inside].sum()) / n
    assert found["ece"] == pytest.approx(ece, abs=1e-9)


def test_a_recordings_score_is_the_mean_of_its_beats() -> None:
    beats = pd.DataFrame({
        "record": ["b", "a", "a"], "patient": ["2", "1", "1"], "label": [0, 1, 1], "score": [-1.0, 3.0, 0.0],
        "log_odds": [0.1, 0.2, 0.2],
    })  # fmt: skip
    found = binary.pooled(beats)[["record", "score", "label"]]
    assert found.to_numpy().tolist() == [["a", 1.5, 1], ["b", -1.0, 0]]
