"""Metrics of several labels: scikit-learn's values, resamples as the set with records repeated."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as reference
from sklearn.calibration import calibration_curve

from ecglib.evaluation import bootstrap, labels, metrics, ranking

Example = tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.bool_]]


def example(n: int, seed: int, classes: int = 4, ties: bool = True) -> Example:
    """Labels (none or all positive of some classes, if few), probabilities with or without ties, decisions."""
    draw = np.random.default_rng(seed)
    y = draw.random((n, classes)) < np.linspace(0.1, 0.7, classes)
    p = 1 / (1 + np.exp(-draw.normal(size=y.shape) - y))
    if ties:
        p = p.round(1)
    return y, p, p >= draw.random(classes)


def ones(n: int) -> NDArray[np.int64]:
    return np.ones((1, n), dtype=np.int64)


@settings(deadline=None, max_examples=60)
@given(n=st.integers(2, 80), seed=st.integers(0, 2**32), ties=st.booleans())
def test_values_are_scikit_learns(n: int, seed: int, ties: bool) -> None:
    y, p, decided = example(n, seed, ties=ties)
    found = {name: value[0] for name, value in labels.values(y, p, decided, ones(n)).items()}
    assert tuple(found) == labels.METRICS
    for c in range(y.shape[1]):
        has, given_ = y[:, c], decided[:, c]
        if has.all() or not has.any():
            assert all(np.isnan(value[c]) for value in found.values())
            continue
        assert found["auroc"][c] == pytest.approx(reference.roc_auc_score(has, p[:, c]))
        assert found["auprc"][c] == pytest.approx(reference.average_precision_score(has, p[:, c]))
        assert found["f1"][c] == pytest.approx(reference.f1_score(has, given_))
        assert found["se"][c] == pytest.approx(reference.recall_score(has, given_))
        assert found["sp"][c] == pytest.approx(reference.recall_score(~has, ~given_))
        expected = reference.precision_score(has, given_, zero_division=np.nan)
        assert found["ppv"][c] == pytest.approx(expected, nan_ok=True)


@settings(deadline=None, max_examples=25)
@given(n=st.integers(1, 60), seed=st.integers(0, 2**32))
def test_a_resample_is_the_set_with_its_records_repeated(n: int, seed: int) -> None:
    y, p, decided = example(n, seed)
    weights = np.random.default_rng(seed).integers(0, 4, (3, n))
    found = labels.values(y, p, decided, weights)
    for r, row in enumerate(weights):
        again = np.repeat(np.arange(n), row)
        alone = labels.values(y[again], p[again], decided[again], ones(len(again)))
        for name in labels.METRICS:
            np.testing.assert_allclose(found[name][r], alone[name][0], atol=1e-12, err_msg=name)


def test_portions_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    y, p, decided = example(40, 5)
    weights = bootstrap.record_weights(40, 23)
    whole = labels.values(y, p, decided, weights)
    monkeypatch.setattr(ranking, "CELLS", 170)
    for name, value in labels.values(y, p, decided, weights).items():
        np.testing.assert_array_equal(value, whole[name])


def test_confusion_matrices_are_scikit_learns_and_say_what_the_rates_say() -> None:
    y, _, decided = example(100, 3)
    found = labels.matrices(y, decided)
    np.testing.assert_array_equal(found, reference.multilabel_confusion_matrix(y, decided))
    rates = labels.rates(y, decided, ones(100))
    np.testing.assert_allclose(rates["se"][0], found[:, 1, 1] / found[:, 1].sum(1))
    np.testing.assert_allclose(rates["sp"][0], found[:, 0, 0] / found[:, 0].sum(1))
    one = labels.matrices(y[:, :1], decided[:, :1].astype(int))
    np.testing.assert_array_equal(one, found[:1])


# --- classes that can't be scored -------------------------------------------------------------------------------------


def test_a_class_without_a_positive_or_a_negative_is_in_no_mean() -> None:
    y, p, decided = example(60, 7)
    y[:, 1], y[:, 2] = False, True
    found = labels.values(y, p, decided, ones(60))
    kept = labels.values(y[:, [0, 3]], p[:, [0, 3]], decided[:, [0, 3]], ones(60))
    for name in labels.METRICS:
        assert np.isnan(found[name][0, 1:3]).all()
        assert metrics.macro(found[name])[0] == pytest.approx(kept[name][0].mean())


def test_no_records_and_no_class_to_score_have_no_metrics() -> None:
    y, p, decided = example(0, 0)
    weights = np.ones((2, 0), dtype=np.int64)
    for value in labels.values(y, p, decided, weights).values():
        assert value.shape == (2, 4) and np.isnan(value).all()
        assert np.isnan(metrics.macro(value)).all()


def test_a_label_never_given_has_no_precision_and_an_f1_of_nought() -> None:
    y = np.array([[True], [False]])
    found = labels.rates(y, np.zeros_like(y), ones(2))
    assert np.isnan(found["ppv"][0, 0]) and found["f1"][0, 0] == 0 and found["sp"][0, 0] == 1


# --- calibration ------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(n=st.integers(1, 200), seed=st.integers(0, 2**32))
def test_bins_are_scikit_learns_and_give_the_calibration_error(n: int, seed: int) -> None:
    y, p, _ = example(n, seed, ties=False)
    bins = labels.reliability(y, p)
    error = labels.calibration_error(y, p, ones(n))[0]
    for c in range(y.shape[1]):
        observed, predicted = calibration_curve(y[:, c], p[:, c], n_bins=10)
        here = bins.n[c] > 0
        np.testing.assert_allclose(bins.observed[c, here], observed)
        np.testing.assert_allclose(bins.predicted[c, here], predicted)
        assert np.isnan(bins.observed[c, ~here]).all() and bins.n[c].sum() == n
        if y[:, c].any() and not y[:, c].all():
            expected = (bins.n[c, here] / n * np.abs(observed - predicted)).sum()
            assert error[c] == pytest.approx(expected)


def test_true_probabilities_are_calibrated_and_their_square_is_not() -> None:
    draw = np.random.default_rng(0)
    p = draw.random((200_000, 1))
    y = draw.random(p.shape) < p
    assert labels.calibration_error(y, p, ones(len(p)))[0, 0] < 0.005
    # of p ** 2 the mean gap to p is 1/2 - 1/3
    assert labels.calibration_error(y, p**2, ones(len(p)))[0, 0] == pytest.approx(1 / 6, abs=0.005)


def test_nought_and_one_are_in_the_outer_bins() -> None:
    y, p = np.array([[False], [True]]), np.array([[0.0], [1.0]])
    bins = labels.reliability(y, p)
    assert bins.n[0].tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert labels.calibration_error(y, p, ones(2))[0, 0] == 0


# --- patients and seeds -----------------------------------------------------------------------------------------------


def test_resamples_draw_patients_whole() -> None:
    patients = pd.Series(["a", "b", "a", "", "c", ""])
    weights = labels.recording_weights(patients, 50)
    assert weights.shape == (51, 6) and (weights[0] == 1).all()
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[1:, 3] != weights[1:, 5]).any(), "records without a patient are two patients"
    assert (weights[1:, [0, 1, 3, 4, 5]].sum(1) == 5).all()
    assert (weights == labels.recording_weights(patients, 50)).all()
    assert len(labels.recording_weights(patients, 0)) == 1


def test_intervals_are_of_the_mean_over_seeds_and_macro_over_classes() -> None:
    n, names = 80, list("abcd")
    weights = labels.recording_weights(pd.Series([f"p{i // 2}" for i in range(n)]), 200)
    seeds = []
    for seed in (0, 1):
        y, p, decided = example(n, 9)
        y[:, 3] = False
        p = np.clip(p + np.random.default_rng(seed).normal(size=p.shape) / 10, 0, 1)
        seeds.append(labels.values(y, p, decided, weights))
    over_all, per_class = labels.intervals(seeds, names)
    assert set(over_all) == {f"macro_{name}" for name in labels.METRICS} and list(per_class) == names
    auroc = over_all["macro_auroc"]
    by_hand = np.array([np.nanmean(one["auroc"][:, :3], axis=1) for one in seeds])
    assert auroc.per_seed == pytest.approx(by_hand[:, 0]) and auroc.mean == pytest.approx(by_hand[:, 0].mean())
    low, high = np.quantile(by_hand[:, 1:].mean(0), [0.025, 0.975])
    assert (auroc.low, auroc.high) == pytest.approx((low, high))
    assert per_class["d"]["f1"].mean is None and per_class["d"]["f1"].low is None
    assert per_class["a"]["f1"].mean == pytest.approx(np.mean([one["f1"][0, 0] for one in seeds]))


def test_a_thousand_resamples_cost_less_than_half_of_as_many_one_by_one() -> None:
    y, p, _ = example(500, 4, classes=5)
    weights = bootstrap.record_weights(500, 1000)
    start = time.process_time()
    labels.areas(y, p, weights)
    together = time.process_time() - start
    start = time.process_time()
    for row in weights[:20]:
        again = np.repeat(np.arange(500), row)
        for c in range(5):
            reference.roc_auc_score(y[again, c], p[again, c])
            reference.average_precision_score(y[again, c], p[again, c])
    assert together < 0.5 * 50 * (time.process_time() - start)


# --- refused ----------------------------------------------------------------------------------------------------------


def test_what_does_not_fit_together_is_refused() -> None:
    y, p, decided = example(10, 0)
    with pytest.raises(ValueError, match="expected"):
        labels.values(y, p[:, :2], decided, ones(10))
    with pytest.raises(ValueError, match="expected"):
        labels.values(y, p, decided[:5], ones(10))
    with pytest.raises(ValueError, match="expected"):
        labels.values(y, p, decided, ones(9))
    for bad in (np.nan, -1.0, 2.0):
        spoilt = p.copy()
        spoilt[0, 0] = bad
        with pytest.raises(ValueError, match="from 0 to 1"):
            labels.values(y, spoilt, decided, ones(10))
