"""What parameters matter: known where the values of the trials follow from one of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ecglib.config import HeartbeatParameters, TuningParameters
from ecglib.tuning import importance, space
from ecglib.tuning.search import Search, Trial
from ecglib.tuning.trial import Epoch, Place

SPACE = {
    "learning_rate": {"log-uniform": [0.001, 0.1]},
    "batch_size": {"choice": [64, 128]},
    "model_options.width": {"int": [16, 64], "step": 16},
    "imbalance": {"choice": ["none", "focal"]},
    "focal_gamma": {"uniform": [0.5, 3], "when": {"imbalance": "focal"}},
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Search:
    pytest.importorskip("optuna")
    monkeypatch.setattr(importance, "FORESTS", 4)
    base = HeartbeatParameters()
    return Search(TuningParameters(), base, space.parsed(SPACE, base), Place("cpu", "float32"), Path())


def trials(asked: Search, n: int) -> list[Trial]:
    """As good as their learning rate is low."""
    random, made = np.random.default_rng(0), []
    for number in range(n):
        drawn = asked.space.draw(random, asked.base)
        value = 1 - drawn["learning_rate"]
        made.append(Trial(number, drawn, "finished", [Epoch(1, value, value, 1.0)]))
    return [*made, Trial(n, asked.space.draw(random, asked.base), "failed")]


def test_what_the_value_follows_from_matters_most(asked: Search) -> None:
    found = importance.of(asked, trials(asked, 50))
    assert list(found) == list(SPACE), "that which is drawn in some trials among them"
    assert found["learning_rate"]["low"] > 0.7
    for name, one in found.items():
        assert 0 <= one["low"] <= one["mean"] <= one["high"] <= 1
        assert name == "learning_rate" or one["high"] < found["learning_rate"]["low"]


def test_few_trials_say_nothing(asked: Search) -> None:
    drawn = trials(asked, 30)
    assert sum("focal_gamma" in one.drawn for one in drawn) < importance.FEWEST
    assert list(importance.of(asked, drawn)) == [name for name in SPACE if name != "focal_gamma"]
    assert importance.of(asked, trials(asked, importance.FEWEST - 1)) == {}


def test_a_base_beside_the_steps_counts_like_any_trial(asked: Search) -> None:
    drawn = trials(asked, 25)
    drawn[0].drawn["model_options.width"] = 24
    drawn[1].drawn["learning_rate"] = 0.0009999
    assert "model_options.width" in importance.of(asked, drawn)
