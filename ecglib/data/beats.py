"""Beats cut from annotated records, in three ways.

`kachuee`: the recipe of the Kaggle set (Kachuee et al. 2018, section III-B): one lead at 125 Hz, from the R peak over
1.2 times the RR interval to the next beat, at most 187 samples, scaled to 0..1 and padded with zeros. The last beat of
a record has no next one and is left out; over all 48 records of `mitdb` the counts are then those of the published set.

`centred`: a window from 1.2 s before the R peak (which reaches the previous one above 50 beats per minute) to 0.6 s
after it, at 125 Hz and in mV, and with it features of the RR intervals around the beat.

`relative`: a beat beside its own record: a window from 0.9 s before the R peak to 0.5 s after it, baseline wander
removed, of each lead as it is and without the record's template, and features of rhythm and shape (see
`ecglib.data.rhythm`). It needs the whole recording, and no symbol of any beat.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ecglib import aami, files, fingerprint, paths
from ecglib.data import records, rhythm
from ecglib.data.catalogues.annotated import patient_of
from ecglib.data.databases import Source
from ecglib.data.records import RATE, at_rate, read_annotations, read_recording
from ecglib.errors import RecordError, UserError, nearest

Cut = Literal["kachuee", "centred", "relative"]

KACHUEE_SAMPLES = 187
KACHUEE_SPAN = 1.2
"""Length of a `kachuee` beat, in intervals to the next R peak."""
BEFORE, AFTER = 150, 75
"""Samples of a `centred` beat before and from the R peak on: 1.2 s and 0.6 s."""
RELATIVE_BEFORE, RELATIVE_AFTER = 112, 63
"""The same of a `relative` beat: 0.9 s and 0.5 s."""
RELATIVE_CLIP = 4.0
"""Bound of a `relative` beat, in mV."""
STAND_INS: Final[dict[str, tuple[str, ...]]] = {"MLII": ("II", "ML2", "ECG1", "ECG")}
"""Lead -> those that are taken for it where a record lacks it, in this order."""
NO_ECG: Final = re.compile(r"EEG|EOG|EMG|RESP|SPO2|PLETH|PPG|ABP|CVP|FLOW|TEMP", re.IGNORECASE)
"""In the names of channels that never stand in for a lead."""
RR_NEIGHBOURS = 5
"""Intervals on either side of a beat that its local mean RR is taken over."""
RR_FEATURES = ("rr_previous", "rr_next", "rr_local", "previous_to_local", "next_to_local", "previous_to_next")
"""Features of a `centred` beat: three intervals in seconds, three ratios. They come from R-peak positions alone."""
CODE = ("aami.py", "data")
"""The code that whatever is cut follows from, taken whole: to cut again costs seconds."""
T = TypeVar("T")


def shape(cut: Cut, n_leads: int) -> tuple[int, int]:
    """Channels and samples of a beat: a channel a lead, two in the `relative` cut."""
    if cut == "relative":
        return 2 * n_leads, RELATIVE_BEFORE + RELATIVE_AFTER
    return n_leads, KACHUEE_SAMPLES if cut == "kachuee" else BEFORE + AFTER


def features_of(cut: Cut, n_leads: int, chosen: Sequence[str] = ("*",)) -> dict[str, int]:
    """Features of a beat in this cut, of these names or patterns (`*_relative`) -> their columns, in order; shapes of
    lead k end in `_k`, and none of them in `_relative`. A `UserError` for a pattern that fits none."""
    names, nothing = [*RR_FEATURES] if cut == "centred" else [], (np.zeros(1, np.float32), np.zeros(0))
    if cut == "relative":
        shapes = rhythm.shapes(*nothing)
        names = [*rhythm.features(*nothing), *(f"{name}_{i}" for i in range(2, n_leads + 1) for name in shapes)]
    for pattern in chosen:
        if names and not any(fnmatch.fnmatchcase(name, pattern) for name in names):
            do = nearest(pattern, names, 0)
            raise UserError(f"features: {pattern}", f"no feature of the {cut} cut", do=do)
    return {name: i for i, name in enumerate(names) if any(fnmatch.fnmatchcase(name, each) for each in chosen)}


@dataclass(frozen=True)
class Beats:
    """Beats of many records, in order of record and time; all arrays run over beats."""

    signals: NDArray[np.float32]
    """`(n, channels, samples)` at 125 Hz, a channel a lead: 0..1 (`kachuee`) or mV (`centred`). `relative`: in mV the
    leads, then the same leads without the record's template."""
    features: NDArray[np.float32]
    """`(n, n_features)`, the columns of `features_of`: none for `kachuee`, those of `RR_FEATURES` for `centred`.
    `relative`: those of `rhythm.features` of the first lead, then `rhythm.shapes` of every further lead."""
    labels: NDArray[np.int64]
    """`(n,)`: index into `aami.CLASSES`."""
    record: NDArray[np.str_]
    """`(n,)`: its name, of several databases joined with that of the database and a slash in front."""
    patient: NDArray[np.str_]
    """`(n,)`, as of `annotated.patient_of`."""
    symbol: NDArray[np.str_]
    """WFDB annotation symbol, `(n,)`."""
    sample: NDArray[np.int64]
    """`(n,)`: the R peak's position in the record, in samples at the record's own rate."""
    left_out: dict[str, int]
    """Beats left out, by reason."""
    records_left_out: dict[str, str]
    """Records set aside -> the reason."""
    repaired: dict[str, list[str]] = field(default_factory=dict)
    """Records that something was assumed of -> what, a sentence each."""

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: NDArray[np.int64]) -> Beats:
        """The beats at these positions, in that order."""
        return replace(self, **{name: getattr(self, name)[index] for name in ARRAYS})

    def with_features(self, columns: Iterable[int]) -> Beats:
        """The same beats, with these columns of their features."""
        return replace(self, features=self.features[:, [*columns]])


