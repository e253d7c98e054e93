"""What a beat looks like beside the other beats of its record: features of rhythm and shape, and waveforms.

Everything comes from the record's signal and its R-peak positions; no symbol of any beat is read. What is usual in a
record, its template (median beat), median and ranked intervals, is taken over its beats that are not premature,
labelled or not: where most beats come early, those of all beats would be theirs. It needs the whole recording.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.ndimage import median_filter
from scipy.signal import peak_widths

from ecglib.data.records import RATE

Array = NDArray[np.float32]
Columns = dict[str, NDArray[np.floating]]

PREMATURE = 0.9
"""A beat is premature when the interval before it is shorter than this share of the record's mean one, a feature of de
Chazal et al. (2004). Where most beats are premature, pauses lengthen the mean, and a median is that of these beats."""
LOCAL, WIDE, PAST = 5, 25, 8
"""Usual intervals on either side of a beat of its local and its wide median RR, and before it of its past one."""
RECENT = 10
"""Intervals before a beat of its recent mean."""
LAGS = range(-2, 4)
"""Intervals around a beat: 0 ends with it, 1 begins with it."""
SEGMENTS = {"p": (-30, -9, 6), "qrs": (-9, 10, 3), "st": (10, 45, 3), "all": (-30, 45, 3)}
"""Parts of a beat: first and last sample from the R peak at 125 Hz, and how far they are shifted for the best match."""
QRS = 15
"""Samples on either side of the R peak that hold the QRS complex."""
BEFORE, AFTER = 50, 60
"""Samples before and from the R peak on that shape features are computed over, with room for the shifts."""
CLIP = 8.0
"""Bound of a feature relative to its record, in interquartile ranges."""


def without_baseline(signals: Array) -> Array:
    """Leads `(…, samples)` in mV at `RATE` without baseline wander, which is what two median filters of 0.2 s and 0.6 s
    leave of them (de Chazal et al. 2004, section III-A)."""

    def wander(lead: Array) -> Array:
        return np.asarray(median_filter(median_filter(lead, 25, mode="nearest"), 75, mode="nearest"))

    return np.asarray(signals - np.apply_along_axis(wander, -1, signals), dtype=np.float32)


def features(signal: Array, r_peaks_s: NDArray[np.float64]) -> Columns:
    """Features of every beat of a record: rhythm and shape, as they are and relative to the record.

    The signal `(samples,)` is one lead in mV at `RATE`, after `without_baseline`; the R peaks `(n,)` are in seconds,
    increasing. The columns `(n,)` by name are finite. Those that begin with `log_rr` are logarithms of intervals, which
    tell patients apart and don't carry over between them; those that end in `_relative` are robust z-scores within the
    record; `qrs_width` is in seconds.
    """
    usual = not_premature(r_peaks_s)
    rhythm, absolute = _rhythm(r_peaks_s, usual)
    shape = shapes(signal, r_peaks_s)
    compared = {name: column for name, column in rhythm.items() if not name.startswith("irregular")} | shape
    relative = {f"{name}_relative": _relative(column, usual) for name, column in compared.items()}
    width = _half_width(windows_of(signal[None], r_peaks_s, QRS, QRS + 1)[:, 0]) / RATE
    return absolute | rhythm | shape | relative | {"qrs_width": width} | _to_mean(r_peaks_s)


def not_premature(r_peaks_s: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether the interval before a beat is not `PREMATURE`, `(n,)`. The first beat, which ends no interval, is not.

    Normal beats are premature too by this rule where the heart is much faster than at other times of the record, or
    where pauses of blocked beats lengthen the mean.
    """
    rr = _intervals(r_peaks_s)
    return np.asarray(rr >= PREMATURE * rr.mean() if len(rr) else rr > 0)


def waveforms(signals: Array, r_peaks_s: NDArray[np.float64], before: int, after: int) -> Array:
    """Every beat, and what is left of it when the record's template is taken away: `windows_of` the leads, float32
    `(n, 2 · leads, before + after)`, first as they are, then their differences to the template."""
    beats = windows_of(signals, r_peaks_s, before, after)
    return np.concatenate([beats, beats - _template(beats, r_peaks_s)], 1, dtype=np.float32)


