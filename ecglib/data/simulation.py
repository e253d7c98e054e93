"""Training recordings made of annotated ones, many of them with more supraventricular ectopic (S) than sinus beats.

Such recordings are missing in DS1: 2 % of its beats are S, and in no record most of them. What is made here is joined
of a record's own beats, each with the signal around it: shapes and noise are real, rhythm and some P waves are drawn.
Beats meet between T and P wave; a longer interval is filled with the signal before the joint, mirrored.

It serves the training of a second expert, and the choice of its epoch on what is made of validation records; scores on
simulations say little about patients.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ecglib import aami, fingerprint, paths
from ecglib.data import beats, rhythm, sustained
from ecglib.data.databases import Source
from ecglib.data.records import RATE
from ecglib.errors import RecordError

RECIPE = 1
"""1: as published."""
Array = NDArray[np.float32]
Change = Callable[[Array, int], Array]
"""A beat's signal and the place of its R peak in samples -> the signal changed."""

KINDS: Final = {
    "minutes-1": 50, "minutes-2": 50, "minutes-5": 50,
    "rich-40": 25, "rich-80": 25, "rich-150": 25,
    "splice": 50,
    "real-even": 75, "real-uneven": 75, "pseudo-even": 75, "pseudo-uneven": 75,
    "dropped": 37, "fibrillation": 75, "ventricular": 75,
}  # fmt: skip
"""Kind -> beats of it that an epoch draws from one record.

- `minutes-…`: the record in pieces of so many minutes, as short recordings know less of what is usual in them;
- `rich-…`: pieces of so many beats that are rich in S, natural rhythm;
- `splice`: the record's runs of S with their onsets and pauses, one after the other: natural intervals, mostly S;
- `real-…`: runs of the record's S beats at a drawn coupling between blocks of sinus beats, at even or uneven intervals;
- `pseudo-…`: the same with S made of sinus beats by a changed P wave and size, for records without S;
- `dropped`: sinus beats with pauses after some: shorter than the interval before is not yet premature;
- `fibrillation`: irregular beats without P waves, some V among them: irregularity is not ectopy either;
- `ventricular`: frequent premature V, alone, in runs, in bigeminy: nor is what comes early always S.
"""

N, S, V = (aami.CLASSES.index(name) for name in "NSV")
COPIES: Final = 4
"""Recordings of each simulated kind made of one record."""
LENGTH: Final = 300
"""Beats of a simulated recording, more where its last run reaches further."""
ENOUGH_N, ENOUGH_ECTOPIC = 50, 10
"""N beats below which a record gives pieces only, and S or V beats below which none of them are joined."""
IRREGULAR: Final = 0.09
"""Median |log ratio| of successive N-N intervals above which a rhythm is no sinus rhythm. Of the records of DS1, those
in atrial fibrillation (201, 203) have 0.16 and more, all others 0.051 and less."""
PREMATURE: Final = 0.87
"""Interval before S over the N-N intervals around it (median) above which S beats are no premature ones. Of the records
of DS1 with S beats enough, 124 (junctional beats) has 0.95, all others 0.80 and less."""
AROUND: Final = 5
"""The nearest N-N intervals that an S beat is compared with."""
BEFORE_S, BEFORE_SHARE = 0.32, 0.45
"""A beat's signal begins so many seconds, at most this share of the interval, before its R peak."""
REST_S: Final = 0.22
"""Least time from an R peak to the next beat's signal, which begins where it does in the record: a drawn interval is at
least the sum of both, so that of a slow heart very short couplings come out as 0.54 s."""
COUPLING_S: Final = 0.36
"""Least mean coupling of S."""
P_BEGIN, P_END = 32, 8
"""Samples before the R peak between which the P wave lies."""


@dataclass(frozen=True)
class Simulated:
    """A recording made of another one.

    Attributes
    ----------
    kind
        One of `KINDS`.
    signal
        float32 `(samples,)`: mV at `RATE`.
    r_peaks_s
        float64 `(n,)`: R peaks in seconds, increasing.
    labels
        int64 `(n,)`: index into `aami.CLASSES`.
    """

    kind: str
    signal: Array
    r_peaks_s: NDArray[np.float64]
    labels: NDArray[np.int64]


