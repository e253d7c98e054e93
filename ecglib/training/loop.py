"""The training loop: one network, one training set, the best epoch by a validation metric.

The set lies on the device and is indexed there where it fits. Nothing inside a step waits for the device. After every
epoch the whole state is written, so that a kill loses one epoch at most, and a resumed training goes the way the
uninterrupted one would have gone.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from ecglib.errors import UserError
from ecglib.models.layers import full_precision
from ecglib.training import checkpoint
from ecglib.training.device import autocast, determinism
from ecglib.training.history import Epoch, SeedRun
from ecglib.training.progress import Reporter
from ecglib.training.sampling import ByRecord

RECIPE = 1
"""1: as published."""
P = ParamSpec("P")
Tensors = tuple[Tensor, ...] | list[Tensor]
Metric = Callable[[NDArray[np.float32], NDArray[Any]], float]
"""Logits `(n, classes)` and labels as `Batch.y` has them, those of sequences in one row, to a number that is better
when higher."""


class Batch(NamedTuple):
    """Examples on the device.

    `x` are signals `(batch, leads, samples)`, of sequences `(batch, beats, leads, samples)`; `lengths` `(batch,)` the
    samples of each where some are padded; `features` `(batch, n)`; `y` the class of each, int64 `(batch,)` or
    `(batch, beats)`, or floating `(batch, labels)`, 1 for every label that it has, else 0.
    """

    x: Tensor
    lengths: Tensor | None
    features: Tensor | None
    y: Tensor


@dataclass(frozen=True, eq=False)
class Group:
    """Parameters that learn at a rate, and with a weight decay, of their own."""

    parameters: list[nn.Parameter]
    weight_decay: float
    share: Callable[[float], float] = lambda done: 1.0
    """Share of the training that is over, from 0, to a share of the learning rate."""


SHARE_OF_MEMORY = 0.5
"""A set that takes more of the GPU's free memory than this stays on the host."""


class Examples(Protocol):
    """Labelled examples that can be read in any order."""

    def __len__(self) -> int: ...

    def batches(self, order: Tensor, batch_size: int, device: torch.device) -> Iterator[Batch]:
        """Batches of the examples at the positions `order` `(n,)`, the last one maybe smaller."""
        ...


def as_tensor(values: NDArray[np.floating[Any]]) -> Tensor:
    """Values as a tensor of torch's default type: float32, unless a program has asked for another."""
    return torch.from_numpy(np.ascontiguousarray(values)).to(torch.get_default_dtype())


class InMemory:
    """Examples as tensors: moved to the device once, if they fit there, and indexed where they lie.

    They are float32 `(n, leads, samples)`, with int64 classes `(n,)` and maybe float32 features `(n, n_features)`; of
    sequences `(n, beats, leads, samples)` and `(n, beats)`.
    """

    def __init__(
        self, x: NDArray[np.float32], y: NDArray[np.int64], features: NDArray[np.float32] | None = None
    ) -> None:
        self.x, self.y = as_tensor(x), torch.from_numpy(np.ascontiguousarray(y))
        self.features = as_tensor(features) if features is not None and features.shape[1] > 0 else None

    def __len__(self) -> int:
        return len(self.y)

    def _settle(self, device: torch.device) -> None:
        tensors = [tensor for tensor in (self.x, self.y, self.features) if tensor is not None]
        free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else math.inf
        if sum(tensor.nbytes for tensor in tensors) < SHARE_OF_MEMORY * free:
            self.x, self.y, *features = (tensor.to(device) for tensor in tensors)
            self.features = features[0] if features else None

    def batches(self, order: Tensor, batch_size: int, device: torch.device) -> Iterator[Batch]:
        if self.x.device != device:
            self._settle(device)
        order = order.to(self.x.device)
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            features = None if self.features is None else self.features.index_select(0, chosen).to(device)
            x, y = (tensor.index_select(0, chosen).to(device) for tensor in (self.x, self.y))
            yield Batch(x, None, features, y)


