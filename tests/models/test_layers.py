"""Layers against torch's own: of steps, and of recordings of unequal length against the bare recordings."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ecglib.models import layers

LENGTHS = st.lists(st.integers(1, 13), min_size=1, max_size=5)


def batch(lengths: list[int], longest: int, channels: int = 3, *, positive: bool = False) -> tuple[Tensor, Tensor]:
    """Noise with zeros past the ends, and the mask."""
    mask = (torch.arange(longest) < torch.tensor(lengths)[:, None]).float()[:, None]
    x = torch.randn(len(lengths), channels, longest, generator=torch.Generator().manual_seed(sum(lengths)))
    return (x.relu() if positive else x) * mask, mask


def bare(x: Tensor, lengths: list[int]) -> list[Tensor]:
    return [x[i : i + 1, :, :length] for i, length in enumerate(lengths)]


def assert_padded(y: Tensor, expected: list[Tensor]) -> None:
    """Each row is what is expected, and zero after it."""
    for row, one in zip(y, expected, strict=True):
        torch.testing.assert_close(row[:, : one.shape[2]], one[0], rtol=1e-5, atol=1e-6)
        assert not row[:, one.shape[2] :].any()


@settings(max_examples=30)
@given(LENGTHS.filter(lambda lengths: sum(lengths) > 1), st.integers(0, 4))
def test_batch_normalisation_is_that_of_the_recordings_one_after_the_other(lengths: list[int], more: int) -> None:
    x, mask = batch(lengths, max(lengths) + more)
    x = x + 7 * (1 - mask)  # what a convolution leaves past the end
    ours, theirs = layers.BatchNorm1d(3), torch.nn.BatchNorm1d(3)
    for layer in (ours, theirs):
        torch.nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(1))
        torch.nn.init.normal_(layer.bias, generator=torch.Generator().manual_seed(2))
    padded = x.clone().requires_grad_()
    row = torch.cat(bare(x, lengths), 2).requires_grad_()
    weights = torch.randn(row.shape, generator=torch.Generator().manual_seed(3))
    for _ in range(2):  # in training, then with the running statistics
        y, expected = ours(padded, mask), theirs(row)
        assert_padded(y, list(expected.split(lengths, 2)))
        (torch.cat(bare(y, lengths), 2) * weights).sum().backward()
        (expected * weights).sum().backward()
        assert padded.grad is not None
        torch.testing.assert_close(torch.cat(bare(padded.grad, lengths), 2), row.grad, rtol=1e-3, atol=1e-4)
        assert not (padded.grad * (1 - mask)).any()
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-4)
        for name, buffer in theirs.named_buffers():
            torch.testing.assert_close(ours.get_buffer(name), buffer)
        ours.eval(), theirs.eval()


@pytest.mark.parametrize("p", [0.0, 0.2, 0.9])
def test_the_same_units_are_dropped_at_every_step(p: float) -> None:
    torch.manual_seed(0)
    y = layers.StepDropout(p).train()(torch.ones(17, 64, 100))
    assert (y == y[0]).all()
    torch.testing.assert_close(y, torch.where(y > 0, 1 / (1 - p), 0.0))
    assert float((y[0] == 0).float().mean()) == pytest.approx(p, abs=0.02)
    assert p == 0 or len(y[0].unique(dim=0)) > 1, "each beat has a mask of its own"
