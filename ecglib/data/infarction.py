"""Beats of people with and without a myocardial infarction, each with its patient, from three databases.

`ptb-xl`: ten seconds of 12 leads. `ptbdb`: recordings of up to two minutes. `kaggle`: the beats that Kachuee et al.
(2018) cut from `ptbdb`, which carry no patient.

Beats are cut as there (see `ecglib.data.beats`): from the R peak over 1.2 times the interval to the next, at 125 Hz,
each lead scaled to 0..1 on its own, and padded with zeros to 187 samples. R peaks are detected, as nobody marked them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecglib.data import beats, rhythm, splits
from ecglib.data.catalogues import kaggle_csv, ptb_xl, ptbdb
from ecglib.data.catalogues.catalogue import OTHER, Person
from ecglib.data.databases import Source
from ecglib.data.detection import r_peaks
from ecglib.data.records import RATE, Recording, at_rate, read_recording
from ecglib.errors import RecordError, UserError

CLASSES: Final = ("healthy", "infarction")
PEOPLE: Final = {"ptb-xl": ptb_xl.people, "ptbdb": ptbdb.people}
"""Database -> who is in it."""
HELD_OUT: Final = 5
"""Parts of a database's patients of which one is held out."""
RHYTHM_LEAD: Final = "II"
"""The lead that R peaks are found in, whichever leads are read."""
BEFORE, AFTER = 38, 63
"""Samples of a median or an aligned beat before and from the R peak on, at 125 Hz: 0.3 s and 0.5 s."""
N_SAMPLES: Final = kaggle_csv.N_SAMPLES
"""Samples of a beat."""


@dataclass(frozen=True)
class Cohort:
    """Beats, the recordings that they are of, and the people behind those."""

    signals: NDArray[np.float32]
    """`(n, leads, 187)`: beats, 0..1; `aligned` ones in mV and `(n, leads, 101)`."""
    labels: NDArray[np.int64]
    """`(n,)`: index into `CLASSES`, the same for all beats of a recording."""
    recording: NDArray[np.int64]
    """`(n,)`: row of each beat in `recordings`."""
    sample: NDArray[np.int64]
    """`(n,)`: the R peak's position in samples at the recording's own rate; -1 where only beats are known."""
    recordings: pd.DataFrame
    """One row a recording: `record`, `patient`, `label`, `likelihood` (percent that the infarction, or the normal
    finding, is certain to), `age` (years), `female` (0 or 1); NaN where unknown. Without patients (`kaggle`) every
    beat is a recording and `patient` is empty."""
    median_beats: NDArray[np.float32]
    """`(recordings, leads, 101)`: median beat from 0.3 s before the R peak to 0.5 s after it, without baseline wander,
    in mV; with no recordings to take them of, `(recordings, leads, 0)`."""
    left_out: dict[str, int]
    """Recordings left out, by reason, those with `OTHER` among them."""
    records_left_out: dict[str, str]
    """Broken or unclear recordings -> the reason."""
    repaired: dict[str, list[str]] = field(default_factory=dict)
    """Recordings in which something was put right -> what, one sentence each."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def patients(self) -> NDArray[np.int64]:
        """`(n,)`: number of each beat's patient, in order of their names."""
        names = self.recordings["patient"].to_numpy(dtype=np.str_)
        return np.unique(names, return_inverse=True)[1][self.recording]


def load(source: Source, leads: Sequence[str] = (RHYTHM_LEAD,), without: Set[str] = frozenset()) -> Cohort:
    """All beats of `ptb-xl`, `ptbdb` or `kaggle` with one of the two diagnoses, from the cache where they were cut
    before; no recording is read of patients that it is to be `without`. Leads are by name, upper or lower case;
    `kaggle` has lead II alone. A `UserError` when the database is another one, a table of it can't be read, or no
    recording is left."""
    if source.name == "kaggle":
        return _of_csv(source, leads)
    if source.name not in PEOPLE:
        raise UserError(source.name, "no database of infarctions", "ptb-xl, ptbdb or kaggle")

    def made() -> dict[str, Any]:
        cohort = read_recordings(source, leads, without)
        return vars(cohort) | {"recordings": cohort.recordings.to_dict("list")}

    made_of = [source.fingerprint(), list(leads), *([sorted(without)] if without else [])]
    found = beats.cached(f"{source.name}-infarction", made_of, made)
    return Cohort(**found | {"recordings": pd.DataFrame(found["recordings"])})


