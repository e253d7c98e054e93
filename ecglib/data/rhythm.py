"""What a beat looks like beside the other beats of its record: features of rhythm and shape, and waveforms.

Everything comes from the record's signal and its R-peak positions; no symbol of any beat is read. The template (median
beat), the medians and the ranks of a record are over all its beats, labelled or not, so they need the whole recording.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from ecglib.data.records import RATE

Array = NDArray[np.float32]
Columns = dict[str, NDArray[np.floating]]

LOCAL, WIDE, PAST = 5, 25, 8
"""Intervals on either side of a beat of its local and its wide median RR, and before it of its past one."""
LAGS = range(-2, 4)
"""Intervals around a beat: 0 ends with it, 1 begins with it."""
SEGMENTS = {"p": (-30, -9, 6), "qrs": (-9, 10, 3), "st": (10, 45, 3), "all": (-30, 45, 3)}
"""Parts of a beat: first and last sample from the R peak at 125 Hz, and how far they are shifted for the best match."""
BEFORE, AFTER = 50, 60
"""Samples before and from the R peak on that shape features are computed over, with room for the shifts."""
N_SHAPES, N_FEATURES = 10, 65
"""Columns of `shapes` and of `features`."""
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
    increasing. There are `N_FEATURES` finite columns `(n,)` by name. The first three are logarithms of intervals, which
    tell patients apart and don't carry over between them; those that end in `_relative` are robust z-scores within the
    record.
    """
    rhythm, absolute = _rhythm(r_peaks_s)
    shape = shapes(signal, r_peaks_s)
    compared = {name: column for name, column in rhythm.items() if not name.startswith("irregular")} | shape
    relative = {f"{name}_relative": _relative(column) for name, column in compared.items()}
    return absolute | rhythm | shape | relative


def waveforms(signals: Array, r_peaks_s: NDArray[np.float64], before: int, after: int) -> Array:
    """Every beat, and what is left of it when the record's template is taken away: `windows_of` the leads, float32
    `(n, 2 · leads, before + after)`, first as they are, then their differences to the template."""
    beats = windows_of(signals, r_peaks_s, before, after)
    return np.concatenate([beats, beats - _median(beats)], 1, dtype=np.float32)


def windows_of(signals: Array, r_peaks_s: NDArray[np.float64], before: int, after: int) -> Array:
    """Samples of leads `(leads, samples)` at `RATE` before and from each R peak on, `(n, leads, before + after)`; R
    peaks `(n,)` are in seconds, and the ends of a lead are repeated beyond it."""
    centres = np.round(r_peaks_s * RATE).astype(np.int64)
    padded = np.pad(signals, ((0, 0), (before, after)), mode="edge")
    return np.ascontiguousarray(padded[:, centres[:, None] + np.arange(before + after)].transpose(1, 0, 2))


def _median(beats: Array) -> Array:
    return np.median(beats, 0) if len(beats) else np.zeros(beats.shape[1:], dtype=np.float32)


# --- rhythm -----------------------------------------------------------------------------------------------------------


def _rhythm(r_peaks_s: NDArray[np.float64]) -> tuple[Columns, Columns]:
    """Logarithms of ratios between intervals; and, apart, of intervals in seconds."""
    n = len(r_peaks_s)
    rr = np.round(np.clip(np.diff(r_peaks_s), 0.2, 3.0), 6)  # or equal intervals differ in their last bit, and in rank
    usual = float(np.median(rr)) if len(rr) else 0.8
    log = np.log(np.append(usual, rr))[:n]  # [i]: the interval that ends with beat i; the first has none
    local, wide = _rolling_median(log, LOCAL), _rolling_median(log, WIDE)
    padded = np.pad(log, 3, mode="edge") if n else np.zeros(6)
    lag = {k: padded[3 + k : 3 + k + n] for k in LAGS}
    columns: Columns = {f"rr{k:+d}_to_local": lag[k] - local for k in LAGS}
    for k in (0, 1):
        columns[f"rr{k:+d}_to_wide"] = lag[k] - wide
        columns[f"rr{k:+d}_to_record"] = lag[k] - np.log(usual)
        columns[f"rr{k:+d}_rank"] = _rolling_rank(lag[k], WIDE)
        columns[f"rr{k:+d}_record_rank"] = np.searchsorted(np.sort(log), lag[k]) / max(n, 1)
    past = np.median(sliding_window_view(np.pad(log, (PAST - 1, 0), mode="edge"), PAST), axis=1) if n else log
    columns |= {"previous_to_past": lag[0] - past, "next_to_past": lag[1] - past}
    columns |= {
        "previous_to_next": lag[0] - lag[1],
        "previous_to_before": lag[0] - lag[-1],
        "next_to_after": lag[1] - lag[2],
        "mean_to_local": np.log((np.exp(lag[0]) + np.exp(lag[1])) / 2) - local,
    }
    step = np.abs(np.diff(log, prepend=log[:1]))
    columns["irregularity_local"] = _rolling_median(step, 2 * LOCAL)
    columns["irregularity_record"] = np.full(n, np.median(step) if n else 0.0)
    return columns, {"log_rr_previous": lag[0], "log_rr_next": lag[1], "log_rr_local": local}


def _around(values: NDArray[np.floating], half: int) -> NDArray[np.floating]:
    """Each value with `half` values on either side, `(n, 2 half + 1)`; the ends mirror."""
    if not len(values):
        return values[:, None]
    half = min(half, len(values) - 1)
    return sliding_window_view(np.pad(values, half, mode="reflect"), 2 * half + 1)


def _rolling_median(values: NDArray[np.floating], half: int) -> NDArray[np.floating]:
    return np.asarray(np.median(_around(values, half), axis=1))


def _rolling_rank(values: NDArray[np.floating], half: int) -> NDArray[np.floating]:
    """Share of the values around that are smaller, ties counting half."""
    around, own = _around(values, half), values[:, None]
    return np.asarray((around < own).mean(1) + 0.5 * (around == own).mean(1))


# --- shape ------------------------------------------------------------------------------------------------------------


def shapes(signal: Array, r_peaks_s: NDArray[np.float64]) -> Columns:
    """How each beat differs from its record's template, sizes in shares of the template's QRS height: `N_SHAPES`
    columns, parameters as of `features`."""
    beats = windows_of(signal[None], r_peaks_s, BEFORE, AFTER)[:, 0]
    template = _median(beats)
    qrs, qrs_template = beats[:, BEFORE - 15 : BEFORE + 16], template[BEFORE - 15 : BEFORE + 16]
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


def _centred(x: Array) -> Array:
    return np.asarray(x - x.mean(-1, keepdims=True))


def _width(qrs: Array) -> Array:
    """Spread of a QRS complex `(n, 31)` about the R peak, in samples: the root of its second moment."""
    size = np.abs(qrs)
    return np.asarray(np.sqrt((size * (np.arange(31) - 15.0) ** 2).sum(1) / (size.sum(1) + 1e-3)))


def _relative(column: NDArray[np.floating]) -> NDArray[np.floating]:
    """A third of the distance from the record's median in interquartile ranges, 0.05 added for constant columns."""
    if not len(column):
        return column
    low, middle, high = np.percentile(column, (25, 50, 75))
    return np.asarray(np.clip((column - middle) / (high - low + 0.05), -CLIP, CLIP) / 3)
