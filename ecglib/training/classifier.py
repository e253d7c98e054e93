"""Trains the beat classifier of one seed: sets, resampling, loss, the choice of the epoch, a refit where wanted."""

from __future__ import annotations

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
from ecglib.data.resampling import resample
from ecglib.data.sources import Source
from ecglib.data.splits import Index, Split
from ecglib.evaluation import metrics
from ecglib.models import registry
from ecglib.results import SeedRun
from ecglib.training import loop

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
    resampled: NDArray[np.int64] | None
    seconds: float


def load_beats(parameters: HeartbeatParameters, source: Source) -> Beats:
    """The beats that an experiment divides; in development no record of DS2 is read."""
    if parameters.protocol == "inter":
        wanted = aami.DS1 + (aami.DS2 if parameters.test else ())
        source = replace(source, records=tuple(name for name in source.records if name in wanted))
    beats = beats_module.load(source, parameters.cut, parameters.leads)
    return beats if parameters.max_beats is None else beats_module.limit(beats, parameters.max_beats)


def macro_classes(protocol: str) -> list[int]:
    """The classes that macro means, and every choice, are over: Q has a handful of beats in DS1 and DS2."""
    return [i for i, name in enumerate(aami.CLASSES) if protocol == "intra" or name != "Q"]


def model_maker(parameters: HeartbeatParameters) -> Callable[[], nn.Module]:
    """A function that makes the experiment's network, its weights drawn anew."""
    n_leads, n_samples = len(parameters.leads), beats_module.n_samples(parameters.cut)
    return lambda: registry.build(parameters.model, n_leads, n_samples, N_CLASSES, **parameters.model_options)


def train(
    p: HeartbeatParameters, beats: Beats, seed: int, *, device: torch.device, precision: str, folder: Path, key: str
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
    split = _split(p, beats, seed)
    fitting = _Fitting(p, beats, seed, device, precision, folder, key)
    part = fitting.part(split.train)
    fitted = fitting.fit(part, "checkpoint", val=_examples(beats, split.val))
    run, seconds = fitted.run, fitted.seconds
    if p.refit:
        both = np.sort(np.concatenate([split.train, split.val]))
        fitted = fitting.fit(fitting.part(both), "refit", stop_after=run.best_epoch)
        seconds += fitted.seconds
    scored = split.test if p.test else split.val
    logits = loop.predict(
        fitted.model, _examples(beats, scored), device=device, precision=precision, deterministic=p.deterministic
    )
    resampled = np.bincount(part.y, minlength=N_CLASSES) if p.imbalance in RESAMPLERS else None
    return Trained(fitted.model, run, split, scored, logits, resampled, seconds)


def _split(p: HeartbeatParameters, beats: Beats, seed: int) -> Split:
    if p.protocol == "inter":
        return splits.inter(beats.record, with_test=p.test)
    return splits.intra(beats.labels, seed, p.validation_fraction)


def _examples(beats: Beats, index: Index) -> loop.InMemory:
    return loop.InMemory(beats.signals[index], beats.labels[index], beats.features[index])


@dataclass(frozen=True)
class _Part:
    """What is trained on: signals and labels, maybe resampled, and the class counts before that."""

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
    folder: Path
    key: str

    def part(self, index: Index) -> _Part:
        x, y = self.beats.signals[index], self.beats.labels[index]
        counts = np.bincount(y, minlength=N_CLASSES)
        if self.p.imbalance not in RESAMPLERS:
            return _Part(x, y, self.beats.features[index], counts)
        x, y = resample(x, y, self.p.imbalance, seed=self.seed, neighbours=self.p.smote_neighbours)
        return _Part(x, y, None, counts)

    def fit(self, part: _Part, name: str, *, val: loop.Examples | None = None, **changes: Any) -> loop.Fitted:
        p = self.p
        recipe = loop.Recipe(
            max_epochs=p.max_epochs,
            patience=p.patience,
            batch_size=p.batch_size,
            learning_rate=p.learning_rate,
            schedule=p.schedule,
            weight_decay=p.weight_decay,
            gradient_clip=p.gradient_clip,
            ema=p.ema,
            precision=self.precision,
            deterministic=p.deterministic,
            examples_per_epoch=int(part.counts.sum()),
            **changes,
        )
        weights = losses.inverse_frequency(part.counts, p.weight_exponent) if p.imbalance == "weighted" else None
        return loop.fit(
            model_maker(p),
            loop.InMemory(part.x, part.y, part.features),
            val,
            losses.cross_entropy(weights, p.label_smoothing),
            self._macro_f1,
            recipe,
            seed=self.seed,
            device=self.device,
            checkpoint_path=self.folder / f"{name}-seed{self.seed}.pt",
            fingerprint=self.key,
            title=f"{p.experiment or p.model} seed {self.seed}{' refit' if name == 'refit' else ''}",
        )

    def _macro_f1(self, logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
        matrix = metrics.confusion(labels, logits.argmax(1), N_CLASSES)
        return float(metrics.summary(matrix, macro_classes(self.p.protocol))["macro_f1"])
