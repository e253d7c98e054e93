from ecglib import aami


def test_ds1_and_ds2_are_disjoint_halves_without_paced_records() -> None:
    assert len(aami.DS1) == len(aami.DS2) == 22
    assert not set(aami.DS1) & set(aami.DS2)
    assert not set(aami.PACED) & set(aami.DS1 + aami.DS2)
    assert len({*aami.DS1, *aami.DS2, *aami.PACED}) == 48
    assert set(aami.DS1_VALIDATION) < set(aami.DS1)


def test_every_symbol_has_the_class_of_ec57_and_what_marks_no_beat_none() -> None:
    expected = {"N": "NLRBej", "S": "AaJSn", "V": "VEr", "F": "F", "Q": "/fQ?"}
    assert {s: name for name, symbols in expected.items() for s in symbols} == aami.SYMBOLS
    assert [aami.index_of(s) for s in "+~|!x[]"] == [None] * 7
