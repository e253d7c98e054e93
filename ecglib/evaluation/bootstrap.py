"""Intervals by resampling records.

Beats of a record are not independent, so a resample draws whole records with replacement (the cluster bootstrap;
Davison & Hinkley 1997, section 3.8). A resample's confusion matrix is the sum of its records', so a thousand resamples
of any number of beats are one matrix product.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95


def record_weights(n_records: int, n_resamples: int, seed: int = 0) -> NDArray[np.int64]:
    """How often each resample draws each record, `(resamples, records)`; every row sums to `n_records`."""
    draw = np.random.default_rng(seed)
    return draw.multinomial(n_records, np.full(n_records, 1 / n_records), size=n_resamples).astype(np.int64)


def resampled(matrices: NDArray[np.int64], n_resamples: int, seed: int = 0) -> NDArray[np.int64]:
    """Confusion matrices of resamples.

    Parameters
    ----------
    matrices
        `(seeds, records, classes, classes)`: every seed's confusion matrix of each record.

    Returns
    -------
    `(seeds, resamples, classes, classes)`; all seeds share a resample's records.
    """
    weights = record_weights(matrices.shape[1], n_resamples, seed)
    drawn: NDArray[np.int64] = np.einsum("br,srij->sbij", weights, matrices, optimize=True)
    return drawn


def interval(values: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """The central 95 % of a metric's mean over seeds, `(seeds, resamples)`; undefined values are passed over."""
    defined = ~np.isnan(values)
    n = defined.sum(axis=0)
    mean = np.where(defined, values, 0).sum(axis=0)[n > 0] / n[n > 0]
    if not len(mean):
        return None, None
    low, high = np.quantile(mean, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
