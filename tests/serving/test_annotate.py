"""A recording in, its annotations, summary and page out; whatever the file, and a line where it can't be."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import edfio
import numpy as np
import pandas as pd
import pytest
import wfdb
from excerpts import SAMPLE

from ecglib import cli, serving
from ecglib.data import databases, records
from ecglib.errors import UserError
from ecglib.serving import annotate as annotating
from ecglib.serving import evaluate
from ecglib.serving.model import Model


@pytest.fixture(scope="module")
def model() -> Model:
    return serving.load("ecglib:ecgnet", threads=1)


@pytest.fixture(scope="module")
def annotated(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which record 208 was annotated."""
    out = tmp_path_factory.mktemp("annotated")
    found = annotating.annotate(model, SAMPLE / "208")
    annotating.write(model, found, out / "208")
    return out


def test_other_programs_read_the_annotations(annotated: Path) -> None:
    read = wfdb.rdann(str(annotated / "208" / "208"), "atr")
    summary = json.loads((annotated / "208" / "summary.json").read_text())
    assert read.fs == 360 and (np.diff(read.sample) > 0).all()
    counts = Counter(read.symbol)
    assert counts.pop("?") == sum(summary["not_classified"].values()) == 2
    assert counts == {name: n for name, n in summary["counts"].items() if n}
    assert len(read.sample) == summary["r_peaks"]
    sure = [float(note) for note in read.aux_note if note]
    unsure = np.array(read.subtype)[np.array(read.symbol) != "?"] == annotating.SUB_TYPE
    assert unsure.sum() == summary["unsure"] > 0
    assert max(np.array(sure)[unsure]) <= 0.8 <= min(np.array(sure)[~unsure])


def test_annotations_score_as_the_model_does_that_wrote_them(annotated: Path, model: Model) -> None:
    source = databases.sample("mitdb")
    assert source is not None
    source = databases.Source("mitdb", source.folder, True, ("208",), "atr")
    of_file, of_model = evaluate.beats(annotated, source), evaluate.beats(model, source, peaks="detected")
    same = {"metrics", "per_class", "ec57", "detection", "by_record", "counts", "left_out"}
    assert of_file.model_dump(include=same) == of_model.model_dump(include=same)
    assert of_file.detection["se"].mean is not None and of_file.detection["se"].mean > 0.98
    assert of_file.per_class["V"]["f1"].mean is not None and of_file.per_class["V"]["f1"].mean > 0.85


def test_the_same_lead_gives_the_same_beats_from_whatever_file(model: Model, tmp_path: Path) -> None:
    recording = records.read_recording(SAMPLE, "119")
    of_wfdb = annotating.annotate(model, SAMPLE / "119.hea")
    table = pd.DataFrame(recording.signals.T, columns=list(recording.leads))
    table.iloc[:, ::-1].to_csv(tmp_path / "a.csv", index=False)
    of_csv = annotating.annotate(model, tmp_path / "a.csv", rate=recording.fs)
    uv = [
        edfio.EdfSignal(lead.astype(float) * 1e3, recording.fs, label=f"ECG {name}", physical_dimension="uV")
        for lead, name in zip(recording.signals, recording.leads, strict=True)
    ]
    pulse = edfio.EdfSignal(np.arange(300.0), 1, label="SpO2", physical_dimension="%")
    edfio.Edf([pulse, *uv]).write(tmp_path / "a.EDF")
    of_edf = annotating.annotate(model, tmp_path / "a.EDF")
    assert of_wfdb.summary["leads"] == of_csv.summary["leads"] == ["MLII"]
    assert np.array_equal(of_csv.r_peaks, of_wfdb.r_peaks)
    assert np.array_equal(of_csv.classified.probability, of_wfdb.classified.probability)
    near = np.abs(of_edf.r_peaks - of_wfdb.r_peaks) <= 1
    assert near.all() and (of_edf.classified.decided == of_wfdb.classified.decided).mean() > 0.99
    second = annotating.annotate(model, SAMPLE / "119", leads=["V1"])
    assert second.summary["leads"] == ["V1"] and second.recording.leads == ("MLII", "V1")


