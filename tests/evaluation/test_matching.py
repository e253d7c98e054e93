"""Beats against a reference, beat by beat."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecglib import aami
from ecglib.evaluation import matching, metrics

BEATS = st.lists(st.integers(0, 600), unique=True, max_size=40).map(lambda beats: np.array(sorted(beats), np.int64))


@given(BEATS, BEATS)
def test_each_beat_is_in_one_pair_or_none(reference: np.ndarray, detected: np.ndarray) -> None:
    """Whichever list is the reference; and what lies within the window of nothing else but one another is a pair."""
    found = matching.match(reference, detected, 100)
    i, j = found.pairs.T
    assert (np.abs(reference[i] - detected[j]) <= 15).all()
    np.testing.assert_array_equal(np.sort(np.append(i, found.missed)), np.arange(len(reference)))
    np.testing.assert_array_equal(np.sort(np.append(j, found.extra)), np.arange(len(detected)))
    np.testing.assert_array_equal(matching.match(detected, reference, 100).pairs, found.pairs[:, ::-1])
    near = np.abs(reference[:, None] - detected) <= 15
    alone = near & (near.sum(0) == 1) & (near.sum(1) == 1)[:, None]
    assert set(zip(*np.nonzero(alone), strict=True)) <= set(map(tuple, found.pairs))


@pytest.mark.parametrize(
    ("reference", "detected", "pairs"),
    [
        ([100], [85], [(0, 0)]),
        ([100], [84], []),
        ([100], [90, 105], [(0, 1)]),
        ([100], [95, 110], [(0, 0)]),
        ([90, 105], [100], [(1, 0)]),
        ([90, 104], [100, 106], [(0, 0), (1, 1)]),  # 104 is nearer to 100 than 90 is, and 106 nearer to 104
        ([90, 104], [100, 130], [(1, 0)]),
    ],
)
def test_pairs_are_those_of_bxb(reference: list[int], detected: list[int], pairs: list[tuple[int, int]]) -> None:
    found = matching.match(np.array(reference), np.array(detected), 100)
    assert list(map(tuple, found.pairs)) == pairs


def test_missed_and_extra_beats_count_as_ec57_has_them() -> None:
    """By EC57, VEB true negatives are beats of other classes, or none, that were called something but V."""
    labels, reference = np.array([0, 2, 2, 0, 3, 1]), np.array([100, 200, 300, 400, 500, 600])
    predicted, detected = np.array([0, 2, 2, 2, 1, 2]), np.array([101, 199, 350, 402, 600, 700])
    matrix = matching.confusion(matching.match(reference, detected, 100), labels, predicted, 5)
    assert matrix.sum() == 8
    assert [matrix[2, 5], matrix[3, 5], matrix[5, 2]] == [1, 1, 2]
    found = {name: float(value) for name, value in matching.detection(matrix).items()}
    assert found == pytest.approx({"se": 4 / 6, "ppv": 4 / 6, "f1": 4 / 6})
    veb = {name: float(value) for name, value in metrics.ec57(matrix, list(aami.CLASSES))["VEB"].items()}
    assert veb == pytest.approx({"se": 1 / 2, "ppv": 1 / 4, "fpr": 3 / 5, "f1": 1 / 3})
