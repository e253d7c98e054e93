"""Folders and tables of labels as users have them: every column is taken for what it is, or refused by name."""

from __future__ import annotations

import math
from pathlib import Path

import clinics
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecglib.data.catalogues import folder as own
from ecglib.data.catalogues.catalogue import Records, labels
from ecglib.data.catalogues.folder import LabelTable
from ecglib.errors import RecordError, UserError

NAMES = [f"r{n:02d}" for n in range(12)]
AF = [n % 2 for n in range(12)]
PATIENTS = [f"p{n // 3}" for n in range(12)]
OWN = "no column patient, so each of 12 recordings counts as a patient of its own"


def frame(**columns: object) -> pd.DataFrame:
    """Twelve recordings with the label AF, and what else there is."""
    return pd.DataFrame({"record": NAMES, **columns, "AF": AF})


def read(folder: Path, table: pd.DataFrame | str | bytes, encoding: str = "utf-8", **how: object) -> LabelTable:
    path = folder / "labels.csv"
    text = table.to_csv(**{"index": False} | how) if isinstance(table, pd.DataFrame) else table  # type: ignore[call-overload]
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return own.read_table(path)


def refused(folder: Path, table: pd.DataFrame | str | bytes, encoding: str = "utf-8", **how: object) -> str:
    with pytest.raises(UserError) as caught:
        read(folder, table, encoding, **how)
    assert "\n" not in str(caught.value) and "labels.csv" in str(caught.value)
    return str(caught.value)


def is_plain(found: LabelTable, patients: list[str] | None = None) -> None:
    """It says AF of the twelve, and no more."""
    assert found.classes == ("AF",)
    assert [row.record for row in found.rows] == NAMES
    assert [row.labels for row in found.rows] == [("AF",) if one else () for one in AF]
    assert [row.patient for row in found.rows] == (patients or NAMES)
    assert found.refused == {}


# --- the four columns -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "patient", "Patient", "PATIENT", "patient_id", "Patient ID", "patientId", "patient-id", " patient ", "Patients",
        "patient_number", "Patient No.", "PatientName", "subject", "subject_id", "Subject ID", "SUBJECT_ID",
        "participant_id", "person_id", "pid", "PatID", "MRN", "subjid", "patient_uid",
    ],
)  # fmt: skip
def test_names_of_the_patient(tmp_path: Path, name: str) -> None:
    found = read(tmp_path, frame(**{name: PATIENTS}))
    is_plain(found, PATIENTS)
    assert found.assumed == ()


def test_a_patient_of_0_and_1_is_no_label(tmp_path: Path) -> None:
    is_plain(read(tmp_path, frame(subject_id=[n % 2 for n in range(12)])), ["0", "1"] * 6)


@pytest.mark.parametrize("name", ["record", "Record", "RECORD", "record_name", "Record ID", "records", "recording"])
def test_names_of_the_record(tmp_path: Path, name: str) -> None:
    is_plain(read(tmp_path, frame().rename(columns={"record": name})))


@pytest.mark.parametrize("age", ["age", "Age", "AGE", "Age (years)", "patient_age", "age_in_years", "age_at_recording"])
@pytest.mark.parametrize("sex", ["sex", "Sex", "Gender", "patient_sex", "SEX"])
def test_names_of_age_and_sex(tmp_path: Path, age: str, sex: str) -> None:
    found = read(tmp_path, frame(**{age: [61, None] * 6, sex: ["Male", "F", "female ", ""] * 3}))
    is_plain(found)
    np.testing.assert_array_equal([row.age for row in found.rows], [61, np.nan] * 6)
    np.testing.assert_array_equal([row.female for row in found.rows], [0, 1, 1, np.nan] * 3)
    assert found.assumed == (OWN,)


