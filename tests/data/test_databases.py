"""Finding databases, and the synthetic stand-in, with good, broken and no data."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ecglib import aami
from ecglib.data import databases, fetch, records, synthetic
from ecglib.errors import UserError

FEW = ("100", "208", "234")


@pytest.fixture(scope="module")
def few_records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("few")
    synthetic.write(folder, minutes=0.5, records=FEW)
    return folder


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project with an empty data folder; synthetic records are few and short there."""
    (tmp_path / "_quarto.yml").touch()
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("ECGLIB_ROOT", str(tmp_path))
    monkeypatch.delenv("ECGLIB_DATA", raising=False)
    write = synthetic.write
    monkeypatch.setattr(synthetic, "write", lambda folder: write(folder, minutes=0.5, records=FEW))
    return tmp_path


def put(few_records: Path, project: Path, name: str = "mitdb") -> Path:
    return Path(shutil.copytree(few_records, project / "data" / name))


def status_of(name: str) -> databases.Status:
    return next(status for status in databases.status() if status.name == name)


def test_nothing_there(project: Path) -> None:
    assert {status.state for status in databases.status()} == {"absent"}
    assert json.loads(json.dumps([dataclasses.asdict(status) for status in databases.status()]))[0]["name"] == "mitdb"
    assert all(databases.find(name) is None for name in databases.DATABASES)
    for name in databases.DATABASES:
        if name != "mitdb":
            with pytest.raises(UserError, match=r"not in .*data.*; (ecglib data fetch|download mitbih_train)"):
                databases.get(name)
    with pytest.raises(UserError, match="no such database; expected one of mitdb, nstdb"):
        databases.get("mitbd")


def test_the_synthetic_stand_in(project: Path) -> None:
    source = databases.get("mitdb")
    assert (source.name, source.synthetic, source.records) == ("mitdb", True, FEW)
    assert source.folder == project / "cache" / "synthetic" / "mitdb"
    assert records.read_recording(source.folder, "100").comments == (synthetic.COMMENT,)
    fingerprint, made = source.fingerprint(), (source.folder / "100.dat").stat().st_mtime_ns
    again = databases.get("mitdb")
    assert again == source and again.fingerprint() == fingerprint
    assert (source.folder / "100.dat").stat().st_mtime_ns == made
    assert databases.find("mitdb") is None
    assert status_of("mitdb").state == "absent"


