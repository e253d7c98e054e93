"""The challenge score beside a computation of its own, recording by recording, from the published definition."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ecglib.data.catalogues import snomed
from ecglib.errors import UserError
from ecglib.evaluation import challenge

CODES = [one.code for one in snomed.CLASSES]
AF, AFL, SINUS = "164889003", "164890007", "426783006"
REWARDS = challenge.rewards(CODES)
Labels = NDArray[np.bool_]


def score(y: Labels, decided: Labels, codes: list[str] = CODES) -> float:
    return float(challenge.scores(y, decided, np.ones((1, len(y)), dtype=np.int64), codes)[0])


def published(y: Labels, decided: Labels, rewards: NDArray[np.float64], sinus: int) -> float:
    """Perez Alday et al. (2020), section 2.4, in sets and loops."""

    def total(outputs: list[set[int]]) -> float:
        value = 0.0
        for has, given_ in zip(labels, outputs, strict=True):
            for j in has:
                for k in given_:
                    value += rewards[j, k] / max(1, len(has | given_))
        return value

    labels = [set(np.flatnonzero(row).tolist()) for row in y]
    observed, correct = total([set(np.flatnonzero(row).tolist()) for row in decided]), total(labels)
    inactive = total([{sinus}] * len(labels))
    return (observed - inactive) / (correct - inactive)


def drawn(n: int, seed: int, classes: int = 26) -> tuple[Labels, Labels]:
    draw = np.random.default_rng(seed)
    share = draw.random()
    y, decided = draw.random((n, classes)) < share / 3, draw.random((n, classes)) < share / 3
    y[0], decided[0] = False, False  # a recording without labels
    y[1] = np.arange(classes) == 0  # and one that isn't sinus rhythm alone
    return y, decided


def test_the_rewards_are_the_published_matrix() -> None:
    """Its fingerprint is that of the organisers' `weights.csv`, in ten-thousandths; then some entries, to be read."""
    assert REWARDS.shape == (26, 26)
    whole = np.rint(REWARDS * 10_000).astype("<i8")
    expected = "805da11c3b170455fd602324e789c5f22d56046db6ac7a64710fb225d6925712"
    assert hashlib.sha256(whole.tobytes()).hexdigest() == expected
    np.testing.assert_array_equal(REWARDS * 10_000, whole)
    assert REWARDS.sum() == pytest.approx(286.075)


@settings(max_examples=40)
@given(n=st.integers(2, 30), seed=st.integers(0, 2**32), k=st.integers(2, 26))
def test_resamples_of_some_classes_are_scored_by_the_published_definition(n: int, seed: int, k: int) -> None:
    """As a set with recordings repeated, and as if no other class existed."""
    others = np.random.default_rng(seed).permutation([code for code in CODES if code != SINUS])[: k - 1]
    codes = [*others.tolist(), SINUS]
    columns = [CODES.index(code) for code in codes]
    y, decided = drawn(n, seed, k)
    weights = np.random.default_rng(seed).integers(0, 4, (3, n))
    weights[:, 1] += 1
    found = challenge.scores(y, decided, weights, codes)
    for row, one in zip(weights, found, strict=True):
        again = np.repeat(np.arange(n), row)
        expected = published(y[again], decided[again], REWARDS[np.ix_(columns, columns)], k - 1)
        assert one == pytest.approx(expected, abs=1e-9)
    wide_y, wide_decided = np.zeros((2, n, 26), dtype=bool)
    wide_y[:, columns], wide_decided[:, columns] = y, decided
    assert challenge.scores(wide_y, wide_decided, weights, CODES) == pytest.approx(found), "no other class counts"


def test_where_all_are_in_sinus_rhythm_there_is_no_scale() -> None:
    y = np.zeros((4, 26), dtype=bool)
    y[:3, CODES.index(SINUS)] = True
    assert np.isnan(score(y, ~y))
    assert np.isnan(score(y[:0], y[:0]))


def test_classes_that_cannot_be_scored_are_refused() -> None:
    y = np.zeros((3, 3), dtype=bool)
    wrong = {"no sinus rhythm": [AF, AFL], "12345; ": [AF, "12345", SINUS], f"{AF}, {AF}; ": [AF, AF, SINUS]}
    for said, codes in wrong.items():
        with pytest.raises(UserError, match=said):
            score(y, y, codes)
    for has, given_, n in ((y, y[:, :2], 3), (y[:, :2], y[:, :2], 3), (y, y, 4)):
        with pytest.raises(ValueError, match="expected"):
            challenge.scores(has, given_, np.ones((5, n), dtype=np.int64), [AF, AFL, SINUS])
