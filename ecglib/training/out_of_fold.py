"""Every fold scored by a model that is fitted at once to all the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from ecglib.errors import UserError
from ecglib.models.yardstick import Yardstick

Index = NDArray[np.int64]


def logits(
    make: Callable[[], Yardstick],
    x: NDArray[np.floating],
    y: NDArray[np.bool_],
    patients: NDArray[np.str_],
    parts: Iterable[tuple[Index, Index]],
    seed: int,
) -> NDArray[np.float64]:
    """Logits out of fold, `(n, labels)`; NaN of what no part scores, and of labels that can't be learnt.

    Parameters
    ----------
    make
        Makes the model.
    x, y
        What it reads of every recording `(n, leads, samples)`, NaN where unknown, and the labels `(n, labels)`.
    patients
        Of every recording, `(n,)`.
    parts
        Places of recordings to learn from and of those to score, no patient in both.
    seed
        As for `Yardstick.fit`.
    """
    found = np.full(y.shape, np.nan)
    for train, test in parts:
        model = make()
        model.fit(x[train], y[train], patients[train], seed)
        found[test] = model.predict_logits(x[test])
    return found


def people(age_and_sex: NDArray[np.float64], model: str) -> NDArray[np.float64]:
    """Age and sex `(n, 2)` as a model reads them, `(n, 1, 2)`.

    Raises
    ------
    UserError
        When all ages or all sexes are unknown (NaN).
    """
    if np.isnan(age_and_sex).all(0).any():
        raise UserError(f"model: {model}", "nobody's age and sex are known", "those of some recordings")
    return age_and_sex[:, None]
