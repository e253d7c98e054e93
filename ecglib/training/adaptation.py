"""Patient-adapted: the network of DS1, and at most five labelled minutes of each test record.

AAMI EC57 allows it, and a clinic would do it (de Chazal & Reilly 2006; Kiranyaz et al. 2016). For every record that is
scored, the trained network is copied, adapted to the beats of the record's first minutes, and scored on the rest of the
record alone. In development (`test: false`) the validation records of DS1 stand in for those of DS2.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ecglib import losses
from ecglib.data.beats import Beats
from ecglib.data.databases import Source
from ecglib.data.records import sampling_rate
from ecglib.data.splits import Index
from ecglib.errors import UserError
from ecglib.training import loop
from ecglib.training.sampling import ByRecord

RECIPE = 1
"""1: as published."""
REPLAYED: Final = 512
"""Training beats of DS1 in each step."""


@dataclass(frozen=True)
class How:
    """How a network is adapted."""

    what: str
    """`statistics`: only the running statistics of its batch normalisation are taken anew, from the beats without their
    labels. `head`: the last layer learns on; `all`: every layer does."""
    rate: float
    steps: int
    label_smoothing: float


def within(beats: Beats, source: Source, minutes: float) -> NDArray[np.bool_]:
    """Whether each beat's R peak lies in the first `minutes` of its record, `(n,)`."""
    rate = {name: sampling_rate(source.folder, name) for name in np.unique(beats.record).tolist()}
    seconds = beats.sample / np.array([rate[name] for name in beats.record.tolist()])
    return np.asarray(seconds < 60 * minutes)


def adapted(
    model: nn.Module,
    how: How,
    beats: Beats,
    own: Index,
    others: Index,
    examples: Callable[[Index], loop.InMemory],
    seed: int,
    device: torch.device,
) -> nn.Module:
    """A copy of the network, adapted to some beats of one record.

    Each step sees all of them and, with the same weight, `REPLAYED` training beats of DS1, drawn by record, so that
    classes which the patient has not shown yet aren't forgotten.

    Of all `beats`, `own` are the positions of those to adapt to and `others` of the training beats of DS1, and
    `examples` makes examples of those at some positions. `seed` fixes what is replayed.
    """
    model = copy.deepcopy(model).to(device)
    if not len(own):
        return model
    if how.what == "statistics":
        for layer in _normalising(model):
            layer.reset_running_stats()
            layer.momentum = None  # the plain mean over what it sees
            layer.train()
        with torch.no_grad():
            for batch in examples(own).batches(torch.arange(len(own)), len(own), device):
                model(batch.x, features=batch.features)
        return model.eval()
    last = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]
    learning = list((last if how.what == "head" else model).parameters())
    optimiser = torch.optim.AdamW(learning, how.rate, weight_decay=0.0)
    loss = losses.cross_entropy(None, how.label_smoothing).to(device)
    draw = np.random.default_rng(seed)
    replayed = others[ByRecord(beats.record[others], beats.labels[others])(0, seed).numpy()]
    model.eval()  # no dropout, and batch normalisation as it was learnt
    for _ in range(how.steps):
        optimiser.zero_grad(set_to_none=True)
        for part in (own, draw.choice(replayed, REPLAYED)):
            for batch in examples(part).batches(torch.arange(len(part)), len(part), device):
                with torch.backends.cudnn.flags(enabled=False):  # whose recurrent layers learn in training mode alone
                    loss(model(batch.x, features=batch.features), batch.y).backward()
        optimiser.step()
    return model


def refuse_without_statistics(model: nn.Module) -> None:
    """Raise UserError when a network has no batch normalisation whose statistics could be taken anew."""
    if not _normalising(model):
        raise UserError("adaptation: statistics", "this network has no batch normalisation", do="take head or all")


def _normalising(model: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    return [layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
