"""The space that a search draws parameters from.

It is written as a mapping, parameter -> how it is drawn; `model_options.NAME` is an option of the model:

    learning_rate: {log-uniform: [0.0003, 0.03]}
    label_smoothing: {uniform: [0, 0.1], step: 0.02}
    batch_size: {choice: [64, 128, 256]}
    model_options.width: {int: [16, 64], step: 8}
    focal_gamma: {uniform: [0.5, 4], when: {imbalance: focal}}

With `when`, a parameter is drawn where another one has this value, or one of these; else it stays as it is in the base.
"""

from __future__ import annotations

import inspect
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ecglib import config
from ecglib.errors import UserError, nearest
from ecglib.experiment.recipes import Trained
from ecglib.models import registry

KINDS: Final = ("uniform", "log-uniform", "int", "log-int", "choice")
MOST: Final = 10_000
"""Points of a grid."""
OPTION: Final = "model_options."
"""What the name of an option of the model begins with."""
Values = dict[str, Any]
"""Parameter -> its value."""
Scalar = int | float | bool | str | None


@dataclass(frozen=True)
class Dimension:
    """How a parameter is drawn: between `low` and `high`, both included, of integers or of real numbers, evenly or
    (`log`) evenly in their logarithm, in steps where there is a `step`; or one of the `choices`."""

    name: str
    kind: str
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    choices: tuple[Any, ...] = ()
    when: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    """Another parameter, and the values of it with which this one is drawn."""

    @property
    def whole(self) -> bool:
        """Whether its values are integers."""
        return self.kind in ("int", "log-int")

    @property
    def log(self) -> bool:
        return self.kind.startswith("log-")

    @property
    def size(self) -> float:
        """How many values it has; infinite of real numbers without a step."""
        if self.kind == "choice":
            return len(self.choices)
        step = self.step or (1 if self.whole else 0)
        return math.floor((self.high - self.low) / step + 1e-9) + 1 if step else math.inf

    @property
    def grid(self) -> Sequence[Any]:
        """Its values, of a parameter that has finitely many."""
        if self.kind == "choice":
            return self.choices
        if self.whole:
            return range(int(self.low), int(self.high) + 1, int(self.step or 1))
        if self.step is None:
            raise UserError(f"space: {self.name}", f"{self.kind} without a step", "finitely many values for a grid")
        return [round(self.low + i * self.step, 12) for i in range(int(self.size))]

    def value(self, raw: Any) -> Any:
        """A value as a trial takes it: a real number with four digits, so that its file holds it as it was."""
        return float(f"{raw:.4g}") if isinstance(raw, float) and self.kind != "choice" else raw

    def encoded(self, value: Any) -> Any:
        """A value as engines keep it: of a choice as JSON, as they have no lists there."""
        return json.dumps(value) if self.kind == "choice" else value

    def decoded(self, kept: Any) -> Any:
        """The value that an engine keeps so."""
        return json.loads(kept) if self.kind == "choice" else kept

    def holds(self, value: Any) -> bool:
        """Whether it is one of its values, steps aside."""
        if self.kind == "choice":
            return any(type(one) is type(value) and one == value for one in self.choices)
        return is_number(value) and self.low <= value <= self.high

    @property
    def ends(self) -> list[Any]:
        """Its choices, or its lowest and its highest value."""
        if self.kind == "choice":
            return list(self.choices)
        return [int(self.low), int(self.high)] if self.whole else [self.low, self.high]

    def draw(self, random: np.random.Generator) -> Any:
        """One of its values at random."""
        if self.kind in ("choice", "int") or self.step is not None:
            values = self.grid
            return values[int(random.integers(len(values)))]
        if not self.log:
            return self.value(float(random.uniform(self.low, self.high)))
        value = math.exp(random.uniform(math.log(self.low), math.log(self.high)))
        value = min(max(value, self.low), self.high)
        return round(value) if self.whole else self.value(value)


