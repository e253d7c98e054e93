"""One mask for all steps, and else the dropout that everybody knows."""

from __future__ import annotations

import pytest
import torch

from ecglib.models import registry
from ecglib.models.dropout import StepDropout


@pytest.mark.parametrize("p", [0.0, 0.2, 0.9])
def test_the_same_units_are_dropped_at_every_step(p: float) -> None:
    torch.manual_seed(0)
    y = StepDropout(p).train()(torch.ones(17, 64, 100))
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
    assert StepDropout(0.5).eval()(x) is x
    torch.manual_seed(1)
    ours = StepDropout(0.5)(x[0])
    torch.manual_seed(1)
    assert torch.equal(ours, torch.nn.Dropout(0.5)(x[0]))


def test_the_gradient_passes_where_the_mask_does() -> None:
    x = torch.rand(5, 4, 6, requires_grad=True)
    y = StepDropout(0.5)(x)
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.where(y == 0, 0.0, 2.0))
