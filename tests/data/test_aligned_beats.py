"""Aligned beats: the beats of a cohort, R peak in its place, in mV, leads comparable."""

from __future__ import annotations

from pathlib import Path

import cohorts
import numpy as np
import pytest
from numpy.typing import NDArray

from ecglib import paths
from ecglib.data import aligned_beats, databases, infarction, records
from ecglib.data.infarction import BEFORE, Cohort
from ecglib.errors import RecordError

LEADS = ("II", "V1", "I")


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ECGLIB_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(paths, "cache", lambda: tmp_path / "cache")
    return tmp_path / "data"


def both(leads: tuple[str, ...] = LEADS, most: int | None = None) -> tuple[Cohort, Cohort]:
    """A cohort, and the same with its beats aligned."""
    source = databases.get("ptb-xl")
    cohort = infarction.limited(infarction.load(source, leads), most)
    return cohort, aligned_beats.aligned(cohort, source, leads)


def test_all_but_the_signals_stays(data: Path) -> None:
    cohorts.ptb_xl(data / "ptb-xl", 4, 4)
    cohort, found = both()
    assert found.signals.shape == (len(cohort), 3, aligned_beats.N_SAMPLES) and found.signals.dtype == np.float32
    assert {name: value for name, value in vars(found).items() if name != "signals"} == {
        name: value for name, value in vars(cohort).items() if name != "signals"
    }


def test_r_peaks_are_in_one_place_and_leads_keep_their_size(data: Path) -> None:
    cohorts.ptb_xl(data / "ptb-xl", 4, 4)
    _, found = both()
    peak = np.abs(found.signals[:, 0]).argmax(1)
    assert (np.abs(peak - BEFORE) <= 1).all()
    sizes = [1 + 0.1 * records.LEADS.index(lead) for lead in LEADS]  # as `cohorts.record` writes them
    heights = found.signals[:, :, BEFORE - 1 : BEFORE + 2].max(2)
    np.testing.assert_allclose(heights / heights[:, :1], np.tile(sizes, (len(heights), 1)) / sizes[0], rtol=0.05)
    healthy = heights[found.labels == 0, 0]
    assert 0.8 * sizes[0] < np.median(healthy) < 1.1 * sizes[0], "mV"


def test_the_median_of_a_recordings_beats_is_its_median_beat(real_ptb_xl: Path) -> None:
    """But for the beats at the ends, which only one of the two has."""
    cohort, found = both(records.LEADS, 12)
    for row, expected in enumerate(cohort.median_beats):
        median = np.median(found.signals[found.recording == row], 0)
        assert np.abs(median - expected).mean() < 0.02
        assert np.corrcoef(median.ravel(), expected.ravel())[0, 1] > 0.98


def test_they_are_read_from_the_cache_the_second_time(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cohorts.ptb_xl(data / "ptb-xl", 6, 4)
    first = both()[1]
    some = both(most=8)[1]
    monkeypatch.setattr(aligned_beats, "cut_recording", None)
    np.testing.assert_array_equal(both()[1].signals, first.signals)
    np.testing.assert_array_equal(both(most=8)[1].signals, some.signals)
    assert len(some) < len(first)


def test_other_leads_other_data_and_other_code_are_cut_anew(data: Path, code: Path) -> None:
    cohorts.ptb_xl(data / "ptb-xl", 4, 4)
    source = databases.get("ptb-xl")
    cohort = infarction.load(source, LEADS)

    def cut(*leads: str) -> NDArray[np.float32]:
        return aligned_beats.aligned(cohort, source, leads).signals

    first = cut(*LEADS)
    np.testing.assert_array_equal(cut(*reversed(LEADS)), first[:, ::-1])
    np.testing.assert_array_equal(cut("V1"), first[:, 1:2])
    stored = list((data.parent / "cache" / "beats").glob("*-aligned-*.npz"))
    with (code / "data" / "aligned_beats.py").open("a", encoding="utf-8") as module:
        module.write("\nCHANGED = True\n")
    cut(*LEADS)
    assert len(list((data.parent / "cache" / "beats").glob("*-aligned-*.npz"))) == len(stored) + 1
    cohorts.record(source.folder, cohort.recordings["record"][0], True, seed=99)
    source = databases.get("ptb-xl")
    assert (cut(*LEADS) != first).any()


def test_a_recording_that_is_gone_is_named(data: Path) -> None:
    cohorts.ptb_xl(data / "ptb-xl", 4, 4)
    source = databases.get("ptb-xl")
    cohort = infarction.load(source, LEADS)
    gone = cohort.recordings["record"][5]
    (source.folder / f"{gone}.dat").unlink()
    with pytest.raises(RecordError, match=Path(gone).name):
        aligned_beats.aligned(cohort, source, LEADS)
