"""What early stopping would have made of trials that were run in full."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from ecglib.tuning.search import Trial

ORDERS: Final = 1000
"""Orders in which the trials are replayed: what halving stops depends on what came before."""


class Replayed(NamedTuple):
    """What halving would have done with trials, over orders of these."""

    trials: int
    share: float
    """Of the epochs of all in full, those that would have been run: the mean."""
    low: float
    high: float
    """The 2.5th and the 97.5th percentile of that share."""
    kept: float
    """Share of the orders in which the best trial would have been run in full."""


def halved(curves: Sequence[Sequence[float]], grace: int, reduction: int) -> list[int]:
    """How many epochs each of the curves would have run under asynchronous successive halving (Li et al. 2020), one
    after the other.

    A curve is the best validation metric so far after each epoch. After `grace` epochs, and after `reduction` times as
    many as before, a trial goes on where it is among the best one of `reduction` of those that came so far, itself
    among them; of fewer than that, where it is the best. As Optuna's pruner has it, which must be asked within a study.
    """
    rungs: dict[int, list[float]] = {}
    run = []
    for curve in curves:
        at, ends = grace, len(curve)
        while at < ends:
            value, known = curve[at - 1], rungs.setdefault(at, [])
            known.append(value)
            if value < sorted(known, reverse=True)[max(len(known) // reduction, 1) - 1]:
                ends = at
            at *= reduction
        run.append(ends)
    return run


def replayed(trials: Sequence[Trial], grace: int, reduction: int) -> Replayed:
    """Halving of trials that were all run in full, in a thousand orders."""
    curves = [[epoch.best for epoch in one.curve] for one in trials]
    best = max(range(len(curves)), key=lambda i: curves[i][-1])
    random, full = np.random.default_rng(0), sum(map(len, curves))
    shares, kept = [], 0
    for _ in range(ORDERS):
        order = random.permutation(len(curves)).tolist()
        run = halved([curves[i] for i in order], grace, reduction)
        shares.append(sum(run) / full)
        kept += run[order.index(best)] == len(curves[best])
    low, high = np.quantile(shares, [0.025, 0.975]).tolist()
    return Replayed(len(curves), float(np.mean(shares)), low, high, kept / ORDERS)
