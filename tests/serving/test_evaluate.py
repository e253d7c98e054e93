"""Models and annotators are scored as the field does, and as the book does."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import wfdb
from excerpts import SAMPLE
from projects import Call
from sklearn.metrics import roc_auc_score

from ecglib import aami, serving
from ecglib.data import beats, databases, infarction, records
from ecglib.data.catalogues import annotated
from ecglib.data.databases import Source
from ecglib.data.records import Recording
from ecglib.errors import RecordError, UserError
from ecglib.evaluation import metrics
from ecglib.serving import evaluate
from ecglib.serving.model import Model


@pytest.fixture
def source() -> Source:
    return Source("mitdb", SAMPLE, True, ("208", "119", "207"), "atr")


@pytest.fixture(scope="module")
def model() -> Model:
    return serving.load("ecglib:ecgnet", threads=1)


def copied(source: Source, folder: Path, change: object = None) -> Path:
    """The reference annotations of beats as somebody's own, changed or not, each in a folder of its own."""
    for name in source.records:
        reference = records.read_annotations(source.folder, name)
        samples, symbols = reference.samples[reference.is_beat], reference.symbols[reference.is_beat]
        if callable(change):
            samples, symbols = change(samples, symbols)
        (folder / name).mkdir(parents=True)
        wfdb.wrann(name, "atr", samples, symbols, fs=360, write_dir=str(folder / name))
    return folder


def test_given_r_peaks_score_as_in_the_book(source: Source, model: Model) -> None:
    found = evaluate.beats(model, source)
    cut = beats.cut_records(source, model.card.cut, model.card.leads)
    columns = beats.features_of(model.card.cut, 1, model.card.features)
    logits = model.run(cut.signals, cut.with_features(columns.values()).features)
    matrix = metrics.confusion(cut.labels, logits.argmax(1), len(aami.CLASSES))
    assert np.sum(list(found.by_record.values()), 0)[:-1, :-1].tolist() == matrix.tolist()
    assert found.left_out == cut.left_out and not found.detection
    for name, values in metrics.ec57(matrix, list(aami.CLASSES)).items():
        assert found.ec57[name]["f1"].mean == pytest.approx(float(values["f1"]), nan_ok=True)
    assert found.metrics["accuracy"].mean == pytest.approx(np.trace(matrix) / matrix.sum())


def test_an_annotator_who_agrees_is_perfect(source: Source, tmp_path: Path) -> None:
    found = evaluate.beats(copied(source, tmp_path), source)
    assert found.peaks == "annotated"
    assert {value.mean for value in found.detection.values()} == {1.0}
    assert {found.per_class[name]["f1"].mean for name, n in found.counts.items() if n} == {1.0}


def test_missed_false_and_misplaced_beats_count(source: Source, tmp_path: Path) -> None:
    late = evaluate.beats(copied(source, tmp_path / "a", lambda at, what: (at + 40, what)), source)
    assert late.detection["se"].mean == pytest.approx(1.0, abs=0.01), "0.11 s are within EC57's window"
    missed = evaluate.beats(copied(source, tmp_path / "b", lambda at, what: (at[::2], what[::2])), source)
    assert missed.detection["se"].mean == pytest.approx(0.5, abs=0.01) and missed.detection["ppv"].mean == 1.0
    other = evaluate.beats(copied(source, tmp_path / "c", lambda at, what: (at, np.full(len(at), "V"))), source)
    v = np.sum(list(other.by_record.values()), 0)
    assert other.per_class["V"]["ppv"].mean == pytest.approx(v[2, 2] / v[:, 2].sum())


