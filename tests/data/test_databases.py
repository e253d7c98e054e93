"""Finding databases, and the sample that stands in, with good, broken and no data."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from pathlib import Path
from typing import Any

import holters
import pytest
from excerpts import FEW

from ecglib import aami
from ecglib.data import databases, fetch
from ecglib.errors import UserError


@pytest.fixture
def mitdb(few_records: Path, data: Path) -> Path:
    """The folder of three real records."""
    return Path(shutil.copytree(few_records, data / "mitdb"))


def complete(folder: Path) -> None:
    for name in databases.DATABASES["mitdb"].records:
        for suffix in (".hea", ".dat", ".atr"):
            (folder / f"{name}{suffix}").write_bytes((folder / f"100{suffix}").read_bytes())


def test_nothing_there_or_no_folder(empty: Path) -> None:
    assert {databases.status(name).state for name in databases.DATABASES} == {"absent"}
    assert json.loads(json.dumps(dataclasses.asdict(databases.status("mitdb"))))["name"] == "mitdb"
    assert all(databases.find(name) is None for name in databases.DATABASES)
    for name in databases.DATABASES:
        if name != "mitdb":
            with pytest.raises(UserError, match=r"not in .*data.*; (ecglib data fetch|download mitbih_train)"):
                databases.get(name)
    with pytest.raises(UserError, match="no such database; expected one of mitdb, svdb"):
        databases.get("mitbd")
    (empty / "data" / "mitdb").write_text("not a folder")
    with pytest.raises(UserError, match="expected a folder"):
        databases.get("mitdb")


def test_the_sample_stands_in(empty: Path, few_records: Path) -> None:
    source = databases.get("mitdb")
    assert source == databases.Source("mitdb", few_records, True, FEW)
    assert len(source.fingerprint()) == 64 and databases.sample("mitdb") == source
    assert databases.find("mitdb") is None and databases.sample("ptbdb") is None
    assert databases.status("mitdb").state == "absent" and databases.status("mitdb").sample


def test_real_files_come_first(mitdb: Path) -> None:
    source = databases.get("mitdb")
    assert source == databases.find("mitdb") == databases.Source("mitdb", mitdb, False, FEW)
    excerpts = databases.sample("mitdb")
    assert excerpts is not None and excerpts.sample and excerpts.folder != mitdb
    status = databases.status("mitdb")
    assert (status.state, status.found, status.expected) == ("partial", 3, 48)
    assert status.size == sum(path.stat().st_size for path in mitdb.iterdir())
    assert "ecglib data fetch mitdb" in status.hint


def test_all_expected_records_make_it_complete_also_where_a_fetch_was_not(mitdb: Path) -> None:
    (mitdb / "SHA256SUMS.txt.part").touch()
    assert databases.get("mitdb").sample
    complete(mitdb)
    assert not databases.get("mitdb").sample
    assert databases.status("mitdb").state == "present" and databases.status("mitdb").hint == ""
    (mitdb / "SHA256SUMS.txt.part").unlink()
    (mitdb / "234.dat").unlink()
    assert databases.status("mitdb").state == "partial" and databases.status("mitdb").found == 47


@pytest.mark.parametrize("reason", ["truncated signal", "missing signal"])
def test_broken_records_are_kept_and_none_but_such_are_an_error_not_a_stand_in(mitdb: Path, reason: str) -> None:
    for name in FEW:
        source = databases.get("mitdb")
        assert not source.sample and source.records == FEW, "the reader counts the broken ones"
        (mitdb / f"{name}.dat").write_bytes(b"short")
        if reason == "missing signal":
            (mitdb / f"{name}.dat").unlink()
    assert databases.find("mitdb") is None
    with pytest.raises(UserError, match=rf"{mitdb}: no record can be read; the first: .*100\.dat: {reason}"):
        databases.get("mitdb")
    assert reason != "missing signal" or databases.status("mitdb").state == "absent"


def test_fingerprint_follows_names_and_contents(mitdb: Path) -> None:
    source = databases.get("mitdb")
    first = source.fingerprint()
    assert len(first) == 64
    (mitdb / "notes.txt").write_text("of no matter")
    assert source.fingerprint() == first
    assert dataclasses.replace(source, records=FEW[::-1]).fingerprint() == first
    assert dataclasses.replace(source, records=FEW[:2]).fingerprint() != first
    content = (mitdb / "208.atr").read_bytes()
    (mitdb / "208.atr").write_bytes(content + b"\0\0")
    assert source.fingerprint() != first
    (mitdb / "208.atr").write_bytes(content)
    assert source.fingerprint() == first


def test_any_folder_of_annotated_records_is_a_source(empty: Path) -> None:
    mine, way = empty / "my" / "records", {"seconds": 5}
    holters.record(mine, "a", **way)
    holters.record(mine / "sub", "b", **way)
    for name in ("my/records", str(mine)):
        source = databases.annotated(name)
        assert source == databases.Source(name, mine, False, ("a",))
    holters.record(empty / "data" / "theirs", "x-1", annotators=["qrs"], **way)
    assert databases.annotated("theirs").annotator == "qrs"
    packed = shutil.make_archive(str(empty / "data" / "export"), "zip", empty / "my")
    assert [databases.annotated(name).records for name in ("export.zip", packed)] == [("a",)] * 2
    assert databases.annotated("mitdb") == databases.get("mitdb")
    assert databases.annotated("mitdb", "qrs").annotator == "qrs"


def test_the_fingerprint_of_a_folder_is_of_all_that_is_read(empty: Path) -> None:
    mine = empty / "mine"
    holters.record(mine, "a", annotators=["atr", "qrs"], seconds=5)
    (mine / "a.dat").rename(mine / "signal.bin")
    (mine / "a.hea").write_text((mine / "a.hea").read_text().replace("a.dat", "signal.bin"))
    seen = set()
    for file, annotator in (("signal.bin", "qrs"), ("a.hea", "qrs"), ("a.qrs", "qrs")):
        source = databases.annotated("mine", annotator)
        seen.add(source.fingerprint())
        with (mine / file).open("ab") as stream:
            stream.write(b"\n\0")
        assert source.fingerprint() not in seen, file


def test_a_folder_that_will_not_do_is_refused_with_a_way_out(empty: Path) -> None:
    def refused(name: str, annotator: str = "") -> str:
        with pytest.raises(UserError) as caught:
            databases.annotated(name, annotator)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "ptb-xl: no beat annotations; expected one of mitdb, svdb, incartdb" in refused("ptb-xl")
    assert "mine: no such database or folder; expected one of mitdb" in refused("mine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.listdir", lambda _: Path(__file__, "no folder").stat())
        assert refused("data").startswith(f"{empty / 'data'}: a file; expected a folder")
    (empty / "mine").mkdir()
    assert "mine: no WFDB record in it" in refused("mine")
    holters.record(empty / "mine", "a", annotators=[], seconds=5)
    (empty / "mine" / "a.txt").write_bytes(b"not one\0\0")
    assert "mine: no annotations of beats; expected such as 100.atr beside 100.hea" in refused("mine")
    holters.record(empty / "mine", "b", annotators=["atr", "qrs"], seconds=5)
    assert "annotations of several kinds (atr, qrs); expected one; choose: annotator atr" in refused("mine")
    assert databases.annotated("mine", "qrs").records == ("a", "b")
    assert "no annotations .man; expected one of atr, qrs" in refused("mine", "man")


def test_csv_files_are_a_source(empty: Path) -> None:
    folder = empty / "data" / "heartbeat"
    folder.mkdir()
    (folder / "mitbih_train.csv").write_text("0\n")
    source = databases.get("heartbeat")
    assert (source.sample, source.records) == (False, ("mitbih_train.csv",))
    first = source.fingerprint()
    (folder / "mitbih_train.csv").write_text("1\n")
    assert source.fingerprint() != first
    assert (databases.status("kaggle").found, databases.status("kaggle").expected) == (1, 4)
    for name in ("mitbih_train.csv.gz", "mitbih_test.csv.zip", "ptbdb_normal.csv.gz"):
        (folder / name).write_text("of any content")
    (folder / "mitbih_train.csv").unlink()
    packed = databases.get("kaggle")
    assert packed.records == ("mitbih_train.csv", "mitbih_test.csv", "ptbdb_normal.csv")
    assert (packed.folder, databases.status("kaggle").found) == (folder, 3)
    second = packed.fingerprint()
    (folder / "mitbih_test.csv.zip").write_text("of another")
    assert len({first, second, packed.fingerprint()}) == 3


def test_a_folder_without_rights(mitdb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Access is refused by a stub: a superuser, as in many containers, may read everything.
    def refuse(path: Any, *args: Any, **kwargs: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.listdir", refuse)
    monkeypatch.setattr("os.scandir", refuse)
    for call in (databases.find, databases.get):
        with pytest.raises(UserError, match="no permission to read"):
            call("mitdb")
    assert "no permission to read" in databases.status("mitdb").hint


def test_a_file_in_the_place_of_one_database_hides_no_other(mitdb: Path) -> None:
    (mitdb.parent / "qtdb").touch()
    assert databases.status("mitdb").found
    assert "qtdb: a file; expected a folder" in databases.status("qtdb").hint


@pytest.mark.real
def test_real_mitdb(real_mitdb: Path, empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECGLIB_DATA", str(real_mitdb.parent))
    status = databases.status("mitdb")
    assert (status.state, status.found) == ("present", 48)
    source = databases.get("mitdb")
    assert not source.sample and set(source.records) == {*aami.DS1, *aami.DS2, *aami.PACED}
    start = time.process_time()
    assert len(source.fingerprint()) == 64
    # 0.2 s on an AMD EPYC; the bound leaves room for machines without SHA instructions.
    assert time.process_time() - start < 5
    assert fetch.verify("mitdb") == []
