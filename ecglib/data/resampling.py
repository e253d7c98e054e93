"""Resampling of the training part against class imbalance, by imbalanced-learn.

Called after the split with the training part alone; nothing here sees a validation or test beat.
"""

from __future__ import annotations

import hashlib
import os
from importlib.metadata import version
from pathlib import Path

import numpy as np
from imblearn.over_sampling import SMOTE
from imblearn.under_sampling import TomekLinks
from numpy.typing import NDArray

from ecglib import aami, fingerprint, paths
from ecglib.errors import UserError

_LIBRARY = "imbalanced-learn"


def resample(
    signals: NDArray[np.float32], labels: NDArray[np.int64], method: str, *, seed: int, neighbours: int = 5
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Balance a training set by synthetic beats.

    Parameters
    ----------
    signals
        `(n, leads, samples)`: beats.
    labels
        `(n,)`: classes.
    method
        `smote`: every class is filled up to the largest with beats drawn between neighbours (Chawla et al. 2002).
        `smote-tomek`: the same, then both beats of every Tomek link are removed (Batista et al. 2004).
    seed
        Of the draws.
    neighbours
        Nearest beats of the same class between which new ones are drawn.

    Returns
    -------
    The resampled signals (float32, same trailing shape) and labels.

    Raises
    ------
    UserError
        When a class has no more beats than `neighbours`.
    """
    counts = np.bincount(labels, minlength=len(aami.CLASSES))
    for label, count in enumerate(counts):
        if 0 < count <= neighbours:
            raise UserError(
                f"imbalance {method}",
                f"class {aami.CLASSES[label]} has {count} training beats",
                f"more than smote_neighbours = {neighbours}",
                "lower smote_neighbours, or take weighted",
            )
    flat = np.ascontiguousarray(signals.reshape(len(signals), -1))
    smote = SMOTE(k_neighbors=neighbours, random_state=seed)
    if method not in ("smote", "smote-tomek"):
        raise UserError("imbalance", f"no resampling method {method}", "smote or smote-tomek")
    new, new_labels = smote.fit_resample(flat, labels)
    if method == "smote-tomek":
        key = fingerprint.of_values(
            hashlib.sha256(flat.tobytes()).hexdigest(), labels.tolist(), seed, neighbours, version(_LIBRARY)
        )
        kept = _without_tomek_links(new, new_labels, paths.cache() / "tomek" / f"{key[:20]}.npy")
        new, new_labels = new[kept], new_labels[kept]
    new_signals = np.asarray(new, dtype=np.float32).reshape(-1, *signals.shape[1:])
    return new_signals, np.asarray(new_labels, dtype=np.int64)


def _without_tomek_links(x: NDArray[np.float32], y: NDArray[np.int64], remembered: Path) -> NDArray[np.int64]:
    """Positions of the beats in no Tomek link.

    The search compares every beat with every other, minutes for a full training set, so its answer is kept on disk.
    """
    if remembered.is_file():
        stored: NDArray[np.int64] = np.load(remembered, allow_pickle=False)
        return stored
    tomek = TomekLinks(sampling_strategy="all", n_jobs=-1)
    tomek.fit_resample(x, y)
    kept = np.sort(np.asarray(tomek.sample_indices_, dtype=np.int64))
    remembered.parent.mkdir(parents=True, exist_ok=True)
    temporary = remembered.with_suffix(f".{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        np.save(file, kept)
    temporary.replace(remembered)
    return kept
