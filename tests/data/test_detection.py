"""R peaks of leads that nobody annotated: where cardiologists put them, at any rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import excerpts
import numpy as np
import pytest
from cohorts import lead_ii
from scipy.signal import resample_poly

from ecglib import aami
from ecglib.data import beats, detection, records
from ecglib.errors import RecordError
from ecglib.evaluation import matching

either = pytest.mark.parametrize("find", [detection.r_peaks, detection.unsw])
Find = Callable[..., np.ndarray]


@pytest.mark.parametrize("name", ["100", "103", "115", "122"])
@either
def test_finds_what_cardiologists_annotated(find: Find, real_mitdb: Path, name: str) -> None:
    recording = records.read_recording(real_mitdb, name, ["MLII"])
    annotations = records.read_annotations(real_mitdb, name)
    end = 120 * int(recording.fs)
    true = annotations.samples[np.isin(annotations.symbols, list("NAVL")) & (annotations.samples < end)]
    found = find(recording.signals[0, :end], recording.fs)
    near = np.abs(found[:, None] - true).min(0) / recording.fs
    assert (near < 0.05).mean() > 0.98
    assert abs(len(found) - len(true)) <= 0.02 * len(true) + 1
    assert np.median(near) < 0.01


@pytest.mark.parametrize("sick", [False, True])
@either
def test_the_rate_of_sampling_moves_no_peak(find: Find, sick: bool) -> None:
    """The R peak is the highest point, also beside a Q wave, and 100 Hz finds the beats that 500 Hz finds."""
    fine = lead_ii(sick, fs=500, seed=3)
    coarse = fine[::5]
    a = find(fine.astype(np.float32), 500) / 500
    b = find(coarse.astype(np.float32), 100) / 100
    assert len(a) == len(b) >= 11
    assert np.abs(a - b).max() <= 0.02
    assert (fine[(a * 500).astype(int)] > 0.6).all()


@either
def test_an_inverted_lead_has_its_peaks_where_the_upright_one_has_them(find: Find) -> None:
    lead = lead_ii(False, seed=1).astype(np.float32)
    np.testing.assert_array_equal(find(lead, 500), find(-lead, 500))


@pytest.mark.parametrize("lead", [np.zeros(5000), np.full(5000, 0.3), np.zeros(10), np.zeros(0)])
@either
def test_a_lead_without_beats_is_refused(find: Find, lead: np.ndarray) -> None:
    with pytest.raises(RecordError, match="17: no R peak"):
        find(lead.astype(np.float32), 500, "17")


def scored(lead: np.ndarray, true: np.ndarray, fs: float = excerpts.FS, other: np.ndarray | None = None) -> list[int]:
    """Beats found, beats missed, and peaks that are none."""
    found = matching.match(true, detection.unsw(lead, fs, other=other), fs)
    return [len(found.pairs), len(found.missed), len(found.extra)]


def of_sample(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Five minutes of MLII, or of the first lead, and the R peaks of all beats."""
    leads, true = both_of_sample(name)
    return leads[0], true


