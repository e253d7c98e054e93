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
    """A diagnosis."""

    code: str
    """Its SNOMED-CT code."""
    abbreviation: str
    """The class's name in tables."""
    name: str
    """In plain English."""
    equivalents: tuple[str, ...] = ()
    """Codes that are scored as the same diagnosis."""


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


_STATEMENTS: Final = {
    "426783006": "NORM SR",
    "164889003": "AFIB",
    "164890007": "AFLT",
    "427393009": "SARRH",
    "426177001": "SBRAD",
    "427084000": "STACH",
    "10370003": "PACE",
    "426761007": "SVTAC",
    "67198005": "PSVT",
    "11157007": "BIGU",
    "251180001": "TRIGU",
    "270492004": "1AVB",
    "195042002": "2AVB",
    "27885002": "3AVB",
    "164947007": "LPR",
    "164909002": "CLBBB",
    "251120003": "ILBBB",
    "59118001": "CRBBB",
    "713426002": "IRBBB",
    "698252002": "IVCD",
    "445118002": "LAFB",
    "445211001": "LPFB",
    "74390002": "WPW",
    "284470004": "PAC",
    "427172004": "PVC",
    "164951009": "ABQRS",
    "164917005": "QWAVE",
    "251146004": "LVOLT",
    "251147008": "HVOLT",
    "111975006": "LNGQT",
    "59931005": "INVT",
    "164934002": "NDT NT_ LOWT TAB_",
    "428750005": "NST_",
    "429622005": "STD_",
    "164931005": "STE_",
    "164873001": "LVH VCLVH",
    "89792004": "RVH",
    "67741000119109": "LAO/LAE",
    "446358003": "RAO/RAE",
    "164861001": "ISC_",
    "425623009": "ISCAL ISCLA",
    "426434006": "ISCAN ISCAS",
    "425419005": "ISCIL ISCIN",
    "164865005": "IMI ASMI ILMI AMI ALMI LMI IPLMI IPMI PMI",
}
FROM_PTB_XL: Final = {name: code for code, names in _STATEMENTS.items() for name in names.split()}
"""Statement of PTB-XL -> SNOMED-CT code of the same meaning, where the Challenge's lists have one. Our reading of the
statements' descriptions. On the Challenge's first ten records of PTB-XL it gives their scored labels but for two that
no statement there holds: first-degree block in `HR00003` and sinus arrhythmia in `HR00010`."""
FROM_AXIS: Final = {"LAD": "39732003", "ALAD": "39732003", "RAD": "47665007", "ARAD": "47665007"}
"""The same of PTB-XL's column `heart_axis`: left and right deviation, the extreme ones too."""
MYOCARDIAL_INFARCTION: Final = frozenset({"164865005", "164867002", "54329005", "57054005"})
"""Codes of an infarction, whichever and however old."""


def of_ptb_xl(statements: Iterable[str], axis: str = "") -> tuple[str, ...]:
    """SNOMED-CT codes of PTB-XL's statements and heart axis, each once, in their order; others have none."""
    found = [FROM_PTB_XL[name] for name in statements if name in FROM_PTB_XL]
    return tuple(dict.fromkeys([*found, *([FROM_AXIS[axis]] if axis in FROM_AXIS else [])]))