ARRAYS = tuple(f.name for f in fields(Beats) if not f.name.endswith(("left_out", "repaired")))


def load(source: Source, cut: Cut, leads: Sequence[str] = ("MLII",)) -> Beats:
    """All beats of a source's records, from the cache where they were cut before; parameters and errors as of
    `cut_records`."""
    made_of = [source.fingerprint(), cut, list(leads), source.annotator]
    return Beats(**cached(f"{source.folder.name}-{cut}", made_of, lambda: vars(cut_records(source, cut, leads))))


def joined(parts: Mapping[str, Beats]) -> Beats:
    """Beats of several databases -> theirs, as one; of a record the name has that of its database in front."""
    arrays = {name: np.concatenate([getattr(part, name) for part in parts.values()]) for name in ARRAYS}
    arrays["record"] = np.concatenate([np.char.add(f"{database}/", part.record) for database, part in parts.items()])
    left_out = sum((Counter(part.left_out) for part in parts.values()), Counter[str]())

    def named(of: str) -> dict[str, Any]:
        return {f"{name}/{record}": said for name, part in parts.items() for record, said in getattr(part, of).items()}

    aside, repaired = named("records_left_out"), named("repaired")
    return Beats(**arrays, left_out=dict(left_out), records_left_out=aside, repaired=repaired)


def cached(name: str, made_of: Any, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `make` gives, from the cache where this code made it before of the same; `made_of` are values for JSON.
    Arrays are kept as they are, what else there is as JSON; `name` begins the file's name."""
    key = fingerprint.of_values(made_of, fingerprint.of_code(CODE))[:16]
    path = paths.cache() / "beats" / f"{name}-{key}.npz"
    if not path.is_file():
        made = make()
        made = made | {k: np.array(json.dumps(v)) for k, v in made.items() if not isinstance(v, np.ndarray)}
        with files.writing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **made)
    with np.load(path, allow_pickle=False) as stored:
        return {k: v if v.ndim else json.loads(str(v)) for k, v in stored.items()}


def tried(cut: Callable[[str], T], names: Iterable[str]) -> dict[str, T | RecordError]:
    """Record -> what `cut` gives, or why it refuses; several are read at once."""

    def attempt(name: str) -> tuple[str, T | RecordError]:
        try:
            return name, cut(name)
        except RecordError as error:
            return name, error

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(pool.map(attempt, names))


def cut_records(source: Source, cut: Cut, leads: Sequence[str]) -> Beats:
    """Cut the beats of a source's records, leads by name as of `choose_leads`; single broken records are set aside in
    `records_left_out`, and it takes one beat or more, or the first record's `RecordError` is raised."""
    parts = tried(lambda name: cut_record(source, name, cut, leads), source.records)
    good = [part for part in parts.values() if isinstance(part, Beats)]
    bad = {name: part for name, part in parts.items() if isinstance(part, RecordError)}
    if not any(len(part) for part in good):
        raise next(iter(bad.values()), RecordError(source.folder, "no beats", expected="annotated records"))
    left_out = sum((Counter(part.left_out) for part in good), Counter[str]())
    arrays = {name: np.concatenate([getattr(part, name) for part in good]) for name in ARRAYS}
    aside = {name: error.reason for name, error in bad.items()}
    repaired = dict(item for part in good for item in part.repaired.items())
    return Beats(**arrays, left_out=dict(left_out), records_left_out=aside, repaired=repaired)


