from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from report.example import example_record
from scipy.stats import binomtest

from ecglib.errors import UserError
from ecglib.evaluation import metrics
from ecglib.experiment import comparison, raw
from ecglib.experiment.record import Record

N_RECORDS, N_BEATS = 5, 400


def made(seed: int, skill: float) -> Record:
    """A record of a model that is right in this share of the beats, the same beats for every seed of this function."""
    beats = np.random.default_rng(0)
    labels, groups = beats.integers(0, 5, N_BEATS), np.sort(beats.integers(0, N_RECORDS, N_BEATS))
    draw = np.random.default_rng(seed)
    predicted = np.where(draw.random(N_BEATS) < skill, labels, (labels + 1) % 5)
    matrices = metrics.confusion_by(groups, N_RECORDS, labels, predicted, 5)
    base = example_record()
    return base.model_copy(
        update={
            "experiment": f"heartbeat/model-{seed}",
            "seeds": [0],
            "data": base.data.model_copy(update={"n_test": N_BEATS}),
            "confusion": [matrices.sum(0).tolist()],
            "by_record": {str(100 + i): [m.tolist()] for i, m in enumerate(matrices)},
            "right": [raw.pack(predicted == labels)],
        }
    )


def accuracy(matrices: NDArray[np.int64]) -> NDArray[np.float64]:
    return metrics.summary(matrices, [0, 1, 2, 3, 4])["accuracy"]


@pytest.mark.parametrize("text", ["?", "AAAA", raw.pack(np.ones(99, dtype=bool))])
def test_other_text_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UserError, match="right"):
        raw.unpack(text, 8)


def test_mcnemar_counts_the_beats_that_one_model_alone_gets_right() -> None:
    a, b = made(1, 0.9), made(2, 0.7)
    x, y = (raw.unpack(one.right[0], N_BEATS) for one in (a, b))
    only_a, only_b = int((x & ~y).sum()), int((y & ~x).sum())
    (found,) = comparison.mcnemar(a, b)
    assert found == binomtest(only_a, only_a + only_b).pvalue < 0.01


def test_a_model_does_not_differ_from_itself() -> None:
    a = made(1, 0.8)
    assert comparison.mcnemar(a, a) == [1.0]
    same = comparison.difference(a, a, accuracy)
    assert (same.mean, same.low, same.high) == (0.0, 0.0, 0.0)


def test_a_difference_is_that_of_the_means_and_changes_its_sign_with_the_order() -> None:
    a, b = made(1, 0.9), made(2, 0.7)
    forth, back = comparison.difference(a, b, accuracy), comparison.difference(b, a, accuracy)
    by_hand = accuracy(np.array(a.confusion)) - accuracy(np.array(b.confusion))
    assert forth.mean == pytest.approx(by_hand.mean())
    assert forth.low is not None and forth.high is not None and back.low is not None
    assert forth.low < by_hand.mean() < forth.high
    assert forth.low > 0
    assert back.low == pytest.approx(-forth.high)


def test_models_on_other_beats_are_not_compared() -> None:
    a, b = made(1, 0.9), made(2, 0.7)
    other = b.model_copy(update={"data": b.data.model_copy(update={"test_indices_sha256": "0" * 64})})
    assert comparison.comparable(a, b)
    assert not comparison.comparable(a, other)
    for compare in (comparison.mcnemar, lambda x, y: comparison.difference(x, y, accuracy)):
        with pytest.raises(UserError, match="not scored on the same beats"):
            compare(a, other)
    assert not comparison.comparable(a, b.model_copy(update={"right": []}))
