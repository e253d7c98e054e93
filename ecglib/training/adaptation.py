"""Patient-adapted: the network of DS1, and at most five labelled minutes of each test record.

AAMI EC57 allows it, and a clinic would do it (de Chazal & Reilly 2006; Kiranyaz et al. 2016). For every record that is
scored, the trained network is copied, adapted to the beats of the record's first minutes, and scored on the rest of the
record alone. In development (`test: false`) the validation records of DS1 stand in for those of DS2.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ecglib import losses
from ecglib.config import HeartbeatParameters
from ecglib.data.beats import Beats
from ecglib.data.databases import Source
from ecglib.data.records import sampling_rate
from ecglib.data.splits import Index
from ecglib.errors import UserError
from ecglib.models import registry
from ecglib.training import classifier, loop
from ecglib.training.classifier import Trained
from ecglib.training.device import determinism
from ecglib.training.sampling import ByRecord

RECIPE = 1
"""1: as published."""
REPLAYED: Final = 512
"""Training beats of DS1 in each step."""


@dataclass(frozen=True)
class Adapted(Trained):
    """A patient-adapted classifier of one seed.

    Attributes
    ----------
    unadapted
        Logits `(n, classes)` of the network before adaptation, of the same scored beats.
    """

    unadapted: NDArray[np.float32]


def within(beats: Beats, source: Source, minutes: float) -> NDArray[np.bool_]:
    """Whether each beat's R peak lies in the first `minutes` of its record, `(n,)`."""
    rate = {name: sampling_rate(source.folder, name) for name in np.unique(beats.record).tolist()}
    seconds = beats.sample / np.array([rate[name] for name in beats.record.tolist()])
    early: NDArray[np.bool_] = seconds < 60 * minutes
    return early


def train(
    p: HeartbeatParameters,
    beats: Beats,
    early: NDArray[np.bool_],
    seed: int,
    *,
    device: torch.device,
    precision: str,
    folder: Path,
    key: str,
) -> Adapted:
    """Train on DS1 as inter-patient, then adapt to each record of DS2 and score the rest of it.

    The validation records are adapted to in the same way: their logits are those of the adapted networks, and the beats
    learnt from are in no set. In development they are all there is.

    Parameters
    ----------
    early
        From `within`: the beats of each record that may be learnt from.

    Other parameters are those of `classifier.train`. The model that comes back is the one before adaptation.
    """
    how: dict[str, Any] = {"device": device, "precision": precision, "folder": folder, "key": key}
    base = classifier.train(p, beats, seed, **how)
    start = time.perf_counter()

    def adapted(index: Index) -> tuple[Index, NDArray[np.float32], NDArray[np.float32]]:
        """The beats that are scored, and their logits before and after adaptation."""
        rests, before, after = [], [], []
        for name in np.unique(beats.record[index]):
            mine = index[beats.record[index] == name]
            first, rest = mine[early[mine]], mine[~early[mine]]
            if not len(rest):
                continue
            given: dict[str, Any] = {"device": device, "precision": precision, "deterministic": p.deterministic}
            before.append(loop.predict(base.model, _examples(p, beats, rest), **given))
            with determinism(p.deterministic):
                network = adapted_to(base.model, p, beats, first, base.split.train, seed, device)
            rests.append(rest)
            after.append(loop.predict(network, _examples(p, beats, rest), **given))
        if not rests:
            raise UserError("protocol adapted", f"no beat after minute {p.adaptation_minutes:g}", "longer records")
        order = np.argsort(np.concatenate(rests), kind="stable")
        return np.concatenate(rests)[order], np.concatenate(before)[order], np.concatenate(after)[order]

    val, unadapted, val_logits = adapted(base.split.val)
    test, logits = base.split.test, val_logits
    if p.test:
        test, unadapted, logits = adapted(test)
    changed = replace(
        base,
        split=replace(base.split, val=val, test=test),
        scored=test if p.test else val,
        logits=logits,
        val_logits=val_logits,
        seconds=base.seconds + time.perf_counter() - start,
    )
    return Adapted(**vars(changed), unadapted=unadapted)


def adapted_to(
    model: nn.Module, p: HeartbeatParameters, beats: Beats, own: Index, others: Index, seed: int, device: torch.device
) -> nn.Module:
    """A copy of the network, adapted to the beats `own` of one record; `others` are the training beats of DS1.

    `statistics`: only the running statistics of its batch normalisation are taken anew, from the beats without their
    labels. `head`: the last layer learns on; `all`: every layer does. Each step sees all beats of `own` and, with the
    same weight, `REPLAYED` training beats of DS1, drawn by record, so that classes which the patient has not shown yet
    aren't forgotten.
    """
    model = copy.deepcopy(model).to(device)
    if not len(own):
        return model
    if p.adaptation == "statistics":
        return _statistics(model, _examples(p, beats, own), device)
    learning = list((_last_layer(model) if p.adaptation == "head" else model).parameters())
    optimiser = torch.optim.AdamW(learning, p.adaptation_rate, weight_decay=0.0)
    loss = losses.cross_entropy(None, p.label_smoothing).to(device)
    draw = np.random.default_rng(seed)
    replayed = others[ByRecord(beats.record[others], beats.labels[others])(0, seed).numpy()]
    model.eval()  # no dropout, and batch normalisation as it was learnt
    for _ in range(p.adaptation_steps):
        optimiser.zero_grad(set_to_none=True)
        for part in (own, draw.choice(replayed, REPLAYED)):
            for batch in _examples(p, beats, part).batches(torch.arange(len(part)), len(part), device):
                with torch.backends.cudnn.flags(enabled=False):  # whose recurrent layers learn in training mode alone
                    loss(model(batch.x, features=batch.features), batch.y).backward()
        optimiser.step()
    return model


def _examples(p: HeartbeatParameters, beats: Beats, index: Index) -> loop.InMemory:
    features = beats.features[index] if registry.entry(p.model).reads_features else None
    return loop.InMemory(beats.signals[index], beats.labels[index], features)


def _statistics(model: nn.Module, examples: loop.InMemory, device: torch.device) -> nn.Module:
    for layer in _normalising(model):
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean over what it sees
        layer.train()
    with torch.no_grad():
        for batch in examples.batches(torch.arange(len(examples)), len(examples), device):
            model(batch.x, features=batch.features)
    return model.eval()


def refuse_without_statistics(model: nn.Module) -> None:
    """Raise UserError when a network has no batch normalisation whose statistics could be taken anew."""
    if not _normalising(model):
        raise UserError("adaptation: statistics", "this network has no batch normalisation", do="take head or all")


def _normalising(model: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    return [layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]


def _last_layer(model: nn.Module) -> nn.Linear:
    return [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]
