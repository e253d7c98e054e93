"""Runs in MLflow: logged once and whole, by several processes at once, and never at the cost of a hanging server."""

from __future__ import annotations

import multiprocessing
import shutil
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import servers
from projects import tracked
from sqlalchemy import make_url

import ecglib.report  # noqa: F401  (so that runs get pictures)
from ecglib import tracking
from ecglib.errors import UserError
from ecglib.experiment import record as results
from ecglib.experiment.record import Record
from tests.report.example import example_record, with_moved

FORK = multiprocessing.get_context("fork")  # mlflow is imported by then


def log_each(folders: list[Path]) -> None:
    for folder in folders:
        tracking.log(results.load(folder / "record.json"), folder)


def finished(root: Path, record: Record) -> Path:
    """The folder of a finished run of this record."""
    folder = root / "runs" / record.key
    record.save(folder / "record.json")
    for seed in record.seeds:
        (folder / f"weights-seed{seed}.safetensors").write_bytes(b"weights of seed %d" % seed)
    return folder


def client_of(root: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{root / 'mlflow.db'}")


def test_two_processes_make_and_fill_a_store(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (root / "mlflow.db").unlink()
    folders = [finished(root, example_record(f"heartbeat/e{k}", key=f"key{k}", draw=k, epochs=2)) for k in range(3)]
    processes = [FORK.Process(target=log_each, args=(share,)) for share in (folders[:2], folders[2:])]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert capfd.readouterr() == ("", ""), "logging is silent"
    assert sorted(run.data.tags["key"] for run in tracked(root)) == ["key0", "key1", "key2"]


def test_one_run_whole_once_and_replaced(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = with_moved(example_record(epochs=400, protocol="inter"), example_record(protocol="inter", draw=1))
    folder = finished(root, record)
    run_id = tracking.log(record, folder)
    _is_whole(root, record, run_id)

    assert tracking.log(record, folder) == run_id
    assert len(tracked(root)) == 1

    again = record.model_copy(update={"evaluated": {"created": "later"}})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(tracking, "ARTIFACTS", {"it": interrupted})
        tracking.log(again, folder)
    assert len(tracked(root)) == 2, "the other one is half-logged"
    replaced = tracking.log(again, folder)
    assert [run.info.run_id for run in tracked(root)] == [replaced]
    assert replaced != run_id
    assert [one.name for one in (root / "mlartifacts").iterdir()] == [replaced]


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_what_is_not_in_the_store_any_more_is_logged_anew(root: Path) -> None:
    record = example_record(epochs=2)
    folder = finished(root, record)
    first = tracking.log(record, folder)
    note = folder / tracking.NOTE
    # as if that run was in a store that is lost
    note.write_text(note.read_text(encoding="utf-8").replace(first, "0" * 32), encoding="utf-8")
    again = tracking.log(record, folder)
    client_of(root).delete_run(again)
    anew = tracking.log(record, folder)
    assert {run.info.run_id for run in tracked(root)} == {first, anew}
    assert tracking.log(record, folder) == anew
    assert len({first, again, anew}) == 3


def test_each_store_has_its_own(root: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = example_record(epochs=2)
    folder = finished(root, record)
    first = tracking.log(record, folder)
    (root / "other").mkdir()
    shutil.copy(empty_store, root / "other")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///other/mlflow.db")
    second = tracking.log(record, folder)
    assert second != first
    assert tracking.log(record, folder) == second
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert tracking.log(record, folder) == first


def test_a_named_run_takes_the_place_of_a_nameless_one_and_not_of_another(root: Path) -> None:
    named, other = example_record("heartbeat/a", key="same"), example_record("heartbeat/b", key="same")
    nameless = named.model_copy(update={"experiment": ""})
    folder = finished(root, named)
    first = tracking.log(nameless, folder)
    a = tracking.log(named, folder)
    assert a != first
    assert len(tracked(root)) == 1
    assert tracking.log(nameless, folder) == a, "it is there, and has a name"
    b = tracking.log(other, folder)
    assert tracking.log(named, folder) == a
    assert len(tracked(root)) == 2
    assert b != a


def _is_whole(root: Path, record: Record, run_id: str) -> None:
    """Everything a finished run should hold is there, the history across MLflow's limit of 1000 metrics a call."""
    client = client_of(root)
    run = client.get_run(run_id)
    assert (run.info.run_name, run.info.status) == ("baseline", "FINISHED")
    assert client.get_experiment(run.info.experiment_id).name == "heartbeat"
    assert run.data.params == {key: str(value) for key, value in record.parameters.items()}
    tags = {name: getattr(record, name) for name in ("key", "experiment", "profile", "commit", "hardware", "precision")}
    assert (tags | {"sample": "false"}).items() <= run.data.tags.items()
    for seed in record.training:
        history = client.get_metric_history(run_id, f"seed{seed.seed}/val_metric")
        assert [(one.step, one.value) for one in history] == [(e.epoch, e.val_metric) for e in seed.history]
    assert record.moved is not None
    numbers = {
        "macro_f1_low": record.metrics["macro_f1"].low,
        "class/S/ppv": record.per_class["S"]["ppv"].mean,
        "ec57/VEB/fpr_high": record.ec57["VEB"]["fpr"].high,
        "moved/macro_f1": record.moved.metrics["macro_f1"].mean,
        "moved/class/S/ppv": record.moved.per_class["S"]["ppv"].mean,
    }
    assert numbers.items() <= run.data.metrics.items()

    kept = root / "mlartifacts" / run_id / "artifacts"
    pictures = ["confusion.png", "learning-curves.png"]
    texts = ["record.json", "record.parquet", "report.md"]
    assert sorted(one.name for one in kept.iterdir()) == [*pictures, *texts, "weights"]
    assert results.load(kept / "record.json") == record
    assert all((kept / picture).read_bytes().startswith(b"\x89PNG") for picture in pictures)
    assert "| N " in (kept / "report.md").read_text(encoding="utf-8")
    for seed in (0, 1, 2):
        assert (kept / "weights" / f"weights-seed{seed}.safetensors").read_bytes() == b"weights of seed %d" % seed


def test_a_deaf_server_fails_in_time(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracking.SERVER_SECONDS <= 15, "20 s in all, the import of mlflow among them"
    monkeypatch.setattr(tracking, "SERVER_SECONDS", 1)
    record, began = example_record(), time.monotonic()
    with servers.deaf() as where, pytest.raises(UserError, match=r"MLFLOW_TRACKING_URI: .*no answer within") as caught:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://someone:secret@{where}")
        tracking.log(record, finished(root, record))
    assert time.monotonic() - began < 100, "with mlflow's own patience it takes many minutes"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        *((uri, "MLFLOW_TRACKING_URI") for uri in ("http://127.0.0.1:9", "./mlruns", "no-such-scheme://x")),
        ("", r"mlflow\.db"),
    ],
)
def test_an_unusable_address_or_store_is_a_user_error(
    root: Path, uri: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "mlflow.db").write_text("no database " * 100)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError, match=said):
        tracking.log(example_record(), root)
    with pytest.raises(ValueError, match="without a key"):
        tracking.log(example_record(key=""), root)


@pytest.mark.parametrize(
    ("uri", "name"),
    [("", "mlflow.db"), ("sqlite:///of%20mine%3F/50%2525.db?timeout=9", "of mine?/50%25.db")],
)
def test_the_store_lies_in_the_project_whatever_its_folder_is_called(
    tmp_path: Path, uri: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "a?b 50%25 %2F %s #&=;+@:'~{x}心"
    root.mkdir()
    (root / "_quarto.yml").touch()
    monkeypatch.setenv("ECGLIB_ROOT", str(root))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(root)
    record = example_record(epochs=2)
    folder = finished(root, record)
    run_id = tracking.log(record, folder)
    assert tracking.log(record, folder) == run_id
    assert (root / name).parent.joinpath("mlartifacts", run_id, "artifacts", "record.json").is_file()
    database = make_url(next(part for part in tracking.ui_command() if part.startswith("sqlite"))).database
    assert database is not None and Path(database) == root / name and Path(database).is_file()
    assert [path.name for path in tmp_path.iterdir()] == [root.name]
    expected = {"_quarto.yml", "runs", *(["of mine?"] if uri else ["mlflow.db", "mlflow.db.lock", "mlartifacts"])}
    assert {path.name for path in root.iterdir()} == expected


@pytest.mark.slow
def test_the_pages_open_on_loopback_and_the_server_takes_runs(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = example_record(epochs=2)
    run_id = tracking.log(record, finished(root, record))
    port = servers.free_port()
    command = tracking.ui_command(port)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    address = f"http://127.0.0.1:{port}"
    monkeypatch.chdir(root)
    with servers.running(command, f"{address}/health"):
        for name in ("record.json", "record.parquet"):
            where = f"{address}/get-artifact?run_id={run_id}&path={name}"
            with urllib.request.urlopen(where, timeout=20) as page:
                (tmp_path / name).write_bytes(page.read())
        assert results.load(tmp_path / "record.json") == record
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        other = example_record("heartbeat/weighted", key="otherkey", epochs=2)
        logged = tracking.log(other, finished(root, other))
        assert [run.info.run_id for run in tracked(root, key="otherkey")] == [logged]
        assert len(tracked(root)) == 2
        with pytest.raises(UserError, match=address):
            tracking.ui_command(port)
    assert sorted(one.name for one in root.iterdir()) == ["_quarto.yml", "mlartifacts", "mlflow.db", "runs"]
