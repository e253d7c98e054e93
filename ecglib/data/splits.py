"""Which beats or recordings train, which choose, which test."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from ecglib import aami
from ecglib.errors import UserError

FOLDS: Final = 10
"""Of 12-lead recordings."""
OFFICIAL: Final = 10
"""PTB-XL's test fold; 9 is its validation fold, and the others are learnt from."""
FEWEST_OF_SOURCE: Final = 5
"""Recordings that a source must have to be left out and scored; and others must be left to learn from."""
DRAWS: Final = 1000
"""Divisions by patient that are tried for one whose sets have all classes."""

Index = NDArray[np.int64]
Names = NDArray[np.str_]


@dataclass(frozen=True)
class Split:
    """Positions of the beats of each set, increasing; the sets share none."""

    train: Index
    val: Index
    test: Index

    def test_sha256(self) -> str:
        """SHA-256 of the test positions (int64, little-endian), which tells whether two runs share a test set."""
        return hashlib.sha256(self.test.astype("<i8").tobytes()).hexdigest()


def intra(labels: NDArray[np.int64], seed: int, validation_fraction: float = 0.1) -> Split:
    """Intra-patient: 80/20 of all beats, stratified by class `(n,)`, as in the Kaggle set; patients are in both parts.

    Seed k fixes split k; `validation_fraction` is the share of the 80 % that is held out for choices, stratified. A
    `UserError` says where a class has too few beats to be in every set.
    """
    try:
        rest, test = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=seed)
        train, val = train_test_split(rest, test_size=validation_fraction, stratify=labels[rest], random_state=seed)
    except ValueError as error:
        raise UserError("protocol intra", str(error).rstrip("."), "more beats of every class") from None
    return Split(np.sort(train), np.sort(val), np.sort(test))


def as_published(labels: NDArray[np.int64], tested: NDArray[np.bool_], seed: int, validation_fraction: float) -> Split:
    """Intra-patient, with the test part that a set of beats comes with: `tested` and labels are `(n,)`.

    The validation beats of a class are at the places among its others where `intra` would have drawn them, so that a
    division by `intra` that was written to files gives its three sets again; of another size than 80/20, the places
    are counted on from the first. Raises as `intra`.
    """
    drawn = intra(labels, seed, validation_fraction)
    validates = np.isin(np.arange(len(labels)), drawn.val)
    val = []
    for label in np.unique(labels):
        others = np.setdiff1d(np.flatnonzero(labels == label), drawn.test)
        mine = np.flatnonzero((labels == label) & ~tested)
        val.append(mine[np.resize(validates[others], len(mine))])
    held = np.sort(np.concatenate(val))
    return Split(np.setdiff1d(np.flatnonzero(~tested), held), held, np.flatnonzero(tested))


def fifth(labels: NDArray[np.int64], seed: int) -> Index:
    """0 for a stratified fifth of all beats, which is scored, 1 for the others, `(n,)`; seed k fixes division k. A
    `UserError` says where a class has too few beats."""
    return np.isin(np.arange(len(labels)), intra(labels, seed).test, invert=True).astype(np.int64)


def inter(record: Names, *, with_test: bool = True) -> Split:
    """Inter-patient: DS1 without its validation records trains, these choose, DS2 tests (de Chazal et al. 2004).

    Paced records and records of neither list are in no set. Records 201 (train) and 202 (test) are one patient; results
    are given with and without 202. Without `with_test`, in development, the test set is empty; a `UserError` names a
    set that is empty and should not be.
    """
    train = [name for name in aami.DS1 if name not in aami.DS1_VALIDATION]
    records = {"train": train, "val": aami.DS1_VALIDATION, "test": aami.DS2 if with_test else ()}
    sets = {name: np.flatnonzero(np.isin(record, these)) for name, these in records.items()}
    for name, index in sets.items():
        if not len(index) and (name != "test" or with_test):
            raise UserError("protocol inter", f"no beat for the {name} set", "records of DS1 and DS2 of mitdb")
    return Split(**sets)


def by_patient(
    labels: Index, patient: Names, seed: int, *, test: float, validation: float, classes: Sequence[int]
) -> Split:
    """Patients apart, drawn under the seed: `test` of them test, `validation` of the others choose, at least one each.

    Labels and patients are of every beat, `(n,)`. Of `DRAWS` draws the first is taken whose sets have beats of the most
    of these classes. Where `test` is 0, nobody is drawn to test. A `UserError` when there are fewer patients than sets.
    """
    names, whose = np.unique(patient, return_inverse=True)
    needed = 2 + (test > 0)
    if len(names) < needed:
        found = f"one patient ({names[0]})" if len(names) == 1 else f"{len(names)} patients"
        raise UserError("patients apart", found, f"{needed} or more, one for each set")
    n_test = max(1, round(test * len(names))) if test else 0
    n_val = min(max(1, round(validation * (len(names) - n_test))), len(names) - n_test - 1)
    has = np.array([np.bincount(whose[labels == label], minlength=len(names)) > 0 for label in classes])
    draw = np.random.default_rng(seed)

    def sets(order: Index) -> list[Index]:
        return [order[n_test + n_val :], order[n_test : n_test + n_val], order[:n_test]]

    def lacking(order: Index) -> int:
        return sum(int((~has[:, some].any(1)).sum()) for some in sets(order) if len(some))

    order = min((draw.permutation(len(names)) for _ in range(DRAWS)), key=lacking)
    return Split(*(np.flatnonzero(np.isin(whose, some)) for some in sets(order)))


