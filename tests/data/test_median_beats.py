"""Median beats of whole recordings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cohorts
import numpy as np
import pytest

from ecglib.data import databases, infarction, median_beats, records
from ecglib.data.catalogues import ptb_xl as ptb_xl_table
from ecglib.data.recordings import TwelveLead


@pytest.fixture
def ptb_xl(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ECGLIB_DATA", str(tmp_path / "data"))
    return cohorts.ptb_xl(tmp_path / "data" / "ptb-xl", 2, 2)


def test_they_are_near_those_that_are_cut_with_the_beats(ptb_xl: Path) -> None:
    source = ptb_xl_table.read(databases.get("ptb-xl"))
    found = median_beats.of_recordings(TwelveLead(source, 500.0))
    assert found.shape == (4, 12, 101) and found.dtype == np.float64
    cohort = infarction.load(databases.get("ptb-xl"), records.LEADS)
    assert list(cohort.recordings["record"]) == [entry.record for entry in source.entries]
    for ours, theirs in zip(found, cohort.median_beats, strict=True):  # peaks lie a sample apart, as rates do
        assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.98
    assert 0.5 < np.abs(found).max() < 3, "a beat, in mV"


def test_what_can_not_be_read_or_is_not_known_is_unknown(ptb_xl: Path) -> None:
    source = ptb_xl_table.read(databases.get("ptb-xl"))
    first, second, *rest = source.entries
    cohorts.record(ptb_xl, first.record, False, leads=records.LEADS[:3])
    (ptb_xl / f"{second.record}.dat").unlink()
    found = median_beats.of_recordings(TwelveLead(replace(source, entries=(first, second, *rest)), 500.0))
    assert np.isfinite(found[0, :3]).all() and np.isnan(found[0, 3:]).all()
    assert np.isnan(found[1]).all()
    assert np.isfinite(found[2:]).all()
