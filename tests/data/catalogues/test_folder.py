"""Folders and tables of labels as users have them: every column is taken for what it is, or refused by name."""

from __future__ import annotations

import shutil
from pathlib import Path

import clinics
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecglib.data.catalogues import folder as own
from ecglib.data.catalogues.catalogue import Records, labels
from ecglib.errors import RecordError, UserError

NAMES = [f"r{n:02d}" for n in range(12)]
AF = [n % 2 for n in range(12)]
PATIENTS = [f"p{n // 3}" for n in range(12)]
OWN = "no column patient, so each of 12 recordings counts as a patient of its own"


def frame(**columns: object) -> pd.DataFrame:
    """Twelve recordings with the label AF, and what else there is."""
    return pd.DataFrame({"record": NAMES, **columns, "AF": AF})


def read(folder: Path, table: pd.DataFrame | str | bytes, **how: object) -> Records:
    """What `folder/data`, made where it is missing, is by this table."""
    path = folder / "labels.csv"
    text = table.to_csv(**{"index": False} | how) if isinstance(table, pd.DataFrame) else table  # type: ignore[call-overload]
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    (folder / "data").mkdir(exist_ok=True)
    return own.read(folder / "data", path)


def refused(folder: Path, table: pd.DataFrame | str | bytes, **how: object) -> str:
    with pytest.raises(UserError) as caught:
        read(folder, table, **how)
    assert "\n" not in str(caught.value) and "labels.csv" in str(caught.value)
    return str(caught.value)


def is_plain(found: Records, patients: list[str] | None = None) -> None:
    """It says AF of the twelve, and no more."""
    assert found.classes == ("AF",)
    assert [each.record for each in found.entries] == NAMES
    assert [each.labels for each in found.entries] == [("AF",) if one else () for one in AF]
    assert [each.patient for each in found.entries] == (patients or NAMES)
    assert found.refused == {}


@pytest.mark.parametrize("top", ["", "export/"])
@pytest.mark.parametrize("ward", ["", "ward/"])
@pytest.mark.parametrize("beside", [False, True])
def test_a_zip_file_of_recordings(data: Path, top: str, ward: str, beside: bool) -> None:
    made, table = data.parent / "made", data / "labels.csv"
    for name in NAMES:
        clinics.dat(made / top, ward + name)
    packed = Path(shutil.make_archive(str(data / "export.1"), "zip", made))
    frame(record=[ward + name for name in NAMES]).to_csv(table, index=False)
    shutil.rmtree(made)
    found = own.read(packed.parent if beside else packed, table)
    assert [entry.source for entry in found.entries] == ["data" if beside else "export.1.zip"] * 12
    for entry in found.entries:
        assert found.read(entry).signals.any()


def test_a_zip_file_that_is_none(empty: Path) -> None:
    frame().to_csv(empty / "labels.csv", index=False)
    (empty / "no.zip").touch()
    for name, said in (("gone.zip", "no such folder"), ("no.zip", r"can't be unpacked \(File is not a zip file\)")):
        with pytest.raises(UserError, match=f"{name}: {said}"):
            own.read(empty / name, empty / "labels.csv")


# --- what the columns say ---------------------------------------------------------------------------------------------

OF_PATIENTS = (
    "patient", "PATIENT", "patient_id", "Patient ID", "patientId", "patient-id", " patient ", "Patients", "Patient No.",
    "patient_number", "PatientName", "subject", "subject_id", "Subject ID", "SUBJECT_ID", "participant_id", "person_id",
    "pid", "PatID", "MRN", "subjid", "patient_uid",
)  # fmt: skip
PASSED_OVER = "column {} only numbers the rows, so it is passed over"
BLANK = ["a", None, "a", "NaN", "a", " ", "a", "a", "a", "a", "b", "b"]
INDEX = np.random.default_rng(0).permutation(40)[:12]
"""Of rows filtered out, as pandas wrote it twice."""


