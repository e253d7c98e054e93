"""Cohorts: who has an infarction, by whose word, and whose beats are whose; and the same beats aligned."""

from __future__ import annotations

from pathlib import Path

import clinics
import cohorts
import excerpts
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from ecglib.data import databases, infarction, records, splits
from ecglib.data.catalogues import catalogue
from ecglib.data.infarction import BEFORE, Cohort
from ecglib.errors import RecordError, UserError

LEADS = ("II", "V1", "I")


pytestmark = pytest.mark.usefixtures("data")


def load(name: str, *leads: str) -> Cohort:
    return infarction.load(databases.get(name), leads or ("II",))


@pytest.fixture(scope="module")
def real(real_data: Path) -> tuple[databases.Source, Cohort]:
    """The real PTB-XL and its beats of two leads."""
    source = excerpts.source(real_data / "ptb-xl", name="ptb-xl")
    return source, infarction.read_recordings(source, ("II", "V1"))


@pytest.mark.real
def test_the_real_ptb_xl_has_the_published_labels_and_folds_by_patient(real: tuple[databases.Source, Cohort]) -> None:
    """DESIGN's counts: 73 recordings with an infarction of any likelihood, 297 normal ones, nobody in both."""
    cohort, table = real[1], real[1].recordings
    assert table["label"].value_counts().to_dict() == {0: 297, 1: 73}
    assert (table.loc[table["label"] == 1, "likelihood"] >= 50).sum() == 46
    assert table["patient"].nunique() == 356
    assert cohort.records_left_out == {}
    assert np.bincount(cohort.recording).min() >= 3
    assert (cohort.signals.min(2) == 0).all() and (cohort.signals.max(2) == 1).all()
    for seed in range(3):
        fold = splits.folds(cohort.labels, cohort.patients, 10, seed, infarction.CLASSES)
        assert pd.Series(fold).groupby(table["patient"].to_numpy()[cohort.recording]).nunique().max() == 1
        assert np.bincount(fold[cohort.labels == 1]).min() > 0 and fold.max() == 9


