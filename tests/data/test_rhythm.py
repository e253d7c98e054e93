"""Rhythm and shape of beats beside their record: facts of a made heart, and what must not matter."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ecglib.data import rhythm
from ecglib.data.beats import RATE

Heart = tuple[NDArray[np.float32], NDArray[np.float64]]


def heart(rr_s: NDArray[np.float64], heights: NDArray[np.float64]) -> Heart:
    """A lead in mV of Gaussian P waves and QRS complexes, and its R peaks in seconds."""
    peaks = np.round((1 + np.cumsum(rr_s)) * RATE) / RATE
    time = np.arange(int((peaks[-1] + 1) * RATE)) / RATE
    lead = np.zeros(len(time))
    for peak, height in zip(peaks, heights, strict=True):
        lead += height * np.exp(-(((time - peak) / 0.02) ** 2)) + 0.2 * np.exp(-(((time - peak + 0.16) / 0.03) ** 2))
    return lead.astype(np.float32), peaks


@pytest.fixture
def premature() -> Heart:
    """Sixty beats at 75 a minute, the thirtieth 0.3 s early with a pause after it, twice as high and without noise."""
    rr, heights = np.full(60, 0.8), np.ones(60)
    rr[29], rr[30], heights[29] = 0.5, 1.1, 2.0
    return heart(rr, heights)


def test_a_premature_beat_stands_out(premature: Heart) -> None:
    found = rhythm.features(*premature)
    assert found["rr+0_to_record"][29] == pytest.approx(np.log(0.5 / 0.8), abs=0.02)
    assert found["rr+1_to_record"][29] == pytest.approx(np.log(1.1 / 0.8), abs=0.02)
    assert found["rr+0_to_local"].argmin() == 29
    assert found["height"][29] == pytest.approx(2, abs=0.1)
    assert found["height_relative"].argmax() == 29
    assert np.delete(found["qrs_correlation"], 29)[2:-2].min() > 0.99


def test_what_is_usual_is_not_what_most_beats_are() -> None:
    """Three of four beats premature, smaller, and without a P wave: features say so as if they were few."""
    rr, heights = np.full(120, 0.6), np.full(120, 0.7)
    rr[::4], heights[::4] = 1.2, 1.0
    found, ectopic = rhythm.features(*heart(rr, heights)), np.arange(120) % 4 > 0
    assert np.median(found["rr+0_to_record"][ectopic]) == pytest.approx(np.log(0.6 / 1.2), abs=0.02)
    assert np.median(found["rr+0_to_mean"][ectopic]) == pytest.approx(np.log(0.6 / 0.75), abs=0.02)
    assert found["rr+0_record_rank"][ectopic].max() == 0
    assert np.median(found["height"][ectopic]) == pytest.approx(0.7, abs=0.05)
    assert np.abs(found["rr+0_to_local"][~ectopic][1:]).max() < 0.05
    np.testing.assert_array_equal(rhythm.not_premature(np.cumsum(rr))[1:], ~ectopic[1:])


def test_the_width_is_that_at_half_height() -> None:
    signal, peaks = heart(np.full(9, 0.9), np.array([1.0, -2.0] * 4 + [0.0]))
    width = rhythm.features(signal, peaks)["qrs_width"]
    np.testing.assert_allclose(width[:-1], 2 * 0.02 * np.sqrt(np.log(2)), rtol=0.05)  # of a Gaussian


def test_neither_gain_nor_heart_rate_matters(premature: Heart) -> None:
    lead, peaks = premature
    values, shapes = rhythm.features(lead, peaks), rhythm.shapes(lead, peaks)
    louder = rhythm.features(3 * lead, peaks)
    slower = rhythm.features(np.tile(lead, 2), 1.25 * peaks - 0.25)
    for name, column in values.items():
        np.testing.assert_allclose(louder[name], column, atol=0.05)
        if name not in [*shapes, "qrs_width"] and not name.endswith("_relative") and not name.startswith("log_rr"):
            np.testing.assert_allclose(slower[name], column, atol=1e-4)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 40])
def test_few_beats_and_flat_leads_give_finite_numbers(n: int) -> None:
    peaks = 0.1 + 0.7 * np.arange(n)
    for lead in (np.zeros(4000, np.float32), np.random.default_rng(0).normal(size=4000).astype(np.float32)):
        values = np.stack(list(rhythm.features(lead, peaks).values()), 1)
        assert values.shape == (n, 71) and np.isfinite(values).all()


def test_waveforms_are_the_beat_and_its_difference_to_the_template(premature: Heart) -> None:
    lead, peaks = premature
    found = rhythm.waveforms(np.stack([lead, -lead]), peaks, 40, 60)
    assert found.shape == (60, 4, 100) and found.dtype == np.float32
    np.testing.assert_array_equal(found[10, 0], lead[round(peaks[10] * RATE) - 40 :][:100])
    np.testing.assert_array_equal(found[:, 1], -found[:, 0])
    assert np.abs(found[10, 2]).max() < 0.01
    assert found[29, 2].argmax() == 40


def test_baseline_wander_goes_and_the_beat_stays() -> None:
    lead, peaks = heart(np.full(30, 0.8), np.ones(30))
    wander = 0.5 * np.sin(2 * np.pi * 0.2 * np.arange(len(lead)) / RATE)
    clean = rhythm.without_baseline((lead + wander).astype(np.float32))
    np.testing.assert_allclose(clean[np.round(peaks * RATE).astype(int)], 1, atol=0.15)
    assert abs(float(np.median(clean))) < 0.05


def test_what_is_relative_is_bounded_and_intervals_are_seconds(premature: Heart) -> None:
    lead, peaks = premature
    lead = lead.copy()
    lead[round(peaks[20] * RATE)] = 1000
    found = rhythm.features(lead, peaks)
    np.testing.assert_allclose(np.exp(found["log_rr_previous"][1:]), np.diff(peaks), atol=1e-5)
    np.testing.assert_allclose(np.exp(found["log_rr_next"][:-1]), np.diff(peaks), atol=1e-5)
    relative = [column for name, column in found.items() if name.endswith("_relative")]
    assert np.abs(relative).max() == pytest.approx(rhythm.CLIP / 3)