def test_what_is_unknown_of_age_and_sex_is_told(tmp_path: Path) -> None:
    """Whether 1 is male or female differs from database to database."""
    found = read(tmp_path, frame(Sex=[0, 1] * 6, age=["61 y", *["50"] * 11], patient=PATIENTS))
    is_plain(found, PATIENTS)
    assert all(math.isnan(row.female) for row in found.rows)
    assert found.assumed == (
        "age is taken for unknown in 1 rows, where it is 61 y",
        "Sex is taken for unknown in 12 rows, where it is 0, 1",
    )


# --- whose a recording is ---------------------------------------------------------------------------------------------


def test_without_patients_it_is_told(tmp_path: Path) -> None:
    found = read(tmp_path, frame())
    is_plain(found)
    assert found.assumed == (OWN,)


def test_blank_patients_are_told(tmp_path: Path) -> None:
    found = read(tmp_path, frame(patient=["a", None, "a", "NaN", "a", " ", "a", "a", "a", "a", "b", "b"]))
    is_plain(found, ["a", "r01", "a", "r03", "a", "r05", "a", "a", "a", "a", "b", "b"])
    assert found.assumed == ("no patient in 3 rows, so each counts as a patient of its own (r01, r03 and 1 more)",)


@pytest.mark.parametrize(
    "spellings", [("7", "7.0"), ("P1", "p1"), ("p1", " p1"), ("007", "007.0"), ("7", "7,0"), ("ÄB", "äb")]
)
def test_two_spellings_of_one_patient_are_kept_together(tmp_path: Path, spellings: tuple[str, str]) -> None:
    found = read(tmp_path, frame(patient=[*spellings, *PATIENTS[2:]]), sep=";")
    assert found.rows[0].patient == found.rows[1].patient == spellings[0]
    assert len({row.patient for row in found.rows}) == 5 - (spellings[0].lower() == "p1")


@pytest.mark.parametrize("other", ["subject_id", "Patient name", "MRN"])
def test_two_columns_that_agree_on_the_patient(tmp_path: Path, other: str) -> None:
    is_plain(read(tmp_path, frame(patient=PATIENTS, **{other: [f"x{n // 3}" for n in range(12)]})), PATIENTS)


@pytest.mark.parametrize(
    "other", [[f"x{n // 4}" for n in range(12)], NAMES, ["x"] * 12, [None, *PATIENTS[1:]], [*PATIENTS[:-1], "p0"]]
)
def test_two_columns_that_do_not_agree_are_refused(tmp_path: Path, other: list[str]) -> None:
    said = refused(tmp_path, frame(patient=PATIENTS, subject_id=other))
    assert "columns patient and subject_id both say the patient, and don't agree; expected one column patient" in said


# --- what is no label -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("height", [172.5, *[160] * 11]),
        ("weight", [70, *[1] * 11]),
        ("site", [0, 1, 2] * 4),
        ("device", ["CS-12"] * 12),
        ("strat_fold", [*range(1, 11), 1, 2]),
        ("recording_date", ["1984-11-09 09:17:34"] * 12),
        ("filename_lr", [f"records100/00000/{name}" for name in NAMES]),
        ("scp_codes", ["{'NORM': 100.0, 'SR': 0.0}"] * 12),
        ("id", list(range(12))),
        ("ID", list(range(100, 112))),
        ("ecg_id", list(range(1, 13))),
        ("Fall", [f"F{n // 3}" for n in range(12)]),
        ("case", [n // 3 for n in range(12)]),
        ("comment", ["", "noisy", *[""] * 10]),
        ("severity", [0, 1, 2] * 4),
        ("uncertain", [0, 1, -1] * 4),
        ("probability", [0.0, 1.0, 0.5] * 4),
        ("answer", ["yes", "no"] * 6),
        ("typo", [*[0, 1] * 5, 0, "1 0"]),
    ],
)
def test_a_column_of_other_values_is_refused_by_name(tmp_path: Path, name: str, values: list[object]) -> None:
    said = refused(tmp_path, frame(patient=PATIENTS, **{name: values}))
    assert f"no label, by name or values: {name} (r" in said
    assert "if one says whose a recording is, name it patient" in said


