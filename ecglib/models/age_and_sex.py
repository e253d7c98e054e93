"""Logistic regression on age and sex: a yardstick of what is known of a patient before any ECG is read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from ecglib.errors import UserError
from ecglib.models.yardstick import Yardstick, linear

RECIPE = 1
"""1: as published."""


class AgeAndSex(Yardstick):
    """Logistic regression on age in years and sex, 0 or 1 (Cox 1958).

    Diseases come with age, and a network that reads age from a beat would look as if it read the disease.
    """

    def estimator(self, fewest: int, seed: int) -> Pipeline:
        """A regression with the usual penalty; nothing is drawn."""
        return linear(1.0)


def as_read(known: NDArray[np.float64]) -> NDArray[np.float64]:
    """Age in years and sex (0 or 1, female) `(n, 2)` as the model reads them, `(n, 1, 2)`; NaN is unknown.

    Raises UserError when all ages or all sexes are unknown.
    """
    if np.isnan(known).all(0).any():
        raise UserError("model: age_and_sex", "nobody's age and sex are known", "those of some recordings")
    return known[:, None]
