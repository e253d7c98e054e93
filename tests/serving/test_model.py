"""What was exported gives what was trained, reads records as training did, and is refused when it was changed."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd
import pytest
import torch
import wfdb
from excerpts import SAMPLE
from projects import make_project
from safetensors.torch import load_file

from ecglib import serving
from ecglib.config import HeartbeatParameters
from ecglib.data import beats, databases, detection, records
from ecglib.errors import RecordError, UserError
from ecglib.evaluation import matching, scoring
from ecglib.evaluation.calibration import temperature
from ecglib.experiment import heartbeat, recipes
from ecglib.experiment.record import Record
from ecglib.models import registry
from ecglib.serving import export
from ecglib.serving.model import BUNDLED, CARD, ONNX, WEIGHTS, Model, described

BEATS = ("cnet", "ecgnet")


@pytest.fixture(params=BEATS)
def model(request: pytest.FixtureRequest) -> Model:
    return serving.load(f"ecglib:{request.param}", threads=1)


def of_record(model: Model, name: str) -> tuple[records.Recording, np.ndarray]:
    annotations = records.read_annotations(SAMPLE, name)
    return model.read(SAMPLE, name), annotations.samples[annotations.is_beat]


def test_a_network_reads_records_as_training_did(model: Model) -> None:
    source = databases.sample("mitdb")
    assert source is not None
    card = model.card
    trained = beats.cut_record(source, "119", card.cut, card.leads)
    columns = beats.features_of(card.cut, len(card.leads), card.features or ("*",))
    options = dict(card.model_options) | ({"n_features": len(columns)} if card.features else {})
    network = registry.build(card.model, *card.input_shape, len(card.classes), **options)
    network.load_state_dict(load_file(model.folder / WEIGHTS))
    features = torch.from_numpy(trained.with_features(columns.values()).features)
    with torch.inference_mode():
        logits = network.eval()(torch.from_numpy(trained.signals), features=features).numpy()
    recording, r_peaks = of_record(model, "119")
    found = model.classify(recording, r_peaks)
    assert found.sample.tolist() == trained.sample.tolist()
    scaled = torch.from_numpy(logits / card.temperature).softmax(1).numpy()
    np.testing.assert_allclose(found.probability, scaled, rtol=0, atol=1e-5)
    assert found.decided.tolist() == logits.argmax(1).tolist()
    assert found.left_out == trained.left_out
    assert len(r_peaks) == len(found.sample) + sum(found.left_out.values())


KNOWN = {
    "cnet": [("119", "V"), ("100", "N"), ("232", "S")],
    "ecgnet": [("119", "V"), ("100", "N"), ("209", "S")],
}


def test_the_embedded_networks_know_what_they_learnt(model: Model) -> None:
    for name, label in KNOWN[model.card.model]:
        recording, r_peaks = of_record(model, name)
        annotations = records.read_annotations(SAMPLE, name)
        found = model.classify(recording, r_peaks)
        kept = np.isin(r_peaks, found.sample)
        symbols = annotations.symbols[annotations.is_beat][kept]
        true = np.array([beats.aami.SYMBOLS[symbol] for symbol in symbols])
        given = np.array(model.card.classes)[found.decided]
        assert (given[true == label] == label).mean() > 0.7, (name, label)


@pytest.mark.parametrize("name", [path.name for path in sorted(BUNDLED.iterdir()) if path.is_dir()])
def test_the_embedded_networks_are_of_todays_recipe(name: str) -> None:
    """A stage that trains otherwise makes them old: they are trained and exported anew then."""
    card = serving.load(f"ecglib:{name}").card
    assert card.recipe == {stage: max(recipes.history(stage)) for stage in card.recipe}
    assert not card.sample and card.profile == "full" and "dirty" not in card.commit
    assert b"/ecglib/" not in (BUNDLED / name / ONNX).read_bytes(), "the exporter notes files of the machine"
    assert sum(path.stat().st_size for path in BUNDLED.rglob("*")) < 6_000_000


def test_importing_it_imports_no_torch() -> None:
    code = "import sys, ecglib.serving; print('torch' in sys.modules, 'sklearn' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "False"]


def test_recordings_of_other_lengths_get_their_labels() -> None:
    model = serving.load("ecglib:xresnet")
    source = databases.sample("ptb-xl")
    assert source is not None
    recording = model.read(source.folder, source.records[0])
    p = model.score(recording)
    assert p.shape == (5,) and (p >= 0).all() and (p <= 1).all()
    half, twice = (replace(recording, signals=x) for x in (recording.signals[:, :500], np.tile(recording.signals, 2)))
    assert np.abs(model.score(twice) - p).max() < 0.05, "the same once more"
    assert 0.01 < np.abs(model.score(half) - p).max() < 0.1
    with pytest.raises(UserError, match="a model of recordings; expected one of beats"):
        model.classify(recording, np.array([100, 200]))


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(BUNDLED / "cnet", tmp_path / "cnet"))


def sign(folder: Path, **changed: object) -> None:
    """Change what a description says, and sign it anew."""
    card = json.loads((folder / CARD).read_text()) | changed
    del card["version"]
    version = hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()
    (folder / CARD).write_text(json.dumps(card | {"version": version}))


@pytest.mark.parametrize("name", [ONNX, WEIGHTS])
def test_a_changed_file_is_refused(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}: changed since it was exported"):
        serving.load(folder)
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"no {name}"):
        serving.load(folder)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ({"temperature": 1.0}, "changed since it was exported"),
        ({"classes": ["N", "V", "S", "F", "Q"]}, "changed since it was exported"),
        ({"files": {}}, "changed since it was exported"),
        ({"code": "import os"}, "damaged"),
        ({"format": 2}, "damaged"),
    ],
)
def test_a_changed_description_is_refused(folder: Path, edit: dict[str, object], said: str) -> None:
    (folder / CARD).write_text(json.dumps(json.loads((folder / CARD).read_text()) | edit))
    with pytest.raises(UserError, match=said):
        serving.load(folder)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ({"leads": ["MLII", "V1"]}, r"damaged \(input_shape \(1, 187\), where 2 leads give \(2, 187\)\)"),
        ({"leads": ["MLII", "V1"], "input_shape": [2, 187]}, r"x of the shape \[1, 187\]; expected \[2, 187\]"),
        ({"cut": ""}, "cut '' of the task beats"),
        ({"cut": "centred"}, r"where 1 leads give \(1, 225\)"),
        ({"cut": "centred", "input_shape": [1, 225]}, r"x of the shape \[1, 187\]; expected \[1, 225\]"),
        ({"temperature": 0}, "temperature: Input should be greater than 0"),
        ({"temperature": float("nan")}, "temperature: Input should be a finite number"),
        ({"classes": ["N", "S", "V", "F"]}, r"logits of the shape \[5\]; expected \[4\]"),
        ({"classes": ["N", "S", "V", "F", "N"]}, "one twice"),
        ({"offsets": [0.0, 1.0]}, "2 offsets of 5 classes"),
        ({"thresholds": [0.5]}, "1 thresholds of 5 classes"),
        ({"features": ["rr_next"]}, "unknown features rr_next"),
        ({"beats_per_sequence": 3}, r"expected \[3, 1, 187\]"),
    ],
)
def test_a_description_that_contradicts_itself_or_the_network_is_refused(
    folder: Path, edit: dict[str, object], said: str
) -> None:
    """Even where it was signed anew."""
    sign(folder, **edit)
    with pytest.raises(UserError, match=said):
        serving.load(folder)


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("unpickled",))


def test_a_pickle_is_never_opened(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Even where all hashes are made to fit it."""
    for name in (ONNX, CARD):
        before = (folder / name).read_bytes()
        (folder / name).write_bytes(pickle.dumps(Bomb()))
        if name == ONNX:
            sign(folder, files={file: databases.digests([folder / file])[0] for file in (ONNX, WEIGHTS)})
        with pytest.raises(UserError, match="damaged"):
            serving.load(folder).run(np.zeros((1, 1, 187), np.float32))
        (folder / name).write_bytes(before)
    assert "unpickled" not in capsys.readouterr().out


