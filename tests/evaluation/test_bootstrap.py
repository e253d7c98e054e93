from __future__ import annotations

import numpy as np
import pytest

from ecglib.evaluation import bootstrap, metrics
from ecglib.evaluation.bootstrap import Interval


def test_resamples_draw_whole_records() -> None:
    weights = bootstrap.record_weights(12, 500)
    assert weights.shape == (501, 12) and (weights[0] == 1).all() and (weights.sum(1) == 12).all()
    assert weights.mean() == pytest.approx(1)
    draw = np.random.default_rng(0)
    m = draw.poisson(5 * draw.gamma(1, 1, (2, 12, 1, 1)) * (1 + 4 * np.eye(5)))
    expected = sum(w * m[1, r] for r, w in enumerate(bootstrap.record_weights(12, 5)[3]))
    np.testing.assert_array_equal(bootstrap.resampled(m, 5)[1, 3], expected)


def test_the_interval_is_that_of_the_seed_mean() -> None:
    found = bootstrap.interval(np.array([[0.3, *np.linspace(0, 1, 1001)], [0.5, *np.linspace(0.2, 1.2, 1001)]]))
    assert found.per_seed == [0.3, 0.5] and found.mean == 0.4
    assert (found.low, found.high) == pytest.approx((0.1 + 0.025, 0.1 + 0.975))


def test_undefined_resamples_are_passed_over_and_the_set_alone_has_no_interval() -> None:
    assert bootstrap.interval(np.full((1, 10), np.nan)) == Interval(per_seed=[None])
    some = Interval(mean=0.4, low=0.5, high=0.5, per_seed=[0.4])
    assert bootstrap.interval(np.array([[0.4, np.nan, 0.5, 0.5]])) == some
    assert bootstrap.interval(np.array([[0.4]])) == Interval(mean=0.4, per_seed=[0.4])
    assert bootstrap.record_weights(3, 0).tolist() == [[1, 1, 1]] and bootstrap.record_weights(0, 0).shape == (1, 0)


def interval_of(right: np.ndarray, n: int, resamples: int) -> Interval:
    """Of the accuracy, where of `n` beats of each record so many are right."""
    m = np.zeros((1, len(right), 2, 2), dtype=np.int64)
    m[0, :, 0, 0], m[0, :, 0, 1] = right, n - right
    return bootstrap.interval(metrics.summary(bootstrap.resampled(m, resamples), [0, 1])["accuracy"])


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    """Records with accuracies of their own, drawn again and again: the interval holds the mean accuracy."""
    draw = np.random.default_rng(1)
    found = [interval_of(draw.binomial(50, draw.beta(8, 2, 40)), 50, 300) for _ in range(200)]
    assert 0.88 <= np.mean([one.low <= 0.8 <= one.high for one in found]) <= 0.99