CSV = {
    "no rate": ("MLII\n0.1\n0.2\n", None, "no sampling rate"),
    "no header": ("0.1,0.2\n0.3,0.4\n", 250, r"its first line is 0\.1, 0\.2; expected names of the leads"),
    "text": ("MLII\n0.1\nhigh\n", 250, "can't be read"),
    "empty": ("", 250, "can't be read"),
    "flat": ("MLII\n" + "0.1\n" * 900, 250, "flat lead"),
    "no number": ("MLII\n" + "0.1\n,\n" * 900, 250, "no number|can't be read"),
    "no sample": ("MLII\n", 250, "empty signal"),
}


@pytest.mark.parametrize("what", CSV)
def test_files_that_are_refused(model: Model, tmp_path: Path, what: str) -> None:
    text, rate, said = CSV[what]
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UserError, match=said):
        annotating.annotate(model, tmp_path / "a.csv", rate=rate)


def test_recordings_and_calls_that_are_refused(model: Model, tmp_path: Path, annotated: Path) -> None:
    (tmp_path / "a.edf").write_bytes(b"0       " + b"x" * 300)
    for given, said in (
        ({"path": tmp_path / "a.edf"}, "expected an EDF"),
        ({"path": tmp_path / "b.edf"}, "no such file"),
        ({"path": tmp_path / "b"}, "missing header"),
        ({"path": SAMPLE / "208", "rate": 250.0}, "only means something of a CSV"),
        ({"path": SAMPLE / "208", "leads": ["V7"]}, "no lead V7; expected one of MLII, V1"),
        ({"path": SAMPLE / "208", "leads": ["MLII", "V1"]}, "2 leads; expected 1"),
    ):
        with pytest.raises(UserError, match=said):
            annotating.annotate(model, **given)
    with pytest.raises(UserError, match="a model of recordings; expected one of beats"):
        annotating.annotate(serving.load("ecglib:xresnet"), SAMPLE / "208")
    found = annotating.annotate(model, SAMPLE / "208")
    for name in ("208.hea", "208.atr"):
        (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match="holds the record 208 itself"):
        annotating.write(model, found, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="can't be written"):
        annotating.write(model, found, tmp_path / "file" / "208")


def test_three_seconds_are_annotated(model: Model, tmp_path: Path) -> None:
    recording = records.read_recording(SAMPLE, "100", ["MLII"])
    pd.DataFrame({"MLII": recording.signals[0, :1080]}).to_csv(tmp_path / "short.csv", index=False)
    found = annotating.annotate(model, tmp_path / "short.csv", rate=360)
    assert len(found.r_peaks) in (3, 4, 5) and found.summary["seconds"] == 3
    annotating.write(model, found, tmp_path / "out")


def test_the_command_goes_on_after_a_record_that_it_cannot_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["ecglib", "annotate", str(SAMPLE / "nothing"), str(SAMPLE / "100"), "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", call)
    with pytest.raises(SystemExit) as done:
        cli.main()
    said = capsys.readouterr()
    assert done.value.code == 2 and "nothing.hea: missing header" in said.err
    assert re.fullmatch(
        rf"100: \d+ beats \(.*\); \d+ unsure; .*{re.escape(str(tmp_path))}/100/report\.html\n", said.out
    )
    assert {path.name for path in (tmp_path / "100").iterdir()} == {"100.atr", "summary.json", "report.html"}


def test_it_needs_no_torch_and_no_clone(tmp_path: Path) -> None:
    code = (
        "import sys; from ecglib import cli; sys.argv[1:] = sys.argv[1:]\n"
        "try:\n    cli.main()\nexcept SystemExit as done:\n    print(done.code, 'torch' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, "annotate", str(SAMPLE / "100"), "--json"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    *_, last = run.stdout.splitlines()
    assert last == "0 False", run.stderr
    assert json.loads(run.stdout.splitlines()[0])["record"] == "100"