def recordings(signal: Array, r_peaks_s: NDArray[np.float64], labels: NDArray[np.int64], seed: int) -> list[Simulated]:
    """Everything made of one record.

    A record in atrial fibrillation (see `IRREGULAR`) is no base of simulated sinus rhythm, and S beats that are not
    premature (see `PREMATURE`) are not used in it. Short records give fewer kinds, or nothing.

    Parameters
    ----------
    signal
        `(samples,)`: one lead in mV at `RATE`, after `rhythm.without_baseline`.
    r_peaks_s
        `(n,)`: R peaks in seconds, strictly increasing, inside the signal.
    labels
        `(n,)`: index into `aami.CLASSES`.
    seed
        Seed of all draws; the same seed gives the same recordings.
    """
    heart, draw = _Heart(signal, r_peaks_s, labels), np.random.default_rng(seed)
    made = [piece for minutes in (1, 2, 5) for piece in _minutes(heart, minutes)]
    made += [piece for size in (40, 80, 150) for piece in _rich(heart, size)]
    if len(heart.normal) < ENOUGH_N:
        return made
    if len(heart.s) >= ENOUGH_ECTOPIC:
        made += [_splice(heart, draw, share) for share in (0.0, 0.3)]
    simulations: list[Callable[[_Heart, Generator], Simulated]] = [_fibrillation]
    if len(heart.v) >= ENOUGH_ECTOPIC:
        simulations.append(_ventricular)
    if not _irregular(heart):
        simulations += [_dropped, *(partial(_ectopy, real=False, uneven=uneven) for uneven in (False, True))]
        if len(heart.s) >= ENOUGH_ECTOPIC and _premature(heart):
            simulations += [partial(_ectopy, real=True, uneven=uneven) for uneven in (False, True)]
    return made + [simulate(heart, draw) for simulate in simulations for _ in range(COPIES)]


class _Heart:
    """A record, its intervals, and the beats by class that have a beat before and two after them.

    `rr[i]` is the interval after beat i; `normal` and `lone_v` are the N and V beats between two N, `usual` the median
    interval before the former, in seconds.
    """

    def __init__(self, signal: Array, peaks: NDArray[np.float64], labels: NDArray[np.int64]) -> None:
        self.signal, self.peaks, self.labels = signal.astype(np.float32), peaks, labels
        self.rr = np.diff(peaks)
        inner, between = labels[1:-2], (labels[:-3] == N) & (labels[2:-1] == N)
        self.normal, self.lone_v = (np.flatnonzero((inner == label) & between) + 1 for label in (N, V))
        self.usual = float(np.median(self.rr[self.normal - 1])) if len(self.normal) else 0.0
        self.s, self.v = (np.flatnonzero(inner == label) + 1 for label in (S, V))


def _irregular(heart: _Heart) -> bool:
    ratios = heart.rr[heart.normal] / heart.rr[heart.normal - 1]
    return bool(np.median(np.abs(np.log(ratios))) > IRREGULAR)


def _premature(heart: _Heart) -> bool:
    nearest = np.argsort(np.abs(heart.s[:, None] - heart.normal), axis=1)[:, :AROUND]
    usual = np.median(heart.rr[heart.normal[nearest] - 1], axis=1)
    return bool(np.median(heart.rr[heart.s - 1] / usual) < PREMATURE)


# --- pieces -----------------------------------------------------------------------------------------------------------


def _piece(heart: _Heart, first: int, end: int, kind: str) -> Simulated:
    """The beats from `first` up to `end`, with the signal half-way to their neighbours."""
    halfway = (heart.peaks[1:] + heart.peaks[:-1]) / 2
    start = round(halfway[first - 1] * RATE) if first else 0
    stop = round(halfway[end - 1] * RATE) if end < len(heart.peaks) else len(heart.signal)
    return Simulated(
        kind, heart.signal[start:stop], heart.peaks[first:end] - start / RATE, heart.labels[first:end].astype(np.int64)
    )


def _minutes(heart: _Heart, minutes: int) -> Iterator[Simulated]:
    """The record in pieces; those of fewer than 20 beats are left out."""
    number = heart.peaks // (60 * minutes)
    for k in np.unique(number):
        beats = np.flatnonzero(number == k)
        if len(beats) >= 20:
            yield _piece(heart, int(beats[0]), int(beats[-1]) + 1, f"minutes-{minutes}")


def _rich(heart: _Heart, size: int) -> Iterator[Simulated]:
    """At most 8 pieces that don't overlap, 30 to 90 % of whose beats are S, the richest first."""
    count = np.append(0, np.cumsum(heart.labels == S))
    starts = np.arange(0, max(len(heart.labels) - size + 1, 0), 5)
    share = (count[starts + size] - count[starts]) / size
    used: list[int] = []
    for i in np.argsort(-share, kind="stable"):
        start = int(starts[i])
        if 0.3 <= share[i] <= 0.9 and len(used) < 8 and all(abs(start - other) >= size for other in used):
            used.append(start)
            yield _piece(heart, start, start + size, f"rich-{size}")


