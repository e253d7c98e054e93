"""Features for records where premature beats may be the majority: facts of made hearts, and what must not matter."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from numpy.typing import NDArray

from ecglib.data import rhythm, sustained
from ecglib.data.records import RATE

Heart = tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_]]
RARE = [0.8] * 8 + [0.5, 1.1]
"""Intervals in seconds of an ordinary record: one premature beat in ten, and a pause after it."""
SUSTAINED = [0.8] + [0.5] * 3 + [1.1] + [0.5] * 4 + [1.1]
"""Seven premature beats in ten, in runs with a pause after each."""
INNER = slice(rhythm.WIDE, -rhythm.WIDE)
"""Beats whose windows hold as many long intervals as the record: at its ends windows mirror, and no interval ends with
the first beat."""


def heart(pattern: list[float], early_p: float = 0.2) -> Heart:
    """A lead in mV of Gaussian P waves and QRS complexes over 200 beats, its R peaks in seconds, and which beats are
    premature; the P waves of those are `early_p` high, the others 0.2."""
    rng = np.random.default_rng(0)
    rr = np.tile(pattern, 20)
    premature = rr < 0.7
    peaks = np.round((1 + np.cumsum(rr + rng.uniform(-0.02, 0.02, len(rr)))) * RATE) / RATE
    time = np.arange(int((peaks[-1] + 1) * RATE)) / RATE
    lead = rng.normal(0, 0.005, len(time))
    for peak, p in zip(peaks, np.where(premature, early_p, 0.2), strict=True):
        lead += np.exp(-(((time - peak) / 0.02) ** 2)) + p * np.exp(-(((time - peak + 0.16) / 0.03) ** 2))
    return lead.astype(np.float32), peaks, premature


def column(found: tuple[NDArray[np.float32], list[str]], name: str) -> NDArray[np.float32]:
    return found[0][:, found[1].index(name)]


def test_premature_beats_are_short_whether_rare_or_the_majority() -> None:
    """One threshold serves both records, which a ratio to the median interval can't: it is 0 for what is usual."""
    hearts = [heart(RARE), heart(SUSTAINED)]
    premature = np.concatenate([h[2][INNER] for h in hearts])
    assert [h[2].mean() for h in hearts] == pytest.approx([0.1, 0.7])
    found = [sustained.features(*h[:2]) for h in hearts]
    for name in ("rr+0_to_local_long", "rr+0_to_wide_long", "rr+0_to_record_long", "rr+0_between_clusters"):
        values = np.concatenate([column(f, name)[INNER] for f in found])
        assert values[premature].max() < -0.3 < values[~premature].min(), name
    before = [rhythm.features(*h[:2]) for h in hearts]
    for name in ("rr+0_to_local", "rr+0_to_wide", "rr+0_to_record"):
        values = np.concatenate([column(f, name)[INNER] for f in before])
        assert values[premature].max() > values[~premature].min(), name
        assert abs(np.median(values[150:][premature[150:]])) < 0.05, name


def test_the_clusters_of_intervals_are_those_of_the_rhythm() -> None:
    for pattern, share in ((RARE, 0.1), (SUSTAINED, 0.7)):
        found = sustained.features(*heart(pattern)[:2])
        assert np.unique(column(found, "clusters_short_share")) == pytest.approx(share, abs=0.01)
        assert column(found, "clusters_gap")[0] > np.log(0.8 / 0.5)
        assert column(found, "short_share_local").mean() == pytest.approx(share, abs=0.02)
    even = sustained.features(*heart([0.8])[:2])
    assert column(even, "clusters_gap")[0] < 0.06


def test_a_p_wave_of_long_intervals_alone_tells_the_beats_apart() -> None:
    """The beats with a P wave are three in ten: the median of all beats lacks it, that after long intervals doesn't."""
    lead, peaks, premature = heart(SUSTAINED, early_p=0.0)
    found, of_all = sustained.features(lead, peaks), rhythm.features(lead, peaks)
    assert column(found, "p_correlation")[~premature].min() > 0.95 > column(found, "p_correlation")[premature].max()
    assert column(found, "p_distance")[premature].min() > column(found, "p_distance")[~premature].max() + 1
    assert column(of_all, "p_distance")[premature].max() < column(of_all, "p_distance")[~premature].min()


def test_p_waves_of_two_kinds_are_told_apart_and_of_one_kind_not() -> None:
    lead, peaks, premature = heart(SUSTAINED, early_p=-0.2)
    found = sustained.features(lead, peaks)
    kind = column(found, "p_long_or_short_correlation")
    assert kind[premature].max() < 0 < kind[~premature].min()
    distance = column(found, "p_long_or_short_distance")
    assert distance[~premature].max() < 0 < distance[premature].min()
    same = sustained.features(*heart(SUSTAINED)[:2])
    assert column(found, "p_contrast_correlation")[0] < 0.8 < 0.99 < column(same, "p_contrast_correlation")[0]


@pytest.mark.parametrize("pattern", [RARE, SUSTAINED])
def test_gain_clock_and_heart_rate_do_not_matter(pattern: list[float]) -> None:
    lead, peaks, _ = heart(pattern, early_p=-0.1)
    values, names = sustained.features(lead, peaks)
    louder, _ = sustained.features(3 * lead, peaks)
    np.testing.assert_allclose(louder, values, atol=0.05)
    later, _ = sustained.features(np.pad(lead, (3 * RATE, 0), mode="edge"), peaks + 3)
    np.testing.assert_allclose(later, values, atol=1e-5)
    slower, _ = sustained.features(np.tile(lead, 2), 1.25 * peaks)
    rhythmic = [i for i, name in enumerate(names) if not name.startswith(("p_", *rhythm.SHAPES))]
    assert len(rhythmic) == 32
    np.testing.assert_allclose(slower[:, rhythmic], values[:, rhythmic], atol=1e-5)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5, 40])
def test_few_beats_flat_leads_and_edges_give_finite_numbers(n: int) -> None:
    noise = np.random.default_rng(0).normal(size=4000).astype(np.float32)
    edges = np.linspace(0, 3999 / RATE, n)  # from the first sample to the last
    for lead in (np.zeros(4000, np.float32), noise):
        for peaks in (edges, 0.1 + 0.05 * np.arange(n, dtype=np.float64), 1 + np.cumsum(SUSTAINED * 4)[:n]):
            values, names = sustained.features(lead, peaks)
            assert values.shape == (n, sustained.N_FEATURES)
            assert len(set(names)) == sustained.N_FEATURES
            assert values.dtype == np.float32
            assert np.isfinite(values).all()


def test_no_label_can_enter() -> None:
    assert list(inspect.signature(sustained.features).parameters) == ["signal", "r_peaks_s"]


def test_what_is_compared_with_the_reference_beats_is_bounded() -> None:
    lead, peaks, _ = heart(SUSTAINED)
    lead[round(peaks[20] * RATE)] = 1000
    values, names = sustained.features(lead, peaks)
    compared = values[:, [i for i, name in enumerate(names) if name.endswith("_to_reference")]]
    assert np.abs(compared).max() == pytest.approx(rhythm.CLIP / 3)
