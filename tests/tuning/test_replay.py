"""Early stopping replayed on trials that were run in full."""

from __future__ import annotations

import numpy as np
import pytest

from ecglib.tuning import local, replay
from ecglib.tuning.search import Trial
from ecglib.tuning.trial import Epoch


def of(*curves: list[float]) -> list[Trial]:
    best = [np.maximum.accumulate(curve).tolist() for curve in curves]
    return [
        Trial(i, {}, "finished", [Epoch(e, v, b, 1.0) for e, (v, b) in enumerate(zip(curve, highest, strict=True), 1)])
        for i, (curve, highest) in enumerate(zip(curves, best, strict=True))
    ]


def test_a_trial_goes_on_where_it_is_among_the_best_of_those_before_it() -> None:
    curves = [[0.5] * 4, [0.4] * 4, [0.6] * 4, [0.6, 0.6, 0.1, 0.1]]
    assert replay.halved(curves, grace=1, reduction=2) == [4, 1, 4, 4], "the last is as good as the third at 1 and 2"
    assert replay.halved(curves, grace=4, reduction=2) == [4] * 4, "nothing is decided after the last epoch"


def test_it_does_as_optunas_pruner() -> None:
    pytest.importorskip("optuna")
    optuna = local.library()
    random = np.random.default_rng(0)
    curves = np.maximum.accumulate(random.random((40, 12)), axis=1).tolist()
    for grace, reduction in ((1, 4), (2, 4), (1, 2), (3, 3)):
        pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=grace, reduction_factor=reduction)
        study = optuna.create_study(direction="maximize", pruner=pruner)
        run = []
        for curve in curves:
            trial = study.ask()
            for epoch, value in enumerate(curve, start=1):
                trial.report(value, epoch)
                if epoch == len(curve) or trial.should_prune():
                    break
            run.append(epoch)
            study.tell(trial, value)
        assert replay.halved(curves, grace, reduction) == run


def test_over_all_orders_the_share_and_what_became_of_the_best() -> None:
    found = replay.replayed(of([0.9] * 4, [0.1] * 4), grace=1, reduction=2)
    # The better first: it runs four epochs, the other one. The worse first: both run in full.
    assert found.trials == 2 and found.kept == 1.0
    assert found.share == pytest.approx((5 / 8 + 1) / 2, abs=0.03) and (found.low, found.high) == (5 / 8, 1.0)
    late = replay.replayed(of([0.1, 0.1, 0.1, 0.9], *[[0.5] * 4] * 9), grace=1, reduction=2)
    assert late.kept == pytest.approx(0.1, abs=0.03), "one that is slow at first goes on where it is the first"