# --- joining beats ----------------------------------------------------------------------------------------------------


class _Beat(NamedTuple):
    """A beat of the record, the interval after it in seconds and its label (its own where None), a change of it."""

    beat: int
    interval: float | None = None
    label: int | None = None
    change: Change | None = None


def _join(heart: _Heart, kind: str, plan: list[_Beat]) -> Simulated:
    """One beat after the other, each with the signal from before its P wave to before the next one's."""
    before = np.minimum(BEFORE_S, BEFORE_SHARE * np.append(np.inf, heart.rr))  # [i]: of beat i
    rest = np.append(heart.rr - before[1:], 0)  # from its R peak to the next beat's signal in the record
    starts = np.round((heart.peaks - before) * RATE).astype(np.int64)
    tops = np.round(heart.peaks * RATE).astype(np.int64)
    before_next = np.append(before[[beat.beat for beat in plan[1:]]], BEFORE_S)
    parts, peaks, labels, length = [], [], [], 0
    for (i, interval, label, change), following in zip(plan, before_next, strict=True):
        least = REST_S if interval else min(REST_S, rest[i])  # what the record has itself stays as it is
        wanted = int(max((interval or heart.rr[i]) - following, least) * RATE + 0.5)
        peak = tops[i] - starts[i]
        part = heart.signal[starts[i] : tops[i] + min(wanted, max(int(rest[i] * RATE + 0.5), 5))]
        if change:
            part = change(part, int(peak))
        if missing := int(peak) + wanted - len(part):
            end = part[-min(20, len(part) // 3) :]
            part = np.append(part, np.resize(np.append(end[::-1], end), missing))
        parts.append(part)
        peaks.append((length + peak) / RATE)
        labels.append(heart.labels[i] if label is None else label)
        length += len(part)
    return Simulated(kind, np.concatenate(parts, dtype=np.float32), np.array(peaks), np.array(labels, dtype=np.int64))


def _splice(heart: _Heart, draw: Generator, between: float) -> Simulated:
    """Each run of S with the beat before it, in order; after this share of them, 2 to 5 ordinary beats. At least 60."""
    plan: list[_Beat] = []
    for i in np.union1d(heart.s, heart.s[heart.s > 1] - 1):
        plan.append(_Beat(i))
        ends_run = heart.labels[i] == S and heart.labels[i + 1] != S
        if ends_run and draw.random() < between:
            start = draw.choice(heart.normal[:-6])
            plan += [_Beat(k) for k in range(start, start + draw.integers(2, 6)) if heart.labels[k] == N]
    return _join(heart, "splice", plan * -(-60 // len(plan)))


# --- simulated rhythm -------------------------------------------------------------------------------------------------


def _runs(
    heart: _Heart,
    draw: Generator,
    *,
    ectopic: NDArray[np.int64],
    label: int,
    change: Change | None = None,
    single_v: float = 0.0,
    means: tuple[float, float, float],
    spreads: tuple[float, float, float],
    block: float,
    run: float,
) -> list[_Beat]:
    """Blocks of N and runs of ectopic beats in turn, of `block` and `run` beats on average.

    `means` and `spreads` (of their logarithm) are those of the intervals between N beats, before an ectopic beat, and
    after the last one of a run. `single_v` of the N beats have a V after them at its own coupling.
    """
    sinus, coupling, pause = (partial(_vary, draw, m, spread) for m, spread in zip(means, spreads, strict=True))
    fixed = draw.random() < 0.3  # in bigeminy and its kin blocks and runs are of one length
    plan: list[_Beat] = []
    while len(plan) < LENGTH:
        n_block, n_run = (max(1, round(mean)) if fixed else draw.geometric(1 / mean) for mean in (block, run))
        for left in reversed(range(n_block)):
            i = draw.choice(heart.normal)
            if left and draw.random() < single_v:
                v = draw.choice(heart.lone_v)
                plan += [_Beat(i, heart.rr[v - 1]), _Beat(v)]
            else:
                plan.append(_Beat(i, sinus() if left else coupling()))
        for left in reversed(range(n_run)):
            plan.append(_Beat(draw.choice(ectopic), coupling() if left else pause(), label, change))
    return plan


def _vary(draw: Generator, mean: float, spread: float) -> float:
    return mean * draw.lognormal(0, spread)


def _ectopy(heart: _Heart, draw: Generator, *, real: bool, uneven: bool) -> Simulated:
    """Runs of premature S, the record's own or N beats with a changed P wave; a drawn share of the beats are S."""
    sinus = heart.usual * draw.uniform(0.9, 1.3)
    if uneven:
        share, pause = draw.uniform(0.3, 0.85), draw.uniform(0.9, 1.6)
        spreads = draw.uniform(0.04, 0.14), draw.uniform(0.08, 0.2), draw.uniform(0.15, 0.35)
        coupling = sinus * draw.uniform(0.5, 0.85)
    else:
        share, pause = draw.uniform(0.15, 0.85), draw.uniform(1.0, 1.9)
        spreads = draw.uniform(0.01, 0.06), draw.uniform(0.02, 0.1), draw.uniform(0.03, 0.2)
        coupling = sinus * draw.uniform(0.5, 0.82)
        if real:
            own = float(np.median(heart.rr[heart.s - 1]))
            coupling = float(np.clip(own, 0.4 * sinus, 0.82 * sinus)) * draw.uniform(0.95, 1.1)
    run = max(draw.uniform(1, 5), share / (1 - share))  # a block has one beat at least
    plan = _runs(
        heart,
        draw,
        ectopic=heart.s if real else heart.normal,
        label=S,
        change=None if real else _other_p_wave(draw),
        single_v=draw.uniform(0, 0.08) if len(heart.lone_v) >= ENOUGH_ECTOPIC else 0.0,
        means=(sinus, max(coupling, COUPLING_S), sinus * pause),
        spreads=spreads,
        block=max(1.0, run * (1 - share) / share),
        run=run,
    )
    return _join(heart, f"{'real' if real else 'pseudo'}-{'uneven' if uneven else 'even'}", plan)


def _dropped(heart: _Heart, draw: Generator) -> Simulated:
    """N beats in order, some of them with a longer interval after them."""
    share, factor, spread = draw.uniform(0.05, 0.35), draw.uniform(1.4, 2.1), draw.uniform(0.01, 0.1)
    start = draw.integers(max(1, len(heart.normal) - LENGTH))
    plan = [
        _Beat(i, heart.rr[i] * _vary(draw, factor, spread) if draw.random() < share else None)
        for i in heart.normal[start : start + LENGTH]
    ]
    return _join(heart, "dropped", plan)


def _fibrillation(heart: _Heart, draw: Generator) -> Simulated:
    """N beats at irregular intervals with waves instead of P, V here and there."""
    mean, spread = draw.uniform(0.5, 1.0), draw.uniform(0.12, 0.32)
    share_v = draw.uniform(0, 0.2) if len(heart.lone_v) >= ENOUGH_ECTOPIC else 0.0
    change = _waves_for_p(draw)
    plan: list[_Beat] = []
    while len(plan) < LENGTH:
        i, interval = draw.choice(heart.normal), _vary(draw, mean, spread)
        if draw.random() < share_v:
            plan += [_Beat(i, mean * draw.uniform(0.5, 1.1), None, change), _Beat(draw.choice(heart.lone_v), interval)]
        else:
            plan.append(_Beat(i, interval, None, change))
    return _join(heart, "fibrillation", plan)


def _ventricular(heart: _Heart, draw: Generator) -> Simulated:
    """Runs of premature V, with a pause after them or none."""
    sinus = heart.usual * draw.uniform(0.9, 1.3)
    spread = draw.uniform(0.01, 0.15)
    plan = _runs(
        heart,
        draw,
        ectopic=heart.v,
        label=V,
        means=(sinus, sinus * draw.uniform(0.45, 0.9), sinus * draw.uniform(0.8, 1.6)),
        spreads=(spread, draw.uniform(0.02, 0.12), spread),
        block=draw.uniform(1, 8),
        run=draw.uniform(1, 2.5),
    )
    return _join(heart, "ventricular", plan)


# --- changed beats ----------------------------------------------------------------------------------------------------


def _other_p_wave(draw: Generator) -> Change:
    """P waves of another focus: smaller or inverted, shifted by 24 to 64 ms, in two parts, or hidden as they are; the
    whole beat is up to 7 % larger or smaller."""
    kind, size, gain = draw.integers(4), draw.uniform(-1, 0.4), draw.uniform(0.93, 1.07)
    shift = draw.integers(3, 9) * draw.choice([-1, 1])

    def new(wave: Array) -> Array:
        if kind == 0:
            return wave * size
        if kind == 1:
            return np.roll(wave, shift)
        if kind == 2:
            place = np.arange(len(wave)) - len(wave) * draw.uniform(0.3, 0.8)
            second: Array = np.exp(-((place / 3) ** 2) / 2).astype(np.float32)
            return wave * size + 0.3 * size * np.ptp(wave) * second
        return wave

    return lambda part, peak: _replace_p_wave(part, peak, new) * np.float32(gain)


def _waves_for_p(draw: Generator) -> Change:
    """At most a quarter of the P wave, and over the whole beat waves of 5 to 8 Hz and 0.01 to 0.1 mV."""
    left, size, rate = draw.uniform(0, 0.25), draw.uniform(0.02, 0.1), draw.uniform(5, 8)

    def change(part: Array, peak: int) -> Array:
        phase = rate * np.arange(len(part)) / RATE + draw.random()
        waves = size * draw.uniform(0.5, 1) * np.sin(2 * np.pi * phase)
        return _replace_p_wave(part, peak, lambda wave: wave * left) + waves.astype(np.float32)

    return change


def _replace_p_wave(part: Array, peak: int, new: Callable[[Array], Array]) -> Array:
    """The P wave over the line between its ends, replaced, with soft edges."""
    first, end = max(peak - P_BEGIN, 0), peak - P_END
    part = part.copy()
    if end - first < 6:  # a fast heart leaves no room
        return part
    wave = part[first:end]
    line = np.linspace(wave[0], wave[-1], len(wave), dtype=np.float32)
    weight = np.sqrt(np.hanning(len(wave) + 2)[1:-1])
    part[first:end] = wave * (1 - weight) + (line + new(wave - line)) * weight
    return part


# --- examples ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Examples:
    """Beats of recordings that were made of a source's records; all arrays run over beats.

    Attributes
    ----------
    features
        float32 `(n, sustained.N_FEATURES)`, of each recording for itself.
    labels
        int64 `(n,)`: index into `aami.CLASSES`.
    record, kind
        Text `(n,)`: the record that a recording was made of, and one of `KINDS`.
    recording
        int64 `(n,)`: which of the record's recordings it is.
    """

    features: Array
    labels: NDArray[np.int64]
    record: NDArray[np.str_]
    kind: NDArray[np.str_]
    recording: NDArray[np.int64]

    def of(self, records: NDArray[np.str_]) -> Examples:
        """Those made of these records."""
        mine = np.isin(self.record, np.unique(records))
        return Examples(**{name: values[mine] for name, values in vars(self).items()})


def load(source: Source, leads: Sequence[str]) -> Examples:
    """Examples made of every record of a source that can be read, from the cache where they were made before.

    Parameters
    ----------
    source
        Where the records lie.
    leads
        As of `beats.load`; the first one is used.

    Raises
    ------
    RecordError
        When no record can be read.
    """
    code = fingerprint.of_code(beats.CODE)
    key = fingerprint.of_values(source.fingerprint(), list(leads), code)[:16]
    path = paths.cache() / "beats" / f"{source.name}-simulated-{key}.npz"
    if path.is_file():
        with np.load(path, allow_pickle=False) as stored:
            return Examples(**stored)
    parts, error = [], None
    for name in source.records:
        try:
            parts.append(_examples(source.folder, name, leads))
        except RecordError as broken:
            error = broken
    if not parts:
        raise error or RecordError(source.folder, "no records", expected="annotated records")
    examples = Examples(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    beats.store(path, vars(examples))
    return examples


def _examples(folder: Path, name: str, leads: Sequence[str]) -> tuple[NDArray[Any], ...]:
    signals, r_peaks, symbols, fs = beats.annotated(folder, name, leads)
    labels = np.array([aami.index_of(symbol) for symbol in symbols], dtype=np.int64)
    seed = zlib.crc32(name.encode())
    made = recordings(rhythm.without_baseline(signals[0]), r_peaks / fs, labels, seed)
    sizes = [len(one.labels) for one in made]
    features = [sustained.features(one.signal, one.r_peaks_s)[0] for one in made]
    columns = (
        np.concatenate([np.zeros((0, sustained.N_FEATURES), dtype=np.float32), *features]),
        np.concatenate([np.zeros(0, dtype=np.int64), *(one.labels for one in made)]),
        np.full(sum(sizes), name),
        np.repeat(np.array([one.kind for one in made], dtype=np.str_), sizes),
        np.repeat(np.arange(len(made)), sizes),
    )
    kept = columns[1] != aami.CLASSES.index("Q")  # of which there are too few to learn from
    return tuple(column[kept] for column in columns)
