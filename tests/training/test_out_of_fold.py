"""Scores out of fold: each part's from what it learnt from alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ecglib.errors import UserError
from ecglib.models import registry
from ecglib.models.yardstick import Yardstick
from ecglib.training import out_of_fold

FOLD = np.arange(80) // 4 % 5
PARTS = [(np.flatnonzero(k != FOLD), np.flatnonzero(k == FOLD)) for k in range(5)]


def scored(name: str, y: NDArray[np.bool_], parts: Any = PARTS) -> NDArray[np.float64]:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(80, 1, 10))
    x[:, 0, 3] += 2.5 * (np.arange(80) % 4 == 0)

    def make() -> Yardstick:
        made = registry.build(name, 1, 10, y.shape[1])
        assert isinstance(made, Yardstick)
        return made

    return out_of_fold.logits(make, x, y, np.array([f"p{i}" for i in range(80)]), parts, 0)


@pytest.mark.parametrize("name", ["age_and_sex", "median_beat", "kernel_machine"])
def test_the_labels_of_a_fold_have_no_part_in_its_scores(name: str) -> None:
    y = np.arange(80)[:, None] % 4 == 0
    before, after = scored(name, y), scored(name, np.where(FOLD[:, None] == 2, np.roll(y, 1), y))
    np.testing.assert_array_equal(before[FOLD == 2], after[FOLD == 2])
    assert (before[FOLD != 2] != after[FOLD != 2]).any()


def test_what_no_part_scores_has_no_score() -> None:
    y = np.arange(80)[:, None] % 4 == 0
    found = scored("kernel_machine", y, PARTS[:2])
    assert np.isfinite(found[FOLD < 2]).all() and np.isnan(found[FOLD >= 2]).all()
    np.testing.assert_array_equal(found[FOLD < 2], scored("kernel_machine", y)[FOLD < 2])


def test_age_and_sex_of_nobody_are_refused() -> None:
    known = np.array([[50.0, np.nan], [np.nan, 1.0]])
    assert out_of_fold.people(known, "age_and_sex").shape == (2, 1, 2)
    with pytest.raises(UserError, match="model: age_and_sex: nobody's age and sex are known"):
        out_of_fold.people(np.array([[50.0, np.nan], [60.0, np.nan]]), "age_and_sex")
