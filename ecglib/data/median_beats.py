"""Median beats of whole 12-lead recordings; those of infarctions are cut with the beats (`ecglib.data.infarction`)."""

from __future__ import annotations

import contextlib

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
    found, ii = np.full((len(data), len(LEADS), BEFORE + AFTER), np.nan), LEADS.index(RHYTHM_LEAD)
    for i, beat in enumerate(found):
        example = data[i]
        if isinstance(example, Refused):
            continue
        known, signal = example.known.numpy(), at_rate(example.x.numpy(), data.rate, RATE)
        with contextlib.suppress(RecordError):  # no R peak
            seconds = r_peaks(signal[ii if known[ii] else int(known.argmax())], RATE) / RATE
            level = rhythm.without_baseline(signal[known])
            beat[known] = np.median(rhythm.windows_of(level, seconds, BEFORE, AFTER), 0)
    return found
