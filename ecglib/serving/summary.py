"""What the classified beats of a recording say, in numbers: ectopic beats, heart rate, pauses, and what to look at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ecglib.serving.model import Classified

PAUSE: Final = 2.0
"""Shortest RR interval of a pause, in seconds."""
GAP: Final = 10.0
"""Longest RR interval in seconds that is taken for one; where no beat is found for longer, the signal was lost or the
heart stood still, and neither heart rate nor succession of beats is told across it."""
ARTEFACT: Final = 0.2
"""Seconds below which an RR interval is none: half the refractory time of a ventricle, and 300 beats a minute."""
WINDOW: Final = 8
"""RR intervals in succession that a heart rate is of."""
RUN: Final = 3
"""Fewest ectopic beats in succession that are a run; two are a couplet."""
ECTOPIC: Final = {"V": "VEB", "S": "SVEB"}
"""Class of EC57 -> what its beats are called."""


@dataclass(frozen=True)
class Event:
    """A stretch of a recording that is worth a look."""

    kind: str
    """`V run`, `V couplet`, `S run`, `S couplet`, `pause`, `no beats`, `fastest minute` or `slowest minute`."""
    start: float
    """Seconds from the start of the recording, of the first beat or of what lacks beats."""
    end: float
    """Likewise, of the last beat."""
    text: str


@dataclass(frozen=True)
class Ectopy:
    """The ectopic beats of one class."""

    beats: int
    per_hour: float
    """The burden: beats by the hours of the recording."""
    percent: float
    """Of all beats, 0 to 100."""
    couplets: int
    runs: int
    longest_run: int
    """Beats of the longest succession of three or more; 0 where there is none."""


@dataclass(frozen=True)
class HeartRate:
    """Beats a minute; the lowest and the highest of any eight RR intervals in succession, and that of all of them."""

    lowest: float
    mean: float
    highest: float


@dataclass(frozen=True)
class Summary:
    """Of one recording; `dataclasses.asdict` makes plain values of it, for JSON."""

    seconds: float
    beats: int
    counts: dict[str, int]
    """Class -> beats."""
    ectopy: dict[str, Ectopy]
    """`VEB`, `SVEB`, as far as the model knows them."""
    heart_rate: HeartRate | None
    """None where no RR intervals in succession are between `ARTEFACT` and `GAP`."""
    pauses: int
    """RR intervals of `PAUSE` to `GAP` seconds."""
    longest_pause: float | None
    """Seconds."""
    unsure: int
    """Beats the probability of whose class is below `model.UNSURE`."""
    unsure_percent: float | None
    """Of all beats, 0 to 100."""
    events: list[Event]
    """By their start."""


def heart_rate(sample: NDArray[np.int64], fs: float) -> NDArray[np.float64]:
    """Heart rate at each beat `(n,)` in beats a minute, of R peaks `(n,)` in samples, increasing: by `WINDOW` RR
    intervals around it, or all of them where there are fewer. NaN where these hold one outside `ARTEFACT` to `GAP`."""
    rr = np.diff(sample) / fs
    if not len(rr):
        return np.full(len(sample), np.nan)
    rr[~_usable(rr)] = np.nan
    width = min(WINDOW, len(rr))
    rates = 60.0 / sliding_window_view(rr, width).mean(-1)
    return np.asarray(rates[(np.arange(len(sample)) - width // 2).clip(0, len(rates) - 1)])


def summarise(classified: Classified, fs: float, n_samples: int, classes: Sequence[str]) -> Summary:
    """What the beats of a recording, of so many samples at `fs` Hz, say. A beat that was not classified is not among
    them, and the intervals on its sides are one."""
    sample, decided = classified.sample, classified.decided
    seconds, n, unsure = n_samples / fs, len(sample), int(classified.unsure.sum())
    at, rates = sample / fs, heart_rate(sample, fs)
    rr, usable = np.diff(at), _usable(np.diff(at))
    pauses = (rr >= PAUSE) & usable
    events = [
        Event("pause", float(at[i]), float(at[i + 1]), f"no beat for {rr[i]:.1f} s") for i in np.flatnonzero(pauses)
    ]
    events += [*_gaps(at, seconds), *_minutes(at, seconds)]
    ectopy = {}
    for symbol in (symbol for symbol in ECTOPIC if symbol in classes):
        of_class = decided == list(classes).index(symbol)
        rows = _successions(of_class, rr <= GAP)
        events += _rows_told(symbol, at, rows)
        ectopy[ECTOPIC[symbol]] = _ectopy(int(of_class.sum()), n, seconds, [last - first + 1 for first, last in rows])
    known = not np.isnan(rates).all()
    rate = HeartRate(*map(float, (np.nanmin(rates), 60 / rr[usable].mean(), np.nanmax(rates)))) if known else None
    return Summary(
        seconds=seconds,
        beats=n,
        counts={name: int((decided == i).sum()) for i, name in enumerate(classes)},
        ectopy=ectopy,
        heart_rate=rate,
        pauses=int(pauses.sum()),
        longest_pause=float(rr[pauses].max()) if pauses.any() else None,
        unsure=unsure,
        unsure_percent=100 * unsure / n if n else None,
        events=sorted(events, key=lambda event: (event.start, event.end)),
    )


def _usable(rr: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray((rr >= ARTEFACT) & (rr <= GAP))


def _ectopy(beats: int, of: int, seconds: float, lengths: list[int]) -> Ectopy:
    runs = [length for length in lengths if length >= RUN]
    per_hour, percent = (3600 * beats / seconds, 100 * beats / of) if beats else (0.0, 0.0)
    return Ectopy(beats, per_hour, percent, len(lengths) - len(runs), len(runs), max(runs, default=0))


def _successions(of_class: NDArray[np.bool_], joined: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last of two or more beats of a class in succession, `(n,)`; `joined` `(n - 1,)` says which beats
    succeed each other."""
    both = of_class[:-1] & of_class[1:] & joined
    edges = np.flatnonzero(np.diff(np.concatenate(([False], both, [False])))).reshape(-1, 2)
    return [(int(first), int(last)) for first, last in edges]


