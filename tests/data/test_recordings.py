"""The lazy data set of recordings: what it reads and when, its cache, and batches that change no result."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import clinics
import excerpts
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from ecglib import paths
from ecglib.data import recordings, records
from ecglib.data.catalogues import challenge
from ecglib.data.catalogues.catalogue import Entry
from ecglib.data.recordings import Batch, Example, Refused, TwelveLead
from ecglib.data.records import Recording
from ecglib.errors import RecordError


@dataclass
class InMemory:
    """`Records` of one's own: noise of these lengths at 100 Hz, 0 for one that can't be read."""

    sizes: tuple[int, ...]
    reads: list[str] = field(default_factory=list)
    classes: tuple[str, ...] = ("A", "B", "C")
    fingerprint: str = "of noise"

    @property
    def entries(self) -> Sequence[Entry]:
        labels = [(), ("A",), ("C", "A")]
        return [Entry(Path("memory"), f"r{i}", "noise", f"p{i}", labels[i % 3]) for i in range(len(self.sizes))]

    def read(self, entry: Entry) -> Recording:
        self.reads.append(entry.record)
        number = int(entry.record[1:])
        if not self.sizes[number]:
            raise RecordError(entry.record, "truncated signal", "0 bytes")
        known = np.ones(12, dtype=bool)
        known[number % 12] = False
        signals = np.random.default_rng(number).standard_normal((12, self.sizes[number])).astype(np.float32)
        signals[~known] = 0
        return Recording(entry.record, signals, 100.0, records.LEADS)


@pytest.fixture(autouse=True)
def root(empty: Path) -> None:
    """An empty project, whose cache this is."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three Challenge records: of ten seconds, of four with a gain put right, and without a signal."""
    path = tmp_path / "challenge"
    clinics.mat(path, "A0001", clinics.units(5000), comments=("Dx: 426783006",))
    clinics.mat(path, "A0002", clinics.units(2000), gain="4880/mV", comments=("Dx: 164889003,426783006",))
    clinics.mat(path, "A0003", comments=("Dx: 164889003",)).with_suffix(".mat").unlink()
    return path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the records whose files are read, one after the other."""
    names, read = list[str](), records.read_repaired

    def counted(folder: Path, name: str) -> Recording:
        names.append(name)
        return read(folder, name)

    monkeypatch.setattr(records, "read_repaired", counted)
    return names


def repaired(folder: Path, name: str, rate: float = 100.0) -> NDArray[np.float32]:
    recording = records.read_repaired(folder, name)
    return records.at_rate(recording.signals, recording.fs, rate)


def data_of(folder: Path, rate: float = 100.0) -> TwelveLead:
    return TwelveLead(challenge.read(excerpts.source(folder, name="challenge-2021")), rate)


def example(data: TwelveLead, index: int) -> Example:
    found = data[index]
    assert isinstance(found, Example)
    return found


def kept() -> list[Path]:
    return sorted(path for path in paths.cache().rglob("*") if path.is_file())


# --- reading ----------------------------------------------------------------------------------------------------------


def test_nothing_is_read_before_it_is_asked_for() -> None:
    source = InMemory((500, 700, 0, 600))
    data = TwelveLead(source)
    loader = DataLoader(data, batch_size=2, collate_fn=recordings.pad_collate)
    stream = recordings.batches(data, [[0], [1, 3]])
    assert (len(data), len(loader), data.classes) == (4, 2, ("A", "B", "C"))
    assert source.reads == [] and kept() == []
    assert example(data, 1).x.shape == (12, 700)
    assert source.reads == ["r1"]
    assert next(stream).index.tolist() == [0]
    assert source.reads == ["r1", "r0"]


def test_a_recording_as_the_network_takes_it(folder: Path) -> None:
    data = data_of(folder)
    found = example(data, 1)
    assert (found.x.shape, found.x.dtype, found.index) == ((12, 400), torch.float32, 1)
    np.testing.assert_array_equal(found.x.numpy(), repaired(folder, "A0002"))
    assert (found.known.dtype, found.y.dtype) == (torch.bool, torch.float32)
    assert found.known.tolist() == [True] * 12
    assert [data.classes[i] for i in found.y.nonzero().flatten()] == ["AF", "NSR"]
    assert data[2] == Refused(2, "A0003", "missing signal")


def test_lengths_are_had_once(folder: Path, reads: list[str]) -> None:
    data = data_of(folder)
    example(data, 0)
    assert data.lengths().tolist() == data.lengths().tolist() == [1000, 400, 0]
    assert data.lengths().dtype == np.int64
    assert reads == ["A0001", "A0002", "A0003"]
    assert data_of(folder).lengths().tolist() == [1000, 400, 0]
    assert reads == ["A0001", "A0002", "A0003", "A0003"]


def test_a_survey_names_repairs_and_refusals(folder: Path, reads: list[str]) -> None:
    data = data_of(folder)
    for _ in range(2):  # what the cache holds can't say
        put_right, refused = recordings.survey(data)
        assert put_right == {"A0002": ("gain of 4880 units per mV taken for 1000",)}
        assert refused == {"A0003": "missing signal"}
    example(data, 1)
    assert sorted(reads) == ["A0001", "A0001", "A0002", "A0002", "A0003", "A0003"]


# --- the cache --------------------------------------------------------------------------------------------------------


def test_the_cache_gives_the_same_bits_and_spares_the_original(folder: Path, reads: list[str]) -> None:
    expected = [repaired(folder, name).tobytes() for name in ("A0001", "A0002")]
    reads.clear()
    data = data_of(folder)
    for each in (data, data, data_of(folder)):
        assert [example(each, i).x.numpy().tobytes() for i in range(2)] == expected
    assert reads == ["A0001", "A0002"]
    assert all(path.suffix == ".npy" and path.is_relative_to(paths.cache() / "recordings") for path in kept())
    assert len(kept()) == 2


def test_another_rate_is_kept_beside(folder: Path) -> None:
    for rate in (100.0, 250.0, 500.0) * 2:
        np.testing.assert_array_equal(example(data_of(folder, rate), 0).x.numpy(), repaired(folder, "A0001", rate))
    assert len(kept()) == 3


@pytest.mark.parametrize("what", ["signal", "time", "header", "another name"])
def test_a_changed_recording_is_read_anew(folder: Path, reads: list[str], what: str) -> None:
    header, signal = folder / "A0001.hea", folder / "A0001.mat"
    if what == "another name":  # a header may name any file beside it
        clinics.edit(header, "A0001.mat", "signal.mat")
        signal = signal.rename(folder / "signal.mat")
    before = example(data_of(folder), 0).x
    if what == "header":
        clinics.edit(header, " I\n", " vx\n")
    else:
        samples = 6000 if what == "signal" else 5000  # as many bytes, and other ones
        other = clinics.mat(folder / "other", "A0001", clinics.units(samples, seed=1)).with_suffix(".mat")
        signal.write_bytes(other.read_bytes())
        clinics.edit(header, " 5000\n", f" {samples}\n")
        os.utime(signal, ns=(0, signal.stat().st_mtime_ns + 1_000_000_000))
    reads.clear()
    after = example(data_of(folder), 0).x
    assert reads == ["A0001"]
    np.testing.assert_array_equal(after.numpy(), repaired(folder, "A0001"))
    assert not torch.equal(before, after)


def test_half_a_file_or_other_bytes_in_the_cache_are_read_anew(folder: Path, reads: list[str]) -> None:
    expected = example(data_of(folder), 0).x
    (path,) = kept()
    whole = path.read_bytes()
    parts = [whole[: int(share * len(whole))] for share in (0.0, 0.0002, 0.001, 0.5, 0.99999)]
    for spoilt in (*parts, b"not an array\n" * 100):
        reads.clear()
        path.write_bytes(spoilt)
        assert torch.equal(example(data_of(folder), 0).x, expected)
        assert reads == ["A0001"] and path.read_bytes() == whole
        path.write_bytes(spoilt)
        assert data_of(folder).lengths()[0] == expected.shape[1]
        assert path.read_bytes() == whole


def test_a_write_that_breaks_off_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: object, array: NDArray[np.float32], **_: object) -> None:
        file.write(array.tobytes()[:100])  # type: ignore[attr-defined]
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full)
        with pytest.raises(OSError, match="No space left"):
            data_of(folder)[0]
    assert kept() == []
    assert example(data_of(folder), 0).x.shape == (12, 1000)


def test_other_code_has_another_cache(code: Path) -> None:
    """All code that decides what is read, or an error put right there would live on in the cache."""
    source = InMemory((500,))
    for name, reads in (("losses.py", 1), ("data/records.py", 2), ("data/beats.py", 3)):
        example(TwelveLead(source), 0)
        with (code / name).open("a", encoding="utf-8") as module:
            module.write("\nCHANGED = True\n")
        example(TwelveLead(source), 0)
        assert len(source.reads) == reads


# --- batches ----------------------------------------------------------------------------------------------------------


def test_a_batch_is_padded_at_its_end_to_the_longest() -> None:
    data = TwelveLead(InMemory((500, 300, 800)))
    found = recordings.pad_collate([data[i] for i in (1, 2, 0)])
    assert found.x.shape == (3, 12, 800)
    assert (found.lengths.tolist(), found.lengths.dtype) == ([300, 800, 500], torch.int64)
    assert (found.index.tolist(), found.index.dtype) == ([1, 2, 0], torch.int64)
    assert found.y.tolist() == [[1, 0, 0], [1, 0, 1], [0, 0, 0]]
    assert found.known.tolist() == [[j != i for j in range(12)] for i in (1, 2, 0)]
    for row, (i, length) in enumerate([(1, 300), (2, 800), (0, 500)]):
        again = example(data, i)  # from the cache
        assert torch.equal(found.x[row, :, :length], again.x) and torch.equal(found.known[row], again.known)
        assert not again.x[i].any(), "a lead that was not recorded"
        assert not found.x[row, :, length:].any()


def test_what_cannot_be_read_is_named_in_place_of_its_batch() -> None:
    data = TwelveLead(InMemory((500, 0, 300, 0)))
    assert list(recordings.batches(data, [[0, 3, 1, 2], [1]])) == [data[3], data[1]]
    assert data[3] == Refused(3, "r3", "truncated signal")


def as_values(batch: Batch | Refused) -> object:
    if isinstance(batch, Refused):
        return batch
    tensors = (batch.x, batch.lengths, batch.known, batch.y, batch.index)
    return (*(each.numpy().tobytes() for each in tensors), batch.x.shape)


def test_a_worker_gives_the_same_batches(folder: Path) -> None:
    made, data = [[1, 0], [2], [0, 1, 0]], data_of(folder)
    there = [as_values(batch) for batch in recordings.batches(data, made, workers=1)]
    here = [as_values(batch) for batch in recordings.batches(data, made)]
    assert len(here) == 3 and here == there


# --- buckets ----------------------------------------------------------------------------------------------------------


def padded(made: list[list[int]], lengths: NDArray[np.int64]) -> int:
    """Samples that are padding."""
    return int(sum(len(batch) * lengths[batch].max() - lengths[batch].sum() for batch in made))


def in_turn(order: list[int], batch_size: int) -> list[list[int]]:
    """Batches in the plain order."""
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


@settings(max_examples=100)
@given(sizes=st.lists(st.integers(0, 5000), min_size=1, max_size=120), batch_size=st.integers(1, 9), data=st.data())
def test_buckets_hold_the_order_and_never_pad_more(sizes: list[int], batch_size: int, data: st.DataObject) -> None:
    order = data.draw(st.lists(st.sampled_from(range(len(sizes))), max_size=200))
    lengths = np.array(sizes, dtype=np.int64)
    made = recordings.buckets(order, lengths, batch_size)
    assert sorted(position for batch in made for position in batch) == sorted(order)
    window = recordings.WINDOW * batch_size
    done = 0
    for batch in made:
        assert 1 <= len(batch) <= batch_size
        # none is held back past its window, so that the order stays about as random as it was
        assert set(batch) <= set(order[done // window * window : (done // window + 1) * window])
        done += len(batch)
    full = order[: len(order) // batch_size * batch_size]  # a rest may fall better by chance: 1, 9, 9 in twos
    made = recordings.buckets(full, lengths, batch_size)
    assert padded(made, lengths) <= padded(in_turn(full, batch_size), lengths)
    assert made == recordings.buckets(full, lengths, batch_size)


def test_buckets_pad_little() -> None:
    """A fifth of what the plain order pads, at lengths as the Challenge's are: most ten seconds, some up to two
    minutes."""
    rng = np.random.default_rng(0)
    lengths = np.where(rng.random(1000) < 0.6, 1000, rng.integers(600, 12_000, 1000))
    order = rng.permutation(1000).tolist()
    plain = in_turn(order, 16)
    assert padded(recordings.buckets(order, lengths, 16), lengths) < padded(plain, lengths) / 5


def test_buckets_come_in_the_order_of_their_first() -> None:
    lengths = np.array([5, 9, 5, 9, 1, 1])
    assert recordings.buckets([1, 4, 0, 5, 3, 2], lengths, 2) == [[1, 3], [4, 5], [0, 2]]
    assert recordings.buckets([4, 1, 0, 5, 3, 2], lengths, 2) == [[4, 5], [1, 3], [0, 2]]
    assert recordings.buckets([], lengths, 4) == []