def windows_of(signals: Array, r_peaks_s: NDArray[np.float64], before: int, after: int) -> Array:
    """Samples of leads `(leads, samples)` at `RATE` before and from each R peak on, `(n, leads, before + after)`; R
    peaks `(n,)` are in seconds, and the ends of a lead are repeated beyond it."""
    centres = np.round(r_peaks_s * RATE).astype(np.int64)
    padded = np.pad(signals, ((0, 0), (before, after)), mode="edge")
    return np.ascontiguousarray(padded[:, centres[:, None] + np.arange(before + after)].transpose(1, 0, 2))


def _template(beats: NDArray[np.floating], r_peaks_s: NDArray[np.float64]) -> NDArray[np.floating]:
    """The median of the usual ones of a record's beats `(n, …)`."""
    return np.median(beats[not_premature(r_peaks_s)], 0) if len(beats) else np.zeros(beats.shape[1:], dtype=beats.dtype)


# --- rhythm -----------------------------------------------------------------------------------------------------------


def _rhythm(r_peaks_s: NDArray[np.float64], usual: NDArray[np.bool_]) -> tuple[Columns, Columns]:
    """Logarithms of ratios between intervals; and, apart, of intervals in seconds."""
    n, log = len(r_peaks_s), np.log(_intervals(r_peaks_s))
    kept = log[usual]
    last = (np.cumsum(usual) - 1).clip(0)  # [i]: the last usual interval up to beat i, or the first one after it
    near, far = _around(kept, LOCAL)[last], _around(kept, WIDE)[last]
    local, wide, record = np.median(near, 1), np.median(far, 1), np.median(kept) if n else 0.0
    lag = _lagged(log)
    columns: Columns = {f"rr{k:+d}_to_local": lag[k] - local for k in LAGS}
    for k in (0, 1):
        columns[f"rr{k:+d}_to_wide"] = lag[k] - wide
        columns[f"rr{k:+d}_to_record"] = lag[k] - record
        columns[f"rr{k:+d}_rank"] = _rank(lag[k], far)
        columns[f"rr{k:+d}_record_rank"] = np.searchsorted(np.sort(kept), lag[k]) / max(len(kept), 1)
    past = np.median(sliding_window_view(np.pad(kept, (PAST - 1, 0), mode="edge"), PAST), 1)[last] if n else kept
    columns |= {"previous_to_past": lag[0] - past, "next_to_past": lag[1] - past}
    columns |= {
        "previous_to_next": lag[0] - lag[1],
        "previous_to_before": lag[0] - lag[-1],
        "next_to_after": lag[1] - lag[2],
        "mean_to_local": np.log((np.exp(lag[0]) + np.exp(lag[1])) / 2) - local,
    }
    step = np.abs(np.diff(log, prepend=log[:1]))
    columns["irregularity_local"] = np.median(_around(step, 2 * LOCAL), 1)
    columns["irregularity_record"] = np.full(n, np.median(step) if n else 0.0)
    return columns, {"log_rr_previous": lag[0], "log_rr_next": lag[1], "log_rr_local": local}


def _to_mean(r_peaks_s: NDArray[np.float64]) -> Columns:
    """Logarithms of ratios: the interval before a beat, that after it, and the mean of the `RECENT` before it, to the
    record's mean, and the first two to the third. The four, not divided, are features of de Chazal et al. (2004), whose
    local mean is of ten around the beat."""
    rr = _intervals(r_peaks_s)
    lag, record = _lagged(np.log(rr)), np.log(rr.mean()) if len(rr) else 0.0
    past = np.log(sliding_window_view(np.pad(rr, (RECENT - 1, 0), mode="edge"), RECENT).mean(1)) if len(rr) else rr
    return {
        "rr+0_to_mean": lag[0] - record,
        "rr+1_to_mean": lag[1] - record,
        "recent_to_mean": past - record,
        "rr+0_to_recent": lag[0] - past,
        "rr+1_to_recent": lag[1] - past,
    }


