"""A sweep file of Weights & Biases -> a search of the same ranges, over an experiment of ours.

A sweep names the arguments of a training script. Those without a counterpart here are left out and told: where they
vary, as optimisers do in most sweeps, the search is smaller than the sweep's.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterator, Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from pathlib import Path
from typing import Any, Final

from ecglib import config
from ecglib.config import SharedParameters, TuningParameters
from ecglib.errors import UserError, nearest
from ecglib.tuning import space as spaces
from ecglib.tuning.search import METRICS
from ecglib.tuning.space import OPTION

READ: Final = ("method", "metric", "parameters", "early_terminate", "run_cap")
UNREAD: Final = (
    "program", "command", "project", "entity", "name", "description", "apiVersion", "kind", "controller", "job",
    "image_uri", "scheduler",
)  # fmt: skip
"""Keys that say how W&B starts a script, and where it keeps the runs."""
SEARCHERS: Final = {"grid": "grid", "random": "random", "bayes": "gp"}
RANGES: Final = (
    "int_uniform", "uniform", "q_uniform", "log_uniform", "log_uniform_values", "q_log_uniform",
    "q_log_uniform_values", "inv_log_uniform", "inv_log_uniform_values",
)  # fmt: skip
"""Distributions between `min` and `max`. Those of logarithms without `_values` have exponents of e there. The inverse
ones draw the logarithm of 1/x evenly, which is to draw that of x evenly."""
OF_PARAMETER: Final = ("value", "values", "probabilities", "distribution", "min", "max", "q", "mu", "sigma", "a", "b")
EPOCHS: Final = ("epochs", "max_epochs", "num_epochs", "n_epochs", "num_train_epochs")
SEEDS: Final = ("seed", "random_seed", "random_state")
ALIASES: Final = {
    other: ours
    for ours, others in {
        "learning_rate": ("lr", "learn_rate", "max_lr", "base_lr", "init_lr", "learning_rate_init"),
        "batch_size": ("batch", "bs", "batchsize", "train_batch_size", "per_device_train_batch_size"),
        "weight_decay": ("wd",),
        "schedule": ("scheduler", "lr_scheduler", "lr_schedule"),
        "gradient_clip": ("grad_clip", "gradient_clip_val", "clip_grad_norm", "max_grad_norm"),
        "model": ("arch", "architecture", "model_name"),
        "dropout": ("dropout_rate", "drop_rate", "dropout_prob", "dropout_p"),
        "hidden": ("hidden_size", "hidden_dim", "hidden_units", "n_hidden", "fc_layer_size", "hidden_layer_size"),
        "layers": ("num_layers", "n_layers"),
        "kernel": ("kernel_size",),
        "blocks": ("num_blocks", "n_blocks"),
        "width": ("num_filters", "n_filters", "filters", "channels"),
        "trees": ("n_estimators",),
        "depth": ("max_depth",),
        "leaf": ("min_samples_leaf",),
    }.items()
    for other in others
}
"""What scripts call a parameter, or an option of a model -> what it is called here."""
NOT_OURS: Final = frozenset({*SharedParameters.model_fields, "model_options", "seeds", "test", "selection"})
"""Fields of an experiment that a search sets itself."""


def is_sweep(values: Mapping[str, Any]) -> bool:
    """Whether a file of these values is a sweep, not a search of ours."""
    return bool({"method", "parameters"} & values.keys())


def load_json(path: Path) -> dict[str, Any]:
    """Read a sweep in JSON. A `UserError` when the file is missing, no JSON, or no mapping."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(path, "no such file", "a sweep") from None
    except ValueError as error:
        raise UserError(path, f"no JSON: {error}") from None
    if not isinstance(values, dict):
        raise UserError(path, f"holds a {type(values).__name__}", "a mapping with method and parameters")
    return values


