"""Trains a network on whole recordings with several labels."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ecglib.data import recordings
from ecglib.data.recordings import TwelveLead
from ecglib.errors import UserError
from ecglib.evaluation.labels import areas
from ecglib.evaluation.metrics import macro
from ecglib.training import augmentation, loop
from ecglib.training.augmentation import Augmentation, Noise

Index = NDArray[np.int64]

SCORED_AT_ONCE: Final = 64
"""Recordings of a batch that is only scored."""
MOST: Final = 400_000
"""Padded samples of such a batch at most, so that long recordings fit in memory."""


class Recordings:
    """Some recordings of a data set, as `loop.Examples`; read when asked for.

    Parameters
    ----------
    data
        The data set.
    index
        Places of the recordings.
    how, noise, seed
        Augmentation, drawn anew in every epoch and the same for the same order; without it, batches keep the order.
    workers
        Processes that read ahead.
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

    def __len__(self) -> int:
        return len(self.index)

    def batches(self, order: Tensor, batch_size: int, device: torch.device) -> Iterator[loop.Batch]:
        """As in `loop.Examples`. Those to learn from come in buckets of like length."""
        places = self.index[order.numpy()]
        made = self._to_score(places, batch_size) if self.how is None else self._to_learn(places, batch_size)
        drawn = zlib.crc32(order.numpy().tobytes())  # the loop tells no epoch; its order differs from epoch to epoch
        generator = torch.Generator(device).manual_seed(self.seed * 1_000_003 + drawn)
        noise = None if self.noise is None else self.noise.to(device)
        for batch in recordings.batches(self.data, made, workers=self.workers, pin=device.type == "cuda"):
            if batch.refused:
                first = batch.refused[0]
                raise UserError(first.record, f"can't be read any more ({first.reason})")
            batch = batch.to(device)
            x, lengths = batch.x.to(torch.get_default_dtype()), batch.lengths
            if self.how is not None:
                x, lengths = augmentation.augment(x, lengths, batch.known, self.how, noise, generator)
            padded = bool((self._cropped(batch.index.cpu().numpy()) < x.shape[2]).any())
            yield loop.Batch(x, lengths if padded else None, None, batch.y)

    def _cropped(self, places: Index) -> Index:
        """Samples of recordings after the crop, if there is one."""
        lengths = self.lengths[places]
        return np.minimum(lengths, self.how.crop) if self.how is not None and self.how.crop else lengths

    def _to_learn(self, places: Index, batch_size: int) -> list[list[int]]:
        lengths = np.minimum(self.lengths, self.how.crop) if self.how is not None and self.how.crop else self.lengths
        return recordings.buckets(places.tolist(), lengths, batch_size)

    def _to_score(self, places: Index, batch_size: int) -> list[list[int]]:
        made: list[list[int]] = [[]]
        longest = 0
        for place in places.tolist():
            longest = max(longest, int(self.lengths[place]))
            full = len(made[-1]) == min(batch_size, SCORED_AT_ONCE) or (len(made[-1]) + 1) * longest > MOST
            if made[-1] and full:
                made.append([])
                longest = int(self.lengths[place])
            made[-1].append(place)
        return made


@dataclass(frozen=True)
class Trained:
    """A network trained on one division into sets.

    Attributes
    ----------
    network
        With the weights of the best epoch, in eval mode, on the CPU.
    run
        How the epoch was chosen.
    seconds
        Spent training.
    val_logits, test_logits
        `(n, classes)`, float32, of the validation and the test recordings in their order.
    """

    network: nn.Module
    run: Any
    seconds: float
    val_logits: NDArray[np.float32]
    test_logits: NDArray[np.float32]


def train(
    make: Callable[[], nn.Module],
    data: TwelveLead,
    parts: Sequence[Index],
    loss: nn.Module,
    how: Augmentation,
    noise: Noise | None,
    recipe: loop.Recipe,
    *,
    seed: int,
    device: torch.device,
    workers: int = 0,
    title: str = "training",
    checkpoint_path: Path | None = None,
    fingerprint: str = "",
) -> Trained:
    """Train a network, the epoch chosen by macro AUROC on validation, and score the test recordings.

    Parameters
    ----------
    make
        Makes the network of recordings.
    data
        All recordings.
    parts
        Places of those to learn from, of validation, and of the test.
    loss
        Of logits and labels `(batch, classes)`.
    how, noise
        Augmentation of the first part.
    recipe, seed, device, title, checkpoint_path, fingerprint
        As for `loop.fit`.
    workers
        As for `Recordings`.
    """
    learnt, val, test = parts
    fitted = loop.fit(
        make,
        Recordings(data, learnt, how=how, noise=noise, seed=seed, workers=workers),
        Recordings(data, val, workers=workers),
        loss,
        macro_auroc,
        recipe,
        seed=seed,
        device=device,
        title=title,
        checkpoint_path=checkpoint_path,
        fingerprint=fingerprint,
    )
    found = [
        predict(fitted.model, data, part, device=device, precision=recipe.precision, workers=workers)
        for part in (val, test)
    ]
    return Trained(fitted.model.cpu(), fitted.run, fitted.seconds, found[0], found[1])


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
    logits = np.empty_like(found)
    logits[by_length] = found
    return logits


def macro_auroc(logits: NDArray[np.float32], labels: NDArray[Any]) -> float:
    """Mean AUROC over the labels that have a positive and a negative; NaN where none has."""
    y = labels > 0.5
    auroc, _ = areas(y, sigmoid(logits), np.ones((1, len(y)), dtype=np.int64))
    return float(macro(auroc)[0])


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probabilities of logits."""
    found: NDArray[np.float64] = torch.from_numpy(logits.astype(np.float64)).sigmoid().numpy()
    return found
