"""Beats cut from annotated records, in three ways.

`kachuee`: the recipe of the Kaggle set (Kachuee et al. 2018, section III-B): one lead at 125 Hz, from the R peak over
1.2 times the RR interval to the next beat, at most 187 samples, scaled to 0..1 and padded with zeros. The last beat of
a record has no next one and is left out; over all 48 records of `mitdb` the counts are then those of the published set.

`centred`: a window from 1.2 s before the R peak (which reaches the previous one above 50 beats per minute) to 0.6 s
after it, at 125 Hz and in mV, and with it features of the RR intervals around the beat.

`relative`: a beat beside its own record: a window from 0.9 s before the R peak to 0.5 s after it, baseline wander
removed, of each lead as it is and without the record's median beat, and features of rhythm and shape (see
`ecglib.data.rhythm`). It needs the whole recording, and no symbol of any beat.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ecglib import aami, files, fingerprint, paths
from ecglib.data import rhythm
from ecglib.data.databases import Source
from ecglib.data.records import RATE, Recording, at_rate, read_annotations, read_recording
from ecglib.errors import RecordError

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
RR_NEIGHBOURS = 5
"""Intervals on either side of a beat that its local mean RR is taken over."""
RR_FEATURES = ("rr_previous", "rr_next", "rr_local", "previous_to_local", "next_to_local", "previous_to_next")
"""Features of a `centred` beat: three intervals in seconds, three ratios. They come from R-peak positions alone."""
CODE = ("aami.py", "data")
"""The code that whatever is cut follows from, taken whole: to cut again costs seconds."""


def n_samples(cut: Cut) -> int:
    """Samples of a beat in this cut."""
    return {"kachuee": KACHUEE_SAMPLES, "centred": BEFORE + AFTER}.get(cut, RELATIVE_BEFORE + RELATIVE_AFTER)


def n_channels(cut: Cut, n_leads: int) -> int:
    """Channels of a beat in this cut: one a lead, two in the `relative` cut."""
    return 2 * n_leads if cut == "relative" else n_leads


def n_features(cut: Cut, n_leads: int) -> int:
    """Features of a beat in this cut."""
    if cut == "relative":
        return rhythm.N_FEATURES + (n_leads - 1) * len(rhythm.SHAPES)
    return len(RR_FEATURES) if cut == "centred" else 0


@dataclass(frozen=True)
class Beats:
    """Beats of many records, in order of record and time; all arrays run over beats.

    Attributes
    ----------
    signals
        float32 `(n, channels, samples)` at 125 Hz, a channel a lead: 0..1 (`kachuee`) or mV (`centred`). `relative`:
        in mV the leads, then the same leads without the record's median beat.
    features
        float32 `(n, n_features)`: `(n, 0)` for `kachuee`, the columns of `RR_FEATURES` for `centred`. `relative`: those
        of `rhythm.features` of the first lead, heart rate first, then the shapes of every further lead.
    labels
        int64 `(n,)`: index into `aami.CLASSES`.
    record, patient, symbol
        Text `(n,)`: names, and the WFDB annotation symbol.
    sample
        int64 `(n,)`: the R peak's position in the record, in samples at the record's own rate.
    left_out
        Beats left out, by reason.
    records_left_out
        Records set aside -> the reason.
    """

    signals: NDArray[np.float32]
    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    record: NDArray[np.str_]
    patient: NDArray[np.str_]
    symbol: NDArray[np.str_]
    sample: NDArray[np.int64]
    left_out: dict[str, int]
    records_left_out: dict[str, str]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: NDArray[np.int64]) -> Beats:
        """The beats at these positions, in that order."""
        return replace(self, **{name: getattr(self, name)[index] for name in ARRAYS})


ARRAYS = tuple(f.name for f in fields(Beats) if not f.name.endswith("left_out"))


def load(source: Source, cut: Cut, leads: Sequence[str] = ("MLII",)) -> Beats:
    """All beats of a source's records, from the cache where they were cut before.

    Parameters
    ----------
    source
        Where the records lie.
    cut
        How beats are cut.
    leads
        Leads by name; where a record lacks one, its first lead not yet taken stands in.

    Raises
    ------
    RecordError
        When no record gives a beat; single broken records are set aside in `records_left_out`.
    """
    key = fingerprint.of_values(source.fingerprint(), cut, list(leads), fingerprint.of_code(CODE))[:16]
    path = paths.cache() / "beats" / f"{source.name}-{cut}-{key}.npz"
    if path.is_file():
        return _read(path)
    beats = cut_records(source.folder, source.records, cut, leads)
    _write(path, beats)
    return beats


def cut_records(folder: Path, names: Sequence[str], cut: Cut, leads: Sequence[str]) -> Beats:
    """Cut the beats of these records. Parameters and errors as for `load`."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = list(pool.map(lambda name: _try_record(folder, name, cut, leads), names))
    good = [part for part in parts if isinstance(part, Beats)]
    bad = {name: part for name, part in zip(names, parts, strict=True) if isinstance(part, RecordError)}
    if not any(len(part) for part in good):
        first = next(iter(bad.values()), None)
        raise first or RecordError(folder, "no beats", expected="annotated records")
    left_out: Counter[str] = Counter()
    for part in good:
        left_out.update(part.left_out)
    arrays = {name: np.concatenate([getattr(part, name) for part in good]) for name in ARRAYS}
    return Beats(**arrays, left_out=dict(left_out), records_left_out={name: e.reason for name, e in bad.items()})


