"""A lazy data set of twelve-lead recordings of any length, and the batches made of them.

Nothing is read before it is asked for. A recording that is read is kept on disk at the rate that was asked for, one
file each, so that later epochs neither decode nor resample; memory holds a batch and nothing else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

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
    """A recording as the network takes it.

    Attributes
    ----------
    x
        float32 `(12, samples)` in mV, leads in standard order; 0 throughout where a lead is not known.
    known
        bool `(12,)`: the leads that were recorded.
    y
        float32 `(classes,)`: 1 where it has the label, else 0.
    index
        Its place in the data set.
    """

    x: Tensor
    known: Tensor
    y: Tensor
    index: int


@dataclass(frozen=True)
class Refused:
    """A recording that can't be read.

    Attributes
    ----------
    index
        Its place in the data set.
    record, reason
        Its name, and why.
    """

    index: int
    record: str
    reason: str


@dataclass(frozen=True, eq=False)
class Batch:
    """Recordings padded at their end to the longest.

    Attributes
    ----------
    x
        float32 `(batch, 12, samples)`; 0 past a recording's end.
    lengths
        int64 `(batch,)`: samples of each.
    known
        bool `(batch, 12)`.
    y
        float32 `(batch, classes)`.
    index
        int64 `(batch,)`: places in the data set.
    refused
        Those left out of the batch.
    """

    x: Tensor
    lengths: Tensor
    known: Tensor
    y: Tensor
    index: Tensor
    refused: tuple[Refused, ...] = ()

    @property
    def mask(self) -> Tensor:
        """bool `(batch, samples)`: within a recording."""
        return torch.arange(self.x.shape[2], device=self.x.device) < self.lengths.unsqueeze(1)

    def pin_memory(self) -> Batch:
        """For `DataLoader`: the same in page-locked memory, which a GPU copies from without waiting."""
        return self._each(lambda tensor: tensor.pin_memory())

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        wait = device.type != "cuda"
        return self._each(lambda tensor: tensor.to(device, non_blocking=not wait))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        x, lengths, known, y, index = map(change, (self.x, self.lengths, self.known, self.y, self.index))
        return Batch(x, lengths, known, y, index, self.refused)


class TwelveLead(Dataset[Example | Refused]):
    """The recordings of a source; `data[i]` reads one, from the cache where it was read before.

    Parameters
    ----------
    source
        Where they come from.
    rate
        Hz that they are brought to.
    cached
        Whether recordings are kept on disk, in `cache/recordings`.
    """

    def __init__(self, source: Records, rate: float = RATE, *, cached: bool = True) -> None:
        self.source, self.rate = source, rate
        self.entries, self.classes = source.entries, source.classes
        key = fingerprint.of_values(rate, type(source).__qualname__, fingerprint.of_code(beats.CODE))[:16]
        self._folder: Path | None = paths.cache() / "recordings" / f"{rate:g}-{key}" if cached else None
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
        if self._folder is not None:
            with contextlib.suppress(FileNotFoundError, ValueError, EOFError):
                stored: NDArray[np.float32] = np.load(
                    self._folder / self._name(entry), mmap_mode="r", allow_pickle=False
                )
                return int(stored.shape[1])
        try:
            return int(self._read(entry)[0].shape[1])
        except RecordError:
            return 0

    def repaired(self, index: int) -> tuple[str, ...]:
        """What is put right in a recording when it is read; reads the original, and keeps the result.

        Raises
        ------
        RecordError
            When it can't be read.
        """
        return self._read(self.entries[index])[1]

    def _signals(self, entry: Entry) -> NDArray[np.float32]:
        """`(12, samples)`. A lead that is known varies, so one that is zero throughout is not."""
        if self._folder is not None:
            with contextlib.suppress(FileNotFoundError, ValueError, EOFError):  # not there, or half a file
                found: NDArray[np.float32] = np.load(self._folder / self._name(entry), allow_pickle=False)
                return found
        return self._read(entry)[0]

    def _read(self, entry: Entry) -> tuple[NDArray[np.float32], tuple[str, ...]]:
        recording = self.source.read(entry)
        signals = records.at_rate(recording.signals, recording.fs, self.rate)
        if self._folder is not None:
            with files.writing(self._folder / self._name(entry)) as temporary, temporary.open("wb") as file:
                np.save(file, signals, allow_pickle=False)
        return signals, recording.repairs

    @staticmethod
    def _name(entry: Entry) -> str:
        """Of its file in the cache, which follows from what its own files are."""
        header = entry.folder / f"{entry.record}.hea"
        stats: list[Any] = []
        files = {header.name}
        with contextlib.suppress(OSError):
            lines = header.read_bytes().decode("utf-8", errors="replace").splitlines()
            said = [line.split() for line in lines if line.strip() and not line.lstrip().startswith("#")]
            files |= {line[0] for line in said[1:]}
        for name in sorted(files):
            with contextlib.suppress(OSError, ValueError):
                stat = (header.parent / name).stat()
                stats.append((name, stat.st_size, stat.st_mtime_ns))
        text = fingerprint.of_values(str(entry.folder), entry.record, stats)
        return f"{text[:2]}/{text[2:34]}.npy"


def survey(data: TwelveLead) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """Read every recording once: what was put right in which, and which can't be read, with the reason."""

    def look(index: int) -> tuple[str, ...] | RecordError:
        try:
            return data.repaired(index)
        except RecordError as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(look, range(len(data))))
    repaired, refused = {}, {}
    for entry, said in zip(data.entries, found, strict=True):
        if isinstance(said, RecordError):
            refused[entry.record] = said.reason
        elif said:
            repaired[entry.record] = said
    return repaired, refused