def converted(values: Mapping[str, Any], path: Path, base: str = "") -> tuple[dict[str, Any], list[str]]:
    """The fields of the search that a sweep asks for, and what a user should know of how it was read, in lines.

    `base` is the experiment that is searched; a sweep may name it itself, as the constant parameter `base`. A
    `UserError` where anything but a parameter has no counterpart, and where nothing that varies has one.
    """
    said: list[str] = []
    _only(values, (*READ, *UNREAD), path)
    if missing := [name for name in ("method", "parameters") if name not in values]:
        raise UserError(path, f"a sweep without {missing[0]}", "method and parameters")
    method = str(values["method"])
    if method not in SEARCHERS:
        raise UserError(path, f"method: {method}", f"one of {', '.join(SEARCHERS)}")
    written = dict(_flat(values["parameters"], path))
    named = written.pop("base", {}).get("value", "")
    base = base or str(named)
    if not base:
        raise UserError(path, "names no experiment to search", do="--base heartbeat/baseline, or another one")
    config.load(base)
    notebook = base.partition("/")[0]
    metric = _metric(values.get("metric"), notebook, base, path, said)
    space, own = _named(written, base, path, method == "grid", said)
    searcher = SEARCHERS[method]
    if searcher == "gp" and any("when" in how for how in space.values()):
        said.append("method: bayes: a tree-structured Parzen estimator, as not all models have all these options")
        searcher = "tpe"
    cap = values.get("run_cap")
    if cap is not None and (type(cap) is not int or cap < 1):
        raise UserError(path, f"run_cap: {cap!r}", "an integer of at least 1")
    every = spaces.parsed(space, config.load(base)).dimensions  # type: ignore[arg-type]
    if method == "grid":
        for one in every:
            _ = one.grid  # refused where it is without end
    default = TuningParameters.model_fields["trials"].default
    size = math.prod(one.size for one in every)
    most = math.inf if method == "grid" else default
    own["trials"] = int(min(size, most if cap is None else cap))  # more would repeat some
    if cap is None and own["trials"] == most:
        said.append(f"without a run_cap, {default} trials; --trials says how many")
    title = {"title": values["name"]} if "name" in values else {}
    own |= {"experiment": f"tuning/{path.stem}", "base": base, "space": space, "metric": metric, "searcher": searcher}
    return title | own | _early(values.get("early_terminate"), path), said


def _only(given: Any, known: tuple[str, ...], where: str | Path) -> None:
    """Refuse what is no mapping of these keys."""
    if not isinstance(given, dict):
        raise UserError(where, f"{given!r}", f"a mapping of {', '.join(known)}")
    for key in given:
        if key not in known:
            expected = f"one of {', '.join(known)}"
            raise UserError(where, f"{key} has no counterpart here", expected, nearest(str(key), known))


# --- how a parameter is drawn -----------------------------------------------------------------------------------------


