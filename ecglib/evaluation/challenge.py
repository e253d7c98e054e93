"""The score of the PhysioNet/CinC Challenges 2020 and 2021, which gives credit for mistaking like for like.

Perez Alday et al. (2020), section 2.4, and Reyna et al. (2021, 2022). With `y_ij` and `d_ij` saying whether recording
`i` has label `j` and was given it, a recording adds `y_ij · d_ik / max(1, labels it has or was given)` to a confusion
matrix `a_jk`. The sum of `w_jk · a_jk`, with the rewards `w`, is scaled so that giving every recording its own labels
scores 1 and always giving sinus rhythm alone, the inactive classifier, scores 0.

The rewards are facts from `weights.csv` of the organisers' scorer (github.com/physionetchallenges/evaluation-2021,
BSD 2-Clause, Copyright 2020, 2021 PhysioNet/Computing in Cardiology Challenges).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ecglib.errors import UserError
from ecglib.evaluation.metrics import ratio

Array = NDArray[np.float64]
SINUS = "426783006"

_PLACES = {
    -0.1: ("164917005",),  # QAb
    0.0: ("164889003", "164890007", "164934002", "59931005"),  # AF, AFL, TAb, TInv
    0.025: ("6374002", "733534002"),  # BBB, CLBBB
    0.05: ("111975006",),  # LQT
    0.075: ("251146004", "365413008"),  # LQRSV, PRWP
    0.1: ("713427006",),  # CRBBB
    0.125: ("10370003", "427172004", "427084000"),  # PR, PVC, STach
    0.15: ("39732003", "445118002", "698252002", "47665007"),  # LAD, LAnFB, NSIVCB, RAD
    0.1625: ("284470004",),  # PAC
    0.2: ("426627000", "270492004", "713426002", "164947007", "427393009", "426177001"),  # Brady IAVB IRBBB LPR SA SB
    0.25: (SINUS,),  # NSR
}
"""Place on a line -> classes there. Two classes at `s` and `t` reward each other with `0.5 - |s - t|`: so all 676
numbers of the published matrix can be written, but for `_APART` and the ones of its diagonal."""
_APART = {frozenset(("6374002", "733534002")): 0.475, frozenset(("251146004", "365413008")): 0.475}


def rewards(codes: Sequence[str]) -> Array:
    """The reward matrix `w`, `(classes, classes)`, of scored classes in their order: rows true, columns given.

    Each is told by its SNOMED code. UserError is raised when a code is no scored class, or comes twice.
    """
    place = {code: at for at, here in _PLACES.items() for code in here}
    if wrong := [code for code in codes if code not in place or codes.count(code) > 1]:
        raise UserError("challenge score", ", ".join(wrong), "codes of the scored classes, each once")
    along = np.array([place[code] for code in codes])
    matrix: Array = np.round(0.5 - np.abs(along[:, None] - along), 4)
    np.fill_diagonal(matrix, 1.0)
    for pair, reward in _APART.items():
        if pair <= set(codes):
            a, b = (codes.index(code) for code in pair)
            matrix[a, b] = matrix[b, a] = reward
    return matrix


def scores(
    y: NDArray[np.bool_], decided: NDArray[np.bool_], weights: NDArray[np.integer], codes: Sequence[str]
) -> Array:
    """The challenge score of resamples, at most 1; below 0 is worse than calling everything sinus rhythm.

    A recording's label outside `codes` doesn't exist here: it earns nothing, and divides nothing. A score over a subset
    is therefore comparable with others over that subset only, not with published ones, which are over all classes. As
    in the published definition, a recording without a scored label weighs nothing, whatever it was given.

    `y` and `decided` `(n, classes)` are the labels that a recording has, and was given; `weights` `(resamples, n)` says
    how often each resample holds each recording; `codes` `(classes,)` are those of the columns, as for `rewards`. The
    scores `(resamples,)` are NaN where the inactive classifier is perfect, as no scale has both ends there (the
    organisers' scorer writes 0).

    Raises
    ------
    UserError
        When `codes` are not as for `rewards`, or lack sinus rhythm.
    ValueError
        When shapes differ.
    """
    if SINUS not in codes:
        raise UserError("challenge score", "no sinus rhythm among its classes", f"{SINUS}, whose score is the 0")
    if y.shape != decided.shape or y.shape[1:] != (len(codes),) or weights.shape[1:] != y.shape[:1]:
        shapes = f"labels {y.shape}, decisions {decided.shape}, weights {weights.shape}"
        raise ValueError(f"{shapes}: expected (n, {len(codes)}) twice and (resamples, n)")
    matrix = rewards(codes)
    inactive = np.zeros(y.shape, dtype=np.bool_)
    inactive[:, codes.index(SINUS)] = True
    earned = np.stack([_earned(y, given, matrix) for given in (decided, y, inactive)], axis=1)
    observed, correct, idle = (weights @ earned).T  # every sum is over recordings, so a resample only weighs them anew
    scale = correct - idle
    return ratio(observed - idle, np.where(scale > 1e-9, scale, 0))  # less is rounding: it is never below 0


def _earned(y: NDArray[np.bool_], decided: NDArray[np.bool_], matrix: Array) -> Array:
    """What each recording adds to the sum of `w · a`, `(n,)`."""
    has, given = y.astype(np.float64), decided.astype(np.float64)
    union = np.maximum(has, given).sum(1)
    earned: Array = ((has @ matrix) * given).sum(1) / np.maximum(union, 1)
    return earned
