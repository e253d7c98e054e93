"""Thresholds: none does better on validation, and where several do as well the stated rules decide."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from ecglib.evaluation import metrics, thresholds

RECORDS = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.2, 0.45, 0.5, 0.8, 1.0]), st.booleans()), min_size=2,
                   max_size=25)  # fmt: skip


def one(scores: list[float], labels: list[int]) -> float:
    return float(thresholds.choose(np.array(labels, dtype=bool)[:, None], np.array(scores)[:, None])[0])


@settings(max_examples=100)
@given(RECORDS)
def test_no_threshold_does_better(records: list[tuple[float, bool]]) -> None:
    p, y = np.array([[r[0]] for r in records]), np.array([[r[1]] for r in records])
    found = thresholds.choose(y, p)
    if y.all() or not y.any():
        assert found.tolist() == [0.5]
        return
    assert 0 <= found[0] <= 1
    reached = f1_score(y[:, 0], p[:, 0] >= found[0])
    every_cut = [2 * (y & (p >= t)).sum() / (y.sum() + (p >= t).sum()) for t in np.linspace(0, 1, 41)]
    assert reached == pytest.approx(max(every_cut))


def test_a_threshold_lies_midway_between_its_neighbours() -> None:
    assert one([0.9, 0.7, 0.3, 0.1], [1, 1, 0, 0]) == pytest.approx(0.5)
    assert one([0.1, 0.04, 0.03, 0.01], [1, 1, 0, 0]) == pytest.approx(0.035)
    assert one([0.9, 0.8, 0.4], [0, 1, 1]) == pytest.approx(0.2), "everything called: midway between the lowest and 0"


def test_of_equal_cuts_the_nearest_to_one_half_and_then_the_higher() -> None:
    # after the first record F1 is 2·1 / (1 + 2), after the fourth 2·2 / (4 + 2): both 2/3
    assert one([0.9, 0.7, 0.3, 0.2, 0.1], [1, 0, 0, 1, 0]) == pytest.approx(0.8), "0.8 is nearer than 0.15"
    assert one([0.5, 0.4, 0.3, 0.2, 0.1], [1, 0, 0, 1, 0]) == pytest.approx(0.45)
    assert one([0.625, 0.625, 0.375, 0.25, 0.125], [1, 1, 0, 0, 0]) == 0.5
    assert one([1.0, 0.5, 0.4375, 0.375, 0.125], [1, 0, 0, 1, 0]) == 0.75, "0.75 and 0.25 are as near"


def test_scores_with_nothing_between_them_are_still_parted_and_none_keep_one_half() -> None:
    for low in (0.3, float(np.nextafter(0.3, 1))):  # of two neighbours the middle is rounded up, of the next two down
        high = float(np.nextafter(low, 1))
        assert one([high, low], [1, 0]) == high
    assert one([0.0, 0.0, 1.0], [1, 1, 0]) == 0.0, "the best is to call all"
    assert thresholds.choose(np.zeros((0, 2), dtype=bool), np.zeros((0, 2))).tolist() == [0.5, 0.5], "no records"


def test_single_precision_parts_what_it_parted_when_chosen() -> None:
    draw = np.random.default_rng(0)
    p = (0.5 + 1e-6 * draw.normal(size=(400, 1))).astype(np.float32)
    y = p > np.median(p)
    assert ((p.astype(np.float64) >= thresholds.choose(y, p)) == y).all()


def macro_f1(logits: NDArray[np.float32], labels: NDArray[np.int64], classes: list[int]) -> float:
    return float(metrics.summary(metrics.confusion(labels, logits.argmax(1), 5), classes)["macro_f1"])


@settings(max_examples=10)
@given(st.integers(0, 10_000), st.sampled_from([[0, 1, 2, 3, 4], [0, 1, 2, 3]]))
def test_moved_thresholds_are_never_worse_and_the_first_class_stays(seed: int, classes: list[int]) -> None:
    draw = np.random.default_rng(seed)
    labels = draw.choice(5, 150, p=[0.6, 0.1, 0.1, 0.1, 0.1])
    logits = (draw.normal(0, 1, (150, 5)) + np.eye(5)[labels] + [2, 0, 1, 0, 0]).astype(np.float32)
    before = logits.copy()
    offsets = thresholds.class_offsets(logits, labels, classes, rounds=1)
    assert macro_f1(logits + offsets, labels, classes) >= macro_f1(logits, labels, classes)
    assert offsets[0] == 0
    assert all(offsets[i] == 0 for i in range(5) if i not in classes)
    np.testing.assert_array_equal(logits, before)


def test_an_offset_that_is_needed_is_found_and_none_where_none_is() -> None:
    labels = np.tile(np.arange(5), 20)
    logits = 3 * np.eye(5, dtype=np.float32)[labels]
    assert thresholds.class_offsets(logits, labels, [0, 1, 2, 3, 4]).tolist() == [0] * 5
    logits[:, 2] -= 3.5
    offsets = thresholds.class_offsets(logits, labels, [0, 1, 2, 3, 4])
    assert macro_f1(logits + offsets, labels, [0, 1, 2, 3, 4]) == 1
    assert offsets.tolist() == [0, 0, 0.75, 0, 0], "the smallest that does"
