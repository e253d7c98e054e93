"""Intervals by resampling records or patients.

Beats of a record are not independent, so a resample draws whole records with replacement (the cluster bootstrap;
Davison & Hinkley 1997, section 3.8). A resample's confusion matrix is the sum of its records', so a thousand resamples
of any number of beats are one matrix product. Everywhere the set itself stands before its resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel

from ecglib.evaluation import ranking

LEVEL = 0.95


class Interval(BaseModel):
    """A metric over the seeds: mean, the 95 % interval of that mean, and each seed's value.

    `low` and `high` come from resampling records (see `interval`); None where a value is undefined.
    """

    mean: float | None = None
    low: float | None = None
    high: float | None = None
    per_seed: list[float | None] = []


def record_weights(n_records: int, n_resamples: int) -> NDArray[np.int64]:
    """How often each resample draws each record, `(1 + resamples, records)`; every row sums to `n_records`, and the
    first, of ones, is the set itself."""
    whole = np.ones((1, n_records), dtype=np.int64)
    if not n_resamples:
        return whole
    drawn = np.random.default_rng(0).multinomial(n_records, np.full(n_records, 1 / n_records), size=n_resamples)
    return np.concatenate([whole, drawn.astype(np.int64)])


def patient_weights(patients: pd.Series, n_resamples: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number of each row's patient `(n,)`, and how often each resample holds each patient `(1 + resamples, patients)`.

    A row without a patient ("") is a patient of its own.
    """
    names = [str(patient) or f"row {i}" for i, patient in enumerate(patients)]
    known, codes = np.unique(names, return_inverse=True)
    return codes.astype(np.int64), record_weights(len(known), n_resamples)


def totals(
    values: NDArray[Any], weights: NDArray[np.integer], groups: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """Sum over each resample, `(resamples, ...)`, of values `(n, ...)`.

    `weights` `(resamples, groups)` says how often each resample holds each group, `groups` `(n,)` which one each value
    belongs to; None: each is one of its own.
    """
    columns = values.astype(np.float64)
    if groups is not None:
        columns = np.zeros((weights.shape[1], *values.shape[1:]))
        np.add.at(columns, groups, values)
    step = max(1, ranking.CELLS // max(1, weights.shape[1]))
    starts = range(0, len(weights), step)
    return np.concatenate([weights[start : start + step].astype(np.float64) @ columns for start in starts])


def resampled(matrices: NDArray[np.int64], n_resamples: int) -> NDArray[np.int64]:
    """Confusion matrices `(seeds, 1 + resamples, classes, classes)` of the set and of its resamples, from those of each
    record `(seeds, records, classes, classes)`; all seeds share a resample's records."""
    weights = record_weights(matrices.shape[1], n_resamples)
    drawn: NDArray[np.int64] = np.einsum("br,srij->sbij", weights, matrices, optimize=True)
    return drawn


def intervals(found: Mapping[str, NDArray[np.float64]]) -> dict[str, Interval]:
    """The `interval` of each of several metrics."""
    return {name: interval(values) for name, values in found.items()}


def by_class(found: Mapping[str, NDArray[np.float64]], classes: Sequence[str]) -> dict[str, dict[str, Interval]]:
    """Class -> metric -> `interval`, of several metrics `(seeds, 1 + resamples, classes)`."""
    return {name: intervals({metric: of[..., i] for metric, of in found.items()}) for i, name in enumerate(classes)}


def interval(found: NDArray[np.float64]) -> Interval:
    """A metric `(seeds, 1 + resamples)` as its mean over the seeds, the central 95 % of that mean over the resamples,
    and its value under each seed; undefined values are passed over."""
    whole, drawn = found[:, 0], found[:, 1:]
    n = (~np.isnan(drawn)).sum(axis=0)
    means = np.nansum(drawn, axis=0)[n > 0] / n[n > 0]
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist() if len(means) else (None, None)
    defined = whole[~np.isnan(whole)]
    return Interval(
        mean=float(defined.mean()) if len(defined) else None,
        low=low,
        high=high,
        per_seed=[None if np.isnan(value) else float(value) for value in whole],
    )
