"""Batch inference: what goes in comes out once, whatever is wrong with it, killed or not, and by whomever at once."""

from __future__ import annotations

import itertools
import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import cohorts
import excerpts
import killing
import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
import pytest

from ecglib import fingerprint, serving
from ecglib.data import databases, detection, records
from ecglib.errors import UserError

pytest.importorskip("deltalake")
from deltalake import DeltaTable, write_deltalake
from tables import NAMES, SCHEMA, bad, of_folder, read, row, table, without

from ecglib.serving import delta, predict, rows

CNET = "ecglib:cnet"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute of three records."""
    folder = tmp_path_factory.mktemp("wfdb") / "records"
    excerpts.mitdb(folder, records=NAMES)
    return folder


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """No processes: what they do is done here."""
    monkeypatch.setattr(predict, "pooled", lambda work, items, workers: itertools.starmap(work, items))


def parquet(where: Path, rows: list[dict[str, Any]]) -> str:
    pa.parquet.write_table(pa.Table.from_pylist(rows, SCHEMA), where)
    return str(where)


def reasons(where: Path) -> dict[str, str]:
    return {row["record"]: row["reason"] for row in read(f"{where}_quarantine")}


@pytest.mark.usefixtures("here")
def test_every_beat_is_a_row(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "beats"
    done = predict.predict(CNET, str(folder), str(out), peaks="atr")
    found, model = read(out), serving.load(CNET)
    assert DeltaTable(str(out)).schema().to_arrow() is not None and done.rows == len(found) and done.records == 3
    for name in NAMES:
        marks = records.read_annotations(folder, name)
        expected = model.classify(model.read(folder, name), marks.samples[marks.is_beat])
        own = [row for row in found if row["record"] == name]
        assert [row["sample"] for row in own] == expected.sample.tolist()
        assert [row["class"] for row in own] == [model.card.classes[i] for i in expected.decided]
        p = np.array([[row[f"p_{c}"] for c in model.card.classes] for row in own], dtype=np.float32)
        assert np.array_equal(p, expected.probability)
        assert own[3]["time_s"] == own[3]["sample"] / 360
    assert {row["version"] for row in found} == {model.card.version}
    assert not reasons(out) and "lead MLII; 360 Hz" in done.compared


@pytest.mark.usefixtures("here")
def test_tables_give_the_same_bits_as_wfdb(folder: Path, tmp_path: Path) -> None:
    predict.predict(CNET, str(folder), str(tmp_path / "wfdb"), peaks="atr")
    expected = without(read(tmp_path / "wfdb"), "input_hash")
    given = table(tmp_path / "delta", of_folder(folder))
    (tmp_path / "parquet").mkdir()
    file = parquet(tmp_path / "parquet" / "0.parquet", of_folder(folder))
    places = [given, f"file://{given}", str(tmp_path / "parquet"), file]
    whole = pa.Table.from_pylist(of_folder(folder), SCHEMA)
    write_deltalake(str(tmp_path / "parts"), whole, partition_by=["fs", "record"])
    hive = {"partitioning": ["fs"], "partitioning_flavor": "hive"}
    pa.dataset.write_dataset(whole, tmp_path / "hive", format="parquet", **hive)
    places += [str(tmp_path / "parts"), str(tmp_path / "hive")]
    for i, place in enumerate(places):
        predict.predict(CNET, place, str(tmp_path / f"out{i}"))
        assert without(read(tmp_path / f"out{i}"), "input_hash") == expected


@pytest.mark.usefixtures("here")
def test_training_data_can_be_predicted_as_it_is(folder: Path, tmp_path: Path) -> None:
    rows_ = [{("record_id" if name == "record" else name): value for name, value in row.items()}
             for row in of_folder(folder)]  # fmt: skip
    schema = pa.schema([one.with_name("record_id") if one.name == "record" else one for one in SCHEMA])
    pa.parquet.write_table(pa.Table.from_pylist(rows_, schema), tmp_path / "a.parquet")
    predict.predict("ecglib:cnet", str(tmp_path / "a.parquet"), str(tmp_path / "out"), workers=1)
    assert {row["record"] for row in read(tmp_path / "out")} == set(NAMES)


def test_what_else_lies_in_a_folder_of_a_table_or_of_records_is_passed_over(folder: Path, tmp_path: Path) -> None:
    alone, both = tmp_path / "alone", shutil.copytree(folder, tmp_path / "both")
    (alone / "_temporary").mkdir(parents=True)
    (alone / "README.md").write_text("of the table")
    (alone / "_temporary" / "torn.parquet").write_bytes(b"PAR1 and no more")
    parquet(alone / "0.parquet", of_folder(folder))
    parquet(both / "0.parquet", of_folder(folder)[:1])
    for place in (alone, both):
        assert predict.predict(CNET, str(place), str(tmp_path / f"of {place.name}")).records == 3


@pytest.mark.usefixtures("here")
def test_r_peaks_that_nobody_gives_are_detected(folder: Path, tmp_path: Path) -> None:
    predict.predict(CNET, str(folder), str(tmp_path / "wfdb"))
    found = read(tmp_path / "wfdb")
    for name in NAMES:
        peaks = detection.of_recording(*serving.load(CNET).read_whole(folder, name))
        assert [row["sample"] for row in found if row["record"] == name] == peaks[:-1].tolist()
    given = table(tmp_path / "in", [{**row, "r_peaks": None} for row in of_folder(folder)])
    predict.predict(CNET, given, str(tmp_path / "table"))
    assert without(read(tmp_path / "table"), "input_hash") == without(found, "input_hash")


@pytest.mark.usefixtures("here")
def test_what_is_done_is_passed_over_and_what_changed_is_replaced_as_a_whole(folder: Path, tmp_path: Path) -> None:
    given, out = of_folder(folder), tmp_path / "out"
    place = table(tmp_path / "in", given)
    first = predict.predict(CNET, place, str(out))
    before = read(out)
    again = predict.predict(CNET, place, str(out))
    assert (first.records, again.records, again.done) == (3, 0, 3) and read(out) == before
    given[1]["r_peaks"] = given[1]["r_peaks"][10:] + 1  # found anew, and fewer
    table(tmp_path / "in", given)
    changed = predict.predict(CNET, place, str(out))
    assert (changed.records, changed.done) == (1, 2)
    found = read(out)
    assert [row for row in found if row["record"] != "208"] == [row for row in before if row["record"] != "208"]
    samples = [row["sample"] for row in found if row["record"] == "208"]
    assert set(samples) <= set(given[1]["r_peaks"].tolist()) and len(samples) == changed.rows


@pytest.mark.usefixtures("here")
def test_other_r_peaks_are_another_input(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, place = tmp_path / "out", table(tmp_path / "in", [{**row, "r_peaks": None} for row in of_folder(folder)])
    predict.predict(CNET, str(folder), str(out))
    detected = without(read(out))
    assert predict.predict(CNET, str(folder), str(out), peaks="atr").records == 3
    annotated = without(read(out))
    assert annotated != detected and len({row["input_hash"] for row in annotated + detected}) == 6
    assert predict.predict(CNET, str(folder), str(out), peaks="atr").done == 3
    predict.predict(CNET, place, str(out))
    assert predict.predict(CNET, place, str(out)).done == 3
    code = fingerprint.of_code
    monkeypatch.setattr(fingerprint, "of_code", lambda names: f"another {code(names)}")
    assert predict.predict(CNET, place, str(out)).records == 3
    assert predict.predict(CNET, table(tmp_path / "in", of_folder(folder)), str(out)).records == 3
    monkeypatch.setattr(fingerprint, "of_code", code)
    assert predict.predict(CNET, place, str(out)).done == 3, "of given R peaks, the detector tells nothing"


@pytest.mark.usefixtures("here")
def test_models_stand_side_by_side(folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(serving.load(CNET).folder, tmp_path / "other")
    card = serving.load(CNET).card.model_copy(update={"temperature": 3.0})
    card = card.model_copy(update={"version": card.sha256()})
    (other / "model.json").write_text(card.model_dump_json())
    out = tmp_path / "out"
    predict.predict(CNET, str(folder), str(out), peaks="atr")
    before = read(out)
    predict.predict(str(other), str(folder), str(out), peaks="atr")
    assert [row for row in read(out) if row["version"] != card.version] == before
    assert sum(row["version"] == card.version for row in read(out)) == len(before)


@pytest.mark.usefixtures("here")
def test_a_bad_record_is_set_aside_with_its_reason_until_it_is_mended(folder: Path, tmp_path: Path) -> None:
    good, out = of_folder(folder)[0], tmp_path / "out"
    broken = bad(records.read_recording(folder, "100"))
    broken["missing value, of leads"] = broken.pop("too few leads")
    given = [good, *({**values, "record": f"it's {reason}"} for reason, values in broken.items())]
    given += [{**good, "record": "twice"}, {**good, "record": "twice"}]
    place = table(tmp_path / "in", given)
    done = predict.predict(CNET, place, str(out))
    expected = {f"it's {reason}": reason.split(",")[0] for reason in broken} | {"twice": "a record twice"}
    assert reasons(out) == expected and done.records == 1
    assert done.set_aside == Counter(expected.values()) and "1 flat signal" in predict.told(done)
    assert all("\n" not in row["message"] and row["message"] for row in read(f"{out}_quarantine"))
    assert predict.predict(CNET, place, str(out)).set_aside == done.set_aside and reasons(out) == expected

    mended = [{**good, "record": "it's flat signal"}, {**broken["NaN samples"], "record": "100"}]
    predict.predict(CNET, table(tmp_path / "in", mended), str(out))
    assert "it's flat signal" not in reasons(out) and reasons(out)["100"] == "NaN samples"
    assert {row["record"] for row in read(out)} == {"it's flat signal"}, "rows of the broken input are gone"


@pytest.mark.usefixtures("here")
def test_a_broken_wfdb_record_and_one_that_breaks_the_model(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(folder, tmp_path / "records")
    (copy / "208.dat").write_bytes((copy / "208.dat").read_bytes()[:-100])
    (copy / "233.atr").unlink()
    out = tmp_path / "out"
    assert predict.predict(CNET, str(copy), str(out), peaks="atr").records == 1
    assert reasons(out) == {"208": "truncated signal", "233": "missing annotations"}

    def fails(*_: object) -> None:
        raise ZeroDivisionError("of its own")

    monkeypatch.setattr(serving.Model, "classify", fails)
    with pytest.raises(UserError, match=r"no record could be classified \(3 failed\); the reasons are in"):
        predict.predict(CNET, str(folder), str(tmp_path / "none"), peaks="atr")
    assert set(reasons(tmp_path / "none")) == set(NAMES)


@pytest.mark.usefixtures("here")
def test_whole_recordings(tmp_path: Path) -> None:
    cohorts.ptb_xl(tmp_path / "ptb-xl", 3, 2)
    given = databases.Source("", tmp_path / "ptb-xl", False, tuple(records.list_records(tmp_path / "ptb-xl")))
    done = predict.predict("ecglib:xresnet", str(given.folder), str(tmp_path / "wfdb"))
    model, found = serving.load("ecglib:xresnet"), read(tmp_path / "wfdb")
    assert done.records == len(given.records) and len(found) == done.rows == 5 * done.records
    expected = model.score(model.read(given.folder, given.records[0]))
    own = {row["label"]: row for row in found if row["record"] == given.records[0]}
    assert [np.float32(own[label]["probability"]) for label in model.card.classes] == expected.tolist()
    assert [own[label]["decided"] for label in model.card.classes] == model.decide(expected).tolist()

    raw = [row(records.read_recording(given.folder, name)) for name in given.records]
    predict.predict("ecglib:xresnet", table(tmp_path / "in", raw), str(tmp_path / "table"))
    assert without(read(tmp_path / "table"), "input_hash") == without(found, "input_hash")


@pytest.mark.usefixtures("here")
def test_leads_that_recordings_lack_are_told(tmp_path: Path) -> None:
    given = tmp_path / "in"
    given.mkdir()
    for name, leads in {"a": ("MLII", "V5"), "b": ("MLII", "V5"), "c": records.LEADS}.items():
        cohorts.record(given, name, False, leads)
    line = "lead V5 (2), I II III AVR AVL AVF V1 V2 V3 V4 V5 V6 (1); 500 Hz"
    warning = "2 of 3 records lack one or more of the twelve leads"
    rows_ = [row(records.read_recording(given, name)) for name in "abc"]
    for place, out in ((str(given), "of wfdb"), (table(tmp_path / "table", rows_), "of a table")):
        done = predict.predict("ecglib:xresnet", place, str(tmp_path / out))
        assert (done.records, done.warnings) == (3, [warning]) and line in done.compared


def wrong(tmp_path: Path, folder: Path) -> dict[str, tuple[str, str, str, str]]:
    """Message -> model, input, output, peaks."""
    good, out = table(tmp_path / "good", of_folder(folder)), str(tmp_path / "out")
    full = pa.Table.from_pylist(of_folder(folder), SCHEMA)

    def file(name: str, made: pa.Table) -> str:
        pa.parquet.write_table(made, tmp_path / f"{name}.parquet")
        return str(tmp_path / f"{name}.parquet")

    other = tmp_path / "other"
    write_deltalake(str(other), pa.table({"a": [1]}))
    (tmp_path / "a file").write_text("no table")
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and no more")
    unnamed = full.set_column(0, "record", pa.array(["a", None, "b"]))
    as_text = full.set_column(1, "fs", pa.array(["360"] * 3))
    nested = full.set_column(3, "signal", pa.array([[[1.0]]] * 3))
    return {
        "no such model": ("ecglib:nothing", good, out, ""),
        "nowhere: not there; expected a Delta table": (CNET, str(tmp_path / "nowhere"), out, ""),
        "empty: no record in it; expected a Delta table": (CNET, str(tmp_path / "empty"), out, ""),
        "rows.parquet: empty": (CNET, file("rows", full.slice(0, 0)), out, ""),
        "torn.parquet: can't be read as Parquet": (CNET, str(tmp_path / "torn.parquet"), out, ""),
        "no column signal": (CNET, file("lacks", full.drop_columns("signal")), out, ""),
        "column fs is string; expected double": (CNET, file("text", as_text), out, ""),
        "column signal is list<element: list": (CNET, file("nested", nested), out, ""),
        "1 rows without a name": (CNET, file("null", unnamed), out, ""),
        "ecglib:xresnet is a model of recordings": ("ecglib:xresnet", str(folder), out, "atr"),
        "the input is a table": (CNET, good, out, "atr"),
        "a file: a file; expected a Delta table": (CNET, str(tmp_path / "a file"), out, ""),
        "no annotations .qrs": (CNET, str(folder), out, "qrs"),
        "s3x://nowhere": (CNET, "s3x://nowhere/table", out, ""),
        "another schema (a long); expected record string": (CNET, good, str(other), ""),
        "a file: no Delta table, but something else": (CNET, good, str(tmp_path / "a file"), ""),
        "records: no Delta table, but something else": (CNET, good, str(folder), ""),
        "out: inside the input": (CNET, str(folder), f"{folder}/out", ""),
        "--output: empty; expected a folder": (CNET, good, "", ""),
        "good: inside the input": (CNET, f"file://{good}/", good, ""),
        "s3://b/t/u: inside the input": (CNET, "s3://b/t/", "s3://b/t/u", ""),
        "a file/out": (CNET, good, str(tmp_path / "a file" / "out"), ""),
    }  # fmt: skip


@pytest.mark.usefixtures("here")
def test_a_wrong_whole_is_one_line_and_nothing_is_written(folder: Path, tmp_path: Path) -> None:
    for message, (model, given, output, peaks) in wrong(tmp_path, folder).items():
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(UserError) as caught:
            predict.predict(model, given, output, peaks=peaks)
        assert message in str(caught.value) and "\n" not in str(caught.value), str(caught.value)
        assert sorted(tmp_path.rglob("*")) == before, message


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("output", [".", "./", "in/..", "file://{}/in/.."])
def test_an_output_without_a_name_has_that_of_its_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    out = tmp_path / "out"
    (out / "in").mkdir(parents=True)
    monkeypatch.chdir(out)
    monkeypatch.delenv("ECGLIB_ROOT", raising=False)  # whole paths need no project
    with pytest.raises(UserError, match=f"^{out}: no Delta table, but something else"):
        predict.predict(CNET, str(folder), output.format(out), peaks="atr")
    assert [*tmp_path.rglob("*")] == [out, out / "in"]
    (out / "in").rmdir()
    done = predict.predict(CNET, str(folder), output.format(out), peaks="atr")
    assert (done.records, done.output, done.quarantine) == (3, str(out), f"{out}_quarantine")
    assert len(read(out)) == done.rows and {path.name for path in tmp_path.iterdir()} == {"out", "out_quarantine"}


@pytest.mark.usefixtures("here")
def test_a_file_that_breaks_off_or_differs_ends_the_run_after_what_is_whole(folder: Path, tmp_path: Path) -> None:
    given, (first, second, third) = tmp_path / "in", of_folder(folder)
    given.mkdir()
    parquet(given / "0.parquet", [first, second])
    nested = pa.table({"record": ["233"], "fs": [360.0], "leads": [["II"]], "signal": [[[1.0]]], "r_peaks": [[1]]})
    pa.parquet.write_table(nested, given / "1.parquet")
    with pytest.raises(UserError, match=r"1.parquet: column signal is list<element: list<element: double>>"):
        predict.predict(CNET, str(given), str(tmp_path / "out"))
    assert {row["record"] for row in read(tmp_path / "out")} == {"100", "208"}
    parquet(given / "1.parquet", [third])
    whole = (given / "1.parquet").read_bytes()
    (given / "1.parquet").write_bytes(whole[:100] + bytes(4000) + whole[4100:])
    with pytest.raises(UserError, match=r"1.parquet: can't be read as Parquet"):
        predict.predict(CNET, str(given), str(tmp_path / "out"))
    assert {row["record"] for row in read(tmp_path / "out")} == {"100", "208"}


def test_the_table_refuses_what_is_no_probability(tmp_path: Path) -> None:
    card = serving.load(CNET).card
    out = predict.Output(str(tmp_path / "out"), card)
    for p in (np.nan, -0.1, 1.1):
        one = rows.Scored("a", "", "", "", np.full((2, 5), p, np.float32), np.zeros(2, int), np.arange(2), 360.0)
        out.put(one)
        with pytest.raises(UserError, match="can't be written"):
            out.flush()
        out = predict.Output(str(tmp_path / "out"), card)
    assert not read(tmp_path / "out")


def test_drift_is_warned_of() -> None:
    seen = predict.Seen(serving.load(CNET).card)
    low, middle, high = seen.card.training["amplitude_mv"]
    for i, value in enumerate([middle, high * 2, high * 3]):
        about = {"amplitude_mv": value, "beats_per_minute": 75.0}
        p = np.ones((1, 5), np.float32)
        seen.add(rows.Scored(str(i), "x", "", "", p, fs=100.0, leads=("V5",), about=about))
    line, warnings = seen.compared()
    assert "lead V5; 100 Hz; amplitude " in line and f"(training {low:.3g} to {high:.3g})" in line
    assert [warning.split()[0] for warning in warnings] == ["3", "3", "amplitude"]


def test_an_engine_needs_neither_torch_nor_delta() -> None:
    code = "import sys; from ecglib.serving import rows; print({'torch', 'deltalake'} & {*sys.modules})"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"
    assert pickle.loads(pickle.dumps(rows.score)) is rows.score


def test_writers_that_collide_lose_nothing(tmp_path: Path) -> None:
    where, schema = str(tmp_path / "table"), pa.schema({"record": pa.string(), "writer": pa.int64()})
    delta.make(where, schema)

    def write(writer: int) -> None:
        for i in range(8):
            made = pa.record_batch({"record": [f"{i}", f"{i}"], "writer": [writer, writer]}, schema=schema)
            delta.replace(where, f"record = '{i}'", schema, lambda made=made: [made])  # type: ignore[misc]
            delta.merge(where, pa.table({"record": [f"w{writer}"], "writer": [i]}, schema=schema), ["record"])

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = DeltaTable(where).to_pyarrow_table().to_pylist()
    assert Counter(row["record"] for row in found) == {f"{i}": 2 for i in range(8)} | {f"w{i}": 1 for i in range(3)}
    assert all(row["writer"] == 7 for row in found if row["record"][0] == "w")


@pytest.mark.long
def test_three_kills_and_two_at_once(small_mitdb: Path, tmp_path: Path) -> None:
    print(killing.kill(small_mitdb / "mitdb", tmp_path, 3))
    print(killing.at_once(small_mitdb / "mitdb", tmp_path))


@pytest.mark.slow
def test_a_dead_worker_is_told_and_the_command_goes_on_next_time(folder: Path, tmp_path: Path) -> None:
    items = [(rows.Wfdb(folder, name, "atr"), "") for name in NAMES]
    with pytest.raises(UserError, match=r"a worker died .* at one of 100, 208, 233; repeat it"):
        list(predict.pooled(killing.dies, items, 1))
    command = [sys.executable, "-m", "ecglib", "predict", CNET, "--input", str(folder), "--peaks", "atr", "--json"]
    command += ["--output", str(tmp_path / "out"), "--workers", "2"]
    done = json.loads(subprocess.check_output(command, env=os.environ, text=True))
    assert (done["records"], done["set_aside"]) == (3, {}) and len(read(tmp_path / "out")) == done["rows"]


@pytest.mark.slow
def test_ray_gives_the_same_rows_though_a_worker_is_killed(
    small_mitdb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # Ray keeps its token there
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    command = [sys.executable, "-m", "ecglib", "predict", CNET, "--input", str(small_mitdb / "mitdb"), "--json"]
    command += ["--peaks", "atr", "--workers", "2"]
    subprocess.run([*command, "--output", str(tmp_path / "pool")], check=True, capture_output=True)
    ray = [*command, "--engine", "ray", "--output", str(tmp_path / "ray")]
    for _ in range(3):  # on a busy machine its start may time out
        with subprocess.Popen(ray, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            killed = killing.worker_of_ray(process)
            out, errors = process.communicate()
        if "Ray does not start" not in errors:
            break
    assert process.returncode == 0, errors
    assert killed and json.loads(out)["records"] == 48 and "a worker died" in errors.lower()
    assert without(read(tmp_path / "ray")) == without(read(tmp_path / "pool"))


def test_ray_that_is_missing_is_one_line(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"--engine ray: ray is not installed; .*pip install \"ecglib-book\[tune\]\""):
        predict.predict(CNET, str(folder), str(tmp_path / "out"), engine="ray")
    assert not (tmp_path / "out").exists()


def test_ray_that_does_not_start_leaves_no_output(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(UserError, match="Ray does not start"):
        predict.predict(CNET, str(folder), str(tmp_path / "out"), engine="ray")
    assert not any(path.name.startswith("out") for path in tmp_path.iterdir())