def test_what_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="one of ecglib:cnet, ecglib:ecgnet, ecglib:xresnet"):
        serving.load("ecglib:cnett")
    with pytest.raises(UserError, match=r"no model\.json in it"):
        serving.load(tmp_path)
    with pytest.raises(UserError, match=r"no such model; expected ecglib:cnet, .*, or a run"):
        serving.load("no/such")


def test_negated_leads_are_turned_over_and_stand_ins_told() -> None:
    model = serving.load("ecglib:cnet")
    recording = records.read_recording(SAMPLE, "100", ["MLII"])
    usual = model.pick(recording)
    assert not usual.repairs

    def of(name: str, sign: int = 1) -> records.Recording:
        return model.pick(records.Recording("it", sign * recording.signals, recording.fs, (name,)))

    turned = of("-MLII", -1)
    assert np.array_equal(turned.signals, usual.signals) and turned.repairs[0] == "lead -MLII turned over"
    assert of("V5").repairs == ("no lead MLII, so V5 was read",)
    assert not of("II").repairs
    for name in ("EEG C3-A2", "Resp", "SpO2"):
        with pytest.raises(RecordError, match="too few leads"):
            of(name)


def test_a_fault_of_a_lead_that_it_does_not_read_costs_that_lead_alone(tmp_path: Path) -> None:
    """R peaks are found on two leads where both can be read, whatever a third is, and on its own where the other is
    flat."""
    model, units = serving.load("ecglib:cnet"), wfdb.rdrecord(str(SAMPLE / "106"), physical=False).d_signal
    about = {"fs": 360, "units": ["mV", "mV", "NU"], "adc_gain": [200.0] * 3, "baseline": [1024] * 3, "fmt": ["16"] * 3}
    flat = np.full(len(units), 7)
    for name, other in (("whole", units[:, 1]), ("flat", flat)):
        columns = np.stack([units[:, 0], other, flat], 1)
        wfdb.wrsamp(name, d_signal=columns, sig_name=["MLII", "V1", "RESP"], write_dir=str(tmp_path), **about)
    read = {name: model.read_whole(tmp_path, name) for name in ("whole", "flat")}
    assert {name: whole.leads for name, (_, whole) in read.items()} == {"whole": ("MLII", "V1"), "flat": ("MLII",)}
    peaks = {name: detection.of_recording(*both) for name, both in read.items()}
    for name, (recording, _) in read.items():
        np.testing.assert_array_equal(recording.signals, model.read(tmp_path, name).signals)
    np.testing.assert_array_equal(peaks["flat"], detection.unsw(read["whole"][0].signals[0], 360))
    true = records.read_annotations(SAMPLE, "106")
    missed = {name: len(matching.match(true.samples[true.is_beat], found, 360).missed) for name, found in peaks.items()}
    assert missed["whole"] < missed["flat"]