def both_of_sample(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The same with the other lead, `(2, samples)`."""
    whole = records.read_recording(excerpts.SAMPLE, name)
    annotations = records.read_annotations(excerpts.SAMPLE, name)
    first = beats.choose_leads(excerpts.SAMPLE, whole.leads, ["MLII"])[0]
    return whole.signals[[first, 1 - first]], annotations.samples[np.isin(annotations.symbols, list(aami.SYMBOLS))]


def test_whole_recordings_give_the_beats_that_they_gave() -> None:
    """The five minutes with most ectopic beats of all 48 records; 207 has flutter, which nobody counted as beats."""
    found = [scored(*of_sample(name)) for name in excerpts.RECORDS]
    assert np.sum(found, 0).tolist() == [18379, 62, 113]


def test_another_lead_shows_the_beats_that_are_small_in_the_first() -> None:
    found = [scored(lead, true, other=other) for (lead, other), true in map(both_of_sample, excerpts.RECORDS)]
    assert np.sum(found, 0).tolist() == [18421, 20, 128]


@pytest.mark.parametrize(("size", "found"), [(0.11, True), (0.0, False)])
def test_a_beat_that_is_small_in_a_lead_is_found_by_the_other_and_one_that_is_in_the_other_alone_is_not(
    size: float, found: bool
) -> None:
    """Of every sixth beat this much is left in the first lead."""
    (lead, other), true = both_of_sample("100")
    small, some = lead.copy(), true[5:-1:6]
    for at in some:
        line = np.linspace(lead[at - 60], lead[at + 60], 120)
        small[at - 60 : at + 60] = line + size * (lead[at - 60 : at + 60] - line)
    assert scored(small, true)[1] > 0.9 * len(some)
    assert scored(small, true, other=other)[1] in ((0, 1) if found else (len(some),))


SOME = ("100", "106", "203", "208")


@pytest.mark.parametrize("what", ["noise", "breath", "other heart", "spikes", "noise for half"])
def test_a_disturbed_lead_beside_it_costs_no_beat(what: str) -> None:
    draw = np.random.default_rng(0)
    for name in SOME:
        (lead, other), true = both_of_sample(name)
        n = len(lead)
        noise = draw.normal(size=n).astype(np.float32)
        disturbed = {
            "noise": noise,
            "breath": np.sin(np.arange(n) / 360 * 2 * np.pi / 4).astype(np.float32),
            "other heart": of_sample("233")[0],
            "spikes": np.where(draw.random(n) < 1e-4, np.float32(20), other),
            "noise for half": np.where(np.arange(n) < n // 2, noise, other),
        }[what]
        alone, beside = scored(lead, true), scored(lead, true, other=disturbed)
        assert sum(beside[1:]) <= sum(alone[1:]) + 1, name


@pytest.mark.parametrize("nothing", [0.0, 5.0, np.nan, np.inf])
def test_a_lead_without_anything_beside_it_changes_nothing(nothing: float) -> None:
    for name in SOME:
        lead, _ = of_sample(name)
        other = np.full_like(lead, nothing)
        np.testing.assert_array_equal(detection.unsw(lead, 360, other=other), detection.unsw(lead, 360))


@pytest.mark.parametrize(("leads", "own", "other"), [
    (("MLII", "V1"), [0], 1), (("V1", "MLII"), [1], 0), (("MLII", "ABP", "V5"), [0], 2), (("MLII",), [0], None),
    (("MLII", "MLII", "V1"), [0], 2), (("MLII", "RESP"), [0], None), (("MLII", "V1", "V5"), [0, 2], 2),
])  # fmt: skip
def test_of_the_leads_of_a_recording_the_next_one_of_an_ecg_is_the_other(
    leads: tuple[str, ...], own: list[int], other: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    signals = np.arange(len(leads) * 10, dtype=np.float32).reshape(-1, 10)
    whole = records.Recording("17", signals, 360.0, leads)
    asked: list[object] = []
    monkeypatch.setattr(detection, "unsw", lambda *arguments: asked.extend(arguments))
    detection.of_recording(replace(whole, signals=signals[own], leads=tuple(leads[i] for i in own)), whole)
    np.testing.assert_array_equal(asked[0], signals[own[0]])
    assert asked[1:3] == [360.0, "17"]
    assert (asked[3] is None) if other is None else np.array_equal(asked[3], signals[other])


@pytest.mark.parametrize("rate", [50, 100, 1000])
def test_a_whole_recording_has_its_beats_at_any_rate(rate: int) -> None:
    lead, true = of_sample("233")
    other = resample_poly(lead, rate // 10, 36)
    assert sum(scored(other, true * rate // 360, rate)[1:]) <= sum(scored(lead, true)[1:]) + 1


def test_parts_of_a_recording_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long one is read in parts: here of 7 s, so that many a beat is at a seam. Each finds a complex at its own of
    125 samples in a second, and its R peak so much aside."""
    (lead, other), _ = both_of_sample("100")
    whole = detection.unsw(lead, 360, other=other)
    monkeypatch.setattr(detection, "PART", 7.0)
    in_parts = detection.unsw(lead, 360, other=other)
    assert len(in_parts) == len(whole)
    assert np.abs(in_parts - whole).max() <= 3


@pytest.mark.parametrize("hidden", [np.nan, np.inf, 0.0])
def test_what_was_not_recorded_has_no_beat(hidden: float) -> None:
    """Two minutes of five, all beats beside them as they were."""
    lead, _ = of_sample("100")
    whole, start, end = detection.unsw(lead, 360), 100 * 360, 220 * 360
    lead[start:end] = hidden
    lead[:30] = lead[-30:] = hidden
    found = detection.unsw(lead, 360)
    assert not ((found > start + 180) & (found < end - 180)).any()
    np.testing.assert_array_equal(found[np.isfinite(lead[found])], found)
    aside = (whole < start - 180) | (whole > end + 180)
    assert np.isin(whole[aside], found).mean() > 0.99
    assert len(found) <= aside.sum() + 2


@pytest.mark.parametrize("seconds", [1.5, 3.0])
def test_few_seconds_are_enough(seconds: float) -> None:
    lead, true = of_sample("100")
    n = int(seconds * 360)
    assert scored(lead[:n], true[true < n])[1:] == [0, 0]


def test_a_clipped_lead_has_its_beats() -> None:
    lead, true = of_sample("100")
    assert sum(scored(lead.clip(-0.5, 0.3), true)[1:]) <= 2


GAP = np.full(5000, np.nan)


@pytest.mark.parametrize("lead", [GAP, GAP + np.inf, np.append(np.zeros(2000), GAP), np.arange(400)])
def test_a_recording_without_beats_is_refused(lead: np.ndarray) -> None:
    with pytest.raises(RecordError, match="17: no R peak"):
        detection.unsw(lead.astype(np.float32), 500, "17")
