"""Median beats of whole recordings."""

from __future__ import annotations

from pathlib import Path

import cohorts
import numpy as np

from ecglib.data import databases, infarction, median_beats, records
from ecglib.data.catalogues import ptb_xl as ptb_xl_table
from ecglib.data.recordings import TwelveLead


def test_they_are_near_those_cut_with_the_beats_and_unknown_as_signals_are(empty: Path) -> None:
    folder = cohorts.ptb_xl(empty / "data" / "ptb-xl", 2, 2)
    source = ptb_xl_table.read(databases.get("ptb-xl"))
    found = median_beats.of_recordings(TwelveLead(source, 500.0))
    assert found.shape == (4, 12, 101) and found.dtype == np.float64
    cohort = infarction.load(databases.get("ptb-xl"), records.LEADS)
    assert list(cohort.recordings["record"]) == [entry.record for entry in source.entries]
    for ours, theirs in zip(found, cohort.median_beats, strict=True):  # peaks lie a sample apart, as rates do
        assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.98
    assert 0.5 < np.abs(found).max() < 3, "a beat, in mV"

    cohorts.record(folder, source.entries[0].record, False, leads=records.LEADS[:3])
    (folder / f"{source.entries[1].record}.dat").unlink()
    found = median_beats.of_recordings(TwelveLead(source, 500.0))
    assert np.isfinite(found[0, :3]).all() and np.isnan(found[0, 3:]).all()
    assert np.isnan(found[1]).all()
    assert np.isfinite(found[2:]).all()
