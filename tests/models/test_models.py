"""One battery for every model of the registry."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from projects import ROOT
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor
from torch.nn import functional as F

from ecglib.data import beats
from ecglib.errors import UserError
from ecglib.models import recurrent, registry
from ecglib.models.classical import Classical
from ecglib.models.crnn import CRNN
from ecglib.models.hydra import Hydra
from ecglib.models.layers import Conv1d, MaxPool1d
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
        model.fit(x, y, x[:4], lambda _: 0.0, features=features(len(x)))
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


def features(n: int, seed: int = 0) -> Tensor:
    return torch.randn(n, N_FEATURES, generator=torch.Generator().manual_seed(seed))


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
        given["features"] = features(n, seed)
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
    shape = shape or (2, registry.entry(name).build.MIN_SAMPLES, 3)
    model, given = make(name, shape), inputs(name, shape, 7)
    logits, alone = model(**given), model(**{what: value[4:5] for what, value in given.items()})
    assert logits.shape == model.train()(**given).shape == (*given["x"].shape[:-2], shape[2])
    assert logits.dtype == torch.float32 and logits.isfinite().all()
    torch.testing.assert_close(logits[4:5], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in NAMES if registry.entry(name).takes != "features"])
def test_every_lead_and_both_ends_of_the_beat_count(name: str) -> None:
    model, given = make(name, SHAPES[1]), inputs(name, SHAPES[1])
    change = 1.0 if name in TRAINED else 30.0  # a small one leaves the nearest neighbour the same
    for lead, sample in ((0, 3), (1, 3), (0, -3), (1, -3)):
        changed = given["x"].clone()
        changed[..., lead, sample] += change
        assert not torch.equal(model(**{**given, "x": changed}), model(**given))


@pytest.mark.parametrize("name", WITH_STATE)
def test_a_state_dict_makes_the_same_model_again(name: str) -> None:
    model, other, given = moved(make(name, seed=1)).train(), build(name, seed=2).eval(), inputs(name)
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
    shape = (1, max(33, registry.entry(name).build.MIN_SAMPLES), 5)  # of fewer steps there is less to trace
    model, given = make(name, shape), inputs(name, shape, n=4)
    batch = torch.export.Dim("batch", min=1, max=4096)
    program = torch.export.export(model, (), given, dynamic_shapes={what: {0: batch} for what in given})
    more = inputs(name, shape, n=11, seed=1)
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
    too_short = registry.entry(name).build.MIN_SAMPLES - 1
    fewest = 1 if name in YARDSTICKS else 2
    wrong = {"n_samples": (1, too_short, 5), "n_leads": (0, 187, 5), "n_classes": (1, 187, fewest - 1)}
    for word, shape in wrong.items():
        with pytest.raises(UserError, match=word):
            build(name, shape)
    build(name, (1, too_short + 1, 5))
    with pytest.raises(UserError, match="model_options"):
        build(name, colour="red")


@pytest.mark.parametrize("name", RECORDINGS)
@settings(max_examples=20)
@given(st.data())
def test_a_padded_recording_gets_the_logits_of_the_bare_one(name: str, data: st.DataObject) -> None:
    """Whatever the padding holds, and however the length divides by the strides."""
    model, least = moved(make(name, (2, 200, 4))), registry.entry(name).build.MIN_SAMPLES
    assert isinstance(model, CRNN | XResNet1d)
    edges = [k * model.STRIDE + d for k in (1, 2, 3) for d in (-1, 0, 1) if k * model.STRIDE + d >= least]
    lengths = data.draw(st.lists(st.integers(least, 150) | st.sampled_from(edges), min_size=1, max_size=4))
    longest = data.draw(st.integers(max(lengths), 200))
    given = padded((2, longest, 4), lengths, fill=data.draw(st.sampled_from([0.0, 1e4, math.nan])))
    copy = given["x"].clone()
    with torch.no_grad():
        logits = model(**given)
        for i, length in enumerate(lengths):
            bare = given["x"][i : i + 1, :, :length]
            torch.testing.assert_close(logits[i : i + 1], model(bare), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(given["x"], copy, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recording_can_be_of_any_length(name: str) -> None:
    model, least = make(name, (2, 187, 4)), registry.entry(name).build.MIN_SAMPLES
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
def test_an_exported_program_reads_recordings_of_any_length(name: str) -> None:
    model, least = moved(make(name, (2, 100, 4))), registry.entry(name).build.MIN_SAMPLES
    batch, samples = torch.export.Dim("batch", min=1, max=4096), torch.export.Dim("samples", min=least, max=1_000_000)
    shapes = {"x": {0: batch, 2: samples}, "lengths": {0: batch}}
    program = torch.export.export(model, (), padded((2, 100, 4), [100, 70, 90]), dynamic_shapes=shapes)
    module = program.module()
    for lengths in ([least + 1, least], [301, 155, 48, 300, 72]):
        given = padded((2, max(lengths), 4), lengths, seed=1)
        torch.testing.assert_close(module(**given), model(**given), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "option", "value", "expected"),
    [
        *((name, "hidden", 0, "1 or more") for name in ("bilstm", "seq2seq")),
        *((name, "width", 0, "1 or more") for name in ("cnet", "xresnet1d")),
        *(("hydra", "groups", value, "an even number") for value in (0, 3)),
        ("xresnet1d", "depth", 19, "one of 18, 34, 50, 101"),
    ],
)
def test_options_that_make_no_sense_are_refused(name: str, option: str, value: object, expected: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"model {name}: {option} = {value}; expected {expected}")):
        registry.build(name, 12, 1000, 5, **{option: value})


def test_an_unknown_model_is_refused_with_a_hint() -> None:
    with pytest.raises(UserError, match="did you mean cnet"):
        registry.build("cnett", 1, 187, 5)


PARAMETERS = {
    "cnet": 53_957, "baseline_cnn": 388_101, "enhanced_cnn": 364_389, "bilstm": 542_213, "bigru": 407_301,
    "seq2seq": 835_173, "strided_cnn": 38_261, "crnn": 966_729, "xresnet1d": 346_149,
}  # fmt: skip
"""The published number of `cnet`; of the others, those of the layers in the order of the docstring."""


def test_networks_have_the_number_of_parameters_and_cnet_the_public_names() -> None:
    assert {name: registry.n_parameters(make(name)) for name in PARAMETERS} == PARAMETERS
    layers = ["c1", "fc1", "fc2", *(f"cresids.{i}.{c}" for i in range(5) for c in ("c1", "c2"))]
    assert set(make("cnet").state_dict()) == {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}


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
def test_recurrent_layers_equal_their_kin_in_torch_with_gradients(ours: Any, theirs: Any) -> None:
    torch.manual_seed(0)
    a, b = ours(3, 5).double(), theirs(3, 5, bidirectional=True).double()
    b.load_state_dict(a.state_dict())
    x, weights = torch.randn(7, 4, 3, dtype=torch.double), torch.randn(7, 4, 10, dtype=torch.double)
    torch.testing.assert_close(a(x), b(x)[0])
    (a(x) * weights).sum().backward()
    (b(x)[0] * weights).sum().backward()
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)


# --- seq2seq ----------------------------------------------------------------------------------------------------------


def network_and_sequences() -> tuple[torch.nn.Module, Tensor]:
    model = make("seq2seq", (1, 40, 4), hidden=8, dropout=0.0)
    return model, torch.rand(6, 7, 1, 40, generator=torch.Generator().manual_seed(0))


def in_training(model: torch.nn.Module, x: Tensor, known: Tensor | None) -> Tensor:
    torch.manual_seed(3)
    logits: Tensor = model.train()(x, features=known)
    return logits


def test_known_labels_tell_something_in_training_alone_and_unknown_ones_nothing() -> None:
    model, x = network_and_sequences()
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
    (model, x), known = network_and_sequences(), torch.zeros(6, 7)
    before = in_training(model, x, known)
    for position in range(7):
        after = in_training(model, x, known.where(torch.arange(7) != position, 3.0))
        assert torch.equal(after[:, : position + 1], before[:, : position + 1])
        assert position == 6 or (after[:, position + 1] != before[:, position + 1]).any(1).all()


def test_a_decoder_told_its_own_answers_gives_the_logits_of_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Seq2Seq, "TOLD", 1.1)
    model, x = network_and_sequences()
    logits = model(x)
    torch.testing.assert_close(in_training(model, x, logits.argmax(2).float()), logits)


# --- ecgnet -----------------------------------------------------------------------------------------------------------


def test_every_feature_is_read() -> None:
    model, given = make("ecgnet"), inputs("ecgnet")
    for one in torch.eye(N_FEATURES):
        assert not torch.equal(model(given["x"], features=given["features"] + one), model(**given))


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


def test_ecgnet_wants_features() -> None:
    with pytest.raises(ValueError, match="no features; expected 12"):
        make("ecgnet")(inputs("ecgnet")["x"])
    for options, said in (({}, "n_features"), ({"n_features": 0}, "n_features = 0; expected 1 or more")):
        with pytest.raises(UserError, match=said):
            registry.build("ecgnet", *SHAPES[0], **options)


# --- classical references ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLASSICAL)
def test_predictions_of_many_beats_are_those_of_each_and_fitting_again_changes_nothing(name: str) -> None:
    model = make(name, seed=1)
    assert isinstance(model, Classical)
    many, (x, y), of_many = labelled(SHAPES[0], 1030, seed=2)[0], labelled(SHAPES[0], seed=1), features(1030, seed=2)
    logits = model.predict_logits(many, of_many)
    assert logits.dtype == np.float32
    with torch.no_grad():
        np.testing.assert_allclose(logits[-9:], model(many[-9:], features=of_many[-9:]), rtol=1e-4, atol=1e-4)
    torch.manual_seed(1)
    model.fit(x, y, x[:4], lambda _: 0.0, features=features(len(x)))
    np.testing.assert_allclose(model.predict_logits(many, of_many), logits, rtol=1e-5, atol=1e-5)


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
    for kernels, signal in zip(model.kernels.numpy(), (x.numpy(), x.diff(dim=1).numpy()), strict=True):
        for bank, dilation in zip(kernels, (1, 2), strict=True):
            wide = np.pad(signal, ((0, 0), (4 * dilation, 4 * dilation)))
            seen = [wide[:, at : at + 8 * dilation + 1 : dilation] for at in range(signal.shape[1])]
            responses = np.array([[(kernel * part).sum() for part in seen] for kernel in bank]).reshape(2, 8, -1)
            largest, smallest = responses.max(1, keepdims=True), responses.min(1, keepdims=True)
            expected += [*np.where(responses == largest, responses, 0).sum(2).ravel()]
            expected += [*(responses == smallest).sum(2).ravel()]
    roots = torch.tensor(expected).clamp(min=0).sqrt()
    torch.testing.assert_close(model.counts(x[None])[0], roots.float(), rtol=1e-4, atol=1e-4)


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


@pytest.mark.parametrize("classes", [[0, 1, 2, 3, 4], [1, 3]])
@pytest.mark.parametrize("balanced", [True, False])
def test_a_random_forest_is_that_of_scikit_learn(classes: list[int], balanced: bool) -> None:
    given = {"n_features": N_FEATURES, "trees": 7, "depth": 6, "leaf": 3, "balanced": balanced}
    model = registry.build("random_forest", *SHAPES[0], **given)
    assert isinstance(model, Classical) and list(model.parameters()) == []
    x, z = labelled(SHAPES[0], 300)[0], features(300)
    y = torch.tensor(classes)[(z[:, 0] + z[:, 1] > 0.8).long() * (len(classes) - 1)]
    for wrong, said in (({"features": z}, "nothing fitted yet"), ({}, "no features")):
        with pytest.raises(ValueError, match=said):
            model(x, **wrong)
    torch.manual_seed(3)
    model.fit(x, y, x, lambda _: 0.0, features=z)
    torch.manual_seed(3)
    seed = int(torch.randint(2**31, ()))
    weight = "balanced" if balanced else None
    forest = RandomForestClassifier(7, max_depth=6, min_samples_leaf=3, class_weight=weight, random_state=seed)
    other = features(200, seed=1)
    expected = forest.fit(z, y).predict_proba(other)
    found = np.exp(model.predict_logits(x[:200], other))
    np.testing.assert_allclose(found[:, forest.classes_], expected.clip(1e-4), atol=1e-6)
    assert 0.1 < float((expected.argmax(1) == 0).mean()) < 0.95