def test_ptb_xl_by_leads_from_the_cache_and_in_part(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cohorts.ptb_xl(data / "ptb-xl", 4, 4)
    every, cohort = load("ptb-xl", *records.LEADS), load("ptb-xl", "v1", "II")
    assert cohort.recordings["label"].tolist() == [0] * 4 + [1] * 4
    assert cohort.recordings["patient"].tolist() == ["100", "100", "101", "101", "500", "500", "502", "502"]
    assert cohort.recordings["female"].tolist() == [0.0] * 4 + [1.0] * 4
    assert cohort.signals.shape == (len(cohort), 2, 187) and cohort.signals.dtype == np.float32
    np.testing.assert_array_equal(cohort.signals, every.signals[:, [6, 1]])
    np.testing.assert_array_equal(cohort.sample, every.sample)
    np.testing.assert_array_equal(cohort.labels, cohort.recordings["label"].to_numpy()[cohort.recording])
    assert (np.diff(cohort.recording) >= 0).all()
    assert cohort.median_beats.shape == (8, 2, 101)
    assert (np.abs(np.abs(cohort.median_beats[:, 1]).argmax(1) - BEFORE) <= 1).all()

    monkeypatch.setattr(infarction, "read_recordings", None)
    again = load("ptb-xl", "v1", "II")
    np.testing.assert_array_equal(cohort.signals, again.signals)
    assert cohort.recordings.equals(again.recordings)
    assert (cohort.left_out, cohort.records_left_out) == (again.left_out, again.records_left_out)

    few = infarction.limited(cohort, 4)
    rows = np.flatnonzero(cohort.recordings["record"].isin(few.recordings["record"]))
    assert len(rows) == few.recordings["patient"].nunique() == len(few.median_beats) == 4
    np.testing.assert_array_equal(few.signals, cohort.signals[np.isin(cohort.recording, rows)])
    np.testing.assert_array_equal(rows[few.recording], cohort.recording[np.isin(cohort.recording, rows)])
    assert infarction.limited(cohort, None) is infarction.limited(cohort, 8) is cohort


SET_ASIDE = {
    catalogue.OTHER: ["{'LVH': 100.0}", "{}"],
    "unclear diagnosis": ["{'NORM': 80.0, 'IMI': 15.0}"],
    "unreadable diagnosis": ["NORM", "['NORM']", "{'NORM': 'sure'}", "__import__('os').system('true')", "{" * 500],
}


def test_a_diagnosis_is_read_or_set_aside_and_so_is_who_is_nobody_or_in_both_classes(data: Path) -> None:
    odd = [codes for each in SET_ASIDE.values() for codes in each]
    rows = [cohorts.row(1, "{'NORM': 100.0}", age=300.0), cohorts.row(2, "{'AMI': 100.0}")]
    rows += [cohorts.row(n, codes, patient=9) for n, codes in ((3, "{'NORM': 1.0}"), (4, "{'AMI': 1.0}"))]
    rows += [cohorts.row(n, codes) | {"patient_id": None} for n, codes in ((5, "{'NORM': 1.0}"), (6, "{'AMI': 1.0}"))]
    rows += [cohorts.row(n, codes) for n, codes in enumerate(odd, start=7)]
    cohorts.write_ptb_xl(data / "ptb-xl", rows)
    cohort = load("ptb-xl")
    assert cohort.recordings["patient"].tolist() == ["1", "2"]
    assert cohort.recordings["age"].tolist() == [catalogue.OLDEST, 60.0], "years"
    assert cohort.repaired == {}
    counts = {reason: len(each) for reason, each in SET_ASIDE.items()}
    assert cohort.left_out == counts | {"patient in both classes": 2, "unknown patient": 2}
    assert len(cohort.records_left_out) == 10 and catalogue.OTHER not in cohort.records_left_out.values()


def test_broken_recordings_are_counted_and_the_rest_is_read(data: Path) -> None:
    folder = cohorts.ptb_xl(data / "ptb-xl", 5, 4)
    hr = folder / "records500" / "00000"
    (hr / "00001_hr.dat").write_bytes((hr / "00001_hr.dat").read_bytes()[:1000])
    cohorts.record(folder, "records500/00000/00002_hr", False, leads=["I", "V1"])
    clinics.dat(folder, "records500/00000/00003_hr", np.eye(2, 5000, dtype=np.int16), ("I", "II"))
    cohort = load("ptb-xl")
    assert len(cohort.recordings) == 6
    assert cohort.left_out["truncated signal"] == cohort.left_out["missing lead"] == 1
    assert sum(cohort.left_out.values()) == 3
    assert set(cohort.records_left_out) == {f"records500/00000/0000{n}_hr" for n in (1, 2, 3)}


def test_without_a_recording_or_of_another_database_it_says_why(data: Path) -> None:
    with pytest.raises(UserError, match="mitdb: no database of infarctions"):
        infarction.load(databases.Source("mitdb", data, False, ()))
    cohorts.write_ptb_xl(data / "ptb-xl", [cohorts.row(1, "{'LVH': 100.0}")])
    with pytest.raises(UserError, match="no recording is left; none is of the two diagnoses"):
        load("ptb-xl")
    source = databases.Source("ptb-xl", data / "ptb-xl", False, ())
    with pytest.raises(UserError, match="no recording is left; none is here"):
        infarction.load(source)


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
        "copy/patient104/s0306lre": ["Reason for admission: Healthy control"],
        "patient111/s0315lre": ["age: -1", "age: 30", "sex: 3", "Reason for admission: Healthy control"],
    }
    folder = data / "ptbdb"
    for n, (name, comments) in enumerate(said.items()):
        cohorts.write_ptb(folder, name, "Myo" in comments[-1], comments, seed=n)
    (folder / "RECORDS").write_text("\n".join(said))
    cohort = load("ptbdb")
    assert cohort.recordings["record"].tolist() == [*list(said)[:3], "patient111/s0315lre"]
    assert cohort.recordings["patient"].tolist() == ["patient001", "patient001", "patient104", "patient111"]
    assert cohort.recordings["label"].tolist() == [1, 1, 0, 0]
    assert {name: len(each) for name, each in cohort.repaired.items()} == {"patient111/s0315lre": 2}
    assert cohort.recordings["age"].tolist()[:2] == [81.0, 81.0] and np.isnan(cohort.recordings["age"][2])
    assert cohort.recordings["female"].tolist()[:2] == [1.0, 1.0] and cohort.recordings["female"][2] == 0.0
    assert cohort.left_out == {
        catalogue.OTHER: 1, "unreadable diagnosis": 4, "unknown patient": 1, "patient in both classes": 2,
        "the same recording as another": 1,
    }  # fmt: skip
    assert len(cohort.records_left_out) == 8
    assert np.bincount(cohort.recording).min() >= 7
    assert cohort.median_beats[0, 0, BEFORE] == pytest.approx(0.7, abs=0.15), "mV, at a gain of 2000"
    assert load("ptbdb", "V1", "aVR").signals.shape[1] == 2


