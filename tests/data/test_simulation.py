"""Simulated recordings: their beats lie where they say and are what they say, and which records they are made of."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ecglib import aami
from ecglib.data import beats, databases, records, simulation, sustained
from ecglib.data.records import RATE
from ecglib.data.rhythm import without_baseline

N, S, V = 0, 1, 2
HEIGHTS, WIDTHS_S = np.array([1.0, 0.7, 1.5]), np.array([0.02, 0.02, 0.04])
"""Of the R waves of N, S and V; P waves are 0.2 mV high."""
Heart = tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.int64]]


def heart(labels: NDArray[np.int64], spread: float = 0.02, coupling_s: float = 0.5) -> Heart:
    """Beats at 75 a minute, S and V `coupling_s` after the beat before, with a pause of 1 s after them."""
    intervals = np.where(labels == N, 0.8, coupling_s)
    intervals[1:][(labels[1:] == N) & (labels[:-1] != N)] = 1.0
    intervals *= np.random.default_rng(1).lognormal(0, spread, len(labels))
    peaks = np.round((0.2 + np.cumsum(intervals)) * RATE) / RATE
    time = np.arange(int((peaks[-1] + 1) * RATE) if len(peaks) else 500) / RATE
    lead = np.zeros(len(time))
    for peak, label in zip(peaks, labels, strict=True):
        lead += HEIGHTS[label] * np.exp(-(((time - peak) / WIDTHS_S[label]) ** 2))
        lead += 0.2 * (label != V) * np.exp(-(((time - peak + 0.16) / 0.03) ** 2))
    return lead.astype(np.float32), peaks, labels


def rhythm(n: int = 600, s: int = 10, v: int = 23, bigeminy: int = 0) -> NDArray[np.int64]:
    """Labels of `n` beats, every `s`-th an S and every `v`-th a V, and the first `bigeminy` in turn N and S."""
    labels = np.zeros(n, dtype=np.int64)
    for every, label in ((s, S), (v, V)):
        if every:
            labels[every - 1 :: every] = label
    labels[:bigeminy] = np.arange(bigeminy) % 2
    return labels


def kinds(made: list[simulation.Simulated]) -> set[str]:
    return {one.kind.split("-")[0] for one in made}


def test_the_seed_alone_decides() -> None:
    first, again, other = (simulation.recordings(*heart(rhythm(150, v=0)), seed) for seed in (3, 3, 4))
    assert [one.kind for one in first] == [one.kind for one in again] == [one.kind for one in other]
    for one, same in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.signal, same.signal)
        np.testing.assert_array_equal(one.r_peaks_s, same.r_peaks_s)
        np.testing.assert_array_equal(one.labels, same.labels)
    drawn = [
        pair for pair in zip(first, other, strict=True) if pair[0].kind in ("real-even", "dropped", "fibrillation")
    ]
    assert len(drawn) == 3 * simulation.COPIES
    assert not any(np.array_equal(one.r_peaks_s, two.r_peaks_s) for one, two in drawn)


def test_every_beat_lies_at_its_r_peak_and_has_the_shape_of_its_class() -> None:
    made = simulation.recordings(*heart(rhythm(bigeminy=160)), 0)
    assert {one.kind for one in made} == set(simulation.KINDS)
    for one in made:
        assert one.r_peaks_s.shape == one.labels.shape
        assert np.diff(one.r_peaks_s).min() > 0.2
        peaks = np.round(one.r_peaks_s * RATE).astype(int)
        assert peaks[0] >= 0
        assert peaks[-1] < len(one.signal)
        around = np.pad(one.signal, 10)[peaks[:, None] + np.arange(21)]
        assert np.abs(around.argmax(1) - 10).max() <= 1
        expected = HEIGHTS[np.where(one.kind.startswith("pseudo") & (one.labels == S), N, one.labels)]
        assert np.abs(around[:, 10] - expected).max() < 0.12


@pytest.mark.parametrize(("block", "run"), [(4.0, 1.0), (1.0, 1.0), (2.0, 3.0), (1.0, 5.0)])
def test_the_share_of_ectopic_beats_is_that_asked_for(block: float, run: float) -> None:
    base, draw, every = simulation._Heart(*heart(rhythm(300))), np.random.default_rng(0), (0.8, 0.5, 1.0)
    plans = [
        simulation._runs(
            base, draw, ectopic=base.s, label=S, means=every, spreads=(0.02, 0.02, 0.02), block=block, run=run
        )
        for _ in range(40)
    ]
    share = np.mean([beat.label == S for plan in plans for beat in plan])
    assert share == pytest.approx(run / (block + run), abs=0.025)


def test_simulated_s_is_premature_and_its_share_anything_between() -> None:
    base = heart(rhythm(300))
    made = [one for seed in range(4) for one in simulation.recordings(*base, seed)]
    made = [one for one in made if one.kind.startswith(("real", "pseudo"))]
    shares = [float((one.labels == S).mean()) for one in made]
    assert len(made) == 4 * 4 * simulation.COPIES
    assert 0.05 < min(shares) < 0.3 < 0.7 < max(shares) < 0.95
    for one in made:
        before, into_s = np.diff(one.r_peaks_s), one.labels[1:] == S
        assert np.median(before[into_s]) < 0.95 * np.median(before[~into_s])


def test_a_record_without_s_gives_made_up_s_alone() -> None:
    made = kinds(simulation.recordings(*heart(rhythm(300, s=0)), 0))
    assert made == {"minutes", "pseudo", "dropped", "fibrillation", "ventricular"}


def test_s_beats_that_are_not_premature_are_spliced_and_no_more() -> None:
    made = kinds(simulation.recordings(*heart(rhythm(150, v=0), coupling_s=0.8), 0))
    assert made == {"minutes", "splice", "pseudo", "dropped", "fibrillation"}


def test_an_irregular_record_is_no_base_of_sinus_rhythm() -> None:
    made = kinds(simulation.recordings(*heart(rhythm(300), spread=0.2), 0))
    assert made == {"minutes", "splice", "fibrillation", "ventricular"}


def test_short_records_give_little_or_nothing() -> None:
    for n in (0, 1, 2, 3, 5, 19):
        assert simulation.recordings(*heart(rhythm(n)), 0) == []
    assert kinds(simulation.recordings(*heart(rhythm(45)), 0)) == {"minutes"}


@pytest.mark.real
def test_the_rules_single_out_fibrillation_and_junctional_beats_in_ds1(real_mitdb: Path) -> None:
    irregular, late = set(), set()
    for name in aami.DS1:
        read = records.read_annotations(real_mitdb, name)
        classes = [aami.index_of(symbol) for symbol in read.symbols]
        samples = read.samples[[label is not None for label in classes]]
        labels = np.array([label for label in classes if label is not None])
        base = simulation._Heart(np.zeros(0, np.float32), samples / 360, labels)
        if simulation._irregular(base):
            irregular.add(name)
        if len(base.s) >= simulation.ENOUGH_ECTOPIC and not simulation._premature(base):
            late.add(name)
    assert irregular == {"201", "203"}
    assert late == {"124"}


def test_examples_carry_the_features_of_each_recording_and_are_made_once(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = replace(databases.get("mitdb"), records=("101", "106", "114"))
    examples = simulation.load(source, ["MLII"])
    assert set(np.unique(examples.record)) <= set(source.records)
    assert set(np.unique(examples.kind)) <= set(simulation.KINDS)
    assert set(np.unique(examples.labels)) <= {0, 1, 2, 3}
    signals, r_peaks, symbols, fs = beats.annotated(source.folder, "106", ["MLII"])
    labels = np.array([aami.index_of(symbol) for symbol in symbols])
    made = simulation.recordings(without_baseline(signals[0]), r_peaks / fs, labels, zlib.crc32(b"106"))
    mine = examples.of(np.array(["106"]))
    for number in (0, len(made) - 1):
        expected, _ = sustained.features(made[number].signal, made[number].r_peaks_s)
        expected = expected[made[number].labels < 4]
        np.testing.assert_array_equal(mine.features[mine.recording == number], expected)
    monkeypatch.setattr(simulation, "recordings", None)
    again = simulation.load(source, ["MLII"])
    assert all(np.array_equal(a, b) for a, b in zip(vars(again).values(), vars(examples).values(), strict=True))