@pytest.mark.parametrize(
    ("columns", "patients", "assumed"),
    [
        *(({name: PATIENTS}, PATIENTS, ()) for name in OF_PATIENTS),
        ({}, NAMES, (OWN,)),
        ({"subject_id": AF}, ["0", "1"] * 6, ()),  # no label
        (
            {"patient": BLANK},
            ["a", "r01", "a", "r03", "a", "r05", "a", "a", "a", "a", "b", "b"],
            ("no patient in 3 rows, so each counts as a patient of its own (r01, r03 and 1 more)",),
        ),
        *(  # two columns that agree
            ({"patient": PATIENTS, other: [f"x{n // 3}" for n in range(12)]}, PATIENTS, ())
            for other in ("subject_id", "Patient name", "MRN")
        ),
        *(
            ({name: INDEX, "patient": PATIENTS}, PATIENTS, (PASSED_OVER.format(name),))
            for name in ("Unnamed: 0", "Unnamed: 0.1", "index", "level_0", "unnamed: 3")
        ),
    ],
)
def test_whose_a_recording_is(
    tmp_path: Path, columns: dict[str, list[object]], patients: list[str], assumed: tuple[str, ...]
) -> None:
    found = read(tmp_path, frame(**columns))
    is_plain(found, patients)
    assert found.assumed == assumed


@pytest.mark.parametrize(
    "spellings", [("7", "7.0"), ("P1", "p1"), ("p1", " p1"), ("007", "007.0"), ("7", "7,0"), ("ÄB", "äb")]
)
def test_two_spellings_of_one_patient_are_kept_together(tmp_path: Path, spellings: tuple[str, str]) -> None:
    found = read(tmp_path, frame(patient=[*spellings, *PATIENTS[2:]]), sep=";")
    assert found.entries[0].patient == found.entries[1].patient == spellings[0]
    assert len({each.patient for each in found.entries}) == 5 - (spellings[0].lower() == "p1")


@pytest.mark.parametrize(
    ("age", "sex"),
    [("age", "sex"), ("Age", "Sex"), ("AGE", "SEX"), ("Age (years)", "Gender"), ("patient_age", "patient_sex"),
     ("age_in_years", "sex"), ("age_at_recording", "sex")],
)  # fmt: skip
def test_names_of_age_and_sex(tmp_path: Path, age: str, sex: str) -> None:
    found = read(tmp_path, frame(**{age: [61, None] * 6, sex: ["Male", "F", "female ", ""] * 3}))
    is_plain(found)
    np.testing.assert_array_equal([each.age for each in found.entries], [61, np.nan] * 6)
    np.testing.assert_array_equal([each.female for each in found.entries], [0, 1, 1, np.nan] * 3)
    assert found.assumed == (OWN,)


def test_what_is_unknown_of_age_and_sex_is_told(tmp_path: Path) -> None:
    """Whether 1 is male or female differs from database to database."""
    found = read(tmp_path, frame(Sex=[0, 1] * 6, age=["61 y", -1, 999, *["50"] * 9], patient=PATIENTS))
    is_plain(found, PATIENTS)
    assert np.isnan([each.female for each in found.entries]).all()
    assert found.assumed == (
        "age is taken for unknown in 3 rows, where it is -1, 61 y, 999",
        "Sex is taken for unknown in 12 rows, where it is 0, 1",
    )


NAMES_OF_LABELS = ("Covid", "COVID", "thyroid", "AVB", "1AVb", "I-AVB", "STE", "心房颤动", "age>80", "block", "+")


@pytest.mark.parametrize("name", [*NAMES_OF_LABELS, "AF, paroxysmal"])
def test_names_that_are_labels(tmp_path: Path, name: str) -> None:
    table = frame(**{name: [1, 0, 0] * 4})[[name, "record", "AF"]]
    for sep in (",", ";"):
        assert read(tmp_path, "\ufeff" + table.to_csv(index=False, sep=sep)).classes == (name, "AF")