def held_out(source: Source) -> frozenset[str]:
    """The patients of one part of `HELD_OUT`, drawn by diagnosis from the database's tables alone, before any signal is
    read. They are the same ones in every experiment on these tables; errors are those of `load`."""
    table, _ = people(source)
    patients = np.unique(table["patient"].to_numpy(dtype=np.str_), return_inverse=True)[1]
    fold = splits.folds(table["label"].to_numpy(np.int64), patients, HELD_OUT, 0, CLASSES)
    return frozenset(table["patient"][fold == 0])


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
    rows = np.sort(np.concatenate([sick[:n_sick], healthy[: n - n_sick]]))
    kept = np.isin(cohort.recording, rows)
    return replace(
        cohort,
        **{name: getattr(cohort, name)[kept] for name in ("signals", "labels", "sample")},
        recording=np.searchsorted(rows, cohort.recording[kept]),
        recordings=cohort.recordings.iloc[rows].reset_index(drop=True),
        median_beats=cohort.median_beats[rows],
    )


def aligned(cohort: Cohort, source: Source, leads: Sequence[str]) -> Cohort:
    """The same beats once more, from 0.3 s before the R peak to 0.5 s after it, without baseline wander: `signals` is
    then `(n, leads, 101)` in mV. They come from the cache where they were cut before.

    The cut of Kachuee et al. scales every lead of every beat to 0..1, which hides how large a Q wave or a raised ST
    segment is, and how a lead compares with the next. The cohort is of recordings of `source`, not of the Kaggle set's
    bare beats; a `RecordError` says which of them can't be read any more.
    """
    names = cohort.recordings["record"].tolist()

    def of_row(row: int) -> NDArray[np.float32]:
        return cut_recording(source, names[row], leads, cohort.sample[cohort.recording == row])

    def made() -> dict[str, Any]:
        with ThreadPoolExecutor(2) as pool:
            return {"signals": np.concatenate(list(pool.map(of_row, range(len(names)))))}

    made_of = [source.fingerprint(), list(leads), names, cohort.sample.tolist()]
    return replace(cohort, **beats.cached(f"{source.name}-aligned", made_of, made))


# --- cutting ----------------------------------------------------------------------------------------------------------


def people(source: Source) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """Who of `ptb-xl` or `ptbdb` has one of the two diagnoses, a row a recording (`catalogue.Person`), and the
    recordings left out, with the reason."""
    every = list(PEOPLE[source.name](source))
    aside = [(each.where, each.reason) for each in every if isinstance(each, RecordError)]
    table = pd.DataFrame([each for each in every if isinstance(each, Person)], columns=list(Person.__annotations__))
    in_both = table.groupby("patient")["label"].transform("nunique") > 1
    aside += [(record, "patient in both classes") for record in table["record"][in_both]]
    return table[~in_both], aside


def read_recordings(source: Source, leads: Sequence[str], without: Set[str] = frozenset()) -> Cohort:
    """All beats of a database, cut from its recordings; parameters and errors as of `load`."""
    table, aside = people(source)
    table = table[~table["patient"].isin(without)]
    parts = beats.tried(lambda record: _cut(source.folder, record, leads), table["record"])
    aside += [(record, part.reason) for record, part in parts.items() if isinstance(part, RecordError)]
    found = {record: part for record, part in parts.items() if not isinstance(part, RecordError)}
    named = {record: reason for record, reason in aside if reason != OTHER}
    if not found:
        first = next(
            (f"{name}: {why}" for name, why in named.items()),
            "none is of the two diagnoses" if aside else "none is here",
        )
        raise UserError(source.folder, f"no recording is left; {first}", f"recordings of {' and '.join(CLASSES)}")
    table = table[table["record"].isin(found)].reset_index(drop=True)
    repairs = dict(zip(table["record"], table.pop("repairs"), strict=True))
    signals, samples, median_beats = zip(*found.values(), strict=True)
    recording = np.repeat(np.arange(len(table)), [len(part) for part in signals])
    return Cohort(
        signals=np.concatenate(signals),
        labels=table["label"].to_numpy(np.int64)[recording],
        recording=recording,
        sample=np.concatenate(samples),
        recordings=table,
        median_beats=np.stack(median_beats),
        left_out=dict(Counter(reason for _, reason in aside)),
        records_left_out=named,
        repaired={record: list(said) for record, said in repairs.items() if said},
    )


