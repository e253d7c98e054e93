"""Digests of what was cut: what they tell apart, and what not."""

from __future__ import annotations

import numpy as np
import pytest

from ecglib.data import digest

VALUES = np.random.default_rng(0).normal(0, 3, (2000, 40)).astype(np.float32)


def of(name: str, values: np.ndarray) -> digest.Digest:
    return digest.of(**{name: values})


def test_rounding_in_single_precision_moves_signals_but_no_features() -> None:
    rounded = np.nextafter(VALUES, np.float32(9))
    assert digest.moved(of("signals", VALUES), of("signals", rounded)) == ["signals"]
    assert digest.moved(of("features", VALUES), of("features", rounded)) == []


@pytest.mark.parametrize("change", ["a column", "one value", "two rows", "a missing value"])
def test_a_change_of_features_is_told(change: str) -> None:
    other = VALUES.copy()
    if change == "a column":
        other[:, 3] *= 1.0001
    elif change == "one value":
        other[7, 5] += 0.01
    elif change == "two rows":
        other[[3, 900]] = other[[900, 3]]
    else:
        other[11, 2] = np.nan
    assert digest.moved(of("features", VALUES), of("features", other)) == ["features"]
