from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imblearn.combine import SMOTETomek
from imblearn.over_sampling import SMOTE
from imblearn.under_sampling import TomekLinks

from ecglib.data.resampling import resample
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


def test_smote_tomek_is_that_of_imbalanced_learn_and_is_remembered(project: Path) -> None:
    draw = np.random.default_rng(0)
    y = np.repeat(np.arange(5), [200, 12, 40, 9, 30])
    x = (draw.normal(size=(len(y), 1, 2)) + 0.3 * y[:, None, None]).astype(np.float32)  # classes that overlap
    first = resample(x, y, "smote-tomek", seed=0)
    expected_x, expected_y = SMOTETomek(
        random_state=0, smote=SMOTE(random_state=0), tomek=TomekLinks(sampling_strategy="all")
    ).fit_resample(x[:, 0], y)
    assert len(first[1]) < len(resample(x, y, "smote", seed=0)[1])
    np.testing.assert_array_equal(first[0][:, 0], expected_x)
    np.testing.assert_array_equal(first[1], expected_y)
    assert len(list((project / "cache" / "tomek").iterdir())) == 1
    np.testing.assert_array_equal(resample(x, y, "smote-tomek", seed=0)[0], first[0])
    resample(x, y, "smote-tomek", seed=1)
    assert len(list((project / "cache" / "tomek").iterdir())) == 2


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
