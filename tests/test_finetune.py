"""A recorded 12-lead network taught on with a user's own recordings: other labels, fewer leads, another rate."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import cohorts
import pandas as pd
import pytest
import torch
from projects import Call, make_project
from safetensors.torch import load_file, save_file

from ecglib import finetune, paths, serving
from ecglib.config import HeartbeatParameters, TwelveLeadParameters
from ecglib.data.catalogues import folder as own
from ecglib.data.recordings import TwelveLead
from ecglib.errors import UserError
from ecglib.experiment import heartbeat, twelve_lead
from ecglib.experiment.twelve_lead import Run
from ecglib.serving import evaluate

LEADS = ("V2", "II", "aVR")
TEACH = ("finetune", "twelve-lead/crnn", "--epochs", "1")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, small_mitdb: Path) -> Iterator[tuple[Path, Run]]:
    """A project, and a run of `twelve-lead/crnn` in it, hardly trained."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root = make_project(tmp_path_factory.mktemp("tuned") / "project", small_mitdb, patch)
        p = TwelveLeadParameters.model_validate({
            "experiment": "twelve-lead/crnn", "profile": "smoke", "seeds": [0], "max_epochs": 1, "bootstrap": 20,
            "test_folds": [10], "fewest_per_epoch": 32, "device": "cpu", "precision": "float32", "rate": 100.0,
            "learning_rate": 0.01,
        })  # fmt: skip
        yield root, twelve_lead.run(p)


