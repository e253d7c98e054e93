"""Sweep files of Weights & Biases become searches of the same ranges; what has no counterpart is told, or refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ecglib import config, tuning
from ecglib.config import TuningParameters
from ecglib.errors import UserError
from ecglib.tuning import space as spaces
from ecglib.tuning import sweeps

BASE = "heartbeat/baseline"
SWEEPS = {
    "bayes": (
        BASE,
        """
program: train.py
project: arrhythmia
name: "cnn, bayes"
method: bayes
metric:
  name: val/macro-f1
  goal: maximize
parameters:
  lr:
    distribution: log_uniform_values
    min: 1e-4
    max: 1e-1
  batch_size:
    distribution: q_log_uniform_values
    q: 8
    min: 32
    max: 256
  dropout:
    min: 0.1
    max: 0.5
  kernel_size:
    values: [3, 5, 7]
  weight-decay:
    distribution: log_uniform
    min: -9.21
    max: -2.3
  epochs:
    value: 30
  optimizer:
    value: adamw
early_terminate:
  type: hyperband
  min_iter: 3
  eta: 4
run_cap: 40
command:
  - ${env}
  - python
  - ${program}
  - ${args}
""",
        {
            "title": "cnn, bayes",
            "searcher": "gp",
            "metric": "macro_f1",
            "trials": 40,
            "scheduler": "asha",
            "grace": 3,
            "reduction": 4,
            "fixed": {"max_epochs": 30},
            "space": {
                "learning_rate": {"log-uniform": [0.0001, 0.1]},
                "batch_size": {"log-int": [32, 256]},
                "model_options.dropout": {"uniform": [0.1, 0.5]},
                "model_options.kernel": {"choice": [3, 5, 7]},
                "weight_decay": {"log-uniform": [0.0001001, 0.1002]},
            },
        },
    ),
    "grid": (
        "heartbeat/bigru",
        """
method: grid
metric: {name: val_loss}
parameters:
  base: {value: heartbeat/bigru}
  hidden_size: {values: [64, 128]}
  num_layers: {min: 1, max: 3}
  dropout: {distribution: q_uniform, min: 0, max: 0.4, q: 0.2}
  seed: {value: 1}
  log_interval: {value: 100}
""",
        {
            "searcher": "grid",
            "scheduler": "none",
            "trials": 18,
            "seed": 1,
            "confirm": [2, 3],
            "fixed": {},
            "space": {
                "model_options.hidden": {"choice": [64, 128]},
                "model_options.layers": {"int": [1, 3]},
                "model_options.dropout": {"uniform": [0, 0.4], "step": 0.2},
            },
        },
    ),
    "nested": (
        "twelve-lead/crnn",
        """
method: random
metric: {name: val_auroc, goal: maximize}
parameters:
  batch_size: {values: [16, 32]}
  optimizer:
    parameters:
      name: {value: adamw}
      lr: {distribution: log_uniform_values, min: 0.0003, max: 0.03}
  model:
    parameters:
      hidden: {distribution: int_uniform, min: 32, max: 96}
early_terminate: {type: hyperband, max_iter: 27, s: 2}
""",
        {
            "searcher": "random",
            "metric": "macro_auroc",
            "grace": 3,
            "reduction": 3,
            "trials": TuningParameters().trials,
            "space": {
                "batch_size": {"choice": [16, 32]},
                "learning_rate": {"log-uniform": [0.0003, 0.03]},
                "model_options.hidden": {"int": [32, 96]},
            },
        },
    ),
    "two-models": (
        BASE,
        """
method: bayes
parameters:
  arch: {values: [cnet, bigru]}
  width: {values: [16, 32]}
  dropout: {value: 0.2}
  lr: {values: [0.001, 0.003]}
""",
        {
            "searcher": "tpe",
            "fixed": {},
            "space": {
                "model": {"choice": ["cnet", "bigru"]},
                "model_options.width": {"choice": [16, 32], "when": {"model": ["cnet"]}},
                "model_options.dropout": {"choice": [0.2]},
                "learning_rate": {"choice": [0.001, 0.003]},
            },
        },
    ),
    "another-model": (
        "infarction/scratch",
        """
method: random
run_cap: 5
parameters:
  epochs: {value: 7}
  noise: {min: 0.0, max: 0.1}
  batch: {value: 32}
