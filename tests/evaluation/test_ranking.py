from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from ecglib.evaluation import ranking

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


def test_nothing_scored_has_no_areas() -> None:
    nothing = np.array([]), np.array([], dtype=bool)
    assert np.isnan(areas(*nothing)).all()
