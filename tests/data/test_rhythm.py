"""Rhythm and shape of beats beside their record: facts of a made heart, and what must not matter."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ecglib.data import rhythm
from ecglib.data.beats import RATE


def heart(rr_s: NDArray[np.float64], heights: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """A lead in mV of Gaussian P waves and QRS complexes, and its R peaks in seconds."""
    peaks = np.round((1 + np.cumsum(rr_s)) * RATE) / RATE
    time = np.arange(int((peaks[-1] + 1) * RATE)) / RATE
    lead = np.zeros(len(time))
    for peak, height in zip(peaks, heights, strict=True):
        lead += height * np.exp(-(((time - peak) / 0.02) ** 2)) + 0.2 * np.exp(-(((time - peak + 0.16) / 0.03) ** 2))
    return lead.astype(np.float32), peaks


@pytest.fixture
def premature() -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Sixty beats at 75 a minute, the thirtieth 0.3 s early with a pause after it, twice as high and without noise."""
    rr, heights = np.full(60, 0.8), np.ones(60)
    rr[29], rr[30], heights[29] = 0.5, 1.1, 2.0
    return heart(rr, heights)


def column(found: tuple[NDArray[np.float32], list[str]], name: str) -> NDArray[np.float32]:
    return found[0][:, found[1].index(name)]


def test_a_premature_beat_stands_out(premature: tuple[NDArray[np.float32], NDArray[np.float64]]) -> None:
    found = rhythm.features(*premature)
    assert column(found, "rr+0_to_record")[29] == pytest.approx(np.log(0.5 / 0.8), abs=0.02)
    assert column(found, "rr+1_to_record")[29] == pytest.approx(np.log(1.1 / 0.8), abs=0.02)
    assert column(found, "rr+0_to_local").argmin() == 29
    assert column(found, "height")[29] == pytest.approx(2, abs=0.1)
    assert column(found, "height_relative").argmax() == 29
    others = np.delete(column(found, "qrs_correlation"), 29)
    assert others[2:-2].min() > 0.99


def test_neither_gain_nor_heart_rate_matters(premature: tuple[NDArray[np.float32], NDArray[np.float64]]) -> None:
    lead, peaks = premature
    values, names = rhythm.features(lead, peaks)
    louder, _ = rhythm.features(3 * lead, peaks)
    np.testing.assert_allclose(louder, values, atol=0.05)
    rhythmic = [i for i, name in enumerate(names) if not any(shape in name for shape in rhythm.SHAPES)]
    slower, _ = rhythm.features(np.tile(lead, 2), 1.25 * peaks - 0.25)
    in_time = [i for i in rhythmic if "relative" not in names[i]]
    np.testing.assert_allclose(slower[:, in_time], values[:, in_time], atol=1e-4)


@pytest.mark.parametrize("heart_rate", [False, True])
@pytest.mark.parametrize("n", [0, 1, 2, 3, 40])
def test_few_beats_and_flat_leads_give_finite_numbers(n: int, heart_rate: bool) -> None:
    peaks = 0.1 + 0.7 * np.arange(n)
    for lead in (np.zeros(4000, np.float32), np.random.default_rng(0).normal(size=4000).astype(np.float32)):
        values, names = rhythm.features(lead, peaks, heart_rate=heart_rate)
        assert values.shape == (n, len(names))
        assert values.dtype == np.float32
        assert np.isfinite(values).all()
        assert len(set(names)) == len(names)


def test_waveforms_are_the_beat_and_its_difference_to_the_template(
    premature: tuple[NDArray[np.float32], NDArray[np.float64]],
) -> None:
    lead, peaks = premature
    found = rhythm.waveforms(np.stack([lead, -lead]), peaks, 40, 60)
    assert found.shape == (60, 4, 100)
    np.testing.assert_array_equal(found[10, 0], lead[round(peaks[10] * RATE) - 40 :][:100])
    np.testing.assert_array_equal(found[:, 1], -found[:, 0])
    assert np.abs(found[10, 2]).max() < 0.01
    assert found[29, 2].argmax() == 40


def test_baseline_wander_goes_and_the_beat_stays() -> None:
    lead, peaks = heart(np.full(30, 0.8), np.ones(30))
    time = np.arange(len(lead)) / RATE
    clean = rhythm.without_baseline((lead + 0.5 * np.sin(2 * np.pi * 0.2 * time)).astype(np.float32))
    at_peaks = clean[np.round(peaks * RATE).astype(int)]
    np.testing.assert_allclose(at_peaks, 1, atol=0.15)
    assert abs(float(np.median(clean))) < 0.05


def test_columns_are_as_many_as_stated_and_heart_rate_comes_first(
    premature: tuple[NDArray[np.float32], NDArray[np.float64]],
) -> None:
    values, names = rhythm.features(*premature, heart_rate=True)
    without, rest = rhythm.features(*premature)
    assert len(names) == rhythm.N_FEATURES
    assert names[:3] == ["log_rr_previous", "log_rr_next", "log_rr_local"]
    assert names[3:] == rest
    np.testing.assert_array_equal(values[:, 3:], without)
    np.testing.assert_allclose(np.exp(values[1:, 0]), np.diff(premature[1]), atol=1e-5)
    np.testing.assert_allclose(np.exp(values[:-1, 1]), np.diff(premature[1]), atol=1e-5)


def test_shapes_are_those_columns_of_the_features(premature: tuple[NDArray[np.float32], NDArray[np.float64]]) -> None:
    found = rhythm.features(*premature)
    expected = np.stack([column(found, name) for name in rhythm.SHAPES], 1)
    np.testing.assert_array_equal(rhythm.shapes(*premature), expected)


def test_what_is_relative_is_bounded(premature: tuple[NDArray[np.float32], NDArray[np.float64]]) -> None:
    lead, peaks = premature
    lead = lead.copy()
    lead[round(peaks[20] * RATE)] = 1000
    values, names = rhythm.features(lead, peaks)
    relative = values[:, [i for i, name in enumerate(names) if name.endswith("_relative")]]
    assert np.abs(relative).max() == pytest.approx(rhythm.CLIP / 3)
