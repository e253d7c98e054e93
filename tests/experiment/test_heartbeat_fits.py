"""Training of one seed: what may be seen, by every kind of model, and what each answer to imbalance does."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ecglib import config
from ecglib.config import HeartbeatParameters
from ecglib.data import beats as beats_module
from ecglib.data import splits
from ecglib.data.beats import Beats
from ecglib.errors import UserError
from ecglib.evaluation.scoring import LOGITS
from ecglib.experiment import heartbeat
from ecglib.experiment.driver import Where
from ecglib.losses import FocalLoss, LogitAdjusted
from ecglib.models import registry
from ecglib.models.hydra import Hydra
from ecglib.training import loop

HERE = Where(torch.device("cpu"), "float32", "test")
SIZES = (60, 10, 20, 10, 10)
"""Beats of each class in a made-up record of the kind that `made` gives."""
RECORDS = ("101", "106", "114", "118", "100", "103")  # two each that train, validate and test
KINDS: dict[str, dict[str, Any]] = {
    "seq2seq": {"model": "seq2seq", "model_options": {"hidden": 8}},
    "single beats of seq2seq": {"model": "seq2seq", "model_options": {"hidden": 8}, "beats_per_sequence": 1},
    "cnet": {"model": "cnet", "model_options": {"width": 4}},
    "ecgnet": {"model": "ecgnet", "cut": "relative", "model_options": {"width": 4, "hidden": 8}},
    "hydra": {"model": "hydra", "model_options": {"groups": 2}},
    "nearest_neighbour": {"model": "nearest_neighbour"},
}


def made(p: HeartbeatParameters, seed: int = 0) -> Beats:
    """Noise with a bump at a place of its own for every class; the classes mixed in time."""
    draw, n = np.random.default_rng(seed), sum(SIZES)
    labels = np.concatenate([draw.permutation(np.repeat(np.arange(5), SIZES)) for _ in RECORDS])
    shape = beats_module.shape(p.cut, 1)
    signals = draw.normal(0, 0.3, (len(labels), *shape)).astype(np.float32)
    for i, label in enumerate(labels):
        signals[i, :, 20 * label : 20 * label + 20] += 1
    record = np.repeat(RECORDS, n)
    return Beats(
        signals=signals,
        features=draw.normal(0, 1, (len(labels), len(beats_module.features_of(p.cut, 1)))).astype(np.float32),
        labels=labels,
        record=record,
        patient=record,
        symbol=np.array(list("NAVFQ"))[labels],
        sample=np.tile(np.arange(n) * 100, len(RECORDS)),
        left_out={},
        records_left_out={},
    )


def parameters(**values: Any) -> HeartbeatParameters:
    given_values = {"max_epochs": 1, "deterministic": True, "device": "cpu", **values}
    if not registry.entry(values.get("model", "cnet")).classical:
        given_values["batch_size"] = 128
    found = config.check("heartbeat", given_values, "here")
    assert isinstance(found, HeartbeatParameters)
    return found


def data_of(p: HeartbeatParameters, beats: Beats, split: splits.Split | None = None) -> heartbeat.Data:
    """These beats as an experiment's, divided as said."""
    data = heartbeat.Data(p)
    vars(data).update(beats=beats, sample=True, fingerprint="")
    if split is not None:
        data.split = lambda seed: split
    return data


class Trained:
    """What training on these beats gave, divided as said."""

    def __init__(self, p: HeartbeatParameters, beats: Beats, split: splits.Split | None = None) -> None:
        data = data_of(p, beats, split)
        (self.part,) = heartbeat.TASK.parts(data, p, 0)
        self.fitted, self.split = heartbeat.TASK.fit(data, self.part, p, 0, HERE), data.split(0)
        assert self.fitted.run is not None
        self.run, self.note = self.fitted.run, self.fitted.note
        self.logits = self.fitted.tables["predictions"][LOGITS].to_numpy()