@pytest.fixture
def run(recorded: tuple[Path, Run], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("ECGLIB_ROOT", str(recorded[0]))
    return recorded[1]


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """60 recordings of three leads at 250 Hz, 5 s, of 30 patients, and their table with the one label `sick`.

    Three say mV where µV are meant, and a row is of a recording that isn't there and of a patient that isn't said.
    """
    folder = tmp_path_factory.mktemp("clinic")
    rows = []
    for n in range(60):
        sick = n // 2 % 2 == 0
        cohorts.record(folder / "ecg", f"ward/{n:02d}", sick, leads=LEADS, fs=250, seconds=5.0, seed=n)
        rows.append({"record": f"ward/{n:02d}", "patient": f"p{n // 2}", "sick": int(sick)})
        if n < 3:
            header = folder / "ecg" / f"ward/{n:02d}.hea"
            header.write_text(header.read_text().replace("1000.0(0)/mV", "1.0(0)/mV"))
    rows.append({"record": "ward/lost", "patient": None, "sick": 1})
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
    return folder / "ecg", folder / "labels.csv"


@pytest.mark.slow
def test_another_label_fewer_leads_and_another_rate(run: Run, clinic: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    note = finetune.finetune(run, *clinic, out, epochs=6, learning_rate=0.01, device="cpu")
    assert (note.classes, note.started_from, note.rate) == (["sick"], run.record.key, 100.0)
    assert note.refused == {"ward/lost": "missing header"}
    assert note.anew == ["head.weight", "head.bias"]
    assert sum(row["recordings"] for row in note.sets.values()) == 60
    assert sum(row["patients"] for row in note.sets.values()) == 30, "no patient is in two sets"
    assert note.metrics["macro_auroc"].mean == pytest.approx(1.0), "the sick look unlike the others"

    found = finetune.load(out)
    model, data = serving.load(out), TwelveLead(own.read(*clinic), found.note.rate)
    scores = pd.read_csv(out / "scores.csv")
    assert set(scores["part"]) == {"validation", "test"}
    for row in scores.to_dict("records"):
        index = next(i for i, entry in enumerate(data.entries) if entry.record == row["record"])
        example = data[index]
        assert example.known.sum() == len(LEADS)
        with torch.inference_mode():
            p = found.network(example.x[None]).sigmoid().item()
        assert p == pytest.approx(row["p:sick"], abs=1e-5)
        used = model.score(model.read(clinic[0], str(row["record"])))
        assert used == pytest.approx(p, abs=1e-5)
        assert model.decide(used).tolist() == [row["p:sick"] >= row["t:sick"]]
        assert row["y:sick"] == example.y.item()
        assert row["t:sick"] == note.thresholds[0]
    for folder, learnt in ((clinic[0], True), (shutil.copytree(clinic[0], tmp_path / "others"), False)):
        again = evaluate.evaluate(model, str(folder), labels=clinic[1])
        assert again.learnt == again.records * learnt

    older = json.loads((out / "finetuned.json").read_text())
    del older["assumed"]
    older["training"] |= {"offsets": [], "unmoved": None}
    (out / "finetuned.json").write_text(json.dumps(older))
    assert finetune.load(out).note.thresholds == note.thresholds, "a folder of an earlier version"


def test_its_json_names_what_was_read_and_written(
    run: Run, clinic: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    records, labels = map(str, clinic)
    monkeypatch.chdir(tmp_path)
    done = call(*TEACH, "--records", records, "--labels", labels, "--out", "new/out", "--json")
    said, folder = json.loads(done.out), tmp_path / "new" / "out"
    assert [said.pop(key) for key in ("folder", "records", "labels")] == [str(folder), records, labels]
    assert said == json.loads((folder / "finetuned.json").read_text())


@pytest.mark.long
def test_a_delta_table_teaches_the_same_as_the_folder_that_it_was_made_of(
    run: Run, clinic: tuple[Path, Path], tmp_path: Path, call: Call
) -> None:
    pytest.importorskip("deltalake")
    (records, labels), table = clinic, tmp_path / "table"
    said = call("data", "export", "delta", "--database", records, "--labels", labels, "--out", table).out
    assert said.splitlines() == [
        "left out 1: missing header (ward/lost)",
        "assumed: no patient in 1 rows, so each counts as a patient of its own (ward/lost)",
        f"{table}: 60 recordings",
    ]
    teach = (*TEACH, "--json", "--records")
    one = json.loads(call(*teach, records, "--labels", labels, "--out", tmp_path / "a").out)
    two = json.loads(call(*teach, f"{table}@0", "--out", tmp_path / "b").out)
    assert two["data"].startswith("0-") and two["data"] != one["data"]
    for name in ("sets", "repaired", "metrics", "per_class", "thresholds", "classes"):
        assert one[name] == two[name], name
    a, b = (load_file(tmp_path / name / "weights.safetensors") for name in "ab")
    assert a.keys() == b.keys() and all(a[name].equal(b[name]) for name in a)
    for arguments, wrong in (
        ((records,), "--labels: not given; expected a CSV"),
        ((table, "--labels", labels), "--labels: means nothing of a Delta table"),
    ):
        assert call(*teach, *arguments, "--out", tmp_path / "c").err.startswith(f"error: {wrong}")


@pytest.mark.slow
def test_the_command_starts_from_the_recorded_weights(
    run: Run, clinic: tuple[Path, Path], tmp_path: Path, call: Call
) -> None:
    (records, labels), out = clinic, tmp_path / "out"
    command = (*TEACH, "--records", records, "--labels", labels, "--learning-rate", "1e-8", "--out", out)
    code, said, _ = call(*command)
    assert code == 0
    assert said.splitlines()[:3] == [
        "left out 1: missing header (ward/lost)",
        "repaired 3: µV written as mV (ward/00, ward/01 and 1 more)",
        "assumed: no patient in 1 rows, so each counts as a patient of its own (ward/lost)",
    ]
    assert re.search(r"sick +│ \d+ +│ \d+ +│ \d+ ", said)
    assert said.splitlines()[-1] == str(out)
    assert {path.name for path in out.iterdir()} == {
        *("finetuned.json", "scores.csv"),
        *("README.md", "model.json", "model.onnx", "weights.safetensors"),
    }
    after = finetune.load(out).network.state_dict()
    before = load_file(run.folder / "weights-seed0-fold10.safetensors")
    assert after["head.weight"].shape == (1, before["head.weight"].shape[1])
    for name, tensor in before.items():
        if not name.startswith("head.") and "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(after[name], tensor, rtol=0, atol=1e-5)
    again = call(*command)
    assert again.code == 2 and "it is there already" in again.err


def test_a_run_is_found_by_name_key_or_folder_a_full_one_before_a_newer_one(run: Run) -> None:
    for name in ("twelve-lead/crnn", run.record.key, run.record.key[:8], str(run.folder)):
        assert finetune.find(name).record == run.record
    for name in ("twelve-lead/xresnet", "0123456789", "no", "", "../runs"):
        with pytest.raises(UserError, match=r"no such run here; expected .*\(twelve-lead/crnn\)"):
            finetune.find(name)
    older = paths.runs() / "full"
    shutil.copytree(run.folder, older, ignore=shutil.ignore_patterns("names.json"))
    record = json.loads((older / "record.json").read_text())
    record |= {"profile": "full", "overridden": [], "created": "2020-01-01T00:00:00+00:00", "key": "full"}
    (older / "record.json").write_text(json.dumps(record))
    try:
        assert finetune.find("twelve-lead/crnn").record.key == "full"
    finally:
        shutil.rmtree(older)


FEW = (
    "5 patients with a readable recording; expected at least one in each of ten folds; "
    r"left out 1: missing header \(ward/lost\); assumed: no patient in 1 rows"
)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: pd.concat([rows[:9], rows[-1:]]), FEW),
        (lambda rows: rows.assign(sick=0), "no label to learn: training has"),
        (lambda rows: rows[-1:], "no recording of it can be read; ward/lost: missing header"),
    ],
)
def test_tables_that_nothing_can_be_learnt_from(
    run: Run, clinic: tuple[Path, Path], tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], said: str
) -> None:
    change(pd.read_csv(clinic[1])).to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(UserError, match=said):
        finetune.finetune(run, clinic[0], tmp_path / "labels.csv", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_files_that_do_not_fit(run: Run, clinic: tuple[Path, Path], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    weights = folder / "weights-seed0-fold10.safetensors"
    state = load_file(weights)
    state["stem.weight"] = torch.zeros(1, 12, 15)
    save_file(state, weights)
    with pytest.raises(UserError, match=r"not this network's: stem\.weight"):
        finetune.finetune(finetune.find(str(folder)), *clinic, tmp_path / "out")
    weights.unlink()
    with pytest.raises(UserError, match="no weights"):
        finetune.finetune(finetune.find(str(folder)), *clinic, tmp_path / "out")
    with pytest.raises(UserError, match="a folder that ecglib finetune wrote of 12 leads"):
        finetune.load(folder)
    (folder / "finetuned.json").write_text("{}")
    with pytest.raises(UserError, match="damaged"):
        finetune.load(folder)


@pytest.mark.slow
def test_a_network_of_beats_goes_on_from_annotated_records_and_can_be_used(
    recorded: tuple[Path, Run], small_mitdb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    monkeypatch.setenv("ECGLIB_ROOT", str(recorded[0]))
    mine = shutil.copytree(small_mitdb / "mitdb", tmp_path / "mine")
    start = finetune.start("ecglib:cnet")
    assert isinstance(start, serving.Model)
    card, record = finetune.beats(start, str(mine), tmp_path / "out", epochs=1, learning_rate=1e-8, device="cpu")
    assert (card.task, card.model, card.classes) == ("beats", "cnet", start.card.classes)
    assert card.database == str(mine) and card.protocol == "inter" and record.per_class.keys() == {*card.classes}
    before, after = (load_file(folder / "weights.safetensors") for folder in (start.folder, tmp_path / "out"))
    for name, tensor in before.items():
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(after[name], tensor, rtol=0, atol=1e-5)
    again = finetune.start(str(tmp_path / "out"))
    assert isinstance(again, serving.Model) and again.card == card
    with pytest.raises(UserError, match=r"no finetuned.json; .*; ecglib.serving.load opens networks of beats"):
        finetune.load(str(tmp_path / "out"))
    found = evaluate.evaluate(again, str(mine))
    assert found.learnt == found.records, "the very records that it was taught on with"
    command = ("finetune", "ecglib:cnet", "--records", mine, "--epochs", 1, "--learning-rate", "1e-8")
    shown = call(*command, "--out", tmp_path / "again").out
    assert re.search(r"class +┃ in training ┃ in validation ┃ in test ┃ Se", shown) and "macro-F1 " in shown
    said = json.loads(call(*command, "--out", tmp_path / "third", "--json").out)
    assert said["metrics"]["macro_f1"]["mean"] == pytest.approx(record.metrics["macro_f1"].mean)
    with pytest.raises(UserError, match="it is there already"):
        finetune.beats(start, str(mine), tmp_path / "out")
    with pytest.raises(UserError, match="a model of recordings; expected one of beats"):
        finetune.beats(serving.load("ecglib:xresnet"), str(mine), tmp_path / "new")


def test_numbers_out_of_range_and_options_of_beats_are_refused(
    run: Run, clinic: tuple[Path, Path], tmp_path: Path, call: Call
) -> None:
    records, labels = clinic
    command = (*TEACH, "--records", records, "--labels", labels, "--out", tmp_path / "out")
    for options, said in (
        (("--seed", "99999999999"), "ecglib finetune: seeds.0: "),
        (("--learning-rate", "inf"), "ecglib finetune: learning_rate: "),
        (("--annotator", "atr"), "--annotator: only means something of beats"),
        (("--protocol", "intra"), "--protocol intra: only means something of beats"),
    ):
        code, _, errors = call(*command, *options)
        assert code == 2 and errors.startswith(f"error: {said}"), options
    assert not any(tmp_path.iterdir())


def test_weights_of_another_network_are_refused(recorded: tuple[Path, Run], tmp_path: Path) -> None:
    p = {"model": "baseline_cnn", "start_from": str(serving.load("ecglib:cnet").folder / "weights.safetensors")}
    for more, said in (
        ({}, "weights that are not this network's"),
        ({"start_from": str(tmp_path / "no")}, "no such file; expected a weights file"),
    ):
        given = HeartbeatParameters(**p | more, max_epochs=1, max_beats=600, device="cpu", precision="float32")
        with pytest.raises(UserError, match=said):
            heartbeat.run(given)
