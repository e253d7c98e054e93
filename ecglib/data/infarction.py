"""Beats of people with and without a myocardial infarction, each with its patient, from three databases.

`ptb-xl`: ten seconds of 12 leads. `ptbdb`: recordings of up to two minutes. `heartbeat`: the beats that Kachuee et al.
(2018) cut from `ptbdb`, which carry no patient.

Beats are cut as there (see `ecglib.data.beats`): from the R peak over 1.2 times the interval to the next, at 125 Hz,
each lead scaled to 0..1 on its own, and padded with zeros to 187 samples. R peaks are detected, as nobody marked them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecglib import fingerprint, paths
from ecglib.data import beats as beats_module
from ecglib.data import rhythm
from ecglib.data.catalogues import kaggle_csv, ptb_xl, ptbdb
from ecglib.data.catalogues.catalogue import OTHER, Person
from ecglib.data.databases import Source
from ecglib.data.detection import r_peaks
from ecglib.data.records import RATE, at_rate, read_recording
from ecglib.errors import RecordError, UserError

CLASSES: Final = ("healthy", "infarction")
PEOPLE: Final = {"ptb-xl": ptb_xl.people, "ptbdb": ptbdb.people}
"""Database -> who is in it."""
RHYTHM_LEAD: Final = "II"
"""The lead that R peaks are found in, whichever leads are read."""
BEFORE, AFTER = 38, 63
"""Samples of a median beat before and from the R peak on, at 125 Hz: 0.3 s and 0.5 s."""
N_SAMPLES: Final = kaggle_csv.N_SAMPLES
"""Samples of a beat."""
ARRAYS: Final = ("signals", "labels", "recording", "sample", "median_beats")
_COLUMNS: Final = {"record": "", "patient": "", "label": 0, "likelihood": np.nan, "age": np.nan, "female": np.nan}


@dataclass(frozen=True)
class Cohort:
    """Beats, the recordings that they are of, and the people behind those.

    Attributes
    ----------
    signals
        float32 `(n, leads, 187)`: beats, 0..1; in mV and `(n, leads, 101)` of `ecglib.data.aligned_beats`.
    labels
        int64 `(n,)`: index into `CLASSES`, the same for all beats of a recording.
    recording
        int64 `(n,)`: row of each beat in `recordings`.
    sample
        int64 `(n,)`: the R peak's position in samples at the recording's own rate; -1 where only beats are known.
    recordings
        One row a recording: `record`, `patient`, `label`, `likelihood` (percent that the infarction, or the normal
        finding, is certain to), `age` (years), `female` (0 or 1); NaN where unknown. Without patients (`heartbeat`)
        every beat is a recording and `patient` is empty.
    median_beats
        float32 `(recordings, leads, 101)`: median beat from 0.3 s before the R peak to 0.5 s after it, without baseline
        wander, in mV; with no recordings to take them of, `(recordings, leads, 0)`.
    left_out
        Recordings left out, by reason, those with `OTHER` among them.
    records_left_out
        Broken or unclear recordings -> the reason.
    """

    signals: NDArray[np.float32]
    labels: NDArray[np.int64]
    recording: NDArray[np.int64]
    sample: NDArray[np.int64]
    recordings: pd.DataFrame
    median_beats: NDArray[np.float32]
    left_out: dict[str, int]
    records_left_out: dict[str, str]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def patients(self) -> NDArray[np.int64]:
        """`(n,)`: number of each beat's patient, in order of their names."""
        names = self.recordings["patient"].to_numpy(dtype=np.str_)
        return np.unique(names, return_inverse=True)[1][self.recording]


def load(source: Source, leads: Sequence[str] = (RHYTHM_LEAD,)) -> Cohort:
    """All beats of a database with one of the two diagnoses, from the cache where they were cut before.

    Parameters
    ----------
    source
        Of `ptb-xl`, `ptbdb` or `heartbeat`.
    leads
        Leads by name, upper or lower case; `heartbeat` has lead II alone.

    Raises
    ------
    UserError
        When the database is another one, a table of it can't be read, or no recording is left.
    """
    if source.name == "heartbeat":
        return _of_csv(source, leads)
    if source.name not in PEOPLE:
        raise UserError(source.name, "no database of infarctions", "ptb-xl, ptbdb or heartbeat")
    key = fingerprint.of_values(source.fingerprint(), list(leads), fingerprint.of_code(beats_module.CODE))[:16]
    path = paths.cache() / "beats" / f"{source.name}-infarction-{key}.npz"
    if not path.is_file():
        _write(path, read_recordings(source, leads))
    return _stored(path)


