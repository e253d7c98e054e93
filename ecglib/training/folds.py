"""Infarction or not, out of fold: patients in parts, a network for each part, scores of the beats that it never saw."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor, nn

from ecglib import losses
from ecglib.config import InfarctionParameters
from ecglib.data.infarction import CLASSES, Cohort, of_recordings
from ecglib.data.resampling import resample
from ecglib.errors import UserError
from ecglib.results import SeedRun
from ecglib.training import loop, transfer
from ecglib.training.transfer import State, Transferred

Index = NDArray[np.int64]
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


def assign(p: InfarctionParameters, cohort: Cohort, seed: int) -> Index:
    """Number of every beat's fold, `(n,)`, stratified by class; patients stay together where the protocol says so.

    Raises
    ------
    UserError
        When a class has fewer than three groups to divide.
    """
    groups = np.arange(len(cohort))
    if p.protocol == "by-patient":
        patients = cohort.recordings["patient"].to_numpy(dtype=np.str_)
        groups = np.unique(patients, return_inverse=True)[1][cohort.recording]
    sizes = [len(np.unique(groups[cohort.labels == i])) for i in range(len(CLASSES))]
    n = min(p.folds, *sizes)
    if n < 3:
        found = f"{min(sizes)} of {CLASSES[int(np.argmin(sizes))]}"
        raise UserError("folds", found, "three patients or more of each class")
    if n < p.folds:
        warnings.warn(f"{n} folds, not {p.folds}: a class has no more to divide", stacklevel=2)
    divider = StratifiedGroupKFold(n, shuffle=True, random_state=seed)
    fold = np.empty(len(cohort), dtype=np.int64)
    for number, (_, members) in enumerate(divider.split(groups, cohort.labels, groups)):
        fold[members] = number
    return fold


def parts(fold: Index, number: int) -> tuple[Index, Index]:
    """Beats to train on and beats to score."""
    return np.flatnonzero(fold != number), np.flatnonzero(fold == number)


def limited(cohort: Cohort, n: int | None) -> Cohort:
    """At most `n` recordings, one of a patient, the classes in their proportion but four or more of each where there
    are as many."""
    if n is None or n >= len(cohort.recordings):
        return cohort
    patients, labels = cohort.recordings["patient"].to_numpy(dtype=np.str_), cohort.recordings["label"].to_numpy()
    rows = np.arange(len(labels)) if not patients.all() else np.unique(patients, return_index=True)[1]
    n, draw = min(n, len(rows)), np.random.default_rng(0)
    sick, healthy = (draw.permutation(rows[labels[rows] == i]) for i in (1, 0))
    fewest, most = max(min(4, len(sick)), n - len(healthy)), min(len(sick), n - min(4, len(healthy)))
    n_sick = int(np.clip(round(n * len(sick) / len(rows)), fewest, max(fewest, most)))
    return of_recordings(cohort, np.sort(np.concatenate([sick[:n_sick], healthy[: n - n_sick]])))


def curve_sizes(p: InfarctionParameters, cohort: Cohort, fold: Index) -> list[int]:
    """The numbers of patients wanted of which every fold has more to train on."""
    patients = cohort.recordings["patient"].to_numpy(dtype=np.str_)[cohort.recording]
    fewest = min(len(np.unique(patients[parts(fold, i)[0]])) for i in np.unique(fold))
    return [n for n in p.curve if n < fewest]


def some_patients(cohort: Cohort, train: Index, n: int, seed: int) -> Index:
    """The training beats of `n` patients, or of all if there are fewer: two or more of each class, and else in their
    proportion."""
    patients = cohort.recordings["patient"].to_numpy(dtype=np.str_)[cohort.recording[train]]
    names, first = np.unique(patients, return_index=True)
    labels = cohort.labels[train][first]
    draw = np.random.default_rng((seed, n))
    sick = draw.permutation(names[labels == 1])
    healthy = draw.permutation(names[labels == 0])
    n_sick = int(np.clip(round(n * len(sick) / len(names)), 2, n - 2))
    return train[np.isin(patients, np.concatenate([sick[:n_sick], healthy[: n - n_sick]]))]


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
    )
    fitted = transfer.fit(
        make_pretrained,
        p.way,
        p.layer_decay,
        p.head_decay,
        loop.InMemory(x, y),
        losses.cross_entropy(weights, p.label_smoothing),
        recipe,
        seed=seed,
        device=device,
        title=title,
    )
    scored = loop.InMemory(cohort.signals[test], cohort.labels[test])
    logits = loop.predict(fitted.model, scored, device=device, precision=precision, deterministic=p.deterministic)
    return Fold(fitted.model, fitted.run, logits[:, 1] - logits[:, 0], float(np.log(counts[1] / counts[0])))
