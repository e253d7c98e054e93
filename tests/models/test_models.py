"""One battery for every model of the registry."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from projects import ROOT
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor
from torch.nn import functional as F

from ecglib.data import beats
from ecglib.errors import UserError
from ecglib.models import recurrent, registry
from ecglib.models.classical import Classical
from ecglib.models.crnn import CRNN
from ecglib.models.dual_path import AttentionPooling
from ecglib.models.hydra import Hydra
from ecglib.models.layers import BatchNorm1d, Conv1d, MaxPool1d, channels_last
from ecglib.models.logistic_regression import LogisticRegression as OurRegression
from ecglib.models.seq2seq import Seq2Seq
from ecglib.models.xresnet1d import XResNet1d
from ecglib.models.yardstick import Yardstick

Shape = tuple[int, int, int]

NAMES = sorted(registry.ENTRIES)
YARDSTICKS = [name for name in NAMES if registry.entry(name).yardstick]
"""They keep what scikit-learn fitted: no state dict, nothing to export."""
TRAINED = [name for name in NAMES if not registry.entry(name).classical]
CLASSICAL = [name for name in NAMES if registry.entry(name).classical and name not in YARDSTICKS]
WITH_STATE = [name for name in NAMES if name not in YARDSTICKS]
RECORDINGS = [name for name in NAMES if registry.entry(name).reads_recordings]
SHAPES: list[Shape] = [(1, beats.KACHUEE_SAMPLES, 5), (2, beats.BEFORE + beats.AFTER, 5), (1, 300, 2)]
N_FEATURES, N_BEATS = 12, 3


def build(name: str, shape: Shape = SHAPES[0], seed: int = 0, **options: Any) -> torch.nn.Module:
    """A model as the registry makes it; small, where its size doesn't matter."""
    torch.manual_seed(seed)
    if registry.entry(name).reads_features:
        options = {"n_features": N_FEATURES, **options}
    if name == "hydra":
        options = {"groups": 4, **options}
    return registry.build(name, *shape, **options)


def make(name: str, shape: Shape = SHAPES[0], seed: int = 0, **options: Any) -> torch.nn.Module:
    """A model that can be asked: one that is fitted has been, on a few beats of every class."""
    model = build(name, shape, seed, **options)
    if isinstance(model, Classical):
        x, y = labelled(shape, seed=seed)
        model.fit(x, y, x[:4], lambda _: 0.0)
    if isinstance(model, Yardstick):
        x, y = labelled(shape, seed=seed)
        patients = np.array([f"p{i // 10}" for i in range(len(x))])  # too few to choose a penalty on, which takes time
        model.fit(x.numpy(), np.eye(shape[2], dtype=np.bool_)[y], patients, seed)
    return model.eval()