NO_LABELS = {
    "height": [172.5, *[160] * 11], "weight": [70, *[1] * 11], "recording_date": ["1984-11-09 09:17:34"] * 12,
    "scp_codes": ["{'NORM': 100.0, 'SR': 0.0}"] * 12, "id": list(range(12)), "case": [n // 3 for n in range(12)],
    "comment": ["", "noisy", *[""] * 10], "uncertain": [0, 1, -1] * 4, "probability": [0.0, 1.0, 0.5] * 4,
    "answer": ["yes", "no"] * 6, "typo": [*[0, 1] * 5, 0, "1 0"],
}  # fmt: skip
EVEN_WITH_0_AND_1 = (
    "site", "device", "fold", "strat_fold", "split", "ecg_id", "id", "ID", "caseID", "study-id", "Index", "height",
    "validated_by_human", "second_opinion", "initial_autogenerated_report", "female", "is_male", "row_number",
    "hospital_code",
)  # fmt: skip
OF_PTB_XL = ("ecg_id", "height", "weight", "nurse", "site", "device", "report", "scp_codes", "strat_fold")


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        *(({name: values}, f"{name} (r") for name, values in NO_LABELS.items()),
        *(({name: [1, 0] * 6}, f"{name};") for name in EVEN_WITH_0_AND_1),
        (
            {"empty": [None] * 12, "some": [1, None] * 6, "none": [None, 0] * 6},
            "empty (blank), some (1 or blank, never 0);",
        ),
        (
            {name: list(range(1, 13)) for name in OF_PTB_XL},  # named, and the rest counted
            ", ".join(f"{name} (r01: 2)" for name in OF_PTB_XL[:6]) + " and 3 more;",
        ),
    ],
)
def test_what_is_no_label_is_refused_by_name(tmp_path: Path, columns: dict[str, list[object]], said: str) -> None:
    found = refused(tmp_path, frame(patient=PATIENTS, **columns))
    assert f"no label, by name or values: {said}" in found
    assert "if one says whose a recording is, name it patient" in found


@pytest.mark.parametrize(
    "other", [[f"x{n // 4}" for n in range(12)], NAMES, ["x"] * 12, [None, *PATIENTS[1:]], [*PATIENTS[:-1], "p0"]]
)
def test_two_columns_that_do_not_agree_are_refused(tmp_path: Path, other: list[str]) -> None:
    said = "columns patient and subject_id both say the patient, and don't agree; expected one column patient"
    assert said in refused(tmp_path, frame(patient=PATIENTS, subject_id=other))


# --- the file ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [range(12), range(100, 112), PATIENTS, [n // 3 for n in range(12)], AF, ["x"] * 12])
def test_a_column_without_a_name_is_the_index_of_pandas_or_refused(tmp_path: Path, values: list[object]) -> None:
    """It may be the patients: they were the frame's index."""
    table = frame(patient=PATIENTS).set_axis(list(values))
    if isinstance(values, range):
        found = read(tmp_path, table, index=True)
        is_plain(found, PATIENTS)
        assert found.assumed == (PASSED_OVER.format("one without a name"),)
    else:
        assert "no label, by name or values: one without a name" in refused(tmp_path, table, index=True)


TEXT = frame(patient=PATIENTS).to_csv(index=False)
LINES = TEXT.splitlines()
QUOTED = [' "' + line.replace(",", '" , "') + '" ' for line in LINES]
YES_AND_NO = ("1/0", "1.0/0.0", "TRUE/FALSE", "True/False", "true/false", " 1/0 ", "1,0/0,0", "1./0.", "1.000/0")
NAMES_OF_RECORDS = ("Record", "RECORD", "record_name", "Record ID", "records", "recording")


def saying(yes: str, no: str) -> str:
    return frame(patient=PATIENTS).assign(AF=[yes if one else no for one in AF]).to_csv(index=False, sep=";")