def cut_record(source: Source, name: str, cut: Cut, leads: Sequence[str]) -> Beats:
    """The beats of one of a source's records; a `RecordError` when these leads or its annotations can't be read. Of a
    lead without a gain, as of half the records of `svdb`, the format's is taken."""
    chosen = partial(choose_leads, leads=leads)
    recording = read_recording(source.folder, name, chosen, uncalibrated_gain=records.DEFAULT_GAIN)
    annotations = read_annotations(source.folder, name, source.annotator)
    symbols = np.asarray(annotations.symbols, dtype=np.str_)[annotations.is_beat]
    r_peaks = annotations.samples[annotations.is_beat]
    if not r_peaks.size:
        raise RecordError(
            source.folder / name, "no beats", f"{len(annotations.samples)} annotations", "annotated beats"
        )
    cuts, features, keep, left_out = cut_signals(recording.signals, recording.fs, r_peaks, cut)
    symbols, n = symbols[keep], int(keep.sum())
    return Beats(
        signals=cuts,
        features=features,
        labels=np.array([aami.index_of(symbol) for symbol in symbols], dtype=np.int64),
        record=np.full(n, name),
        patient=np.full(n, patient_of(source, name)),
        symbol=symbols,
        sample=r_peaks[keep].astype(np.int64),
        left_out={reason: count for reason, count in left_out.items() if count} | annotations.left_out,
        records_left_out={},
        repaired={name: list(recording.repairs)} if recording.repairs else {},
    )


def choose_leads(
    where: Path,
    there: Sequence[str],
    leads: Sequence[str],
    stand_ins: Mapping[str, Sequence[str]] = STAND_INS,
) -> list[int]:
    """Places of these leads among a record's channels of the names `there` (see `records.find_lead`). For a missing one
    stand its stand-ins, or else the first channel not yet taken; a `RecordError` is raised where it has fewer."""
    if len(leads) > len(there):
        raise RecordError(where, "too few leads", f"{len(there)}", f"{len(leads)}")
    chosen: list[int | None] = []
    for lead in leads:
        places = (records.find_lead(where, there, name) for name in (lead, *stand_ins.get(lead, ())))
        chosen.append(next((place for place in places if place is not None and place not in chosen), None))
    free = iter(other_leads(there, chosen))
    found = [next(free, None) if place is None else place for place in chosen]
    if None in found:
        raise RecordError(where, "too few leads", ", ".join(there), f"{len(leads)} of an ECG")
    return [place for place in found if place is not None]


def other_leads(there: Sequence[str], taken: Collection[int | None]) -> list[int]:
    """Places of the ECG leads among a record's channels of the names `there` that are not taken."""
    return [i for i, name in enumerate(there) if i not in taken and not NO_ECG.search(name)]


CutResult = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], dict[str, int]]
"""Beats as of `Beats.signals`, their features, which R peaks these are the beats of, and how many others there are, by
reason."""


def cut_signals(signals: NDArray[np.float32], fs: float, r_peaks: NDArray[np.int64], cut: Cut) -> CutResult:
    """The beats of leads `(leads, samples)` in mV, of `fs` Hz, with R peaks `(n,)` in samples, increasing."""
    cutter = {"kachuee": kachuee, "centred": centred, "relative": relative}[cut]
    return cutter(at_rate(signals, fs, RATE), r_peaks / fs)


def kachuee(signals: NDArray[np.float32], r_peaks_s: NDArray[np.float64]) -> CutResult:
    """The cut `kachuee` of leads `(leads, samples)` at `RATE`; R peaks in seconds, `(n,)`. A beat that does not vary in
    one of the leads is left out."""
    n, samples = len(r_peaks_s), signals.shape[1]
    starts = np.round(r_peaks_s * RATE).astype(np.int64).clip(0, samples)
    lengths = np.round(np.diff(r_peaks_s, append=r_peaks_s[-1:]) * KACHUEE_SPAN * RATE).astype(np.int64)
    ends = (starts + lengths.clip(0, KACHUEE_SAMPLES)).clip(max=samples)
    padded = np.pad(signals, ((0, 0), (0, KACHUEE_SAMPLES)))
    spans = np.stack([starts, ends], 1).ravel()  # every second one, to the next beat's start, is of no interest
    low, high = (of.reduceat(padded, spans, 1)[:, ::2].T[:, :, None] for of in (np.minimum, np.maximum))
    flat = (ends == starts) | (high <= low).any((1, 2))
    flat[n - 1 :] = False
    cuts = sliding_window_view(padded, KACHUEE_SAMPLES, 1).swapaxes(0, 1)[starts]
    with np.errstate(all="ignore"):  # of flat ones, and beyond the ends
        cuts -= low
        cuts /= high - low
    np.copyto(cuts, 0, where=(np.arange(KACHUEE_SAMPLES) >= (ends - starts)[:, None])[:, None])
    keep = ~flat
    keep[n - 1 :] = False
    left_out = {"no next beat": min(n, 1), "no variation": int(flat.sum())}
    return cuts[keep], np.zeros((int(keep.sum()), 0), dtype=np.float32), keep, left_out


