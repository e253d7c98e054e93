"""Infarction or not, out of fold: a network for each part of the patients, scores of the beats that it never saw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ecglib import losses
from ecglib.config import InfarctionParameters
from ecglib.data.infarction import CLASSES, Cohort
from ecglib.data.resampling import resample
from ecglib.data.splits import Index
from ecglib.experiment.record import SeedRun
from ecglib.training import loop, transfer
from ecglib.training.transfer import State, Transferred

FEWEST: Final = 1000
"""Beats that an epoch shows at least: of few patients, beats come up more than once."""


class Noisy(Transferred):
    """A network whose input gets noise in training."""

    def __init__(self, *shape: object, noise: float, **options: object) -> None:
        super().__init__(*shape, **options)  # type: ignore[arg-type]
        self.noise = noise

    def forward(self, x: Tensor, *, features: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        if self.training and self.noise:
            x = x + self.noise * torch.randn_like(x)
        return super().forward(x)


@dataclass(frozen=True)
class Fold:
    """What a network of one fold gave.

    Attributes
    ----------
    model
        In eval mode.
    run
        How the training went.
    scores
        Log-odds of infarction at even prior odds, of the fold's beats, `(n,)`.
    log_odds
        Prior log-odds of infarction in its training part, counted in beats.
    """

    model: nn.Module
    run: SeedRun
    scores: NDArray[np.float32]
    log_odds: float


def n_epochs(p: InfarctionParameters) -> int:
    """Upper bound of epochs, of the experiment and of its profile."""
    return min(p.epochs, p.max_epochs)


def maker(p: InfarctionParameters, n_samples: int) -> Callable[[], Noisy]:
    """A function that makes the network, its weights drawn anew."""
    shape = (p.model, len(p.leads), n_samples, len(CLASSES))
    return lambda: Noisy(*shape, hidden=p.hidden, dropout=p.dropout, options=p.model_options, noise=p.noise)


def train(
    p: InfarctionParameters,
    cohort: Cohort,
    pretrained: State | None,
    seed: int,
    train: Index,
    test: Index,
    *,
    device: torch.device,
    precision: str,
    title: str,
) -> Fold:
    """Train on some beats for a number of epochs fixed beforehand, score others."""
    x, y = cohort.signals[train], cohort.labels[train]
    counts = np.bincount(y, minlength=len(CLASSES))
    weights = losses.inverse_frequency(counts) if p.imbalance == "weighted" else None
    if p.imbalance != "weighted":
        x, y = resample(x, y, p.imbalance, seed=seed, neighbours=p.smote_neighbours, classes=range(len(CLASSES)))
    make = maker(p, x.shape[2])

    def make_pretrained() -> Transferred:
        model = make()
        if pretrained is not None:
            model.take(pretrained, p.pretrained)
        if p.way == "frozen":
            model.freeze()
        return model

    recipe = loop.Recipe(
        max_epochs=n_epochs(p),
        patience=p.patience,
        batch_size=p.batch_size,
        learning_rate=p.learning_rate,
        schedule=p.schedule,
        weight_decay=p.weight_decay,
        gradient_clip=p.gradient_clip,
        ema=p.ema,
        precision=precision,
        deterministic=p.deterministic,
        examples_per_epoch=max(len(train), FEWEST),
        stop_after=n_epochs(p),
        groups=transfer.groups(p.way, p.layer_decay, p.head_decay, p.weight_decay),
    )
    fitted = loop.fit(
        make_pretrained,
        loop.InMemory(x, y),
        None,
        losses.cross_entropy(weights, p.label_smoothing),
        None,
        recipe,
        seed=seed,
        device=device,
        title=title,
    )
    scored = loop.InMemory(cohort.signals[test], cohort.labels[test])
    logits = loop.predict(fitted.model, scored, device=device, precision=precision, deterministic=p.deterministic)
    return Fold(fitted.model, fitted.run, logits[:, 1] - logits[:, 0], float(np.log(counts[1] / counts[0])))