def of_recordings(cohort: Cohort, rows: NDArray[np.int64]) -> Cohort:
    """The cohort of these recordings alone, by their rows in `recordings`, increasing."""
    kept = np.isin(cohort.recording, rows)
    return replace(
        cohort,
        signals=cohort.signals[kept],
        labels=cohort.labels[kept],
        recording=np.searchsorted(rows, cohort.recording[kept]),
        sample=cohort.sample[kept],
        recordings=cohort.recordings.iloc[rows].reset_index(drop=True),
        median_beats=cohort.median_beats[rows],
    )


def limited(cohort: Cohort, n: int | None) -> Cohort:
    """At most `n` recordings, one of a patient, the classes in their proportion but four or more of each where there
    are as many."""
    if n is None or n >= len(cohort.recordings):
        return cohort
    patients, labels = cohort.recordings["patient"].to_numpy(dtype=np.str_), cohort.recordings["label"].to_numpy()
    rows = np.arange(len(labels)) if not patients.all() else np.unique(patients, return_index=True)[1]
    n, draw = min(n, len(rows)), np.random.default_rng(0)
    sick, healthy = (draw.permutation(rows[labels[rows] == i]) for i in (1, 0))
    fewest, most = max(min(4, len(sick)), n - len(healthy)), min(len(sick), n - min(4, len(healthy)))
    n_sick = int(np.clip(round(n * len(sick) / len(rows)), fewest, max(fewest, most)))
    return of_recordings(cohort, np.sort(np.concatenate([sick[:n_sick], healthy[: n - n_sick]])))


# --- who is who -------------------------------------------------------------------------------------------------------


def _set_aside(people: Iterable[Person | RecordError]) -> tuple[list[Person], Counter[str], dict[str, str]]:
    """Those with one diagnosis, and the others: counts by reason, and the names of all but `OTHER`."""
    kept, left_out, named = [], Counter[str](), {}
    for person in people:
        if isinstance(person, Person):
            kept.append(person)
            continue
        left_out[person.reason] += 1
        if person.reason != OTHER:
            named[person.where] = str(person.reason)
    labels: dict[str, set[int]] = {}
    for person in kept:
        labels.setdefault(person.patient, set()).add(person.label)
    for person in kept:
        if len(labels[person.patient]) > 1:
            left_out["patient in both classes"] += 1
            named[person.record] = "patient in both classes"
    return [person for person in kept if len(labels[person.patient]) == 1], left_out, named


# --- cutting ----------------------------------------------------------------------------------------------------------


def read_recordings(source: Source, leads: Sequence[str]) -> Cohort:
    """All beats of a database, cut from its recordings; parameters and errors as of `load`."""
    people, left_out, named = _set_aside(PEOPLE[source.name](source))

    def read(person: Person) -> tuple[NDArray[Any], ...] | RecordError:
        try:
            return _cut(source.folder, person.record, leads)
        except RecordError as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        parts = list(pool.map(read, people))
    rows, found = [], []
    for person, part in zip(people, parts, strict=True):
        if isinstance(part, RecordError):
            left_out[part.reason] += 1
            named[person.record] = part.reason
        else:
            rows.append(vars(person))
            found.append(part)
    if not found:
        first = next((f"{name}: {why}" for name, why in named.items()), "none with one of the two diagnoses")
        raise UserError(source.folder, f"no recording is left; {first}", f"recordings of {' and '.join(CLASSES)}")
    table = pd.DataFrame(rows, columns=list(_COLUMNS))
    signals, samples, median_beats = zip(*found, strict=True)
    recording = np.repeat(np.arange(len(table)), [len(part) for part in signals])
    return Cohort(
        signals=np.concatenate(signals),
        labels=table["label"].to_numpy(np.int64)[recording],
        recording=recording,
        sample=np.concatenate(samples),
        recordings=table,
        median_beats=np.stack(median_beats),
        left_out=dict(left_out),
        records_left_out=named,
    )