def _flat(parameters: Any, where: str | Path, prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Parameters and how they are drawn; one within another has its name after a dot."""
    if not isinstance(parameters, dict):
        raise UserError(where, f"parameters: {parameters!r}", "a mapping, parameter -> how it is drawn")
    for name, how in parameters.items():
        inner = f"{where}: {prefix}{name}"
        if not isinstance(how, dict):
            raise UserError(inner, f"{how!r}", "how it is drawn", f"{{value: {how}}} where it is constant")
        if "parameters" in how:
            _only(how, ("parameters",), inner)
            yield from _flat(how["parameters"], where, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", how


def _drawn(how: dict[str, Any], where: str, name: str, grid: bool, said: list[str]) -> dict[str, Any]:
    """The same as `tuning.space` has it; a constant is a choice of one."""
    _only(how, OF_PARAMETER, where)
    ends = [how.get("min"), how.get("max")]
    fitting: tuple[str, ...]
    if "value" in how:
        inferred, fitting = "constant", ("constant",)
    elif "values" in how:
        inferred, fitting = "categorical", ("categorical", "categorical_w_probabilities")
    else:
        inferred, fitting = "int_uniform" if all(type(end) is int for end in ends) else "uniform", RANGES
    kind = how.get("distribution", inferred)
    if kind not in fitting:
        raise UserError(where, f"distribution: {kind} has no counterpart here", f"one of {', '.join(fitting)}")
    if "value" in how:
        return {"choice": [_number(how["value"])]}
    if "values" in how:
        return {"choice": _values(how, where, name, said)}
    return _of_range(kind, [_number(end) for end in ends], _number(how.get("q", 1)), where, name, grid, said)


def _values(how: dict[str, Any], where: str, name: str, said: list[str]) -> list[Any]:
    """Those of a choice, each once, but for what is drawn with probability 0."""
    values, weights = how["values"], how.get("probabilities")
    if not isinstance(values, list) or not values:
        raise UserError(where, f"values: {values!r}", "a list of values")
    if weights is not None:
        if not isinstance(weights, list) or len(weights) != len(values) or not all(map(spaces.is_number, weights)):
            raise UserError(where, f"probabilities: {weights!r}", "a number for each of its values")
        values = [value for value, weight in zip(values, weights, strict=True) if weight > 0]
        if len({weight for weight in weights if weight > 0}) > 1:
            said.append(f"{name}: its probabilities are left out, and each value is as likely as another")
    return list({repr(value): value for value in map(_number, values)}.values())


def _of_range(kind: str, ends: list[Any], q: Any, where: str, name: str, grid: bool, said: list[str]) -> dict[str, Any]:
    if not all(map(spaces.is_number, ends)) or ends[0] > ends[1]:
        raise UserError(where, f"min: {ends[0]}, max: {ends[1]}", "two numbers, the lower one first")
    if not spaces.is_number(q) or q <= 0:
        raise UserError(where, f"q: {q!r}", "a number above 0")
    low, high = ends
    log, quantised = "log" in kind, kind.startswith("q_")
    if log and not kind.endswith("_values"):
        low, high = (-high, -low) if kind.startswith("inv_") else (low, high)
        try:
            low, high = math.exp(low), math.exp(high)
        except OverflowError:
            raise UserError(where, f"{kind} from {low} to {high}", "exponents of e",
                            "log_uniform_values has the values themselves") from None  # fmt: skip
        said.append(f"{name}: {kind} has exponents of e, which gives {low:.4g} to {high:.4g}")
    if log and low <= 0:
        raise UserError(where, f"{kind} from {low}", "a min above 0")
    if kind == "int_uniform":
        if not all(type(end) is int for end in ends):
            raise UserError(where, f"min: {low}, max: {high}", "integers")
        return _between("int", low, high)
    if quantised:
        return _multiples(low, high, q, log, where, name, grid, said)
    return _between("log-uniform" if log else "uniform", *_rounded(low, high))


def _multiples(
    low: float, high: float, q: float, log: bool, where: str, name: str, grid: bool, said: list[str]
) -> dict[str, Any]:
    """Multiples of q; W&B rounds what it drew and may leave the range, these do not."""
    first, last = math.ceil(low / q - 1e-9), math.floor(high / q + 1e-9)
    if first > last:
        raise UserError(where, f"no multiple of q: {q} from {low:g} to {high:g}")
    whole = float(q).is_integer()
    at = {n: n * int(q) if whole else round(n * q, 12) for n in (first, last)}
    if not log:
        made = _between("int" if whole else "uniform", at[first], at[last])
        return made if "choice" in made else made | {"step": int(q) if whole else q}
    if grid:  # all of them, so that it matters little how they lie
        return {"choice": [n * int(q) if whole else round(n * q, 12) for n in range(first, last + 1)]}
    if q != 1:
        said.append(f"{name}: q: {q} is left out, and a logarithm is drawn without steps")
    if whole and first > 0:
        return _between("log-int", at[first], at[last])
    return _between("log-uniform", *_rounded(low, high))


def _between(kind: str, low: float, high: float) -> dict[str, Any]:
    return {"choice": [low]} if low == high else {kind: [low, high]}


def _rounded(low: float, high: float) -> tuple[float, float]:
    """The ends with four digits, as values are drawn, and within the range."""
    up, down = (Context(4, rounding).create_decimal(repr(float(end))) for rounding, end in
                ((ROUND_CEILING, low), (ROUND_FLOOR, high)))  # fmt: skip
    return (float(up), float(down)) if up <= down else (low, high)


def _number(value: Any) -> Any:
    """A number also where YAML reads a text, as of 1e-3."""
    return float(value) if isinstance(value, str) and re.fullmatch(r"[-+]?\d+\.?\d*[eE][-+]?\d+", value) else value


# --- whose parameters they are ----------------------------------------------------------------------------------------


def _leaf(name: str) -> str:
    return name.lower().replace("-", "_").rpartition(".")[2]


def _named(
    written: dict[str, dict[str, Any]], base: str, path: Path, grid: bool, said: list[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The space under our names, and the search's other fields that follow from what is constant."""
    p: Any = config.load(base)
    fields = type(p).model_fields.keys() - NOT_OURS
    of = next((how for name, how in written.items() if ALIASES.get(_leaf(name), _leaf(name)) == "model"), {})
    models = [str(one) for one in of.get("values", [of.get("value", p.model)])]
    options: dict[str, list[str]] = {}
    for model in models:
        for option in spaces.options(model):
            options.setdefault(option, []).append(model)
    space: dict[str, Any] = {}
    fixed: dict[str, Any] = {}
    of_model: dict[str, Any] = {}
    own: dict[str, Any] = {"fixed": fixed}
    names: dict[str, str] = {}
    absent: dict[str, str] = {}
    for name, given in written.items():
        ours = _ours(name, fields, options)
        if ours is None:
            near = difflib.get_close_matches(_leaf(name), [*fields, *options], n=1, cutoff=0.8)
            absent[name] = f"{given.get('value', 'which varies')}{f'; is it {near[0]}?' if near else ''}"
            continue
        how = _drawn(given, f"{path}: {name}", name, grid, said)
        if ours in names.values():
            other = next(one for one, of in names.items() if of == ours)
            raise UserError(path, f"both {other} and {name} are {ours}", "one of them")
        names[name] = ours
        choices = how.get("choice", [])
        varies, value = len(choices) != 1, next(iter(choices), None)
        option = ours.removeprefix(OPTION)
        if ours in ("max_epochs", "seed") and varies:
            why = "trials that differ in it can't be compared"
            raise UserError(f"{path}: {name}", why, "one value", "write value in place of its values or range")
        if ours == "seed":
            own |= {"seed": value, "confirm": [seed for seed in (1, 2, 3) if seed != value][:2]}
        elif ours == "max_epochs":
            fixed |= dict.fromkeys({"epochs", "max_epochs"} & fields, value)
        elif ours != option and (varies or len(models) > 1):
            space[ours] = how if len(options[option]) == len(models) else how | {"when": {"model": options[option]}}
        elif varies:
            space[ours] = how
        else:
            (of_model if ours != option else fixed)[option] = value
    if of_model or (len(models) == 1 and models != [p.model]):
        fixed["model_options"] = (p.model_options if models == [p.model] else {}) | of_model
    if renamed := [f"{name} is {ours}" for name, ours in names.items() if name != ours]:
        said.append(", ".join(renamed))
    if absent:
        left = ", ".join(f"{name} ({text})" for name, text in absent.items())
        said.append(f"left out, as {base} has no such parameter: {left}")
    if not space:
        expected = f"values, or min and max, of a parameter of {base}, or an option of its model ({', '.join(options)})"
        raise UserError(path, f"nothing varies in it that {base} has", expected)
    return space, own


def _ours(name: str, fields: Any, options: Mapping[str, Any]) -> str | None:
    """What a parameter of a sweep is called here, by its whole name or its last part; None where there is none."""
    leaf = _leaf(name)
    if leaf in EPOCHS or leaf in SEEDS:
        return "max_epochs" if leaf in EPOCHS else "seed"
    if name.startswith(OPTION) and leaf in options:
        return f"{OPTION}{leaf}"
    for one in (leaf, ALIASES.get(leaf)):
        if one in fields:
            return one
        if one in options:
            return f"{OPTION}{one}"
    return None


# --- what it is judged by ---------------------------------------------------------------------------------------------


def _metric(given: Any, notebook: str, base: str, path: Path, said: list[str]) -> str:
    """What the search maximizes. Most sweeps minimize a loss, which depends on parameters that are searched here."""
    if notebook not in METRICS:
        raise UserError(f"base: {base}", "it trains nothing", "an experiment that trains")
    default = METRICS[notebook][0]
    if given is None:
        return default
    _only(given, ("name", "goal", "target", "impute", "impute_while_running"), f"{path}: metric")
    name, goal = str(given.get("name", "")), given.get("goal", "minimize")
    if goal not in ("minimize", "maximize"):
        raise UserError(f"{path}: metric", f"goal: {goal}", "minimize or maximize")
    plain = re.sub(r"^(val|valid|validation|dev|eval)[_/.]", "", name.lower().replace("-", "_"))
    if plain in METRICS[notebook]:
        if goal == "minimize":
            raise UserError(f"{path}: metric", f"{name} is to be minimized", "goal: maximize")
        ours = plain
    else:
        ours = default
        said.append(f"in place of {goal[:-1]}ing {name}, the search maximizes {ours} on validation")
    if "target" in given:
        said.append(f"metric: target: {given['target']} is left out, and all trials are run")
    return ours


def _early(given: Any, path: Path) -> dict[str, Any]:
    """The scheduler. W&B's `hyperband` judges each trial as it comes to a band: successive halving, asynchronous."""
    if given is None:
        return {"scheduler": "none"}
    where = f"{path}: early_terminate"
    _only(given, ("type", "min_iter", "max_iter", "s", "eta", "strict"), where)
    if given.get("type") != "hyperband":
        raise UserError(where, f"type: {given.get('type')}", "hyperband")
    eta = given.get("eta", 3)
    numbers = {name: given[name] for name in ("min_iter", "max_iter", "s") if name in given} | {"eta": eta}
    for name, value in numbers.items():
        if not spaces.is_number(value) or not float(value).is_integer() or value < (2 if name == "eta" else 1):
            raise UserError(where, f"{name}: {value!r}", f"an integer of at least {2 if name == 'eta' else 1}")
    if {"max_iter", "s"} <= numbers.keys():
        bands = [band for i in range(int(numbers["s"])) if (band := numbers["max_iter"] // eta ** (i + 1)) >= 1]
        if not bands:
            raise UserError(where, f"max_iter: {numbers['max_iter']} with eta: {eta} has no band of an epoch or more")
        grace = min(bands)
    elif "min_iter" in numbers:
        grace = numbers["min_iter"]
    else:
        raise UserError(where, ", ".join(map(str, numbers)), "min_iter, or max_iter and s")
    return {"scheduler": "asha", "grace": int(grace), "reduction": int(eta)}
