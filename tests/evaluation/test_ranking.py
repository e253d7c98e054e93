from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from ecglib.evaluation import bootstrap, ranking

ONE = np.ones((1, 1), dtype=np.int64)


def areas(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> tuple[float, float]:
    groups = np.zeros(len(scores), dtype=np.int64)
    auroc, auprc = ranking.auroc_auprc(scores, positive, groups, ONE)
    return float(auroc[0]), float(auprc[0])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40))
def test_the_areas_are_those_of_scikit_learn_ties_too(beats: list[tuple[int, bool]]) -> None:
    scores, positive = np.array([b[0] / 6 for b in beats]), np.array([b[1] for b in beats])
    auroc, auprc = areas(scores, positive)
    if positive.all() or not positive.any():
        assert np.isnan([auroc, auprc]).all()
        return
    assert auroc == pytest.approx(roc_auc_score(positive, scores))
    assert auprc == pytest.approx(average_precision_score(positive, scores))


def test_a_resample_is_the_set_with_its_records_repeated() -> None:
    draw = np.random.default_rng(0)
    scores, positive = draw.random(200).round(2), draw.random(200) < 0.3
    groups = draw.integers(0, 6, 200)
    weights = bootstrap.record_weights(6, 45, seed=1)
    auroc, auprc = ranking.auroc_auprc(scores, positive, groups, weights)
    for row, a, b in zip(weights, auroc, auprc, strict=True):
        repeated = np.repeat(np.arange(200), row[groups])
        assert a == pytest.approx(roc_auc_score(positive[repeated], scores[repeated]))
        assert b == pytest.approx(average_precision_score(positive[repeated], scores[repeated]))


def test_a_perfect_ranking_is_one_and_its_reverse_nought() -> None:
    positive = np.array([True, True, False, False])
    assert areas(np.array([0.9, 0.8, 0.2, 0.1]), positive) == (1.0, 1.0)
    assert areas(np.array([0.1, 0.2, 0.8, 0.9]), positive)[0] == 0.0


def test_nothing_scored_has_no_areas() -> None:
    nothing = np.array([]), np.array([], dtype=bool)
    assert np.isnan(areas(*nothing)).all()
