"""Beats of a user's own records, and networks that are tested on other databases than they learnt from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import excerpts
import holters
import pytest

from ecglib import aami, paths
from ecglib.config import HeartbeatParameters
from ecglib.data import beats as beats_module
from ecglib.errors import UserError
from ecglib.experiment import heartbeat, tasks, told, verify
from ecglib.experiment import record as results
from ecglib.report import check_records, figures, tables, words

ONE, OTHER = excerpts.RECORDS[::2], excerpts.RECORDS[1::2]
SHORT: dict[str, Any] = {"max_epochs": 1, "bootstrap": 100, "device": "cpu", "precision": "float32"}


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Two folders with half of the sample's records each, under names of their own."""
    folder = tmp_path_factory.mktemp("halves")
    for name, records in (("one", ONE), ("other", OTHER)):
        for record in records:
            holters.record(
                folder / name, f"p{record}", record, fs=250, leads=("V1", "II"), comments=[f"patient {record}"]
            )
    return str(folder / "one"), str(folder / "other")


def across(halves: tuple[str, str], **values: Any) -> HeartbeatParameters:
    given = {"protocol": "cross-database", "train_on": [halves[0]], "test_on": [halves[1]], **SHORT}
    return HeartbeatParameters(**given | values)


def looks(record: results.Record) -> str:
    """What a page shows of a record; its raw material gives the same metrics again."""
    faults = check_records.faults(record.model_copy(update={"profile": "full"}))
    assert [fault for fault in faults if not fault.startswith("seeds: ")] == []
    figures.confusion(record), figures.learning_curves(record)
    shown = (words.provenance, words.result, words.classes, tables.circumstances, tables.metrics, tables.per_class)
    return "\n".join(show(record) for show in (*shown, tables.moved, tables.ec57, tables.parameters))