def state(trained: Trained) -> dict[str, torch.Tensor]:
    assert trained.fitted.model is not None
    return dict(trained.fitted.model.state_dict())


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def permuted(beats: Beats, index: NDArray[np.int64]) -> Beats:
    labels = beats.labels.copy()
    labels[index] = np.random.default_rng(5).permutation(labels[index])
    assert (labels != beats.labels).any()
    return Beats(**{**vars(beats), "labels": labels})


# --- what may be seen -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "protocol"), list(zip(KINDS, cycle(("intra", "inter")), strict=False)))
def test_labels_of_test_beats_have_no_influence_on_the_weights(kind: str, protocol: str) -> None:
    p = parameters(**{**KINDS[kind], "protocol": protocol})
    beats = made(p)
    split = data_of(p, beats).split(0)  # as it is: stratified by class, it would follow the labels
    first = Trained(p, beats, split)
    second = Trained(p, permuted(beats, split.test), split)
    assert same(state(first), state(second))
    np.testing.assert_array_equal(first.logits, second.logits)
    np.testing.assert_array_equal(first.part.scored, split.test)
    other = Trained(p, permuted(beats, split.train), split)
    assert not same(state(first), state(other))


@pytest.mark.parametrize("kind", ["seq2seq", "cnet"])
def test_labels_of_validation_beats_choose_the_epoch_and_train_nothing(kind: str) -> None:
    p = parameters(**KINDS[kind])
    beats = made(p)
    split = data_of(p, beats).split(0)
    first = Trained(p, beats, split)
    second = Trained(p, permuted(beats, split.val), split)
    assert same(state(first), state(second)), "with one epoch there is nothing to choose"
    assert first.run.history[0].val_loss != second.run.history[0].val_loss


RESAMPLED = [(name, "cnet") for name in config.RESAMPLERS] + [("smote", "hydra"), ("smote", "nearest_neighbour")]