def _cut(folder: Path, name: str, leads: Sequence[str]) -> tuple[NDArray[Any], ...]:
    """Beats `(n, leads, 187)`, their R peaks `(n,)`, and the median beat `(leads, 101)` of one recording."""
    wanted = list(dict.fromkeys((RHYTHM_LEAD, *(lead.upper() for lead in leads))))
    recording = read_recording(folder, name, wanted)
    peaks = r_peaks(recording.signals[0], recording.fs, name)
    seconds = peaks / recording.fs
    signals = at_rate(recording.signals, recording.fs, RATE)[[wanted.index(lead.upper()) for lead in leads]]
    cuts, kept = [], np.ones(len(peaks), dtype=bool)
    for lead in signals:
        beats, _, good, _ = beats_module.kachuee(lead[None], seconds)
        whole = np.zeros((len(peaks), 1, beats.shape[2]), dtype=np.float32)
        whole[good] = beats
        cuts.append(whole)
        kept &= good
    if not kept.any():
        raise RecordError(name, "no whole beat", f"{len(peaks)} R peaks", "two or more, with a signal between them")
    level = np.stack([rhythm.without_baseline(lead) for lead in signals])
    windows = np.stack([rhythm.windows_of(lead, seconds, BEFORE, AFTER) for lead in level], 1)
    return np.concatenate(cuts, 1)[kept], peaks[kept], np.median(windows, 0).astype(np.float32)


def _of_csv(source: Source, leads: Sequence[str]) -> Cohort:
    if [lead.upper() for lead in leads] != [RHYTHM_LEAD]:
        raise UserError("leads", f"{', '.join(leads)}", f"{RHYTHM_LEAD}, the one lead of the Kaggle set")
    files = {"ptbdb_normal.csv": 0, "ptbdb_abnormal.csv": 1}
    missing = [file for file in files if file not in source.records]
    if missing:
        raise UserError(source.folder / missing[0], "no such file", "a CSV of the Kaggle set shayanfazeli/heartbeat")
    parts, labels = [], []
    for file, label in files.items():
        signals, given = kaggle_csv.read(source.folder / file, kaggle_csv.CLASSES[file])
        if (given != label).any():
            raise UserError(source.folder / file, f"{int((given != label).sum())} labels other than {label}")
        parts.append(signals)
        labels.append(given)
    y = np.concatenate(labels)
    table = pd.DataFrame({**_COLUMNS, "label": y})
    table["record"] = [f"{CLASSES[label]}-{i}" for i, label in enumerate(y)]
    return Cohort(
        signals=np.concatenate(parts)[:, None],
        labels=y,
        recording=np.arange(len(y)),
        sample=np.full(len(y), -1),
        recordings=table,
        median_beats=np.zeros((len(y), 1, 0), dtype=np.float32),
        left_out={},
        records_left_out={},
    )


# --- the cache --------------------------------------------------------------------------------------------------------


def _write(path: Path, cohort: Cohort) -> None:
    texts = {name: cohort.recordings[name].to_numpy(dtype=np.str_) for name in ("record", "patient")}
    numbers = {name: cohort.recordings[name].to_numpy() for name in _COLUMNS if name not in texts}
    aside = {
        "reasons": np.array(list(cohort.left_out), dtype=np.str_),
        "counts": np.array(list(cohort.left_out.values()), dtype=np.int64),
        "bad": np.array(list(cohort.records_left_out), dtype=np.str_),
        "why": np.array(list(cohort.records_left_out.values()), dtype=np.str_),
    }
    beats_module.store(path, {name: getattr(cohort, name) for name in ARRAYS} | texts | numbers | aside)


def _stored(path: Path) -> Cohort:
    with np.load(path, allow_pickle=False) as stored:
        return Cohort(
            **{name: stored[name] for name in ARRAYS},
            recordings=pd.DataFrame({name: stored[name] for name in _COLUMNS}),
            left_out=dict(zip(stored["reasons"].tolist(), stored["counts"].tolist(), strict=True)),
            records_left_out=dict(zip(stored["bad"].tolist(), stored["why"].tolist(), strict=True)),
        )