def test_signals_that_cannot_be_classified() -> None:
    model = serving.load("ecglib:cnet")
    recording, r_peaks = of_record(model, "100")

    def of(signals: np.ndarray) -> records.Recording:
        return records.Recording("it", signals, recording.fs, recording.leads)

    for signals, said in (
        (np.full_like(recording.signals, np.nan), "no number"),
        (np.zeros_like(recording.signals), "flat"),
        (recording.signals[:, :0], "empty"),
    ):
        with pytest.raises(RecordError, match=said):
            model.classify(of(signals), r_peaks)
    for n in (0, 1, 2):
        found = model.classify(recording, r_peaks[:n])
        assert len(found.sample) + sum(found.left_out.values()) == n


def test_the_heart_rate_of_a_record_is_that_of_its_r_peaks_however_short_it_is() -> None:
    model = serving.load("ecglib:cnet")
    recording, r_peaks = of_record(model, "100")
    n = int(10 * recording.fs)
    ten = replace(recording, signals=recording.signals[:, :n])
    for whole, own, off in ((recording, r_peaks, 0.002), (ten, r_peaks[r_peaks < n], 0.03)):
        rate = 60 * recording.fs / np.diff(own).mean()
        assert described(whole, model.classify(whole, own))["beats_per_minute"] == pytest.approx(rate, rel=off)
    for k in (1, 2):  # no beat that is classified, or one
        about = described(recording, model.classify(recording, r_peaks[:k]))
        assert set(about) == {"amplitude_mv", "unsure"} and np.isfinite([*about.values()]).all()


