"""Resampling of the training part against class imbalance, by imbalanced-learn (Lemaitre et al. 2017).

Called after the split with the training part alone; nothing here sees a validation or test beat.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from imblearn.over_sampling import ADASYN, SMOTE, BorderlineSMOTE, RandomOverSampler
from imblearn.under_sampling import RandomUnderSampler, TomekLinks
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from sklearn.decomposition import PCA

from ecglib import aami
from ecglib.errors import UserError

RECIPE = 1
"""1: as published."""
_SAMPLERS = {
    "smote": (SMOTE, "k_neighbors"),
    "smote-tomek": (SMOTE, "k_neighbors"),
    "borderline-smote": (BorderlineSMOTE, "k_neighbors"),
    "adasyn": (ADASYN, "n_neighbors"),
    "random-over": (RandomOverSampler, ""),
    "random-under": (RandomUnderSampler, ""),
}
"""Method -> its sampler, and what that calls the number of neighbours that new beats are drawn between."""
METHODS = tuple(_SAMPLERS)
"""What `resample` knows."""


def resample(
    signals: NDArray[np.float32],
    labels: NDArray[np.int64],
    method: str,
    *,
    seed: int,
    neighbours: int = 5,
    classes: Sequence[int] = range(len(aami.CLASSES)),
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Balance a training set of beats `(n, leads, samples)` and their classes `(n,)` by a method:

    - `smote`: every class is filled up to the largest with beats drawn between neighbours (Chawla et al. 2002);
    - `smote-tomek`: the same, then both beats of every Tomek link are removed (Batista et al. 2004);
    - `borderline-smote`: as SMOTE, from beats with mostly other classes around them (Han et al. 2005, borderline-1); a
      class without such beats stays as it is;
    - `adasyn`: as SMOTE, from a beat the more often the more other classes are around it (He et al. 2008);
    - `random-over`: every class is filled up to the largest with copies;
    - `random-under`: beats are drawn from every class, as many as the smallest has.

    `neighbours` are the nearest beats of the same class between which new ones are drawn; the random methods have no
    use for them. Beats of other classes than `classes` stay as they are. A `UserError` when the method is unknown, or a
    class has no more beats than `neighbours`.
    """
    if method not in METHODS:
        raise UserError("imbalance", f"no resampling method {method}", f"one of {', '.join(METHODS)}")
    others = ~np.isin(labels, classes)
    kept_signals, kept_labels = signals[others], labels[others]
    signals, labels = signals[~others], labels[~others]
    sampler, parameter = _SAMPLERS[method]
    for label, count in enumerate(np.bincount(labels) if parameter else ()):
        if 0 < count <= neighbours:
            raise UserError(
                f"imbalance {method}",
                f"class {aami.CLASSES[label]} has {count} training beats",
                f"more than smote_neighbours = {neighbours}",
                "lower smote_neighbours, or take weighted",
            )
    given: dict[str, Any] = {parameter: neighbours} if parameter else {}
    flat = np.ascontiguousarray(signals.reshape(len(signals), -1))
    try:
        new, new_labels = sampler(random_state=seed, **given).fit_resample(flat, labels)
    except (ValueError, RuntimeError) as error:  # ADASYN: no beat of a class has another class beside it
        raise UserError(f"imbalance {method}", str(error).splitlines()[0], do="take another method") from None
    if method == "smote-tomek":
        kept = without_tomek_links(new, new_labels)
        new, new_labels = new[kept], new_labels[kept]
    new_signals = np.asarray(new, dtype=np.float32).reshape(-1, *signals.shape[1:])
    return np.concatenate([new_signals, kept_signals]), np.concatenate([new_labels.astype(np.int64), kept_labels])


def without_tomek_links(x: NDArray[np.float32], y: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions of the beats `(n, values)` in no Tomek link.

    imbalanced-learn compares every beat with every other, which takes a quarter of an hour for a full training set. A
    rotation to principal axes keeps all distances, and on beats, which vary along few axes, lets a k-d tree find the
    same neighbours in a tenth of the time.
    """
    rotated = PCA(svd_solver="covariance_eigh").fit_transform(x.astype(np.float64))
    _, two = cKDTree(rotated, balanced_tree=False).query(rotated, k=2, workers=-1)
    itself = np.arange(len(y))
    # of equal beats, the other may come first
    nearest = np.where(two[:, 0] == itself, two[:, 1], two[:, 0])  # type: ignore[index]
    return np.flatnonzero(~TomekLinks.is_tomek(y, nearest, np.unique(y)))
