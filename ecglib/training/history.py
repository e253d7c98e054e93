"""How a training went, epoch by epoch."""

from __future__ import annotations

from pydantic import BaseModel


class Epoch(BaseModel):
    """One epoch of one seed."""

    epoch: int
    train_loss: float
    val_loss: float | None
    val_metric: float | None
    learning_rate: float
    seconds: float


class SeedRun(BaseModel):
    """How the training of one seed went."""

    seed: int
    best_epoch: int
    epochs_run: int
    stopped_early: bool
    examples_per_epoch: int = 0
    """Beats that an epoch showed; 0 of what has no epochs."""
    validation: float | None = None
    """Validation macro-F1 of what scores the test set, adaptation included; None after a refit, which has learnt those
    beats."""
    validation_recall: float | None = None
    """Macro recall on the same beats."""
    strength: float | None = None
    """Strength of the penalty that a classical reference chose on validation."""
    history: list[Epoch]
