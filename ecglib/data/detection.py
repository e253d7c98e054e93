"""R peaks of a lead that nobody has annotated: QRS complexes, then the R peak near each.

Complexes of pieces of ten seconds are found by GQRS of the `wfdb` package, those of whole recordings by UNSW. In such
pieces of `mitdb` (every third one) UNSW had Se 98.6 % and +P 99.3 %, GQRS 91.7 % and 97.2 %; results that are published
here rest on GQRS.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.signal import butter, filtfilt, find_peaks, resample_poly, sosfiltfilt

from ecglib.data.beats import NO_ECG
from ecglib.data.records import ONE_BEAT, RATE, Recording, at_rate
from ecglib.errors import RecordError

LOWEST_RATE = 250
"""Hz below which GQRS gets a lead at twice this rate: its filters need room."""
THRESHOLD = 0.5
"""Of GQRS, whose default is 1: in ten seconds it has no time to get used to small complexes."""
WITHIN = 0.08
"""Seconds on either side of a detection within which the R peak lies."""
SMOOTHING: Final = 0.75
"""Length of UNSW's smoothing window in seconds, times its cut-off in Hz. As published it grows with the sampling rate:
0.23 at 125 Hz, 0.67 at 360 Hz. Chosen on the 48 records of `mitdb`, of 0.55, 0.6, 0.67, 0.7, 0.75, 0.8, 0.9 and 1."""
BASELINE: Final = 0.3
"""Seconds of the running median that UNSW takes off; 0.5 as published. Chosen on these records, of 0.3, 0.5 and 0.6."""
BAND: Final = (0.7, 20.0)
"""Hz that UNSW looks at, as published. 15, 18, 22, 25 and 30 Hz were tried on these records, with muscle artefact of
`nstdb` too: a wider band finds more beats, and in the artefact more that are none."""
ENVELOPE: Final = 0.1
"""Seconds over which the height of the lead is taken, as published; 0.08 and 0.15 were tried."""
HEIGHT: Final = 0.2
"""Share of the feature's usual height by which a complex stands out, as published; 0.15 and 0.22 to 0.25 were tried."""
HEART_RATES: Final = (1.5, 4.0)
"""Bounds in Hz of the heart rate that the smoothing follows, as published."""
TOO_CLOSE: Final = (0.5, 0.4)
"""Share of the mean interval below which the weaker of two complexes must be clear, of one lead and of two; 0.5 as
published. Less finds more premature beats, and in muscle artefact more that are none. Of one lead 0.4 and 0.45 were
tried, of two 0.35, 0.45 and 0.5: by F1 of V and S with detected R peaks on DS1, by beats found and false ones on all
records of `mitdb`, without noise and with muscle artefact of `nstdb`. So were the next three constants."""
TRACE: Final = 8.0
"""A second lead counts at most for so many times what the first one shows of a complex, either as a share of what is
usual in it: what the first one shows nothing of is no beat but a disturbance. 4, 6, 12 and 16 were tried."""
ALIKE: Final = 0.3
"""Correlation of two leads' slope times height above which the second counts; 0.2 and 0.5 were tried. Whole records of
DS1 have 0.37 and more, noise has 0.02."""
STRETCH: Final = 30.0
"""Seconds over which it is taken; 10, 20 and 60 were tried."""
NEARNESS: Final = 0.02
"""Standard deviation in seconds of the Gaussian about a complex that weighs the deflections of UNSW, so that the R peak
of a wide complex isn't taken from the wave after it. Chosen on DS1 of `mitdb`, of 0.01 to 0.04 and none, by F1 of V and
S with detected R peaks."""
OTHER_SIDE: Final = 2.0
"""A complex is marked at its deflection to the usual side of a recording unless the other one is so many times larger.
Where deflections are of like size, the larger one changes from beat to beat, and with it all that is measured from it.
Chosen on DS1 of `mitdb`, of 1.2, 1.5, 2, 3 and 5, by F1 of V and S with detected R peaks."""
PART: Final = 1800.0
"""Seconds of a recording that share a threshold. With 10 s to 10 minutes, a few more beats of `mitdb` are found, and
more that are none."""
OVERLAP: Final = 10.0
"""Seconds of its neighbours that a part is looked at with."""


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
    return _highest(lead, fs, found * fs / rate)


def of_recording(recording: Recording, whole: Recording) -> NDArray[np.int64]:
    """R peaks of the first lead of a recording, by UNSW, looked for in a second lead too: its own, or else another one
    of an ECG that the `whole` has. Returns and raises as `unsw`."""
    others = [lead for name, lead in zip(whole.leads, whole.signals, strict=True)
              if name not in recording.leads and not NO_ECG.search(name)]  # fmt: skip
    other = next(iter([*recording.signals[1:], *others]), None)
    return unsw(recording.signals[0], recording.fs, recording.name, other)


