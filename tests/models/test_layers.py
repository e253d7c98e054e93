"""Layers against torch's own: of steps, and of recordings of unequal length against the bare recordings."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ecglib.models import layers, registry

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


@settings(max_examples=30, deadline=None)
@given(LENGTHS, st.integers(0, 4), st.sampled_from([1, 2, 3]), st.sampled_from([1, 3, 5, 15]))
def test_convolution_and_its_mask(lengths: list[int], more: int, stride: int, kernel: int) -> None:
    x, mask = batch(lengths, max(lengths) + more)
    conv = layers.Conv1d(3, 4, kernel, stride=stride, padding=kernel // 2, bias=False)
    after = layers.strided_mask(mask, stride)
    assert after is not None
    theirs = [F.conv1d(one, conv.weight, stride=stride, padding=kernel // 2) for one in bare(x, lengths)]
    assert after.sum((1, 2)).tolist() == [one.shape[2] for one in theirs] == [-(-n // stride) for n in lengths]
    assert_padded(conv(x) * after, theirs)


@settings(max_examples=30, deadline=None)
@given(LENGTHS, st.integers(0, 4))
def test_pools(lengths: list[int], more: int) -> None:
    x, mask = batch(lengths, max(lengths) + more, positive=True)
    rows = bare(x, lengths)
    pool = layers.MaxPool1d(3, 2, padding=1)
    assert_padded(pool(x, layers.strided_mask(mask, 2)), [F.max_pool1d(one, 3, 2, 1) for one in rows])
    assert_padded(layers.AvgPool1d()(x, mask), [F.avg_pool1d(one, 2, 2, ceil_mode=True) for one in rows])
    torch.testing.assert_close(pool(rows[0]), F.max_pool1d(rows[0], 3, 2, 1))
    torch.testing.assert_close(layers.AvgPool1d()(rows[0]), F.avg_pool1d(rows[0], 2, 2, ceil_mode=True))
    torch.testing.assert_close(layers.masked_mean(x, mask), torch.cat([one.mean(2) for one in rows]))


@settings(max_examples=30, deadline=None)
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


@settings(max_examples=20, deadline=None)
@given(LENGTHS, st.integers(0, 4))
def test_squeeze_and_excitation_is_its_formula(lengths: list[int], more: int) -> None:
    """Hu et al. 2018, equations 2-4."""
    x, mask = batch(lengths, max(lengths) + more, 16)
    layer = layers.SqueezeExcitation(16)
    w1, b1, w2, b2 = layer.parameters()
    assert w1.shape == (2, 16)
    expected = []
    for one in bare(x, lengths):
        z = one.sum(2) / one.shape[2]
        s = 1 / (1 + torch.exp(-(torch.clamp(z @ w1.T + b1, min=0) @ w2.T + b2)))
        expected.append(one * s[:, :, None])
    assert_padded(layer(x, mask), expected)
    torch.testing.assert_close(layer(bare(x, lengths)[0]), expected[0])


@settings(max_examples=20, deadline=None)
@given(LENGTHS, st.integers(0, 4))
def test_lstm_is_that_of_packed_sequences(lengths: list[int], more: int) -> None:
    x, mask = batch(lengths, max(lengths) + more)
    ours, theirs = layers.LSTM(3, 4), torch.nn.LSTM(3, 4, bidirectional=True)
    for direction, suffix in ((ours.ahead, ""), (ours.back, "_reverse")):
        for name, value in direction.named_parameters():
            theirs.get_parameter(name + suffix).data = value.data
    packed = pack_padded_sequence(x.permute(2, 0, 1), torch.tensor(lengths), enforce_sorted=False)
    expected, _ = pad_packed_sequence(theirs(packed)[0], total_length=x.shape[2])
    y = ours(x.permute(2, 0, 1), mask).permute(1, 2, 0) * mask
    torch.testing.assert_close(y, expected.permute(1, 2, 0), rtol=1e-5, atol=1e-6)
    row = bare(x, lengths)[0].permute(2, 0, 1)
    torch.testing.assert_close(ours(row), theirs(row)[0], rtol=1e-5, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(LENGTHS, st.integers(0, 4))
def test_softmax_and_reversal(lengths: list[int], more: int) -> None:
    x, mask = batch(lengths, max(lengths) + more)
    weights = layers.masked_softmax(x[:, 0], mask)[:, None]
    assert_padded(weights, [one[:, :1].softmax(2) for one in bare(x, lengths)])
    turned = layers.reverse(x.permute(2, 0, 1), mask)
    assert_padded(turned.permute(1, 2, 0), [one.flip(2) for one in bare(x, lengths)])
    assert torch.equal(layers.reverse(turned, mask), x.permute(2, 0, 1))


def test_a_batch_stays_as_it_was_given() -> None:
    x = torch.full((2, 1, 6), torch.nan)
    x[:, :, :4] = 1.0
    before = copy.deepcopy(x)
    y, mask = layers.masked(x, torch.tensor([4, 2]), 1)
    assert mask is not None
    assert torch.equal(y, mask)
    assert mask[:, 0].tolist() == [[1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0]]
    torch.testing.assert_close(x, before, equal_nan=True)


# --- dropout ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.0, 0.2, 0.9])
def test_the_same_units_are_dropped_at_every_step(p: float) -> None:
    torch.manual_seed(0)
    y = layers.StepDropout(p).train()(torch.ones(17, 64, 100))
    assert (y == y[0]).all()
    torch.testing.assert_close(y, torch.where(y > 0, 1 / (1 - p), 0.0))
    assert float((y[0] == 0).float().mean()) == pytest.approx(p, abs=0.02)
    assert p == 0 or len(y[0].unique(dim=0)) > 1, "each beat has a mask of its own"


@pytest.mark.parametrize("name", ["bilstm", "bigru"])
def test_recurrent_networks_drop_the_same_units_at_every_step(name: str) -> None:
    torch.manual_seed(0)
    model = registry.build(name, 1, 187, 5).train()
    masks: list[torch.Tensor] = []
    dropout = model.get_submodule("dropout")
    dropout.register_forward_hook(lambda _module, _given, y: masks.append(y == 0))
    model(torch.rand(4, 1, 187))
    between = masks[0]
    assert between.shape == (17, 4, 256) and between.any() and not between.all()
    assert (between == between[0]).all()


def test_outside_of_training_and_without_steps_it_is_plain_dropout() -> None:
    x = torch.rand(17, 8, 10)
    assert layers.StepDropout(0.5).eval()(x) is x
    torch.manual_seed(1)
    ours = layers.StepDropout(0.5)(x[0])
    torch.manual_seed(1)
    assert torch.equal(ours, torch.nn.Dropout(0.5)(x[0]))


def test_the_gradient_passes_where_the_mask_does() -> None:
    x = torch.rand(5, 4, 6, requires_grad=True)
    y = layers.StepDropout(0.5)(x)
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.where(y == 0, 0.0, 2.0))