@dataclass(frozen=True)
class Recipe:
    """How to train; the fields are those of `ecglib.config.TrainedParameters`."""

    max_epochs: int
    patience: int
    batch_size: int
    learning_rate: float
    schedule: str = "one-cycle"
    weight_decay: float = 0.01
    gradient_clip: float | None = 1.0
    ema: float | None = None
    precision: str = "float32"
    deterministic: bool = False
    examples_per_epoch: int | None = None
    """An epoch's examples; None: as many as there are. Of more than there are, some come up more than once. Resampled
    sets take the number before resampling, so that every answer to imbalance gets the same number of steps."""
    stop_after: int | None = None
    """End after this many epochs of the schedule and keep the last weights (a refit has nothing to choose on)."""
    sampler: ByRecord | None = None
    """Chooses the examples of each epoch; None: `epoch_order`."""
    groups: Callable[[nn.Module], list[Group]] | None = None
    """Divides the network's parameters; None: all are one group."""


@dataclass
class Fitted:
    """A trained network and how it came about; `model` carries the weights of the best epoch and is in eval mode."""

    model: nn.Module
    run: SeedRun
    seconds: float
    resumed_from: int = 0


def rate_at(step: int, total: int, schedule: str) -> float:
    """Learning rate at a step, as a share of its peak.

    `one-cycle` (Smith 2018): a cosine up from 1/25 over the first 30 %, then a cosine down to zero. `cosine`
    (Loshchilov & Hutter 2017): a linear warm-up over the first 2 %, then a cosine down to zero.
    """
    done = min(step / max(total, 1), 1.0)
    rise, start = (0.3, 1 / 25) if schedule == "one-cycle" else (0.02, 1e-3)
    if done < rise and schedule == "one-cycle":
        return start + (1 - start) * 0.5 * (1 - math.cos(math.pi * done / rise))
    if done < rise:
        return max(done / rise, start)
    return 0.5 * (1 + math.cos(math.pi * (done - rise) / (1 - rise)))


def epoch_order(epoch: int, n: int, size: int, seed: int) -> Tensor:
    """Positions of the examples of an epoch (from 0), `(size,)`.

    Epochs are cut from an endless row of permutations of `n`, so that over any number of epochs the examples come up
    equally often, give or take one (an epoch that spans two permutations may show one twice). The order depends on seed
    and epoch alone: a resumed training needs no memory of it.
    """
    parts, position, end = [], epoch * size, (epoch + 1) * size
    while position < end:
        round_, offset = divmod(position, n)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + round_)
        part = torch.randperm(n, generator=generator)[offset : offset + end - position]
        parts.append(part)
        position += len(part)
    return torch.cat(parts)


def epochs(
    make_model: Callable[[], nn.Module],
    train: Examples,
    val: Examples | None,
    loss: nn.Module,
    metric: Metric | None,
    recipe: Recipe,
    *,
    seed: int,
    device: torch.device,
    kept: tuple[Path, str] | None = None,
    title: str = "training",
) -> Generator[Epoch, None, Fitted]:
    """Train a network and keep the epoch that is best on validation; yields every epoch, those of before a resumption
    too, and returns what `fit` does. Who closes it ends the training.

    `make_model` is called once, after torch's generators are seeded; the seed fixes initialisation, order and dropout.
    The loss is of logits `(batch, classes)` and `Batch.y`, those of sequences in one row. The metric chooses the epoch,
    of equal ones the earlier; without validation, `recipe.stop_after` says when to end.

    The state is `kept` after every epoch, and read from there at the start where it carries that fingerprint (of
    parameters and data); None keeps none. The title begins the line of progress.

    Raises UserError when the loss is no longer a number, or the checkpoint can't be read or written.
    """
    if val is None and recipe.stop_after is None:
        raise ValueError("without validation examples, stop_after must say when to end")
    with determinism(recipe.deterministic):
        state = Training(make_model, train, val, loss, metric, recipe, seed, device)
        resumed = 0 if kept is None else state.resume(*kept)
        yield from state.history
        report = Reporter(title, state.epochs)
        while state.epoch < state.epochs and not state.stopped_early:
            note = state.run_epoch()
            report.epoch(state.epoch, note)
            if kept is not None:
                checkpoint.save(kept[0], state.state_dict(kept[1]))
            yield state.history[-1]
        return state.result(resumed)