@pytest.mark.parametrize(
    "name",
    ["site", "device", "fold", "strat_fold", "split", "ecg_id", "id", "ID", "caseID", "case_id", "study-id", "Index",
     "validated_by_human", "second_opinion", "initial_autogenerated_report", "height", "female", "is_male",
     "row_number", "hospital_code"],
)  # fmt: skip
def test_names_that_are_no_labels_even_with_0_and_1(tmp_path: Path, name: str) -> None:
    assert f"no label, by name or values: {name};" in refused(tmp_path, frame(patient=PATIENTS, **{name: [1, 0] * 6}))


@pytest.mark.parametrize(
    "name", ["Covid", "COVID", "thyroid", "AVB", "1AVb", "I-AVB", "STE", "心房颤动", "age>80", "block", "+"]
)
def test_names_that_are_labels(tmp_path: Path, name: str) -> None:
    found = read(tmp_path, frame(**{name: [1, 0, 0] * 4}))
    assert found.classes == (name, "AF")


def test_columns_that_are_blank_or_never_0_are_refused_by_name(tmp_path: Path) -> None:
    said = refused(tmp_path, frame(empty=[None] * 12, some=[1, None] * 6, none=[None, 0] * 6))
    assert "no label, by name or values: empty (blank), some (1 or blank, never 0);" in said


def test_many_columns_are_named_and_the_rest_counted(tmp_path: Path) -> None:
    """PTB-XL's own table with the columns `record` and `AF`."""
    names = ("ecg_id", "height", "weight", "nurse", "site", "device", "report", "scp_codes", "strat_fold")
    said = refused(tmp_path, frame(patient_id=PATIENTS, **{name: list(range(1, 13)) for name in names}))
    assert "ecg_id (r01: 2), height (r01: 2), weight (r01: 2), nurse" in said and "and 3 more;" in said


# --- the file ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [0, 1, 100])
def test_the_index_of_pandas(tmp_path: Path, start: int) -> None:
    table = frame(patient=PATIENTS)
    table.index = pd.RangeIndex(start, start + 12)
    found = read(tmp_path, table, index=True)
    is_plain(found, PATIENTS)
    assert found.assumed == ("column one without a name only numbers the rows, so it is passed over",)


@pytest.mark.parametrize("name", ["Unnamed: 0", "Unnamed: 0.1", "index", "level_0", "unnamed: 3"])
def test_the_index_of_pandas_written_twice(tmp_path: Path, name: str) -> None:
    table = frame(**{name: np.random.default_rng(0).permutation(40)[:12], "patient": PATIENTS})  # of rows filtered out
    found = read(tmp_path, table)
    is_plain(found, PATIENTS)
    assert found.assumed == (f"column {name} only numbers the rows, so it is passed over",)


