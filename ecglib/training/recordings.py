"""Whole recordings as examples of the loop, and what a network makes of them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ecglib.data import recordings
from ecglib.data.recordings import TwelveLead
from ecglib.errors import UserError
from ecglib.training import augmentation, loop
from ecglib.training.augmentation import Augmentation, Noise

Index = NDArray[np.int64]

SCORED_AT_ONCE: Final = 64
"""Recordings of a batch that is only scored."""
MOST: Final = 400_000
"""Padded samples of such a batch at most, so that long recordings fit in memory."""


class Recordings:
    """Recordings at some places of a data set, as `loop.Examples`; read when asked for, ahead by `workers` processes.

    Augmentation is drawn anew in every epoch and the same for the same order; without it, batches keep the order.
    """

    def __init__(
        self,
        data: TwelveLead,
        index: Index,
        *,
        how: Augmentation | None = None,
        noise: Noise | None = None,
        seed: int = 0,
        workers: int = 0,
    ) -> None:
        self.data, self.index, self.lengths = data, index, data.lengths()
        self.how, self.noise, self.seed, self.workers = how, noise, seed, workers
        if how is not None and how.crop:
            self.lengths = np.minimum(self.lengths, how.crop)

    def __len__(self) -> int:
        return len(self.index)

    def batches(self, order: Tensor, batch_size: int, device: torch.device) -> Iterator[loop.Batch]:
        """As in `loop.Examples`. Those to learn from come in buckets of like length."""
        places = self.index[order.numpy()]
        if self.how is None:
            made = self._to_score(places, batch_size)
        else:
            made = recordings.buckets(places.tolist(), self.lengths, batch_size)
        drawn = zlib.crc32(order.numpy().tobytes())  # the loop tells no epoch; its order differs from epoch to epoch
        generator = torch.Generator(device).manual_seed(self.seed * 1_000_003 + drawn)
        noise = None if self.noise is None else self.noise.to(device)
        for batch in recordings.batches(self.data, made, workers=self.workers, pin=device.type == "cuda"):
            if isinstance(batch, recordings.Refused):
                raise UserError(batch.record, f"can't be read any more ({batch.reason})")
            batch = batch.to(device)
            x, lengths = batch.x.to(torch.get_default_dtype()), batch.lengths
            if self.how is not None:
                x, lengths = augmentation.augment(x, lengths, batch.known, self.how, noise, generator)
            padded = bool((self.lengths[batch.index.cpu().numpy()] < x.shape[2]).any())
            yield loop.Batch(x, lengths if padded else None, None, batch.y)

    def _to_score(self, places: Index, batch_size: int) -> list[list[int]]:
        made: list[list[int]] = [[]]
        for place in places.tolist():
            longest = self.lengths[[*made[-1], place]].max()
            full = len(made[-1]) == min(batch_size, SCORED_AT_ONCE) or (len(made[-1]) + 1) * longest > MOST
            if made[-1] and full:
                made.append([])
            made[-1].append(place)
        return made


def predict(
    model: nn.Module,
    data: TwelveLead,
    index: Index,
    *,
    device: torch.device,
    precision: str = "float32",
    workers: int = 0,
) -> NDArray[np.float32]:
    """Logits `(n, classes)` of the recordings at these places, in their order."""
    by_length = np.argsort(data.lengths()[index], kind="stable")
    examples = Recordings(data, index[by_length], workers=workers)
    found = loop.predict(model, examples, device=device, precision=precision)
    return found[np.argsort(by_length)]


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probabilities of logits."""
    return np.asarray(torch.from_numpy(logits.astype(np.float64)).sigmoid())
