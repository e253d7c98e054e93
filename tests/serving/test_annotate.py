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
from projects import Call

from ecglib import serving
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
    edfio.Edf([pulse, *uv[::-1]]).write(tmp_path / "a.EDF")
    of_edf = annotating.annotate(model, tmp_path / "a.EDF")
    assert of_wfdb.summary["leads"] == of_csv.summary["leads"] == of_edf.summary["leads"] == ["MLII"]
    assert np.array_equal(of_csv.r_peaks, of_wfdb.r_peaks)
    assert np.array_equal(of_csv.classified.probability, of_wfdb.classified.probability)
    near = np.abs(of_edf.r_peaks - of_wfdb.r_peaks) <= 1
    assert near.all() and (of_edf.classified.decided == of_wfdb.classified.decided).mean() > 0.99


CSV = {
    "no rate": ("MLII\n0.1\n0.2\n", None, "no sampling rate"),
    "no header": ("0.1,0.2\n0.3,0.4\n", 250, r"its first line is '0\.1,0\.2'; expected names of the leads"),
    "text": ("MLII\n0.1\nhigh\n", 250, "can't be read .*'high'"),
    "empty": ("", 250, "its first line is ''"),
    "flat": ("MLII\n" + "0.1\n" * 1500, 250, "flat lead"),
    "blank line": ("MLII\n" + "0.1\n\n0.2\n" * 900, 250, "no number"),
    "blank cell": ("MLII,V1\n" + "0.1,0.2\n,0.3\n" * 900, 250, "no number"),
    "no sample": ("MLII\n", 250, "empty signal"),
    "more numbers than names": ("MLII,V1\n" + "0.1,0.2,0.3\n" * 900, 250, "3 numbers a line under 'MLII,V1'"),
    "more further down": ("MLII,V1\n0.1,0.2\n0.1,0.2,0.3\n", 250, "Expected 2 fields in line 3, saw 3"),
    "fewer": ("MLII,V1\n" + "0.1\n" * 900, 250, "1 numbers a line"),
    "semicolons": ("MLII;V1\n" + "0,1;0,2\n" * 900, 250, "with commas between them"),
    "decimal commas": ("MLII\n" + "0,1\n" * 900, 250, "2 numbers a line under 'MLII'"),
    "a lead twice": ("MLII,MLII\n" + "0.1,0.2\n" * 900, 250, "names of the leads, each once"),
    "µV": ("MLII\n" + "100\n-900\n" * 900, 250, r"implausible amplitude \(1e\+03 mV\); expected 0\.05 to 20 mV"),
    "3 s": ("MLII\n" + "0.1\n0.9\n" * 375, 250, r"short signal \(3\.00 s\); expected 5 s or more"),
    "a slow rate": ("MLII\n" + "0.1\n0.9\n" * 900, 90, r"unsupported rate \(90 Hz\)"),
    "no finite rate": ("MLII\n" + "0.1\n0.9\n" * 900, float("inf"), r"unsupported rate \(inf Hz\)"),
}


@pytest.mark.parametrize("what", CSV)
def test_files_that_are_refused(model: Model, tmp_path: Path, what: str) -> None:
    text, rate, said = CSV[what]
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UserError, match=said):
        annotating.annotate(model, tmp_path / "a.csv", rate=rate)


def edf(path: Path, signals: np.ndarray, rates: list[float], labels: list[str], *, continuous: bool = True) -> Path:
    """Signals `(leads, samples)` in mV, each as many seconds as the first has at its rate; with `continuous` false one
    data record begins later than the one before it ends."""
    seconds = int(signals.shape[1] / rates[0])
    made = [
        edfio.EdfSignal(lead[: round(seconds * fs)].astype(float), fs, label=label, physical_dimension="mV")
        for lead, fs, label in zip(signals, rates, labels, strict=True)
    ]
    file = edfio.Edf(made, annotations=[edfio.EdfAnnotation(1, None, "it")], data_record_duration=1)
    file.write(path)
    if not continuous:
        content = path.read_bytes()
        assert content.count(b"+9\x14") == 1
        path.write_bytes(content.replace(b"EDF+C", b"EDF+D").replace(b"+9\x14", b"+8\x14"))
    return path


