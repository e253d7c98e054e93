"""Which beats train, which choose, which test."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from ecglib import aami
from ecglib.errors import UserError

Index = NDArray[np.int64]


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
    """Intra-patient: 80/20 of all beats, stratified by class, as in the Kaggle set; patients are in both parts.

    Parameters
    ----------
    labels
        `(n,)`: class of every beat.
    seed
        Split k is fixed by seed k.
    validation_fraction
        Share of the 80 % that is held out for choices, stratified.

    Raises
    ------
    UserError
        When a class has too few beats to be in every set.
    """
    everything = np.arange(len(labels))
    try:
        rest, test = train_test_split(everything, test_size=0.2, stratify=labels, random_state=seed)
        train, val = train_test_split(rest, test_size=validation_fraction, stratify=labels[rest], random_state=seed)
    except ValueError as error:
        raise UserError("protocol intra", str(error).rstrip("."), "more beats of every class") from None
    return Split(np.sort(train), np.sort(val), np.sort(test))


def inter(record: NDArray[np.str_], *, with_test: bool = True) -> Split:
    """Inter-patient: DS1 without its validation records trains, these choose, DS2 tests (de Chazal et al. 2004).

    Paced records and records of neither list are in no set. Records 201 (train) and 202 (test) are one patient; results
    are given with and without 202.

    Parameters
    ----------
    record
        `(n,)`: record of every beat.
    with_test
        False in development, where the test set is empty.

    Raises
    ------
    UserError
        When a set that should have beats is empty.
    """
    train_records = [name for name in aami.DS1 if name not in aami.DS1_VALIDATION]
    sets = {
        "train": np.flatnonzero(np.isin(record, train_records)),
        "val": np.flatnonzero(np.isin(record, aami.DS1_VALIDATION)),
        "test": np.flatnonzero(np.isin(record, aami.DS2 if with_test else ())),
    }
    for name, index in sets.items():
        if not len(index) and (name != "test" or with_test):
            raise UserError("protocol inter", f"no beat for the {name} set", "records of DS1 and DS2 of mitdb")
    return Split(**sets)