@pytest.mark.parametrize(("method", "kind"), RESAMPLED)
def test_resampling_is_given_training_beats_only(method: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refit those of validation too."""
    p = parameters(imbalance=method, refit=kind == "cnet", **KINDS[kind])
    beats, seen = made(p), []

    def watched(signals: NDArray[np.float32], labels: NDArray[np.int64], name: str, **_: Any) -> Any:
        seen.append((signals.copy(), labels.copy(), name))
        return signals[::2], labels[::2]

    monkeypatch.setattr(heartbeat, "resample", watched)
    trained = Trained(p, beats)
    both = np.sort(np.concatenate([trained.split.train, trained.split.val]))
    for (signals, labels, name), part in zip(seen, [trained.split.train, both][: 1 + p.refit], strict=True):
        assert name == method
        np.testing.assert_array_equal(signals, beats.signals[part])
        np.testing.assert_array_equal(labels, beats.labels[part])
    assert list(trained.note["resampled"].values()) == np.bincount(seen[0][1][::2], minlength=5).tolist()


# --- what is fitted ---------------------------------------------------------------------------------------------------


def test_features_are_standardised_on_training_beats() -> None:
    p = parameters(**KINDS["ecgnet"])
    beats = made(p)
    trained = Trained(p, beats)
    mean = beats.features[trained.split.train].mean(0)
    np.testing.assert_allclose(state(trained)["mean"], mean, atol=1e-5)
    assert np.abs(beats.features.mean(0) - mean).max() > 1e-3


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"model": "cnet"}, "all"),
        ({"model": "cnet", "beats_per_epoch": 200}, 200),
        ({"model": "cnet", "beats_per_epoch": 10**6}, "all"),
        ({"model": "cnet", "imbalance": "smote"}, "all"),
        ({"model": "cnet", "imbalance": "random-under"}, "all"),
        ({"model": "seq2seq"}, "windows"),
        ({"model": "seq2seq", "beats_per_epoch": 200}, 20),
        ({"model": "seq2seq", "beats_per_epoch": 200, "beats_per_sequence": 1}, 200),
    ],
)
def test_an_epoch_is_bounded_in_beats(
    values: dict[str, Any], expected: int | str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resampled sets get as many as there were before."""
    recipes: list[loop.Recipe] = []

    def note(recipe: loop.Recipe, **_: Any) -> loop.Fitted:
        recipes.append(recipe)
        raise StopIteration

    monkeypatch.setattr(loop, "fit", note)
    p = parameters(**values)
    beats = made(p)
    with pytest.raises(StopIteration):
        Trained(p, beats)
    train_index = data_of(p, beats).split(0).train
    windows = beats_module.windows(beats.record, p.beats_per_sequence)
    told = np.isin(windows.position, train_index) & windows.first
    sizes = {"all": len(train_index), "windows": int(told.any(1).sum())}
    assert recipes[0].examples_per_epoch == sizes.get(str(expected), expected)
    assert recipes[0].batch_size == (12 if p.model == "seq2seq" and p.beats_per_sequence == 10 else 128)


@pytest.mark.parametrize("protocol", ["intra", "inter"])
def test_answers_have_their_parameters_and_balance_the_scored_classes_alone(protocol: str) -> None:
    """Patients apart, Q has a handful of beats: weighted by its inverse frequency they would outweigh all others."""
    across = protocol == "inter"

    def fitting(**values: Any) -> tuple[heartbeat.Fitting, NDArray[np.int64]]:
        p = parameters(protocol=protocol, **KINDS["cnet"], **values)
        beats = made(p)
        beats.labels[np.flatnonzero(beats.labels == 4)[::2]] = 0
        found = heartbeat.Fitting(p, beats, 0, HERE, heartbeat.macro_classes(p.protocol))
        return found, data_of(p, beats).split(0).train

    for values in ({"imbalance": "weighted"}, {"imbalance": "effective-number"}):
        found, train_index = fitting(**values)
        counts = np.bincount(found.beats.labels[train_index], minlength=5)
        weight = found.loss(train_index).weight
        assert isinstance(weight, torch.Tensor)
        scored = [0, 1, 2, 3] if across else [0, 1, 2, 3, 4]
        assert float((weight[scored] * torch.tensor(counts[scored])).sum() / counts[scored].sum()) == pytest.approx(1)
        assert (float(weight[4]) == 1) == across
    found, train_index = fitting(imbalance="logit-adjustment")
    loss, counts = found.loss(train_index), np.bincount(found.beats.labels[train_index])
    assert isinstance(loss, LogitAdjusted)
    np.testing.assert_allclose(loss.log_prior[:4], np.log(counts[:4] / counts[scored].sum()), rtol=1e-5)
    assert (float(loss.log_prior[4]) == 0) == across
    loss = fitting(imbalance="focal", focal_gamma=1.5)[0].loss(train_index)
    assert isinstance(loss, FocalLoss) and loss.gamma == 1.5
    found, train_index = fitting(imbalance="random-over")
    before, after = np.bincount(found.beats.labels[train_index]), np.bincount(found.sample(train_index)[1])
    assert (after[:4] == before[0]).all()
    assert after[4] == (before[4] if across else before[0])


def test_a_classical_reference_says_what_it_chose() -> None:
    p = parameters(**KINDS["hydra"])
    trained = Trained(p, made(p))
    assert trained.run.strength in Hydra.STRENGTHS
    assert trained.run.examples_per_epoch == 0


# --- what is refused, and what does not count -------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_a_set_without_a_class_that_is_scored_is_refused_in_one_line(part: str) -> None:
    p = parameters(protocol="inter")
    beats = made(p)
    index = getattr(splits.inter(beats.record), part)
    beats.labels[index] = np.where(np.isin(beats.labels[index], (1, 3)), 0, beats.labels[index])
    with pytest.raises(UserError) as error:
        Trained(p, beats)
    message = str(error.value)
    assert f"the {part} set" in message
    assert "no beat of class S, F" in message
    assert "\n" not in message
    Trained(parameters(protocol="inter", max_beats=200, model="nearest_neighbour"), beats)
    p = parameters(protocol="inter", model="nearest_neighbour")
    beats = made(p)
    beats.labels[beats.labels == 4] = 0
    Trained(p, beats)  # a set without Q is enough
