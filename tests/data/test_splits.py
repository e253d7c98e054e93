"""Which beats or recordings train, choose and test: sets share nothing, and what one seed fixes stays."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecglib import aami
from ecglib.data import splits
from ecglib.data.infarction import CLASSES
from ecglib.errors import UserError

LABELS = np.repeat(np.arange(5), [900, 30, 70, 20, 80])
RECORDS = np.repeat(aami.DS1 + aami.DS2 + aami.PACED, 10)


@given(st.integers(0, 1000))
def test_intra_sets_are_disjoint_complete_and_stratified(seed: int) -> None:
    split = splits.intra(LABELS, seed)
    together = np.concatenate([split.train, split.val, split.test])
    assert sorted(together) == list(range(len(LABELS)))
    assert len(split.test) == round(0.2 * len(LABELS))
    for index, share in ((split.test, 0.2), (split.val, 0.08), (split.train, 0.72)):
        counts = np.bincount(LABELS[index], minlength=5)
        assert np.abs(counts - share * np.bincount(LABELS)).max() <= 1.01


@given(st.integers(0, 200), st.sampled_from([0.0, 0.2]))
def test_patients_are_drawn_apart_with_every_class_in_every_set(seed: int, test: float) -> None:
    patient = np.repeat([f"p{i}" for i in range(20)], 10)
    labels = np.zeros(200, dtype=np.int64)
    labels[::3] = 1
    labels[[5, 15, 25, 199]] = 2  # of four patients alone
    split = splits.by_patient(labels, patient, seed, test=test, validation=0.1, classes=[0, 1, 2])
    whose = [set(patient[index]) for index in vars(split).values()]
    assert sum(map(len, whose)) == len(set.union(*whose)) == 20
    assert [len(each) for each in whose] == ([14, 2, 4] if test else [18, 2, 0])
    for index in vars(split).values():
        assert set(labels[index]) in ({0, 1, 2}, set())
        assert (np.diff(index) > 0).all()
    again = splits.by_patient(labels, patient, seed, test=test, validation=0.1, classes=[0, 1, 2])
    assert (again.val == split.val).all()


def test_drawing_patients_follows_the_seed_and_needs_one_for_each_set() -> None:
    patient, labels = np.repeat([f"p{i}" for i in range(20)], 10), np.tile([0, 1], 100)
    how = {"validation": 0.1, "classes": [0, 1]}
    drawn = {tuple(splits.by_patient(labels, patient, seed, test=0.2, **how).test) for seed in range(5)}
    assert len(drawn) == 5
    for n, test, said in ((1, 0.0, r"one patient \(p0\); expected 2"), (2, 0.2, "2 patients; expected 3 or more")):
        with pytest.raises(UserError, match=f"patients apart: {said}"):
            splits.by_patient(labels[: 10 * n], patient[: 10 * n], 0, test=test, **how)
    for n, test in ((2, 0.0), (3, 0.2)):
        split = splits.by_patient(labels[: 10 * n], patient[: 10 * n], 0, test=test, **how)
        assert len(split.train) == len(split.val) == 10


def test_a_seed_fixes_its_split_and_a_class_with_too_few_beats_is_refused() -> None:
    assert splits.intra(LABELS, 3).test_sha256() == splits.intra(LABELS, 3).test_sha256()
    assert splits.intra(LABELS, 3).test_sha256() != splits.intra(LABELS, 4).test_sha256()
    with pytest.raises(UserError, match="protocol intra"):
        splits.intra(np.array([0] * 100 + [1]), 0)


@given(st.integers(0, 1000), st.randoms(use_true_random=False))
def test_a_division_that_was_written_to_files_gives_its_sets_again(seed: int, random: Random) -> None:
    labels = np.array(random.sample(LABELS.tolist(), len(LABELS)))
    split = splits.intra(labels, seed)
    rest = np.sort(np.concatenate([split.train, split.val]))
    order = np.concatenate([rest, split.test])
    again = splits.as_published(labels[order], np.arange(len(order)) >= len(rest), seed, 0.1)
    for name, index in vars(split).items():
        np.testing.assert_array_equal(order[getattr(again, name)], index)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_of_any_division_some_tenth_validates_of_each_class(share: float) -> None:
    tested = np.random.default_rng(0).random(len(LABELS)) < share
    split = splits.as_published(LABELS, tested, 0, 0.1)
    np.testing.assert_array_equal(split.test, np.flatnonzero(tested))
    assert sorted(np.concatenate([split.train, split.val])) == np.flatnonzero(~tested).tolist()
    assert len(split.val) / (~tested).sum() == pytest.approx(0.1, abs=0.02)
    assert np.bincount(LABELS[split.val]).min() > 0


def test_a_fifth_is_stratified_and_fixed_by_its_seed() -> None:
    fold = splits.fifth(LABELS, 0)
    assert np.bincount(LABELS[fold == 0]).tolist() == [180, 6, 14, 4, 16] and set(fold) == {0, 1}
    assert (fold == splits.fifth(LABELS, 0)).all() and (fold != splits.fifth(LABELS, 1)).any()


def test_inter_sets_share_no_record_and_in_development_none_is_tested() -> None:
    split = splits.inter(RECORDS)
    assert set(RECORDS[split.val]) == set(aami.DS1_VALIDATION)
    assert set(RECORDS[split.train]) == set(aami.DS1) - set(aami.DS1_VALIDATION)
    assert set(RECORDS[split.test]) == set(aami.DS2)
    in_ds1 = RECORDS[np.isin(RECORDS, aami.DS1)]
    assert len(splits.inter(in_ds1, with_test=False).test) == 0
    with pytest.raises(UserError, match="no beat for the test set"):
        splits.inter(in_ds1)


PATIENT = np.repeat(np.arange(20), 10)
SICK = np.where(PATIENT < 6, 1, 0)


@pytest.mark.parametrize("seed", range(3))
def test_no_patient_is_in_two_parts_and_every_beat_is_scored_once(seed: int) -> None:
    fold = splits.folds(SICK, PATIENT, 4, seed, CLASSES)
    scored = []
    for number in range(4):
        parts = splits.held_out(fold, number)
        people = [set(PATIENT[part]) for part in parts]
        assert not people[0] & people[1]
        assert set().union(*people) == set(PATIENT)
        assert all(set(SICK[part]) == {0, 1} for part in parts)
        scored.append(parts[1])
    assert sorted(np.concatenate(scored)) == list(range(len(SICK)))
    assert (fold != splits.folds(SICK, PATIENT, 4, seed + 1, CLASSES)).any()


def test_by_beat_a_patients_beats_are_in_several_folds_and_too_few_patients_are_refused() -> None:
    fold = splits.folds(SICK, np.arange(len(SICK)), 4, 0, CLASSES)
    assert all(len(set(fold[one == PATIENT])) > 1 for one in range(20))
    with pytest.raises(UserError, match="2 of infarction; expected three patients or more"):
        splits.folds(SICK[40:], PATIENT[40:], 4, 0, CLASSES)


def test_some_patients_are_of_the_training_part_and_of_both_classes() -> None:
    fold = splits.folds(SICK, PATIENT, 4, 0, CLASSES)
    train = splits.held_out(fold, 0)[0]
    for n in (4, 5, 8):
        few = splits.some_patients(SICK, PATIENT, train, n, 0)
        assert len(set(PATIENT[few])) == n
        assert len(set(PATIENT[few][SICK[few] == 1])) >= 2
        np.testing.assert_array_equal(few, train[np.isin(PATIENT[train], PATIENT[few])])
    np.testing.assert_array_equal(splits.some_patients(SICK, PATIENT, train, 500, 0), train)
    trains = [splits.held_out(fold, number)[0] for number in range(4)]
    fewest = min(len(set(PATIENT[fold != number])) for number in range(4))
    assert splits.curve_sizes([5, fewest - 1, fewest, 500], PATIENT, trains) == [5, fewest - 1]
