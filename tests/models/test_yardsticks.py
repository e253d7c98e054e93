"""Yardsticks of recordings: as good as what they read, and what scikit-learn makes of it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from ecglib.errors import UserError
from ecglib.models import age_and_sex, registry
from ecglib.models.median_beat import MedianBeat
from ecglib.models.yardstick import Yardstick

NAMES = ("age_and_sex", "median_beat", "kernel_machine")


def build(name: str, x: NDArray[np.float64], n_labels: int = 1) -> Yardstick:
    made = registry.build(name, x.shape[1], x.shape[2], n_labels)
    assert isinstance(made, Yardstick)
    return made


def people(n: int = 80) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.str_]]:
    """Beats of two leads, of which the second tells the label; labels; a patient each."""
    draw = np.random.default_rng(0)
    y = np.arange(n) % 4 == 0
    x = draw.normal(size=(n, 2, 20))
    x[:, 1, 7] += 2.5 * y
    return x, y[:, None], np.array([f"p{i}" for i in range(n)])


def test_age_and_sex_is_scikit_learn_s_regression_with_the_median_for_what_is_unknown() -> None:
    draw = np.random.default_rng(1)
    known = np.stack([draw.normal(50, 10, 60), draw.integers(0, 2, 60)], 1)
    y = known[:, 0] + draw.normal(0, 5, 60) > 55
    known[::7, 0] = np.nan
    model = build("age_and_sex", known[:, None])
    model.fit(known[:, None], y[:, None], np.arange(60).astype(np.str_), seed=0)
    filled = np.where(np.isnan(known), np.nanmedian(known, 0), known)
    z = (filled - filled.mean(0)) / filled.std(0)
    expected = LogisticRegression(C=1.0, class_weight="balanced").fit(z, y).decision_function(z)
    np.testing.assert_allclose(model.predict_logits(known[:, None])[:, 0], expected, rtol=1e-6)


def test_the_kernel_machine_is_scikit_learn_s_on_the_beat_as_it_is() -> None:
    x, y, patients = people()
    model = build("kernel_machine", x)
    model.fit(x, y, patients, seed=0)
    flat = x.reshape(len(x), -1)
    expected = SVC(gamma=1 / (flat.shape[1] * flat.var()), class_weight="balanced").fit(flat, y[:, 0])
    np.testing.assert_allclose(model.predict_logits(x)[:, 0], expected.decision_function(flat), rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_labels_are_learnt_one_by_one_and_one_that_nobody_has_is_not(name: str) -> None:
    x, y, patients = people()
    both, alone = build(name, x, 3), build(name, x)
    with pytest.raises(ValueError, match="nothing fitted yet"):
        alone.predict_logits(x)
    both.fit(x, np.concatenate([y, np.zeros_like(y), ~y], 1), patients, seed=0)
    alone.fit(x, y, patients, seed=0)
    logits = both.predict_logits(x)
    np.testing.assert_array_equal(logits[:, 0], alone.predict_logits(x)[:, 0])
    assert np.isnan(logits[:, 1]).all() and np.isfinite(logits[:, 2]).all()


def test_the_penalty_is_chosen_where_there_are_patients_enough() -> None:
    x, y, patients = people(12)
    few = build("median_beat", x)
    few.fit(x, y, patients, seed=0)
    (one,) = few.fitted
    assert one is not None and one["logisticregression"].C == MedianBeat.FEW_STRENGTH
    x, y, patients = people()
    many = build("median_beat", x)
    many.fit(x, y, patients, seed=0)
    (one,) = many.fitted
    assert one is not None and one.best_params_["logisticregression__C"] in MedianBeat.STRENGTHS
    twice = patients.copy()
    twice[1::2] = twice[::2]  # a patient's recordings stay together
    inner = one.cv.split(x.reshape(len(x), -1), y[:, 0], twice)
    assert all(not set(twice[train]) & set(twice[test]) for train, test in inner)


def test_age_and_sex_of_nobody_are_refused() -> None:
    assert age_and_sex.as_read(np.array([[50.0, np.nan], [np.nan, 1.0]])).shape == (2, 1, 2)
    with pytest.raises(UserError, match="model: age_and_sex: nobody's age and sex are known"):
        age_and_sex.as_read(np.array([[50.0, np.nan], [60.0, np.nan]]))