def test_a_network_is_tested_on_another_folder_patients_apart(
    lasting: Path, halves: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    p = across(halves, seeds=[0, 1])
    run = heartbeat.run(p)
    record, data = run.record, heartbeat.Data(p)
    assert record.data.name == f"{halves[0]} → {halves[1]}" and not record.data.sample
    assert set(run.predictions()["record"]) == {f"{halves[1]}/p{name}" for name in OTHER}
    chosen = [set(data.beats.record[data.split(seed).val]) for seed in (0, 1)]
    assert chosen[0] != chosen[1] and all(len(each) == 2 for each in chosen)
    for seed in (0, 1):
        split = data.split(seed)
        assert not set(data.beats.patient[split.train]) & set(data.beats.patient[split.val])
        assert set(data.beats.record[split.train]) | set(data.beats.record[split.val]) == {
            f"{halves[0]}/p{name}" for name in ONE
        }
    assert record.macro_classes == ["N", "S", "V", "F"] and not record.without_202
    assert f"{halves[1]}/p202" in record.by_record
    assert not paths.test_reads().exists(), "it is not DS2 that was scored"
    page = looks(record)
    assert "cross-database: other databases test" in page and halves[1] in page
    assert not heartbeat.run(p).trained
    keys = {tasks.key_of(across(halves, **one)) for one in ({}, {"leads": ["V1"]}, {"validation_fraction": 0.2})}
    assert len({*keys, tasks.key_of(across(halves[::-1]))}) == 4
    assert verify.stale(p, record) == [f"seeds {record.seeds} → {p.seeds}"][: record.seeds != p.seeds]
    opened: list[str] = []
    load = beats_module.load
    monkeypatch.setattr(beats_module, "load", lambda source, *how: opened.append(source.name) or load(source, *how))
    developed = heartbeat.Data(across(halves, test=False))
    assert not len(developed.split(0).test) and opened == [halves[0]]
    assert (developed.split(0).val == data.split(0).val).all()


def test_excerpts_and_patients_of_both_are_left_out_and_counted(
    project: Path, small_mitdb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "both"
    data.mkdir()
    (data / "mitdb").symlink_to(small_mitdb / "mitdb")
    holters.qtdb(
        data / "qtdb", {"sel100": "100", "sele0121": "208", "sel302": "232", "sel306": "213", "sel16265": "124"}
    )
    holters.without_gain(data / "qtdb", "sel302")
    monkeypatch.setenv("ECGLIB_DATA", str(data))
    record = heartbeat.run(
        HeartbeatParameters(protocol="cross-database", train_on=["mitdb"], test_on=["qtdb"], **SHORT)
    ).record
    assert record.data.records_left_out == {"qtdb/sel100": "an excerpt of a record of mitdb"}
    assert told.of_run(record)[0] == "left out 1: an excerpt of a record of mitdb (qtdb/sel100)"
    assert "repaired 1: no gain in the header, so 200 units per mV (qtdb/sel302)" in told.of_run(record)
    assert set(record.by_record) == {"qtdb/sele0121", "qtdb/sel302", "qtdb/sel306", "qtdb/sel16265"}
    assert "mitdb/100" in set(heartbeat.Data(HeartbeatParameters(**record.parameters)).beats.record)
    tested = heartbeat.run(
        HeartbeatParameters(protocol="cross-database", train_on=["qtdb"], test_on=["mitdb"], **SHORT)
    )
    assert len(json.loads(paths.test_reads().read_text().splitlines()[0])["metrics"]) > 1, "DS2 was scored"
    assert set(tested.record.by_record) == {f"mitdb/{name}" for name in excerpts.RECORDS}


def test_patients_of_a_folder_are_drawn_into_three_sets_or_share_them(lasting: Path, halves: tuple[str, str]) -> None:
    p = HeartbeatParameters(database=halves[0], protocol="inter", validation_fraction=0.2, **SHORT)
    data, record = heartbeat.Data(p), heartbeat.run(p).record
    sets = [set(data.beats.patient[index]) for index in vars(data.split(0)).values()]
    assert list(map(len, sets)) == [15, 4, 5] and len(set.union(*sets)) == 24
    assert "patients drawn under the seed" in looks(record) and record.data.name == halves[0]
    assert record.macro_classes == ["N", "S", "V", "F"] and record.metrics["macro_f1_nsv"].mean is not None
    shared = heartbeat.run(HeartbeatParameters(database=halves[0], **SHORT)).record
    assert shared.macro_classes == ["N", "S", "V", "Q"], "of F there are too few here to divide"


def test_classes_that_nobody_has_are_not_averaged_over(lasting: Path, tmp_path: Path) -> None:
    for i in range(8):
        holters.record(tmp_path, f"r{i}", ("208", "203")[i % 2], symbols={"F": "V", "Q": "N", "S": "V", "a": "V"})
    p = HeartbeatParameters(database=str(tmp_path), protocol="inter", **SHORT)
    assert heartbeat.Data(p).classes == [0, 2]
    record = heartbeat.run(p.model_copy(update={"imbalance": "weighted"})).record
    assert record.macro_classes == ["N", "V"] and 0 < record.metrics["macro_f1"].mean <= 1
    looks(record)
    shared = HeartbeatParameters(database=str(tmp_path), **SHORT)
    for name in ("q0", "q1", "q2"):
        holters.record(tmp_path, name, "214")
    assert 3 < (heartbeat.Data(shared).beats.labels == aami.CLASSES.index("Q")).sum() < 13
    assert heartbeat.Data(shared).classes == [0, 2], "a tenth of the training part would have no Q"


def test_a_folder_gives_no_reference_result(
    tiny_full: Path, halves: tuple[str, str], logged: list[results.Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat.provenance, "commit", lambda: "abc")
    path = tiny_full / "params" / "heartbeat" / "mine.yaml"
    lists = f"train_on: [{halves[0]}]\ntest_on: [{halves[1]}]"
    path.write_text(f"experiment: heartbeat/mine\ntitle: Mine\nprotocol: cross-database\n{lists}\n")
    p = heartbeat.driver.config.load("heartbeat/mine", profile="full")
    with pytest.warns(UserWarning, match=r"no reference result written: .*one is no public database"):
        heartbeat.run(p)
    assert results.reference("heartbeat/mine") is None


@pytest.mark.parametrize(
    ("make", "values", "said"),
    [
        (
            {"a": "208"},
            {"protocol": "inter"},
            r"patients apart: one patient \(.*a\); expected 3 or more, one for each set",
        ),
        ({"a": "208", "b": "100", "c": "101", "d": "103"}, {"protocol": "inter"}, "the .* set: no beat of class"),
        ({"a": "122"}, {}, r"beats of too few classes \(N\); expected two or more"),
        ({"a": "101"}, {}, "protocol intra: "),
        ({}, {}, "no WFDB record in it"),
    ],
)
def test_records_that_will_not_do_are_refused_in_a_line(
    lasting: Path, tmp_path: Path, make: dict[str, str], values: dict[str, Any], said: str
) -> None:
    tmp_path.joinpath("mine").mkdir()
    for name, of in make.items():
        holters.record(tmp_path / "mine", name, of)
    with pytest.raises(UserError, match=said) as caught:
        heartbeat.run(HeartbeatParameters(database=str(tmp_path / "mine"), **SHORT, **values))
    assert "\n" not in str(caught.value)


def test_training_on_the_patients_of_the_test_is_refused(
    lasting: Path, halves: tuple[str, str], tmp_path: Path
) -> None:
    holters.record(tmp_path / "again", "x", "100", comments=[f"patient {ONE[0]}"])
    with pytest.raises(UserError, match=r"train_on: .*again: no patient who is not tested on; train on other"):
        heartbeat.run(across((str(tmp_path / "again"), halves[0])))
    with pytest.raises(UserError, match="nowhere: no such database or folder"):
        heartbeat.run(across((halves[0], "nowhere")))
