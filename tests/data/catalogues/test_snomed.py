from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from ecglib.data.catalogues import snomed


def test_there_are_26_diagnoses_of_30_codes() -> None:
    codes = [code for each in snomed.CLASSES for code in (each.code, *each.equivalents)]
    assert (len(snomed.CLASSES), len(codes), len(set(codes))) == (26, 30, 30)
    assert len({each.abbreviation for each in snomed.CLASSES}) == 26


def test_equivalent_codes_are_one_diagnosis_and_others_are_left_out() -> None:
    assert snomed.scored(["59118001", "713427006", "164889003", "164865005"]) == ("AF", "CRBBB")
    assert snomed.scored(["63593006", "17338001", "164909002"]) == ("CLBBB", "PAC", "PVC")
    assert snomed.scored([]) == ()


def test_statements_of_ptb_xl_that_are_scored() -> None:
    """Of each scored class, the statements that give it; the others have none or say it less exactly."""
    found: dict[str, set[str]] = {}
    for name in snomed.FROM_PTB_XL:
        for abbreviation in snomed.scored(snomed.of_ptb_xl([name])):
            found.setdefault(abbreviation, set()).add(name)
    assert found == {
        "AF": {"AFIB"}, "AFL": {"AFLT"}, "CLBBB": {"CLBBB"}, "CRBBB": {"CRBBB"}, "IAVB": {"1AVB"}, "IRBBB": {"IRBBB"},
        "LAnFB": {"LAFB"}, "LPR": {"LPR"}, "LQRSV": {"LVOLT"}, "LQT": {"LNGQT"}, "NSIVCB": {"IVCD"},
        "NSR": {"NORM", "SR"}, "PAC": {"PAC"}, "PR": {"PACE"}, "PVC": {"PVC"}, "QAb": {"QWAVE"}, "SA": {"SARRH"},
        "SB": {"SBRAD"}, "STach": {"STACH"}, "TAb": {"NDT", "NT_", "LOWT", "TAB_"}, "TInv": {"INVT"},
    }  # fmt: skip


def test_codes_of_ptb_xl_are_each_once_and_in_order_the_heart_axis_last() -> None:
    assert snomed.of_ptb_xl(["SR", "AFIB", "NORM", "unheard of", "IMI", "AMI"], "ALAD") == (
        "426783006", "164889003", "164865005", "39732003",
    )  # fmt: skip
    axes = {"LAD": ("LAD",), "ALAD": ("LAD",), "RAD": ("RAD",), "ARAD": ("RAD",), "MID": (), "nan": (), "": ()}
    assert {axis: snomed.scored(snomed.of_ptb_xl(["norm"], axis)) for axis in axes} == axes


@pytest.mark.real
def test_statements_are_those_of_ptb_xl(real_ptb_xl: Path) -> None:
    table = pd.read_csv(real_ptb_xl / "scp_statements.csv", index_col=0)
    assert set(table.index).issuperset(snomed.FROM_PTB_XL)
    # all infarctions but for subendocardial injury, which is none yet
    infarctions = set(table.index[table["diagnostic_class"] == "MI"])
    mapped = {name for name, code in snomed.FROM_PTB_XL.items() if code in snomed.MYOCARDIAL_INFARCTION}
    assert mapped == {name for name in infarctions if not name.startswith("INJ")}
