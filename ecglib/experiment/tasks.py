"""The kinds of experiments that there are."""

from __future__ import annotations

from typing import Any, Final

from ecglib.config import HeartbeatParameters, InfarctionParameters, TwelveLeadParameters
from ecglib.experiment import driver, heartbeat, infarction, twelve_lead
from ecglib.experiment.recipes import Trained

TASKS: Final[dict[type, driver.Task[Any, Any]]] = {
    HeartbeatParameters: heartbeat.TASK,
    InfarctionParameters: infarction.TASK,
    TwelveLeadParameters: twelve_lead.TASK,
}


def of(p: Trained) -> driver.Task[Any, Any]:
    """The task that these parameters are of."""
    return TASKS[type(p)]


def run(p: Trained, *, fresh: bool = False) -> driver.Run:
    """Train, score and record an experiment of any kind, or find the run that did (see `driver.run`)."""
    return driver.run(of(p), p, fresh=fresh)


def key_of(p: Trained) -> str:
    """The key of a run with these parameters, on this data, this code and this machine."""
    return driver.key_of(of(p), p)
