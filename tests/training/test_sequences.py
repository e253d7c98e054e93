"""Windows of consecutive beats: each beat counted once, in true order, and no label told that must not be."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ecglib.data.beats import Beats, windows
from ecglib.losses import IGNORED
from ecglib.training.sequences import UNKNOWN, Sequences

SIZES = st.lists(st.integers(1, 25), min_size=1, max_size=6)
LENGTHS = st.integers(1, 12)


def records_of(sizes: list[int]) -> NDArray[np.str_]:
    return np.array([str(100 + i) for i, n in enumerate(sizes) for _ in range(n)], dtype=np.str_)


def beats_of(sizes: list[int], seed: int = 0) -> Beats:
    """Beats whose every sample says their position."""
    record, n = records_of(sizes), sum(sizes)
    signals = np.arange(n, dtype=np.float32)[:, None, None].repeat(4, 2)
    labels = np.random.default_rng(seed).integers(0, 5, n)
    features, symbol, sample = np.zeros((n, 0), dtype=np.float32), np.full(n, "N"), np.arange(n)
    return Beats(signals, features, labels, record, record, symbol, sample, {}, {})


def positions_of(examples: Sequences) -> NDArray[np.int64]:
    return examples.x[:, :, 0, 0].numpy().astype(np.int64)


@given(SIZES, LENGTHS)
def test_every_beat_comes_up_once_in_time_order_beside_beats_of_its_record(sizes: list[int], length: int) -> None:
    record = records_of(sizes)
    cut = windows(record, length)
    assert cut.position.shape == cut.first.shape
    assert cut.position.shape[1] == length
    np.testing.assert_array_equal(cut.position[cut.first], np.arange(len(record)))
    for row in cut.position:
        name = record[row[0]]
        assert (record[row] == name).all()
        steps, n = np.diff(row), (record == name).sum()
        assert (steps[: n - 1] == 1).all()
        assert (steps[n - 1 :] == 0).all(), "only a record shorter than a window repeats its last beat"
    assert len(cut.position) == sum(-(-n // length) for n in sizes)


@given(SIZES, LENGTHS, st.integers(0, 1000))
def test_counted_beats_count_once_and_their_logits_come_back_in_order(sizes: list[int], length: int, seed: int) -> None:
    beats, draw = beats_of(sizes, seed), np.random.default_rng(seed)
    counted = np.flatnonzero(draw.random(len(beats)) < 0.6)
    examples = Sequences(beats, windows(beats.record, length), counted)
    position, labels = positions_of(examples), examples.y.numpy()
    assert sorted(position[labels != IGNORED].tolist()) == counted.tolist()
    np.testing.assert_array_equal(labels[labels != IGNORED], beats.labels[position[labels != IGNORED]])
    assert (labels != IGNORED).any(1).all(), "windows without a counted beat are left out"
    assert examples.features is None
    logits = (position.reshape(-1, 1) + np.arange(5)).astype(np.float32)
    np.testing.assert_array_equal(examples.in_order(logits), counted[:, None] + np.arange(5))


@given(SIZES, LENGTHS, st.integers(0, 1000))
def test_a_label_that_must_not_be_told_is_in_no_feature(sizes: list[int], length: int, seed: int) -> None:
    beats, draw = beats_of(sizes, seed), np.random.default_rng(seed)
    told = np.flatnonzero(draw.random(len(beats)) < 0.5)
    cut, everything = windows(beats.record, length), np.arange(len(beats))
    examples = Sequences(beats, cut, everything, told=told)
    assert examples.features is not None
    known, position = examples.features.numpy(), positions_of(examples)
    is_told = np.isin(position, told)
    assert (known[~is_told] == UNKNOWN).all()
    np.testing.assert_array_equal(known[is_told], beats.labels[position[is_told]])
    beats.labels[np.setdiff1d(everything, told)] = 4 - beats.labels[np.setdiff1d(everything, told)]
    again = Sequences(beats, cut, everything, told=told)
    assert again.features is not None
    assert again.features.equal(examples.features)
