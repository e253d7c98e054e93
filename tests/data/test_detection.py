"""R peaks of leads that nobody annotated: where cardiologists put them, at any rate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cohorts import lead_ii

from ecglib.data import detection, records
from ecglib.errors import RecordError


@pytest.mark.parametrize("name", ["100", "103", "115", "122"])
def test_finds_what_cardiologists_annotated(real_mitdb: Path, name: str) -> None:
    recording = records.read_recording(real_mitdb, name, ["MLII"])
    annotations = records.read_annotations(real_mitdb, name)
    end = 120 * int(recording.fs)
    true = annotations.samples[np.isin(annotations.symbols, list("NAVL")) & (annotations.samples < end)]
    found = detection.r_peaks(recording.signals[0, :end], recording.fs)
    near = np.abs(found[:, None] - true).min(0) / recording.fs
    assert (near < 0.05).mean() > 0.98
    assert abs(len(found) - len(true)) <= 0.02 * len(true) + 1
    assert np.median(near) < 0.01


@pytest.mark.parametrize("sick", [False, True])
def test_the_rate_of_sampling_moves_no_peak(sick: bool) -> None:
    """The R peak is the highest point, also beside a Q wave, and 100 Hz finds the beats that 500 Hz finds."""
    fine = lead_ii(sick, fs=500, seed=3)
    coarse = fine[::5]
    a = detection.r_peaks(fine.astype(np.float32), 500) / 500
    b = detection.r_peaks(coarse.astype(np.float32), 100) / 100
    assert len(a) == len(b) >= 11
    assert np.abs(a - b).max() <= 0.02
    assert (fine[(a * 500).astype(int)] > 0.6).all()


def test_an_inverted_lead_has_its_peaks_where_the_upright_one_has_them() -> None:
    lead = lead_ii(False, seed=1).astype(np.float32)
    np.testing.assert_array_equal(detection.r_peaks(lead, 500), detection.r_peaks(-lead, 500))


@pytest.mark.parametrize("lead", [np.zeros(5000), np.full(5000, 0.3), np.zeros(10), np.zeros(0)])
def test_a_lead_without_beats_is_refused(lead: np.ndarray) -> None:
    with pytest.raises(RecordError, match="17: no R peak"):
        detection.r_peaks(lead.astype(np.float32), 500, "17")
