"""Twelve-lead recordings and who they are of: counts of the real ones, and tables that are not as they should be."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import clinics
import cohorts
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecglib.data import databases, records
from ecglib.data.catalogues import catalogue, snomed
from ecglib.data.catalogues import challenge as challenge_2021
from ecglib.data.catalogues import ptb_xl as ptb_xl_table
from ecglib.data.catalogues.catalogue import Entry, Records
from ecglib.errors import RecordError, UserError

NORMAL, AF, OLD_MI = "426783006", "164889003", "164865005"


def source_of(folder: Path, name: str) -> databases.Source:
    return databases.Source(name, folder, False, tuple(records.list_records(folder)))


def real_source(real_data: Path, name: str) -> databases.Source:
    if not (real_data / name).is_dir():
        pytest.skip(f"{name}: no real records in ECGLIB_DATA")
    return source_of(real_data / name, name)


@pytest.fixture(scope="module")
def of_challenge(real_data: Path) -> Records:
    return challenge_2021.read(real_source(real_data, "challenge-2021"))


@pytest.fixture(scope="module")
def of_ptb_xl(real_data: Path) -> Records:
    return ptb_xl_table.read(real_source(real_data, "ptb-xl"), scored=True)


@pytest.fixture(scope="module")
def both(of_challenge: Records, of_ptb_xl: Records) -> Records:
    return challenge_2021.joined(of_challenge, of_ptb_xl)


def folds_of_patients(entries: tuple[Entry, ...]) -> dict[str, set[int]]:
    found = defaultdict(set)
    for entry in entries:
        found[entry.patient].add(entry.fold)
    return found


def entry(record: str, patient: str = "p", *, source: str = "s", codes: tuple[str, ...] = (), fold: int = 0) -> Entry:
    return Entry(Path("here"), record, source, patient, snomed.scored(codes), codes, fold=fold)


# --- the real ones ----------------------------------------------------------------------------------------------------


@pytest.mark.real
def test_superclasses_of_the_real_ptb_xl(real_data: Path) -> None:
    found = ptb_xl_table.read(real_source(real_data, "ptb-xl"))
    assert found.classes == ("NORM", "MI", "STTC", "CD", "HYP")
    assert dict(zip(found.classes, catalogue.labels(found).sum(0), strict=True)) == {
        "NORM": 297, "STTC": 96, "CD": 78, "MI": 73, "HYP": 40,
    }  # fmt: skip
    several = catalogue.labels(found).sum(1)
    assert ((several > 1).sum(), (several == 0).sum()) == (73, 12)
    assert found.refused == found.duplicates == {}


@pytest.mark.real
def test_the_real_ptb_xl_has_its_own_folds_and_patients(of_ptb_xl: Records, real_data: Path) -> None:
    table = pd.read_csv(real_data / "ptb-xl" / "ptbxl_database.csv")
    assert [each.record for each in of_ptb_xl.entries] == table["filename_hr"].tolist()
    assert [each.fold for each in of_ptb_xl.entries] == table["strat_fold"].tolist()
    assert [each.patient for each in of_ptb_xl.entries] == [f"ptb-xl {n:.0f}" for n in table["patient_id"]]
    assert [each.female for each in of_ptb_xl.entries] == table["sex"].tolist()
    assert len({each.patient for each in of_ptb_xl.entries}) == 466
    assert all(len(folds) == 1 for folds in folds_of_patients(of_ptb_xl.entries).values())


@pytest.mark.real
def test_the_real_challenge(of_challenge: Records) -> None:
    assert Counter(each.source for each in of_challenge.entries) == {
        "CPSC 2018": 10, "CPSC extra": 29, "PTB": 10, "PTB-XL": 12, "Georgia": 13, "Chapman-Shaoxing and Ningbo": 20,
    }  # fmt: skip
    assert of_challenge.refused == {}
    assert of_challenge.classes == tuple(each.abbreviation for each in snomed.CLASSES)
    of = {each.record: each for each in of_challenge.entries}
    assert of["S0001"].patient == of["S0002"].patient == of["S0003"].patient
    assert len({each.patient for each in of_challenge.entries}) == 92
    assert (of["HR00001"].labels, of["HR00001"].age, of["HR00001"].female) == (("LQRSV", "NSR"), 56, 1)
    assert [name for name, each in of.items() if np.isnan(each.age)] == ["E00001", "E00002", "E00003"]
    assert of["S0001"].codes == ("251146004", "426783006")
    assert [of[f"A{n:04d}"].fold for n in range(1, 11)] == [10, 3, 6, 2, 8, 1, 9, 7, 4, 5]


@pytest.mark.real
def test_what_is_in_both_counts_once(both: Records) -> None:
    assert len(both.entries) == 584
    assert both.duplicates == {f"HR{n:05d}": f"records500/00000/{n:05d}_hr" for n in range(1, 11)}
    kept = {each.record for each in both.entries}
    assert len(kept) == 584
    assert kept.isdisjoint(both.duplicates) and kept.issuperset(both.duplicates.values())
    assert {name for name in kept if name.startswith("HR")} == {"HR00599", "HR20715"}


@pytest.mark.real
def test_every_patient_of_both_is_in_one_fold(both: Records) -> None:
    folds = folds_of_patients(both.entries)
    assert all(len(each) == 1 for each in folds.values())
    assert set.union(*folds.values()) == set(range(1, 11))


@pytest.mark.real
def test_classes_with_ten_recordings(both: Records) -> None:
    found = catalogue.with_enough(both, 10)
    assert dict(zip(found.classes, catalogue.labels(found).sum(0), strict=True)) == {
        "AF": 22, "AFL": 11, "CRBBB": 16, "IAVB": 14, "IRBBB": 23, "LAD": 60, "LAnFB": 30, "NSR": 453, "PVC": 20,
        "QAb": 12, "SA": 28, "SB": 18, "TAb": 57,
    }  # fmt: skip


@pytest.mark.real
def test_the_two_contradictions(both: Records) -> None:
    found = catalogue.conflicts(both)
    assert found == {
        "S0001": "low QRS voltages, sinus rhythm, but S0003 of the same patient is an infarction",
        "S0002": "sinus rhythm, but S0003 of the same patient is an infarction",
    }


@pytest.mark.real
def test_scored_labels_agree_where_a_recording_is_in_both(of_challenge: Records, of_ptb_xl: Records) -> None:
    ours = {each.record[-8:-3]: set(each.labels) for each in of_ptb_xl.entries}
    differ = {
        each.record: set(each.labels) ^ ours[each.record[2:]]
        for each in of_challenge.entries
        if each.record.startswith("HR000") and set(each.labels) != ours[each.record[2:]]
    }
    assert differ == {"HR00003": {"IAVB"}, "HR00010": {"SA"}}


# --- PTB-XL -----------------------------------------------------------------------------------------------------------


def ptb_xl(folder: Path, **columns: Sequence[float | str | None]) -> databases.Source:
    """Three recordings, their table changed in these columns."""
    codes = ["{'NORM': 100.0, 'SR': 0.0}", "{'IMI': 15.0, 'LVH': 50.0}", "{'SR': 0.0}"]
    cohorts.write_ptb_xl(folder, [cohorts.row(n + 1, each, patient=n, sex=n % 2) for n, each in enumerate(codes)])
    table = pd.read_csv(folder / "ptbxl_database.csv").assign(strat_fold=[1, 2, 10])
    for name, values in columns.items():
        table[name] = list(values)
    table.to_csv(folder / "ptbxl_database.csv", index=False)
    return source_of(folder, "ptb-xl")


def test_statements_become_classes(tmp_path: Path) -> None:
    source = ptb_xl(tmp_path, heart_axis=["LAD", None, "MID"])
    plain, scored = ptb_xl_table.read(source), ptb_xl_table.read(source, scored=True)
    assert [each.labels for each in plain.entries] == [("NORM",), ("MI", "HYP"), ()]
    assert [each.labels for each in scored.entries] == [("LAD", "NSR"), (), ("NSR",)]
    assert [each.codes for each in plain.entries] == [("NORM", "SR"), ("IMI", "LVH"), ("SR",)]
    assert [(each.patient, each.fold) for each in plain.entries] == [("ptb-xl 0", 1), ("ptb-xl 1", 2), ("ptb-xl 2", 10)]
    assert catalogue.labels(plain).tolist() == [[1, 0, 0, 0, 0], [0, 1, 0, 0, 1], [0, 0, 0, 0, 0]]


@pytest.mark.parametrize("statements", ["", "NORM", "{'NORM'", "[1]", "{'NORM': f()}", "(" * 300])
def test_an_unreadable_statement_is_named_and_the_others_go_on(tmp_path: Path, statements: str) -> None:
    found = ptb_xl_table.read(ptb_xl(tmp_path, scp_codes=["{'NORM': 100.0}", statements, "{'SR': 0.0}"]))
    assert found.refused == {"records500/00000/00002_hr": "unreadable diagnosis"}
    assert len(found.entries) == 2


def test_without_patient_or_fold_it_is_set_aside(tmp_path: Path) -> None:
    found = ptb_xl_table.read(ptb_xl(tmp_path, patient_id=[None, 7, 7]))
    assert found.refused == {"records500/00000/00001_hr": "unknown patient or fold"}
    assert [each.patient for each in found.entries] == ["ptb-xl 7", "ptb-xl 7"]
    table = pd.read_csv(tmp_path / "ptbxl_database.csv").assign(patient_id=[5, 7, 7], strat_fold=[1, np.nan, 3])
    table.to_csv(tmp_path / "ptbxl_database.csv", index=False)
    found = ptb_xl_table.read(source_of(tmp_path, "ptb-xl"))
    assert found.refused == {"records500/00000/00002_hr": "unknown patient or fold"}
    assert [each.fold for each in found.entries] == [1, 3]


def test_what_is_on_disk_is_taken_500_hz_first(tmp_path: Path) -> None:
    source = ptb_xl(tmp_path)
    for n in (1, 3):
        cohorts.record(tmp_path, f"records100/00000/{n:05d}_lr", False, fs=100)
    (tmp_path / "records500/00000/00001_hr.hea").unlink()
    (tmp_path / "records500/00000/00002_hr.hea").unlink()
    source = source_of(tmp_path, "ptb-xl")
    found = ptb_xl_table.read(source)
    assert [each.record for each in found.entries] == ["records100/00000/00001_lr", "records500/00000/00003_hr"]
    assert [found.read(each).fs for each in found.entries] == [100, 500]
    assert found.refused == {}


def test_a_broken_ptb_xl(tmp_path: Path) -> None:
    source = ptb_xl(tmp_path)
    with pytest.raises(UserError, match=r"no recording of ptbxl_database.csv is here"):
        ptb_xl_table.read(replace(source, records=()))
    table = pd.read_csv(tmp_path / "ptbxl_database.csv")
    table.drop(columns="strat_fold").to_csv(tmp_path / "ptbxl_database.csv", index=False)
    with pytest.raises(UserError, match="no column strat_fold"):
        ptb_xl_table.read(source)
    (tmp_path / "scp_statements.csv").unlink()
    table.to_csv(tmp_path / "ptbxl_database.csv", index=False)
    with pytest.raises(UserError, match=r"scp_statements.csv: no such file"):
        ptb_xl_table.read(source)


# --- the Challenge ----------------------------------------------------------------------------------------------------


def challenge(folder: Path, **comments: tuple[str, ...]) -> Records:
    for name, said in comments.items():
        clinics.mat(folder, name, comments=said)
    return challenge_2021.read(source_of(folder, "challenge-2021"))


@pytest.mark.parametrize("mark", ["#", "# "])
def test_the_diagnosis_with_a_space_or_without(tmp_path: Path, mark: str) -> None:
    said = ("Age: 74", "Sex: Male", f"Dx: {AF},59118001", "Rx: Unknown")
    clinics.mat(tmp_path, "A0001", comments=said, mark=mark)
    assert f"\n{mark}Dx: {AF}" in (tmp_path / "A0001.hea").read_text()
    (found,) = challenge_2021.read(source_of(tmp_path, "challenge-2021")).entries
    assert (found.labels, found.codes) == (("AF", "CRBBB"), (AF, "59118001"))
    assert (found.age, found.female, found.source) == (74, 0, "CPSC 2018")


def test_where_challenge_records_come_from(tmp_path: Path) -> None:
    dx = (f"Dx: {NORMAL}",)
    names = ("A0001", "Q0001", "I0001", "S0004", "HR00001", "E00001", "JS00001", "X1", "A0002x")
    found = challenge(tmp_path, **dict.fromkeys(names, dx))
    assert {each.record: each.source for each in found.entries} == {
        "A0001": "CPSC 2018", "Q0001": "CPSC extra", "I0001": "INCART", "S0004": "PTB", "HR00001": "PTB-XL",
        "E00001": "Georgia", "JS00001": "Chapman-Shaoxing and Ningbo", "X1": "unknown", "A0002x": "unknown",
    }  # fmt: skip
    assert len({each.patient for each in found.entries}) == len(names)


def test_codes_that_are_not_scored_are_kept_as_codes(tmp_path: Path) -> None:
    found = challenge(tmp_path, A0001=("Dx: 999999999",), A0002=(f"Dx: 999999999, {AF} , {AF}",))
    assert [each.labels for each in found.entries] == [(), ("AF",)]
    assert [each.codes for each in found.entries] == [("999999999",), ("999999999", AF, AF)]


@pytest.mark.parametrize(
    "said", [(), ("Dx:",), ("Dx: Unknown",), (f"Dx: {AF};{NORMAL}",), (f"Dx: {AF},AF",), ("Dx 1",)]
)
def test_an_unreadable_diagnosis_is_named_and_the_others_go_on(tmp_path: Path, said: tuple[str, ...]) -> None:
    found = challenge(tmp_path, A0001=said, A0002=(f"Dx: {AF}",))
    assert found.refused == {"A0001": "unreadable diagnosis"}
    assert [each.record for each in found.entries] == ["A0002"]


def test_a_record_that_is_only_listed(tmp_path: Path) -> None:
    (tmp_path / "RECORDS").write_text("A0001\nA0002\n")
    found = challenge(tmp_path, A0002=(f"Dx: {AF}",))
    assert found.refused == {"A0001": "missing header"}
    (tmp_path / "A0002.hea").unlink()
    with pytest.raises(UserError, match="no record with a diagnosis"):
        challenge(tmp_path)


@pytest.mark.parametrize(
    ("sex", "female"), [("Female", 1.0), ("F", 1.0), ("male", 0.0), ("M", 0.0), ("Unknown", np.nan), ("", np.nan)]
)
def test_age_and_sex(tmp_path: Path, sex: str, female: float) -> None:
    (found,) = challenge(tmp_path, A0001=("Age: NaN", f"Sex: {sex}", f"Dx: {AF}")).entries
    np.testing.assert_equal(found.female, female)
    assert np.isnan(found.age)


def test_the_signal_is_had_from_the_source(tmp_path: Path) -> None:
    found = challenge(tmp_path, A0001=(f"Dx: {AF}",))
    np.testing.assert_allclose(found.read(found.entries[0]).signals, clinics.units() / 1000, rtol=1e-6)
    (tmp_path / "A0001.mat").unlink()
    with pytest.raises(RecordError, match="missing signal"):
        found.read(found.entries[0])


def test_the_fingerprint_follows_the_files(tmp_path: Path) -> None:
    first = challenge(tmp_path, A0001=(f"Dx: {AF}",)).fingerprint
    assert challenge(tmp_path).fingerprint == first
    clinics.mat(tmp_path, "A0001", clinics.units(seed=1), comments=(f"Dx: {AF}",))
    second = challenge(tmp_path).fingerprint
    third = challenge(tmp_path, A0002=(f"Dx: {AF}",)).fingerprint
    assert len({first, second, third}) == 3


# --- both -------------------------------------------------------------------------------------------------------------


def as_records(*entries: Entry, fingerprint: str = "", refused: dict[str, str] | None = None) -> Records:
    return Records(snomed.SCORED, entries, fingerprint, refused or {})


def test_joining_counts_by_number_and_names_what_it_leaves_out() -> None:
    ours = as_records(
        entry("records500/00000/00001_hr", "ptb-xl 1"),
        entry("records100/21000/21837_lr", "ptb-xl 2"),
        fingerprint="a",
        refused={"records500/00000/00005_hr": "unreadable diagnosis"},
    )
    theirs = as_records(
        *(entry(name, name) for name in ("HR00001", "sub/HR21837", "HR00005", "A0001", "HRX", "JS00001")),
        fingerprint="b",
        refused={"Q0001": "missing header"},
    )
    found = challenge_2021.joined(theirs, ours)
    assert found.duplicates == {"HR00001": "records500/00000/00001_hr", "sub/HR21837": "records100/21000/21837_lr"}
    assert [each.record for each in found.entries[2:]] == ["HR00005", "A0001", "HRX", "JS00001"]
    assert found.entries[:2] == ours.entries
    assert found.refused == {"records500/00000/00005_hr": "unreadable diagnosis", "Q0001": "missing header"}
    changed = challenge_2021.joined(theirs, replace(ours, fingerprint="c"))
    assert len({found.fingerprint, changed.fingerprint, "a", "b"}) == 4


PATIENTS = st.lists(st.tuples(st.sampled_from(["A", "B", "C"]), st.integers(0, 40)), min_size=1, max_size=80)


@settings(max_examples=60, deadline=None)
@given(who=PATIENTS, data=st.data())
def test_folds_are_dealt_out_by_patient(who: list[tuple[str, int]], data: st.DataObject) -> None:
    entries = [entry(f"r{i}", f"{source} {n}", source=source) for i, (source, n) in enumerate(who)]
    found = catalogue.dealt(entries)
    assert [replace(each, fold=0) for each in found] == entries
    folds = folds_of_patients(found)
    assert all(len(each) == 1 and each <= set(range(1, 11)) for each in folds.values())
    for source in "ABC":
        each_fold = Counter(fold for patient, (fold,) in folds.items() if patient.startswith(source))
        sizes = [each_fold[fold] for fold in range(1, 11)]
        assert max(sizes) - min(sizes) <= 1
    shuffled = catalogue.dealt(data.draw(st.permutations(entries)))
    assert {each.record: each.fold for each in shuffled} == {each.record: each.fold for each in found}


@settings(max_examples=30, deadline=None)
@given(who=PATIENTS)
def test_a_patient_of_two_sources_is_in_one_fold(who: list[tuple[str, int]]) -> None:
    found = catalogue.dealt(entry(f"r{i}", str(n), source=source) for i, (source, n) in enumerate(who))
    assert all(len(folds) == 1 for folds in folds_of_patients(found).values())


def test_the_folds_never_change() -> None:
    """They are part of every result."""
    found = catalogue.dealt(entry(f"r{n}", f"challenge A{n:04d}") for n in range(1, 13))
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
    source = as_records(
        entry("a1", "a", codes=(NORMAL, AF)),
        entry("a2", "a", codes=(OLD_MI, NORMAL)),
        entry("a3", "a", codes=("54329005",)),
        entry("a4", "a"),
        entry("b1", "b", codes=(NORMAL,)),
        entry("c1", "c", codes=(OLD_MI,)),
    )
    assert catalogue.conflicts(source) == {
        "a1": "atrial fibrillation, sinus rhythm, but a2 of the same patient is an infarction",
        "a4": "no scored label, but a2 of the same patient is an infarction",
    }