def unsw(
    lead: NDArray[np.float32], fs: float, where: str | Path = "lead", other: NDArray[np.float32] | None = None
) -> NDArray[np.int64]:
    """R peaks of one lead `(samples,)` of a whole recording, in mV, of `fs` Hz; returns and raises as `r_peaks`.

    A complex is where slope times height, smoothed, stands out by a share of its usual height: by half of that share in
    an interval of 1.5 times the mean or more, by twice it where it is the weaker of two that are too close. An `other`
    lead of the recording, `(samples,)`, counts wherever it goes with the first, so that a beat is found that is small
    in the first. Near each complex, the R peak is where the lead, weighed by nearness, is farthest from its median: at
    360 Hz mostly within 2 samples of the peak. Samples of the lead that are no number, and stretches of a second and
    more of one value, have no R peak and don't count. Memory beside the leads doesn't grow with their length.

    References
    ----------
    H. Khamis et al. (2016), QRS detection algorithm for telehealth electrocardiogram recordings, IEEE Transactions on
    Biomedical Engineering 63(7):1377-1388. Here it is at 125 Hz, in parts of half an hour, without masks of artefacts.
    The published algorithm reads one lead. Of two complexes that are too close, it asks the first to stand out by twice
    the share.
    """
    leads = [lead] if other is None else [lead, other]
    ends = np.linspace(0, len(lead), max(1, round(len(lead) / (PART * fs))) + 1).astype(np.int64)
    parts, latest = list[NDArray[np.int64]](), -np.inf
    for start, end in pairwise(ends):
        first = max(0, start - round(OVERLAP * fs))
        peaks = first + _peaks_of_part([one[first : end + round(OVERLAP * fs)] for one in leads], fs)
        # a beat at the seam, which the two parts may see at different samples, is taken from the first that has it
        after = max(start - ONE_BEAT * fs, latest + ONE_BEAT * fs)
        parts.append(peaks[(peaks > after) & (peaks < end)])
        latest = parts[-1][-1] if len(parts[-1]) else latest
    found = np.concatenate(parts)
    if not len(found):
        raise RecordError(where, "no R peak", expected="a lead with beats")
    return found


def _peaks_of_part(leads: list[NDArray[np.float32]], fs: float) -> NDArray[np.int64]:
    """R peaks of the first lead by UNSW; the beats of a lead are much alike."""
    lead, *others = (_filled(one) for one in leads)
    second, known = max(1, round(fs)), np.isfinite(leads[0])
    known &= ndimage.maximum_filter1d(lead, second) > ndimage.minimum_filter1d(lead, second)
    if known.sum() <= fs:  # of less than a second, or of a line, the detector knows nothing
        return np.zeros(0, np.int64)
    steep, *more = (_steep(at_rate(one[None], fs, RATE)[0]) for one in (lead, *others))
    whole, of_two = _together(steep, *more) if more else (steep, np.zeros(len(steep), dtype=bool))
    nearest = np.round(np.arange(len(steep)) * fs / RATE).astype(np.int64).clip(0, len(lead) - 1)
    found = nearest[_complexes(whole, known[nearest], of_two)]
    peaks = _highest(np.where(known, lead, np.median(lead[known])), fs, found, of_beats=True)
    return peaks[known[peaks]]


def _filled(lead: NDArray[np.float32]) -> NDArray[np.float32]:
    """With what is no number interpolated; 0 where there is none."""
    at, known = np.arange(len(lead)), np.isfinite(lead)
    return np.interp(at, at[known], lead[known]).astype(np.float32) if known.any() else np.zeros_like(lead)


def _steep(lead: NDArray[np.float32]) -> NDArray[np.float64]:
    """Slope times height of a lead of `RATE`."""
    signal = lead.astype(np.float64)
    signal -= ndimage.median_filter(signal, round(BASELINE * RATE) | 1, mode="nearest")
    signal = sosfiltfilt(butter(7, BAND, "bandpass", fs=RATE, output="sos"), signal)
    width = round(ENVELOPE * RATE)
    height = ndimage.maximum_filter1d(signal, width) - ndimage.minimum_filter1d(signal, width)
    return np.asarray(np.abs(np.gradient(signal) * height))


