"""A lazy data set of twelve-lead recordings of any length, and the batches made of them.

Nothing is read before it is asked for. A recording that is read is kept on disk at the rate that was asked for, one
file each, so that later epochs neither decode nor resample; memory holds a batch and nothing else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ecglib import files, fingerprint, paths
from ecglib.data import beats, records
from ecglib.data.catalogues.catalogue import Entry, Records
from ecglib.errors import RecordError

RATE: Final = 100.0
"""Hz that recordings are brought to where nothing else is asked for."""
WINDOW: Final = 16
"""Batches' worth of recordings that are sorted by length together."""


@dataclass(frozen=True, eq=False)
class Example:
    """A recording as the network takes it."""

    x: Tensor
    """float32 `(12, samples)` in mV, leads in standard order; 0 throughout where a lead is not known."""
    known: Tensor
    """bool `(12,)`: the leads that were recorded."""
    y: Tensor
    """float32 `(classes,)`: 1 where it has the label, else 0."""
    index: int
    """Its place in the data set."""


@dataclass(frozen=True)
class Refused:
    """A recording that can't be read, its place in the data set, and why."""

    index: int
    record: str
    reason: str


@dataclass(frozen=True, eq=False)
class Batch:
    """Recordings padded at their end to the longest."""

    x: Tensor
    """float32 `(batch, 12, samples)`; 0 past a recording's end."""
    lengths: Tensor
    """int64 `(batch,)`: samples of each."""
    known: Tensor
    """bool `(batch, 12)`."""
    y: Tensor
    """float32 `(batch, classes)`."""
    index: Tensor
    """int64 `(batch,)`: places in the data set."""

    def pin_memory(self) -> Batch:
        """For `DataLoader`: the same in page-locked memory, which a GPU copies from without waiting."""
        return self._each(lambda tensor: tensor.pin_memory())

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=device.type == "cuda"))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return Batch(*map(change, (self.x, self.lengths, self.known, self.y, self.index)))


class TwelveLead(Dataset[Example | Refused]):
    """The recordings of a source at a rate in Hz; `data[i]` reads one, from `cache/recordings` where it was read
    before."""

    def __init__(self, source: Records, rate: float = RATE) -> None:
        self.source, self.rate = source, rate
        self.entries, self.classes = source.entries, source.classes
        key = fingerprint.of_values(rate, type(source).__qualname__, fingerprint.of_code(beats.CODE))[:16]
        self._folder = paths.cache() / "recordings" / f"{rate:g}-{key}"
        self._lengths: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Example | Refused:
        entry = self.entries[index]
        try:
            x = self._signals(entry)
        except RecordError as error:
            return Refused(index, entry.record, error.reason)
        y = torch.tensor([float(name in entry.labels) for name in self.classes])
        return Example(torch.from_numpy(x), torch.from_numpy(x.any(1)), y, index)

    def lengths(self) -> NDArray[np.int64]:
        """Samples of every recording, `(n,)`; 0 of one that can't be read. Reads those that are not in the cache."""
        if self._lengths is None:
            self._lengths = np.array([self._length(entry) for entry in self.entries], dtype=np.int64)
        return self._lengths

    def _length(self, entry: Entry) -> int:
        try:
            return int(self._signals(entry, "r").shape[1])
        except RecordError:
            return 0

    def _signals(self, entry: Entry, mmap_mode: Literal["r"] | None = None) -> NDArray[np.float32]:
        """`(12, samples)`. A lead that is known varies, so one that is zero throughout is not."""
        with contextlib.suppress(FileNotFoundError, ValueError, EOFError):  # not there, or half a file
            found: NDArray[np.float32] = np.load(self._file(entry), mmap_mode, allow_pickle=False)
            return found
        return self._read(entry)[0]

    def _read(self, entry: Entry) -> tuple[NDArray[np.float32], tuple[str, ...]]:
        recording = self.source.read(entry)
        signals = records.at_rate(recording.signals, recording.fs, self.rate)
        with files.writing(self._file(entry)) as temporary, temporary.open("wb") as file:
            np.save(file, signals, allow_pickle=False)
        return signals, recording.repairs

    def _file(self, entry: Entry) -> Path:
        """In the cache; its name follows from what the recording's own files are."""
        stats: list[Any] = []
        for file in sorted({entry.folder / f"{entry.record}.hea", *records.beside(entry.folder, entry.record)}):
            with contextlib.suppress(OSError, ValueError):
                stat = file.stat()
                stats.append((file.name, stat.st_size, stat.st_mtime_ns))
        stats += [] if entry.row is None else [entry.row.stamp]
        text = fingerprint.of_values(str(entry.folder), entry.record, stats)
        return self._folder / text[:2] / f"{text[2:34]}.npy"


def survey(data: TwelveLead) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """Read every original once: what was put right in which, and which can't be read, with the reason."""
    entries = {entry.record: entry for entry in data.entries}
    found = beats.tried(lambda name: data._read(entries[name])[1], entries)
    repaired = {name: said for name, said in found.items() if said and not isinstance(said, RecordError)}
    return repaired, {name: said.reason for name, said in found.items() if isinstance(said, RecordError)}


def pad_collate(items: Sequence[Example | Refused]) -> Batch | Refused:
    """A batch of recordings, padded at their end with zeros to the longest; or the first that can't be read."""
    examples = [item for item in items if isinstance(item, Example)]
    if len(examples) < len(items):
        return next(item for item in items if isinstance(item, Refused))
    lengths = torch.tensor([one.x.shape[1] for one in examples])
    x = torch.zeros(len(examples), examples[0].x.shape[0], int(lengths.max()))
    for row, one in zip(x, examples, strict=True):
        row[:, : one.x.shape[1]] = one.x
    known, y = torch.stack([one.known for one in examples]), torch.stack([one.y for one in examples])
    return Batch(x, lengths, known, y, torch.tensor([one.index for one in examples]))


def buckets(order: Sequence[int], lengths: NDArray[np.int64], batch_size: int) -> list[list[int]]:
    """Batches of `batch_size` recordings of like length, the last of a window maybe smaller.

    The order, places of recordings, each maybe more than once, is cut into windows of `WINDOW` batches, each sorted by
    length and cut into batches, whose order is that of the first of theirs to come up; so little is padded and the
    order stays as random as it was. Lengths are samples of every recording of the data set, or in proportion to them.
    """
    batches: list[list[int]] = []
    for start in range(0, len(order), WINDOW * batch_size):
        window = list(order[start : start + WINDOW * batch_size])
        place = {position: i for i, position in reversed(list(enumerate(window)))}
        by_length = sorted(window, key=lambda position: lengths[position])
        made = [by_length[i : i + batch_size] for i in range(0, len(by_length), batch_size)]
        batches += sorted(made, key=lambda batch: min(place[position] for position in batch))
    return batches


def batches(
    data: TwelveLead, made: Sequence[list[int]], *, workers: int = 0, pin: bool = False
) -> Iterator[Batch | Refused]:
    """Read batches, each of the recordings at these places, or of them the first that can't be read.

    As many processes as there are `workers` read ahead, without any this one reads; `pin` puts the batches in
    page-locked memory, for a GPU.
    """
    yield from DataLoader(data, batch_sampler=made, collate_fn=pad_collate, num_workers=workers, pin_memory=pin)
