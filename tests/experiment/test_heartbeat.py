"""Experiments from parameters to record: trained once, found again, and true to what was predicted."""

from __future__ import annotations

import json
import re
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecglib import aami, config, fingerprint, paths, tracking
from ecglib.config import HeartbeatParameters
from ecglib.data import beats as beats_module
from ecglib.data import databases, splits
from ecglib.data.beats import Beats
from ecglib.errors import UserError
from ecglib.evaluation import metrics, thresholds
from ecglib.evaluation.scoring import LOGITS
from ecglib.experiment import driver, heartbeat, provenance, raw, tasks
from ecglib.experiment import record as results
from ecglib.report.check_records import check_records
from ecglib.serving.model import BUNDLED
from ecglib.training import checkpoint, loop

TWO_SEEDS: dict[str, Any] = {"seeds": [1, 0], "max_epochs": 3}

pytestmark = pytest.mark.usefixtures("logged")


def parameters(name: str = "heartbeat/baseline", *, profile: str = "smoke", **overrides: Any) -> HeartbeatParameters:
    found = config.load(name, profile=profile, overrides=overrides)
    assert isinstance(found, HeartbeatParameters)
    return found


def keys() -> dict[str, str]:
    every = [config.load(name, profile="smoke") for name in config.experiments()]
    return {p.experiment: tasks.key_of(p) for p in every if isinstance(p, HeartbeatParameters)}


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def no_training(*_: object, **__: object) -> loop.Fitted:
    pytest.fail("trained again")


def all_beats(p: HeartbeatParameters) -> Beats:
    """The beats that a run with these parameters divides."""
    beats = beats_module.load(databases.get("mitdb"), p.cut, p.leads)
    return beats if p.max_beats is None else beats_module.limit(beats, p.max_beats)


@pytest.fixture(scope="module")
def done(lasting: Path) -> heartbeat.Run:
    """A run of two seeds, which tests only look at."""
    return heartbeat.run(parameters(**TWO_SEEDS))


@pytest.fixture(scope="module")
def across(lasting: Path) -> heartbeat.Run:
    """Another, patients apart."""
    return heartbeat.run(parameters("heartbeat/inter-patient", seeds=[0, 1]))


# --- found again ------------------------------------------------------------------------------------------------------


