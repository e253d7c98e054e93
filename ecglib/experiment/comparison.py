"""Two models on the same test beats: what the difference between them is worth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from ecglib.errors import UserError
from ecglib.evaluation import bootstrap
from ecglib.evaluation.bootstrap import Interval
from ecglib.experiment.raw import unpack
from ecglib.experiment.record import Record

Metric = Callable[[NDArray[np.int64]], NDArray[np.float64]]
"""Confusion matrices `(..., classes, classes)` to values `(...)`."""


def comparable(a: Record, b: Record) -> bool:
    """Whether both were scored on the same beats under the same seeds."""
    of_a, of_b = (
        (one.data.test_indices_sha256, one.data.fingerprint, one.data.n_test, one.scored, one.seeds, set(one.by_record))
        for one in (a, b)
    )
    return of_a == of_b and len(a.right) == len(b.right) == len(a.seeds) and bool(a.by_record)


def mcnemar(a: Record, b: Record) -> list[float]:
    """The two-sided p of every seed by McNemar's exact test of two comparable records (McNemar 1947), which counts the
    beats that one model alone classifies right.

    It takes beats for independent, which those of one record are not: its p is far too small, and stands in the book
    beside the interval of `difference`, which resamples records. A `UserError` when the records are not comparable.
    """
    _check(a, b)
    n = a.data.n_test
    pairs = [(unpack(x, n), unpack(y, n)) for x, y in zip(a.right, b.right, strict=True)]
    apart = [(int((x & ~y).sum()), int((y & ~x).sum())) for x, y in pairs]
    return [float(binomtest(i, i + j).pvalue) if i + j else 1.0 for i, j in apart]


def difference(a: Record, b: Record, metric: Metric, n_resamples: int = 1000) -> Interval:
    """A metric of `a` less that of `b`, mean over the seeds, with its interval over resampled records.

    A resample draws the same records for both models (the paired cluster bootstrap; Davison & Hinkley 1997). A
    `UserError` when the records are not comparable.
    """
    _check(a, b)
    names = sorted(a.by_record)
    both = [np.array([one.by_record[name] for name in names], dtype=np.int64).swapaxes(0, 1) for one in (a, b)]
    a_values, b_values = (metric(bootstrap.resampled(matrices, n_resamples)) for matrices in both)
    return bootstrap.interval(a_values - b_values)


def _check(a: Record, b: Record) -> None:
    if not comparable(a, b):
        names = f"{a.experiment or a.key} and {b.experiment or b.key}"
        raise UserError(names, "were not scored on the same beats", "one test set")
