"""One battery for every model of the registry."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecglib.data import beats
from ecglib.errors import UserError
from ecglib.models import registry
from ecglib.models.layers import Conv1d, MaxPool1d

NAMES = sorted(registry.ENTRIES)
SHAPES = [(1, beats.KACHUEE_SAMPLES, 5), (2, beats.BEFORE + beats.AFTER, 5), (1, 300, 2)]


def make(name: str, shape: tuple[int, int, int] = SHAPES[0], seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return registry.build(name, *shape).eval()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("batch", [1, 7])
def test_logits_have_the_stated_shape_and_are_finite(name: str, shape: tuple[int, int, int], batch: int) -> None:
    logits = make(name, shape)(torch.rand(batch, *shape[:2]))
    assert logits.shape == (batch, shape[2])
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_a_beat_gets_the_same_logits_in_any_batch(name: str) -> None:
    model, x = make(name), torch.rand(9, 1, 187)
    torch.testing.assert_close(model(x)[4:5], model(x[4:5]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_fixes_the_weights(name: str) -> None:
    x = torch.rand(3, 1, 187)
    assert torch.equal(make(name, seed=1)(x), make(name, seed=1)(x))
    assert not torch.equal(make(name, seed=1)(x), make(name, seed=2)(x))


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_reaches_every_parameter(name: str) -> None:
    model = make(name).train()
    loss = torch.nn.functional.cross_entropy(model(torch.rand(64, 1, 187)), torch.arange(64) % 5)
    loss.backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.abs().sum() > 0, parameter_name


@pytest.mark.parametrize("name", NAMES)
def test_the_exported_program_equals_the_model_at_any_batch_size(name: str) -> None:
    model = make(name)
    batch = torch.export.Dim("batch", min=1, max=4096)
    program = torch.export.export(model, (torch.rand(4, 1, 187),), dynamic_shapes={"x": {0: batch}})
    x = torch.rand(11, 1, 187)
    torch.testing.assert_close(program.module()(x), model(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_casting_stays_near_single_precision(name: str) -> None:
    model, x = make(name), torch.rand(32, 1, 187)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        low = model(x).float()
    with torch.no_grad():
        exact = model(x)
    assert (low - exact).abs().max() < 0.05 * exact.abs().max() + 0.02


@pytest.mark.parametrize("name", NAMES)
def test_the_source_is_in_the_bibliography(name: str) -> None:
    from projects import ROOT

    assert f"{{{registry.entry(name).source}," in (ROOT / "book" / "references.bib").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_a_shape_that_the_model_cannot_take_is_refused_in_one_line(name: str) -> None:
    too_short = registry.entry(name).min_samples - 1
    for shape, word in (((1, too_short, 5), "n_samples"), ((0, 187, 5), "n_leads"), ((1, 187, 1), "n_classes")):
        with pytest.raises(UserError, match=word):
            registry.build(name, *shape)
    registry.build(name, 1, too_short + 1, 5)
    with pytest.raises(UserError, match="model_options"):
        registry.build(name, 1, 187, 5, colour="red")


def test_an_unknown_model_is_refused_with_a_hint() -> None:
    with pytest.raises(UserError, match="did you mean cnet"):
        registry.build("cnett", 1, 187, 5)


def test_cnet_has_the_published_number_of_parameters_and_public_names() -> None:
    model = make("cnet")
    assert registry.n_parameters(model) == 53_957
    blocks = {f"cresids.{i}.{c}.{kind}" for i in range(5) for c in ("c1", "c2") for kind in ("weight", "bias")}
    layers = {f"{layer}.{kind}" for layer in ("c1", "fc1", "fc2") for kind in ("weight", "bias")}
    assert set(model.state_dict()) == blocks | layers


def test_cnet_is_its_formula() -> None:
    """Written from the paper's figure 2 with torch's own 1-D layers."""
    model, x = make("cnet"), torch.rand(6, 1, 187)
    w, f = model.state_dict(), torch.nn.functional
    y = f.conv1d(x, w["c1.weight"], w["c1.bias"])
    for i in range(5):
        z = f.relu(f.conv1d(y, w[f"cresids.{i}.c1.weight"], w[f"cresids.{i}.c1.bias"], padding=2))
        z = f.conv1d(z, w[f"cresids.{i}.c2.weight"], w[f"cresids.{i}.c2.bias"], padding=2)
        y = f.max_pool1d(f.relu(y + z), 5, 2)
    hidden = f.relu(f.linear(y.flatten(1), w["fc1.weight"], w["fc1.bias"]))
    torch.testing.assert_close(model(x), f.linear(hidden, w["fc2.weight"], w["fc2.bias"]), rtol=1e-5, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    channels=st.integers(1, 8),
    out=st.integers(1, 8),
    kernel=st.integers(1, 7),
    stride=st.integers(1, 3),
    padding=st.integers(0, 3),
    samples=st.integers(20, 60),
)
def test_layers_equal_their_kin_in_torch(
    channels: int, out: int, kernel: int, stride: int, padding: int, samples: int
) -> None:
    x = torch.randn(3, channels, samples)
    ours = Conv1d(channels, out, kernel, stride=stride, padding=padding)
    theirs = torch.nn.Conv1d(channels, out, kernel, stride=stride, padding=padding)
    theirs.load_state_dict(ours.state_dict())
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(MaxPool1d(kernel, stride)(x), torch.nn.MaxPool1d(kernel, stride)(x))
