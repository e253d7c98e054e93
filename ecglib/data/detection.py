"""R peaks of a lead that nobody has annotated: QRS complexes by GQRS of the `wfdb` package, then the peak of each."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from ecglib.errors import RecordError

LOWEST_RATE = 250
"""Hz below which a lead is brought to twice this rate first: the detector's filters need room."""
THRESHOLD = 0.5
"""Of the detector, whose default is 1: in ten seconds it has no time to get used to small complexes."""
WITHIN = 0.08
"""Seconds on either side of a detection within which the R peak lies."""


def r_peaks(lead: NDArray[np.float32], fs: float, where: str | Path = "lead") -> NDArray[np.int64]:
    """R peaks of one lead `(samples,)` in mV, of `fs` Hz: where it is farthest from its median, near each QRS complex.

    Returns int64 `(n,)`, positions in samples, increasing, one or more. A `RecordError` about `where`, with the reason
    `no R peak`, when none is found.

    References
    ----------
    G. B. Moody: GQRS, in: WFDB Software Package, doi:10.13026/gjvw-1m31. In Python by C. Xie et al.,
    doi:10.13026/9njx-6322
    """
    from wfdb import processing

    signal, rate = lead.astype(np.float64), float(fs)
    if fs < LOWEST_RATE:
        ratio = Fraction(2 * LOWEST_RATE / fs).limit_denominator(1000)
        signal, rate = resample_poly(signal, ratio.numerator, ratio.denominator, padtype="line"), 2.0 * LOWEST_RATE
    found = np.zeros(0)
    if len(signal) > rate and np.ptp(signal) > 0:  # of less than a second, or of a line, the detector knows nothing
        found = np.asarray(processing.gqrs_detect(signal, fs=rate, threshold=THRESHOLD), dtype=np.float64)
    if not len(found):
        raise RecordError(where, "no R peak", expected="a lead with beats")
    near = round(WITHIN * fs)
    height = np.abs(np.pad(lead - np.median(lead), near, constant_values=0.0))
    centres = np.round(found * fs / rate).astype(np.int64).clip(0, len(lead) - 1)
    windows = height[centres[:, None] + np.arange(2 * near + 1)]
    return np.unique((centres - near + windows.argmax(1)).clip(0, len(lead) - 1))
