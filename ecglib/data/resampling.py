"""Resampling of the training part against class imbalance, by imbalanced-learn.

Called after the split with the training part alone; nothing here sees a validation or test beat.
"""

from __future__ import annotations

import numpy as np
from imblearn.combine import SMOTETomek
from imblearn.over_sampling import SMOTE
from imblearn.under_sampling import TomekLinks
from numpy.typing import NDArray

from ecglib import aami
from ecglib.errors import UserError


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
    smote = SMOTE(k_neighbors=neighbours, random_state=seed)
    if method == "smote":
        sampler = smote
    elif method == "smote-tomek":
        sampler = SMOTETomek(random_state=seed, smote=smote, tomek=TomekLinks(sampling_strategy="all", n_jobs=-1))
    else:
        raise UserError("imbalance", f"no resampling method {method}", "smote or smote-tomek")
    flat, new_labels = sampler.fit_resample(signals.reshape(len(signals), -1), labels)
    new_signals = np.asarray(flat, dtype=np.float32).reshape(-1, *signals.shape[1:])
    return new_signals, np.asarray(new_labels, dtype=np.int64)
