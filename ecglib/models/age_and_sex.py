"""Logistic regression on age and sex: a yardstick of what is known of a patient before any ECG is read."""

from __future__ import annotations

from sklearn.pipeline import Pipeline

from ecglib.models.yardstick import Yardstick, linear

RECIPE = 1
"""1: as published."""


class AgeAndSex(Yardstick):
    """Logistic regression on age in years and sex, 0 or 1 (Cox 1958).

    Diseases come with age, and a network that reads age from a beat would look as if it read the disease.

    References
    ----------
    D. R. Cox: The Regression Analysis of Binary Sequences. Journal of the Royal Statistical Society B 20(2), 1958.
    """

    def estimator(self, fewest: int, seed: int) -> Pipeline:
        """A regression with the usual penalty; nothing is drawn."""
        return linear(1.0)