def _try_record(folder: Path, name: str, cut: Cut, leads: Sequence[str]) -> Beats | RecordError:
    try:
        return cut_record(folder, name, cut, leads)
    except RecordError as error:
        return error


def cut_record(folder: Path, name: str, cut: Cut, leads: Sequence[str]) -> Beats:
    """The beats of one record.

    Raises
    ------
    RecordError
        When the record or its annotations can't be read.
    """
    recording = choose_leads(read_recording(folder, name), leads)
    annotations = read_annotations(folder, name)
    is_beat = np.array([symbol in aami.SYMBOLS for symbol in annotations.symbols], dtype=bool)
    symbols = np.asarray(annotations.symbols, dtype=np.str_)[is_beat]
    r_peaks = annotations.samples[is_beat]
    cutter = {"kachuee": kachuee, "centred": centred, "relative": relative}[cut]
    cuts, features, keep, left_out = cutter(at_rate(recording.signals, recording.fs, RATE), r_peaks / recording.fs)
    symbols, n = symbols[keep], int(keep.sum())
    return Beats(
        signals=cuts,
        features=features,
        labels=np.array([aami.index_of(symbol) for symbol in symbols], dtype=np.int64),
        record=np.full(n, name),
        patient=np.full(n, aami.patient_of(name)),
        symbol=symbols,
        sample=r_peaks[keep].astype(np.int64),
        left_out={reason: count for reason, count in left_out.items() if count},
        records_left_out={},
    )


def choose_leads(recording: Recording, leads: Sequence[str]) -> Recording:
    """The recording with these leads alone, in any case; the first lead not yet taken stands in for a missing one.

    Raises
    ------
    RecordError
        When it has fewer.
    """
    have = [lead.upper() for lead in recording.leads]
    if len(leads) > len(have):
        raise RecordError(recording.name, "too few leads", f"{len(have)}", f"{len(leads)}")
    chosen = [have.index(lead.upper()) if lead.upper() in have else None for lead in leads]
    free = iter([i for i in range(len(have)) if i not in chosen])
    rows = [next(free) if i is None else i for i in chosen]
    return replace(recording, signals=recording.signals[rows], leads=tuple(recording.leads[i] for i in rows))


CutResult = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], dict[str, int]]


def kachuee(signals: NDArray[np.float32], r_peaks_s: NDArray[np.float64]) -> CutResult:
    """The cut `kachuee` of the first of leads `(leads, samples)` at `RATE`; R peaks in seconds, `(n,)`."""
    signal, n = signals[0], len(r_peaks_s)
    starts = np.round(r_peaks_s * RATE).astype(np.int64)
    lengths = np.round(np.diff(r_peaks_s) * KACHUEE_SPAN * RATE).astype(np.int64)
    lengths = np.append(lengths, 0).clip(0, KACHUEE_SAMPLES)
    ends = np.minimum(starts + lengths, len(signal))
    cuts = np.zeros((n, 1, KACHUEE_SAMPLES), dtype=np.float32)
    flat = np.zeros(n, dtype=bool)
    for i in range(n - 1):
        beat = signal[starts[i] : ends[i]]
        low, high = (beat.min(), beat.max()) if len(beat) else (0.0, 0.0)
        flat[i] = high <= low
        if not flat[i]:
            cuts[i, 0, : len(beat)] = (beat - low) / (high - low)
    keep = ~flat
    keep[n - 1 :] = False
    left_out = {"no next beat": min(n, 1), "no variation": int(flat.sum())}
    return cuts[keep], np.zeros((int(keep.sum()), 0), dtype=np.float32), keep, left_out


def centred(signals: NDArray[np.float32], r_peaks_s: NDArray[np.float64]) -> CutResult:
    """The cut `centred`; arguments as of `kachuee`."""
    keep, left_out = _between(len(r_peaks_s))
    centres = np.round(r_peaks_s * RATE).astype(np.int64)
    padded = np.pad(signals, ((0, 0), (BEFORE, AFTER)), mode="edge")
    window = centres[keep, None] + np.arange(BEFORE + AFTER)
    cuts = padded[:, window].transpose(1, 0, 2)
    return np.ascontiguousarray(cuts), rr_features(r_peaks_s)[keep], keep, left_out