def wanted_leads(leads: Sequence[str]) -> list[str]:
    """What is read of a recording: the lead that R peaks are found in, and these."""
    return list(dict.fromkeys((RHYTHM_LEAD, *(lead.upper() for lead in leads))))


@dataclass(frozen=True)
class Cut:
    """The beats of one recording."""

    peaks: NDArray[np.int64]
    """`(n,)`: its R peaks, in its own samples."""
    kept: NDArray[np.bool_]
    """`(n,)`: which of them have a whole beat."""
    whole: NDArray[np.float32]
    """`(kept, leads, 187)`: these, as of `Cohort.signals`."""
    aligned: NDArray[np.float32]
    """`(n, leads, 101)` in mV: windows around every R peak, without baseline wander."""


def cut(recording: Recording, leads: Sequence[str]) -> Cut:
    """The beats of a recording that was read with its `wanted_leads`. A `RecordError` where it has no R peak, or no
    whole beat."""
    peaks = r_peaks(recording.signals[0], recording.fs, recording.name)
    seconds, wanted = peaks / recording.fs, wanted_leads(leads)
    signals = at_rate(recording.signals, recording.fs, RATE)[[wanted.index(lead.upper()) for lead in leads]]
    whole, _, kept, _ = beats.kachuee(signals, seconds)
    if not kept.any():
        found = f"{len(peaks)} R peaks"
        raise RecordError(recording.name, "no whole beat", found, "two or more, with a signal between them")
    return Cut(peaks, kept, whole, rhythm.windows_of(rhythm.without_baseline(signals), seconds, BEFORE, AFTER))


def _cut(folder: Path, name: str, leads: Sequence[str]) -> tuple[NDArray[Any], ...]:
    """Beats `(n, leads, 187)`, their R peaks `(n,)`, and the median beat `(leads, 101)` of one recording."""
    found = cut(read_recording(folder, name, wanted_leads(leads)), leads)
    return found.whole, found.peaks[found.kept], np.median(found.aligned, 0).astype(np.float32)


def cut_recording(source: Source, name: str, leads: Sequence[str], peaks: NDArray[np.int64]) -> NDArray[np.float32]:
    """Aligned beats `(n, leads, 101)` of one recording, at R peaks in its own samples."""
    recording = read_recording(source.folder, name, leads)
    signals = rhythm.without_baseline(at_rate(recording.signals, recording.fs, RATE))
    return rhythm.windows_of(signals, peaks / recording.fs, BEFORE, AFTER)


def _of_csv(source: Source, leads: Sequence[str]) -> Cohort:
    if [lead.upper() for lead in leads] != [RHYTHM_LEAD]:
        raise UserError("leads", f"{', '.join(leads)}", f"{RHYTHM_LEAD}, the one lead of the Kaggle set")
    files = {"ptbdb_normal.csv": 0, "ptbdb_abnormal.csv": 1}
    parts = []
    for file, label in files.items():
        signals, given = kaggle_csv.read(source.folder / file, kaggle_csv.CLASSES[file])
        if len(wrong := np.flatnonzero(given != label)):
            said = f"{len(wrong)} labels other than {label}, the first in row {wrong[0] + 1}"
            raise UserError(source.folder / file, said)
        parts.append(signals)
    y = np.repeat(list(files.values()), [len(part) for part in parts])
    return Cohort(
        signals=np.concatenate(parts)[:, None],
        labels=y,
        recording=np.arange(len(y)),
        sample=np.full(len(y), -1),
        recordings=pd.DataFrame(
            [Person(f"{CLASSES[label]}-{i}", "", label) for i, label in enumerate(y.tolist())]
        ).drop(columns="repairs"),
        median_beats=np.zeros((len(y), 1, 0), dtype=np.float32),
        left_out={},
        records_left_out={},
    )
