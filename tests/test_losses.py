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


# --- effective number -------------------------------------------------------------------------------------------------


@given(COUNTS, st.floats(1e-6, 0.999999))
def test_effective_numbers_are_their_formula_with_mean_one(counts: list[int], beta: float) -> None:
    weights = losses.effective_number(np.array(counts), beta)
    assert (weights * counts).sum() / sum(counts) == pytest.approx(1)
    raw = np.array([(1 - beta) / (1 - beta**n) for n in counts])
    assert weights / weights[0] == pytest.approx(raw / raw[0], rel=1e-6)
    assert (np.diff(weights[np.argsort(counts, kind="stable")]) <= 1e-12).all(), "the rarer, the heavier"


def test_effective_numbers_lie_between_all_alike_and_inverse_frequency() -> None:
    counts = np.array([9000, 40, 0, 700])
    assert losses.effective_number(counts, 1e-9) == pytest.approx([1, 1, 0, 1])
    assert losses.effective_number(counts, 1 - 1e-10) == pytest.approx(losses.inverse_frequency(counts), rel=1e-4)


# --- focal ------------------------------------------------------------------------------------------------------------


def beats(seed: int, n: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(n, 5, generator=generator), torch.randint(0, 5, (n,), generator=generator)


def every_loss() -> list[torch.nn.Module]:
    counts = np.array([900, 40, 7, 0, 100])
    return [
        losses.cross_entropy(),
        losses.cross_entropy(losses.inverse_frequency(counts + 1)),
        losses.Focal(2.0),
        losses.LogitAdjusted(counts, 1.0),
    ]


@given(st.integers(0, 1000), st.floats(0, 5))
def test_the_focal_loss_is_its_formula(seed: int, gamma: float) -> None:
    logits, labels = beats(seed)
    p = logits.double().softmax(1)[torch.arange(len(labels)), labels]
    expected = ((1 - p) ** gamma * -p.log()).mean()
    assert float(losses.Focal(gamma)(logits, labels)) == pytest.approx(float(expected), rel=1e-4, abs=1e-7)


@given(st.integers(0, 1000))
def test_without_focus_it_is_the_cross_entropy(seed: int) -> None:
    logits, labels = beats(seed)
    torch.testing.assert_close(losses.Focal(0.0)(logits, labels), losses.cross_entropy()(logits, labels))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_certain_beats_have_a_finite_gradient(gamma: float) -> None:
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0], [0.3, 0.0]], requires_grad=True)
    losses.Focal(gamma)(logits, torch.tensor([0, 0, 1])).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad[2].abs().min() > 0
    assert logits.grad[0].abs().max() < 1e-6


# --- logit adjustment -------------------------------------------------------------------------------------------------


@given(st.integers(0, 1000), st.floats(0.1, 2))
def test_logit_adjustment_is_its_formula(seed: int, tau: float) -> None:
    logits, labels = beats(seed)
    counts = np.array([900, 40, 7, 3, 50])
    adjusted = logits.double() + tau * torch.from_numpy(np.log(counts / 1000))
    expected = -adjusted.log_softmax(1)[torch.arange(len(labels)), labels].mean()
    found = losses.LogitAdjusted(counts, tau)(logits, labels)
    assert float(found) == pytest.approx(float(expected), rel=1e-4)


def test_a_class_without_a_beat_is_not_adjusted_and_no_strength_is_the_cross_entropy() -> None:
    logits, labels = beats(0)
    loss = losses.LogitAdjusted(np.array([60, 0, 40]), 1.0)
    np.testing.assert_allclose(loss.log_prior, np.log([0.6, 1, 0.4]), rtol=1e-5)
    assert loss(torch.zeros(1, 3), torch.tensor([1])).isfinite()
    for smoothing in (0.0, 0.1):
        weak = losses.LogitAdjusted(np.array([900, 40, 7, 3, 50]), 1e-8, smoothing)
        torch.testing.assert_close(weak(logits, labels), losses.cross_entropy(None, smoothing)(logits, labels))


# --- ignored ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", every_loss(), ids=lambda loss: type(loss).__name__)
def test_ignored_beats_have_no_part_in_loss_or_gradient(loss: torch.nn.Module) -> None:
    logits, labels = beats(1)
    labels[::3] = losses.IGNORED
    logits.requires_grad_()
    value = loss(logits, labels)
    torch.testing.assert_close(value, loss(logits[labels >= 0], labels[labels >= 0]))
    value.backward()
    assert logits.grad is not None
    assert (logits.grad[::3] == 0).all()
