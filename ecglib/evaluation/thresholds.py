"""From probabilities to labels, and from logits to classes: thresholds chosen on validation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ecglib.evaluation import metrics
from ecglib.evaluation.labels import checked

Array = NDArray[np.float64]
DEFAULT = 0.5


def choose(y: NDArray[np.bool_], p: NDArray[np.floating]) -> Array:
    """For each class the threshold of greatest F1 (Lipton et al. 2014 on what such a threshold is), `(classes,)`.

    A record has a label whose probability is at least its threshold.

    A threshold lies midway between two neighbouring scores, or between the lowest one and 0: there is no other reason
    to prefer one place between them. Where several cuts have the same F1 it is the one nearest 0.5, of two as near the
    higher. Labels and probabilities, in 0..1, are `(n, classes)`. A class without positives or without negatives keeps
    `DEFAULT`.

    Raises ValueError as `labels.checked`.
    """
    checked(y, p)
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
    for i in classes[1:] * rounds:
        tried = []
        for offset in grid:
            offsets[i] = offset
            tried.append(metrics.confusion(labels, (logits + offsets).argmax(1), logits.shape[1]))
        found = metrics.summary(np.stack(tried), classes)["macro_f1"]
        offsets[i] = grid[int(np.nan_to_num(found, nan=-1.0).argmax())]
    return offsets
