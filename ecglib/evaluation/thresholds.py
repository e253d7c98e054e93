"""From probabilities to labels, and from logits to classes: thresholds chosen on validation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ecglib.evaluation import metrics

Array = NDArray[np.float64]
DEFAULT = 0.5


def choose(y: NDArray[np.bool_], p: NDArray[np.floating]) -> Array:
    """For each class the threshold of greatest F1 (Lipton et al. 2014 on what such a threshold is), `(classes,)`.

    A record has a label whose probability is at least its threshold.

    A threshold lies midway between two neighbouring scores, or between the lowest one and 0: there is no other reason
    to prefer one place between them. Where several cuts have the same F1 it is the one nearest 0.5, of two as near the
    higher. Labels and probabilities, in 0..1, are `(n, classes)`. A class without positives or without negatives keeps
    `DEFAULT`.

    Raises ValueError when shapes differ or a probability is none.
    """
    if y.shape != p.shape or y.ndim != 2:
        raise ValueError(f"labels {y.shape} and probabilities {p.shape}: expected (n, classes) of both")
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("probabilities: expected numbers from 0 to 1")
    columns = zip(y.astype(np.bool_).T, p.astype(np.float64).T, strict=True)
    return np.array([_best(has, scores) if 0 < has.sum() < len(has) else DEFAULT for has, scores in columns])


def _best(y: NDArray[np.bool_], scores: Array) -> float:
    levels, level = np.unique(-scores, return_inverse=True)  # 0 is the highest score
    levels = -levels
    tp = np.bincount(level, y, len(levels)).cumsum()
    called = np.bincount(level, minlength=len(levels)).cumsum()
    f1 = 2 * tp / (called + y.sum())
    below = np.append(levels[1:], 0.0)
    middle = below + (levels - below) / 2
    # where two scores are so near that no float lies between them, or the lowest is 0
    cuts = np.where(middle > below, middle, levels)
    best = cuts[f1 == f1.max()]  # equal fractions are equal floats
    nearest = best[np.abs(best - DEFAULT) == np.abs(best - DEFAULT).min()]
    return float(nearest.max())


def class_offsets(
    logits: NDArray[np.float32], labels: NDArray[np.int64], classes: list[int], rounds: int = 3
) -> NDArray[np.float32]:
    """Offsets `(classes,)` to add to logits `(n, classes)` so that macro-F1 over `classes` is best on these labels.

    Moving the thresholds of a trained classifier, one class after the other (coordinate ascent over a grid from -4 to
    4); the first class's stays 0, as only differences matter. On a tie the smaller offset stays.
    """
    grid = sorted(np.linspace(-4, 4, 33).tolist(), key=abs)
    offsets = np.zeros(logits.shape[1], dtype=np.float32)

    def value() -> float:
        matrix = metrics.confusion(labels, (logits + offsets).argmax(1), logits.shape[1])
        return float(metrics.summary(matrix, classes)["macro_f1"])

    for _ in range(rounds):
        for i in classes[1:]:
            best, best_offset = -np.inf, 0.0
            for offset in grid:
                offsets[i] = offset
                if (found := value()) > best:
                    best, best_offset = found, offset
            offsets[i] = best_offset
    return offsets