@pytest.mark.parametrize(
    "text",
    [
        *(TEXT.replace("record", name) for name in NAMES_OF_RECORDS),
        *(saying(*both.split("/")) for both in YES_AND_NO),
        "\n".join(["", *QUOTED[:5], "", " , , ", ",,", *QUOTED[5:], "", ""]),
        *("\n".join(line + surplus for line in LINES) for surplus in (",", ", ,")),
        *("\n".join([LINES[0], *(line + surplus for line in LINES[1:])]) for surplus in (",", ",,,,")),
        *("\n".join(LINES).replace(",", sep) for sep in ",;\t|"),
        *("\ufeff" + end.join(LINES) for end in ("\n", "\r\n", "\r")),
    ],
)
def test_the_same_table_however_it_is_written(tmp_path: Path, text: str) -> None:
    """With any name of the record, value of a label, separator, quotation marks, blanks and line ends."""
    found = read(tmp_path, text)
    is_plain(found, PATIENTS)
    assert found.assumed == ()


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("record,x,y\n", "no usable row"),
        ("record,x,y\none,1,\nsub/two,,0\n", "no label, by name or values: x (1 or blank, never 0)"),
        ("record,x,y\none,0,\nsub/two,,0\n", "no usable row; one: no value for label y"),
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


@settings(max_examples=60)
@given(text=st.text(alphabet='record,;AFpatient\n\r"01 \t|.\0x', max_size=80))
def test_any_text_is_read_or_refused_in_a_line(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    try:
        found = read(tmp_path_factory.mktemp("text"), f"record,AF\n{text}")
    except UserError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert found.classes and len({each.record for each in found.entries}) == len(found.entries)


# --- the folder -------------------------------------------------------------------------------------------------------


@pytest.fixture
def clinic(tmp_path: Path) -> Path:
    """A folder of two records, one in a folder below, of both formats."""
    clinics.dat(tmp_path / "data", "one")
    clinics.mat(tmp_path / "data", "sub/two")
    return tmp_path


def test_a_folder_and_its_table(clinic: Path) -> None:
    found = read(clinic, "record,patient,age,sex,AF,block\none,007,61,female,1,0\nsub/two,007,,male,1,1\n")
    assert found.classes == ("AF", "block")
    one, two = found.entries
    assert (one.record, one.patient, one.labels, one.age, one.female) == ("one", "007", ("AF",), 61, 1)
    assert (two.record, two.patient, two.labels, two.female) == ("sub/two", "007", ("AF", "block"), 0)
    assert np.isnan(two.age) and one.fold == two.fold in range(1, 11)
    assert labels(found).tolist() == [[True, False], [True, True]]
    for each in found.entries:
        np.testing.assert_allclose(found.read(each).signals, clinics.units() / 1000, rtol=1e-6)


def test_a_label_that_is_blank_is_named_and_the_others_go_on(clinic: Path) -> None:
    found = read(clinic, "record,x,y\na,1,\nb,1,nan\nc,1,NA\nd,1, \nsub/two,0,1\nthree,0,0\n")
    assert found.refused == dict.fromkeys("abcd", "no value for label y")
    assert [(each.record, each.labels) for each in found.entries] == [("sub/two", ("y",)), ("three", ())]


def test_a_missing_record_is_refused_when_it_is_read(clinic: Path) -> None:
    found = read(clinic, "record,x\none,1\nnone,1\n../one,0\n")  # "none" is a name as good as any
    assert found.classes == ("x",) and labels(found).tolist() == [[True], [True], [False]]
    for each, reason in zip(found.entries[1:], ("missing header", "unsafe path"), strict=True):
        with pytest.raises(RecordError, match=reason):
            found.read(each)


def test_no_table_or_no_folder(clinic: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        own.read(clinic / "data", clinic / "nothing.csv")
    with pytest.raises(UserError, match="no such folder"):
        own.read(clinic / "nowhere", clinic / "labels.csv")


def test_the_fingerprint_of_a_folder_follows_table_and_files(clinic: Path) -> None:
    table = "record,x,y\none,1,0\nsub/two,0,1\n"
    found = [read(clinic, table).fingerprint, read(clinic, table.replace("two,0,1", "two,1,1")).fingerprint]
    assert read(clinic, table).fingerprint == found[0]
    (clinic / "away").mkdir()
    (clinic / "data" / "linked").symlink_to(clinic / "away")
    for name, seed in (("three", 0), ("one", 1), ("linked/four", 0), ("linked/four", 1)):  # as long as before
        clinics.dat(clinic / "data", name, clinics.units(seed=seed))
        found.append(read(clinic, table).fingerprint)
    assert len(set(found)) == 6