def test_a_run_is_trained_once_and_then_found(
    project: Path, monkeypatch: pytest.MonkeyPatch, logged: list[results.Record]
) -> None:
    p, fit = parameters(), loop.fit
    first = heartbeat.run(p)
    assert first.trained and first.folder == project / "runs" / tasks.key_of(p)
    files = {path: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    assert sorted(path.name for path in files) == [
        "evaluated.json", "made-of.json", "names.json", "predictions-seed0.parquet", "record.json", "record.parquet",
        "training-seed0.json", "validation-seed0.parquet", "weights-seed0.safetensors",
    ]  # fmt: skip
    monkeypatch.setattr(loop, "fit", no_training)
    again = heartbeat.run(p)
    assert not again.trained
    assert again.record == first.record == results.load(first.folder / "record.json")
    assert {path: path.stat().st_mtime_ns for path in first.folder.iterdir()} == files
    assert [record.key for record in logged] == [first.record.key] * 2
    (first.folder / "record.json").write_text('{"half')
    assert heartbeat.run(p).record.metrics == first.record.metrics, "a damaged record is made anew"
    assert results.load(first.folder / "record.json").metrics == first.record.metrics
    (first.folder / "training-seed0.json").write_text("")
    monkeypatch.setattr(loop, "fit", fit)
    assert heartbeat.run(p).trained, "a damaged note of a seed is none"


def test_a_run_is_found_by_the_name_of_every_experiment_that_it_is_the_run_of(tiny_full: Path) -> None:
    """Whatever names its record bore when it was made, evaluated anew, or trained again."""
    own = paths.params() / "heartbeat" / "mine.yaml"
    text = (paths.params() / "heartbeat" / "baseline.yaml").read_text(encoding="utf-8")
    own.write_text(text.replace("heartbeat/baseline", "heartbeat/mine"), encoding="utf-8")
    replace(own, "title: ", "title: My ")
    full, quick = (paths.params() / "profiles" / f"{name}.yaml" for name in ("full", "quick"))
    quick.write_text(full.read_text(encoding="utf-8").replace("profile: full", "profile: quick"), encoding="utf-8")
    first, mine = parameters(profile="quick", max_epochs=1), parameters("heartbeat/mine", profile="full", max_epochs=1)
    folder = heartbeat.run(first).folder
    with pytest.raises(UserError, match=r"no such run here; expected .*\(heartbeat/baseline\)"):
        results.find("heartbeat/mine")
    again = heartbeat.run(mine)
    assert (again.trained, again.folder) == (False, folder)
    both = {p.experiment: (p.title, p.profile, ["max_epochs"]) for p in (first, mine)}

    def found() -> dict[str, tuple[str, str, list[str]]]:
        every = [results.find(name) for name in both]
        assert all(where == folder for _, where in every)
        return {record.experiment: (record.title, record.profile, record.overridden) for record, _ in every}

    assert found() == both
    (folder / "evaluated.json").unlink()
    heartbeat.run(mine)
    assert found() == both
    assert heartbeat.run(mine, fresh=True).trained
    assert found() == both
    heartbeat.run(first.model_copy(update={"profile": "full"}))
    assert found() == both | {first.experiment: (first.title, "full", ["max_epochs"])}
    (folder / "names.json").write_text("{", encoding="utf-8")
    assert results.find("heartbeat/mine")[0].experiment == "heartbeat/mine", "the name that the record bears"


def test_two_that_want_the_same_run_train_it_once(project: Path) -> None:
    p = parameters()
    found: list[heartbeat.Run] = []
    threads = [threading.Thread(target=lambda: found.append(heartbeat.run(p))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(run.trained for run in found) == [False, True]
    assert found[0].record == found[1].record


def test_a_half_finished_run_goes_on_with_the_epoch_and_the_seed_that_are_missing(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after an epoch of the second seed's refit, so that neither its first training nor a seed is repeated."""
    small = {"max_beats": 1000, "model_options": {"width": 8}, "learning_rate": 0.01}
    p = parameters(seeds=[0, 1], max_epochs=4, deterministic=True, refit=True, **small)
    first = heartbeat.run(p)
    whole, (_, training) = (first.folder / "weights-seed1.safetensors").read_bytes(), first.record.training
    assert training.best_epoch > 1
    note = first.folder / tracking.NOTE
    note.write_text("[]")
    fit, save, fits = loop.fit, checkpoint.save, []

    def dies(path: Path, state: dict[str, Any]) -> None:
        save(path, state)
        if path.name == "refit-seed1.pt":
            raise KeyboardInterrupt

    def watched(*args: Any, seed: int, **more: Any) -> loop.Fitted:
        fitted = fit(*args, seed=seed, **more)
        fits.append((seed, fitted.resumed_from))
        return fitted

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoint, "save", dies)
        heartbeat.run(p, fresh=True)
    assert not (first.folder / "record.json").exists()
    assert note.read_text() == "[]", "it takes the place of the other in MLflow"
    before = (first.folder / "weights-seed0.safetensors").stat().st_mtime_ns
    monkeypatch.setattr(loop, "fit", watched)
    again = heartbeat.run(p)
    assert again.trained and again.folder == first.folder
    assert fits == [(1, 4), (1, 1)]
    assert (again.folder / "weights-seed0.safetensors").stat().st_mtime_ns == before
    assert (again.folder / "weights-seed1.safetensors").read_bytes() == whole
    np.testing.assert_array_equal(again.predictions().to_numpy(), first.predictions().to_numpy())
    assert not list(again.folder.glob("*.pt"))


# --- keys -------------------------------------------------------------------------------------------------------------

OTHER: dict[str, Any] = {
    "experiment": "heartbeat/other", "title": "Another title", "profile": "full", "seeds": [1], "max_epochs": 2,
    "patience": 3, "max_beats": 1500, "max_records": 5, "bootstrap": 7, "protocol": "inter", "cut": "centred",
    "leads": ["V1"], "validation_fraction": 0.2, "test": False, "model_options": {"width": 8}, "imbalance": "weighted",
    "weight_exponent": 0.5, "smote_neighbours": 3, "batch_size": 128, "learning_rate": 0.001, "schedule": "cosine",
    "weight_decay": 0.0, "label_smoothing": 0.1, "selection": "macro_recall", "gradient_clip": None, "ema": 0.9,
    "refit": True,
    "start_from": str(BUNDLED / "cnet" / "weights.safetensors"), "device": "cpu",
    "precision": "bfloat16", "deterministic": True, "in_book": False, "beats_per_epoch": 1000, "sampling": "by-record",
    "beats_per_sequence": 5, "effective_beta": 0.9, "focal_gamma": 1.0, "adjustment_strength": 0.5, "adaptation": "all",
    "adaptation_minutes": 2.0, "adaptation_steps": 9, "adaptation_rate": 0.1, "annotator": "atr", "train_on": ["a"],
    "test_on": ["b"], "features": ["*_relative"],
}  # fmt: skip
"""Another value of every parameter but the model and the database."""


def test_parameters_that_can_change_the_weights_change_the_key_and_no_others(project: Path) -> None:
    assert {*OTHER, "database", "model"} == set(HeartbeatParameters.model_fields)
    p = parameters()
    key = tasks.key_of(p)
    others = {name: value for name, value in OTHER.items() if name not in ("train_on", "test_on")}
    same = {name for name, value in others.items() if tasks.key_of(p.model_copy(update={name: value})) == key}
    assert tasks.key_of(p.model_copy(update={"model": "bilstm"})) != key
    # max_records limits recordings, not beats; `deterministic` may take other kernels
    idle = {*config.ONLY_WITH, "beats_per_sequence", "features"}
    assert same == idle | {"experiment", "title", "profile", "bootstrap", "device", "max_records", "in_book"}
    for name, (switch, values) in config.ONLY_WITH.items():
        used = p.model_copy(update={switch: values[0]})
        assert tasks.key_of(used) != tasks.key_of(used.model_copy(update={name: OTHER[name]})), name


def test_a_process_whose_code_was_edited_warns_trains_and_does_not_file(
    project: Path, code: Path, monkeypatch: pytest.MonkeyPatch, logged: list[results.Record]
) -> None:
    monkeypatch.setattr(fingerprint, "AT_START", {path: path.read_text() for path in code.rglob("*.py")})
    before = keys()
    replace(code / "losses.py", '"""Losses, and', '"""Other words: losses, and')
    assert fingerprint.edited() == []
    replace(code / "losses.py", "np.float64) ** -exponent", "np.float64) ** -0.5")
    assert fingerprint.edited() == ["losses.py"]
    assert keys() == before, "they are of the code that runs"
    with pytest.warns(UserWarning, match=r"losses\.py: edited after this process started; the run is not filed"):
        run = heartbeat.run(parameters())
    assert run.trained and len(run.predictions())
    assert not logged and not list(paths.runs().glob("*/record.json"))


def test_half_a_run_of_other_code_is_not_resumed_and_the_command_says_why(
    project: Path, code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(loop, "predict", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            heartbeat.run(parameters())
    replace(code / "training" / "loop.py", "(0.02, 1e-3)", "(0.03, 1e-3)")
    with pytest.warns(UserWarning, match=r"half a run of .* is not resumed: code: training/loop.py"):
        heartbeat.run(parameters())


def test_another_version_or_another_beat_in_the_data_changes_every_key(
    project: Path, own_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, versions = keys(), provenance.versions()
    for package in driver.VERSIONS:
        monkeypatch.setattr(provenance, "versions", lambda package=package: versions | {package: "0"})
        assert all(key != before[name] for name, key in keys().items()), package
    monkeypatch.setattr(provenance, "versions", lambda: versions)
    content = bytearray((own_data / "100.dat").read_bytes())
    content[1000] ^= 1
    (own_data / "100.dat").write_bytes(content)
    assert all(key != before[name] for name, key in keys().items())


EDITS = [
    ("losses.py", "np.float64) ** -exponent", "np.float64) ** -0.5"),
    ("training/loop.py", "(0.02, 1e-3)", "(0.03, 1e-3)"),
    ("data/beats.py", "KACHUEE_SPAN = 1.2", "KACHUEE_SPAN = 1.3"),
    ("aami.py", '"F": "F"', '"F": "V"'),
    ("models/cnet.py", "MaxPool1d(5, 2)", "MaxPool1d(3, 2)"),
    ("models/layers.py", "import torch", "import torch as torch"),
    ("experiment/heartbeat.py", "stop_after=run.best_epoch", "stop_after=run.best_epoch + 1"),
    ("evaluation/metrics.py", "import numpy as np", "import numpy as np; CHANGED = True"),
    ("evaluation/thresholds.py", "DEFAULT = 0.5", "DEFAULT = 0.4"),
    ("models/recurrent.py", "import torch", "import torch as torch"),
    ("experiment/driver.py", "import shutil", "import shutil; CHANGED = True"),
]
NO_EDITS = [
    ("training/loop.py", "import copy\n", "# why\n\nimport copy  # and how\n"),
    ("losses.py", '"""Losses, and', '"""Other words: losses, and'),
    ("models/cnet.py", '"""CNet from', '"""The network from'),
    ("report/figures.py", "\nfrom ecglib", "\nCHANGED = True\nfrom ecglib"),
    ("tracking.py", "\nfrom ecglib", "\nCHANGED = True\nfrom ecglib"),
    ("cli.py", "\nfrom ecglib", "\nCHANGED = True\nfrom ecglib"),
    ("experiment/infarction.py", "\nfrom ecglib", "\nCHANGED = True\nfrom ecglib"),
    ("evaluation/bootstrap.py", "LEVEL = 0.95", "LEVEL = 0.9"),
    ("models/bilstm.py", "\nfrom ecglib", "\nCHANGED = True\nfrom ecglib"),
]


def test_code_that_can_change_the_weights_changes_every_key_and_no_other_does(project: Path, code: Path) -> None:
    """Nor does a comment or a docstring."""
    before = keys()
    assert len(before) > 1
    for file, old, new in [*EDITS, *NO_EDITS]:
        whole = (code / file).read_text(encoding="utf-8")
        replace(code / file, old, new)
        same = {key == before[name] for name, key in keys().items()}
        assert same == {(file, old, new) in NO_EDITS}, file
        (code / file).write_text(whole, encoding="utf-8")


# --- evaluation -------------------------------------------------------------------------------------------------------


def test_changed_evaluation_is_computed_from_the_stored_predictions(
    project: Path, code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = heartbeat.run(parameters()).record
    monkeypatch.setattr(loop, "fit", no_training)
    monkeypatch.setattr(loop, "predict", no_training)

    fewer = heartbeat.run(parameters(bootstrap=20))
    assert not fewer.trained
    assert fewer.record.intervals.n == 20
    assert fewer.record.confusion == first.confusion
    assert fewer.record.metrics["macro_f1"].mean == first.metrics["macro_f1"].mean
    assert fewer.record.metrics["accuracy"].low != first.metrics["accuracy"].low

    before = (fewer.folder / "evaluated.json").read_text()
    with (code / "evaluation" / "bootstrap.py").open("a", encoding="utf-8") as module:
        module.write("\nCHANGED = True\n")
    recomputed = heartbeat.run(parameters(bootstrap=20))
    assert not recomputed.trained
    assert recomputed.folder == fewer.folder and (fewer.folder / "evaluated.json").read_text() != before
    assert recomputed.record.metrics == fewer.record.metrics


def test_the_record_follows_from_its_predictions(done: heartbeat.Run, across: heartbeat.Run, lasting: Path) -> None:
    for run in (done, across):
        record, predictions = run.record, run.predictions()
        assert [int(seed) for seed in predictions["seed"].unique()] == record.seeds
        for k, seed in enumerate(record.seeds):
            one = predictions[predictions["seed"] == seed]
            matrix = np.zeros((5, 5), dtype=int)
            np.add.at(matrix, (one["label"], one[LOGITS].to_numpy().argmax(1)), 1)
            assert matrix.tolist() == record.confusion[k]
            assert record.metrics["accuracy"].per_seed[k] == pytest.approx(np.trace(matrix) / matrix.sum())
            symbols = [aami.SYMBOLS[symbol] for symbol in one["symbol"]]
            assert symbols == [aami.CLASSES[label] for label in one["label"]]
            assert one["index"].is_monotonic_increasing
        assert record.data.n_test == len(predictions[predictions["seed"] == 0])
        record.model_copy(update={"profile": "full", "overridden": []}).save(paths.reference(record.experiment))
    assert list(check_records(lasting)) == [], "with and without 202"
    shutil.rmtree(paths.results() / "heartbeat")  # other tests of the project find no reference
    assert across.record.macro_classes == ["N", "S", "V", "F"] and "macro_f1_nsv" in across.record.metrics
    assert set(across.predictions()["record"]) == set(aami.DS2)


def test_the_test_set_of_a_seed_is_that_of_its_split(done: heartbeat.Run) -> None:
    p = parameters()
    beats = all_beats(p)
    split = splits.intra(beats.labels, 1, p.validation_fraction)
    predictions = done.predictions().query("seed == 1")
    np.testing.assert_array_equal(predictions["index"], split.test)
    np.testing.assert_array_equal(predictions["sample"], beats.sample[split.test])
    np.testing.assert_array_equal(predictions["record"], beats.record[split.test])
    card, counts = done.record.data, np.bincount(beats.labels[split.test], minlength=5).tolist()
    assert card.class_counts["test"] == dict(zip(aami.CLASSES, counts, strict=True))
    assert card.test_indices_sha256 == split.test_sha256()
    assert (card.n_train, card.n_val, card.n_test) == (len(split.train), len(split.val), len(split.test))


def test_the_stored_weights_give_the_stored_logits(done: heartbeat.Run) -> None:
    """Plain, or with thresholds moved."""
    model, stored, moved = done.model(0), done.predictions().query("seed == 0"), done.record.moved
    assert moved is not None and not model.training and not done.model(0, moved=True).training
    x, offsets = torch.from_numpy(all_beats(parameters()).signals[stored["index"]]), torch.tensor(moved.offsets[1])
    with torch.no_grad():
        logits = model(x)
        np.testing.assert_allclose(logits.numpy(), stored[LOGITS], atol=1e-5)
        assert offsets.any()
        torch.testing.assert_close(done.model(0, moved=True)(x), logits + offsets)
    assert done.record.n_parameters == sum(w.numel() for w in model.parameters())


def test_the_validation_metric_is_that_of_what_scores_the_test_set(done: heartbeat.Run) -> None:
    """It chose the epoch; classical references have it too."""
    plain = done.record.training[0]
    values = [epoch.val_metric or 0 for epoch in plain.history]
    assert plain.best_epoch == 1 + int(np.argmax(values)) and plain.validation == pytest.approx(max(values))
    assert plain.validation_recall is not None and 0 < plain.validation_recall <= 1
    classical = heartbeat.run(parameters(model="logistic_regression")).record.training[0]
    assert classical.validation is not None and 0 < classical.validation <= 1
    refitted = heartbeat.run(parameters(refit=True)).record.training[0]
    assert refitted.validation is None, "it has learnt the validation beats"


@pytest.mark.parametrize(
    "values",
    [TWO_SEEDS, {"model": "seq2seq"}, {"model": "logistic_regression"}, {"protocol": "inter", "seeds": [0, 1]}],
)
def test_every_run_decides_a_second_time_with_thresholds_moved_on_validation(
    values: dict[str, Any], lasting: Path
) -> None:
    run = heartbeat.run(parameters(**values))
    record, moved = run.record, run.record.moved
    assert moved is not None
    classes = [record.classes.index(name) for name in record.macro_classes]
    for k, seed in enumerate(record.seeds):
        val, scored = (
            pd.read_parquet(run.folder / f"{name}-seed{seed}.parquet") for name in ("validation", "predictions")
        )
        logits, labels = val[LOGITS].to_numpy(), val["label"].to_numpy()
        offsets = thresholds.class_offsets(logits, labels, classes)
        assert moved.offsets[k] == offsets.tolist()
        of_val = metrics.summary(metrics.confusion(labels, (logits + offsets).argmax(1), 5), classes)
        assert (moved.validation[k], moved.validation_recall[k]) == (of_val["macro_f1"], of_val["macro_recall"])
        assert moved.validation[k] >= (record.training[k].validation or 1), "for which they are moved"
        predicted = (scored[LOGITS].to_numpy() + offsets).argmax(1)
        matrix = metrics.confusion(scored["label"].to_numpy(), predicted, 5)
        assert moved.confusion[k] == matrix.tolist()
        assert moved.metrics["macro_f1"].per_seed[k] == metrics.summary(matrix, classes)["macro_f1"]
        right = raw.unpack(moved.right[k], record.data.n_test)
        np.testing.assert_array_equal(right, predicted == scored["label"])
    for decided in results.decisions(record) if record.parameters["imbalance"] == "none" else [record]:
        assert np.sum(list(decided.by_record.values()), axis=0).tolist() == decided.confusion
    assert moved.metrics.keys() == record.metrics.keys()
    assert {name: one.keys() for name, one in moved.per_class.items()} == {
        name: one.keys() for name, one in record.per_class.items()
    }
    assert moved.without_202.keys() == record.without_202.keys()
    assert moved.ec57.keys() == {"VEB", "SVEB"}


@pytest.mark.parametrize("values", [{"refit": True}, {"test": False}, {"model": "nearest_neighbour"}])
def test_where_there_are_no_thresholds_to_move_none_are(values: dict[str, Any], lasting: Path) -> None:
    """Nor are those of networks adapted to each record (see `test_adapted`)."""
    run = heartbeat.run(parameters(**values))
    assert run.record.moved is None
    assert results.decisions(run.record) == [run.record]
    with pytest.raises(UserError, match=r"^heartbeat/baseline: its thresholds were never moved$"):
        run.model(0, moved=True)


# --- what may be seen -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["heartbeat/baseline", "heartbeat/inter-patient"])
def test_a_development_run_sees_no_test_beat(name: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    p = parameters(name, test=False)
    load = beats_module.load
    intra = p.protocol == "intra"

    def poisoned(source: databases.Source, *args: Any) -> Beats:
        """No record of DS2 is asked for; test beats are not numbers, so that one in training or scoring spoils it."""
        assert intra or set(source.records).isdisjoint(aami.DS2)
        beats = load(source, *args)
        if intra:
            beats = beats_module.limit(beats, p.max_beats or len(beats))
            beats.signals[splits.intra(beats.labels, 0, p.validation_fraction).test] = np.nan
        return beats

    monkeypatch.setattr(beats_module, "load", poisoned)
    run = heartbeat.run(p)
    assert run.record.scored == "val"
    predictions = run.predictions()
    assert np.isfinite(predictions[LOGITS]).all(axis=None)
    assert len(predictions) == run.record.data.n_val
    pd.testing.assert_frame_equal(predictions, run.table("validation"))
    if not intra:
        assert set(predictions["record"]) == set(aami.DS1_VALIDATION)
    assert not paths.test_reads().exists()


def test_every_scoring_of_ds2_is_noted(across: heartbeat.Run) -> None:
    record = across.record
    heartbeat.run(parameters("heartbeat/inter-patient", seeds=[0, 1]))
    heartbeat.run(parameters("heartbeat/inter-patient", seeds=[0, 1], bootstrap=5))
    heartbeat.run(parameters(**TWO_SEEDS))
    lines = [json.loads(line) for line in paths.test_reads().read_text(encoding="utf-8").splitlines()]
    assert [(line["seed"], line["decision"], line["key"], line["model"]) for line in lines] == [
        (seed, decision, record.key, "cnet") for seed in (0, 1) for decision in ("plain", "moved")
    ]
    for decided, mine in zip(results.decisions(record), (lines[::2], lines[1::2]), strict=True):
        for k, line in enumerate(mine):
            assert line["metrics"]["accuracy"] == pytest.approx(decided.metrics["accuracy"].per_seed[k], abs=1e-6)


def test_a_record_holds_what_every_beat_of_the_first_seed_was_given(done: heartbeat.Run) -> None:
    record, predictions = results.load(done.folder / "record.json"), done.predictions()
    logits = predictions[predictions["seed"] == 1][LOGITS].to_numpy(np.float64)
    predicted = raw.unpack(record.predicted)
    assert predicted.tolist() == logits.argmax(1).tolist()
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    stored = np.stack([raw.unpack(record.class_scores[name]) for name in aami.CLASSES], axis=1)
    assert stored.shape == scores.shape
    assert np.abs(stored / 255 - scores).max() <= 0.5 / 255 + 1e-12
    assert (stored[np.arange(len(stored)), predicted] == stored.max(1)).all()
    table = pd.read_parquet(done.folder / "record.parquet")
    assert table[table["table"] == "predicted"]["level"].tolist() == predicted.tolist()
    of_v = table[(table["table"] == "class_scores") & (table["class"] == "V")]
    assert of_v["level"].tolist() == stored[:, aami.CLASSES.index("V")].tolist()


# --- reference results ------------------------------------------------------------------------------------------------


def test_a_full_run_becomes_the_reference_result_and_no_other(tiny_full: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of another profile, with a parameter of its own, in development, or from uncommitted changes."""
    fewer = {"bootstrap": 5}  # the same training
    for profile, overrides in (("smoke", {}), ("full", fewer), ("full", {"test": False, "max_epochs": 1})):
        run = heartbeat.run(parameters(profile=profile, **overrides))
        assert (run.record.overridden, results.reference(run.record.experiment)) == (sorted(overrides), None)
    assert list(paths.results().glob("*/*.json")) == []
    run = heartbeat.run(parameters(profile="full"))
    assert run.record.overridden == []
    assert results.reference(run.record.experiment) == run.record == results.references()["heartbeat/baseline"]
    assert list(check_records(tiny_full)) == []
    paths.reference(run.record.experiment).unlink()
    card, evaluated = run.folder / "training-seed0.json", run.folder / "evaluated.json"
    for trained, now in (("c0ffee", "c0ffee-dirty"), ("c0ffee-dirty", "c0ffee")):
        card.write_text(json.dumps(json.loads(card.read_text()) | {"commit": trained}))
        evaluated.unlink()
        monkeypatch.setattr(provenance, "commit", lambda now=now: now)
        monkeypatch.setenv("ECGLIB_PROGRESS", str(tiny_full / trained))
        why = "no reference result written: the working tree has uncommitted changes"
        with pytest.warns(UserWarning, match=why):
            heartbeat.run(parameters(profile="full"))
        assert why in (tiny_full / f"{trained}.said").read_text().splitlines(), "`ecglib run` tells it"
        assert results.reference(run.record.experiment) is None


def test_a_free_exploration_has_no_reference(project: Path) -> None:
    run = heartbeat.run(HeartbeatParameters(profile="full", max_epochs=1, max_beats=1000, bootstrap=0))
    assert (run.record.experiment, run.record.overridden, results.reference(run.record.experiment)) == ("", [], None)
    assert run.record.metrics["accuracy"].low is None
    assert list(paths.results().rglob("*.json")) == []


def test_the_sample_is_marked_and_never_a_reference(
    tiny_full: Path, small_mitdb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "SAMPLE", small_mitdb)
    monkeypatch.setenv("ECGLIB_DATA", str(tiny_full / "nothing"))
    run = heartbeat.run(parameters("heartbeat/inter-patient", profile="full"))
    assert run.record.data.sample
    assert (run.record.overridden, results.reference(run.record.experiment)) == ([], None)
    assert not paths.test_reads().exists()


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_failing_mlflow_costs_no_result(done: heartbeat.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise UserError("MLFLOW_TRACKING_URI", "no answer")

    monkeypatch.setattr(tracking, "log", fails)
    with pytest.warns(UserWarning, match="is not in MLflow: MLFLOW_TRACKING_URI: no answer"):
        run = heartbeat.run(parameters(**TWO_SEEDS))
    assert results.load(run.folder / "record.json") == run.record == done.record
    monkeypatch.setenv("ECGLIB_PROGRESS", str(tmp_path / "watched.txt"))
    heartbeat.run(parameters(**TWO_SEEDS))  # whoever watches tells it in place of a warning
    assert (tmp_path / "watched.said").read_text() == "not in MLflow: MLFLOW_TRACKING_URI: no answer\n"


@pytest.mark.parametrize(
    ("counts", "fraction", "message"),
    [
        ([100, 0, 0, 0, 1], 0.1, "protocol intra: 1 of class Q; expected 3 beats or more of every class"),
        ([100, 2, 1, 0, 0], 0.1, "protocol intra: 2 of class S, 1 of class V; expected 3 beats"),
        ([20, 3, 3, 3, 3], 0.1, "validation_fraction: 0.1: 3 of 32 beats; expected 5 or more, one of every class"),
    ],
)
def test_too_few_beats_to_divide_are_told_by_class(counts: list[int], fraction: float, message: str) -> None:
    p = HeartbeatParameters(validation_fraction=fraction)
    with pytest.raises(UserError, match=re.escape(message)):
        heartbeat.refuse_rare(p, np.repeat(np.arange(5), counts))
    heartbeat.refuse_rare(p.model_copy(update={"protocol": "inter"}), np.repeat(np.arange(5), counts))


@settings(max_examples=50)
@given(st.lists(st.integers(0, 12), min_size=5, max_size=5), st.integers(0, 3))
def test_what_is_not_refused_can_be_divided(counts: list[int], seed: int) -> None:
    labels = np.repeat(np.arange(5), [40 + counts[0], *counts[1:]])
    try:
        heartbeat.refuse_rare(HeartbeatParameters(), labels)
    except UserError:
        return
    assert len(splits.intra(labels, seed).val)


def test_bad_records_are_set_aside_and_counted(project: Path, own_data: Path) -> None:
    content = (own_data / "100.dat").read_bytes()
    (own_data / "100.dat").write_bytes(content[: len(content) // 2])
    (own_data / "101.atr").unlink()
    (own_data / "103.hea").write_text("")
    run = heartbeat.run(parameters())
    assert run.record.data.records_left_out == {
        "100": "truncated signal", "101": "missing annotations", "103": "empty header",
    }  # fmt: skip
    assert run.record.data.left_out == {"no next beat": 45}
    assert set(run.predictions()["record"]).isdisjoint({"100", "101", "103"})


def test_broken_data_is_one_line_and_leaves_nothing(project: Path, own_data: Path) -> None:
    prepared = set((project / "cache").rglob("*.npz"))
    for path in own_data.glob("*.dat"):
        path.write_bytes(path.read_bytes()[:999])
    with pytest.raises(UserError, match=r"100\.dat.*truncated") as error:
        heartbeat.run(parameters())
    assert "\n" not in str(error.value)
    assert [path.name for path in (project / "runs").glob("*") if path.is_dir()] == []
    assert set((project / "cache").rglob("*.npz")) == prepared


def test_what_cannot_be_built_or_written_is_refused_before_anything_is_computed(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beats_module, "load", lambda *_: pytest.fail("beats are cut"))
    with pytest.raises(UserError, match=r"model cnet: .*depth"):
        heartbeat.run(parameters(model_options={"depth": 3}))
    assert not (project / "runs").exists()
    (project / "runs").write_text("a file")
    with pytest.raises(UserError, match=r"runs: can't be written"):
        heartbeat.run(parameters())
