"""Infarction experiments from parameters to record: found again, resumed by fold, true to their scores."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cohorts
import numpy as np
import pandas as pd
import pytest
import torch
from projects import ROOT
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

from ecglib import config, paths
from ecglib.config import InfarctionParameters
from ecglib.errors import UserError
from ecglib.experiment import driver, infarction, tasks
from ecglib.experiment import record as results
from ecglib.experiment.driver import Where
from ecglib.experiment.record import infarction as part
from ecglib.models import registry
from ecglib.models.layers import Vote
from ecglib.report import recompute

pytestmark = pytest.mark.usefixtures("logged")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "ptb-xl"
    cohorts.ptb_xl(folder)
    return folder


@pytest.fixture(autouse=True)
def ptb_xl(made: Path, project: Path, tmp_path: Path, small_mitdb: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project with every infarction experiment, and a data folder of its own."""
    shutil.copytree(ROOT / "params" / "infarction", project / "params" / "infarction", dirs_exist_ok=True)
    data = tmp_path / "data"
    shutil.copytree(made, data / "ptb-xl")
    (data / "mitdb").symlink_to(small_mitdb / "mitdb")
    monkeypatch.setenv("ECGLIB_DATA", str(data))
    monkeypatch.setattr(infarction, "FEWEST", 200)  # these are fewer than any result rests on
    return data / "ptb-xl"


def parameters(name: str = "infarction/scratch", **overrides: Any) -> InfarctionParameters:
    found = config.load(name, profile="smoke", overrides={"max_records": None, "folds": 4, "curve": []} | overrides)
    assert isinstance(found, InfarctionParameters)
    return found


def weights(path: Path, name: str = "cnet", seed: int = 3) -> Path:
    torch.manual_seed(seed)
    torch.save(registry.build(name, 1, 187, 5).state_dict(), path)
    return path


def test_the_record_follows_from_the_scores(project: Path) -> None:
    run = infarction.run(parameters(bootstrap=100))
    record = run.record
    beats = pd.read_parquet(run.folder / "scores-seed0.parquet")
    recordings = beats.groupby("record").agg(label=("label", "first"), score=("score", "mean"))
    assert record.metrics["auroc"].mean == pytest.approx(roc_auc_score(recordings["label"], recordings["score"]))
    assert part(record).beat_metrics["auroc"].mean == pytest.approx(roc_auc_score(beats["label"], beats["score"]))
    assert np.sum(record.confusion) == record.data.n_test == 24
    assert record.data.class_counts["patients"] == {"healthy": 8, "infarction": 4}
    assert {name: round(score[0], 4) for name, score in part(record).scores["all"].items()} == {
        name: round(score, 4) for name, score in recordings["score"].items()
    }
    low, high = record.metrics["auroc"].low, record.metrics["auroc"].high
    assert low is not None and high is not None and low <= record.metrics["auroc"].mean <= high  # type: ignore[operator]
    for field, again in recompute.again(record).items():
        given: Any = record.model_dump()
        for key in field.split("."):
            given = given[key]
        least, most = again.least.per_seed[0], again.most.per_seed[0]
        assert least is None or most is None or least - 1e-9 <= given["per_seed"][0] <= most + 1e-9, field
    likely = recordings[(recordings["label"] == 0) | (beats.groupby("record")["likelihood"].first() >= 50)]
    assert part(record).likely["auroc"].mean == pytest.approx(roc_auc_score(likely["label"], likely["score"]))


def test_a_run_is_found_again_and_a_half_finished_one_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    p = parameters(deterministic=True)
    whole = infarction.run(p)
    assert whole.trained and not infarction.run(p).trained
    card = json.loads((whole.folder / "training-seed0.json").read_text())
    assert list(card["parts"]) == [f"fold{n}" for n in range(4)]
    assert not list(whole.folder.glob("part-*"))
    assert len(list(whole.folder.glob("weights-seed0-fold*.safetensors"))) == 4
    first = pd.read_parquet(whole.folder / "scores-seed0.parquet")

    trained: list[str] = []
    learn = infarction.learn

    def killed(*args: Any) -> Any:
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(args[-1].title)
        return learn(*args)

    monkeypatch.setattr(infarction, "learn", killed)
    with pytest.raises(KeyboardInterrupt):
        infarction.run(p, fresh=True)
    monkeypatch.setattr(infarction, "learn", lambda *args: trained.append(args[-1].title) or learn(*args))
    again = infarction.run(p)
    assert len(trained) == len(set(trained)) == 4
    pd.testing.assert_frame_equal(first, pd.read_parquet(again.folder / "scores-seed0.parquet"))
    assert again.record.metrics == whole.record.metrics