@dataclass(frozen=True)
class Space:
    """Dimensions, those that others wait for first."""

    dimensions: tuple[Dimension, ...]

    def __getitem__(self, name: str) -> Dimension:
        return next(one for one in self.dimensions if one.name == name)

    def is_drawn(self, dimension: Dimension, drawn: Mapping[str, Any], base: Trained) -> bool:
        """Whether a parameter is drawn, given those before it."""
        return all(drawn.get(name, value_of(base, name)) in values for name, values in dimension.when)

    def active(self, drawn: Mapping[str, Any], base: Trained) -> Values:
        """Of values of all parameters, those of the ones that are drawn."""
        found: Values = {}
        for dimension in self.dimensions:
            if self.is_drawn(dimension, found, base):
                found[dimension.name] = drawn[dimension.name]
        return found

    def own(self, base: Trained) -> Values:
        """The base's own values, of the parameters that are drawn beside these."""
        return self.active({one.name: value_of(base, one.name) for one in self.dimensions}, base)

    def draw(self, random: np.random.Generator, base: Trained) -> Values:
        """Parameters at random."""
        return self.active({one.name: one.draw(random) for one in self.dimensions}, base)

    def grid(self, base: Trained) -> list[Values]:
        """All that can be drawn, each once; a `UserError` where that is without end, or more than `MOST`."""
        n = math.prod(len(one.grid) if one.size == math.inf else one.size for one in self.dimensions)
        if n > MOST:
            raise UserError("searcher: grid", f"{n:g} points", f"{MOST} at most", "take longer steps, or random")
        names, values = [one.name for one in self.dimensions], [one.grid for one in self.dimensions]
        every = (self.active(dict(zip(names, each, strict=True)), base) for each in itertools.product(*values))
        return list({repr(sorted(each.items())): each for each in every}.values())

    def check(self, base: Trained, build: Callable[[Trained], object]) -> None:
        """Raise UserError, with the parameter, where one of a hundred draws, or one of them with an end or a choice of
        a parameter in its place, would be refused; `build` makes the network."""
        random = np.random.default_rng(0)
        whole = [{one.name: one.draw(random) for one in self.dimensions} for _ in range(100)]
        tried = []
        for one in self.dimensions:
            drawn = next((each for each in whole if one.name in self.active(each, base)), None)
            if drawn is None:
                raise UserError(f"space: {one.name}", "its when never holds")
            tried += [(one.name, self.active(drawn | {one.name: value}, base)) for value in one.ends]
        tried += [("a draw", self.active(each, base)) for each in whole]
        for what, values in tried:
            try:
                build(applied(base, values))
            except (UserError, ValueError, TypeError) as error:
                said = ", ".join(f"{name} {value}" for name, value in values.items())
                raise UserError(f"space: {what}", f"{said}: {getattr(error, 'found', error)}") from None


def options(model: str) -> dict[str, Any]:
    """The options of a model by name, and their defaults."""
    known = inspect.signature(registry.entry(model).build).parameters
    return {name: one.default for name, one in known.items() if name not in config.FROM_DATA}


def value_of(p: Trained, name: str) -> Any:
    """The value of a parameter, or of an option of the model, which may be the model's default."""
    if not name.startswith(OPTION):
        return getattr(p, name)
    option = name.removeprefix(OPTION)
    return p.model_options.get(option, options(p.model).get(option))


def applied(base: Trained, values: Mapping[str, Any]) -> Trained:
    """The base with these values in place of its own. A `UserError` where they don't go together, or there is no
    network of these options; options of the base's network go with it where another `model` is drawn."""
    given = base.model_dump()
    of_model = dict(base.model_options) if values.get("model", base.model) == base.model else {}
    for name, value in values.items():
        if name.startswith(OPTION):
            of_model[name.removeprefix(OPTION)] = value
        else:
            given[name] = value
    notebook = next(name for name, model in config.MODELS.items() if model is type(base))
    p = config.check(notebook, given | {"model_options": of_model}, "search")
    assert isinstance(p, Trained)
    return p