def relative(signals: NDArray[np.float32], r_peaks_s: NDArray[np.float64]) -> CutResult:
    """The cut `relative`; arguments as of `kachuee`."""
    keep, left_out = _between(len(r_peaks_s))
    signals = np.stack([rhythm.without_baseline(lead) for lead in signals])
    cuts = rhythm.waveforms(signals, r_peaks_s, RELATIVE_BEFORE, RELATIVE_AFTER)
    features, _ = rhythm.features(signals[0], r_peaks_s, heart_rate=True)
    shapes = [rhythm.shapes(lead, r_peaks_s) for lead in signals[1:]]
    kept = np.concatenate([features, *shapes], 1)[keep]
    return cuts[keep].clip(-RELATIVE_CLIP, RELATIVE_CLIP), kept, keep, left_out


def _between(n: int) -> tuple[NDArray[np.bool_], dict[str, int]]:
    """Which of `n` beats have one before and one after them, and how many have not."""
    keep = np.ones(n, dtype=bool)
    keep[:1] = False
    keep[n - 1 :] = False
    return keep, {"no previous beat": min(n, 1), "no next beat": int(n > 1)}


def rr_features(r_peaks_s: NDArray[np.float64]) -> NDArray[np.float32]:
    """RR features of every beat of a record.

    Parameters
    ----------
    r_peaks_s
        `(n,)`: R peaks in seconds, increasing.

    Returns
    -------
    float32 `(n, 6)`, the columns of `RR_FEATURES`; a first or last beat lacks an interval and takes the other one.
    """
    n = len(r_peaks_s)
    if n < 2:
        return np.zeros((n, len(RR_FEATURES)), dtype=np.float32)
    rr = np.diff(r_peaks_s)
    before, after = np.append(rr[0], rr), np.append(rr, rr[-1])
    sums = np.concatenate([[0.0], np.cumsum(rr)])
    low = np.maximum(np.arange(n) - RR_NEIGHBOURS, 0)
    high = np.minimum(np.arange(n) + RR_NEIGHBOURS, n - 1)
    local = (sums[high] - sums[low]) / (high - low)
    shortest = 1 / RATE  # two annotations on one sample must not divide by zero
    local, safe_after = np.maximum(local, shortest), np.maximum(after, shortest)
    return np.stack([before, after, local, before / local, after / local, before / safe_after], axis=1).astype(
        np.float32
    )


def _write(path: Path, beats: Beats) -> None:
    left_out: dict[str, Any] = {
        "left_out_reasons": np.array(list(beats.left_out), dtype=np.str_),
        "left_out_counts": np.array(list(beats.left_out.values()), dtype=np.int64),
        "bad_records": np.array(list(beats.records_left_out), dtype=np.str_),
        "bad_reasons": np.array(list(beats.records_left_out.values()), dtype=np.str_),
    }
    store(path, {name: getattr(beats, name) for name in ARRAYS} | left_out)


def store(path: Path, arrays: dict[str, Any]) -> None:
    """Write arrays as `.npz` in one step, so that a reader never meets half a file."""
    with files.writing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def _read(path: Path) -> Beats:
    with np.load(path, allow_pickle=False) as stored:
        reasons = zip(stored["left_out_reasons"].tolist(), stored["left_out_counts"].tolist(), strict=True)
        bad = zip(stored["bad_records"].tolist(), stored["bad_reasons"].tolist(), strict=True)
        return Beats(**{name: stored[name] for name in ARRAYS}, left_out=dict(reasons), records_left_out=dict(bad))


def limit(beats: Beats, n: int) -> Beats:
    """At most `n` beats, drawn by class with a fixed seed; a rare class keeps up to a fiftieth of `n`.

    The order of beats within their records is kept.
    """
    if len(beats) <= n:
        return beats
    draw = np.random.default_rng(0)
    floor = max(1, n // 50)
    chosen = []
    room = n
    counts = np.bincount(beats.labels, minlength=len(aami.CLASSES))
    for label in np.argsort(counts, kind="stable"):  # rare classes first, the commonest takes the room that is left
        share = max(floor, int(counts[label] * n / len(beats)))
        size = min(int(counts[label]), share, room)
        if label == counts.argmax():
            size = min(int(counts[label]), room)
        room -= size
        chosen.append(draw.choice(np.flatnonzero(beats.labels == label), size, replace=False))
    return beats.take(np.sort(np.concatenate(chosen)))