""",
        {
            "fixed": {"max_epochs": 7, "epochs": 7, "batch_size": 32},
            "space": {"noise": {"uniform": [0.0, 0.1]}},
            "metric": "auroc",
        },
    ),
}
"""Sweeps as people publish them -> the base, and what of the search follows from them."""


def sweep(folder: Path, parameters: dict[str, Any], **others: Any) -> Path:
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump({"method": "random", "parameters": parameters, **others}), encoding="utf-8")
    return path


def published(name: str, folder: Path) -> tuple[Path, str]:
    """The file of such a sweep, and its base."""
    base, text, _ = SWEEPS[name]
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return path, base


def asked_of(path: Path, base: str = BASE) -> TuningParameters:
    return tuning.load(str(path), overrides={"base": base})


@pytest.mark.parametrize("name", SWEEPS)
def test_a_published_sweep_is_read_as_it_is(name: str, tmp_path: Path) -> None:
    (path, base), (_, text, expected) = published(name, tmp_path), SWEEPS[name]
    asked = asked_of(path, base)
    assert asked.model_dump(include=set(expected)) == expected
    assert (asked.experiment, asked.base) == (f"tuning/{name}", base)
    as_json = tmp_path / f"{name}.json"
    as_json.write_text(json.dumps(yaml.safe_load(text), indent="\t"), encoding="utf-8")
    assert asked_of(as_json, base).space == asked.space
    given = config.load(base, profile="quick").model_dump() | asked.fixed
    p: Any = config.check(base.partition("/")[0], given, "fixed")
    spaces.parsed(asked.space, p).check(p, lambda one: one)


def test_it_says_how_it_was_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = {}
    for name in SWEEPS:
        path, base = published(name, tmp_path)
        asked_of(path, base)
        said[name] = capsys.readouterr().err.replace(f"{path}: ", "").splitlines()
    assert said["bayes"] == [
        "batch_size: q: 8 is left out, and a logarithm is drawn without steps",
        "weight-decay: log_uniform has exponents of e, which gives 0.0001 to 0.1003",
        "lr is learning_rate, dropout is model_options.dropout, kernel_size is model_options.kernel, "
        "weight-decay is weight_decay, epochs is max_epochs",
        "left out, as heartbeat/baseline has no such parameter: optimizer (adamw)",
    ]
    assert "in place of minimizing val_loss, the search maximizes macro_f1 on validation" in said["grid"]
    assert "left out, as heartbeat/bigru has no such parameter: log_interval (100)" in said["grid"]
    assert f"without a run_cap, {TuningParameters().trials} trials; --trials says how many" in said["nested"]
    assert "left out, as twelve-lead/crnn has no such parameter: optimizer.name (adamw)" in said["nested"]
    assert any("tree-structured" in line for line in said["two-models"])
    others = {
        "optimizer": {"values": ["adam", "sgd"], "probabilities": [0.3, 0.7]}, "amsgrad": {"value": True},
        "momentum": {"distribution": "normal", "mu": 0, "sigma": 1}, "batch_siz": {"values": [32, 64]},
    }  # fmt: skip
    asked = asked_of(sweep(tmp_path, {"lr": {"values": [0.1, 0.2]}} | others))
    assert list(asked.space) == ["learning_rate"] and asked.trials == 2, "a third one would repeat one"
    left = (
        "amsgrad (True), batch_siz (which varies; is it batch_size?), momentum (which varies), optimizer (which varies)"
    )
    assert [line.partition("no such parameter: ")[2] for line in capsys.readouterr().err.splitlines()] == ["", left]


HOWS = {
    "constant": ({"value": 0.1}, None),
    "one value": ({"values": [0.1]}, None),
    "no range": ({"min": 0.1, "max": 0.1}, None),
    "categorical": ({"values": [0.1, "1e-2", 0.1]}, {"choice": [0.1, 0.01]}),
    "likely": ({"values": [0.1, 0.2, 0.3], "probabilities": [0.7, 0.3, 0]}, {"choice": [0.1, 0.2]}),
    "inferred integers": ({"min": 0, "max": 1}, {"int": [0, 1]}),
    "inferred": ({"min": 0, "max": 0.5}, {"uniform": [0.0, 0.5]}),
    "int_uniform": ({"min": 1, "max": 9}, {"int": [1, 9]}),
    "uniform": ({"min": 0, "max": 1}, {"uniform": [0.0, 1.0]}),
    "q_uniform": ({"min": 5, "max": 30, "q": 10}, {"int": [10, 30], "step": 10}),
    "q_uniform without q": ({"distribution": "q_uniform", "min": 0.5, "max": 4}, {"int": [1, 4], "step": 1}),
    "log_uniform": ({"min": -5, "max": 0}, {"log-uniform": [0.006738, 1.0]}),
    "log_uniform_values": ({"min": 0.001, "max": 1}, {"log-uniform": [0.001, 1]}),
    "q_log_uniform": ({"min": 0, "max": 2, "q": 1}, {"log-int": [1, 7]}),
    "q_log_uniform_values": ({"min": 0.05, "max": 1, "q": 0.1}, {"log-uniform": [0.05, 1.0]}),
    "inv_log_uniform": ({"min": 0, "max": 5}, {"log-uniform": [0.006738, 1.0]}),
    "inv_log_uniform_values": ({"min": 0.001, "max": 1}, {"log-uniform": [0.001, 1]}),
}
"""Distribution, or what else a sweep says -> how it goes on, and what it is here; None: it is constant."""


@pytest.mark.parametrize("kind", HOWS)
def test_every_distribution_has_its_counterpart(kind: str, tmp_path: Path) -> None:
    how, expected = HOWS[kind]
    if kind in (*sweeps.RANGES, "constant", "categorical"):
        how = {"distribution": kind} | how
    asked = asked_of(sweep(tmp_path, {"weight_decay": how, "lr": {"values": [0.1, 0.2]}}, run_cap=1))
    assert asked.space.get("weight_decay") == expected
    assert asked.fixed == ({} if expected else {"weight_decay": 0.1})


def test_a_grid_of_logarithms_has_every_multiple(tmp_path: Path) -> None:
    how = {"distribution": "q_log_uniform_values", "min": 32, "max": 64, "q": 8}
    asked = asked_of(sweep(tmp_path, {"batch_size": how}, method="grid", run_cap=3))
    assert asked.space == {"batch_size": {"choice": [32, 40, 48, 56, 64]}}
    assert asked.trials == 3


@settings(max_examples=100)
@given(
    kind=st.sampled_from(sweeps.RANGES),
    ends=st.tuples(st.floats(0.001, 8), st.floats(0.001, 8)).map(sorted),
    q=st.sampled_from([0.001, 0.05, 1, 2]),
    seed=st.integers(0, 99),
)
@example(kind="q_uniform", ends=[1.96875, 1.9999999999999991], q=0.001, seed=0)
def test_what_is_drawn_lies_within_the_sweeps_range(kind: str, ends: list[float], q: float, seed: int) -> None:
    if kind == "int_uniform":
        ends = [math.floor(end) for end in ends]
    low, high = ends
    how = {"distribution": kind, "min": low, "max": high} | ({"q": q} if kind.startswith("q_") else {})
    values = {"method": "random", "parameters": {"weight_decay": how, "lr": {"values": [1, 2]}}}
    try:
        found, _ = sweeps.converted(values, Path("sweep.yaml"), BASE)
    except UserError as error:
        assert "no multiple of q" in str(error)
        return
    if kind.endswith("log_uniform"):
        low, high = (math.exp(-high), math.exp(-low)) if kind.startswith("inv") else (math.exp(low), math.exp(high))
    base: Any = config.load(BASE)
    space, random = spaces.parsed(found["space"], base), np.random.default_rng(seed)
    drawn = [found["fixed"].get("weight_decay", space.draw(random, base).get("weight_decay")) for _ in range(20)]
    assert all(low - 1e-9 <= value <= high + 1e-9 for value in drawn), "but for rounding"
    if kind == "q_uniform":
        assert np.allclose(np.divide(drawn, q), np.round(np.divide(drawn, q)))
    if "log" in kind and high > 1.5 * low and kind.startswith(("log", "inv")):
        assert len(set(drawn)) > 10


LR = {"lr": {"min": 0.001, "max": 0.1}}


def of(**parameters: Any) -> dict[str, Any]:
    return {"parameters": parameters}


REFUSED = {
    "several methods": ({"method": ["grid"]}, ["method: ['grid']"]),
    "no method of W&B": ({"method": "hyperopt"}, ["method: hyperopt", "grid, random, bayes"]),
    "a scheduler of its own": ({"method": "custom"}, ["method: custom"]),
    "an unknown key": ({"early_termination": {}}, ["early_termination", "did you mean early_terminate?"]),
    "several metrics": ({"metrics": []}, ["metrics has no counterpart"]),
    "no parameters": ({"parameters": []}, ["parameters: []"]),
    "no cap": ({"run_cap": 0}, ["run_cap: 0"]),
    "a bare value": (of(lr=0.1), ["lr: 0.1", "{value: 0.1}"]),
    "a misspelt key": (of(lr={"minimum": 1, "max": 2}), ["lr: minimum", "did you mean min?"]),
    **{
        kind: (of(lr={"distribution": kind}), [f"lr: distribution: {kind} has no counterpart"])
        for kind in ("normal", "q_normal", "log_normal", "q_log_normal", "beta", "q_beta", "constant")
    },
    "nothing for its values": (of(lr={"values": []}), ["lr: values: []"]),
    "a weight short": (of(lr={"values": [1, 2], "probabilities": [1]}), ["lr: probabilities: [1]"]),
    "one end": (of(lr={"min": 0.1}), ["lr: min: 0.1, max: None"]),
    "upside down": (of(lr={"min": 2.0, "max": 1.0}), ["lr: min: 2.0, max: 1.0", "lower one first"]),
    "text for a number": (of(lr={"min": "low", "max": 1.0}), ["lr: min: low"]),
    "no integers": (of(lr={"distribution": "int_uniform", "min": 0.5, "max": 2}), ["lr: min: 0.5", "integers"]),
    "a logarithm of 0": (
        of(lr={"distribution": "log_uniform_values", "min": 0, "max": 1}),
        ["lr: log_uniform_values from 0", "above 0"],
    ),
    "values for exponents": (
        of(batch_size={"distribution": "log_uniform", "min": 32, "max": 1024}),
        ["batch_size: log_uniform from 32 to 1024", "exponents of e", "log_uniform_values"],
    ),
    "no step": (of(lr={"distribution": "q_uniform", "min": 1, "max": 2, "q": 0}), ["lr: q: 0"]),
    "between two steps": (of(lr={"distribution": "q_uniform", "min": 0.1, "max": 0.2}), ["lr: no multiple of q: 1"]),
    "nothing known that varies": (
        of(momentum={"min": 0.5, "max": 0.9}, optimizer={"values": ["adam", "sgd"]}),
        ["nothing varies in it that heartbeat/baseline has"],
    ),
    "epochs that vary": (of(epochs={"values": [5, 10]}), ["epochs: trials", "can't be compared"]),
    "seeds that vary": (of(seed={"values": [1, 2]}), ["seed: trials", "can't be compared"]),
    "one twice": (of(**LR, learning_rate={"value": 1}), ["both learning_rate and lr are learning_rate"]),
    "a model of theirs": (of(model={"value": "resnet18"}), ["unknown model resnet18"]),
    "what is minimized": (
        {"metric": {"name": "val_macro_f1", "goal": "minimize"}},
        ["val_macro_f1 is to be minimized", "goal: maximize"],
    ),
    "no goal": ({"metric": {"name": "loss", "goal": "min"}}, ["goal: min"]),
    "another way to stop": ({"early_terminate": {"type": "envelope"}}, ["early_terminate: type: envelope"]),
    "no band": ({"early_terminate": {"type": "hyperband", "max_iter": 2, "s": 1}}, ["max_iter: 2 with eta: 3"]),
    "half of what a band needs": ({"early_terminate": {"type": "hyperband", "max_iter": 27}}, ["max_iter and s"]),
    "half a step": (
        {"early_terminate": {"type": "hyperband", "min_iter": 2, "eta": 1.5}},
        ["early_terminate: eta: 1.5", "integer of at least 2"],
    ),
    "a grid without end": ({"method": "grid"}, ["learning_rate", "finitely many values"]),
}
"""What is wrong -> the keys of the sweep that say so, and words of the refusal."""


@pytest.mark.parametrize("what", REFUSED)
def test_what_has_no_counterpart_is_refused_in_a_line_that_names_it(what: str, tmp_path: Path) -> None:
    wrong, words = REFUSED[what]
    with pytest.raises(UserError) as refusal:
        asked_of(sweep(tmp_path, **{"parameters": LR} | wrong))
    assert "\n" not in str(refusal.value)
    for word in words:
        assert word in str(refusal.value)


def test_a_sweep_without_a_base_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--base heartbeat/baseline"):
        tuning.load(str(sweep(tmp_path, LR)))
    with pytest.raises(UserError, match="it trains nothing"):
        asked_of(sweep(tmp_path, LR), "explore/mitdb")
    with pytest.raises(UserError, match="no such experiment"):
        asked_of(sweep(tmp_path, LR), "heartbeat/basline")
    path = tmp_path / "sweep.json"
    with pytest.raises(UserError, match="no such file"):
        asked_of(path)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="no JSON"):
        asked_of(path)
