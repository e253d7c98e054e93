"""Experiments on the Kaggle set: as those on `mitdb` where its files were cut from that, and honest about records."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import cohorts
import numpy as np
import pytest
from projects import ROOT

from ecglib import config, paths
from ecglib.data import export
from ecglib.errors import UserError
from ecglib.evaluation.scoring import LOGITS
from ecglib.experiment import heartbeat, infarction, tasks, verify
from ecglib.experiment import record as results
from ecglib.report import book, infarctions, recompute, tables, words
from ecglib.report.check_records import faults

pytestmark = pytest.mark.usefixtures("logged")


def parameters(name: str = "heartbeat/baseline", **overrides: Any) -> Any:
    given: dict[str, Any] = {"max_beats": None, "beats_per_epoch": 1000, "bootstrap": 20}
    return config.load(name, profile="smoke", overrides=given | overrides)


@pytest.fixture
def files(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the two files made of the small `mitdb`, which is beside it."""
    mitdb = paths.data() / "mitdb"
    data = tmp_path / "data"
    data.mkdir()
    (data / "mitdb").symlink_to(mitdb)
    monkeypatch.setenv("ECGLIB_DATA", str(data))
    export.kaggle(data / "heartbeat", 0)
    return data / "heartbeat"


@pytest.mark.parametrize("imbalance", ["none", "smote"])
def test_on_files_made_of_mitdb_a_network_predicts_as_on_mitdb_itself(files: Path, imbalance: str) -> None:
    mine, theirs = (
        heartbeat.run(parameters(database=name, imbalance=imbalance)).predictions() for name in ("kaggle", "mitdb")
    )
    assert mine["label"].tolist() == theirs["label"].tolist()
    np.testing.assert_array_equal(mine[LOGITS], theirs[LOGITS])
    assert set(mine["record"]) == {"mitbih_test"} and mine["sample"].tolist() == list(range(len(mine)))


def test_a_record_has_no_intervals_says_why_and_is_sound(files: Path) -> None:
    p = parameters(database="kaggle", seeds=[0, 1])
    record = heartbeat.run(p).record
    assert (record.by_record, record.intervals.n) == ({}, 0)
    every = [*record.metrics.values(), *(value for of in record.per_class.values() for value in of.values())]
    assert {(value.low, value.high) for value in every} == {(None, None)}
    assert "Patients are in both parts." in words.provenance(record) and "[" not in tables.metrics(record)
    assert recompute.again(record).keys() >= {"metrics.macro_f1", "per_class.S.se", "ec57.VEB.f1"}
    wrong = [fault for fault in faults(record) if not fault.startswith(("profile", "overridden"))]
    assert wrong == []
    data = heartbeat.Data(p)
    assert (data.split(0).test == data.split(1).test).all() and (data.split(0).val != data.split(1).val).any()
    assert data.no_reference(record) == "the files are not of the published size"
    assert verify.stale(p, record) == []
    assert tables.headline({"heartbeat/kaggle-cnet": record}) == tables.headline({})


def test_without_files_the_page_and_the_command_say_how_they_come(project: Path) -> None:
    shutil.copy(ROOT / "params" / "heartbeat" / "kaggle-cnet.yaml", project / "params" / "heartbeat")
    page = book.not_run("heartbeat/kaggle-cnet").cells[1].source
    assert "Bring the files first: `mitbih_train.csv`, " in page and str(paths.data()) not in page
    assert "fetch" not in page and page.endswith("rebuilds them from `mitdb` and `ptbdb`.\n:::")
    with pytest.raises(UserError, match=r"kaggle: not in .*; download mitbih_train.* or rebuild them: ecglib data exp"):
        heartbeat.run(config.load("heartbeat/kaggle-cnet", profile="smoke"))


def test_of_one_file_or_without_a_class_nothing_is_trained(files: Path) -> None:
    rows = (files / "mitbih_test.csv").read_text().splitlines(keepends=True)
    (files / "mitbih_test.csv").write_text("".join(row for row in rows if not row.rstrip().endswith(",4")))
    with pytest.raises(UserError, match="the test set: no beat of class Q"):
        heartbeat.run(parameters(database="kaggle"))
    (files / "mitbih_test.csv").unlink()
    with pytest.raises(UserError, match=r"mitbih_test\.csv: no such file"):
        heartbeat.run(parameters(database="kaggle"))


def test_infarctions_are_learnt_from_four_fifths_of_the_beats_and_a_fifth_is_scored(files: Path) -> None:
    cohorts.kaggle(files, healthy=40, sick=60)
    given = {"database": "kaggle", "protocol": "by-beat", "max_records": None, "max_beats": 2000}
    p = parameters("infarction/scratch", **given, way="finetune", pretrained="heartbeat/baseline")
    run = infarction.run(p)
    scored, record = run.scores(), run.record
    assert (len(scored), record.data.n_test, record.data.n_train, scored["label"].sum()) == (20, 20, 80, 12)
    assert tasks.key_of(p) == tasks.key_of(p.model_copy(update={"folds": 7}))
    assert record.data.class_counts["patients"] == {"healthy": 0, "infarction": 0}
    said = infarctions.provenance(record) + infarctions.result(record) + infarctions.levels(record)
    assert "60 beats with an infarction and 40 without, from `kaggle`" in said and "recordings" not in said
    assert "A stratified fifth is scored. Patients are in both parts." in said
    assert [fault for fault in faults(record) if not fault.startswith(("profile", "overridden"))] == []
    other = infarction.Data(p.model_copy(update={"seeds": [1]}))
    assert (other.folds(1) != other.folds(0)).any()
    assert results.infarction(record).folds == 1