def test_the_lead_of_an_edf_file_is_chosen_before_its_rate(model: Model, tmp_path: Path) -> None:
    signals = records.read_recording(SAMPLE, "119").signals[:, :7200]
    slow = edf(tmp_path / "sleep.edf", signals[[0, 1]], [360, 120], ["MLII", "EEG"])
    found = annotating.annotate(model, slow)
    assert found.recording.leads == ("MLII",) and found.summary["seconds"] == 20 and not found.summary["repaired"]
    slow.write_bytes(slow.read_bytes()[:-2])
    with pytest.raises(UserError, match=r"sleep\.edf: damaged, truncated, or no EDF"):
        annotating.annotate(model, slow)
    with pytest.raises(UserError, match=r"it has interruptions \(EDF\+D\)"):
        annotating.annotate(model, edf(tmp_path / "d.edf", signals, [360, 360], ["MLII", "V1"], continuous=False))


def test_samples_missing_in_another_lead_and_another_lead_than_the_models_are_named(
    model: Model, tmp_path: Path
) -> None:
    recording = records.read_recording(SAMPLE, "119")
    table = pd.DataFrame(recording.signals.T, columns=list(recording.leads))
    table.loc[[5, 900], "V1"] = np.nan
    table.loc[7, "V1"] = np.inf
    table.to_csv(tmp_path / "a.csv", index=False)
    found = annotating.annotate(model, tmp_path / "a.csv", rate=recording.fs)
    assert found.summary["repaired"] == ["3 samples of V1 are no number"]
    annotating.write(model, found, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.atr", "summary.json", "report.html"}
    second = annotating.annotate(model, SAMPLE / "119", leads=["V1"])
    assert second.summary["leads"] == ["V1"] and second.recording.leads == ("MLII", "V1")
    assert second.summary["repaired"] == ["V1 read in place of MLII"] == list(second.recording.repairs)
    assert " in V1; " in annotating.told(second, tmp_path)


def test_equal_names_and_names_that_lead_elsewhere_are_refused(model: Model, tmp_path: Path, call: Call) -> None:
    out = tmp_path / "out"
    for given, said in (
        ([SAMPLE / "100", tmp_path / "100.csv"], "100: two recordings of this name"),
        ([SAMPLE / "100", SAMPLE / "100.dat"], "100: two recordings of this name"),
        ([SAMPLE / "100", tmp_path / "...csv"], "its name is no name of a folder"),
    ):
        done = call("annotate", *given, "--out", out)
        assert done.code == 2 and said in done.err and not out.exists()
    with pytest.raises(UserError, match="its name is no name of a folder"):
        annotating.annotate(model, tmp_path / "...csv", rate=360)


def test_recordings_and_calls_that_are_refused(model: Model, tmp_path: Path, annotated: Path) -> None:
    (tmp_path / "a.edf").write_bytes(b"0       " + b"x" * 300)
    for given, said in (
        ({"path": tmp_path / "a.edf"}, r"a\.edf: damaged, truncated, or no EDF; expected an EDF or EDF\+ file$"),
        ({"path": tmp_path / "a.edf", "rate": 100.0}, "only means something of a CSV"),
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
    with pytest.raises(UserError, match=r"can't be written \(Not a directory\); --out names another"):
        annotating.write(model, found, tmp_path / "file" / "208")


def test_the_command_goes_on_after_a_record_that_it_cannot_read(tmp_path: Path, call: Call) -> None:
    done = call("annotate", SAMPLE / "nothing", SAMPLE / "100", "--out", tmp_path)
    assert done.code == 2 and "nothing.hea: missing header" in done.err
    said = rf"100: \d+ beats \(.*\) in MLII; \d+ unsure; .*{re.escape(str(tmp_path))}/100/report\.html\n"
    assert re.fullmatch(said, done.out)
    assert {path.name for path in (tmp_path / "100").iterdir()} == {"100.atr", "summary.json", "report.html"}


def test_it_needs_no_torch_and_no_clone(tmp_path: Path) -> None:
    code = (
        "import sys; from ecglib import cli\n"
        "try:\n    cli.main()\nexcept SystemExit as done:\n    print(done.code, 'torch' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, "annotate", str(SAMPLE / "100"), "--json"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    *_, last = run.stdout.splitlines()
    assert last == "0 False", run.stderr
    assert json.loads(run.stdout.splitlines()[0])["record"] == "100"
