"""Metrics of several labels: scikit-learn's values, resamples as the set with records repeated."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as reference
from sklearn.calibration import calibration_curve

from ecglib.evaluation import bootstrap, labels, metrics, ranking, thresholds

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


@settings(max_examples=25)
@given(n=st.integers(2, 80), seed=st.integers(0, 2**32), ties=st.booleans())
def test_values_are_scikit_learns(n: int, seed: int, ties: bool) -> None:
    y, p, decided = example(n, seed, ties=ties)
    found = labels.values(y, p, decided, ones(n))
    assert tuple(found) == labels.METRICS
    for c in range(y.shape[1]):
        one = [value[0, c] for value in found.values()][:-1]
        has, given_ = y[:, c], decided[:, c]
        if has.all() or not has.any():
            assert np.isnan(one).all()
            continue
        areas = reference.roc_auc_score(has, p[:, c]), reference.average_precision_score(has, p[:, c])
        recalls = reference.recall_score(has, given_), reference.recall_score(~has, ~given_)
        ppv = reference.precision_score(has, given_, zero_division=np.nan)
        assert one == pytest.approx([*areas, reference.f1_score(has, given_), *recalls, ppv], nan_ok=True)


@settings(max_examples=25)
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


def test_no_records_and_no_class_to_score_have_no_metrics() -> None:
    y, p, decided = example(0, 0)
    weights = np.ones((2, 0), dtype=np.int64)
    for value in labels.values(y, p, decided, weights).values():
        assert value.shape == (2, 4) and np.isnan(value).all()
        assert np.isnan(metrics.macro(value)).all()


@settings(max_examples=30)
@given(n=st.integers(1, 200), seed=st.integers(0, 2**32))
def test_bins_are_scikit_learns_and_give_the_calibration_error(n: int, seed: int) -> None:
    y, p, _ = example(n, seed, ties=False)
    p[0], p[-1] = 0, 1
    bins = labels.reliability(y, p)
    error = labels.calibration_error(y, p, ones(n))[0]
    for c in range(y.shape[1]):
        observed, predicted = calibration_curve(y[:, c], p[:, c], n_bins=10)
        bin_n, here = bins["n"][c], bins["n"][c] > 0
        np.testing.assert_allclose(bins["observed"][c, here], observed)
        np.testing.assert_allclose(bins["predicted"][c, here], predicted)
        assert np.isnan(bins["observed"][c, ~here]).all() and bin_n.sum() == n
        if y[:, c].any() and not y[:, c].all():
            expected = (bin_n[here] / n * np.abs(observed - predicted)).sum()
            assert error[c] == pytest.approx(expected)


def test_resamples_draw_patients_whole() -> None:
    patients = pd.Series(["a", "b", "a", "", "c", ""])
    weights = labels.recording_weights(patients, 50)
    assert weights.shape == (51, 6) and (weights[0] == 1).all()
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[1:, 3] != weights[1:, 5]).any(), "records without a patient are two patients"
    assert (weights[1:, [0, 1, 3, 4, 5]].sum(1) == 5).all()
    assert (weights == labels.recording_weights(patients, 50)).all()
    assert len(labels.recording_weights(patients, 0)) == 1


def test_what_does_not_fit_together_is_refused() -> None:
    y, p, decided = example(10, 0)
    for given_ in ((p[:, :2], decided, ones(10)), (p, decided[:5], ones(10))):
        with pytest.raises(ValueError, match="expected"):
            labels.values(y, *given_)
    with pytest.raises(ValueError, match=r"exceed|mismatch"):
        labels.values(y, p, decided, ones(9))
    for bad in (np.nan, -1.0, 2.0):
        with pytest.raises(ValueError, match="from 0 to 1"):
            thresholds.choose(y, np.where(np.arange(4) == 0, bad, p))
