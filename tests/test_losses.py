from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ecglib import losses

COUNTS = st.lists(st.integers(1, 10**6), min_size=2, max_size=6)


@given(COUNTS, st.floats(0, 1))
def test_the_mean_weight_of_a_beat_is_one(counts: list[int], exponent: float) -> None:
    weights = losses.inverse_frequency(np.array(counts), exponent)
    assert (weights * counts).sum() / sum(counts) == pytest.approx(1)


@given(COUNTS)
def test_with_exponent_one_every_class_weighs_the_same(counts: list[int]) -> None:
    totals = losses.inverse_frequency(np.array(counts), 1.0) * counts
    assert totals == pytest.approx(np.full(len(counts), totals[0]))


def test_with_exponent_zero_nothing_is_weighted_and_absent_classes_get_nothing() -> None:
    assert losses.inverse_frequency(np.array([5, 0, 9]), 0.0) == pytest.approx([1, 0, 1])


def test_weighted_cross_entropy_is_its_formula() -> None:
    logits, labels = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), torch.tensor([0, 1, 1])
    weights = np.array([1.0, 3.0])
    log_p = logits.log_softmax(1)[range(3), labels]
    expected = -(torch.tensor([1.0, 3.0, 3.0]) * log_p).sum() / 7
    torch.testing.assert_close(losses.cross_entropy(weights)(logits, labels), expected)
