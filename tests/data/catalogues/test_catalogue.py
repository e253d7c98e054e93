"""Twelve-lead recordings and who they are of: counts of the real ones, and tables that are not as they should be."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import clinics
import cohorts
import excerpts
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecglib.data import databases
from ecglib.data.catalogues import catalogue, snomed
from ecglib.data.catalogues import challenge as challenge_2021
from ecglib.data.catalogues import ptb_xl as ptb_xl_table
from ecglib.data.catalogues.catalogue import Entry, Person, Records
from ecglib.errors import RecordError, UserError

NORMAL, AF, OLD_MI, NEW_MI = "426783006", "164889003", "164865005", "54329005"


@pytest.fixture(scope="module")
def real(real_data: Path) -> dict[str, Records]:
    """What the real PTB-XL, with either kind of labels, the Challenge and both say."""
    missing = [name for name in ("ptb-xl", "challenge-2021") if not (real_data / name).is_dir()]
    if missing:
        pytest.skip(f"{missing[0]}: no real records in ECGLIB_DATA")
    source = excerpts.source(real_data / "ptb-xl", name="ptb-xl")
    of_ptb_xl = ptb_xl_table.read(source, scored=True)
    of_challenge = challenge_2021.read(excerpts.source(real_data / "challenge-2021", name="challenge-2021"))
    both = challenge_2021.joined(of_challenge, of_ptb_xl)
    return {"superclasses": ptb_xl_table.read(source), "ptb-xl": of_ptb_xl, "challenge": of_challenge, "both": both}


def folds_of_patients(entries: tuple[Entry, ...]) -> dict[str, set[int]]:
    found = defaultdict(set)
    for entry in entries:
        found[entry.patient].add(entry.fold)
    assert all(len(folds) == 1 and folds <= set(range(1, 11)) for folds in found.values())
    return found


def entry(record: str, patient: str = "p", *, source: str = "s", codes: tuple[str, ...] = (), fold: int = 0) -> Entry:
    return Entry(Path("here"), record, source, patient, snomed.scored(codes), codes, fold=fold)


# --- the real ones ----------------------------------------------------------------------------------------------------


@pytest.mark.real
def test_the_real_ptb_xl_has_its_superclasses_folds_and_patients(real: dict[str, Records], real_data: Path) -> None:
    table = pd.read_csv(real_data / "ptb-xl" / "ptbxl_database.csv")
    source, found = real["superclasses"], pd.DataFrame(real["superclasses"].entries)
    has = catalogue.labels(source)
    assert (source.classes, has.sum(0).tolist()) == (("NORM", "MI", "STTC", "CD", "HYP"), [297, 73, 96, 78, 40])
    assert ((has.sum(1) > 1).sum(), (has.sum(1) == 0).sum()) == (73, 12)
    assert source.refused == source.duplicates == {}
    assert found["record"].tolist() == table["filename_hr"].tolist()
    assert found["fold"].tolist() == table["strat_fold"].tolist()
    assert found["patient"].tolist() == [f"ptb-xl {n:.0f}" for n in table["patient_id"]]
    assert found["female"].tolist() == table["sex"].tolist()
    assert len(folds_of_patients(source.entries)) == 466


@pytest.mark.real
def test_the_real_challenge(real: dict[str, Records]) -> None:
    of_challenge = real["challenge"]
    assert Counter(each.source for each in of_challenge.entries) == {
        "CPSC 2018": 10, "CPSC extra": 29, "PTB": 10, "PTB-XL": 12, "Georgia": 13, "Chapman-Shaoxing and Ningbo": 20,
    }  # fmt: skip
    assert of_challenge.refused == {} and of_challenge.classes == snomed.SCORED
    of = {each.record: each for each in of_challenge.entries}
    assert of["S0001"].patient == of["S0002"].patient == of["S0003"].patient
    assert len({each.patient for each in of_challenge.entries}) == 92
    for whole in (of_challenge, real["both"]):
        theirs = [each.record for each in whole.entries if each.patient.startswith("challenge")]
        n = len(theirs) - sum(record.endswith(("S0001", "S0002", "S0003")) for record in theirs)
        assert whole.assumed == (f"no patients are named for {n} recordings, so each counts as a patient of its own",)
    assert (of["HR00001"].labels, of["HR00001"].age, of["HR00001"].female) == (("LQRSV", "NSR"), 56, 1)
    assert [name for name, each in of.items() if np.isnan(each.age)] == ["E00001", "E00002", "E00003"]
    assert of["S0001"].codes == ("251146004", "426783006")
    assert [of[f"A{n:04d}"].fold for n in range(1, 11)] == [10, 3, 6, 2, 8, 1, 9, 7, 4, 5]


@pytest.mark.real
def test_what_is_in_both_counts_once_and_a_patient_is_in_one_fold(real: dict[str, Records]) -> None:
    both = real["both"]
    assert both.duplicates == {f"HR{n:05d}": f"records500/00000/{n:05d}_hr" for n in range(1, 11)}
    kept = {each.record for each in both.entries}
    assert len(kept) == len(both.entries) == 584
    assert kept.isdisjoint(both.duplicates) and kept.issuperset(both.duplicates.values())
    assert {name for name in kept if name.startswith("HR")} == {"HR00599", "HR20715"}
    assert set.union(*folds_of_patients(both.entries).values()) == set(range(1, 11))


@pytest.mark.real
def test_classes_with_ten_recordings_and_the_two_contradictions(real: dict[str, Records]) -> None:
    found = catalogue.with_enough(real["both"], 10)
    assert dict(zip(found.classes, catalogue.labels(found).sum(0), strict=True)) == {
        "AF": 22, "AFL": 11, "CRBBB": 16, "IAVB": 14, "IRBBB": 23, "LAD": 60, "LAnFB": 30, "NSR": 453, "PVC": 20,
        "QAb": 12, "SA": 28, "SB": 18, "TAb": 57,
    }  # fmt: skip
    assert catalogue.conflicts(real["both"]) == {
        "S0001": "low QRS voltages, sinus rhythm, but S0003 of the same patient is an infarction",
        "S0002": "sinus rhythm, but S0003 of the same patient is an infarction",
    }


@pytest.mark.real
def test_scored_labels_agree_where_a_recording_is_in_both(real: dict[str, Records]) -> None:
    ours = {f"HR{each.record[-8:-3]}": set(each.labels) for each in real["ptb-xl"].entries}
    theirs = {each.record: set(each.labels) for each in real["challenge"].entries if each.record.startswith("HR000")}
    differ = {name: labels ^ ours[name] for name, labels in theirs.items() if labels != ours[name]}
    assert differ == {"HR00003": {"IAVB"}, "HR00010": {"SA"}}


# --- PTB-XL -----------------------------------------------------------------------------------------------------------


def ptb_xl(folder: Path, **columns: Sequence[float | str | None]) -> databases.Source:
    """Three recordings, their table changed in these columns."""
    codes = ["{'NORM': 100.0, 'SR': 0.0}", "{'IMI': 15.0, 'LVH': 50.0}", "{'SR': 0.0}"]
    cohorts.write_ptb_xl(folder, [cohorts.row(n + 1, each, patient=n, sex=n % 2) for n, each in enumerate(codes)])
    table = pd.read_csv(folder / "ptbxl_database.csv").assign(**{"strat_fold": [1, 2, 10]} | columns)
    table.to_csv(folder / "ptbxl_database.csv", index=False)
    return excerpts.source(folder, name="ptb-xl")


def test_statements_become_classes(tmp_path: Path) -> None:
    source = ptb_xl(tmp_path, heart_axis=["LAD", None, "MID"])
    plain, scored = ptb_xl_table.read(source), ptb_xl_table.read(source, scored=True)
    assert plain.classes == ("NORM", "MI", "STTC", "CD", "HYP")
    assert [each.labels for each in plain.entries] == [("NORM",), ("MI", "HYP"), ()]
    assert [each.labels for each in scored.entries] == [("LAD", "NSR"), (), ("NSR",)]
    assert [each.codes for each in plain.entries] == [("NORM", "SR"), ("IMI", "LVH"), ("SR",)]
    assert [(each.patient, each.fold) for each in plain.entries] == [("ptb-xl 0", 1), ("ptb-xl 1", 2), ("ptb-xl 2", 10)]
    assert catalogue.labels(plain).tolist() == [[1, 0, 0, 0, 0], [0, 1, 0, 0, 1], [0, 0, 0, 0, 0]]


@pytest.mark.parametrize("statements", [("", "NORM"), ("{'NORM'", "[1]"), ("{'NORM': f()}", "(" * 300)])
def test_an_unreadable_statement_is_named_and_the_others_go_on(tmp_path: Path, statements: tuple[str, str]) -> None:
    found = ptb_xl_table.read(ptb_xl(tmp_path, scp_codes=[*statements, "{'SR': 0.0}"]))
    assert found.refused == {f"records500/00000/0000{n}_hr": "unreadable diagnosis" for n in (1, 2)}
    assert len(found.entries) == 1


PLAIN = [["NORM", "normal", "NORM", "NORM"], ["IMI", "inferior", "MI", "IMI"], ["LVH", "large", "HYP", "LVH"]]
PLAIN += [["ILMI", "too", "MI", "IMI"], ["SR", "sinus rhythm", "", ""]]
STATEMENTS = pd.DataFrame(PLAIN, columns=["Unnamed: 0", "description", "diagnostic_class", "diagnostic_subclass"])
SAVED_AGAIN = {
    "with an index": STATEMENTS.reset_index(names=""),
    "with two": STATEMENTS.reset_index(names="Unnamed: 0.1").reset_index(),
    "another first": STATEMENTS[["description", "Unnamed: 0", "diagnostic_class"]],
    "subclasses first": STATEMENTS.iloc[:, ::-1],
    "codes named": STATEMENTS.rename(columns={"Unnamed: 0": "scp_code"}),
    "with blanks": STATEMENTS.map(lambda cell: f" {cell} "),
    "sorted": STATEMENTS.sort_values("description"),
    "twice": pd.concat([STATEMENTS, STATEMENTS]),
    **{f"nothing as {said}": STATEMENTS.replace("", said) for said in ("nan", "NA", "None")},
}
NO_TABLE = {
    "no column has the codes of ptbxl_database.csv": STATEMENTS.iloc[:2, 1:3],
    "each once; expected the table as published": pd.concat([STATEMENTS, STATEMENTS.replace("MI", "CD")]),
    "no column has the codes": STATEMENTS.map(str.lower).assign(diagnostic_class=STATEMENTS["diagnostic_class"]),
    "diagnostic_class is Norm; expected NORM, MI": STATEMENTS.replace("NORM", "Norm").assign(
        code=STATEMENTS.iloc[:, 0]
    ),
    "diagnostic_class is nothing": STATEMENTS.assign(diagnostic_class=""),
    "no column diagnostic_class": STATEMENTS.iloc[:, :2],
}


@pytest.mark.parametrize("table", SAVED_AGAIN.values(), ids=SAVED_AGAIN)
def test_the_statements_saved_again(tmp_path: Path, table: pd.DataFrame) -> None:
    source = ptb_xl(tmp_path, scp_codes=["{'NORM': 1.0, 'SR': 0.0}", "{'ILMI': 15.0, 'LVH': 50.0}", "{'SR': 0.0}"])
    table.to_csv(tmp_path / "scp_statements.csv", index=False)
    assert [each.labels for each in ptb_xl_table.read(source).entries] == [("NORM",), ("MI", "HYP"), ()]
    who = [each.label if isinstance(each, Person) else each.reason for each in ptb_xl_table.people(source)]
    assert who == [0, 1, catalogue.OTHER]


@pytest.mark.parametrize(("said", "table"), NO_TABLE.items())
def test_statements_that_give_no_labels(tmp_path: Path, said: str, table: pd.DataFrame) -> None:
    source = ptb_xl(tmp_path)
    table.to_csv(tmp_path / "scp_statements.csv", index=False)
    for read in (ptb_xl_table.read, lambda source: list(ptb_xl_table.people(source))):
        with pytest.raises(UserError, match=rf"scp_statements\.csv: .*{said}"):
            read(source)


@pytest.mark.parametrize(
    ("columns", "refused", "kept"),
    [
        ({"patient_id": [None, 7, 7], "strat_fold": [1, None, 3]}, ["unknown patient or fold"] * 2, ["ptb-xl 7 3"]),
        ({"strat_fold": [0, 11, 1]}, ["unknown patient or fold"] * 2, ["ptb-xl 2 1"]),
        ({"strat_fold": [-1, 2.5, 10.0]}, ["unknown patient or fold"] * 2, ["ptb-xl 2 10"]),
        ({"strat_fold": ["two", "²", "03"]}, ["unknown patient or fold"] * 2, ["ptb-xl 2 3"]),
        ({"patient_id": [7, " 7", "P8"]}, ["patient in several folds"] * 2, ["ptb-xl P8 10"]),
        ({"patient_id": [7] * 3, "strat_fold": [2, 2, 0]}, [None, None, "unknown patient or fold"], ["ptb-xl 7 2"] * 2),
        ({"scp_codes": ["{'norm': 1}", "{'IMI ': 1}", "{'SR': 0.0}"]}, [ptb_xl_table.UNKNOWN] * 2, ["ptb-xl 2 10"]),
    ],
)  # fmt: skip
def test_what_a_row_lacks_sets_it_aside(
    tmp_path: Path, columns: dict[str, list[float | str | None]], refused: list[str | None], kept: list[str]
) -> None:
    found = ptb_xl_table.read(ptb_xl(tmp_path, **columns))
    assert found.refused == {f"records500/00000/0000{n}_hr": why for n, why in enumerate(refused, 1) if why}
    assert [f"{each.patient} {each.fold}" for each in found.entries] == kept


@pytest.mark.parametrize("column", ["filename_lr", "filename_hr"])
def test_a_recording_in_two_rows_is_refused(tmp_path: Path, column: str) -> None:
    source = ptb_xl(tmp_path, **{column: ["records500/00000/00001_hr"] * 2 + [None]})
    for read in (ptb_xl_table.read, lambda source: list(ptb_xl_table.people(source))):
        with pytest.raises(UserError, match=r"ptbxl_database\.csv: .*00001_hr stands in two rows; .*take one out"):
            read(source)


AGE, SEX = (
    f"{said}, so taken for unknown" for said in ("age is not of 0 to 130 years", "sex is neither male nor female")
)


@pytest.mark.parametrize(
    ("age", "sex", "expected"),
    [
        (56, 1, (56, 1, ())), (0, 0, (0, 0, ())), (300, 1.0, (90, 1, ())), ("94", "M", (90, 0, ())),
        (-1, 2, (np.nan, np.nan, (AGE, SEX))), (999, -1, (np.nan, np.nan, (AGE, SEX))),
        ("61Y", " F", (np.nan, 1, (AGE,))), ("inf", None, (np.nan, np.nan, (AGE,))),
        ("", "nan", (np.nan, np.nan, ())), (None, "Unknown", (np.nan, np.nan, ())),
        ("NaN", "9", (np.nan, np.nan, (SEX,))),
    ],
)  # fmt: skip
def test_whose_age_and_sex_are_none(tmp_path: Path, age: object, sex: object, expected: tuple[object, ...]) -> None:
    entry = ptb_xl_table.read(ptb_xl(tmp_path, age=[age, 1, 1], sex=[sex, 0, 0])).entries[0]
    np.testing.assert_equal((entry.age, entry.female, entry.repairs), expected)
    (person, *_) = ptb_xl_table.people(ptb_xl(tmp_path, age=[age, 1, 1], sex=[sex, 0, 0]))
    assert isinstance(person, Person)
    np.testing.assert_equal((person.age, person.female), expected[:2])


def test_a_broken_ptb_xl(tmp_path: Path) -> None:
    source, file = ptb_xl(tmp_path), tmp_path / "ptbxl_database.csv"
    with pytest.raises(UserError, match=r"no recording of ptbxl_database.csv is here; expected records100"):
        ptb_xl_table.read(replace(source, records=()))
    with pytest.raises(UserError, match=r"no recording of .* can be used; records500/00000/00001_hr: unknown patient"):
        ptb_xl_table.read(ptb_xl(tmp_path, strat_fold=[0, 0, 0]))
    ptb_xl(tmp_path)
    (tmp_path / "scp_statements.csv").unlink()
    with pytest.raises(UserError, match=r"scp_statements.csv: no such file"):
        ptb_xl_table.read(source)
    pd.read_csv(file).drop(columns="strat_fold").to_csv(file, index=False)
    with pytest.raises(UserError, match="no column strat_fold"):
        ptb_xl_table.read(source)


# --- the Challenge ----------------------------------------------------------------------------------------------------


def challenge(folder: Path, **comments: tuple[str, ...]) -> Records:
    for name, said in comments.items():
        clinics.mat(folder, name, comments=said)
    return challenge_2021.read(excerpts.source(folder, name="challenge-2021"))


def test_a_diagnosis_has_its_scored_codes_and_others(tmp_path: Path) -> None:
    said = ("Age: 74", "Sex: Male", f"Dx: {AF},59118001, 999999999, {AF} ", "Rx: Unknown")
    (found,) = challenge(tmp_path, A0001=said).entries
    assert (found.labels, found.codes) == (("AF", "CRBBB"), (AF, "59118001", "999999999", AF))
    assert (found.age, found.female, found.source) == (74, 0, "CPSC 2018")


def test_where_challenge_records_come_from(tmp_path: Path) -> None:
    names = {
        "A0001": "CPSC 2018", "Q0001": "CPSC extra", "I0001": "INCART", "S0004": "PTB", "HR00001": "PTB-XL",
        "E00001": "Georgia", "JS00001": "Chapman-Shaoxing and Ningbo", "X1": "unknown", "A0002x": "unknown",
    }  # fmt: skip
    found = challenge(tmp_path, **dict.fromkeys(names, (f"Dx: {NORMAL}",)))
    assert {each.record: each.source for each in found.entries} == names
    assert len({each.patient for each in found.entries}) == len(names)


@pytest.mark.parametrize(
    ("said", "codes", "age", "repairs"),
    [
        ((f"Dx: {AF}", f"Dx: {NORMAL}", "Age: 5"), (AF, NORMAL), 5, ()),
        ((f"Dx: {AF},{NORMAL}", "Age: 5", "dx: ", f"DX: {OLD_MI}"), (AF, NORMAL, OLD_MI), 5, ()),
        ((f"Dx: {AF}", "Age: 5", f"Dx: {AF}", "Age: 5"), (AF,), 5, ()),
        ((f"Dx: {AF}", "Age: 5", "Age: 61"), (AF,), np.nan, (AGE,)),
        ((f"Dx: {AF}", "Age: -1", "Sex: Unknown"), (AF,), np.nan, (AGE,)),
        ((f"Dx: {AF}", "Age: 300", "Sex: x", "Sex: Male"), (AF,), 90, (SEX,)),
    ],
)
def test_a_field_of_several_lines(
    tmp_path: Path, said: tuple[str, ...], codes: tuple[str, ...], age: float, repairs: tuple[str, ...]
) -> None:
    source = challenge(tmp_path, A0001=said)
    np.testing.assert_equal([(e.codes, e.age, e.repairs) for e in source.entries], [(codes, age, repairs)])
    assert source.read(source.entries[0]).repairs == repairs


def test_an_unreadable_diagnosis_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    unreadable = [(), ("Dx:",), ("Dx: Unknown",), (f"Dx: {AF};{NORMAL}",), (f"Dx: {AF},AF",), (f"Dx: {AF}", "Dx: no")]
    (tmp_path / "RECORDS").write_text("A0001\nE0\nE1\nE2\nE3\nE4\nE5\nlisted\n")
    found = challenge(tmp_path, A0001=(f"Dx: {AF}",), **{f"E{n}": said for n, said in enumerate(unreadable)})
    assert found.refused == {f"E{n}": "unreadable diagnosis" for n in range(6)} | {"listed": "missing header"}
    assert [each.record for each in found.entries] == ["A0001"]
    (tmp_path / "A0001.hea").unlink()
    with pytest.raises(UserError, match="no record with a diagnosis"):
        challenge(tmp_path)


def test_the_signal_is_had_from_the_source_and_the_fingerprint_follows_the_files(tmp_path: Path) -> None:
    found = challenge(tmp_path, A0001=(f"Dx: {AF}",))
    np.testing.assert_allclose(found.read(found.entries[0]).signals, clinics.units() / 1000, rtol=1e-6)
    assert challenge(tmp_path).fingerprint == found.fingerprint
    clinics.mat(tmp_path, "A0001", clinics.units(seed=1), comments=(f"Dx: {AF}",))
    second = challenge(tmp_path).fingerprint
    third = challenge(tmp_path, A0002=(f"Dx: {AF}",)).fingerprint
    assert len({found.fingerprint, second, third}) == 3
    (tmp_path / "A0001.mat").unlink()
    with pytest.raises(RecordError, match="missing signal"):
        found.read(found.entries[0])


# --- both -------------------------------------------------------------------------------------------------------------


def as_records(*entries: Entry, **more: object) -> Records:
    return Records(snomed.SCORED, entries, **{"fingerprint": ""} | more)  # type: ignore[arg-type]


def test_joining_counts_by_number_and_names_what_it_leaves_out() -> None:
    of_ptb_xl = [("records500/00000/00001_hr", "ptb-xl 1"), ("records100/21000/21837_lr", "ptb-xl 2")]
    ours = as_records(*(entry(*each) for each in of_ptb_xl), fingerprint="a", refused={"records/5": "no"})
    names = ("HR00001", "sub/HR21837", "HR00005", "A0001", "HRX", "JS00001")
    theirs = as_records(*(entry(name, name) for name in names), fingerprint="b", refused={"Q0001": "missing header"})
    found = challenge_2021.joined(theirs, ours)
    assert found.duplicates == {"HR00001": "records500/00000/00001_hr", "sub/HR21837": "records100/21000/21837_lr"}
    assert [each.record for each in found.entries[2:]] == ["HR00005", "A0001", "HRX", "JS00001"]
    assert found.entries[:2] == ours.entries
    assert found.refused == {"records/5": "no", "Q0001": "missing header"}
    changed = challenge_2021.joined(theirs, replace(ours, fingerprint="c"))
    assert len({found.fingerprint, changed.fingerprint, "a", "b"}) == 4


PATIENTS = st.lists(st.tuples(st.sampled_from(["A", "B", "C"]), st.integers(0, 40)), min_size=1, max_size=80)


@settings(max_examples=60)
@given(who=PATIENTS, data=st.data())
def test_folds_are_dealt_out_by_patient(who: list[tuple[str, int]], data: st.DataObject) -> None:
    entries = [entry(f"r{i}", f"{source} {n}", source=source) for i, (source, n) in enumerate(who)]
    found = catalogue.with_folds(entries)
    assert [replace(each, fold=0) for each in found] == entries
    folds = folds_of_patients(found)
    for source in "ABC":
        each_fold = Counter(fold for patient, (fold,) in folds.items() if patient.startswith(source))
        sizes = [each_fold[fold] for fold in range(1, 11)]
        assert max(sizes) - min(sizes) <= 1
    shuffled = catalogue.with_folds(data.draw(st.permutations(entries)))
    assert {each.record: each.fold for each in shuffled} == {each.record: each.fold for each in found}
    # a patient of two sources is in one fold
    folds_of_patients(catalogue.with_folds(entry(f"r{i}", str(n), source=source) for i, (source, n) in enumerate(who)))


def test_the_folds_never_change() -> None:
    """They are part of every result."""
    found = catalogue.with_folds(entry(f"r{n}", f"challenge A{n:04d}") for n in range(1, 13))
    assert [each.fold for each in found] == [2, 4, 7, 2, 10, 1, 1, 9, 5, 6, 8, 3]


def test_classes_with_enough_recordings() -> None:
    codes = [(NORMAL,), (NORMAL, AF), (NORMAL, AF), (NORMAL, "164890007"), (AF, "164890007")]
    source = as_records(*(entry(f"r{i}", f"p{i}", codes=each) for i, each in enumerate(codes)))
    found = catalogue.with_enough(source, 2)
    assert found.classes == ("AF", "AFL")  # one alone has no sinus rhythm
    assert [each.labels for each in found.entries] == [(), ("AF",), ("AF",), ("AFL",), ("AF", "AFL")]
    assert catalogue.with_enough(source, 1).classes == ("AF", "AFL", "NSR")
    with pytest.raises(UserError, match="3 leaves 0 classes"):
        catalogue.with_enough(source, 3)


def test_only_a_patient_with_an_infarction_can_contradict_it() -> None:
    codes = {"a1": (NORMAL, AF), "a2": (OLD_MI, NORMAL), "a3": (NEW_MI,), "a4": (), "b1": (NORMAL,), "c1": (OLD_MI,)}
    source = as_records(*(entry(name, name[0], codes=each) for name, each in codes.items()))
    assert catalogue.conflicts(source) == {
        "a1": "atrial fibrillation, sinus rhythm, but a2 of the same patient is an infarction",
        "a4": "no scored label, but a2 of the same patient is an infarction",
    }
