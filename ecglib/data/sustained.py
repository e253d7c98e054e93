"""Features of beats that hold whether supraventricular ectopic beats are rare in a record or its majority.

`ecglib.data.rhythm` measures against medians of a record, and once most of its beats are premature those are the usual
ones. Here rhythm is measured against the *long* intervals around a beat, and shape against the beats that end a long
interval: those are sinus beats as long as these are a quarter of the beats around. Everything comes from one lead and
its R-peak positions; no symbol of any beat is read. Quantiles and templates are over all beats, so they need the whole
recording.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ecglib.data.rhythm import AFTER, BEFORE, CLIP, SEGMENTS, WIDE, Array, Columns, _around, _centred, _width, _windows

N_FEATURES = 52
"""Columns of `features`."""
LOCAL, REFERENCE, PATCH = 10, 30, 15
"""Intervals on either side of a beat of its local quantiles, of the choice of reference beats, of a local spread."""
LONG, LONGEST = 75, 90
"""Percentiles of the intervals around a beat that stand for its long and its longest ones."""
ALIKE, SAME_QRS = 0.8, 0.85
"""Correlation of a QRS with the template's from which it counts as of the reference beats' kind, or as a sinus one."""
ENOUGH = 5
"""Fewest beats that a refined or a second template, or the quartiles of the reference beats, are taken of."""
CONTRAST_SHIFT = 2
"""Samples that a P wave is shifted for the best match when two templates compete: more would let either fit."""
SMALLEST = 0.04
"""Least share of the intervals in either cluster."""


def features(signal: Array, r_peaks_s: NDArray[np.float64]) -> tuple[Array, list[str]]:
    """Features of every beat of a record: 32 of rhythm, 8 of shape, 4 of its P waves, and 8 of shape as z-scores.

    Parameters
    ----------
    signal
        `(samples,)`: one lead in mV at `RATE`, after `rhythm.without_baseline`.
    r_peaks_s
        `(n,)`: R peaks in seconds, increasing.

    Returns
    -------
    float32 `(n, 52)`, finite, and the names of its columns. `rr+0` is the interval that ends with the beat, `rr+1` the
    one that begins with it; all ratios are logarithms.

    - `rr…_to_local_long`, `…_local_longest`, `…_wide_long`, `…_wide_longest`, `…_record_long`, `mean_to_local_long`:
      ratios to the 75th (`long`) or 90th (`longest`) percentile of the 21 (`local`) or 51 (`wide`) intervals around
      the beat, or of the record; `mean` is of the two intervals beside the beat.
    - `rr+0_to_longest_of_7`, `…_longest_of_11`, `…_shortest_of_7`: ratios to the extremes around.
    - `previous_to_next`, `previous_to_before`, `previous_to_second_before`, `next_to_after`: ratios between neighbours.
    - `irregularity_local`, `irregularity_record`: median change from an interval to the next.
    - `rr…_between_clusters`, `clusters_…`, `short_share_local`: the intervals in two clusters, short and long (Otsu
      1979): where between them the beat lies; how far apart they are, the share of short intervals, the share of the
      variance explained, and what is left (`residual`), in the record and around the beat.
    - `p_…`, `qrs_…`, `height`, `area`, `width`, `steepness`: shape against the template of the reference beats, those
      that end a long interval; `…_to_reference` are robust z-scores within the reference beats.
    - `p_long_or_short_…`: whether the beat's P wave is more like those after long intervals (correlation above 0,
      distance below 0) or after short ones. `p_contrast_…`: how alike these two are, the same for the whole record.

    References
    ----------
    N. Otsu: A Threshold Selection Method from Gray-Level Histograms. IEEE Trans. SMC 9(1), 1979.
    """
    if not len(r_peaks_s):
        values, names = features(np.zeros(1, dtype=np.float32), np.zeros(1))
        return values[:0], names
    rr = np.round(np.clip(np.diff(r_peaks_s), 0.2, 3.0), 6)  # or equal intervals differ in their last bit, and in order
    log = np.log(np.append(np.median(rr) if len(rr) else 0.8, rr))  # [i]: the one that ends with i; the first has none
    low, high = np.percentile(_around(log, REFERENCE), (100 - LONG, LONG), axis=1)
    after_long, after_short = log >= high - 1e-9, log <= low + 1e-9
    shape, contrast = _shape(_windows(signal, r_peaks_s, BEFORE, AFTER), after_long, after_short)
    compared = {f"{name}_to_reference": _relative(column, after_long) for name, column in shape.items()}
    columns = _rhythm(log) | shape | contrast | compared
    return np.stack(list(columns.values()), 1).astype(np.float32), list(columns)


# --- rhythm -----------------------------------------------------------------------------------------------------------


def _rhythm(log: NDArray[np.floating]) -> Columns:
    """Columns of rhythm from the logarithms of the intervals that end with each beat, `(n,)`."""
    n = len(log)
    padded = np.pad(log, 3, mode="edge")
    lag = {k: padded[3 + k : 3 + k + n] for k in range(-3, 4)}
    local_long, local_longest = np.percentile(_around(log, LOCAL), (LONG, LONGEST), axis=1)
    wide_long, wide_longest = np.percentile(_around(log, WIDE), (LONG, LONGEST), axis=1)
    columns: Columns = {f"rr{k:+d}_to_local_long": lag[k] - local_long for k in range(-2, 4)}
    for k in (0, 1):
        columns[f"rr{k:+d}_to_local_longest"] = lag[k] - local_longest
        columns[f"rr{k:+d}_to_wide_long"] = lag[k] - wide_long
        columns[f"rr{k:+d}_to_wide_longest"] = lag[k] - wide_longest
        columns[f"rr{k:+d}_to_record_long"] = lag[k] - np.percentile(log, LONG)
    seven = np.stack(list(lag.values()))
    step = np.abs(np.diff(log, prepend=log[:1]))
    columns |= {
        "rr+0_to_longest_of_7": lag[0] - seven.max(0),
        "rr+0_to_longest_of_11": lag[0] - _around(log, 5).max(1),
        "rr+0_to_shortest_of_7": lag[0] - seven.min(0),
        "previous_to_next": lag[0] - lag[1],
        "previous_to_before": lag[0] - lag[-1],
        "previous_to_second_before": lag[0] - lag[-2],
        "next_to_after": lag[1] - lag[2],
        "mean_to_local_long": np.log((np.exp(lag[0]) + np.exp(lag[1])) / 2) - local_long,
        "irregularity_local": np.median(_around(step, LOCAL), axis=1),
        "irregularity_record": np.full(n, np.median(step)),
    }
    ratio = log - wide_long  # the heart rate drifts; clusters of the intervals themselves would follow it
    threshold, low, high, share, explained = _clusters(ratio)
    for k in (0, 1):
        place = (lag[k] - wide_long - (low + high) / 2) / (high - low + 0.1)  # bounded where there is but one cluster
        columns[f"rr{k:+d}_between_clusters"] = np.clip(place, -3, 3)
    residual = np.minimum(np.abs(ratio - low), np.abs(ratio - high))
    return columns | {
        "clusters_gap": np.full(n, high - low),
        "clusters_short_share": np.full(n, share),
        "clusters_explained": np.full(n, explained),
        "clusters_residual": np.full(n, np.median(residual)),
        "clusters_residual_local": np.median(_around(residual, PATCH), axis=1),
        "short_share_local": _around((ratio < threshold).astype(float), LOCAL).mean(1),
    }


def _clusters(values: NDArray[np.floating]) -> tuple[float, float, float, float, float]:
    """Otsu's split in two: threshold, mean below and above it, share below, and share of the variance it explains."""
    n = len(values)
    if n < 4:
        mean = float(values.mean())
        return mean, mean, mean, 0.5, 0.0
    ordered = np.sort(values)
    total, k = np.cumsum(ordered), np.arange(1, n)
    low, high = total[:-1] / k, (total[-1] - total[:-1]) / (n - k)
    between = k * (n - k) / n**2 * (high - low) ** 2
    between[(k < SMALLEST * n) | (k > (1 - SMALLEST) * n)] = 0
    i = int(between.argmax())
    explained = between[i] / (ordered.var() + 1e-4)  # a spread of 1 %: an even rhythm has no clusters
    return float(ordered[i] + ordered[i + 1]) / 2, float(low[i]), float(high[i]), (i + 1) / n, float(explained)


