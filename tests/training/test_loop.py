from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ecglib import losses
from ecglib.errors import UserError
from ecglib.models.cnet import CNet
from ecglib.training import checkpoint, loop

CPU = torch.device("cpu")


def waves(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy sines of three frequencies: learnable, not trivial."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 3, n)
    phase = draw.uniform(0, 2 * np.pi, (n, 1))
    time = np.linspace(0, 2 * np.pi, 140)
    signals = np.sin((labels[:, None] + 2) * time + phase) + draw.normal(0, 0.8, (n, 140))
    return signals[:, None].astype(np.float32), labels.astype(np.int64)


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    return float((logits.argmax(1) == labels).mean())


def small() -> nn.Module:
    return CNet(1, 140, 3, width=8)


class Layers(nn.Sequential):
    """Layers one after the other, called as networks are."""

    def forward(self, x: torch.Tensor, *, features: object = None, lengths: object = None) -> torch.Tensor:
        return super().forward(x)


def with_dropout() -> nn.Module:
    """A network whose training draws from torch's global generator."""
    return Layers(nn.Flatten(), nn.Linear(140, 16), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, 3))


def of_sequences() -> nn.Module:
    """A network that classifies every beat of a sequence by itself."""
    return Layers(nn.Flatten(-2), nn.Linear(140, 3))


RECIPE = loop.Recipe(max_epochs=4, patience=4, batch_size=32, learning_rate=0.01, deterministic=True)


def fit(make=with_dropout, train=None, val=None, metric=accuracy, seed: int = 0, kept=None, **changes) -> loop.Fitted:
    """A training as `RECIPE` says but for the changes; without validation where it stops after some epochs."""
    recipe = dataclasses.replace(RECIPE, **changes)
    train = train or loop.InMemory(*waves(256, 1))
    val = None if recipe.stop_after else val or loop.InMemory(*waves(128, 2))
    loss = losses.cross_entropy()
    return loop.fit(make, train, val, loss, metric, recipe, seed=seed, device=CPU, kept=kept)


def weights(fitted: loop.Fitted) -> torch.Tensor:
    return torch.cat([t.flatten().float() for t in fitted.model.state_dict().values()])


def curves(fitted: loop.Fitted) -> list[tuple[float | None, ...]]:
    return [(epoch.train_loss, epoch.val_loss, epoch.val_metric) for epoch in fitted.run.history]


def test_it_learns_and_keeps_the_weights_of_the_best_epoch() -> None:
    fitted = fit(small, max_epochs=12, patience=12)
    values = [epoch.val_metric for epoch in fitted.run.history]
    assert fitted.run.best_epoch == 1 + int(np.argmax(values))
    (x, y), (x_new, y_new) = waves(128, 2), waves(256, 3)
    assert accuracy(loop.predict(fitted.model, loop.InMemory(x, y), device=CPU), y) == max(values)
    assert accuracy(loop.predict(fitted.model, loop.InMemory(x_new, y_new), device=CPU), y_new) > 0.85


def test_training_stops_when_validation_no_longer_improves() -> None:
    constant = fit(metric=lambda *_: 0.5, max_epochs=20, patience=3)
    assert (constant.run.best_epoch, constant.run.epochs_run, constant.run.stopped_early) == (1, 4, True)


@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_resumed_training_equals_the_uninterrupted_one(ema: float | None, tmp_path: Path) -> None:
    whole, kept, calls = fit(ema=ema), (tmp_path / "checkpoint.pt", "a"), []

    def dies_in_the_third_epoch(logits: np.ndarray, labels: np.ndarray) -> float:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return accuracy(logits, labels)

    with pytest.raises(KeyboardInterrupt):
        fit(metric=dies_in_the_third_epoch, ema=ema, kept=kept)
    torch.rand(17)  # what else happens in between must not matter
    resumed = fit(ema=ema, kept=kept)
    assert resumed.resumed_from == 2
    assert torch.equal(weights(resumed), weights(whole))
    assert curves(resumed) == curves(whole)


