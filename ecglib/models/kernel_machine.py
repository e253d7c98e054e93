"""A support vector machine on a median beat as it is, in mV: a yardstick of what its whole shape tells."""

from __future__ import annotations

from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import SVC

from ecglib.models.yardstick import Yardstick

RECIPE = 1
"""1: as published."""


class KernelMachine(Yardstick):
    """A support vector machine with a Gaussian kernel on the median beat of every lead in mV (Cortes & Vapnik 1995).

    `MedianBeat` weighs every sample by itself, all brought to one scale. This reads the beat as a whole, over all its
    leads: recordings are alike whose median beats are, and a lead counts as much as its voltage does. The kernel's
    width follows from the spread of what it is fitted to. The cost is not chosen fold by fold: values of machines of
    different costs can't be pooled. Its logits are distances to the border, no log-odds.
    """

    def estimator(self, fewest: int, seed: int) -> Pipeline:
        """A machine with the usual cost; nothing is drawn."""
        machine = SVC(C=1.0, kernel="rbf", gamma="scale", class_weight="balanced")
        return make_pipeline(SimpleImputer(strategy="median"), machine)
