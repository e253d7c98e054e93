"""Trains the beat classifier of one seed: sets, the answer to imbalance, the choice of the epoch, a refit if wanted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ecglib import aami, losses
from ecglib.config import RESAMPLERS, HeartbeatParameters
from ecglib.data import beats as beats_module
from ecglib.data import splits
from ecglib.data.beats import Beats
from ecglib.data.databases import Source
from ecglib.data.resampling import resample
from ecglib.data.splits import Index, Split
from ecglib.errors import UserError
from ecglib.evaluation import metrics
from ecglib.experiment.record import Epoch, SeedRun
from ecglib.models import registry
from ecglib.models.classical import Classical
from ecglib.models.ecgnet import ECGNet
from ecglib.training import device as device_module
from ecglib.training import loop, sequences
from ecglib.training.sampling import ByRecord

RECIPE = 1
"""1: as published."""
N_CLASSES = len(aami.CLASSES)


@dataclass(frozen=True)
class Trained:
    """A trained classifier of one seed.

    Attributes
    ----------
    model
        With the weights to use, in eval mode.
    run
        How the epoch was chosen.
    split
        The sets.
    scored, logits
        Positions of the scored beats (the test set, or validation in development) and their logits `(n, classes)`.
    val_logits
        Logits of the validation beats, `(n, classes)`, for choices to come. After a refit they are those of beats that
        were trained on.
    resampled
        Training beats of each class after resampling, `(classes,)`, or None where nothing was resampled.
    seconds
        Spent training.
    """

    model: nn.Module
    run: SeedRun
    split: Split
    scored: Index
    logits: NDArray[np.float32]
    val_logits: NDArray[np.float32]
    resampled: NDArray[np.int64] | None
    seconds: float


def load_beats(parameters: HeartbeatParameters, source: Source) -> Beats:
    """The beats that an experiment divides; in development no record of DS2 is read."""
    if parameters.protocol != "intra":
        wanted = aami.DS1 + (aami.DS2 if parameters.test else ())
        source = replace(source, records=tuple(name for name in source.records if name in wanted))
    beats = beats_module.load(source, parameters.cut, parameters.leads)
    return beats if parameters.max_beats is None else beats_module.limit(beats, parameters.max_beats)


def macro_classes(protocol: str) -> list[int]:
    """The classes that macro means, and every choice, are over: Q has a handful of beats in DS1 and DS2."""
    return [i for i, name in enumerate(aami.CLASSES) if protocol == "intra" or name != "Q"]


def model_maker(parameters: HeartbeatParameters) -> Callable[[], nn.Module]:
    """A function that makes the experiment's network, its weights drawn anew."""
    cut, n_leads = parameters.cut, len(parameters.leads)
    options: dict[str, Any] = dict(parameters.model_options)
    if registry.entry(parameters.model).reads_features:
        options["n_features"] = beats_module.n_features(cut, n_leads)
    shape = beats_module.n_channels(cut, n_leads), beats_module.n_samples(cut)
    return lambda: registry.build(parameters.model, *shape, N_CLASSES, **options)