def _together(first: NDArray[np.float64], second: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Slope times height of two leads, and where the second counts. Each is a share of what is usual in its complexes.
    The second counts at most for `TRACE` times the first."""
    features = [_smoothed(steep, 6) for steep in (first, second)]
    counts = _alike(*features)
    usual = [np.percentile(each[counts], 98) ** 2 if counts.any() else 0.0 for each in features]
    if min(usual) <= 0:
        return first, np.zeros_like(counts)
    here, there = (each**2 / size for each, size in zip(features, usual, strict=True))
    traced = np.minimum(TRACE * here / np.maximum(there, np.finfo(float).tiny), 1) * counts
    return (first / usual[0] + traced * second / usual[1]) / (1 + counts), counts


def _alike(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where two leads go together, stretch by stretch."""
    ends = np.linspace(0, len(first), max(1, round(len(first) / (STRETCH * RATE))) + 1).astype(np.int64)
    found = np.zeros(len(first), dtype=bool)
    for start, end in pairwise(ends):
        a, b = (each[start:end] - each[start:end].mean() for each in (first, second))
        found[start:end] = a @ b > ALIKE * np.linalg.norm(a) * np.linalg.norm(b)
    return found


def _complexes(steep: NDArray[np.float64], known: NDArray[np.bool_], of_two: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Places of QRS complexes by slope times height, where it is known; it may be that of two leads."""
    heart_rate = _strongest(_smoothed(steep, 6))
    feature = _smoothed(steep, 2 * np.clip(heart_rate, *HEART_RATES))
    longest = round(2 * RATE / np.clip(heart_rate, 1, HEART_RATES[1]))
    usual = ndimage.grey_closing(feature, longest) - ndimage.grey_opening(feature, longest)
    threshold = HEIGHT * np.median(usual[known])
    if not threshold > 0:
        return np.zeros(0, np.int64)
    places, about = find_peaks(feature, prominence=threshold / 2)
    clear = about["prominences"] / threshold
    first = places[clear > 1]
    gaps = np.diff(first, prepend=0, append=len(feature))[np.searchsorted(first, places)]
    kept = (clear > 1) | (gaps >= 1.5 * _usual_interval(first))
    places, clear = places[kept], clear[kept]
    too_close = np.where(of_two[places[1:]], TOO_CLOSE[1], TOO_CLOSE[0])
    short = np.diff(places) < too_close * _usual_interval(places)
    rises = np.diff(clear) > 0
    weaker = np.append(short & rises, False) | np.append(False, short & ~rises)
    return np.asarray(places[~weaker | (clear > 2)])


def _smoothed(steep: NDArray[np.float64], cut_off: float) -> NDArray[np.float64]:
    """Root of what is left below a cut-off frequency in Hz."""
    window = np.hamming(round(SMOOTHING / cut_off * RATE))
    return np.asarray(np.sqrt(np.abs(filtfilt(window / window.sum(), [1.0], steep))))


def _strongest(feature: NDArray[np.float64]) -> float:
    """The strongest frequency below 4 Hz, in Hz: mean of the amplitude spectra of every two seconds, each of area 1."""
    n = min(2 * RATE, len(feature))
    windows = feature[: len(feature) // n * n].reshape(-1, n)
    spectra = np.abs(np.fft.rfft(windows - windows.mean(1, keepdims=True), 32 * RATE))
    mean = (spectra / np.maximum(spectra.sum(1, keepdims=True), np.finfo(float).tiny)).mean(0)
    return float(mean[: round(32 * HEART_RATES[1])].argmax() / 32)


def _usual_interval(places: NDArray[np.int64]) -> float:
    """Mean of the intervals below 5 s, in samples; NaN where there is none."""
    intervals = np.diff(places)
    intervals = intervals[intervals < 5 * RATE]
    return float(intervals.mean()) if len(intervals) else np.nan


def _highest(
    lead: NDArray[np.float32], fs: float, found: NDArray[np.float64], *, of_beats: bool = False
) -> NDArray[np.int64]:
    """Where the lead is farthest from its median, `WITHIN` of each place that was found; with `of_beats`, weighed by
    `NEARNESS`, and on the side of the median on which most complexes are farther, but for those that are `OTHER_SIDE`
    times farther on the other."""
    near = round(WITHIN * fs)
    padded = np.pad(lead - np.median(lead), near, constant_values=0.0)
    centres = np.round(found).astype(np.int64).clip(0, len(lead) - 1)
    windows = padded[centres[:, None] + np.arange(2 * near + 1)]
    places = np.abs(windows).argmax(1)
    if of_beats and len(windows):
        windows = windows * np.exp(-0.5 * (np.arange(-near, near + 1) / (NEARNESS * fs)) ** 2)
        up, down = windows.max(1), -windows.min(1)
        upright = np.where(np.median(up - down) >= 0, down <= OTHER_SIDE * up, up > OTHER_SIDE * down)
        places = np.where(upright, windows.argmax(1), windows.argmin(1))
    return np.unique((centres - near + places).clip(0, len(lead) - 1))
