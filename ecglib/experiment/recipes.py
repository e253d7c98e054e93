"""What a number's recipe is, and how it has changed, in words.

Every stage that trains has a `RECIPE` beside its code: a number, and below it a text with what each number stands for
(`1: as published. 2: the average of the weights ramps up.`). It is raised when results move, and only then: the golden
trainings in `tests/golden` hold that. A result keeps the recipe that made it, and holds while that is today's.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Final

from ecglib import config
from ecglib.config import HeartbeatParameters, InfarctionParameters, TrainedParameters, TwelveLeadParameters
from ecglib.errors import UserError
from ecglib.models import registry

Recipe = dict[str, int]
"""Stage -> number."""
Trained = HeartbeatParameters | InfarctionParameters | TwelveLeadParameters
"""The parameters of what trains."""

STAGES: Final = {
    "heartbeat": "ecglib.experiment.heartbeat",
    "infarction": "ecglib.experiment.infarction",
    "twelve-lead": "ecglib.experiment.twelve_lead",
    "training": "ecglib.training.loop",
    "losses": "ecglib.losses",
    "multilabel-losses": "ecglib.losses",
    "resampling": "ecglib.data.resampling",
    "sampling": "ecglib.training.sampling",
    "sequences": "ecglib.training.sequences",
    "adaptation": "ecglib.training.adaptation",
    "augmentation": "ecglib.training.augmentation",
    "transfer": "ecglib.training.transfer",
}
"""Stage -> the module with its `RECIPE`; those of networks are in their own modules (see `networks`)."""


def networks() -> dict[str, str]:
    """Model -> the module with its `RECIPE`."""
    return {name: entry.build.__module__ for name, entry in registry.ENTRIES.items()}


def of(p: TrainedParameters) -> Recipe:
    """The recipe of a run with these parameters."""
    modules = STAGES | networks()
    return {stage: int(import_module(modules[stage]).RECIPE) for stage in _used(p)}


def _used(p: TrainedParameters) -> list[str]:
    """The stages that have a part in a run."""
    entry = p.entry
    learns = not entry.classical  # or it is fitted at once
    if isinstance(p, HeartbeatParameters):
        used = {
            "heartbeat": True,
            p.model: True,
            "training": learns,
            "losses": learns,
            "resampling": p.imbalance in config.RESAMPLERS,
            "sequences": p.reads_sequences,
            "sampling": p.sampling == "by-record" or p.protocol == "adapted",
            "adaptation": p.protocol == "adapted",
        }
    elif isinstance(p, InfarctionParameters):
        used = {
            "infarction": True,
            p.model: True,
            "training": learns,
            "losses": learns,
            "transfer": learns and not entry.reads_aligned,
            "resampling": learns and p.imbalance != "weighted",
        }
        if learns and p.way != "scratch" and p.pretrained in config.experiments():
            before = config.load(p.pretrained, profile=p.profile)
            assert isinstance(before, HeartbeatParameters)
            used |= dict.fromkeys(_used(before), True)
    else:
        used = {"twelve-lead": True, p.model: True}
        used |= dict.fromkeys(("training", "multilabel-losses", "augmentation"), learns)
    return [stage for stage, has_part in used.items() if has_part]


def why(before: Mapping[str, int], now: Mapping[str, int]) -> list[str]:
    """What of a recipe differs from today's, a phrase for each stage: `training 1 → 2: …`."""
    said = []
    for stage in {**before, **now}:
        a, b = before.get(stage), now.get(stage)
        if a is None or b is None:
            said.append(f"{stage} has {'no' if b is None else 'a'} part in it now")
        elif a != b:
            told = history(stage)
            between = "; ".join(told.get(n, "unknown here") for n in range(min(a, b) + 1, max(a, b) + 1))
            said.append(f"{stage} {a} → {b}: {between}")
    return said


@cache
def history(stage: str) -> dict[int, str]:
    """What each number of a stage's recipe stands for. A `UserError` when the text below `RECIPE` does not tell every
    number from 1 to it."""
    module = import_module((STAGES | networks())[stage])
    body = ast.parse(Path(module.__file__ or "").read_text(encoding="utf-8")).body
    text = next(b for a, b in pairwise(body) if isinstance(a, ast.Assign) and ast.unparse(a.targets[0]) == "RECIPE")
    told = str(ast.literal_eval(text.value)) if isinstance(text, ast.Expr) else ""
    found = {int(n): said.strip().rstrip(".") for n, said in re.findall(r"(\d+): (.*?)(?=\s*\b\d+: |\s*$)", told, re.S)}
    if list(found) != list(range(1, module.RECIPE + 1)):
        expected = "a sentence for every number from 1"
        raise UserError(Path(module.__file__ or ""), f"RECIPE = {module.RECIPE}, told are {list(found)}", expected)
    return found