# --- folds of beats ---------------------------------------------------------------------------------------------------


def folds(labels: Index, groups: Index, n: int, seed: int, classes: Sequence[str]) -> Index:
    """Number of every beat's fold, `(beats,)`, stratified by class; the beats of a group stay together.

    Groups say whose a beat is, or its own place where patients are not kept together. Of the `n` folds wanted, a class
    with fewer groups gets as few, with a warning; one with fewer than three is refused. The names of the classes are
    for messages.
    """
    sizes = [len(np.unique(groups[labels == i])) for i in range(len(classes))]
    fewest = min(n, *sizes)
    if fewest < 3:
        found = f"{min(sizes)} of {classes[int(np.argmin(sizes))]}"
        raise UserError("folds", found, "three patients or more of each class")
    if fewest < n:
        warnings.warn(f"{fewest} folds, not {n}: a class has no more to divide", stacklevel=2)
    fold = np.empty(len(labels), dtype=np.int64)
    divided = StratifiedGroupKFold(fewest, shuffle=True, random_state=seed).split(groups, labels, groups)
    for number, (_, members) in enumerate(divided):
        fold[members] = number
    return fold


def held_out(fold: Index, number: int) -> tuple[Index, Index]:
    """Beats to train on and beats to score."""
    return np.flatnonzero(fold != number), np.flatnonzero(fold == number)


def curve_sizes(wanted: Sequence[int], patients: Index, trains: Sequence[Index]) -> list[int]:
    """The numbers of patients wanted of which every training part has more; `patients` are of every beat, `(beats,)`,
    and the parts positions of beats."""
    fewest = min(len(np.unique(patients[train])) for train in trains)
    return [n for n in wanted if n < fewest]


def some_patients(labels: Index, patients: Index, train: Index, n: int, seed: int) -> Index:
    """Of the training beats at the positions `train` those of `n` patients, or of all if there are fewer: two or more
    of each class, 0 or 1, and else in their proportion. Labels and patients are of every beat, `(beats,)`."""
    names, first = np.unique(patients[train], return_index=True)
    of_patients = labels[train][first]
    draw = np.random.default_rng((seed, n))
    sick, healthy = (draw.permutation(names[of_patients == label]) for label in (1, 0))
    n_sick = int(np.clip(round(n * len(sick) / len(names)), 2, n - 2))
    return train[np.isin(patients[train], np.concatenate([sick[:n_sick], healthy[: n - n_sick]]))]


# --- parts of recordings ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """A division into sets, by places in the data."""

    name: str
    """How files call it (`fold10`, `source-PTB`); empty where a task has but one."""
    train: Index
    val: Index
    """What choices are made on; empty where none is made."""
    scored: Index


def dealt(patients: Sequence[str], sources: Sequence[str]) -> list[int]:
    """Fold of each recording, 1 to `FOLDS`, where its database has none of its own: the patients of each source, in an
    order that only their names fix, one after the other to the next fold."""
    fold: dict[str, int] = {}
    for source in dict.fromkeys(sources):
        own = {patient for patient, each in zip(patients, sources, strict=True) if each == source}
        order = sorted(own, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
        fold |= {patient: i % FOLDS + 1 for i, patient in enumerate(order)}
    return [fold[patient] for patient in patients]


def parts(
    place: Index,
    fold: Index,
    source: NDArray[np.str_],
    *,
    scored: Sequence[int],
    leave_source_out: bool,
    validates: bool,
) -> list[Part]:
    """The divisions of recordings: folds that are scored, then sources that are left out.

    Place in the data set, fold (1 to `FOLDS`) and source are of the recordings that can be read, `(n,)`. Each of the
    folds `scored` is scored by what learns from the others and, with `leave_source_out`, each source by what learns
    from the other ones. What `validates` holds a fold of its own out for choices: the one before the scored fold, or of
    other sources `OFFICIAL`. A `UserError` names the part that has an empty set.
    """
    made = []
    for number in sorted(scored):
        test, val = fold == number, validates & (fold == (number - 2) % FOLDS + 1)
        made.append(Part(f"fold{number}", place[~test & ~val], place[val], place[test]))
    for name in sorted(set(source.tolist())) if leave_source_out else ():
        test = source == name
        val = ~test & (fold == OFFICIAL)
        if test.sum() >= FEWEST_OF_SOURCE and val.any() and not (test | val).all():
            made.append(Part(f"source-{name}", place[~test & ~val], place[val], place[test]))
    for part in made:
        if min(len(part.train), len(part.val) if validates else 1, len(part.scored)) == 0:
            raise UserError(part.name, "a set without a recording", "some in each of training, validation and test")
    return made
