from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imblearn.combine import SMOTETomek
from imblearn.over_sampling import SMOTE
from imblearn.under_sampling import TomekLinks

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


@settings(max_examples=10, deadline=None)
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


@pytest.mark.parametrize("leads", [1, 2])
@pytest.mark.parametrize("method", ["smote", "borderline-smote", "adasyn"])
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_new_beats_are_drawn_between_those_of_their_class_and_the_old_stay(method: str, leads: int, seed: int) -> None:
    x, y = overlapping(seed, leads)
    new_x, new_y = resample(x, y, method, seed=seed)
    assert new_x.shape[1:] == x.shape[1:]
    assert (new_x.dtype, new_y.dtype) == (np.float32, np.int64)
    np.testing.assert_array_equal(new_x[: len(x)], x)
    np.testing.assert_array_equal(new_y[: len(x)], y)
    counts, before = np.bincount(new_y, minlength=5), np.bincount(y, minlength=5)
    assert counts[0] == 200
    if method == "smote":
        assert (counts == 200).all()
    elif method == "borderline-smote":
        assert all(n in (200, old) for n, old in zip(counts, before, strict=True)), "a class without a border stays"
        assert (counts == 200).sum() >= 3
    else:
        assert (np.abs(counts - 200) <= before).all(), "each beat's share is rounded"
    for label in range(1, 5):
        low, high = x[y == label].min(0), x[y == label].max(0)
        made = new_x[len(x) :][new_y[len(x) :] == label]
        assert ((made >= low - 1e-5) & (made <= high + 1e-5)).all()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_random_methods_copy_or_drop_whole_beats(seed: int) -> None:
    x, y = overlapping(seed, leads=2)
    own = dict(zip(rows(x), y.tolist(), strict=True))
    over_x, over_y = resample(x, y, "random-over", seed=seed)
    np.testing.assert_array_equal(over_x[: len(x)], x)
    assert np.bincount(over_y).tolist() == [200] * 5
    assert [own[row] for row in rows(over_x)] == over_y.tolist()
    under_x, under_y = resample(x, y, "random-under", seed=seed)
    assert np.bincount(under_y).tolist() == [9] * 5
    assert [own[row] for row in rows(under_x)] == under_y.tolist()
    assert len(set(rows(under_x))) == len(under_x)


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
