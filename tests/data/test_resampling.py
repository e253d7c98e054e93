from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imblearn.combine import SMOTETomek
from imblearn.over_sampling import ADASYN, SMOTE, BorderlineSMOTE, RandomOverSampler
from imblearn.under_sampling import RandomUnderSampler, TomekLinks

from ecglib.config import RESAMPLERS
from ecglib.data.resampling import METHODS, resample, without_tomek_links
from ecglib.errors import UserError

COUNTS = [200, 12, 40, 9, 30]


def overlapping(seed: int = 0, leads: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Classes with borders for new beats to be drawn at, in no order."""
    draw = np.random.default_rng(seed)
    labels = draw.permutation(np.repeat(np.arange(5), COUNTS))
    return (draw.normal(size=(len(labels), leads, 4)) + 0.3 * labels[:, None, None]).astype(np.float32), labels


def rows(x: np.ndarray) -> list[tuple[float, ...]]:
    return [tuple(row) for row in x.reshape(len(x), -1).tolist()]


@settings(max_examples=10)
@given(st.integers(0, 10_000), st.sampled_from([2, 30]))
def test_smote_tomek_is_that_of_imbalanced_learn(seed: int, width: int) -> None:
    draw = np.random.default_rng(seed)
    y = np.repeat(np.arange(5), COUNTS)
    x = (draw.normal(size=(len(y), 1, width)) * 0.8 ** np.arange(width)).astype(np.float32)  # classes that overlap
    found_x, found_y = resample(x, y, "smote-tomek", seed=seed)
    expected_x, expected_y = SMOTETomek(
        random_state=seed, smote=SMOTE(random_state=seed), tomek=TomekLinks(sampling_strategy="all")
    ).fit_resample(x[:, 0], y)
    np.testing.assert_array_equal(found_x[:, 0], expected_x)
    np.testing.assert_array_equal(found_y, expected_y)
    if width == 2:
        assert len(found_y) < 1000


def test_of_two_equal_beats_each_is_the_other_s_neighbour() -> None:
    x = np.array([[0.0, 0.0], [0.0, 0.0], [5.0, 5.0], [9.0, 9.0]], dtype=np.float32)
    assert without_tomek_links(x, np.array([0, 1, 0, 0])).tolist() == [2, 3]
    assert without_tomek_links(x, np.array([0, 0, 0, 0])).tolist() == [0, 1, 2, 3]


SAMPLERS = {
    "smote": (SMOTE, [200] * 5),
    "borderline-smote": (BorderlineSMOTE, None),
    "adasyn": (ADASYN, None),
    "random-over": (RandomOverSampler, [200] * 5),
    "random-under": (RandomUnderSampler, [9] * 5),
}
"""Method -> its sampler in imbalanced-learn, and how many beats of each class it leaves where that is fixed."""


@pytest.mark.parametrize("method", SAMPLERS)
@settings(max_examples=5)
@given(seed=st.integers(0, 10_000), leads=st.sampled_from([1, 2]))
def test_the_others_are_too_and_balance_whole_beats(method: str, seed: int, leads: int) -> None:
    x, y = overlapping(seed, leads)
    found_x, found_y = resample(x, y, method, seed=seed)
    sampler, counts = SAMPLERS[method]
    expected_x, expected_y = sampler(random_state=seed).fit_resample(x.reshape(len(x), -1), y)
    assert (found_x.dtype, found_y.dtype) == (np.float32, np.int64)
    np.testing.assert_array_equal(found_x, expected_x.reshape(-1, leads, 4))
    np.testing.assert_array_equal(found_y, expected_y)
    if method == "random-under":
        assert set(rows(found_x)) <= set(rows(x))
    else:
        np.testing.assert_array_equal(found_x[: len(x)], x, "the old stay")
    assert counts is None or np.bincount(found_y).tolist() == counts


@pytest.mark.parametrize("method", METHODS)
def test_a_seed_fixes_the_draws_and_beats_of_classes_that_are_not_balanced_stay_as_they_are(method: str) -> None:
    x, y = overlapping()
    new_x, new_y = resample(x, y, method, seed=0, neighbours=8, classes=[0, 1, 2, 3])
    others = y == 4
    assert sorted(rows(new_x[new_y == 4])) == sorted(rows(x[others]))
    alone_x, alone_y = resample(x[~others], y[~others], method, seed=0, neighbours=8)
    np.testing.assert_array_equal(new_x[new_y != 4], alone_x)
    np.testing.assert_array_equal(new_y[new_y != 4], alone_y)
    assert not np.array_equal(resample(x, y, method, seed=1)[0], resample(x, y, method, seed=2)[0])


@pytest.mark.parametrize("method", METHODS)
def test_more_neighbours_than_beats_are_refused_with_the_class(method: str) -> None:
    if method.startswith("random"):
        resample(*overlapping(), method, seed=0, neighbours=50)
    else:
        with pytest.raises(UserError, match=r"class F has 9 training beats.*smote_neighbours = 9"):
            resample(*overlapping(), method, seed=0, neighbours=9)


def test_adasyn_where_no_classes_meet_is_refused_in_one_line() -> None:
    y = np.repeat(np.arange(3), [40, 20, 10])
    x = (np.random.default_rng(0).normal(size=(70, 1, 4)) + 100 * y[:, None, None]).astype(np.float32)
    with pytest.raises(UserError, match=r"^imbalance adasyn: .*take another method$"):
        resample(x, y, "adasyn", seed=0)


def test_the_parameters_name_every_method_and_another_is_refused() -> None:
    assert METHODS == RESAMPLERS
    with pytest.raises(UserError, match="no resampling method"):
        resample(*overlapping(), "smite", seed=0)
