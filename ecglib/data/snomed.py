"""The diagnoses that the PhysioNet/Computing in Cardiology Challenge 2021 scores, by their SNOMED-CT codes.

References
----------
M. A. Reyna et al.: Will Two Do? Varying Dimensions in Electrocardiography: The PhysioNet/Computing in Cardiology
Challenge 2021. Computing in Cardiology 48, 2021. doi:10.23919/CinC53138.2021.9662687
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class ScoredClass:
    """A diagnosis.

    Attributes
    ----------
    code
        Its SNOMED-CT code.
    abbreviation
        The class's name in tables.
    name
        In plain English.
    equivalents
        Codes that are scored as the same diagnosis.
    """

    code: str
    abbreviation: str
    name: str
    equivalents: tuple[str, ...] = ()


CLASSES: Final = (
    ScoredClass("164889003", "AF", "atrial fibrillation"),
    ScoredClass("164890007", "AFL", "atrial flutter"),
    ScoredClass("6374002", "BBB", "bundle branch block"),
    ScoredClass("426627000", "Brady", "bradycardia"),
    ScoredClass("733534002", "CLBBB", "complete left bundle branch block", ("164909002",)),
    ScoredClass("713427006", "CRBBB", "complete right bundle branch block", ("59118001",)),
    ScoredClass("270492004", "IAVB", "first-degree atrioventricular block"),
    ScoredClass("713426002", "IRBBB", "incomplete right bundle branch block"),
    ScoredClass("39732003", "LAD", "left axis deviation"),
    ScoredClass("445118002", "LAnFB", "left anterior fascicular block"),
    ScoredClass("164947007", "LPR", "prolonged PR interval"),
    ScoredClass("251146004", "LQRSV", "low QRS voltages"),
    ScoredClass("111975006", "LQT", "prolonged QT interval"),
    ScoredClass("698252002", "NSIVCB", "nonspecific intraventricular conduction disorder"),
    ScoredClass("426783006", "NSR", "sinus rhythm"),
    ScoredClass("284470004", "PAC", "premature atrial contraction", ("63593006",)),
    ScoredClass("10370003", "PR", "pacing rhythm"),
    ScoredClass("365413008", "PRWP", "poor R-wave progression"),
    ScoredClass("427172004", "PVC", "premature ventricular contractions", ("17338001",)),
    ScoredClass("164917005", "QAb", "abnormal Q wave"),
    ScoredClass("47665007", "RAD", "right axis deviation"),
    ScoredClass("427393009", "SA", "sinus arrhythmia"),
    ScoredClass("426177001", "SB", "sinus bradycardia"),
    ScoredClass("427084000", "STach", "sinus tachycardia"),
    ScoredClass("164934002", "TAb", "abnormal T wave"),
    ScoredClass("59931005", "TInv", "T-wave inversion"),
)
"""The scored diagnoses, in the order of the organisers' reward matrix."""
_BY_CODE: Final = {code: each for each in CLASSES for code in (each.code, *each.equivalents)}


def scored(codes: Iterable[str]) -> tuple[str, ...]:
    """Abbreviations of the scored diagnoses among these codes, each once, in the order of `CLASSES`."""
    found = {_BY_CODE[code].code for code in codes if code in _BY_CODE}
    return tuple(each.abbreviation for each in CLASSES if each.code in found)