def _intervals(r_peaks_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """RR intervals in seconds, bounded: [i] ends with beat i, `(n,)`. The first beat ends none and takes their mean."""
    rr = np.clip(np.diff(r_peaks_s), 0.2, 3.0)
    every = np.append(rr.mean() if len(rr) else 0.8, rr)[: len(r_peaks_s)]
    return np.round(every, 6)  # or equal ones differ in their last bit, and in rank


def _lagged(values: NDArray[np.floating]) -> dict[int, NDArray[np.floating]]:
    """Lag of `LAGS` -> the value so many beats later; the ends are repeated."""
    n = len(values)
    padded = np.pad(values, 3, mode="edge") if n else np.zeros(6)
    return {k: padded[3 + k : 3 + k + n] for k in LAGS}


def _around(values: NDArray[np.floating], half: int) -> NDArray[np.floating]:
    """Each value with `half` values on either side, `(n, 2 half + 1)`; the ends mirror."""
    if not len(values):
        return values[:, None]
    half = min(half, len(values) - 1)
    return sliding_window_view(np.pad(values, half, mode="reflect"), 2 * half + 1)


def _rank(values: NDArray[np.floating], others: NDArray[np.floating]) -> NDArray[np.floating]:
    """Share of the others `(n, k)` of each value `(n,)` that are smaller, ties counting half."""
    own = values[:, None]
    return np.asarray((others < own).mean(1) + 0.5 * (others == own).mean(1))


# --- shape ------------------------------------------------------------------------------------------------------------


def shapes(signal: Array, r_peaks_s: NDArray[np.float64]) -> Columns:
    """How each beat differs from its record's template, sizes in shares of the template's QRS height;
    parameters as of `features`."""
    # in double precision, as sums of single ones differ from one processor to another
    beats = windows_of(signal[None], r_peaks_s, BEFORE, AFTER)[:, 0].astype(np.float64)
    template = _template(beats, r_peaks_s)
    complex_ = slice(BEFORE - QRS, BEFORE + QRS + 1)
    qrs, qrs_template = beats[:, complex_], template[complex_]
    scale = float(np.ptp(template[BEFORE - 12 : BEFORE + 13])) + 1e-3  # 1 µV: a flat lead must not divide by zero
    columns: Columns = {}
    for name, (first, last, shifts) in SEGMENTS.items():
        part = _centred(template[BEFORE + first : BEFORE + last])
        correlation, distance = np.full(len(beats), -1.0), np.full(len(beats), np.inf)
        for shift in range(-shifts, shifts + 1):
            moved = _centred(beats[:, BEFORE + first + shift : BEFORE + last + shift])
            norm = np.sqrt((moved**2).sum(1) * (part**2).sum() + 1e-6)
            correlation = np.maximum(correlation, moved @ part / norm)
            distance = np.minimum(distance, np.abs(moved - part).mean(1) / scale)
        columns[f"{name}_correlation"] = correlation
        if name in ("p", "qrs"):
            columns[f"{name}_distance"] = np.log(distance + 0.003)
    columns["height"] = np.ptp(qrs, 1) / scale
    columns["area"] = np.log((np.abs(qrs).mean(1) + 1e-3) / (np.abs(qrs_template).mean() + 1e-3))
    columns["width"] = _width(qrs) - _width(qrs_template[None])
    steepest = np.abs(np.diff(qrs_template)).max()
    columns["steepness"] = np.log((np.abs(np.diff(qrs)).max(1) + 1e-3) / (steepest + 1e-3))
    return columns


def _centred(x: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.asarray(x - x.mean(-1, keepdims=True))


def _width(qrs: NDArray[np.floating]) -> NDArray[np.floating]:
    """Spread of a QRS complex `(n, 31)` about the R peak, in samples: the root of its second moment."""
    size = np.abs(qrs)
    return np.asarray(np.sqrt((size * (np.arange(31) - 15.0) ** 2).sum(1) / (size.sum(1) + 1e-3)))


def _half_width(qrs: Array) -> Array:
    """Width of a QRS complex `(n, samples)` at half the height of its highest or deepest point, in samples."""
    size = np.pad(np.abs(qrs.astype(np.float64)), ((0, 0), (1, 1))).ravel()  # zeros between beats end them
    peaks = np.arange(0, len(size), qrs.shape[1] + 2) + 1 + np.abs(qrs).argmax(1)
    size[peaks] += 1e-9  # mV: so that a flat one has a peak too
    return np.asarray(peak_widths(size, peaks)[0])


def _relative(column: NDArray[np.floating], usual: NDArray[np.bool_]) -> NDArray[np.floating]:
    """A third of the distance from the median of the usual beats in their interquartile ranges, 0.05 added for constant
    columns."""
    if not len(column):
        return column
    low, middle, high = np.percentile(column[usual], (25, 50, 75))
    return np.asarray(np.clip((column - middle) / (high - low + 0.05), -CLIP, CLIP) / 3)