def test_weights_of_a_file_are_transferred_and_listed(project: Path) -> None:
    weights(project / "old.pt")
    run = infarction.run(parameters("infarction/frozen", pretrained="old.pt"))
    found = part(run.record).transfer
    assert found["skipped"] == ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]
    assert len(found["loaded"]) == 22 and found["frozen"] == found["loaded"]
    assert found["n_learning"] < run.record.n_parameters
    key = run.record.key
    weights(project / "old.pt", seed=4)
    assert tasks.key_of(parameters("infarction/frozen", pretrained="old.pt")) != key


def test_a_beat_experiment_is_run_first_and_transferred(monkeypatch: pytest.MonkeyPatch) -> None:
    run = infarction.run(parameters("infarction/finetune"))
    beats = config.load("heartbeat/baseline", profile="smoke")
    assert isinstance(beats, config.HeartbeatParameters)
    assert (paths.runs() / tasks.key_of(beats) / "weights-seed0.safetensors").is_file()
    assert len(part(run.record).transfer["loaded"]) == 22


@pytest.mark.parametrize(
    ("pretrained", "said"),
    [
        ("no.pt", "no such file"),
        ("heartbeat/bilstm", "a bilstm; expected a cnet"),
        ("heartbeat/basline", "did you mean heartbeat/baseline"),
    ],
)
def test_what_can_not_be_transferred_is_refused_before_anything_is_computed(
    pretrained: str, said: str, project: Path
) -> None:
    (project / "params" / "heartbeat" / "bilstm.yaml").write_text(
        "experiment: heartbeat/bilstm\ntitle: BiLSTM\nmodel: bilstm\n"
    )
    with pytest.raises(UserError, match=said):
        infarction.run(parameters("infarction/finetune", pretrained=pretrained))
    assert not list(paths.runs().glob("*/*"))


def test_aligned_beats_are_scored_on_the_folds_of_the_others(project: Path) -> None:
    leads = ["I", "II", "V1"]
    run = infarction.run(parameters("infarction/aligned-12-lead", leads=leads, max_epochs=3, networks=2))
    other = infarction.run(parameters("infarction/scratch-12-lead", leads=leads, curve=[4, 500])).record
    assert other.input_shape == [3, 187] and list(part(other).curve) == ["4"]
    record = run.record
    assert record.input_shape == [3, 101] and record.parameters["cut"] == "aligned"
    assert record.data.test_indices_sha256 == other.data.test_indices_sha256
    assert record.data.class_counts == other.data.class_counts
    assert part(record).transfer == {"loaded": [], "skipped": [], "frozen": [], "n_learning": record.n_parameters}
    auroc = record.metrics["auroc"].mean
    assert auroc is not None and auroc > 0.9, "the classes are plain to see"
    weights = load_file(run.folder / "weights-seed0-fold0.safetensors")
    vote = Vote([registry.build("strided_cnn", 3, 101, 2) for _ in range(2)])
    vote.load_state_dict(weights)
    assert record.n_parameters == registry.n_parameters(vote)


def test_a_yardstick_is_scored_on_the_folds_of_the_networks() -> None:
    other = infarction.run(parameters())
    network, fold_of = other.record, other.scores().groupby("record")["fold"].first()
    for model, leads, shape in (
        ("age_and_sex", ["II"], [1, 2]),
        ("median_beat", ["II"], [1, 101]),
        ("kernel_machine", ["I", "II"], [2, 101]),
    ):
        run = infarction.run(parameters(model=model, leads=leads, bootstrap=100))
        record, table = run.record, run.scores()
        assert record.data.test_indices_sha256 == network.data.test_indices_sha256
        assert record.data.class_counts == network.data.class_counts
        assert (record.input_shape, record.device, record.precision) == (shape, "cpu", "float32")
        assert len(table) == record.data.n_test == 24, "a row is a recording"
        assert record.metrics["auroc"].mean == pytest.approx(roc_auc_score(table["label"], table["score"]))
        assert record.metrics["auroc"].low is not None
        assert "ece" not in record.metrics and "ece" not in part(record).likely and "f1" in part(record).likely
        assert (part(record).beat_metrics, part(record).epochs, part(record).folds) == ({}, 0, 4)
        assert part(record).patients == part(network).patients
        assert table.groupby("patient")["fold"].nunique().max() == 1
        assert table.set_index("record")["fold"].loc[fold_of.index].equals(fold_of)
        assert not list(run.folder.glob("weights*"))
        assert not infarction.run(parameters(model=model, leads=leads, bootstrap=100)).trained