def test_another_version_of_the_model_writes_anew(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = databases.get("mitdb").folder
    (folder / "100.dat").write_bytes(b"old")
    monkeypatch.setattr(synthetic, "version", lambda: "another")
    assert databases.get("mitdb").folder == folder
    assert records.read_recording(folder, "100").fs == 360
    assert sorted(path.name for path in folder.parent.iterdir() if path.suffix != ".lock") == ["mitdb"]


def test_a_failed_write_leaves_no_stand_in(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = synthetic.write

    def full(folder: Path) -> None:
        good(folder)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(synthetic, "write", full)
    with pytest.raises(UserError, match="No space left"):
        databases.get("mitdb")
    assert [path.name for path in (project / "cache" / "synthetic").iterdir() if path.is_dir()] == []
    monkeypatch.setattr(synthetic, "write", good)
    assert databases.get("mitdb").records == FEW


def test_several_at_once_get_one_stand_in(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good, calls = synthetic.write, Counter[str]()

    def slow(folder: Path) -> None:
        calls["write"] += 1
        time.sleep(0.1)
        good(folder)

    monkeypatch.setattr(synthetic, "write", slow)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: databases.get("mitdb").fingerprint(), range(4)))
    assert len(set(found)) == 1 and calls["write"] == 1


def test_real_files_come_first(project: Path, few_records: Path) -> None:
    folder = put(few_records, project)
    source = databases.get("mitdb")
    assert source == databases.find("mitdb") == databases.Source("mitdb", folder, False, FEW)
    status = status_of("mitdb")
    assert (status.state, status.found, status.expected) == ("partial", 3, 48)
    assert status.size == sum(path.stat().st_size for path in folder.iterdir())
    assert "ecglib data fetch mitdb" in status.hint


def test_ecglib_data_names_the_folder(
    project: Path, few_records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(few_records, tmp_path / "elsewhere" / "mitdb")
    monkeypatch.setenv("ECGLIB_DATA", str(tmp_path / "elsewhere"))
    assert databases.get("mitdb").folder == tmp_path / "elsewhere" / "mitdb"


def test_all_expected_records_make_it_complete(project: Path, few_records: Path) -> None:
    folder = project / "data" / "mitdb"
    folder.mkdir()
    for name in databases.DATABASES["mitdb"].records:
        for suffix in (".hea", ".dat", ".atr"):
            shutil.copy(few_records / f"100{suffix}", folder / f"{name}{suffix}")
    assert status_of("mitdb").state == "present" and status_of("mitdb").hint == ""
    (folder / "234.dat").unlink()
    assert status_of("mitdb").state == "partial" and status_of("mitdb").found == 47


def test_a_broken_record_is_kept_for_the_reader_to_count(project: Path, few_records: Path) -> None:
    folder = put(few_records, project)
    (folder / "100.dat").write_bytes(b"short")
    source = databases.get("mitdb")
    assert not source.synthetic and source.records == FEW


def test_only_broken_records_are_an_error_not_a_stand_in(project: Path, few_records: Path) -> None:
    folder = put(few_records, project)
    for name in FEW:
        (folder / f"{name}.dat").write_bytes(b"short")
    assert databases.find("mitdb") is None
    with pytest.raises(UserError, match=r"no record can be read; the first: .*truncated signal"):
        databases.get("mitdb")


def test_headers_without_signals_are_an_error_not_a_stand_in(project: Path, few_records: Path) -> None:
    folder = put(few_records, project)
    for name in FEW:
        (folder / f"{name}.dat").unlink()
    assert status_of("mitdb").state == "absent"
    assert databases.find("mitdb") is None
    with pytest.raises(UserError, match=rf"{folder}: no record can be read; the first: .*100\.dat: missing signal"):
        databases.get("mitdb")
    assert not (project / "cache" / "synthetic").exists()


def test_fingerprint_follows_names_and_contents(project: Path, few_records: Path) -> None:
    folder = put(few_records, project)
    source = databases.get("mitdb")
    first = source.fingerprint()
    assert len(first) == 64
    (folder / "notes.txt").write_text("of no matter")
    assert source.fingerprint() == first
    assert dataclasses.replace(source, records=FEW[::-1]).fingerprint() == first
    assert dataclasses.replace(source, records=FEW[:2]).fingerprint() != first
    content = (folder / "208.atr").read_bytes()
    (folder / "208.atr").write_bytes(content + b"\0\0")
    assert source.fingerprint() != first
    (folder / "208.atr").write_bytes(content)
    assert source.fingerprint() == first


def test_csv_files_are_a_source(project: Path) -> None:
    folder = project / "data" / "heartbeat"
    folder.mkdir()
    (folder / "mitbih_train.csv").write_text("0\n")
    source = databases.get("heartbeat")
    assert (source.synthetic, source.records) == (False, ("mitbih_train.csv",))
    first = source.fingerprint()
    (folder / "mitbih_train.csv").write_text("1\n")
    assert source.fingerprint() != first
    assert (status_of("heartbeat").found, status_of("heartbeat").expected) == (1, 4)


def test_a_folder_without_rights(project: Path, few_records: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Access is refused by a stub: a superuser, as in many containers, may read everything.
    put(few_records, project)

    def refuse(path: Any, *args: Any, **kwargs: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.listdir", refuse)
    monkeypatch.setattr("os.scandir", refuse)
    for call in (lambda: databases.find("mitdb"), lambda: databases.get("mitdb"), databases.status):
        with pytest.raises(UserError, match="no permission to read"):
            call()


def test_a_file_instead_of_a_folder(project: Path) -> None:
    (project / "data" / "mitdb").write_text("not a folder")
    with pytest.raises(UserError, match="expected a folder"):
        databases.get("mitdb")


def test_a_database_completed_by_hand_needs_no_fetch(project: Path, few_records: Path) -> None:
    folder = put(few_records, project)
    (folder / "SHA256SUMS.txt.part").touch()
    assert databases.get("mitdb").synthetic
    for name in databases.DATABASES["mitdb"].records:
        for suffix in (".hea", ".dat", ".atr"):
            shutil.copy(few_records / f"100{suffix}", folder / f"{name}{suffix}")
    assert not databases.get("mitdb").synthetic


@pytest.mark.real
def test_real_mitdb(real_mitdb: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECGLIB_DATA", str(real_mitdb.parent))
    status = status_of("mitdb")
    assert (status.state, status.found) == ("present", 48)
    source = databases.get("mitdb")
    assert not source.synthetic and set(source.records) == {*aami.DS1, *aami.DS2, *aami.PACED}
    start = time.process_time()
    assert len(source.fingerprint()) == 64
    # 0.2 s on an AMD EPYC; the bound leaves room for machines without SHA instructions.
    assert time.process_time() - start < 5
    assert fetch.verify("mitdb") == []