def pad_collate(items: Sequence[Example | Refused]) -> Batch:
    """A batch of recordings, padded at their end with zeros to the longest; those that can't be read are named and left
    out, and the batch goes on."""
    examples = [item for item in items if isinstance(item, Example)]
    refused = tuple(item for item in items if isinstance(item, Refused))
    if not examples:
        none = torch.zeros(0)
        return Batch(none.view(0, 12, 0), none.long(), none.view(0, 12).bool(), none.view(0, 0), none.long(), refused)
    lengths = torch.tensor([one.x.shape[1] for one in examples])
    x = torch.zeros(len(examples), examples[0].x.shape[0], int(lengths.max()))
    for row, one in zip(x, examples, strict=True):
        row[:, : one.x.shape[1]] = one.x
    known, y = torch.stack([one.known for one in examples]), torch.stack([one.y for one in examples])
    return Batch(x, lengths, known, y, torch.tensor([one.index for one in examples]), refused)


def buckets(
    order: Sequence[int], lengths: NDArray[np.int64], batch_size: int, most: int | None = None
) -> list[list[int]]:
    """Batches of recordings of like length.

    The order is cut into windows of `WINDOW` batches, each sorted by length and cut into batches, whose order is that
    of the first of theirs to come up; so little is padded and the order stays as random as it was.

    Parameters
    ----------
    order
        Places of recordings, each maybe more than once.
    lengths
        Samples of every recording of the data set, or what is in proportion to them.
    batch_size
        Recordings of a batch, the last one of a window maybe fewer.
    most
        Upper bound of a batch's padded samples (recordings times the longest); one recording is always let through.
    """
    batches: list[list[int]] = []
    for start in range(0, len(order), WINDOW * batch_size):
        window = list(order[start : start + WINDOW * batch_size])
        place = {position: i for i, position in reversed(list(enumerate(window)))}
        by_length = sorted(window, key=lambda position: lengths[position])
        made: list[list[int]] = [[]]
        for position in by_length:
            full = most is not None and (len(made[-1]) + 1) * lengths[position] > most
            if made[-1] and (len(made[-1]) == batch_size or full):
                made.append([])
            made[-1].append(position)
        batches += sorted(made, key=lambda batch: min(place[position] for position in batch))
    return batches


def batches(data: TwelveLead, made: Sequence[list[int]], *, workers: int = 0, pin: bool = False) -> Iterator[Batch]:
    """Read batches, each of the recordings at these places.

    Parameters
    ----------
    data
        The data set.
    made
        As from `buckets`.
    workers
        Processes that read ahead; 0 reads in this one.
    pin
        Whether they lie in page-locked memory, for a GPU.
    """
    yield from DataLoader(
        data,
        batch_sampler=made,
        collate_fn=pad_collate,
        num_workers=workers,
        pin_memory=pin,
    )