def test_a_record_without_a_heart_rate_leaves_that_of_the_others_on_the_card() -> None:
    found = [{"beats_per_minute": 60.0, "unsure": 0.0}, {"unsure": 0.5}, {"beats_per_minute": 62.0, "unsure": 1.0}]
    assert export.percentiles(found) == {"beats_per_minute": [60.1, 61.0, 61.9], "unsure": [0.05, 0.5, 0.95]}


# --- export -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_is_exported_and_used(
    tmp_path: Path, small_mitdb: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_project(tmp_path / "project", small_mitdb, monkeypatch)
    p = HeartbeatParameters(max_epochs=1, max_beats=1000, seeds=[0, 3], bootstrap=5, device="cpu", precision="float32")
    run = heartbeat.run(p)
    folder = serving.load(run.record.key).folder
    card = serving.load(folder).card
    best = max(run.record.training, key=lambda one: one.validation or 0).seed
    assert (card.seed, card.key, card.task, card.model) == (best, run.record.key, "beats", "cnet")
    own = pd.read_parquet(run.folder / f"validation-seed{best}.parquet")
    logits, labels = own[scoring.LOGITS].to_numpy(), own["label"].to_numpy()
    assert card.temperature == temperature(logits, labels)
    assert set(card.training) == {"amplitude_mv", "beats_per_minute", "unsure"}
    text = (folder / "README.md").read_text()
    assert "no medical device" in text and f"{run.record.metrics['macro_f1'].mean:.3f}" in text
    moved = export.export(run.record, run.folder, tmp_path / "moved", seed=3, moved=True)
    assert run.record.moved is not None and moved.offsets == run.record.moved.offsets[1]
    for seed, out, said in ((7, "new", "--seed 7"), (0, "moved", "it is there already")):
        with pytest.raises(UserError, match=said):
            export.export(run.record, run.folder, tmp_path / out, seed=seed)
    (run.folder / f"weights-seed{best}.safetensors").unlink()
    with pytest.raises(UserError, match="no weights to export"):
        export.export(run.record, run.folder, tmp_path / "new", seed=best)


def test_a_damaged_copy_in_the_cache_is_exported_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, record = list[Path](), cast("Record", SimpleNamespace(key="abc", experiment="heartbeat/cnet"))

    def exported(record: Record, run: Path, out: Path) -> None:
        export.refuse(out)
        made.append(Path(shutil.copytree(BUNDLED / "cnet", out)))

    monkeypatch.setattr(export.paths, "cache", lambda: tmp_path)
    monkeypatch.setattr(export, "export", exported)
    for i, name in enumerate((WEIGHTS, ONNX, CARD)):
        path = export.cached(record, tmp_path) / name
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        for _ in range(2):
            assert serving.load(export.cached(record, tmp_path)).folder == path.parent
        assert path.read_bytes() == whole and len(made) == i + 2, "a sound one is left as it is"
    mine = cast("Record", SimpleNamespace(key="abc", experiment="heartbeat/mine"))
    assert export.cached(mine, tmp_path) != path.parent, "a card of another name"


def test_weights_are_those_of_the_seed_and_of_the_official_fold_or_the_last(tmp_path: Path) -> None:
    for name in ("1", "10", "2-fold1", "2-fold9", "2-source-Georgia", "3-fold10", "3-fold9"):
        (tmp_path / f"weights-seed{name}.safetensors").touch()
    found = [export.weights_of(tmp_path, seed) for seed in (1, 2, 3, 4)]
    assert [path and path.stem.removeprefix("weights-seed") for path in found] == ["1", "2-fold9", "3-fold10", None]


def test_the_temperature_fits_the_probabilities() -> None:
    draw = np.random.default_rng(0)
    logits = draw.normal(size=(20_000, 3))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (p.cumsum(1) > draw.random((20_000, 1))).argmax(1)
    assert temperature(3 * logits, labels) == pytest.approx(3, rel=0.05)
