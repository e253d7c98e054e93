from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecglib import losses

ALPHA = np.array([0.25, 0.9, 0.5])
SEEDS = st.integers(0, 1000)
COUNTS = st.lists(st.integers(1, 10**6), min_size=2, max_size=6)


@given(COUNTS, st.floats(0, 1))
def test_the_mean_weight_of_a_beat_is_one_and_with_exponent_one_every_class_weighs_the_same(
    counts: list[int], exponent: float
) -> None:
    weights = losses.inverse_frequency(np.array(counts), exponent)
    assert (weights * counts).sum() / sum(counts) == pytest.approx(1)
    totals = losses.inverse_frequency(np.array(counts)) * counts
    assert totals == pytest.approx(np.full(len(counts), totals[0]))


@given(COUNTS, st.floats(1e-6, 0.999999))
def test_effective_numbers_are_their_formula_with_mean_one(counts: list[int], beta: float) -> None:
    weights = losses.effective_number(np.array(counts), beta)
    assert (weights * counts).sum() / sum(counts) == pytest.approx(1)
    raw = np.array([(1 - beta) / (1 - beta**n) for n in counts])
    assert weights / weights[0] == pytest.approx(raw / raw[0], rel=1e-6)
    assert (np.diff(weights[np.argsort(counts, kind="stable")]) <= 1e-12).all(), "the rarer, the heavier"


def test_absent_classes_weigh_nothing() -> None:
    for weights in (losses.inverse_frequency, losses.effective_number):
        assert weights(np.array([5, 0, 9]), 1e-9) == pytest.approx([1, 0, 1])


def beats(seed: int, n: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(n, 5, generator=generator), torch.randint(0, 5, (n,), generator=generator)


@given(SEEDS, st.floats(0, 5), st.booleans())
def test_the_focal_loss_is_its_formula(seed: int, gamma: float, weighted: bool) -> None:
    logits, labels = beats(seed)
    p = logits.double().softmax(1)[torch.arange(len(labels)), labels]
    alpha = np.linspace(0.1, 0.9, 5)
    expected = (torch.from_numpy(alpha)[labels] if weighted else 1) * (1 - p) ** gamma * -p.log()
    found = losses.FocalLoss(gamma, alpha if weighted else None)(logits, labels)
    assert float(found) == pytest.approx(float(expected.mean()), rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_certain_beats_have_a_finite_gradient(gamma: float) -> None:
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0], [0.3, 0.0]], requires_grad=True)
    losses.FocalLoss(gamma)(logits, torch.tensor([0, 0, 1])).backward()
    assert logits.grad is not None and logits.grad.isfinite().all()
    assert logits.grad[2].abs().min() > 0 and logits.grad[0].abs().max() < 1e-6


@given(SEEDS, st.floats(0.1, 2))
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


FEW = np.array([900, 40, 7, 0, 100])


@pytest.mark.parametrize(
    "loss",
    [
        *(losses.cross_entropy(), losses.cross_entropy(losses.inverse_frequency(FEW + 1))),
        *(losses.FocalLoss(2.0), losses.FocalLoss(1.0, np.linspace(0.1, 0.9, 5)), losses.LogitAdjusted(FEW, 1.0)),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_ignored_beats_have_no_part_in_loss_or_gradient(loss: torch.nn.Module) -> None:
    logits, labels = beats(1)
    labels[::3] = losses.IGNORED
    logits.requires_grad_()
    value = loss(logits, labels)
    torch.testing.assert_close(value, loss(logits[labels >= 0], labels[labels >= 0]))
    value.backward()
    assert logits.grad is not None and not logits.grad[::3].any()


def batch(seed: int, n: int = 20, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(n, classes, generator=draw), (torch.rand(n, classes, generator=draw) < 0.3).float()


@settings(max_examples=50)
@given(SEEDS, st.floats(0, 5), st.booleans())
def test_the_focal_loss_of_labels_is_equation_5(seed: int, gamma: float, weighted: bool) -> None:
    logits, targets = batch(seed)
    p, y = logits.double().sigmoid().numpy(), targets.numpy() == 1
    p_t, a_t = np.where(y, p, 1 - p), np.where(y, ALPHA, 1 - ALPHA) if weighted else 1
    expected = (a_t * (1 - p_t) ** gamma * -np.log(p_t)).mean()
    found = losses.FocalLoss(gamma, ALPHA if weighted else None)(logits, targets)
    assert float(found) == pytest.approx(expected, rel=1e-4, abs=1e-7)


@settings(max_examples=50)
@given(SEEDS)
def test_weighted_binary_cross_entropy_is_its_formula(seed: int) -> None:
    logits, targets = batch(seed)
    w, y, p = np.array([1.0, 5.0, 0.3]), targets.double().numpy(), logits.double().sigmoid().numpy()
    expected = -(w * y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    assert float(losses.binary_cross_entropy(w)(logits, targets)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_logits_of_a_hundred_have_finite_losses_and_right_gradients(gamma: float) -> None:
    logits = torch.tensor([[100.0, -100.0], [-100.0, 100.0], [0.0, 0.0]], requires_grad=True)
    targets = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    value = losses.FocalLoss(gamma)(logits, targets)
    value.backward()
    assert logits.grad is not None
    assert float(value.detach()) == pytest.approx((2 * 100 + 2 * 0.5**gamma * np.log(2)) / 6, rel=1e-5)
    wrong, undecided = 1 / 6, (0.5 ** (gamma + 1) * (1 + gamma * np.log(2))) / 6
    expected = torch.tensor([[0.0, 0.0], [-wrong, wrong], [-undecided, undecided]], dtype=torch.float32)
    torch.testing.assert_close(logits.grad, expected, rtol=1e-5, atol=1e-6)


@given(st.lists(st.tuples(st.integers(1, 10**5), st.integers(1, 10**5)), min_size=1, max_size=6))
def test_with_exponent_one_positives_weigh_as_much_as_negatives(counts: list[tuple[int, int]]) -> None:
    positives, negatives = np.array(counts).T
    weights = losses.positive_weights(positives, negatives, 1.0)
    assert weights * positives == pytest.approx(np.minimum(negatives, losses.BOUND * positives))
    assert losses.positive_weights(positives, negatives, 0.0) == pytest.approx(np.ones(len(counts)))


def test_positive_weights_of_few_and_of_none_and_the_alpha_that_outweighs_as_they_do() -> None:
    positives, negatives = np.array([1, 25, 0, 100, 300]), np.array([9999, 75, 50, 0, 100])
    assert losses.positive_weights(positives, negatives, 0.5) == pytest.approx([20, 3**0.5, 1, 1, 3**-0.5])
    weights = np.array([1.0, 3.0, 20.0])
    alpha = losses.balance(weights)
    assert alpha / (1 - alpha) == pytest.approx(weights)


def test_shapes_that_would_broadcast_are_refused() -> None:
    logits, targets = batch(0)
    for loss in (losses.FocalLoss(2.0, ALPHA), losses.binary_cross_entropy(ALPHA)):
        with pytest.raises(ValueError, match="same"):
            loss(logits, targets[:, :1])
