from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as reference

from ecglib import aami
from ecglib.evaluation import metrics

MATRICES = arrays(np.int64, (5, 5), elements=st.integers(0, 50))


def beats_of(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    true, predicted = np.indices(matrix.shape)
    return np.repeat(true.ravel(), matrix.ravel()), np.repeat(predicted.ravel(), matrix.ravel())


@given(MATRICES)
def test_the_matrix_is_found_again(matrix: np.ndarray) -> None:
    """Of all beats, and of those of each group: here of a true class, of which no other row has any."""
    true, predicted = beats_of(matrix)
    np.testing.assert_array_equal(metrics.confusion(true, predicted, 5), matrix)
    by_class = metrics.confusion_by(true, 5, true, predicted, 5)
    np.testing.assert_array_equal(by_class, matrix * np.eye(5, dtype=np.int64)[:, :, None])


@settings(max_examples=20)
@given(MATRICES.map(lambda m: m + np.eye(5, dtype=np.int64)))
def test_metrics_equal_those_of_scikit_learn(matrix: np.ndarray) -> None:
    y, p = beats_of(matrix)
    se, ppv, f1, specificity = metrics.per_class(matrix).values()
    np.testing.assert_allclose([ppv, se, f1], reference.precision_recall_fscore_support(y, p)[:3])
    np.testing.assert_allclose(specificity, [reference.recall_score(y != i, p != i) for i in range(5)])
    expected = {
        "macro_f1": reference.f1_score(y, p, average="macro", labels=[0, 1, 2]),
        "macro_recall": se[:3].mean(),
        "accuracy": reference.accuracy_score(y, p),
        "balanced_accuracy": reference.balanced_accuracy_score(y, p),
        "mcc": reference.matthews_corrcoef(y, p),
    }
    found = {name: float(value) for name, value in metrics.summary(matrix, [0, 1, 2]).items()}
    assert found == pytest.approx(expected, abs=1e-12)


def test_an_absent_class_is_undefined_and_left_out_of_the_mean() -> None:
    matrix = np.array([[8, 2, 0], [1, 9, 0], [0, 0, 0]])
    one = metrics.per_class(matrix)
    assert np.isnan([one["se"][2], one["f1"][2]]).all()
    assert metrics.summary(matrix, [0, 1, 2])["macro_recall"] == pytest.approx(0.85)


def test_ec57_gives_the_published_scores_of_de_chazal_2004() -> None:
    """The cumulative matrix of the paper's final system on DS2 (table VIII) and its summary scores."""
    matrix = np.array([
        [38444, 1904, 303, 3509, 99],
        [173, 1395, 252, 16, 1],
        [117, 321, 2504, 176, 103],
        [33, 1, 7, 347, 0],
        [3, 0, 3, 1, 0],
    ])  # fmt: skip
    scores = metrics.ec57(matrix, list(aami.CLASSES))
    found = [float(scores[kind][metric]) for kind in ("SVEB", "VEB") for metric in ("se", "ppv")]
    assert found == pytest.approx([0.759, 0.385, 0.777, 0.819], abs=0.0006)


def test_an_epoch_is_chosen_by_a_macro_mean_or_by_the_recall_of_what_is_abnormal() -> None:
    """8 of 10 N, 1 of 4 S, 3 of 4 V and 2 of 2 F are right; there is no Q."""
    matrix = np.array([[8, 1, 1, 0, 0], [3, 1, 0, 0, 0], [0, 1, 3, 0, 0], [0, 0, 0, 2, 0], [0, 0, 0, 0, 0]])
    assert metrics.chosen_by("macro_recall", matrix, [0, 1, 2, 3]) == pytest.approx((0.8 + 0.25 + 0.75 + 1) / 4)
    abnormal = (0.5 * 0.8 + 0.25 + 0.75 + 1) / 3.5
    assert metrics.chosen_by("abnormal_recall", matrix, [0, 1, 2, 3]) == pytest.approx(abnormal)
    assert metrics.chosen_by("abnormal_recall", matrix, [0, 1, 2, 3, 4]) == pytest.approx(abnormal), "no beat of Q"
