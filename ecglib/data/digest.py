"""A digest of what was cut from a database, by which it is told whether a reader or a cut still gives the same.

Numbers are compared within `TOLERANCE`, so that a digest holds on another processor; labels, names and positions are
compared exactly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

SAMPLED: Final = 6
"""Values of an array that are kept beside its norm."""
PERIOD: Final = 1_000_003
"""Values after which the wave of the projection begins anew; no multiple of a beat's or a recording's length."""
TOLERANCE: Final = 1e-9
"""Share by which numbers may differ."""

ROUNDED: Final = {"features": 1e-6}
"""Array -> the share of its norm by which numbers of it may differ in a result, where they were once computed in single
precision, whose sums differ from one processor to another."""

Digest = dict[str, str | list[float]]


def of(**arrays: NDArray[Any]) -> Digest:
    """The digest of named arrays.

    Of floats: the Euclidean norm; the sum of all values times a fixed wave of their place, by which signs and order are
    told; `SAMPLED` values, the first, the last and those evenly between; and how many are NaN, which counts as 0 in the
    others. Of any other array, the first 16 hexadecimal digits of a SHA-256 over shape and values.
    """
    return {name: _numbers(array) if array.dtype.kind == "f" else _hash(array) for name, array in arrays.items()}


def moved(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Names of the arrays in which two digests differ; of those that are `ROUNDED`, by more than this share."""
    every = {**before, **now}
    return [name for name in every if not _same(before.get(name), now.get(name), ROUNDED.get(name, 0.0))]


def _numbers(array: NDArray[Any]) -> list[float]:
    flat = array.ravel()
    missing = np.isnan(flat)
    flat = np.where(missing, 0, flat)
    places = np.linspace(0, len(flat) - 1, SAMPLED if len(flat) else 0).round().astype(np.int64)
    norm = float(np.sqrt(np.sum(np.square(flat, dtype=np.float64))))
    return [norm, projected(flat), *flat[places].astype(np.float64).tolist(), float(missing.sum())]


def projected(flat: NDArray[Any]) -> float:
    """Sum of values `(n,)` times `cos(k²)`, where k is their place, counted anew after `PERIOD`."""
    total = 0.0
    for start in range(0, len(flat), PERIOD):
        part = flat[start : start + PERIOD]
        total += float(np.dot(part.astype(np.float64), _wave()[: len(part)]))
    return total


@cache
def _wave() -> NDArray[np.float64]:
    return np.cos(np.arange(PERIOD, dtype=np.float64) ** 2)


def _hash(array: NDArray[Any]) -> str:
    if array.dtype.kind in "OU":
        values = "\n".join(map(str, array.ravel().tolist())).encode()
    else:
        values = array.astype(np.int64).tobytes()
    return hashlib.sha256(f"{array.shape} ".encode() + values).hexdigest()[:16]


def _same(a: Any, b: Any, rounded: float) -> bool:
    if isinstance(a, list) and isinstance(b, list):
        near = np.full(len(a), max(TOLERANCE, rounded))
        near[:2] *= max(1.0, rounded and a[0])  # the norm, and a sum that is as exact as the norm is large
        return len(a) == len(b) and bool(np.all(np.abs(np.subtract(a, b)) <= near + TOLERANCE * np.abs(b)))
    return bool(a == b)
