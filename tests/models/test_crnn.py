from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from ecglib.models.crnn import CRNN, spread


def make(n_leads: int = 2, seed: int = 0) -> CRNN:
    """A model with running statistics of its own, and attention that differs from step to step."""
    torch.manual_seed(seed)
    model = CRNN(n_leads, 1000, 3)
    for name, value in model.named_buffers():
        if value.is_floating_point():
            value += torch.rand_like(value) * (0.2 if name.endswith("mean") else 1)
    with torch.no_grad():
        for value in model.weigh.parameters():
            value.mul_(6)
    return model.eval()


def test_it_is_its_formula() -> None:
    """The described layers, written with torch's own on a bare recording."""
    model, x = make(), torch.randn(4, 2, 333)
    w = dict(model.state_dict())

    def normalised(y: Tensor, layer: str) -> Tensor:
        mean, var, scale, shift = (w[f"{layer}.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(y, mean, var, scale, shift)

    y = F.relu(normalised(F.conv1d(x, w["stem.weight"], stride=3, padding=7), "stem_norm"))
    y = F.max_pool1d(y, 3, 2, 1)
    for i, stride in enumerate((1, 2, 2)):
        b = f"blocks.{i}"
        z = F.relu(normalised(F.conv1d(y, w[f"{b}.c1.weight"], stride=stride, padding=2), f"{b}.n1"))
        z = normalised(F.conv1d(z, w[f"{b}.c2.weight"], padding=2), f"{b}.n2")
        e = f"{b}.excitation.excite"
        s = F.linear(F.relu(F.linear(z.mean(2), w[f"{e}.0.weight"], w[f"{e}.0.bias"])), w[f"{e}.2.weight"])
        skip = F.conv1d(y, w[f"{b}.skip.weight"], stride=stride) if i else y
        y = F.relu(z * torch.sigmoid(s + w[f"{e}.2.bias"])[:, :, None] + skip)
    assert y.shape == (4, 128, math.ceil(333 / 24))
    y = y.transpose(1, 2)
    for layer, width in (("lstm1", 128), ("lstm2", 256)):
        lstm = torch.nn.LSTM(width, 128, batch_first=True, bidirectional=True)
        for direction, suffix in (("ahead", ""), ("back", "_reverse")):
            for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
                lstm.get_parameter(name + suffix).data = w[f"{layer}.{direction}.{name}"]
        y = lstm(y)[0]
    a = (torch.tanh(y @ w["weigh.score.0.weight"].T) @ w["weigh.score.2.weight"].T).softmax(1)
    expected = F.linear((a * y).sum(1), w["head.weight"], w["head.bias"])
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)


@settings(max_examples=40)
@given(st.lists(st.integers(1, 130), min_size=1, max_size=4), st.integers(0, 30), st.sampled_from([1, 2, 5, 24]))
def test_weights_of_steps_are_spread_by_distance(lengths: list[int], more: int, stride: int) -> None:
    """Every step's weight, shared out among the samples near it one by one."""
    samples = max(lengths) + more
    steps = -(-samples // stride)
    weights = torch.rand(len(lengths), steps, generator=torch.Generator().manual_seed(samples))
    expected = torch.zeros(len(lengths), samples)
    for i, length in enumerate(lengths):
        weights[i, -(-length // stride) :] = 0
        for step in range(-(-length // stride)):
            near = {t: stride - abs(t - stride * step) for t in range(length) if abs(t - stride * step) < stride}
            for t, share in near.items():
                expected[i, t] += float(weights[i, step]) * share / sum(near.values())
    found = spread(weights, torch.tensor(lengths), samples, stride)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.sum(1), weights.sum(1))


def test_attention_is_a_distribution_over_a_recordings_own_samples() -> None:
    model, lengths = make(), [25, 100, 241, 399, 400]
    x = torch.randn(5, 2, 400)
    with torch.no_grad():
        found = model.attention(x, torch.tensor(lengths))
        for row, length, one in zip(found, lengths, x, strict=True):
            assert (row[:length] > 0).all()
            assert not row[length:].any()
            assert float(row.sum()) == pytest.approx(1, abs=1e-5)
            torch.testing.assert_close(row[:length], model.attention(one[None, :, :length])[0], rtol=1e-4, atol=1e-6)
        assert float(found[4].max() / found[4].min()) > 1.5


def test_attention_is_what_the_logits_rest_on() -> None:
    """With all weight on one step, the gradient of its state is the head's row, and nobody else's state has any."""
    model, x = make(), torch.randn(1, 2, 240)
    states: list[Tensor] = []
    model.lstm2.register_forward_hook(lambda *call: states.append(call[2]))
    model.weigh.register_forward_hook(lambda *_: F.one_hot(torch.tensor([4]), 10).float())
    (gradient,) = torch.autograd.grad(model(x)[0, 1], states)
    torch.testing.assert_close(gradient[4, 0], model.head.weight[1])
    assert not gradient[[0, 1, 2, 3, 5, 6, 7, 8, 9]].any()
    with torch.no_grad():
        at = model.attention(x)[0]
    assert int(at.argmax()) == 4 * CRNN.STRIDE
    assert at.nonzero().flatten().tolist() == list(range(3 * 24 + 1, 5 * 24))
