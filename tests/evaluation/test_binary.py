"""Scores of two classes out of fold: the values of one label, and intervals that know patients."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecglib.evaluation import binary, bootstrap, labels


def table(n: int, seed: int, patients: int) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    label = np.arange(n) % 4 == 0
    return pd.DataFrame({
        "record": [f"r{i:04d}" for i in range(n)],
        "patient": [f"p{i % patients}" for i in range(n)],
        "label": label.astype(int),
        "score": (draw.normal(size=n) + 0.8 * label).round(1),
        "log_odds": np.log(1 / 3),
    })  # fmt: skip


@settings(max_examples=30)
@given(n=st.integers(8, 200), seed=st.integers(0, 2**32))
def test_values_are_those_of_one_label_with_patients_drawn_whole(n: int, seed: int) -> None:
    rows = table(n, seed, patients=5)
    codes, drawn = bootstrap.patient_weights(rows["patient"], 4)
    found = binary.values(rows, codes, drawn)
    assert tuple(found) == binary.METRICS
    score, y = rows[["score"]].to_numpy(), rows[["label"]].to_numpy() == 1
    expected = labels.values(y, 1 / (1 + 3 * np.exp(-score)), score >= 0, drawn[:, codes])
    for name in labels.METRICS:
        known = ~np.isnan(expected[name][:, 0])
        np.testing.assert_allclose(found[name][known], expected[name][known, 0], atol=1e-12, err_msg=name)
    assert found["accuracy"][0] == pytest.approx(((score >= 0) == y).mean())


def test_a_recordings_score_is_the_mean_of_its_beats() -> None:
    beats = pd.DataFrame({
        "record": ["b", "a", "a"], "patient": ["2", "1", "1"], "label": [0, 1, 1], "score": [-1.0, 3.0, 0.0],
        "log_odds": [0.1, 0.2, 0.2],
    })  # fmt: skip
    found = binary.pooled(beats)[["record", "score", "label"]]
    assert found.to_numpy().tolist() == [["a", 1.5, 1], ["b", -1.0, 0]]
