from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecglib import aami
from ecglib.data import splits
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


def test_a_seed_fixes_its_split() -> None:
    assert splits.intra(LABELS, 3).test_sha256() == splits.intra(LABELS, 3).test_sha256()
    assert splits.intra(LABELS, 3).test_sha256() != splits.intra(LABELS, 4).test_sha256()


def test_inter_sets_share_no_record() -> None:
    split = splits.inter(RECORDS)
    assert set(RECORDS[split.val]) == set(aami.DS1_VALIDATION)
    assert set(RECORDS[split.train]) | set(RECORDS[split.val]) == set(aami.DS1)
    assert set(RECORDS[split.test]) == set(aami.DS2)


def test_in_development_the_inter_test_set_is_empty() -> None:
    in_ds1 = RECORDS[np.isin(RECORDS, aami.DS1)]
    assert len(splits.inter(in_ds1, with_test=False).test) == 0
    with pytest.raises(UserError, match="no beat for the test set"):
        splits.inter(in_ds1)


def test_a_class_with_too_few_beats_is_refused() -> None:
    with pytest.raises(UserError, match="protocol intra"):
        splits.intra(np.array([0] * 100 + [1]), 0)