def _rows_told(symbol: str, at: NDArray[np.float64], rows: list[tuple[int, int]]) -> Iterator[Event]:
    longest = max((last - first + 1 for first, last in rows), default=0)
    for first, last in rows:
        beats = last - first + 1
        kind = f"{symbol} run" if beats >= RUN else f"{symbol} couplet"
        text = f"{beats} {symbol} at {60 * (last - first) / (at[last] - at[first]):.0f}/min"
        yield Event(kind, float(at[first]), float(at[last]), text + ", the longest" * (beats == longest >= RUN))


def _gaps(at: NDArray[np.float64], seconds: float) -> Iterator[Event]:
    edges = [0.0, *at.tolist(), seconds]
    for i in np.flatnonzero(np.diff(edges) > GAP):
        yield Event(
            "no beats", edges[i], edges[i + 1], f"no beat for {edges[i + 1] - edges[i]:.0f} s: look at the signal"
        )


def _minutes(at: NDArray[np.float64], seconds: float) -> Iterator[Event]:
    """The fastest and the slowest whole minute from the start on, of those that usable RR intervals fill by half or
    more; one belongs to the minute that it begins in."""
    rr, whole = np.diff(at), int(seconds // 60)
    usable, minute = _usable(rr), (at[:-1] // 60).astype(np.int64)
    beats, filled = (np.bincount(minute[usable], w, whole + 1)[:whole] for w in (None, rr[usable]))
    candidates = np.flatnonzero(filled >= 30)
    if len(candidates) < 2:
        return
    rates = 60 * beats[candidates] / filled[candidates]
    for kind, i in (("fastest minute", rates.argmax()), ("slowest minute", rates.argmin())):
        start = 60.0 * int(candidates[i])
        yield Event(kind, start, start + 60, f"{rates[i]:.0f}/min on average")