@pytest.mark.parametrize("model", ["age_and_sex", "median_beat", "kernel_machine"])
def test_the_labels_of_a_fold_have_no_part_in_what_a_yardstick_says_of_it(model: str) -> None:
    p, where = parameters(model=model), Where(torch.device("cpu"), "float32", "test")
    data, other = infarction.Data(p), infarction.Data(p)
    part, *_ = infarction.TASK.parts(data, p, 0)
    of_part = np.unique(data.cohort.recording[part.scored])
    changed = data.cohort.recordings.copy()
    changed.loc[changed.index[of_part], "label"] = 1 - changed["label"].to_numpy()[of_part]
    vars(other)["cohort"] = replace(data.cohort, recordings=changed)
    first, again = (infarction.TASK.fit(one, part, p, 0, where).tables["scores"]["score"] for one in (data, other))
    np.testing.assert_array_equal(first, again)
    learnt = data.cohort.recordings.copy()
    learnt["label"] = learnt["label"].to_numpy()[::-1]
    vars(other).pop("read")
    vars(other)["cohort"] = replace(data.cohort, recordings=learnt)
    assert (infarction.TASK.fit(other, part, p, 0, where).tables["scores"]["score"] != first).any()


def test_ptb_from_headers_to_record(ptb_xl: Path) -> None:
    cohorts.ptb(ptb_xl.parent / "ptbdb")
    for name in ("infarction/scratch", "infarction/aligned"):
        with pytest.warns(UserWarning, match="4 folds, not 10"):
            run = infarction.run(parameters(name, database="ptbdb", folds=10))
        record = run.record
        assert (record.data.name, part(record).folds) == ("ptbdb", 4)
        assert record.data.class_counts["patients"] == {"healthy": 4, "infarction": 4}
        assert len(record.by_record) == 16 and len(set(part(record).patients.values())) == 8
        assert part(record).likely == {}, "PTB says nothing of likelihood"
        assert run.scores().groupby("patient")["fold"].nunique().max() == 1


def test_the_kaggle_beats_by_beat_alone_and_without_intervals(ptb_xl: Path) -> None:
    cohorts.kaggle(ptb_xl.parent / "heartbeat")
    record = infarction.run(parameters(database="kaggle", protocol="by-beat", bootstrap=50)).record
    assert (record.data.n_train, record.data.n_test) == (40, 10)
    assert record.metrics["auroc"].mean is not None and record.metrics["auroc"].low is None
    assert (record.intervals.n, part(record).scores, part(record).patients) == (0, {}, {})


def test_what_learnt_the_sample_is_no_reference(ptb_xl: Path) -> None:
    (ptb_xl.parent / "mitdb").unlink()
    assert not infarction.Data(parameters("infarction/scratch")).sample
    data = infarction.Data(parameters("infarction/finetune"))
    assert data.sample and data.sampled == ["mitdb"]


def test_other_recordings_do_not_replace_the_reference_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does a quick run; the first in full makes it."""
    p = parameters("infarction/scratch").model_copy(update={"profile": "full"})
    named = driver.named
    monkeypatch.setattr(driver, "named", lambda p: named(p) | {"overridden": []})
    infarction.run(parameters("infarction/scratch"))
    assert not paths.reference("infarction/scratch").exists()
    infarction.run(p)
    first = results.reference("infarction/scratch")
    assert first is not None
    first.model_copy(update={"data": first.data.model_copy(update={"fingerprint": "other"})}).save(
        paths.reference("infarction/scratch")
    )
    with pytest.warns(UserWarning, match="rests on other data"):
        infarction.run(p)
    kept = results.reference("infarction/scratch")
    assert kept is not None and kept.data.fingerprint == "other"


def test_what_can_change_the_scores_changes_the_key(project: Path) -> None:
    p = parameters()
    key = tasks.key_of(p)
    assert tasks.key_of(parameters(bootstrap=7)) == key
    assert tasks.key_of(parameters(seeds=[0, 1])) != key
    for name, value in (("learning_rate", 0.5), ("folds", 3), ("leads", ["V1"]), ("imbalance", "smote")):
        assert tasks.key_of(parameters(**{name: value})) != key, name
