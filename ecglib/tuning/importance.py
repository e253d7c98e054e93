"""How much each parameter of a search matters: fANOVA (Hutter, Hoos & Leyton-Brown 2014), by Optuna."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.stats import rankdata

from ecglib.tuning import local
from ecglib.tuning.search import Search, Trial
from ecglib.tuning.space import Dimension

if TYPE_CHECKING:
    import optuna

FEWEST: Final = 20
"""Trials that an importance must rest on."""
FORESTS: Final = 20


def of(search: Search, trials: list[Trial]) -> dict[str, dict[str, float]]:
    """Parameter -> the share of the variance of the trials' ranks that it explains alone: `mean`, `low` and `high` over
    forests, each of another seed and fitted to trials drawn with replacement.

    Ranks, as values of trials that were stopped at different epochs have no common scale. A parameter that was not
    drawn in every trial is taken beside those that were, over the trials that have it. One of fewer than twenty trials
    is left out.
    """
    valued = [one for one in trials if one.curve and not np.isnan(one.value)]
    always = [one for one in search.space.dimensions if all(one.name in trial.drawn for trial in valued)]
    groups = [(always, [one.name for one in always])]
    groups += [([*always, one], [one.name]) for one in search.space.dimensions if one not in always]
    found: dict[str, dict[str, float]] = {}
    for dimensions, names in groups:
        having = [trial for trial in valued if all(one.name in trial.drawn for one in dimensions)]
        if names and len(having) >= FEWEST:
            shares = _shares(dimensions, having)
            found |= {name: _summary([one.get(name, 0.0) for one in shares]) for name in names}
    return {one.name: found[one.name] for one in search.space.dimensions if one.name in found}


def _summary(shares: list[float]) -> dict[str, float]:
    found = {"mean": np.mean(shares), "low": np.min(shares), "high": np.max(shares)}
    return {name: round(float(value), 4) for name, value in found.items()}


def _shares(dimensions: list[Dimension], trials: list[Trial]) -> list[dict[str, float]]:
    """Parameter -> share, of each forest."""
    optuna = local.library()
    ranks = rankdata([trial.value for trial in trials])
    distributions = {one.name: _distribution(one) for one in dimensions}
    made = [
        optuna.trial.create_trial(
            params={one.name: _within(one, trial.drawn[one.name]) for one in dimensions},
            distributions=distributions,
            value=float(rank),
        )
        for trial, rank in zip(trials, ranks, strict=True)
    ]
    shares = []
    for seed in range(FORESTS):
        study = optuna.create_study(direction="maximize")
        study.add_trials([made[i] for i in np.random.default_rng(seed).integers(len(made), size=len(made))])
        forest = optuna.importance.FanovaImportanceEvaluator(seed=seed)
        names = list(distributions)
        shares.append(optuna.importance.get_param_importances(study, evaluator=forest, params=names, normalize=False))
    return shares


def _distribution(one: Dimension) -> optuna.distributions.BaseDistribution:
    """How it is drawn, steps aside, which the base's own value need not keep to."""
    kinds = local.library().distributions
    made: optuna.distributions.BaseDistribution
    if one.kind == "choice":
        made = kinds.CategoricalDistribution([one.encoded(value) for value in one.choices])
    elif one.whole:
        made = kinds.IntDistribution(int(one.low), int(one.high), log=one.log)
    else:
        made = kinds.FloatDistribution(one.low, one.high, log=one.log)
    return made


def _within(one: Dimension, value: Any) -> Any:
    """A value as Optuna keeps it; rounding may have put it beside the range."""
    return one.encoded(value) if one.kind == "choice" else min(max(value, one.low), one.high)
