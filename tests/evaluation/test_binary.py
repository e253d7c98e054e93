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
    assert set(found) == set(binary.METRICS)
    assert found["auroc"] == pytest.approx(reference.roc_auc_score(y, score))
    assert found["auprc"] == pytest.approx(reference.average_precision_score(y, score))
    assert found["se"] == pytest.approx(reference.recall_score(y, predicted))
    assert found["sp"] == pytest.approx(reference.recall_score(1 - y, ~predicted))
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(y, predicted))
    if predicted.any():
        assert found["ppv"] == pytest.approx(reference.precision_score(y, predicted))
        assert found["f1"] == pytest.approx(reference.f1_score(y, predicted))
    p = 1 / (1 + np.exp(-score) * 3)
    ece = 0.0
    for low in np.arange(10) / 10:
        inside = (p >= low) & (p < low + 0.1)
        ece += abs(p[inside].sum() - y[inside].sum()) / n
    assert found["ece"] == pytest.approx(ece, abs=1e-9)


def test_probabilities_at_the_share_of_sick_are_calibrated() -> None:
    """Scores that are true log-odds at even odds give a small calibration error once the odds are put back."""
    draw = np.random.default_rng(0)
    label = draw.random(200_000) < 0.2
    x = draw.normal(size=len(label)) + label  # its log-odds at even odds are x - 1/2
    rows = pd.DataFrame({"patient": "", "label": label.astype(int), "score": x - 0.5, "log_odds": np.log(0.25)})
    codes = np.zeros(len(rows), dtype=np.int64)
    one = np.ones((1, 1), dtype=np.int64)
    assert binary.values(rows, codes, one)["ece"][0] < 0.005
    assert binary.values(rows.assign(log_odds=0.0), codes, one)["ece"][0] > 0.15


def test_a_recordings_score_is_the_mean_of_its_beats() -> None:
    beats = pd.DataFrame({
        "record": ["b", "a", "a"], "patient": ["2", "1", "1"], "label": [0, 1, 1], "score": [-1.0, 3.0, 0.0],
        "log_odds": [0.1, 0.2, 0.2],
    })  # fmt: skip
    found = binary.pooled(beats)
    assert found["record"].tolist() == ["a", "b"]
    assert found["score"].tolist() == [1.5, -1.0]
    assert found["label"].tolist() == [1, 0]


def test_resamples_draw_patients_whole() -> None:
    """Ten copies of a patient's recording change no interval; as patients of their own they would narrow it."""
    rows = table(60, 1, patients=60)
    copied = pd.concat([rows] * 10, ignore_index=True)
    codes, drawn = bootstrap.patient_weights(rows["patient"], 400)
    again, same = bootstrap.patient_weights(copied["patient"], 400)
    a, b = binary.values(rows, codes, drawn), binary.values(copied, again, same)
    for name in ("auroc", "se", "sp", "accuracy"):
        np.testing.assert_allclose(a[name], b[name])
    alone = copied.assign(patient="")
    c = binary.values(alone, *bootstrap.patient_weights(alone["patient"], 400))
    assert np.std(c["accuracy"][1:]) < 0.5 * np.std(a["accuracy"][1:])