def parsed(written: Mapping[str, Any], base: Trained) -> Space:
    """The space as it is written. A `UserError`, in a line, for what can't be read: an unknown parameter, a range
    upside down, a wrong type, a `when` that waits for nothing."""
    if not written:
        raise UserError("space", "it is empty", "a parameter and how it is drawn, such as learning_rate: "
                        "{log-uniform: [0.0003, 0.03]}")  # fmt: skip
    made = [_dimension(name, how, base) for name, how in written.items()]
    drawn = next((one.choices for one in made if one.name == "model"), (base.model,))
    known = {option for name in drawn if name in registry.ENTRIES for option in options(name)}
    for name in (name for one in made for name in (one.name, *(other for other, _ in one.when))):
        if name.startswith(OPTION) and (option := name.removeprefix(OPTION)) not in known:
            expected = f"one of {', '.join(sorted(known)) or 'none'}"
            raise UserError(f"space: {name}", "no such option of the model", expected, nearest(option, known))
    ordered: list[Dimension] = []
    while left := [one for one in made if one not in ordered]:
        names = {one.name for one in left}
        free = [one for one in left if not names & {name for name, _ in one.when}]
        if not free:
            raise UserError(f"space: {left[0].name}", "its when waits for itself, by way of others")
        ordered += free
    return Space(tuple(ordered))


def _dimension(name: str, how: Any, base: Trained) -> Dimension:
    where = f"space: {name}"
    _refuse_unknown(name, base, where)
    if not isinstance(how, dict):
        raise UserError(where, f"{how!r}", f"how it is drawn: one of {', '.join(KINDS)}")
    if unknown := [key for key in how if key not in (*KINDS, "step", "when")]:
        expected = f"one of {', '.join(KINDS)}, with step and when"
        raise UserError(where, f"unknown {unknown[0]}", expected, nearest(str(unknown[0]), [*KINDS, "step", "when"]))
    kinds = [key for key in how if key in KINDS]
    if len(kinds) != 1:
        raise UserError(where, f"{' and '.join(kinds) or 'none'} of {', '.join(KINDS)}", "one of them")
    kind, given, when = kinds[0], how[kinds[0]], _when(how.get("when", {}), base, where)
    if kind == "choice":
        if not isinstance(given, list) or not given or not all(isinstance(one, Scalar | list) for one in given):
            raise UserError(where, f"choice: {given!r}", "a list of values")
        if len({repr(one) for one in given}) < len(given):
            raise UserError(where, f"choice: {given!r} names a value twice")
        if "step" in how:
            raise UserError(where, "a choice has no step")
        return Dimension(name, kind, choices=tuple(given), when=when)
    return _of_range(name, kind, given, how.get("step"), when, where)


def _of_range(name: str, kind: str, given: Any, step: Any, when: Any, where: str) -> Dimension:
    if not isinstance(given, list) or len(given) != 2 or not all(is_number(one) for one in given):
        text = next((one for one in given if isinstance(one, str)), "") if isinstance(given, list) else ""
        do = "write 0.001, not 1e-3, which YAML reads as text" if "e" in text else ""
        raise UserError(where, f"{kind}: {given!r}", "two numbers, the lowest and the highest", do)
    low, high = given
    whole = kind in ("int", "log-int")
    if whole and not all(isinstance(one, int) for one in given):
        raise UserError(where, f"{kind}: {given!r}", "integers")
    if low >= high:
        raise UserError(where, f"{kind}: {given!r}", "the lower one first, and another one after it")
    if kind.startswith("log-") and (low <= 0 or step is not None):
        raise UserError(where, f"{kind}: {given!r}" if low <= 0 else "a step in a logarithm",
                        "numbers above 0, without a step")  # fmt: skip
    if step is not None:
        if not is_number(step) or not 0 < step <= high - low or (whole and not isinstance(step, int)):
            raise UserError(where, f"step: {step!r}", f"a number above 0 and of at most {high - low:g}")
        high = low + math.floor((high - low) / step + 1e-9) * step
    low, high = (low, high) if whole else (float(low), float(high))
    return Dimension(name, kind, low, high, step, when=when)


def _when(written: Any, base: Trained, where: str) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    if not isinstance(written, dict):
        raise UserError(where, f"when: {written!r}", "another parameter and its value, or a list of them")
    for name in written:
        _refuse_unknown(name, base, f"{where}: when")
    return tuple((name, tuple(v) if isinstance(v, list) else (v,)) for name, v in written.items())


def _refuse_unknown(name: str, base: Trained, where: str) -> None:
    fields = type(base).model_fields
    if name in config.NOT_SEARCHED or (name not in fields and not name.startswith(OPTION)):
        found, do = "can't be searched", ""
        if name not in fields:
            found, do = "no such parameter", nearest(name, [one for one in fields if one not in config.NOT_SEARCHED])
        raise UserError(where, found, f"one of {base.experiment or base.model}, or {OPTION}NAME", do)


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
