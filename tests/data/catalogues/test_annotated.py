from __future__ import annotations

import shutil
from pathlib import Path

import excerpts
import holters
import numpy as np
import pandas as pd
import pytest

from ecglib import aami
from ecglib.data import beats, databases
from ecglib.data.catalogues import annotated
from ecglib.data.databases import Source
from ecglib.data.records import read_annotations
from ecglib.errors import RecordError


@pytest.fixture
def source(small_mitdb: Path) -> Source:
    return excerpts.source(small_mitdb / "mitdb")


def test_sets_add_up(source: Source) -> None:
    table, sets = annotated.by_record(source), annotated.by_set(source)
    assert list(table.columns) == list(aami.CLASSES)
    assert sets["all"]["all"] == table.to_numpy().sum()
    for name, records in (("DS1", aami.DS1), ("DS2", aami.DS2)):
        for cls in aami.CLASSES:
            assert sets[name][cls] == table.loc[list(records), cls].sum()
        assert sets[name]["all"] == sum(sets[name][cls] for cls in aami.CLASSES)
    assert list(annotated.by_set(source, sums=False)) == ["DS1", "DS2"]
    assert "all" not in annotated.by_set(source, sums=False)["DS1"]


def test_a_record_without_readable_annotations_has_no_row(source: Source, tmp_path: Path) -> None:
    shutil.copytree(source.folder, tmp_path / "mitdb")
    (tmp_path / "mitdb" / "100.atr").write_bytes(b"")
    broken = excerpts.source(tmp_path / "mitdb")
    reasons: list[RecordError] = []
    assert set(annotated.by_record(broken, passed_over=reasons.append).index) == set(source.records) - {"100"}
    assert ["100.atr" in str(error) for error in reasons] == [True]


def test_the_strip_holds_as_many_classes_as_any_and_needs_a_readable_record(source: Source) -> None:
    strip = annotated.busiest_strip(source, seconds=10)
    width = strip["signals_mv"].shape[1]
    assert width == 10 * strip["fs"]
    inside = (strip["samples"] >= strip["start"]) & (strip["samples"] < strip["start"] + width)
    shown = {aami.SYMBOLS[s] for s in np.array(strip["symbols"])[inside] if s in aami.SYMBOLS}
    for name in source.records:
        found = read_annotations(source.folder, name)
        for start in range(0, int(found.samples[-1]) - width, width):
            here = (found.samples >= start) & (found.samples < start + width)
            assert len({aami.SYMBOLS[str(s)] for s in found.symbols[here] if str(s) in aami.SYMBOLS}) <= len(shown)
    with pytest.raises(RecordError, match="no annotated beats"):
        annotated.busiest_strip(excerpts.source(source.folder / "none", "100"), seconds=10)


# --- other databases --------------------------------------------------------------------------------------------------


@pytest.fixture
def others(data: Path) -> Path:
    """A data folder with a few records of each, as they are written there."""
    holters.svdb(data / "svdb", {"800": "208", "801": "232"})
    holters.incartdb(data / "incartdb", {"I01": ("208", 1), "I02": ("213", 1), "I03": ("100", 2)})
    holters.qtdb(
        data / "qtdb", {"sel100": "100", "sel800": "208", "sel803": "208", "sele0121": "232", "sele0122": "100"}
    )
    return data


@pytest.mark.parametrize(
    ("name", "fs", "record", "of"),
    [("svdb", 128, "801", "232"), ("incartdb", 257, "I02", "213"), ("qtdb", 250, "sele0121", "232")],
)
def test_each_is_counted_and_cut_as_the_record_that_it_was_written_from(
    others: Path, name: str, fs: float, record: str, of: str
) -> None:
    source = databases.annotated(name)
    assert not source.sample and source.annotator == "atr"
    original = annotated.by_record(excerpts.source(excerpts.SAMPLE, of)).loc[of]
    pd.testing.assert_series_equal(annotated.by_record(source).loc[record], original, check_names=False)
    assert list(annotated.by_set(source)) == ["all"]
    cut = beats.cut_record(source, record, "kachuee", ["MLII"])
    theirs = beats.cut_record(excerpts.source(excerpts.SAMPLE), of, "kachuee", ["MLII"])
    assert len(cut) == len(theirs) and (cut.labels == theirs.labels).all()
    np.testing.assert_allclose(cut.sample / fs, theirs.sample / 360, atol=0.5 / fs)
    alike = [np.corrcoef(a[0], b[0])[0, 1] for a, b in zip(cut.signals, theirs.signals, strict=True)]
    assert np.median(alike) > 0.98, "the lead of that record, not the ones beside it, which are turned over"
    assumed = {"801": ["no gain in the header, so 200 units per mV"]} if name == "svdb" else {}
    assert beats.cut_records(source, "kachuee", ["MLII"]).repaired == assumed


def test_patients_of_several_records_are_known_by_header_or_list(others: Path) -> None:
    of = {name: databases.annotated(name) for name in ("svdb", "incartdb", "qtdb")}
    whose = {name: [annotated.patient_of(source, one) for one in source.records] for name, source in of.items()}
    assert whose["svdb"] == ["svdb/800", "svdb/801"]
    assert whose["incartdb"] == ["incartdb/patient 1", "incartdb/patient 1", "incartdb/patient 2"]
    assert of["qtdb"].records == ("sel100", "sel803", "sele0121", "sele0122"), "sel800 is no record of it"
    assert whose["qtdb"] == ["100", "svdb/803", "qtdb/sele0121", "qtdb/sele0121"]
    assert annotated.patient_of(excerpts.source(excerpts.SAMPLE), "202") == "201"


@pytest.mark.parametrize(
    ("comment", "patient"),
    [
        ("Patient: P-17", "patient P-17"),
        ("subject id = 4", "patient 4"),
        ("patient_id: 4", "patient 4"),
        ("patient 12", "patient 12"),
        ("Patient with a pacemaker", None),
        ("Patient: 61 years old", None),
    ],
)
def test_a_header_says_whose_a_record_is_or_it_is_nobody_else_s(
    tmp_path: Path, comment: str, patient: str | None
) -> None:
    holters.record(tmp_path, "a", seconds=5, comments=["61 M", comment])
    assert annotated.patient_of(databases.annotated(str(tmp_path)), "a") == (patient or str(tmp_path.resolve() / "a"))


def test_no_patient_is_trained_and_tested_on_and_excerpts_go(others: Path, small_mitdb: Path, tmp_path: Path) -> None:
    of = {name: databases.annotated(name) for name in ("svdb", "incartdb", "qtdb")}
    mitdb = excerpts.source(small_mitdb / "mitdb")
    excerpt = {("qtdb", "sel100"): "an excerpt of a record of mitdb"}
    assert annotated.not_apart([mitdb], [of["qtdb"]]) == excerpt
    assert annotated.not_apart([of["qtdb"]], [mitdb]) == excerpt
    assert annotated.not_apart([mitdb, of["qtdb"]], [of["svdb"]]).keys() == {("qtdb", "sel100"), ("qtdb", "sel803")}
    assert annotated.not_apart([of["incartdb"]], [of["qtdb"]]) == {}
    for name, patient in (("ours", 5), ("theirs", 5), ("theirs", 6)):
        holters.record(tmp_path / name, f"r{patient}", seconds=5, comments=[f"patient {patient}"])
    ours, theirs = (databases.annotated(str(tmp_path / name)) for name in ("ours", "theirs"))
    assert annotated.not_apart([theirs], [ours]) == {(theirs.name, "r5"): "its patient is tested on"}
