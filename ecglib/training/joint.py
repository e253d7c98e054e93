"""Infarction or not from aligned beats: a network reads all leads together, and in mV; several may vote.

The ways of transfer share a network of one lead, and leads meet in the head alone (`ecglib.training.transfer`). Nothing
is transferred here: the beats that those learnt from have neither these leads nor this cut. Such a network is trained
in seconds, so that a vote of several, of other first weights and another order, costs little (Lakshminarayanan et al.
2017, section 2.4).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ecglib import losses
from ecglib.config import InfarctionParameters
from ecglib.data.aligned_beats import N_SAMPLES
from ecglib.data.infarction import CLASSES, Cohort
from ecglib.data.resampling import resample
from ecglib.data.splits import Index
from ecglib.models import registry
from ecglib.training import folds, loop
from ecglib.training.folds import Fold


class Vote(nn.Module):
    """The mean of the logits of several networks of one task."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Tensor, *, features: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        """Logits `(batch, classes)` of beats `(batch, leads, samples)`, float32."""
        return torch.stack([network(x) for network in self.networks]).mean(0)


def maker(p: InfarctionParameters) -> Callable[[], nn.Module]:
    """A function that makes one of the networks, its weights drawn anew."""
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
    cohort of aligned beats.

    Returns
    -------
    The `Vote`, and how the training of its first network went, with the seconds of all.
    """
    x, y = cohort.signals[train], cohort.labels[train]
    counts = np.bincount(y, minlength=len(CLASSES))
    weights = losses.inverse_frequency(counts) if p.imbalance == "weighted" else None
    if p.imbalance != "weighted":
        x, y = resample(x, y, p.imbalance, seed=seed, neighbours=p.smote_neighbours, classes=range(len(CLASSES)))
    # the recipe is that of `folds.train` and stands here again: with a line of it moved, every result of transfer would
    # have to be made anew
    recipe = loop.Recipe(
        max_epochs=folds.n_epochs(p),
        stop_after=folds.n_epochs(p),
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
    fitted = [
        loop.fit(
            maker(p),
            loop.InMemory(x, y),
            None,
            losses.cross_entropy(weights, p.label_smoothing),
            None,
            recipe,
            seed=one,
            device=device,
            title=f"{title}, network {number + 1}/{p.networks}",
        )
        for number, one in enumerate(np.random.SeedSequence(seed).generate_state(p.networks).tolist())
    ]
    model = Vote([one.model for one in fitted]).eval()
    scored = loop.InMemory(cohort.signals[test], cohort.labels[test])
    logits = loop.predict(model, scored, device=device, precision=precision, deterministic=p.deterministic)
    runs = [one.run for one in fitted]
    history = [
        epochs[0].model_copy(update={"seconds": sum(epoch.seconds for epoch in epochs)})
        for epochs in zip(*(run.history for run in runs), strict=True)
    ]
    run = runs[0].model_copy(update={"history": history})
    return Fold(model, run, logits[:, 1] - logits[:, 0], float(np.log(counts[1] / counts[0])))
