"""Yardsticks of recordings: what of scikit-learn they are made of, and what they refuse; numbers are the goldens'."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

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


@pytest.mark.parametrize("name", NAMES)
def test_labels_are_learnt_one_by_one_and_one_that_nobody_has_is_not(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MedianBeat, "STRENGTHS", (0.01, 1.0))
    given, y, patients = people()
    given[::7, 1, 3] = np.nan
    x = np.where(np.isnan(given), np.nanmedian(given, 0), given)
    both, alone = build(name, x, 3), build(name, x)
    with pytest.raises(ValueError, match="nothing fitted yet"):
        alone.predict_logits(x)
    both.fit(given, np.concatenate([y, np.zeros_like(y), ~y], 1), patients, seed=0)
    alone.fit(x, y, patients, seed=0)
    logits = both.predict_logits(given)
    np.testing.assert_array_equal(logits[:, 0], alone.predict_logits(x)[:, 0], "the unknown takes the median")
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
