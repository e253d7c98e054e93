"""Cohorts: who has an infarction, by whose word, and whose beats are whose."""

from __future__ import annotations

from pathlib import Path

import cohorts
import numpy as np
import pytest

from ecglib import paths
from ecglib.data import databases, infarction, records
from ecglib.data.catalogues import catalogue
from ecglib.data.infarction import Cohort
from ecglib.errors import UserError


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ECGLIB_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(paths, "cache", lambda: tmp_path / "cache")
    return tmp_path / "data"


def load(name: str, *leads: str) -> Cohort:
    return infarction.load(databases.get(name), leads or ("II",))


def test_the_real_ptb_xl_has_the_published_labels(real_ptb_xl: Path) -> None:
    """DESIGN's counts: 73 recordings with an infarction of any likelihood, 297 normal ones, nobody in both."""
    cohort = load("ptb-xl")
    table = cohort.recordings
    assert table["label"].value_counts().to_dict() == {0: 297, 1: 73}
    assert (table.loc[table["label"] == 1, "likelihood"] >= 50).sum() == 46
    assert table["patient"].nunique() == 356
    assert cohort.records_left_out == {}
    assert np.bincount(cohort.recording).min() >= 3
    assert (cohort.signals.min(2) == 0).all() and (cohort.signals.max(2) == 1).all()


def test_ptb_xl(data: Path) -> None:
    cohort = load("ptb-xl") if cohorts.ptb_xl(data / "ptb-xl") else None
    assert cohort is not None
    assert cohort.recordings["label"].tolist() == [0] * 16 + [1] * 8
    assert cohort.recordings["patient"].tolist()[:4] == ["100", "100", "101", "101"]
    assert cohort.recordings["female"].tolist() == [0.0] * 16 + [1.0] * 8
    assert cohort.signals.shape == (len(cohort), 1, 187) and cohort.signals.dtype == np.float32
    np.testing.assert_array_equal(cohort.labels, cohort.recordings["label"].to_numpy()[cohort.recording])
    assert (np.diff(cohort.recording) >= 0).all()
    assert cohort.median_beats.shape == (24, 1, 101)
    peak = np.abs(cohort.median_beats[:, 0]).argmax(1)
    assert (np.abs(peak - infarction.BEFORE) <= 1).all()