def _to_the_end(training: Callable[P, Generator[Epoch, None, Fitted]]) -> Callable[P, Fitted]:
    def fit(*given: P.args, **named: P.kwargs) -> Fitted:
        steps = training(*given, **named)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                fitted: Fitted = end.value
                return fitted

    return fit


fit = _to_the_end(epochs)
"""Train to the end; arguments and errors are those of `epochs`."""


@dataclass(eq=False)
class Training:
    """The state of a training between two epochs."""

    KEPT = ("epoch", "best", "best_epoch", "best_metric", "seconds")
    make_model: Callable[[], nn.Module]
    train: Examples
    val: Examples | None
    loss: nn.Module
    metric: Metric | None
    recipe: Recipe
    seed: int
    device: torch.device

    def __post_init__(self) -> None:
        torch.manual_seed(self.seed)
        self.model, self.loss, recipe = self.make_model().to(self.device), self.loss.to(self.device), self.recipe
        self.size = len(recipe.sampler) if recipe.sampler else recipe.examples_per_epoch or len(self.train)
        self.batch_size = min(recipe.batch_size, self.size)
        self.steps = self.size // self.batch_size
        self.epochs = recipe.stop_after or recipe.max_epochs
        self.ema: AveragedModel | None = None
        if recipe.ema:
            self.ema = AveragedModel(self.model, multi_avg_fn=self._average, use_buffers=True)
        groups = [Group(list(self.model.parameters()), recipe.weight_decay)]
        if recipe.groups is not None:
            groups = recipe.groups(self.model)
        learning = [{"params": group.parameters, "weight_decay": group.weight_decay} for group in groups]
        self.optimiser = torch.optim.AdamW(learning, recipe.learning_rate, fused=True)
        self.schedule = LambdaLR(self.optimiser, [self._rate(group) for group in groups])
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=recipe.precision == "float16")
        self.epoch, self.best_epoch, self.best_metric, self.seconds = 0, 0, -math.inf, 0.0
        self.best: dict[str, Tensor] = {}
        self.history: list[Epoch] = []

    def _rate(self, group: Group) -> Callable[[int], float]:
        total = self.steps * self.recipe.max_epochs
        return lambda step: group.share(step / max(total, 1)) * rate_at(step, total, self.recipe.schedule)

    @property
    def stopped_early(self) -> bool:
        waited = self.epoch - self.best_epoch
        return self.val is not None and waited >= self.recipe.patience and self.epoch < self.epochs

    def run_epoch(self) -> str:
        """Train an epoch, validate, keep the weights if they are the best so far; returns a note."""
        start = time.perf_counter()
        train_loss = self.train_epoch()
        if not math.isfinite(train_loss):
            what = f"the loss became {train_loss} in epoch {self.epoch + 1}"
            raise UserError("training", what, do="lower learning_rate")
        candidate = self.ema.module if self.ema is not None else self.model
        val_loss = value = math.nan
        if self.val is not None and self.metric is not None:
            logits, labels, val_loss = _score(candidate, self.val, self.device, self.recipe.precision, self.loss)
            value = self.metric(logits, labels)
        self.epoch += 1
        if self.val is None or value > self.best_metric or not self.best:
            self.best_epoch, self.best_metric = self.epoch, value
            self.best = {name: t.detach().cpu().clone() for name, t in candidate.state_dict().items()}
        seconds = time.perf_counter() - start
        self.seconds += seconds
        scores = {"val_loss": _finite(val_loss), "val_metric": _finite(value)}
        rate = float(self.schedule.get_last_lr()[0])
        self.history.append(
            Epoch(epoch=self.epoch, train_loss=train_loss, **scores, learning_rate=rate, seconds=seconds)
        )
        return f"loss {train_loss:.4f}" + (f", validation {value:.4f}" if self.val is not None else "")

    def train_epoch(self) -> float:
        """Learn from the examples of one epoch; returns their mean loss."""
        self.model.train()
        if self.recipe.sampler:
            order = self.recipe.sampler(self.epoch, self.seed)
        else:
            order = epoch_order(self.epoch, len(self.train), self.size, self.seed)
        order = order[: self.steps * self.batch_size]
        total = torch.zeros((), device=self.device)
        for batch in self.train.batches(order, self.batch_size, self.device):
            self.optimiser.zero_grad(set_to_none=True)
            with autocast(self.device, self.recipe.precision):
                logits, labels = _of(self.model, batch)
            loss = self.loss(logits, labels)
            self.scaler.scale(loss).backward()
            if self.recipe.gradient_clip is not None:
                self.scaler.unscale_(self.optimiser)
                nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.gradient_clip)
            self.scaler.step(self.optimiser)
            self.scaler.update()
            self.schedule.step()
            if self.ema is not None:
                self.ema.update_parameters(self.model)
            total += loss.detach()
        return float(total) / self.steps

    def _average(self, averages: Tensors, values: Tensors, _n: Tensor | int) -> None:
        """One step of the moving average. Its decay rises to the wanted one (as in Tan & Le 2019's code): with a fixed
        decay the first hundreds of steps would average the untrained weights."""
        step = self.schedule.last_epoch
        share = 1 - min(self.recipe.ema or 0.0, (1 + step) / (10 + step))
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, values, share)
        else:  # counters of batch normalisation
            torch._foreach_copy_(averages, values)

    def _parts(self) -> dict[str, Any]:
        """What has a state dict of its own."""
        parts = {"model": self.model, "ema": self.ema, "optimiser": self.optimiser, "schedule": self.schedule}
        return {name: part for name, part in (parts | {"scaler": self.scaler}).items() if part is not None}

    def state_dict(self, fingerprint: str) -> dict[str, Any]:
        """Everything that a resumed training needs; tensors and plain values only."""
        own = {name: getattr(self, name) for name in self.KEPT}
        own |= {name: part.state_dict() for name, part in self._parts().items()}
        history = [epoch.model_dump() for epoch in self.history]
        return {"fingerprint": fingerprint, "rng": checkpoint.rng_state(self.device), "history": history, **own}

    def resume(self, path: Path, fingerprint: str) -> int:
        """Go on from a checkpoint, if there is one of this training; returns its epoch, else 0."""
        state = checkpoint.load(path, fingerprint)
        if state is None:
            return 0
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        for name in self.KEPT:
            setattr(self, name, state[name])
        checkpoint.restore_rng(state["rng"], self.device)
        self.history = [Epoch(**epoch) for epoch in state["history"]]
        return self.epoch

    def result(self, resumed_from: int) -> Fitted:
        self.model.load_state_dict(self.best)
        run = SeedRun(
            seed=self.seed,
            best_epoch=self.best_epoch,
            epochs_run=self.epoch,
            stopped_early=self.stopped_early,
            examples_per_epoch=self.steps * self.batch_size,
            history=self.history,
        )
        return Fitted(self.model.eval(), run, self.seconds, resumed_from)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _of(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Logits `(n, classes)` of a batch and its labels, those of sequences in one row."""
    logits = full_precision(model(batch.x, features=batch.features, lengths=batch.lengths))
    return logits.flatten(0, -2), batch.y if batch.y.dim() == logits.dim() else batch.y.flatten()


def _score(
    model: nn.Module, examples: Examples, device: torch.device, precision: str, loss: nn.Module | None
) -> tuple[NDArray[np.float32], NDArray[Any], float]:
    training = model.training
    model.eval()
    with torch.no_grad(), autocast(device, precision):
        found = [_of(model, batch) for batch in examples.batches(torch.arange(len(examples)), 1024, device)]
    model.train(training)
    logits, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
    value = math.nan if loss is None else float(loss(logits, labels))
    return logits.cpu().numpy(), labels.cpu().numpy(), value


def predict(
    model: nn.Module,
    examples: Examples,
    *,
    device: torch.device,
    precision: str = "float32",
    deterministic: bool = False,
) -> NDArray[np.float32]:
    """Logits `(n, classes)`, float32, of all examples in their order; `(n · beats, classes)` of sequences."""
    with determinism(deterministic):
        return _score(copy.deepcopy(model).to(device), examples, device, precision, None)[0]