def test_a_checkpoint_of_other_parameters_is_not_resumed(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    resumed = [fit(kept=(path, fingerprint)).resumed_from for fingerprint in ("a", "b", "b")]
    assert resumed == [0, 0, RECIPE.max_epochs]


def test_a_refit_keeps_its_last_epoch_and_the_schedule_of_the_whole() -> None:
    refitted = fit(stop_after=2)
    assert refitted.run.epochs_run == refitted.run.best_epoch == 2
    rates = [epoch.learning_rate for epoch in fit().run.history]
    assert [epoch.learning_rate for epoch in refitted.run.history] == rates[:2]


class Watched(loop.InMemory):
    """Notes the positions that are asked for, those of a training epoch apart from those of a scoring."""

    orders: list[list[int]]

    def batches(self, order: torch.Tensor, batch_size: int, device: torch.device):
        self.__dict__.setdefault("orders", []).append(order.tolist())
        return super().batches(order, batch_size, device)


def test_a_sampler_chooses_the_examples_of_each_epoch() -> None:
    asked = []

    class Backwards:
        def __len__(self) -> int:
            return 70

        def __call__(self, epoch: int, seed: int) -> torch.Tensor:
            asked.append((epoch, seed))
            return torch.arange(70).flip(0) + epoch

    train = Watched(*waves(256, 1))
    fit(sampler=Backwards(), examples_per_epoch=128, train=train, seed=5)
    assert asked == [(epoch, 5) for epoch in range(4)]
    assert train.orders == [list(range(69 + epoch, 5 + epoch, -1)) for epoch in range(4)], "two whole batches of 32"


@pytest.mark.parametrize(("bound", "n"), [(100, 96), (None, 256), (20, 20)])
def test_an_epoch_shows_whole_batches_of_as_many_examples_as_wanted(bound: int | None, n: int) -> None:
    train = Watched(*waves(256, 1))
    fit(examples_per_epoch=bound, train=train)
    assert [len(order) for order in train.orders] == [n] * 4
    assert len(set(train.orders[0])) == n
    if bound == 100:
        assert len(set(train.orders[0]) | set(train.orders[1])) == 192, "the next epoch goes on with others"


def test_ignored_beats_of_a_sequence_train_nothing_and_are_not_validated() -> None:
    x, y = waves(256, 1)
    x, y = x.reshape(64, 4, 1, 140), y.reshape(64, 4)
    ignored = np.random.default_rng(0).random(y.shape) < 0.4
    other, labels = x.copy(), np.where(ignored, losses.IGNORED, y)
    other[ignored] = 50
    seen: list[np.ndarray] = []

    def metric(logits: np.ndarray, found: np.ndarray) -> float:
        assert logits.shape == (256, 3)
        seen.append(found)
        return accuracy(logits[found >= 0], found[found >= 0])

    parts = loop.InMemory(x, labels), loop.InMemory(other, labels)
    fitted = [fit(of_sequences, part, part, metric) for part in parts]
    assert torch.equal(weights(fitted[0]), weights(fitted[1])) and curves(fitted[0]) == curves(fitted[1])
    assert all((found == labels.ravel()).all() for found in seen)
    logits = torch.from_numpy(loop.predict(fitted[0].model, parts[0], device=CPU))
    plain = float(nn.CrossEntropyLoss()(logits[~ignored.ravel()], torch.from_numpy(y[~ignored])))
    best = fitted[0].run.history[fitted[0].run.best_epoch - 1]
    assert best.val_loss == pytest.approx(plain, rel=1e-5)


def test_lower_precision_learns_the_same_within_tolerance() -> None:
    precisions = "float32", "bfloat16", "float16"
    runs = [fit(small, precision=precision, max_epochs=2).run for precision in precisions]
    exact, *low = ([epoch.train_loss for epoch in run.history] for run in runs)
    assert low == [pytest.approx(exact, abs=0.15)] * 2


def test_a_diverged_training_is_one_clear_line() -> None:
    with pytest.raises(UserError, match=r"loss became nan|loss became inf"):
        fit(small, learning_rate=1e18, gradient_clip=None)


@given(st.integers(1, 200), st.integers(1, 300), st.integers(0, 9))
def test_every_example_comes_once_before_any_comes_twice(n: int, size: int, seed: int) -> None:
    order = torch.cat([loop.epoch_order(epoch, n, size, seed) for epoch in range(4)])
    assert len(order) == 4 * size
    for start in range(0, len(order) - n + 1, n):
        assert sorted(order[start : start + n].tolist()) == list(range(n))


@pytest.mark.parametrize("schedule", ["one-cycle", "cosine"])
def test_the_schedule_rises_to_its_peak_once_and_ends_at_zero(schedule: str) -> None:
    rates = [loop.rate_at(step, 1000, schedule) for step in range(1001)]
    peak = int(np.argmax(rates))
    assert rates[peak] == pytest.approx(1)
    assert rates[-1] == pytest.approx(0, abs=1e-9)
    assert all(a <= b for a, b in itertools.pairwise(rates[: peak + 1]))
    assert all(a >= b for a, b in itertools.pairwise(rates[peak:]))


def test_a_checkpoint_cannot_carry_code(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self):
            return (print, ("boom",))

    path = tmp_path / "checkpoint.pt"
    torch.save({"fingerprint": "a", "bomb": Bomb()}, path)
    with pytest.raises(UserError, match="unreadable checkpoint"):
        checkpoint.load(path, "a")


def test_a_full_disk_leaves_the_former_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, {"fingerprint": "a", "epoch": 1})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        checkpoint.save(path, {"fingerprint": "a", "epoch": 2})
    state = checkpoint.load(path, "a")
    assert state is not None
    assert state["epoch"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]