def test_the_kaggle_set(data: Path) -> None:
    folder = cohorts.kaggle(data / "heartbeat", 3, 6)
    beats = [np.loadtxt(folder / f"ptbdb_{name}.csv", delimiter=",") for name in ("normal", "abnormal")]
    cohort = load("kaggle")
    assert cohort.labels.tolist() == [0] * 3 + [1] * 6
    np.testing.assert_allclose(cohort.signals[:, 0], np.concatenate(beats)[:, :187], atol=1e-6)
    assert set(cohort.recordings["patient"]) == {""}
    with pytest.raises(UserError, match="one lead of the Kaggle set"):
        load("kaggle", "V1")
    np.savetxt(folder / "ptbdb_normal.csv", beats[1], delimiter=",")
    with pytest.raises(UserError, match="6 labels other than 0, the first in row 1"):
        load("kaggle")
    (folder / "ptbdb_normal.csv").unlink()
    with pytest.raises(UserError, match=r"ptbdb_normal\.csv: no such file"):
        load("kaggle")


# --- the same beats aligned -------------------------------------------------------------------------------------------


def aligned(leads: tuple[str, ...] = LEADS, most: int | None = None) -> tuple[Cohort, Cohort]:
    """A cohort, and the same with its beats aligned."""
    source = databases.get("ptb-xl")
    cohort = infarction.limited(infarction.load(source, leads), most)
    return cohort, infarction.aligned(cohort, source, leads)


def test_aligned_beats_keep_peak_and_size_also_in_the_cache(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cohorts.ptb_xl(data / "ptb-xl", 4, 4)
    cohort, found = aligned()
    assert found.signals.shape == (len(cohort), 3, 101) and found.signals.dtype == np.float32
    assert vars(found) | {"signals": 0} == vars(cohort) | {"signals": 0}
    assert (np.abs(np.abs(found.signals[:, 0]).argmax(1) - BEFORE) <= 1).all()
    sizes = [1 + 0.1 * records.LEADS.index(lead) for lead in LEADS]  # as `cohorts.record` writes them
    heights = found.signals[:, :, BEFORE - 1 : BEFORE + 2].max(2)
    np.testing.assert_allclose(heights / heights[:, :1], np.tile(sizes, (len(heights), 1)) / sizes[0], rtol=0.05)
    assert 0.8 * sizes[0] < np.median(heights[found.labels == 0, 0]) < 1.1 * sizes[0], "mV"
    some = aligned(most=6)[1]
    assert len(some) < len(found)
    monkeypatch.setattr(infarction, "cut_recording", None)
    np.testing.assert_array_equal(aligned()[1].signals, found.signals)
    np.testing.assert_array_equal(aligned(most=6)[1].signals, some.signals)


@pytest.mark.real
def test_the_median_of_a_recordings_beats_is_its_median_beat(real: tuple[databases.Source, Cohort]) -> None:
    """But for the beats at the ends, which only one of the two has."""
    cohort = infarction.limited(real[1], 12)
    found = infarction.aligned(cohort, real[0], ("II", "V1"))
    for row, expected in enumerate(cohort.median_beats):
        median = np.median(found.signals[found.recording == row], 0)
        assert np.abs(median - expected).mean() < 0.02
        assert np.corrcoef(median.ravel(), expected.ravel())[0, 1] > 0.98


def test_other_leads_and_other_data_are_cut_anew(data: Path) -> None:
    cohorts.ptb_xl(data / "ptb-xl", 4, 4)
    cohort = infarction.load(databases.get("ptb-xl"), LEADS)

    def cut(*leads: str) -> NDArray[np.float32]:
        return infarction.aligned(cohort, databases.get("ptb-xl"), leads).signals

    first = cut(*LEADS)
    np.testing.assert_array_equal(cut(*reversed(LEADS)), first[:, ::-1])
    np.testing.assert_array_equal(cut("V1"), first[:, 1:2])
    cohorts.record(data / "ptb-xl", cohort.recordings["record"][0], True, seed=99)
    assert (cut(*LEADS) != first).any()
    gone = cohort.recordings["record"][5]
    (data / "ptb-xl" / f"{gone}.dat").unlink()
    with pytest.raises(RecordError, match=Path(gone).name):
        cut(*LEADS)
