"""What a number's recipe is, and how it has changed, in words.

Every stage that trains has a `RECIPE` beside its code: a number, and below it a text with what each number stands for
(`1: as published. 2: the average of the weights ramps up.`). It is raised when results move, and only then: the golden
trainings in `tests/golden` hold that. A result keeps the recipe that made it, and holds while that is today's.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Mapping
from functools import cache
from importlib import import_module
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
    if isinstance(p, HeartbeatParameters):
        return _of_heartbeats(p)
    if isinstance(p, InfarctionParameters):
        return _of_infarctions(p)
    assert isinstance(p, TwelveLeadParameters)
    of_network = [] if registry.entry(p.model).yardstick else ["training", "multilabel-losses", "augmentation"]
    return ["twelve-lead", *of_network, p.model]


def _of_heartbeats(p: HeartbeatParameters) -> list[str]:
    entry = registry.entry(p.model)
    used = ["heartbeat", p.model]
    if not entry.classical:
        used += ["training", "losses"]
    if p.imbalance in config.RESAMPLERS:
        used.append("resampling")
    if entry.takes == "sequence" and p.beats_per_sequence > 1:
        used.append("sequences")
    if p.sampling == "by-record" or p.protocol == "adapted":
        used.append("sampling")
    if p.protocol == "adapted":
        used.append("adaptation")
    return used


def _of_infarctions(p: InfarctionParameters) -> list[str]:
    used = ["infarction", p.model]
    if registry.entry(p.model).yardstick:
        return used
    used += ["training", "losses"]
    if not registry.entry(p.model).reads_aligned:
        used.append("transfer")
    if p.imbalance != "weighted":
        used.append("resampling")
    if p.way != "scratch" and p.pretrained in config.experiments():
        before = config.load(p.pretrained, profile=p.profile)
        assert isinstance(before, HeartbeatParameters)
        used += [stage for stage in _of_heartbeats(before) if stage not in used]
    return used


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
    """What each number of a stage's recipe stands for.

    Raises
    ------
    UserError
        When the text below `RECIPE` does not tell every number from 1 to it.
    """
    name = (STAGES | networks())[stage]
    module = import_module(name)
    path = Path(sys.modules[name].__file__ or "")
    body = ast.parse(path.read_text(encoding="utf-8")).body
    place = next(i for i, node in enumerate(body) if isinstance(node, ast.Assign) and _is_recipe(node))
    text = body[place + 1].value if isinstance(body[place + 1], ast.Expr) else None  # type: ignore[attr-defined]
    told = str(text.value) if isinstance(text, ast.Constant) else ""
    found = {int(n): said.strip().rstrip(".") for n, said in re.findall(r"(\d+): (.*?)(?=\s*\b\d+: |\s*$)", told, re.S)}
    if list(found) != list(range(1, module.RECIPE + 1)):
        raise UserError(path, f"RECIPE = {module.RECIPE}, told are {list(found)}", "a sentence for every number from 1")
    return found


def _is_recipe(node: ast.Assign) -> bool:
    return any(isinstance(target, ast.Name) and target.id == "RECIPE" for target in node.targets)
