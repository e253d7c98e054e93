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
SCORED: Final = tuple(each.abbreviation for each in CLASSES)
_BY_CODE: Final = {code: each for each in CLASSES for code in (each.code, *each.equivalents)}


def scored(codes: Iterable[str]) -> tuple[str, ...]:
    """Abbreviations of the scored diagnoses among these codes, each once, in the order of `CLASSES`."""
    found = {_BY_CODE[code].code for code in codes if code in _BY_CODE}
    return tuple(each.abbreviation for each in CLASSES if each.code in found)


FROM_PTB_XL: Final = {
    "NORM": "426783006",
    "SR": "426783006",
    "AFIB": "164889003",
    "AFLT": "164890007",
    "SARRH": "427393009",
    "SBRAD": "426177001",
    "STACH": "427084000",
    "PACE": "10370003",
    "SVTAC": "426761007",
    "PSVT": "67198005",
    "BIGU": "11157007",
    "TRIGU": "251180001",
    "1AVB": "270492004",
    "2AVB": "195042002",
    "3AVB": "27885002",
    "LPR": "164947007",
    "CLBBB": "164909002",
    "ILBBB": "251120003",
    "CRBBB": "59118001",
    "IRBBB": "713426002",
    "IVCD": "698252002",
    "LAFB": "445118002",
    "LPFB": "445211001",
    "WPW": "74390002",
    "PAC": "284470004",
    "PVC": "427172004",
    "ABQRS": "164951009",
    "QWAVE": "164917005",
    "LVOLT": "251146004",
    "HVOLT": "251147008",
    "LNGQT": "111975006",
    "INVT": "59931005",
    "NDT": "164934002",
    "NT_": "164934002",
    "LOWT": "164934002",
    "TAB_": "164934002",
    "NST_": "428750005",
    "STD_": "429622005",
    "STE_": "164931005",
    "LVH": "164873001",
    "VCLVH": "164873001",
    "RVH": "89792004",
    "LAO/LAE": "67741000119109",
    "RAO/RAE": "446358003",
    "ISC_": "164861001",
    "ISCAL": "425623009",
    "ISCAN": "426434006",
    "ISCAS": "426434006",
    "ISCIL": "425419005",
    "ISCIN": "425419005",
    "ISCLA": "425623009",
    "IMI": "164865005",
    "ASMI": "164865005",
    "ILMI": "164865005",
    "AMI": "164865005",
    "ALMI": "164865005",
    "LMI": "164865005",
    "IPLMI": "164865005",
    "IPMI": "164865005",
    "PMI": "164865005",
}
"""Statement of PTB-XL -> SNOMED-CT code of the same meaning, where the Challenge's lists have one. Our reading of the
statements' descriptions. On the Challenge's first ten records of PTB-XL it gives their scored labels but for two that
no statement there holds: first-degree block in `HR00003` and sinus arrhythmia in `HR00010`."""
FROM_AXIS: Final = {"LAD": "39732003", "ALAD": "39732003", "RAD": "47665007", "ARAD": "47665007"}
"""The same of PTB-XL's column `heart_axis`: left and right deviation, the extreme ones too."""
MYOCARDIAL_INFARCTION: Final = ("164865005", "164867002", "54329005", "57054005")
"""Codes of an infarction, whichever and however old."""


def of_ptb_xl(statements: Iterable[str], axis: str = "") -> tuple[str, ...]:
    """SNOMED-CT codes of PTB-XL's statements and heart axis, each once, in their order; others have none."""
    found = [FROM_PTB_XL[name] for name in statements if name in FROM_PTB_XL]
    if axis in FROM_AXIS:
        found.append(FROM_AXIS[axis])
    return tuple(dict.fromkeys(found))
