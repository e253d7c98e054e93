"""What can be drawn, and what is refused before anything starts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecglib import config, tuning
from ecglib.config import HeartbeatParameters
from ecglib.errors import UserError
from ecglib.experiment import heartbeat
from ecglib.tuning import search
from ecglib.tuning import space as spaces

BASE = HeartbeatParameters(experiment="heartbeat/baseline", test=False)
WRITTEN: dict[str, Any] = {
    "learning_rate": {"log-uniform": [0.0003, 0.03]},
    "label_smoothing": {"uniform": [0, 0.1], "step": 0.03, "when": {"imbalance": ["none", "weighted"]}},
    "batch_size": {"choice": [64, 128]},
    "model_options.width": {"int": [16, 64], "step": 8},
    "focal_gamma": {"uniform": [0.5, 4], "when": {"imbalance": "focal"}},
    "imbalance": {"choice": ["none", "weighted", "focal"]},
}


def build(p: Any) -> object:
    return heartbeat.model_maker(p)()


def test_every_draw_lies_in_the_space_and_is_taken() -> None:
    space, random = spaces.parsed(WRITTEN, BASE), np.random.default_rng(1)
    draws = [space.draw(random, BASE) for _ in range(300)]
    for drawn in draws:
        assert all(space[name].holds(value) for name, value in drawn.items())
        assert ("focal_gamma" in drawn) == (drawn["imbalance"] == "focal") == ("label_smoothing" not in drawn)
        p = spaces.applied(BASE, drawn)
        assert {name: spaces.value_of(p, name) for name in drawn} == drawn
    assert {drawn["model_options.width"] for drawn in draws} == set(range(16, 65, 8))
    assert {drawn.get("label_smoothing") for drawn in draws} == {None, 0.0, 0.03, 0.06, 0.09}
    logs = np.log10([drawn["learning_rate"] for drawn in draws])
    assert abs(logs.mean() - math.log10(0.003)) < 0.1, "evenly in the logarithm"
    space.check(BASE, build)


def test_a_grid_has_each_set_of_parameters_once() -> None:
    rates, gammas = {"choice": [0.001, 0.01]}, WRITTEN["focal_gamma"] | {"step": 3.5}
    written = WRITTEN | {"learning_rate": rates, "focal_gamma": gammas}
    space = spaces.parsed(written, BASE)
    # 2 rates, 2 batches, 7 widths; with none and weighted 4 smoothings each, with focal 2 gammas
    assert len(space.grid(BASE)) == 2 * 2 * 7 * (4 + 4 + 2)
    with pytest.raises(UserError, match="space: learning_rate: log-uniform without a step"):
        spaces.parsed(WRITTEN, BASE).grid(BASE)
    with pytest.raises(UserError, match="searcher: grid: 1e\\+09 points"):
        spaces.parsed({"batch_size": {"int": [2, 1_000_000_001]}}, BASE).grid(BASE)


@settings(max_examples=60)
@given(st.floats(1e-6, 1e3), st.floats(1.001, 1e4), st.booleans(), st.integers(0, 99))
def test_ranges_hold_what_is_drawn(low: float, ratio: float, log: bool, seed: int) -> None:
    kind = "log-uniform" if log else "uniform"
    one = spaces.Dimension("learning_rate", kind, low, low * ratio)
    value = one.draw(np.random.default_rng(seed))
    assert value == one.value(value), "a file holds it as it was"
    assert low * (1 - 1e-3) <= value <= low * ratio * (1 + 1e-3)


def test_an_option_s_default_is_the_base_s_value() -> None:
    assert spaces.value_of(BASE, "model_options.width") == 32
    assert spaces.value_of(BASE.model_copy(update={"model_options": {"width": 16}}), "model_options.width") == 16


def test_options_go_with_the_network_that_they_are_of() -> None:
    base = BASE.model_copy(update={"model_options": {"width": 16}})
    assert spaces.applied(base, {"model": "bigru", "model_options.hidden": 64}).model_options == {"hidden": 64}
    assert spaces.applied(base, {"batch_size": 64}).model_options == {"width": 16}


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "space: it is empty"),
    ({"learning_rat": {"uniform": [0, 1]}}, "learning_rat: no such parameter; .* did you mean learning_rate"),
    ({"seeds": {"choice": [[0], [1]]}}, "seeds: can't be searched"),
    ({"test": {"choice": [True, False]}}, "test: can't be searched"),
    ({"model_options.widht": {"int": [1, 3]}}, "no such option of the model; .*did you mean width"),
    ({"max_epochs": {"int": [1, 9]}}, "max_epochs: can't be searched"),
    ({"learning_rate": [0.1, 0.2]}, "how it is drawn"),
    ({"learning_rate": {"unifrom": [0, 1]}}, "unknown unifrom; .* did you mean uniform"),
    ({"learning_rate": {"uniform": [0, 1], "choice": [1]}}, "one of them"),
    ({"learning_rate": {"when": {"imbalance": "none"}}}, "one of them"),
    ({"learning_rate": {"log-uniform": [0.03, 0.003]}}, "the lower one first"),
    ({"learning_rate": {"log-uniform": [0, 0.003]}}, "numbers above 0"),
    ({"learning_rate": {"log-uniform": ["1e-3", 1]}}, "write 0.001, not 1e-3"),
    ({"learning_rate": {"log-uniform": [0.1]}}, "two numbers"),
    ({"learning_rate": {"uniform": [0.1, float("nan")]}}, "two numbers"),
    ({"batch_size": {"int": [32.5, 64]}}, "integers"),
    ({"batch_size": {"int": [32, 64], "step": 64}}, "step: 64"),
    ({"batch_size": {"int": [32, 64], "step": 0.5}}, "step: 0.5"),
    ({"batch_size": {"choice": []}}, "a list of values"),
    ({"batch_size": {"choice": [64, 64]}}, "twice"),
    ({"batch_size": {"choice": [64], "step": 2}}, "no step"),
    ({"focal_gamma": {"uniform": [1, 2], "when": "focal"}}, "another parameter and its value"),
    ({"focal_gamma": {"uniform": [1, 2], "when": {"imbalanc": "focal"}}}, "no such parameter"),
    (
        {
            "focal_gamma": {"uniform": [1, 2], "when": {"batch_size": 64}},
            "batch_size": {"choice": [64, 128], "when": {"focal_gamma": 1.0}},
        },
        "waits for itself",
    ),
]
"""Written space -> what is said of it."""


@pytest.mark.parametrize(("written", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_what_can_t_be_read_is_refused_in_a_line(written: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        spaces.parsed(written, BASE)
    assert "\n" not in str(caught.value)


UNFIT: list[tuple[dict[str, Any], str]] = [
    ({"learning_rate": {"uniform": [-1, 1]}}, "learning_rate"),
    ({"batch_size": {"choice": [64, "many"]}}, "space: batch_size: batch_size many"),
    ({"model": {"choice": ["cnet", "crnn"]}}, "model crnn"),
    ({"model_options.kernel": {"int": [3, 6]}}, "odd number"),
    ({"focal_gamma": {"uniform": [1, 2]}}, "focal_gamma"),
    ({"focal_gamma": {"uniform": [1, 2], "when": {"imbalance": "focal"}}}, "its when never holds"),
]
"""Written space -> what is said where one of its draws would be refused."""


@pytest.mark.parametrize(("written", "said"), UNFIT, ids=[said for _, said in UNFIT])
def test_a_space_with_a_draw_that_would_be_refused_is_refused(written: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        spaces.parsed(written, BASE).check(BASE, build)


def test_every_ready_space_is_sound() -> None:
    names = [name for name in config.experiments() if name.startswith("tuning/")]
    assert names
    for name in names:
        for profile in ("quick", "full"):
            asked = tuning.load(name, profile=profile)
            base = search.base_of(asked)
            space = spaces.parsed(asked.space, base)
            for drawn in (space.draw(np.random.default_rng(seed), base) for seed in range(20)):
                assert not spaces.applied(base, drawn).test
