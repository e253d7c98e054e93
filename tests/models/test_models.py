"""One battery for every model of the registry."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecglib.data import beats
from ecglib.errors import UserError
from ecglib.models import recurrent, registry
from ecglib.models.layers import Conv1d, MaxPool1d, channels_last
from ecglib.models.norm import BatchNorm1d

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
def test_the_shortest_beat_is_read(name: str) -> None:
    shortest = registry.entry(name).min_samples
    for model in (make(name, (2, shortest, 3)), make(name, (2, shortest, 3)).train()):
        assert model(torch.rand(4, 2, shortest)).shape == (4, 3)


@pytest.mark.parametrize("name", NAMES)
def test_every_lead_and_both_ends_of_the_beat_count(name: str) -> None:
    model, x = make(name, SHAPES[1]), torch.rand(8, *SHAPES[1][:2])
    for lead, sample in ((0, 3), (1, 3), (0, -3), (1, -3)):
        changed = x.clone()
        changed[:, lead, sample] += 1
        assert not torch.equal(model(changed), model(x))


@pytest.mark.parametrize("name", NAMES)
def test_a_state_dict_makes_the_same_model_again(name: str) -> None:
    model, other, x = make(name, seed=1).train(), make(name, seed=2), torch.rand(8, 1, 187)
    model(x)  # moves the running statistics of batch normalisation
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x), model.eval()(x))


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_fixes_a_training_step(name: str) -> None:
    steps = []
    for _ in range(2):
        model = make(name).train()
        model(torch.full((8, 1, 187), 0.5)).square().sum().backward()
        steps.append([p.grad for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*steps, strict=True))


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
def test_bfloat16_casting_reaches_every_parameter_in_training(name: str) -> None:
    model = make(name).train()
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(torch.rand(16, 1, 187))
    torch.nn.functional.cross_entropy(logits.float(), torch.arange(16) % 5).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


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


def test_batch_normalisation_equals_its_kin_in_torch_and_keeps_the_order() -> None:
    ours, theirs, x = BatchNorm1d(6), torch.nn.BatchNorm1d(6), torch.randn(5, 6, 11) * 3 + 1
    theirs.load_state_dict(ours.state_dict())
    for _ in range(2):  # in training, then with the running statistics
        y = ours(channels_last(x))
        torch.testing.assert_close(y, theirs(x))
        assert y.stride() == channels_last(x).stride()
        ours.eval(), theirs.eval()


@pytest.mark.parametrize("name", ["enhanced_cnn", "dual_path"])
@pytest.mark.parametrize("leads", [1, 2])
def test_no_layer_falls_back_to_the_slow_order(name: str, leads: int) -> None:
    """With one lead, memory order is ambiguous and a convolution takes the slow one."""
    model, inputs = make(name, (leads, 187, 5)), []
    for layer in model.modules():
        if isinstance(layer, Conv1d | MaxPool1d):
            layer.register_forward_pre_hook(lambda _, x: inputs.append(x[0]))
    model(torch.rand(4, leads, 187))
    assert len(inputs) > 5
    assert all(x.shape[1] == 1 or x.stride(1) == 1 for x in inputs)


@pytest.mark.parametrize(("ours", "theirs"), [(recurrent.LSTM, torch.nn.LSTM), (recurrent.GRU, torch.nn.GRU)])
def test_recurrent_layers_equal_their_kin_in_torch_with_gradients(
    ours: Callable[..., torch.nn.Module], theirs: Callable[..., torch.nn.Module]
) -> None:
    torch.manual_seed(0)
    a, b = ours(3, 5).double(), theirs(3, 5, bidirectional=True).double()
    b.load_state_dict(a.state_dict())
    x, weights = torch.randn(7, 4, 3, dtype=torch.double), torch.randn(7, 4, 10, dtype=torch.double)
    torch.testing.assert_close(a(x), b(x)[0])
    (a(x) * weights).sum().backward()
    (b(x)[0] * weights).sum().backward()
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)


@pytest.mark.parametrize("name", ["bilstm", "bigru"])
def test_a_beat_is_seventeen_steps_of_eleven_samples_in_time(name: str) -> None:
    model, shapes = make(name), []
    model.get_submodule("layers.0").register_forward_pre_hook(lambda _, x: shapes.append(x[0]))
    beat = torch.arange(187.0).expand(2, 1, 187)
    model(beat)
    assert shapes[0].shape == (17, 2, 11)
    assert torch.equal(shapes[0][:, 1].flatten(), beat[1, 0])
    longer = make(name, (1, 190, 5))
    longer.get_submodule("layers.0").register_forward_pre_hook(lambda _, x: shapes.append(x[0]))
    longer(torch.ones(2, 1, 190))
    assert shapes[1].shape == (18, 2, 11)
    assert shapes[1].sum() == 2 * 190


def test_recurrent_models_refuse_sizes_below_one() -> None:
    for option in ("hidden", "layers", "patch"):
        with pytest.raises(UserError, match=rf"model bilstm: {option} = 0; expected 1 or more"):
            registry.build("bilstm", 1, 187, 5, **{option: 0})


def test_attention_weights_are_a_mean() -> None:
    from ecglib.models.dual_path import AttentionPooling

    pooling = AttentionPooling(6)
    constant = torch.rand(3, 6, 1).expand(3, 6, 9)
    torch.testing.assert_close(pooling(constant), constant[:, :, 0])
    x = torch.randn(3, 6, 9)
    assert (pooling(x) <= x.amax(2)).all()
    assert (pooling(x) >= x.amin(2)).all()


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # weights and biases of the layers in the order of the docstring, counted by hand
        ("baseline_cnn", (5 + 1) * 32 + (32 * 5 + 1) * 64 + (64 * 46 + 1) * 128 + 129 * 5),
        (
            "enhanced_cnn",
            5 * 32 + 32 * 5 * 64 + 64 * 7 * 128 + 128 * 7 * 256 + 2 * (32 + 64 + 128 + 256) + 513 * 128 + 129 * 5,
        ),
        ("bilstm", 2 * 4 * 128 * (11 + 128 + 2) + 2 * 4 * 128 * (256 + 128 + 2) + 513 * 5),
        ("bigru", 2 * 3 * 128 * (11 + 128 + 2) + 2 * 3 * 128 * (256 + 128 + 2) + 513 * 5),
    ],
)
def test_parameters_are_those_of_the_described_layers(name: str, parameters: int) -> None:
    assert registry.n_parameters(make(name)) == parameters