@pytest.mark.parametrize("values", [PATIENTS, [n // 3 for n in range(12)], [0, 1] * 6, ["x"] * 12])
def test_another_column_without_a_name_is_refused(tmp_path: Path, values: list[object]) -> None:
    """It may be the patients: they were the frame's index."""
    table = frame()
    table.index = pd.Index(values)
    assert "no label, by name or values: one without a name" in refused(tmp_path, table, index=True)


@pytest.mark.parametrize("surplus", [",", ",,", ", ,", ",,,,"])
@pytest.mark.parametrize("on_top", [True, False])
def test_commas_at_the_end(tmp_path: Path, surplus: str, on_top: bool) -> None:
    lines = frame(patient=PATIENTS).to_csv(index=False).splitlines()
    text = "\n".join(line + surplus * (i > 0 or on_top) for i, line in enumerate(lines))
    found = read(tmp_path, text)
    is_plain(found, PATIENTS)
    assert found.assumed == ()


@pytest.mark.parametrize("sep", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_separators_marks_and_line_ends(tmp_path: Path, sep: str, encoding: str, end: str) -> None:
    is_plain(read(tmp_path, frame(patient=PATIENTS), encoding, sep=sep, lineterminator=end), PATIENTS)


def test_a_byte_order_mark_is_no_part_of_a_label(tmp_path: Path) -> None:
    is_plain(read(tmp_path, frame()[["AF", "record"]], "utf-8-sig"))


@pytest.mark.parametrize(
    ("yes", "no"),
    [("1", "0"), ("1.0", "0.0"), ("TRUE", "FALSE"), ("True", "False"), ("true", "false"), (" 1", "0 "), ("1,0", "0,0"),
     ("1.", "0."), ("1.000", "0")],
)  # fmt: skip
def test_values_of_labels(tmp_path: Path, yes: str, no: str) -> None:
    values = [yes if one else no for one in AF]
    is_plain(read(tmp_path, pd.DataFrame({"record": NAMES, "AF": values}), sep=";", quoting=1))


def test_quotation_marks_blanks_and_blank_lines(tmp_path: Path) -> None:
    lines = [f'"{name}", "{patient}" ,{one}' for name, patient, one in zip(NAMES, PATIENTS, AF, strict=True)]
    lines[5:5] = ["", " , , ", ",,"]
    is_plain(read(tmp_path, "\n" + "\n".join([' "record" , "Patient ID" , "AF" ', *lines]) + "\n\n"), PATIENTS)


def test_a_comma_in_the_name_of_a_label(tmp_path: Path) -> None:
    found = read(tmp_path, frame(**{"AF, paroxysmal": AF}))
    assert found.classes == ("AF, paroxysmal", "AF")
    assert read(tmp_path, frame(**{"AF, paroxysmal": AF}), sep=";").classes == ("AF, paroxysmal", "AF")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("record,age,AF\nr1,61,1\nr2,61,5,1\n", "line 3 has 4 fields, the first line 3"),  # a comma in 61,5
        ('record,AF\nr1,1\n"r2,0\nr3,1\n', "runs over several lines"),
        ('record,AF\nr1,"1\nr2,0\nr3,1\n', "runs over several lines"),
        ("record,AF,AF\nr1,1,0\nr2,0,1\n", "more than one column AF"),
        ("record,AF,af\nr1,1,0\nr2,0,1\n", "more than one column AF and af"),
        ("record,Record,AF\nr1,r1,0\nr2,r2,1\n", "more than one column record and Record"),
        ("record,recording,AF\nr1,x,0\nr2,x,1\n", "both say the record"),
        ("record,AF\nr1,1\n,0\n", "row 2 has no record"),
        ("record,AF\nr1,1\nr1,0\nr1,0\n", "r1 stands in 3 rows"),
        ("name,AF\nr1,1\n", "columns name, AF; expected a column record"),
        ("AF\n1\n", "expected a column record"),
        ("record\nr1\n", "no label"),
        ("record,patient\nr1,a\n", "no label"),
        ("", "it is empty"),
        ("\n\n , \n", "it is empty"),
        (b"record,AF\nr\x001,1\n", "it is no text"),
        ("record,AF\nr1,1\n".encode("utf-16"), "no text in UTF-8"),
        ("record,Störung\nr1,1\n".encode("latin-1"), "no text in UTF-8"),
        (b"\xff\xfe\x00\x81" * 50, "no text in UTF-8"),
    ],
)  # fmt: skip
def test_a_table_of_no_use(tmp_path: Path, table: str | bytes, said: str) -> None:
    assert said in refused(tmp_path, table)


@settings(max_examples=100, deadline=None)
@given(text=st.text(alphabet='record,;AFpatient\n\r"01 \t|.\0x', max_size=80))
def test_any_text_is_read_or_refused_in_a_line(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("text") / "labels.csv"
    path.write_bytes(f"record,AF\n{text}".encode())
    try:
        found = own.read_table(path)
    except UserError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert found.classes and len({row.record for row in found.rows}) == len(found.rows)


# --- the folder -------------------------------------------------------------------------------------------------------


def read_folder(folder: Path, table: str) -> Records:
    (folder / "labels.csv").write_text(table)
    return own.read(folder / "data", folder / "labels.csv")


@pytest.fixture
def clinic(tmp_path: Path) -> Path:
    """A folder of two records, one in a folder below, of both formats."""
    clinics.dat(tmp_path / "data", "one")
    clinics.mat(tmp_path / "data", "sub/two")
    return tmp_path


def test_a_folder_and_its_table(clinic: Path) -> None:
    found = read_folder(clinic, "record,patient,age,sex,AF,block\none,007,61,female,1,0\nsub/two,007,,male,1,1\n")
    assert found.classes == ("AF", "block")
    one, two = found.entries
    assert (one.record, one.patient, one.labels, one.age, one.female) == ("one", "007", ("AF",), 61, 1)
    assert (two.record, two.patient, two.labels, two.female) == ("sub/two", "007", ("AF", "block"), 0)
    assert np.isnan(two.age)
    assert one.fold == two.fold in range(1, 11)
    assert labels(found).tolist() == [[True, False], [True, True]]
    for each in found.entries:
        np.testing.assert_allclose(found.read(each).signals, clinics.units() / 1000, rtol=1e-6)


def test_one_label_is_enough(clinic: Path) -> None:
    found = read_folder(clinic, "record,x\none,1\nsub/two,0\n")
    assert found.classes == ("x",) and labels(found).tolist() == [[True], [False]]


def test_without_patients_each_record_is_one_of_its_read_folder(clinic: Path) -> None:
    found = read_folder(clinic, "record,x,y\none,0,0\nsub/two,0,1\n")
    assert [each.patient for each in found.entries] == ["one", "sub/two"]
    assert all(np.isnan([each.age, each.female]).all() for each in found.entries)
    found = read_folder(clinic, "record,patient,x,y\none,,0,0\nsub/two,9,0,1\n")
    assert [each.patient for each in found.entries] == ["one", "9"]


@pytest.mark.parametrize("value", ["", "nan", "NA", " "])
def test_a_label_that_is_blank_is_named_and_the_others_go_on(clinic: Path, value: str) -> None:
    found = read_folder(clinic, f"record,x,y\none,1,{value}\nsub/two,0,1\nthree,0,0\n")
    assert found.refused == {"one": "no value for label y"}
    assert [(each.record, each.labels) for each in found.entries] == [("sub/two", ("y",)), ("three", ())]


def test_a_missing_record_is_refused_when_it_is_read(clinic: Path) -> None:
    found = read_folder(clinic, "record,x,y\none,1,0\nnone,1,0\n../one,0,1\n")  # "none" is a name as good as any
    assert len(found.entries) == 3
    for each, reason in zip(found.entries[1:], ("missing header", "unsafe path"), strict=True):
        with pytest.raises(RecordError) as caught:
            found.read(each)
        assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("record,x,y\n", "no usable row"),
        ("record,x,y\none,1,\nsub/two,,0\n", "no label, by name or values: x (1 or blank, never 0)"),
        ("record,x,y\none,0,\nsub/two,,0\n", "no usable row; one: no value for label y"),
    ],
)
def test_a_folder_with_a_table_of_no_use(clinic: Path, table: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        read_folder(clinic, table)
    assert message in str(caught.value)
    assert "labels.csv" in str(caught.value)


def test_no_table_or_no_folder(clinic: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        own.read(clinic / "data", clinic / "nothing.csv")
    with pytest.raises(UserError, match="no such folder"):
        own.read(clinic / "nowhere", clinic / "labels.csv")


def test_the_fingerprint_of_a_folder_follows_table_and_files(clinic: Path) -> None:
    table = "record,x,y\none,1,0\nsub/two,0,1\n"
    found = [read_folder(clinic, table).fingerprint]
    assert read_folder(clinic, table).fingerprint == found[0]
    found.append(read_folder(clinic, table.replace("two,0,1", "two,1,1")).fingerprint)
    clinics.dat(clinic / "data", "three")
    found.append(read_folder(clinic, table).fingerprint)
    clinics.dat(clinic / "data", "one", clinics.units(seed=1))  # as long as before
    found.append(read_folder(clinic, table).fingerprint)
    assert len(set(found)) == 4
