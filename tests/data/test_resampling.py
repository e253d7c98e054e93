from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imblearn.combine import SMOTETomek
from imblearn.over_sampling import SMOTE
from imblearn.under_sampling import TomekLinks

from ecglib.data.resampling import _without_tomek_links, resample
from ecglib.errors import UserError


def example(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    labels = np.repeat(np.arange(5), [200, 12, 40, 9, 30])
    return (draw.normal(size=(len(labels), 1, 20)) + labels[:, None, None]).astype(np.float32), labels


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_smote_fills_every_class_up_to_the_largest_between_its_own_beats(seed: int) -> None:
    x, y = example(seed)
    new_x, new_y = resample(x, y, "smote", seed=seed)
    assert np.bincount(new_y).tolist() == [200] * 5
    assert new_x.shape[1:] == x.shape[1:]
    assert new_x.dtype == np.float32
    np.testing.assert_array_equal(new_x[: len(x)], x)
    for label in range(5):
        low, high = x[y == label].min(0), x[y == label].max(0)
        made = new_x[new_y == label]
        assert ((made >= low - 1e-5) & (made <= high + 1e-5)).all()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([2, 30]))
def test_smote_tomek_is_that_of_imbalanced_learn(seed: int, width: int) -> None:
    draw = np.random.default_rng(seed)
    y = np.repeat(np.arange(5), [200, 12, 40, 9, 30])
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
    assert _without_tomek_links(x, np.array([0, 1, 0, 0])).tolist() == [2, 3]
    assert _without_tomek_links(x, np.array([0, 0, 0, 0])).tolist() == [0, 1, 2, 3]


def test_a_seed_fixes_the_draws() -> None:
    x, y = example()
    np.testing.assert_array_equal(resample(x, y, "smote", seed=1)[0], resample(x, y, "smote", seed=1)[0])
    assert not np.array_equal(resample(x, y, "smote", seed=1)[0], resample(x, y, "smote", seed=2)[0])


def test_more_neighbours_than_beats_are_refused_with_the_class() -> None:
    x, y = example()
    with pytest.raises(UserError, match=r"class F has 9 training beats.*smote_neighbours = 9"):
        resample(x, y, "smote", seed=0, neighbours=9)


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(UserError, match="no resampling method"):
        resample(*example(), "smite", seed=0)
