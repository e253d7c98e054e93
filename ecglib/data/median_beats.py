"""Median beats of whole 12-lead recordings; those of infarctions are cut with the beats (`ecglib.data.infarction`)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ecglib.data import rhythm
from ecglib.data.detection import r_peaks
from ecglib.data.infarction import AFTER, BEFORE, RHYTHM_LEAD
from ecglib.data.recordings import Refused, TwelveLead
from ecglib.data.records import LEADS, RATE, at_rate
from ecglib.errors import RecordError

Array = NDArray[np.float64]


def of_recordings(data: TwelveLead) -> Array:
    """Median beat of every recording, `(n, 12, 101)` in mV, from 0.3 s before the R peak to 0.5 s after it at 125 Hz.

    R peaks are those of lead II, or of the first lead where that is not known. NaN where there is no R peak, and in
    leads that are not known.
    """
    return np.stack([_of_recording(data, i) for i in range(len(data))])


def _of_recording(data: TwelveLead, index: int) -> Array:
    beat = np.full((len(LEADS), BEFORE + AFTER), np.nan)
    example = data[index]
    if isinstance(example, Refused):
        return beat
    known = example.known.numpy()
    signal = at_rate(example.x.numpy(), data.rate, RATE)
    ii = LEADS.index(RHYTHM_LEAD)
    try:
        seconds = r_peaks(signal[ii if known[ii] else int(known.argmax())], RATE) / RATE
    except RecordError:
        return beat
    level = rhythm.without_baseline(signal[known])
    beat[known] = np.median(rhythm.windows_of(level, seconds, BEFORE, AFTER), 0)
    return beat
