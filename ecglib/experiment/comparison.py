"""Two models on the same test beats: what the difference between them is worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
    return (
        a.data.test_indices_sha256 == b.data.test_indices_sha256
        and (a.data.fingerprint, a.data.n_test, a.scored, a.seeds)
        == (b.data.fingerprint, b.data.n_test, b.scored, b.seeds)
        and len(a.right) == len(b.right) == len(a.seeds)
        and set(a.by_record) == set(b.by_record) != set()
    )


@dataclass(frozen=True)
class McNemar:
    """Beats that one model alone classifies right, and McNemar's exact two-sided p, each a value a seed."""

    only_a: list[int]
    only_b: list[int]
    p: list[float]


def mcnemar(a: Record, b: Record) -> McNemar:
    """McNemar's exact test of two comparable records (McNemar 1947).

    It takes beats for independent, which those of one record are not: its p is far too small, and stands in the book
    beside the interval of `difference`, which resamples records.

    Raises
    ------
    UserError
        When the records are not comparable.
    """
    _check(a, b)
    found = McNemar([], [], [])
    for right_a, right_b in zip(a.right, b.right, strict=True):
        x, y = unpack(right_a, a.data.n_test), unpack(right_b, b.data.n_test)
        only_a, only_b = int((x & ~y).sum()), int((y & ~x).sum())
        n = only_a + only_b
        found.only_a.append(only_a)
        found.only_b.append(only_b)
        found.p.append(float(binomtest(only_a, n).pvalue) if n else 1.0)
    return found


def difference(a: Record, b: Record, metric: Metric, n_resamples: int = 1000) -> Interval:
    """A metric of `a` less that of `b`, mean over the seeds, with its interval over resampled records.

    A resample draws the same records for both models (the paired cluster bootstrap; Davison & Hinkley 1997).

    Raises
    ------
    UserError
        When the records are not comparable.
    """
    _check(a, b)
    names = sorted(a.by_record)
    both = [np.array([one.by_record[name] for name in names], dtype=np.int64).swapaxes(0, 1) for one in (a, b)]
    a_values, b_values = (metric(bootstrap.resampled(matrices, n_resamples)) for matrices in both)
    return bootstrap.interval(a_values - b_values)


def _check(a: Record, b: Record) -> None:
    if not comparable(a, b):
        raise UserError(
            f"{a.experiment or a.key} and {b.experiment or b.key}", "were not scored on the same beats", "one test set"
        )
