from ecglib.data import snomed


def test_there_are_26_diagnoses_of_30_codes() -> None:
    codes = [code for each in snomed.CLASSES for code in (each.code, *each.equivalents)]
    assert (len(snomed.CLASSES), len(codes), len(set(codes))) == (26, 30, 30)
    assert len({each.abbreviation for each in snomed.CLASSES}) == 26


def test_equivalent_codes_are_one_diagnosis_and_others_are_left_out() -> None:
    assert snomed.scored(["59118001", "713427006", "164889003", "164865005"]) == ("AF", "CRBBB")
    assert snomed.scored(["63593006", "17338001", "164909002"]) == ("CLBBB", "PAC", "PVC")
    assert snomed.scored([]) == ()
