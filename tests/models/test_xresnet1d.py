from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ecglib.models.xresnet1d import ResidualBlock, XResNet1d


def make(depth: int) -> XResNet1d:
    """A model whose residual branches count, with running statistics of its own."""
    torch.manual_seed(depth)
    model = XResNet1d(2, 1000, 3, depth=depth, width=16)
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if "norm" in name and value.is_floating_point():
            value.data += torch.rand_like(value)
    return model.eval()


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("samples", [33, 333, 640])
def test_it_is_its_formula(depth: int, samples: int) -> None:
    """He et al. 2019, figure 2, in one dimension, written with torch's own layers on a bare recording."""
    model, x = make(depth), torch.randn(3, 2, samples)
    w = model.state_dict()

    def layer(y: Tensor, name: str, kernel: int, stride: int = 1) -> Tensor:
        y = F.conv1d(y, w[f"{name}.conv.weight"], stride=stride, padding=kernel // 2)
        mean, var, scale, shift = (w[f"{name}.norm.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(y, mean, var, scale, shift)

    y = x
    for i in range(3):
        y = F.relu(layer(y, f"stem.{i}", 5, 1 + (i == 0)))
    y = F.max_pool1d(y, 3, 2, 1)
    stages = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}[depth]
    block = 0
    for stage, blocks in enumerate(stages):
        for i in range(blocks):
            name, stride = f"blocks.{block}", 2 if stage and not i else 1
            if depth == 18:
                z = layer(F.relu(layer(y, f"{name}.layers.0", 5, stride)), f"{name}.layers.1", 5)
            else:
                z = F.relu(layer(y, f"{name}.layers.0", 1))
                z = layer(F.relu(layer(z, f"{name}.layers.1", 5, stride)), f"{name}.layers.2", 1)
            skip = F.avg_pool1d(y, 2, 2, ceil_mode=True) if stride == 2 else y
            if depth == 50 and block == 0:
                skip = layer(skip, f"{name}.widen", 1)
            y, block = F.relu(z + skip), block + 1
    pooled = torch.cat([y.mean(2), y.amax(2)], 1)
    expected = F.linear(pooled, w["head.weight"], w["head.bias"])
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("depth", [18, 34, 50, 101])
def test_its_depth_is_counted_as_in_the_paper(depth: int) -> None:
    """One convolution of the stem (where XResNet has three instead), those of the blocks, and the last layer."""
    model = XResNet1d(12, 1000, 5, depth=depth)
    assert 1 + sum(len(block.layers) for block in model.blocks if isinstance(block, ResidualBlock)) + 1 == depth
    assert model.head.in_features == 2 * (64 if depth < 50 else 256)