# --- shape ------------------------------------------------------------------------------------------------------------


def _shape(beats: Array, after_long: NDArray[np.bool_], after_short: NDArray[np.bool_]) -> tuple[Columns, Columns]:
    """How beats `(n, BEFORE + AFTER)` differ from the reference template; and of which kind their P waves are."""
    template = _template(beats[after_long])
    qrs, qrs_template = beats[:, BEFORE - 15 : BEFORE + 16], template[BEFORE - 15 : BEFORE + 16]
    scale = float(np.ptp(template[BEFORE - 12 : BEFORE + 13])) + 1e-3  # 1 µV: a flat lead must not divide by zero
    columns: Columns = {}
    for name in ("p", "qrs"):
        first, last, shifts = SEGMENTS[name]
        found = _match(beats, template, first, last, shifts, scale)
        columns[f"{name}_correlation"], columns[f"{name}_distance"] = found
    columns["height"] = np.ptp(qrs, 1) / scale
    columns["area"] = np.log((np.abs(qrs).mean(1) + 1e-3) / (np.abs(qrs_template).mean() + 1e-3))
    columns["width"] = _width(qrs) - _width(qrs_template[None])
    steepest = np.abs(np.diff(qrs_template)).max()
    columns["steepness"] = np.log((np.abs(np.diff(qrs)).max(1) + 1e-3) / (steepest + 1e-3))

    early = after_short & (columns["qrs_correlation"] > SAME_QRS)  # ventricular beats have no P wave of their own
    other = np.median(beats[early], 0) if early.sum() >= ENOUGH else template
    first, last, _ = SEGMENTS["p"]
    to_long = _match(beats, template, first, last, CONTRAST_SHIFT, scale)
    to_short = _match(beats, other, first, last, CONTRAST_SHIFT, scale)
    apart = _match(other[None], template, first, last, CONTRAST_SHIFT, scale)
    contrast: Columns = {
        "p_long_or_short_correlation": to_long[0] - to_short[0],
        "p_long_or_short_distance": to_long[1] - to_short[1],
        "p_contrast_correlation": np.repeat(apart[0], len(beats)),
        "p_contrast_distance": np.repeat(apart[1], len(beats)),
    }
    return columns, contrast