def labelled(shape: Shape, n: int = 40, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Noise around a level of each class, and the classes."""
    y = torch.arange(n) % shape[2]
    x = torch.rand(n, *shape[:2], generator=torch.Generator().manual_seed(100 + seed))
    return x + 0.05 * y[:, None, None], y


def inputs(name: str, shape: Shape = SHAPES[0], n: int = 8, seed: int = 0) -> dict[str, Tensor]:
    """What the model is given: beats or full-length recordings, beats and features, or sequences of which every other
    label is known."""
    generator = torch.Generator().manual_seed(seed)
    takes = registry.entry(name).takes
    if takes == "sequence":
        known = torch.arange(n * N_BEATS).reshape(n, N_BEATS)
        known = torch.where(known % 2 == 0, known % shape[2], -1).float()
        return {"x": torch.rand(n, N_BEATS, *shape[:2], generator=generator), "features": known}
    given = {"x": torch.rand(n, *shape[:2], generator=generator)}
    if registry.entry(name).reads_features:
        given["features"] = torch.randn(n, N_FEATURES, generator=generator)
    return given


def padded(shape: Shape, lengths: list[int], fill: float = 0.0, seed: int = 0) -> dict[str, Tensor]:
    """Recordings of these lengths, and what is past their ends."""
    x = torch.randn(len(lengths), *shape[:2], generator=torch.Generator().manual_seed(seed))
    past = torch.arange(shape[1]) >= torch.tensor(lengths)[:, None]
    return {"x": x.masked_fill(past[:, None], fill), "lengths": torch.tensor(lengths)}


def moved(model: torch.nn.Module) -> torch.nn.Module:
    """The model with whatever begins at one value moved: scales (some begin at zero), shifts, running statistics."""
    generator = torch.Generator().manual_seed(7)
    for value in (*model.parameters(), *model.buffers()):
        if value.is_floating_point() and (value == value.flatten()[0]).all():
            value.data += 0.3 * torch.rand(value.shape, generator=generator)
    return model


def loss_of(logits: Tensor) -> Tensor:
    flat = logits.float().flatten(0, -2)
    return F.cross_entropy(flat, torch.arange(len(flat)) % flat.shape[1])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [*SHAPES, None], ids=str)
def test_logits_have_the_stated_shape_and_are_the_same_in_any_batch(name: str, shape: Shape | None) -> None:
    shape = shape or (2, registry.entry(name).min_samples, 3)
    model, given = make(name, shape), inputs(name, shape, 7)
    logits, alone = model(**given), model(**{what: value[4:5] for what, value in given.items()})
    assert logits.shape == model.train()(**given).shape == (*given["x"].shape[:-2], shape[2])
    assert logits.dtype == torch.float32 and logits.isfinite().all()
    torch.testing.assert_close(logits[4:5], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_every_lead_and_both_ends_of_the_beat_count(name: str) -> None:
    model, given = make(name, SHAPES[1]), inputs(name, SHAPES[1])
    change = 1.0 if name in TRAINED else 30.0  # a small one leaves the nearest neighbour the same
    for lead, sample in ((0, 3), (1, 3), (0, -3), (1, -3)):
        changed = given["x"].clone()
        changed[..., lead, sample] += change
        assert not torch.equal(model(**{**given, "x": changed}), model(**given))


@pytest.mark.parametrize("name", WITH_STATE)
def test_a_state_dict_makes_the_same_model_again(name: str) -> None:
    model, other, given = make(name, seed=1).train(), build(name, seed=2).eval(), inputs(name)
    model(**given)  # moves the running statistics of batch normalisation
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(**given), model.eval()(**given))


@pytest.mark.parametrize("name", TRAINED)
def test_the_gradient_reaches_every_parameter_and_a_seed_fixes_it(name: str) -> None:
    found = []
    for _ in range(2):
        model = moved(make(name)).train()
        torch.manual_seed(0)
        loss_of(model(**inputs(name, n=64))).backward()
        found.append({name: p.grad for name, p in model.named_parameters()})
    for parameter, gradient in found[0].items():
        assert gradient is not None and gradient.abs().sum() > 0, parameter
        assert torch.equal(gradient, found[1][parameter]), parameter


@pytest.mark.parametrize("name", [name for name in WITH_STATE if name not in RECORDINGS])
def test_the_exported_program_equals_the_model_at_any_batch_size(name: str) -> None:
    model, given = make(name), inputs(name, n=4)
    batch = torch.export.Dim("batch", min=1, max=4096)
    program = torch.export.export(model, (), given, dynamic_shapes={what: {0: batch} for what in given})
    more = inputs(name, n=11, seed=1)
    torch.testing.assert_close(program.module()(**more), model(**more), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", TRAINED)
def test_bfloat16_casting_stays_near_single_precision_and_reaches_every_parameter_in_training(name: str) -> None:
    model, given = make(name), inputs(name, n=32)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        low = model(**given).float()
    with torch.no_grad():
        exact = model(**given)
    assert (low - exact).abs().max() < 0.05 * exact.abs().max() + 0.02
    with torch.autocast("cpu", torch.bfloat16):
        logits = model.train()(**given)
    loss_of(logits).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_the_source_is_in_the_bibliography(name: str) -> None:
    assert f"{{{registry.entry(name).source}," in (ROOT / "book" / "references.bib").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_a_shape_that_the_model_cannot_take_is_refused_in_one_line(name: str) -> None:
    too_short = registry.entry(name).min_samples - 1
    fewest = 1 if name in YARDSTICKS else 2
    wrong = {"n_samples": (1, too_short, 5), "n_leads": (0, 187, 5), "n_classes": (1, 187, fewest - 1)}
    for word, shape in wrong.items():
        with pytest.raises(UserError, match=word):
            build(name, shape)
    build(name, (1, too_short + 1, 5))
    with pytest.raises(UserError, match="model_options"):
        build(name, colour="red")


@pytest.mark.parametrize("name", RECORDINGS)
@settings(max_examples=20, deadline=None)
@given(st.data())
def test_a_padded_recording_gets_the_logits_of_the_bare_one(name: str, data: st.DataObject) -> None:
    """Whatever the padding holds, and however the length divides by the strides."""
    model, least = moved(make(name, (2, 200, 4))), registry.entry(name).min_samples
    assert isinstance(model, CRNN | XResNet1d)
    edges = [k * model.STRIDE + d for k in (1, 2, 3) for d in (-1, 0, 1) if k * model.STRIDE + d >= least]
    lengths = data.draw(st.lists(st.integers(least, 150) | st.sampled_from(edges), min_size=1, max_size=4))
    longest = data.draw(st.integers(max(lengths), 200))
    given = padded((2, longest, 4), lengths, fill=data.draw(st.sampled_from([0.0, 1e4, math.nan])))
    with torch.no_grad():
        logits = model(**given)
        for i, length in enumerate(lengths):
            bare = given["x"][i : i + 1, :, :length]
            torch.testing.assert_close(logits[i : i + 1], model(bare), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recording_can_be_of_any_length(name: str) -> None:
    model, least = make(name, (2, 187, 4)), registry.entry(name).min_samples
    for samples in (least, 1000, 2501):
        assert model(padded((2, samples, 4), [samples] * 2)["x"]).shape == (2, 4)
    for shape, lengths, message in (
        ((1, 2, least - 1), [least - 1], f"{least - 1} samples; expected {least} or more"),
        ((2, 2, 100), [100, least - 1], f"lengths from {least - 1} to 100; expected {least} to 100 samples"),
        ((2, 2, 100), [101, 90], "lengths from 90 to 101"),
        ((2, 2, 100), [100] * 3, r"lengths of shape \(3,\); expected one for each of 2 recordings"),
        ((2, 100), [100] * 2, r"a batch of shape \(2, 100\)"),
    ):
        with pytest.raises(ValueError, match=message):
            model(torch.zeros(shape), lengths=torch.tensor(lengths))


@pytest.mark.parametrize("name", RECORDINGS)
def test_in_training_full_lengths_are_no_lengths(name: str) -> None:
    """Logits, gradients and running statistics: the layers that count steps equal those that take all."""
    given, found = padded((2, 100, 4), [100] * 6), []
    for lengths in (given["lengths"], None):
        model = moved(make(name, (2, 100, 4), dropout=0.0)).train()
        torch.manual_seed(0)
        logits = model(given["x"], lengths=lengths)
        loss_of(logits).backward()
        found.append([logits, *(p.grad for p in model.parameters()), *model.buffers()])
    for masked, plain in zip(*found, strict=True):
        torch.testing.assert_close(masked, plain, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", RECORDINGS)
@pytest.mark.parametrize("with_lengths", [True, False])
def test_an_exported_program_reads_recordings_of_any_length(name: str, with_lengths: bool) -> None:
    model, least = moved(make(name, (2, 100, 4))), registry.entry(name).min_samples
    batch, samples = torch.export.Dim("batch", min=1, max=4096), torch.export.Dim("samples", min=least, max=1_000_000)
    shapes = {"x": {0: batch, 2: samples}, "lengths": {0: batch} if with_lengths else None}
    given = padded((2, 100, 4), [100, 70, 90]) if with_lengths else {"x": torch.rand(3, 2, 100), "lengths": None}
    program = torch.export.export(model, (), given, dynamic_shapes=shapes)
    module = program.module()
    for lengths in ([least], [least + 1, least], [301, 155, 48, 300, 72]):
        given = padded((2, max(lengths), 4), lengths, seed=1)
        given = given if with_lengths else {**given, "lengths": None}
        torch.testing.assert_close(module(**given), model(**given), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "option"),
    [
        *(("bilstm", option) for option in ("hidden", "layers", "patch")),
        *(("crnn", option) for option in ("blocks", "hidden", "attention")),
        *(("cnet", "width"), ("xresnet1d", "width")),
    ],
)
def test_sizes_below_one_are_refused(name: str, option: str) -> None:
    with pytest.raises(UserError, match=rf"model {name}: {option} = 0; expected 1 or more"):
        registry.build(name, 12, 1000, 5, **{option: 0})


def test_an_unknown_model_is_refused_with_a_hint() -> None:
    with pytest.raises(UserError, match="did you mean cnet"):
        registry.build("cnett", 1, 187, 5)


def test_cnet_has_the_published_number_of_parameters_and_public_names() -> None:
    model = make("cnet")
    assert registry.n_parameters(model) == 53_957
    layers = ["c1", "fc1", "fc2", *(f"cresids.{i}.{c}" for i in range(5) for c in ("c1", "c2"))]
    assert set(model.state_dict()) == {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}


def test_batch_normalisation_equals_its_kin_in_torch_and_keeps_the_order() -> None:
    ours, theirs, x = BatchNorm1d(6), torch.nn.BatchNorm1d(6), torch.randn(5, 6, 11) * 3 + 1
    theirs.load_state_dict(ours.state_dict())
    for _ in range(2):  # in training, then with the running statistics
        y = ours(channels_last(x))
        torch.testing.assert_close(y, theirs(x))
        assert y.stride() == channels_last(x).stride()
        ours.eval(), theirs.eval()


@pytest.mark.parametrize("name", ["enhanced_cnn", "dual_path", "seq2seq", "ecgnet", "strided_cnn", "crnn", "xresnet1d"])
@pytest.mark.parametrize("leads", [1, 2])
def test_no_layer_falls_back_to_the_slow_order(name: str, leads: int) -> None:
    """With one lead, memory order is ambiguous and a convolution takes the slow one."""
    model, seen = make(name, (leads, 187, 5)), []
    for layer in model.modules():
        if isinstance(layer, Conv1d | MaxPool1d):
            layer.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    model(**inputs(name, (leads, 187, 5), 4))
    assert len(seen) >= sum(isinstance(layer, Conv1d | MaxPool1d) for layer in model.modules()) > 3
    assert all(x.shape[1] == 1 or x.stride(1) == 1 for x in seen)


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
    beat = torch.arange(187.0).expand(2, 1, 187)
    steps = seen_by(make(name), "layers.0", {"x": beat})
    assert steps.shape == (17, 2, 11)
    assert torch.equal(steps[:, 1].flatten(), beat[1, 0])
    steps = seen_by(make(name, (1, 190, 5)), "layers.0", {"x": torch.ones(2, 1, 190)})
    assert steps.shape == (18, 2, 11) and steps.sum() == 2 * 190


def test_attention_weights_are_a_mean() -> None:
    pooling, x = AttentionPooling(6), torch.randn(3, 6, 9)
    torch.testing.assert_close(pooling(x[:, :, :1].expand(3, 6, 9)), x[:, :, 0])
    assert (pooling(x) <= x.amax(2)).all() and (pooling(x) >= x.amin(2)).all()


def conv(channels: int, kernel: int, out: int, more: int = 1) -> int:
    """Weights of a convolution, and of each output `more` (a bias, or scale and shift of what normalises it)."""
    return (channels * kernel + more) * out


def rnn(gates: int, inputs: int, hidden: int = 128) -> int:
    """Weights of a bidirectional layer, with two biases each."""
    return 2 * gates * hidden * (inputs + hidden + 2)


def excited(before: int, after: int) -> int:
    """A residual block with squeeze-and-excitation."""
    skip = before * after if before != after else 0
    between = conv(after, 1, after // 8) + conv(after // 8, 1, after)
    return conv(before, 5, after, 2) + conv(after, 5, after, 2) + skip + between


WIDE_CNN = [conv(1, 5, 32, 2), conv(32, 5, 64, 2), conv(64, 7, 128, 2), conv(128, 7, 256, 2), 513 * 128, 129 * 5]
DECODER = [257 * 128, 128 * 128, 128, 6 * 16, 4 * 128 * (4 * 128 + 16 + 128 + 2), 385 * 5]
PARAMETERS = {
    "baseline_cnn": [conv(1, 5, 32), conv(32, 5, 64), (64 * 46 + 1) * 128, 129 * 5],
    "enhanced_cnn": WIDE_CNN,
    "bilstm": [rnn(4, 11), rnn(4, 256), 513 * 5],
    "bigru": [rnn(3, 11), rnn(3, 256), 513 * 5],
    "seq2seq": [conv(1, 5, 32), conv(32, 5, 64), conv(64, 5, 128), rnn(4, 256), *DECODER],
    "strided_cnn": [conv(1, 9, 48, 2), *(conv(48, kernel, 48, 2) for kernel in (7, 5, 3)), (48 * 12 + 1) * 5],
    "crnn": [
        *(conv(1, 15, 64, 2), excited(64, 64), excited(64, 96), excited(96, 128)),
        *(rnn(4, 128), rnn(4, 256), 256 * 64 + 64, 257 * 5),
    ],
    "xresnet1d": [conv(1, 5, 32, 2), conv(32, 5, 32, 2), conv(32, 5, 64, 2), 16 * conv(64, 5, 64, 2), 129 * 5],
}
"""Those of the layers in the order of the docstring."""


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_those_of_the_described_layers(name: str) -> None:
    assert registry.n_parameters(make(name)) == sum(PARAMETERS[name])


# --- seq2seq ----------------------------------------------------------------------------------------------------------


def seq2seq(**options: Any) -> torch.nn.Module:
    return make("seq2seq", (1, 40, 4), hidden=8, dropout=0.0, **options)


def sequences(n: int = 6, n_beats: int = 7) -> Tensor:
    return torch.rand(n, n_beats, 1, 40, generator=torch.Generator().manual_seed(0))


def in_training(model: torch.nn.Module, x: Tensor, known: Tensor | None) -> Tensor:
    torch.manual_seed(3)
    logits: Tensor = model.train()(x, features=known)
    return logits


def test_known_labels_tell_something_in_training_alone_and_unknown_ones_nothing() -> None:
    model, x = seq2seq(), sequences()
    for label in (0.0, 3.0, -1.0):
        assert torch.equal(model(x, features=torch.full((6, 7), label)), model(x))
    unknown = torch.full((6, 7), -1.0)
    some = torch.where(torch.arange(7) % 2 == 0, 2.0, -1.0).expand(6, 7)
    others = (unknown, some.where(some >= 0, -7.0), some.where(some < 0, 1.0))
    none, told, unknown_is, other_unknown, other_label = (
        in_training(model, x, known) for known in (None, some, *others)
    )
    assert torch.equal(unknown_is, none) and torch.equal(told, other_unknown)
    assert not torch.equal(told, none) and not torch.equal(told, other_label)


def test_a_label_reaches_later_beats_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Seq2Seq, "TOLD", 1.1)
    model, x, known = seq2seq(), sequences(), torch.zeros(6, 7)
    before = in_training(model, x, known)
    for position in range(7):
        after = in_training(model, x, known.where(torch.arange(7) != position, 3.0))
        assert torch.equal(after[:, : position + 1], before[:, : position + 1])
        assert position == 6 or (after[:, position + 1] != before[:, position + 1]).any(1).all()


def test_a_decoder_told_its_own_answers_gives_the_logits_of_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Seq2Seq, "TOLD", 1.1)
    model, x = seq2seq(), sequences()
    logits = model(x)
    torch.testing.assert_close(in_training(model, x, logits.argmax(2).float()), logits)


def test_about_half_of_the_known_labels_are_told() -> None:
    model, x = seq2seq(), sequences(2000, 2)
    own = in_training(model, x, torch.full((2000, 2), -1.0))
    other = (own[:, 0].argmax(1) + 1) % 4
    told = in_training(model, x, torch.stack([other.float(), torch.full((2000,), -1.0)], 1))
    share = (told[:, 1] != own[:, 1]).any(1).float().mean()
    assert 0.45 < share < 0.55


def test_a_beat_is_read_beside_those_around_it_and_alone_as_a_window_of_one() -> None:
    model, x = seq2seq(), sequences()
    changed = x.clone()
    changed[:, 6] += 1
    assert not torch.equal(model(changed)[:, 0], model(x)[:, 0])
    torch.testing.assert_close(model(x[:, 0]), model(x[:, :1])[:, 0])


# --- ecgnet -----------------------------------------------------------------------------------------------------------


def changed_feature(column: int) -> dict[str, Tensor]:
    given = inputs("ecgnet")
    given["features"][:, column] += 1
    return given


def test_without_the_heart_rate_the_first_three_features_are_not_read() -> None:
    for heart_rate in (True, False):
        model = make("ecgnet", heart_rate=heart_rate)
        read = [not torch.equal(model(**changed_feature(i)), model(**inputs("ecgnet"))) for i in range(N_FEATURES)]
        assert read == [heart_rate] * 3 + [True] * (N_FEATURES - 3)


def test_without_the_waveform_the_beat_is_not_read() -> None:
    model, given = make("ecgnet", waveform=False), inputs("ecgnet")
    unread = {**given, "x": torch.full_like(given["x"], torch.nan)}
    assert torch.equal(model(**unread), model(**given))
    logits = []
    for what in (given, unread):
        torch.manual_seed(0)
        logits.append(model.train()(**what))
    assert torch.equal(*logits)


def seen_by(model: torch.nn.Module, layer: str, given: dict[str, Tensor]) -> Tensor:
    seen: list[Tensor] = []
    with model.get_submodule(layer).register_forward_pre_hook(lambda _, x: seen.append(x[0])):
        model(**given)
    return seen[0]


def test_features_are_standardised_and_bounded() -> None:
    model, given = make("ecgnet"), inputs("ecgnet", n=500)
    given["features"] = given["features"] * torch.arange(1, N_FEATURES + 1) + 7
    model.standardise(given["features"])
    z = seen_by(model, "rhythm.1", given)
    torch.testing.assert_close(z.mean(0), torch.zeros(N_FEATURES), atol=0.01, rtol=0)
    torch.testing.assert_close(z.std(0), torch.ones(N_FEATURES), atol=0.01, rtol=0)
    given["features"][0] = 1e6
    assert seen_by(model, "rhythm.1", given).abs().max() == 4
    again = build("ecgnet", seed=5).eval()
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(**given), model(**given))


def test_noise_is_added_in_training_only() -> None:
    model, given = make("ecgnet", feature_noise=0.5), inputs("ecgnet", n=300)
    assert torch.equal(seen_by(model, "stages", given), given["x"])
    calm = seen_by(model, "rhythm", given)
    model.train()
    assert not torch.equal(seen_by(model, "stages", given), given["x"])
    assert float((seen_by(model, "rhythm", given) - calm).std()) == pytest.approx(0.5, abs=0.03)
    without = make("ecgnet").train()
    assert torch.equal(seen_by(without, "rhythm", given), calm)


def test_ecgnet_wants_features() -> None:
    with pytest.raises(ValueError, match="no features; expected 12"):
        make("ecgnet")(inputs("ecgnet")["x"])
    for options, said in (({}, "n_features"), ({"n_features": 3, "heart_rate": False}, "= 3; expected more than 3")):
        with pytest.raises(UserError, match=said):
            registry.build("ecgnet", *SHAPES[0], **options)


# --- classical references ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLASSICAL)
def test_predictions_of_many_beats_are_those_of_each_and_fitting_again_changes_nothing(name: str) -> None:
    model = make(name, seed=1)
    assert isinstance(model, Classical)
    many, (x, y) = labelled(SHAPES[0], 1030, seed=2)[0], labelled(SHAPES[0], seed=1)
    logits = model.predict_logits(many)
    assert logits.dtype == np.float32
    with torch.no_grad():
        np.testing.assert_allclose(logits[-9:], model(many[-9:]), rtol=1e-4, atol=1e-4)
    model.fit(x, y, x[:4], lambda _: 0.0)
    np.testing.assert_allclose(model.predict_logits(many), logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["hydra", "logistic_regression"])
@pytest.mark.parametrize("best", [0, 1, 2])
def test_the_strength_that_scores_best_on_validation_is_kept(name: str, best: int) -> None:
    model = build(name)
    assert isinstance(model, Hydra | OurRegression)
    seen: list[np.ndarray] = []

    def score(logits: np.ndarray) -> float:
        seen.append(logits.copy())
        return float(len(seen) - 1 == best)

    x_val, _ = labelled(SHAPES[0], 30, seed=8)
    model.fit(*labelled(SHAPES[0], 60), x_val, score)
    assert len(seen) == len(model.STRENGTHS)
    np.testing.assert_allclose(model.predict_logits(x_val), seen[best], rtol=1e-3, atol=1e-3)
    assert np.abs(seen[best] - seen[best - 1]).max() > 0.01


@pytest.mark.parametrize("leads", [1, 2])
def test_hydra_counts_are_those_of_the_paper(leads: int) -> None:
    """Dempster et al. 2023, section 3.1: at every sample the kernel of a group with the largest response adds that
    response to its count, the one with the smallest adds one; then the square root, as in section 3.2."""
    torch.manual_seed(0)
    model = registry.build("hydra", leads, 20, 5, groups=4)
    assert isinstance(model, Hydra)
    x = torch.randn(leads, 20)
    expected: list[float] = []
    for kernels, signal in zip(model.kernels.tolist(), (x.tolist(), x.diff(dim=1).tolist()), strict=True):
        for bank, dilation in zip(kernels, (1, 2), strict=True):
            strongest, weakest = [0.0] * 16, [0.0] * 16
            for centre in range(len(signal[0])):
                for group in (0, 8):
                    responses = [
                        sum(
                            bank[group + k][lead][j] * signal[lead][centre + dilation * (j - 4)]
                            for lead in range(leads)
                            for j in range(9)
                            if 0 <= centre + dilation * (j - 4) < len(signal[0])
                        )
                        for k in range(8)
                    ]
                    strongest[group + responses.index(max(responses))] += max(responses)
                    weakest[group + responses.index(min(responses))] += 1
            expected += strongest + weakest
    roots = [math.sqrt(max(value, 0.0)) for value in expected]
    torch.testing.assert_close(model.counts(x[None])[0], torch.tensor(roots), rtol=1e-4, atol=1e-4)


def test_hydra_s_dilations_are_all_that_fit() -> None:
    for n_samples, expected in ((10, [1]), (17, [1, 2]), (187, [1, 2, 4, 8, 16]), (225, [1, 2, 4, 8, 16])):
        model = registry.build("hydra", 1, n_samples, 5, groups=2)
        assert model.dilations == expected
        assert 8 * max(expected) <= n_samples - 1 or n_samples == 10
    for groups in (0, 3):
        with pytest.raises(UserError, match="expected an even number"):
            registry.build("hydra", 1, 187, 5, groups=groups)


@pytest.mark.parametrize("strength", [1e-3, 1.0])
def test_hydra_s_head_is_scikit_learn_s_ridge(strength: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hydra, "STRENGTHS", (strength,))
    torch.manual_seed(0)
    model = registry.build("hydra", 1, 40, 5, groups=2)
    assert isinstance(model, Hydra)
    x, y = labelled((1, 40, 5), 300)
    model.fit(x, y, x[:5], lambda _: 0.0)
    counts = model.counts(x).double().numpy()
    z = (counts - counts.mean(0)) / (counts.std(0) + 1e-3)
    ridge = Ridge(alpha=len(x) * strength).fit(z, 2 * np.eye(5)[y] - 1)
    np.testing.assert_allclose(model.predict_logits(x), ridge.predict(z), rtol=1e-3, atol=1e-3)


def test_one_nearest_neighbour_is_that_of_scikit_learn_on_beats_of_its_own() -> None:
    model = registry.build("nearest_neighbour", 2, 12, 5)
    assert isinstance(model, Classical) and list(model.parameters()) == []
    with pytest.raises(ValueError, match="nothing fitted yet"):
        model(torch.rand(1, 2, 12))
    x, y = labelled((2, 12, 5), 200)
    other, _ = labelled((2, 12, 5), 100, seed=1)
    expected = KNeighborsClassifier(1).fit(x.flatten(1), y).predict(other.flatten(1))
    model.fit(x, y, x, lambda _: 0.0)
    x.zero_(), y.zero_()
    logits = model.predict_logits(other)
    np.testing.assert_array_equal(logits.argmax(1), expected)
    assert 0.2 < float((expected == np.arange(100) % 5).mean()) < 1
    assert set(np.unique(logits)) == {-1.0, 0.0}


@pytest.mark.parametrize("classes", [[0, 1, 2, 3, 4], [0, 1, 2, 4], [1, 3]])
def test_logistic_regression_is_that_of_scikit_learn(classes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OurRegression, "STRENGTHS", (1.0,))
    model = registry.build("logistic_regression", 1, 10, 5)
    assert isinstance(model, Classical)
    x, _ = labelled((1, 10, 5), 300)
    y = torch.tensor(classes)[(x.sum((1, 2)).argsort().argsort() + torch.arange(300) % 50) // 70 % len(classes)]
    model.fit(x, y, x, lambda _: 0.0)
    p = torch.from_numpy(model.predict_logits(x)).softmax(1).numpy()
    flat = x.flatten(1).double().numpy()
    z = (flat - flat.mean(0)) / (flat.std(0, ddof=1) + 1e-3)
    solver = LogisticRegression(C=1.0, max_iter=1000, tol=1e-6).fit(z, y)
    np.testing.assert_allclose(p[:, classes], solver.predict_proba(z), atol=0.03)  # ours stops at tol 0.001
    absent = [label for label in range(5) if label not in classes]
    assert (p[:, absent] == 0).all()
    assert (p.argmax(1) == solver.predict(z)).mean() > 0.98