def test_it_is_read_from_the_cache_the_second_time(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cohorts.ptb_xl(data / "ptb-xl", 4, 4)
    first = load("ptb-xl")
    monkeypatch.setattr(infarction, "read_recordings", None)
    second = load("ptb-xl")
    np.testing.assert_array_equal(first.signals, second.signals)
    assert first.recordings.equals(second.recordings)
    assert (first.left_out, first.records_left_out) == (second.left_out, second.records_left_out)


def test_leads_come_in_the_order_asked_for_and_share_their_r_peaks(data: Path) -> None:
    cohorts.ptb_xl(data / "ptb-xl", 4, 4)
    all_, two = load("ptb-xl", *records.LEADS), load("ptb-xl", "v1", "II")
    np.testing.assert_array_equal(two.signals[:, 0], all_.signals[:, 6])
    np.testing.assert_array_equal(two.signals[:, 1], all_.signals[:, 1])
    np.testing.assert_array_equal(two.sample, all_.sample)


@pytest.mark.parametrize(
    ("codes", "reason"),
    [
        ("{'LVH': 100.0}", catalogue.OTHER),
        ("{}", catalogue.OTHER),
        ("{'NORM': 80.0, 'IMI': 15.0}", "unclear diagnosis"),
        ("NORM", "unreadable diagnosis"),
        ("['NORM']", "unreadable diagnosis"),
        ("{'NORM': 'sure'}", "unreadable diagnosis"),
        ("__import__('os').system('true')", "unreadable diagnosis"),
        ("{" * 500, "unreadable diagnosis"),
    ],
)
def test_a_diagnosis_is_read_or_set_aside(data: Path, codes: str, reason: str) -> None:
    rows = [cohorts.row(1, "{'NORM': 100.0}"), cohorts.row(2, "{'AMI': 100.0}"), cohorts.row(3, codes)]
    cohorts.write_ptb_xl(data / "ptb-xl", rows)
    cohort = load("ptb-xl")
    assert len(cohort.recordings) == 2
    assert cohort.left_out == {reason: 1}
    assert list(cohort.records_left_out.values()) == ([] if reason == catalogue.OTHER else [reason])


def test_a_patient_in_both_classes_is_set_aside(data: Path) -> None:
    rows = [cohorts.row(1, "{'NORM': 100.0}"), cohorts.row(2, "{'AMI': 100.0}")]
    rows += [cohorts.row(3, "{'NORM': 100.0}", patient=9), cohorts.row(4, "{'AMI': 50.0}", patient=9)]
    cohorts.write_ptb_xl(data / "ptb-xl", rows)
    cohort = load("ptb-xl")
    assert cohort.recordings["patient"].tolist() == ["1", "2"]
    assert cohort.left_out == {"patient in both classes": 2}


def test_a_recording_of_nobody_known_is_set_aside_and_ages_are_years(data: Path) -> None:
    rows = [cohorts.row(1, "{'NORM': 100.0}", age=300.0), cohorts.row(2, "{'AMI': 100.0}")]
    rows += [
        cohorts.row(3, "{'NORM': 100.0}") | {"patient_id": None},
        cohorts.row(4, "{'AMI': 50.0}") | {"patient_id": None},
    ]
    cohorts.write_ptb_xl(data / "ptb-xl", rows)
    cohort = load("ptb-xl")
    assert cohort.recordings["age"].tolist() == [catalogue.OLDEST, 60.0]
    assert cohort.left_out == {"unknown patient": 2}
    cohorts.write_ptb_xl(data / "ptb-xl", [*rows, rows[0]])
    with pytest.raises(UserError, match="00001_lr stands in two rows"):
        load("ptb-xl")


def test_broken_recordings_are_counted_and_the_rest_is_read(data: Path) -> None:
    folder = cohorts.ptb_xl(data / "ptb-xl", 5, 4)
    hr = folder / "records500" / "00000"
    (hr / "00001_hr.dat").write_bytes((hr / "00001_hr.dat").read_bytes()[:1000])
    cohorts.record(folder, "records500/00000/00002_hr", False, leads=["I", "V1"])
    flat = np.zeros((5000, 2))
    flat[0] = 1.0
    cohorts.wfdb.wrsamp(
        "00003_hr", fs=500, units=["mV"] * 2, sig_name=["I", "II"], p_signal=flat, fmt=["16"] * 2,
        adc_gain=[1000.0] * 2, baseline=[0] * 2, write_dir=str(hr),
    )  # fmt: skip
    cohort = load("ptb-xl")
    assert len(cohort.recordings) == 6
    assert cohort.left_out["truncated signal"] == cohort.left_out["missing lead"] == 1
    assert sum(cohort.left_out.values()) == 3
    assert set(cohort.records_left_out) == {f"records500/00000/0000{n}_hr" for n in (1, 2, 3)}


def test_without_a_recording_it_says_why(data: Path) -> None:
    cohorts.write_ptb_xl(data / "ptb-xl", [cohorts.row(1, "{'LVH': 100.0}")])
    with pytest.raises(UserError, match="no recording is left"):
        load("ptb-xl")
    (data / "ptb-xl" / "scp_statements.csv").unlink()
    with pytest.raises(UserError, match=r"scp_statements\.csv: no such file"):
        load("ptb-xl")


def test_ptbdb(data: Path) -> None:
    """PTB's own way: folders of patients, lower-case leads, 1000 Hz, the diagnosis in the header's comments."""
    said = {
        "patient001/s0010_re": ["age: 81", "sex: female", "Reason for admission: Myocardial infarction"],
        "patient001/s0014lre": ["age: 81", "sex: female", "Reason for admission: Myocardial infarction"],
        "patient104/s0306lre": ["age: n/a", "sex: male", "Diagnose:", "Reason for admission: Healthy control"],
        "patient105/s0307lre": ["age: 50", "Reason for admission: Cardiomyopathy"],
        "patient106/s0308lre": ["age: 50", "Reason for admission: n/a"],
        "patient107/s0309lre": ["age: 30", "Reason for admission: Healthy control"],
        "patient107/s0310lre": ["age: 31", "Reason for admission: Myocardial infarction"],
        "patient108/s0311lre": ["age: 31", "Reason for admission:"],
        "patient109/s0312lre": ["Reason for admission: Healthy control", "Reason for admission: Myocardial infarction"],
        "patient110/s0313lre": ["Reason for admission: Myocardial infarction (old)"],
        "s0314lre": ["Reason for admission: Healthy control"],
    }
    folder = data / "ptbdb"
    for n, (name, comments) in enumerate(said.items()):
        cohorts.write_ptb(folder, name, "Myo" in comments[-1], comments, seed=n)
    (folder / "RECORDS").write_text("\n".join(said))
    cohort = load("ptbdb")
    assert cohort.recordings["record"].tolist() == list(said)[:3]
    assert cohort.recordings["patient"].tolist() == ["patient001", "patient001", "patient104"]
    assert cohort.recordings["label"].tolist() == [1, 1, 0]
    assert cohort.recordings["age"].tolist()[:2] == [81.0, 81.0] and np.isnan(cohort.recordings["age"][2])
    assert cohort.recordings["female"].tolist()[:2] == [1.0, 1.0] and cohort.recordings["female"][2] == 0.0
    assert cohort.left_out == {
        catalogue.OTHER: 1, "unreadable diagnosis": 4, "unknown patient": 1, "patient in both classes": 2,
    }  # fmt: skip
    assert len(cohort.records_left_out) == 7
    assert np.bincount(cohort.recording).min() >= 7
    assert cohort.median_beats[0, 0, infarction.BEFORE] == pytest.approx(0.7, abs=0.15), "mV, at a gain of 2000"
    assert load("ptbdb", "V1", "aVR").signals.shape[1] == 2


def test_the_kaggle_set(data: Path) -> None:
    folder = data / "heartbeat"
    folder.mkdir(parents=True)
    beats = np.random.default_rng(0).random((9, 187))
    for file, label, rows in (("ptbdb_normal.csv", 0, beats[:3]), ("ptbdb_abnormal.csv", 1, beats[3:])):
        np.savetxt(folder / file, np.column_stack([rows, np.full(len(rows), label)]), delimiter=",")
    cohort = load("heartbeat")
    assert cohort.labels.tolist() == [0] * 3 + [1] * 6
    np.testing.assert_allclose(cohort.signals[:, 0], beats, atol=1e-6)
    assert set(cohort.recordings["patient"]) == {""}
    with pytest.raises(UserError, match="one lead of the Kaggle set"):
        load("heartbeat", "V1")
    np.savetxt(folder / "ptbdb_normal.csv", np.column_stack([beats, np.ones(9)]), delimiter=",")
    with pytest.raises(UserError, match="9 labels other than 0"):
        load("heartbeat")
    (folder / "ptbdb_normal.csv").unlink()
    with pytest.raises(UserError, match=r"ptbdb_normal\.csv: no such file"):
        load("heartbeat")


def test_another_database_is_refused(small_mitdb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECGLIB_DATA", str(small_mitdb))
    with pytest.raises(UserError, match="mitdb: no database of infarctions"):
        load("mitdb")


def test_some_recordings(data: Path) -> None:
    cohorts.ptb_xl(data / "ptb-xl", 4, 4)
    cohort = load("ptb-xl")
    few = infarction.of_recordings(cohort, np.array([1, 5]))
    assert few.recordings["record"].tolist() == cohort.recordings["record"].iloc[[1, 5]].tolist()
    np.testing.assert_array_equal(few.signals, cohort.signals[np.isin(cohort.recording, [1, 5])])
    assert set(few.recording) == {0, 1} and len(few.median_beats) == 2