def centred(signals: NDArray[np.float32], r_peaks_s: NDArray[np.float64]) -> CutResult:
    """The cut `centred`; arguments as of `kachuee`."""
    keep, left_out = _between(len(r_peaks_s))
    cuts = rhythm.windows_of(signals, r_peaks_s, BEFORE, AFTER)
    return cuts[keep], rr_features(r_peaks_s)[keep], keep, left_out


def relative(signals: NDArray[np.float32], r_peaks_s: NDArray[np.float64]) -> CutResult:
    """The cut `relative`; arguments as of `kachuee`."""
    keep, left_out = _between(len(r_peaks_s))
    signals = rhythm.without_baseline(signals)
    cuts = rhythm.waveforms(signals, r_peaks_s, RELATIVE_BEFORE, RELATIVE_AFTER)
    columns = [*rhythm.features(signals[0], r_peaks_s).values()]
    for lead in signals[1:]:
        columns += rhythm.shapes(lead, r_peaks_s).values()
    features = np.stack(columns, 1).astype(np.float32)
    return cuts[keep].clip(-RELATIVE_CLIP, RELATIVE_CLIP), features[keep], keep, left_out


def _between(n: int) -> tuple[NDArray[np.bool_], dict[str, int]]:
    """Which of `n` beats have one before and one after them, and how many have not."""
    keep = np.ones(n, dtype=bool)
    keep[:1] = False
    keep[n - 1 :] = False
    return keep, {"no previous beat": min(n, 1), "no next beat": int(n > 1)}


@dataclass(frozen=True)
class Windows:
    """Windows over the beats of every record, without a gap and without overlap but for the last of a record."""

    position: NDArray[np.int64]
    """`(windows, length)`: positions of the beats, in time order, all of one record. A record with fewer beats than a
    window repeats its last one."""
    first: NDArray[np.bool_]
    """Same shape: False where an earlier window holds the beat already."""


def windows(record: NDArray[np.str_], length: int) -> Windows:
    """Cut the beats of each record into windows of `length` beats.

    `record` `(n,)` is the record of every beat; the beats of a record stand together, in time order.
    """
    changes = np.flatnonzero(record[1:] != record[:-1]) + 1
    ends = pairwise([0, *changes.tolist(), len(record)])
    cuts = np.array([(start, low, end) for start, end in ends for low in range(start, end, length)], dtype=np.int64)
    start, low, end = cuts.reshape(-1, 3, 1).transpose(1, 0, 2)
    span = np.maximum(np.minimum(low, end - length), start) + np.arange(length)
    return Windows(np.minimum(span, end - 1), (span >= low) & (span < end))


def rr_features(r_peaks_s: NDArray[np.float64]) -> NDArray[np.float32]:
    """RR features of every beat of a record, `(n, 6)`, the columns of `RR_FEATURES`, from R peaks in seconds, `(n,)`,
    increasing; a first or last beat lacks an interval and takes the other one."""
    n = len(r_peaks_s)
    if n < 2:
        return np.zeros((n, len(RR_FEATURES)), dtype=np.float32)
    rr = np.diff(r_peaks_s)
    before, after = np.append(rr[0], rr), np.append(rr, rr[-1])
    sums = np.concatenate([[0.0], np.cumsum(rr)])
    low = np.maximum(np.arange(n) - RR_NEIGHBOURS, 0)
    high = np.minimum(np.arange(n) + RR_NEIGHBOURS, n - 1)
    local = (sums[high] - sums[low]) / (high - low)
    shortest = 1 / RATE  # two R peaks on one sample must not divide by zero
    local, safe_after = np.maximum(local, shortest), np.maximum(after, shortest)
    columns = [before, after, local, before / local, after / local, before / safe_after]
    return np.stack(columns, axis=1).astype(np.float32)


def limit(beats: Beats, n: int) -> Beats:
    """At most `n` beats, drawn by class with a fixed seed; a rare class keeps up to a fiftieth of `n`. The order of
    beats within their records is kept."""
    if len(beats) <= n:
        return beats
    draw, room, chosen = np.random.default_rng(0), n, []
    counts = np.bincount(beats.labels, minlength=len(aami.CLASSES))
    for label in np.argsort(counts, kind="stable"):  # rare classes first, the commonest takes the room that is left
        share = room if label == counts.argmax() else max(1, n // 50, int(counts[label] * n / len(beats)))
        size = min(int(counts[label]), share, room)
        room -= size
        chosen.append(draw.choice(np.flatnonzero(beats.labels == label), size, replace=False))
    return beats.take(np.sort(np.concatenate(chosen)))