def _template(beats: Array) -> Array:
    """Median of the beats, then of those alone whose QRS looks like it: a beat after a pause may be an escape beat."""
    template: Array = np.median(beats, 0)
    alike = _match(beats, template, -12, 13, 0, 1.0)[0] > ALIKE
    return np.median(beats[alike], 0) if alike.sum() >= ENOUGH else template


def _match(
    beats: Array, template: Array, first: int, last: int, shifts: int, scale: float
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Best correlation, and logarithm of the least mean distance in shares of `scale`, of a part of each beat to the
    template's; the part is from sample `first` to `last` from the R peak, moved by up to `shifts`."""
    part = _centred(template[BEFORE + first : BEFORE + last])
    correlation, distance = np.full(len(beats), -1.0), np.full(len(beats), np.inf)
    for shift in range(-shifts, shifts + 1):
        moved = _centred(beats[:, BEFORE + first + shift : BEFORE + last + shift])
        norm = np.sqrt((moved**2).sum(1) * (part**2).sum() + 1e-6)
        correlation = np.maximum(correlation, moved @ part / norm)
        distance = np.minimum(distance, np.abs(moved - part).mean(1) / scale)
    return correlation, np.log(distance + 0.003)


def _relative(column: NDArray[np.floating], reference: NDArray[np.bool_]) -> NDArray[np.floating]:
    """A third of the distance from the reference beats' median in their interquartile ranges, as in `rhythm`."""
    low, middle, high = np.percentile(column[reference] if reference.sum() >= ENOUGH else column, (25, 50, 75))
    relative: NDArray[np.floating] = np.clip((column - middle) / (high - low + 0.05), -CLIP, CLIP) / 3
    return relative