def test_beats_in_ventricular_flutter_are_not_compared(tmp_path: Path) -> None:
    source = Source("mitdb", SAMPLE, True, ("207",), "atr")
    reference = records.read_annotations(SAMPLE, "207")
    start = int(reference.samples[reference.symbols == "["][0])
    end = int(reference.samples[reference.symbols == "]"][0])

    def flutter(at: np.ndarray, what: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        more = np.arange(start + 10, end, 100)
        order = np.argsort(np.concatenate([at, more]), kind="stable")
        return np.concatenate([at, more])[order], np.concatenate([what, np.full(len(more), "V")])[order]

    assert end - start > 1000
    assert evaluate.beats(copied(source, tmp_path, flutter), source).detection["ppv"].mean == 1.0


def test_whole_recordings_are_scored_label_by_label(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ECGLIB_DATA", str(tmp_path))
    found = evaluate.evaluate(serving.load("ecglib:xresnet", threads=1), "ptb-xl", protocol="inter")
    assert found.sample and set(found.counts) == {"NORM", "MI", "STTC", "CD", "HYP"}
    assert 0 < len(found.records) < 80 and found.counts["NORM"] > 0
    assert found.metrics["macro_auroc"].mean is not None


@pytest.fixture
def of_infarctions(model: Model, monkeypatch: pytest.MonkeyPatch, small_mitdb: Path) -> Model:
    """A model that takes deep beats of lead II for those of an infarction; `ptb-xl` is the small one."""
    monkeypatch.setenv("ECGLIB_DATA", str(small_mitdb))
    own = {"task": "infarction", "leads": ["II"], "cut": "aligned", "classes": [*infarction.CLASSES], "stand_ins": {}}
    made = copy.copy(model)
    made.card = model.card.model_copy(update=own | {"database": "ptb-xl", "temperature": 1.0})
    made.run = lambda x: np.stack([np.zeros(len(x)), -x.min((1, 2)) - 0.3], 1)  # type: ignore[method-assign]
    return made


def test_infarctions_are_scored_recording_by_recording(of_infarctions: Model) -> None:
    found = evaluate.evaluate(of_infarctions, "ptb-xl")
    source = databases.get("ptb-xl")
    people, _ = infarction.people(source)
    people = people.set_index("record")["label"][found.records]
    p = [of_infarctions.score(of_infarctions.read(source.folder, name))[1] for name in found.records]
    assert found.counts == {"healthy": int((people == 0).sum()), "infarction": int((people == 1).sum())}
    assert min(found.counts.values()) > 5 and found.passed_over == {} and found.learnt == found.records
    assert found.metrics["auroc"].mean == pytest.approx(roc_auc_score(people, p)) and roc_auc_score(people, p) > 0.5
    decided = np.array(p) >= 0.5
    assert found.per_class["infarction"]["se"].mean == pytest.approx(decided[people == 1].mean())
    assert found.per_class["infarction"]["sp"].mean == pytest.approx(1 - decided[people == 0].mean())
    for data, more, said in (
        ("mitdb", {}, "mitdb: no diagnoses of infarctions are read from it; expected ptb-xl or ptbdb"),
        ("ptb-xl", {"protocol": "inter"}, "may have learnt from every patient of ptb-xl"),
        ("ptb-xl", {"labels": Path("a.csv")}, "--labels: no diagnoses of infarctions"),
        ("ptb-xl", {"peaks": "detected"}, "--peaks: means nothing"),
    ):
        with pytest.raises(UserError, match=said):
            evaluate.evaluate(of_infarctions, data, **more)


def test_patients_held_out_of_a_model_of_infarctions_can_be_scored_alone(
    of_infarctions: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_infarctions.card = of_infarctions.card.model_copy(update={"protocol": "held-out"})
    source, read = databases.get("ptb-xl"), of_infarctions.read
    people, _ = infarction.people(source)
    apart = set(people["record"][people["patient"].isin(infarction.held_out(source))])
    assert 0 < len(apart) < len(people)
    broken = min(apart)

    def reads(folder: Path, name: str) -> Recording:
        if name == broken:
            raise RecordError(name, "truncated")
        return read(folder, name)

    monkeypatch.setattr(of_infarctions, "read", reads)
    found = evaluate.evaluate(of_infarctions, "ptb-xl", protocol="inter")
    assert {*found.records} == apart - {broken} and found.learnt == [] and "truncated" in found.passed_over[broken]
    everyone = evaluate.evaluate(of_infarctions, "ptb-xl")
    assert {*everyone.learnt} == {*everyone.records} - apart


def test_what_is_refused(source: Source, model: Model, tmp_path: Path) -> None:
    xresnet, other = serving.load("ecglib:xresnet"), Source(str(tmp_path), SAMPLE, False, ("208",), "atr")
    for scoring, said in (
        (partial(evaluate.beats, tmp_path, source), "no record can be scored; the first: .*no annotations"),
        (partial(evaluate.beats, xresnet, source), "a model of recordings; expected one of beats"),
        (partial(evaluate.beats, model, replace(source, records=("no",))), "can be scored; .*missing header"),
        (partial(evaluate.beats, model, other, protocol="inter"), "no DS2"),
        (partial(evaluate.evaluate, model, str(SAMPLE), labels=tmp_path / "a.csv"), "means nothing of beats"),
        (partial(evaluate.evaluate, xresnet, "challenge-2021"), "--labels: challenge-2021 has no labels of whole"),
        (partial(evaluate.evaluate, xresnet, str(tmp_path)), "--labels: not given with"),
    ):
        with pytest.raises(UserError, match=said):
            scoring()


def test_every_scoring_of_ds2_is_logged_whatever_its_name_is(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "project"
    root.mkdir()
    (root / "_quarto.yml").touch()
    monkeypatch.setenv("ECGLIB_ROOT", str(root))
    found = evaluate.beats(model, databases.annotated(str(SAMPLE)), protocol="inter")
    assert sorted(found.records) == sorted(aami.DS2) and not found.learnt
    (line,) = (root / "book" / "results" / "test-reads.jsonl").read_text().splitlines()
    said = json.loads(line)
    assert said["experiment"] == "ecglib:ecgnet" and said["decision"] == "given peaks"
    assert said["metrics"]["accuracy"] == pytest.approx(found.metrics["accuracy"].mean, abs=1e-6)
    evaluate.beats(SAMPLE, databases.annotated(str(SAMPLE)))
    assert len((root / "book" / "results" / "test-reads.jsonl").read_text().splitlines()) == 2


def test_what_a_model_learnt_from_is_said(model: Model) -> None:
    source = Source("mitdb", SAMPLE, True, ("100", "101"), "atr")
    assert evaluate.beats(model, source).learnt == ["101"], "101 is of DS1"
    assert evaluate.beats(serving.load("ecglib:cnet"), source).learnt == ["100", "101"]
    card = model.card.model_copy(update={"started_from": "cnet (0123)", "database": "elsewhere"})
    assert evaluate.beats(Model(card, model.folder), source).learnt == ["100", "101"], "cnet may have learnt from them"
    assert not evaluate.beats(Model(card, model.folder), replace(source, name="mine")).learnt


def test_the_records_of_a_database_are_known_wherever_they_are(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "_quarto.yml").touch()
    monkeypatch.setenv("ECGLIB_ROOT", str(tmp_path))  # whose log of DS2's scorings has a line more
    source = databases.annotated(str(SAMPLE))
    found = evaluate.beats(model, source)
    assert {*found.learnt} == {*source.records} - {*aami.DS2}
    patients = {annotated.patient_of(replace(source, records=("201", "202")), name) for name in source.records}
    assert len(patients) == 47, "201 and 202 are of one patient"


def test_a_model_of_a_folder_knows_it_under_each_of_its_names(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "_quarto.yml").touch()
    monkeypatch.setenv("ECGLIB_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / "my" / "records"
    mine.mkdir(parents=True)
    for file in (file for name in ("100", "101") for file in SAMPLE.glob(f"{name}.*")):
        (mine / file.name).write_bytes(file.read_bytes())
    for database, learnt in (
        ("my/records", True), (str(mine), True), ("svdb, my/records → incartdb", True),
        ("incartdb → my/records", False), ("other", False),
    ):  # fmt: skip
        of_mine = Model(model.card.model_copy(update={"database": database, "protocol": "inter"}), model.folder)
        found = evaluate.evaluate(of_mine, "my/records")
        assert found.learnt == ["100", "101"] * learnt, database


def test_a_record_without_a_detected_beat_is_missed_as_a_whole(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def blind(lead: object, fs: float, where: str, other: object) -> np.ndarray:
        raise RecordError(where, "no R peak")

    monkeypatch.setattr(evaluate.detection, "unsw", blind)
    found = evaluate.beats(model, Source("mitdb", SAMPLE, True, ("100",), "atr"), peaks="detected")
    assert found.detection["se"].mean == 0.0 and not found.passed_over


def test_the_command_prints_both_tables(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    monkeypatch.setenv("ECGLIB_DATA", str(tmp_path))
    evaluation = ("evaluate", copied(databases.sample("mitdb") or source, tmp_path / "mine"), "--data", "mitdb")
    shown = call(*evaluation).out
    assert "R peaks, Se" in shown and "on 48 records of mitdb (the embedded sample)" in shown
    assert json.loads(call(*evaluation, "--json").out)["detection"]["se"]["mean"] == 1.0