def batch_of(p: HeartbeatParameters) -> device_module.Batch:
    """Shape of a batch, and features of each beat in it, that the experiment's network is timed on."""
    cut, n_leads = p.cut, len(p.leads)
    beat = beats_module.n_channels(cut, n_leads), beats_module.n_samples(cut)
    size = min(p.batch_size, 1024)
    if reads_sequences(p):
        return (max(1, size // p.beats_per_sequence), p.beats_per_sequence, *beat), 0
    features = beats_module.n_features(cut, n_leads) if registry.entry(p.model).reads_features else 0
    return (size, *beat), features


def reads_sequences(p: HeartbeatParameters) -> bool:
    """Whether the model is given consecutive beats, and not single ones."""
    return registry.entry(p.model).takes == "sequence" and p.beats_per_sequence > 1


def train(
    p: HeartbeatParameters,
    beats: Beats,
    seed: int,
    *,
    device: torch.device,
    precision: str,
    folder: Path,
    key: str,
) -> Trained:
    """Train, choose the epoch on validation, refit if wanted, and score.

    Parameters
    ----------
    p
        What to do.
    beats
        From `load_beats`.
    seed
        Fixes split, initialisation and order.
    device, precision
        Where and how it is computed.
    folder, key
        Checkpoints go to this folder and are resumed where they carry this key.
    """
    split = divided(p, beats, seed)
    if p.max_beats is None:  # of a handful of beats, a set may miss a rare class
        _check_classes(split, beats, macro_classes(p.protocol))
    fitting = _Fitting(p, beats, seed, device, precision, folder, key)
    part = fitting.part(split.train)
    fitted = fitting.fit(part, "checkpoint", val=split.val)
    run, seconds = fitted.run, fitted.seconds
    if p.refit:
        both = np.sort(np.concatenate([split.train, split.val]))
        fitted = fitting.fit(fitting.part(both), "refit", stop_after=run.best_epoch)
        seconds += fitted.seconds
    scored = split.test if p.test else split.val
    val_logits = fitting.predict(fitted.model, split.val)
    logits = fitting.predict(fitted.model, scored) if p.test else val_logits
    resampled = np.bincount(part.y, minlength=N_CLASSES) if p.imbalance in RESAMPLERS else None
    return Trained(fitted.model, run, split, scored, logits, val_logits, resampled, seconds)


def first_epochs(
    p: HeartbeatParameters,
    beats: Beats,
    seed: int,
    n: int,
    *,
    device: torch.device,
    precision: str,
) -> list[Epoch]:
    """The first `n` epochs of `train`, in the course of all of them; none of what is fitted at once."""
    split = divided(p, beats, seed)
    fitting = _Fitting(p, beats, seed, device, precision, None, "")
    if registry.entry(p.model).classical:
        return []
    return fitting.fit(fitting.part(split.train), "first epochs", val=split.val, stop_after=n).run.history


def _check_classes(split: Split, beats: Beats, classes: list[int]) -> None:
    """Refuse sets without a beat of a class that the metric averages over."""
    for name, index in vars(split).items():
        counts = np.bincount(beats.labels[index], minlength=N_CLASSES)
        missing = [aami.CLASSES[i] for i in classes if len(index) and not counts[i]]
        if missing:
            raise UserError(f"the {name} set", f"no beat of class {', '.join(missing)}", "beats of every class scored")


def divided(p: HeartbeatParameters, beats: Beats, seed: int) -> Split:
    """The sets of an experiment under a seed."""
    if p.protocol != "intra":
        return splits.inter(beats.record, with_test=p.test)
    return splits.intra(beats.labels, seed, p.validation_fraction)


@dataclass(frozen=True)
class _Part:
    """What is trained on: positions, signals and labels, maybe resampled, and the class counts before that."""

    index: Index
    x: NDArray[np.float32]
    y: NDArray[np.int64]
    features: NDArray[np.float32] | None
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class _Fitting:
    """What the first fit and the refit share."""

    p: HeartbeatParameters
    beats: Beats
    seed: int
    device: torch.device
    precision: str
    folder: Path | None
    key: str

    def part(self, index: Index) -> _Part:
        x, y = self.beats.signals[index], self.beats.labels[index]
        counts = np.bincount(y, minlength=N_CLASSES)
        if self.p.imbalance not in RESAMPLERS:
            return _Part(index, x, y, self.beats.features[index], counts)
        scored = macro_classes(self.p.protocol)
        x, y = resample(x, y, self.p.imbalance, seed=self.seed, neighbours=self.p.smote_neighbours, classes=scored)
        return _Part(index, x, y, None, counts)

    def fit(self, part: _Part, name: str, *, val: Index | None = None, **changes: Any) -> loop.Fitted:
        p = self.p
        if registry.entry(p.model).classical:
            return self._fit_at_once(part, val)
        sampler = ByRecord(self.beats.record[part.index], part.y) if p.sampling == "by-record" else None
        training = self._training(part)
        recipe = loop.Recipe(
            max_epochs=p.max_epochs,
            patience=p.patience,
            batch_size=max(1, p.batch_size // p.beats_per_sequence) if reads_sequences(p) else p.batch_size,
            learning_rate=p.learning_rate,
            schedule=p.schedule,
            weight_decay=p.weight_decay,
            gradient_clip=p.gradient_clip,
            ema=p.ema,
            precision=self.precision,
            deterministic=p.deterministic,
            examples_per_epoch=self._examples_per_epoch(len(training) if reads_sequences(p) else part.counts.sum()),
            sampler=sampler,
            **changes,
        )
        fitted = loop.fit(
            self._maker(part),
            training,
            None if val is None else self._examples(val),
            self._loss(part.counts),
            self._macro_f1,
            recipe,
            seed=self.seed,
            device=self.device,
            checkpoint_path=self.folder and self.folder / f"{name}-seed{self.seed}.pt",
            fingerprint=self.key,
            title=f"{p.experiment or p.model} seed {self.seed}{'' if name == 'checkpoint' else f' {name}'}",
        )
        if reads_sequences(p):
            fitted.run.examples_per_epoch *= p.beats_per_sequence
        return fitted

    def _examples_per_epoch(self, n: int) -> int:
        if self.p.beats_per_epoch is None:
            return int(n)
        beats_each = self.p.beats_per_sequence if reads_sequences(self.p) else 1
        return min(int(n), max(1, self.p.beats_per_epoch // beats_each))

    def predict(self, model: nn.Module, index: Index) -> NDArray[np.float32]:
        """Logits `(n, classes)` of the beats at these increasing positions."""
        if isinstance(model, Classical):
            return model.predict_logits(loop.as_tensor(self.beats.signals[index]))
        examples = self._examples(index)
        logits = loop.predict(
            model, examples, device=self.device, precision=self.precision, deterministic=self.p.deterministic
        )
        return examples.in_order(logits) if isinstance(examples, sequences.Sequences) else logits

    def _fit_at_once(self, part: _Part, val: Index | None) -> loop.Fitted:
        start = time.perf_counter()
        torch.manual_seed(self.seed)
        model = model_maker(self.p)()
        assert isinstance(model, Classical) and val is not None  # config refuses to refit one
        labels = self.beats.labels[val]
        x_val = loop.as_tensor(self.beats.signals[val])
        n = len(part.y)
        order = loop.epoch_order(0, n, min(n, self.p.beats_per_epoch or n), self.seed).sort().values.numpy()
        strength = model.fit(
            loop.as_tensor(part.x[order]),
            torch.from_numpy(part.y[order]),
            x_val,
            lambda logits: self._macro_f1(logits, labels),
        )
        run = SeedRun(seed=self.seed, best_epoch=0, epochs_run=0, stopped_early=False, strength=strength, history=[])
        return loop.Fitted(model.eval(), run, time.perf_counter() - start)

    def _maker(self, part: _Part) -> Callable[[], nn.Module]:
        make = model_maker(self.p)
        if not registry.entry(self.p.model).reads_features:
            return make
        features = loop.as_tensor(self.beats.features[part.index])

        def standardised() -> nn.Module:
            model = make()
            assert isinstance(model, ECGNet)
            model.standardise(features)
            return model

        return standardised

    def _training(self, part: _Part) -> loop.InMemory:
        if reads_sequences(self.p):
            windows = sequences.windows(self.beats.record, self.p.beats_per_sequence)
            return sequences.Sequences(self.beats, windows, part.index, told=part.index)
        return loop.InMemory(part.x, part.y, self._features(part.features))

    def _examples(self, index: Index) -> loop.InMemory:
        if reads_sequences(self.p):
            windows = sequences.windows(self.beats.record, self.p.beats_per_sequence)
            return sequences.Sequences(self.beats, windows, index)
        return loop.InMemory(
            self.beats.signals[index], self.beats.labels[index], self._features(self.beats.features[index])
        )

    def _features(self, features: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
        return features if registry.entry(self.p.model).reads_features else None

    def _loss(self, counts: NDArray[np.int64]) -> nn.Module:
        """Classes are balanced that the protocol scores; the beats of another weigh like the average one."""
        p = self.p
        scored = np.isin(np.arange(N_CLASSES), macro_classes(p.protocol))
        counts = np.where(scored, counts, 0)
        if p.imbalance == "focal":
            return losses.FocalLoss(p.focal_gamma)
        if p.imbalance == "logit-adjustment":
            return losses.LogitAdjusted(counts, p.adjustment_strength, p.label_smoothing)
        weights = None
        if p.imbalance == "weighted":
            weights = losses.inverse_frequency(counts, p.weight_exponent)
        elif p.imbalance == "effective-number":
            weights = losses.effective_number(counts, p.effective_beta)
        weights = None if weights is None else np.where(scored, weights, 1.0)
        return losses.cross_entropy(weights, p.label_smoothing)

    def _macro_f1(self, logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
        counted = labels != losses.IGNORED
        matrix = metrics.confusion(labels[counted], logits[counted].argmax(1), N_CLASSES)
        return float(metrics.summary(matrix, macro_classes(self.p.protocol))["macro_f1"])
