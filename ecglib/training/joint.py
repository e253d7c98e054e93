"""Infarction or not from aligned beats: one network reads all leads together, and in mV.

The ways of transfer share a network of one lead, and leads meet in the head alone (`ecglib.training.transfer`). Nothing
is transferred here: the beats that those learnt from have neither these leads nor this cut.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from ecglib import losses
from ecglib.config import InfarctionParameters
from ecglib.data.aligned_beats import N_SAMPLES
from ecglib.data.infarction import CLASSES, Cohort
from ecglib.data.resampling import resample
from ecglib.models import registry
from ecglib.training import folds, loop
from ecglib.training.folds import Fold, Index


def maker(p: InfarctionParameters) -> Callable[[], nn.Module]:
    """A function that makes the network, its weights drawn anew."""
    return lambda: registry.build(p.model, len(p.leads), N_SAMPLES, len(CLASSES), **p.model_options)


def train(
    p: InfarctionParameters,
    cohort: Cohort,
    seed: int,
    train: Index,
    test: Index,
    *,
    device: torch.device,
    precision: str,
    title: str,
) -> Fold:
    """Train on some beats for a number of epochs fixed beforehand, score others; as `ecglib.training.folds.train`, of a
    cohort of aligned beats."""
    x, y = cohort.signals[train], cohort.labels[train]
    counts = np.bincount(y, minlength=len(CLASSES))
    weights = losses.inverse_frequency(counts) if p.imbalance == "weighted" else None
    if p.imbalance != "weighted":
        x, y = resample(x, y, p.imbalance, seed=seed, neighbours=p.smote_neighbours, classes=range(len(CLASSES)))
    # the recipe is that of `folds.train` and stands here again: with a line of it moved, every result of transfer would
    # have to be made anew
    epochs = folds.n_epochs(p)
    recipe = loop.Recipe(
        max_epochs=epochs,
        stop_after=epochs,
        patience=p.patience,
        batch_size=p.batch_size,
        learning_rate=p.learning_rate,
        schedule=p.schedule,
        weight_decay=p.weight_decay,
        gradient_clip=p.gradient_clip,
        ema=p.ema,
        precision=precision,
        deterministic=p.deterministic,
        examples_per_epoch=max(len(train), folds.FEWEST),
    )
    fitted = loop.fit(
        maker(p),
        loop.InMemory(x, y),
        None,
        losses.cross_entropy(weights, p.label_smoothing),
        lambda logits, labels: 0.0,
        recipe,
        seed=seed,
        device=device,
        title=title,
    )
    scored = loop.InMemory(cohort.signals[test], cohort.labels[test])
    logits = loop.predict(fitted.model, scored, device=device, precision=precision, deterministic=p.deterministic)
    return Fold(fitted.model, fitted.run, logits[:, 1] - logits[:, 0], float(np.log(counts[1] / counts[0])))
