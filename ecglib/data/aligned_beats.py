"""The beats of a cohort once more, aligned at their R peaks and in mV.

The cut of `ecglib.data.infarction` scales every lead of every beat to 0..1, as Kachuee et al. (2018) do. That hides how
large a Q wave or a raised ST segment is, and how a lead compares with the next. Here beats keep both, and the window
is that of the median beat.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ecglib import fingerprint, paths
from ecglib.data import beats, rhythm
from ecglib.data.databases import Source
from ecglib.data.infarction import AFTER, BEFORE, Cohort
from ecglib.data.records import RATE, at_rate, read_recording

N_SAMPLES = BEFORE + AFTER
"""Samples of an aligned beat, at 125 Hz."""


def aligned(cohort: Cohort, source: Source, leads: Sequence[str]) -> Cohort:
    """The same beats from 0.3 s before the R peak to 0.5 s after it, without baseline wander: `signals` is then float32
    `(n, leads, 101)` in mV. They come from the cache where they were cut before.

    Parameters
    ----------
    cohort
        Of recordings, not of the Kaggle set's bare beats.
    source
        The database that it is of.
    leads
        Leads by name, upper or lower case.

    Raises
    ------
    RecordError
        When a recording can't be read any more.
    """
    code = fingerprint.of_code(beats.CODE)
    which = [cohort.recordings["record"].tolist(), cohort.sample.tolist()]
    key = fingerprint.of_values(source.fingerprint(), list(leads), code, which)[:16]
    path = paths.cache() / "beats" / f"{source.name}-aligned-{key}.npz"
    if not path.is_file():

        def of_row(row: int) -> NDArray[np.float32]:
            return cut_recording(
                source, cohort.recordings["record"][row], leads, cohort.sample[cohort.recording == row]
            )

        with ThreadPoolExecutor(2) as pool:
            beats.store(path, {"signals": np.concatenate(list(pool.map(of_row, range(len(cohort.recordings)))))})
    with np.load(path, allow_pickle=False) as stored:
        return replace(cohort, signals=stored["signals"])


def cut_recording(source: Source, name: str, leads: Sequence[str], r_peaks: NDArray[np.int64]) -> NDArray[np.float32]:
    """Beats `(n, leads, 101)` of one recording, at R peaks in its own samples."""
    recording = read_recording(source.folder, name, leads)
    seconds = r_peaks / recording.fs
    level = [rhythm.without_baseline(lead) for lead in at_rate(recording.signals, recording.fs, RATE)]
    return np.stack([rhythm.windows_of(lead, seconds, BEFORE, AFTER) for lead in level], 1)
