"""Epochs drawn by record: no record stands for a whole class, and an epoch depends on seed and number alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ecglib import aami
from ecglib.data.records import read_annotations
from ecglib.training.sampling import AT_MOST, ByRecord

LIMITS = {"N": 8, "S": 3, "V": 5, "F": 1, "Q": 0}


def beats(sizes: list[list[int]], seed: int = 0) -> tuple[NDArray[np.str_], NDArray[np.int64]]:
    """Records with so many beats of each class, in no order."""
    record = np.array([str(100 + i) for i, row in enumerate(sizes) for n in row for _ in range(n)])
    labels = np.array([label for row in sizes for label, n in enumerate(row) for _ in range(n)])
    order = np.random.default_rng(seed).permutation(len(labels))
    return record[order], labels[order]


SIZES = st.lists(st.lists(st.integers(0, 12), min_size=5, max_size=5), min_size=1, max_size=5).filter(
    lambda rows: any(row[0] for row in rows)
)


@settings(max_examples=30)
@given(SIZES, st.integers(0, 20), st.integers(0, 2**32 - 1))
def test_of_every_record_and_class_an_epoch_holds_all_beats_or_the_limit(
    sizes: list[list[int]], epoch: int, seed: int
) -> None:
    record, labels = beats(sizes)
    sampler = ByRecord(record, labels, LIMITS)
    order = sampler(epoch, seed).numpy()
    assert len(np.unique(order)) == len(order) == len(sampler)
    for i, row in enumerate(sizes):
        for label, n in enumerate(row):
            drawn = ((record[order] == str(100 + i)) & (labels[order] == label)).sum()
            assert drawn == min(n, LIMITS[aami.CLASSES[label]])
    torch.manual_seed(epoch)
    assert ByRecord(record, labels, LIMITS)(epoch, seed).tolist() == order.tolist(), "of seed and number alone"


def test_epochs_draw_every_beat_in_the_end_in_no_order_of_records() -> None:
    record, labels = beats([[50, 9, 20, 4, 0]] * 2)
    orders = [ByRecord(record, labels, LIMITS)(epoch, seed).numpy() for epoch in range(30) for seed in (0, 1)]
    assert set(np.concatenate(orders)) == set(range(len(labels)))
    assert len({tuple(sorted(order)) for order in orders}) == len(orders)
    drawn = record[orders[0]]
    assert (drawn[1:] != drawn[:-1]).sum() > len(drawn) / 3


@pytest.mark.real
def test_of_the_training_records_no_one_holds_most_beats_of_a_class(real_mitdb: Path) -> None:
    """In DS1, record 208 holds nine tenths of all F beats."""
    found = {name: read_annotations(real_mitdb, name).symbols for name in aami.DS1}
    record = np.array([name for name, symbols in found.items() for s in symbols if s in aami.SYMBOLS])
    labels = np.array([aami.index_of(s) for symbols in found.values() for s in symbols if s in aami.SYMBOLS])
    order = ByRecord(record, labels)(0, 0).numpy()
    f = aami.CLASSES.index("F")
    assert (record[labels == f] == "208").mean() > 0.85
    assert (record[order][labels[order] == f] == "208").sum() == AT_MOST["F"]
    assert set(labels[order]) == {0, 1, 2, 3}, "Q is not drawn"
