"""Fetching databases from a server on this machine that breaks every promise a server makes."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import io
import os
import shutil
import socket
import stat
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from excerpts import FEW

from ecglib.data import databases, fetch
from ecglib.errors import UserError

CONTENT = bytes(range(256)) * 2000  # 512 kB
HANGS = 60
"""Seconds for which a server says nothing, more than a busy machine takes for a test of a second."""


class Server(ThreadingHTTPServer):
    """Serves `contents` and misbehaves as `behaviour` says, by path."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.contents: dict[str, bytes] = {}
        self.behaviour: dict[str, str] = {}
        self.hits: Counter[str] = Counter()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Dropped connections are what these tests are about: no traceback for them."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        behaviour, content = self.server.behaviour.get(name, ""), self.server.contents.get(name)
        self.server.hits[name] += 1
        early = self.server.hits[name] <= 3
        if content is None or behaviour == "missing":
            return self.send_error(404)
        if behaviour == "errors" and early:
            return self.send_error(503)
        if behaviour == "hangs":
            time.sleep(HANGS)
        body = content[:-1] + b"!" if behaviour == "wrong bytes" else content
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) - 1000 * (behaviour == "too short")))
        self.end_headers()
        for byte in body if behaviour == "trickles" else b"":
            self.wfile.write(bytes([byte]))
            time.sleep(0.05)
        self.wfile.write(body[: len(body) // 3] if behaviour == "drops" and early else body)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("pooch.core.time", SimpleNamespace(sleep=lambda seconds: None))
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


# --- files ------------------------------------------------------------------------------------------------------------


def one(server: Server, behaviour: str = "") -> fetch.File:
    server.contents["a.dat"] = CONTENT
    server.behaviour["a.dat"] = behaviour
    return fetch.File("a.dat", "sub/a.dat", hashlib.sha256(CONTENT).hexdigest())


@pytest.mark.parametrize("behaviour", ["", "drops", "errors"])
def test_arrives_whole_in_spite_of(server: Server, tmp_path: Path, behaviour: str) -> None:
    fetch.files(server.address, tmp_path, [one(server, behaviour)])
    path = tmp_path / "sub" / "a.dat"
    assert path.read_bytes() == CONTENT
    assert [path.name for path in path.parent.iterdir()] == ["a.dat"]
    assert (server.hits["a.dat"] > 1) == bool(behaviour)
    (tmp_path / "other").touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "other").stat().st_mode)


@pytest.mark.parametrize("behaviour", ["too short", "wrong bytes", "missing"])
def test_wrong_content_is_refused(server: Server, tmp_path: Path, behaviour: str) -> None:
    said, tries = ("answered 404", 1) if behaviour == "missing" else ("another SHA-256", fetch.ATTEMPTS)
    with pytest.raises(UserError, match=said):
        fetch.files(server.address, tmp_path, [one(server, behaviour)])
    assert server.hits["a.dat"] == tries
    assert list((tmp_path / "sub").iterdir()) == []


def test_many_files_with_progress(server: Server, tmp_path: Path) -> None:
    server.contents = {f"{i}.dat": bytes([i]) * (1000 * i + 1) for i in range(20)}
    server.behaviour = {f"{i}.dat": "errors" for i in range(0, 20, 3)}
    wanted = [fetch.File(name, name, hashlib.sha256(content).hexdigest()) for name, content in server.contents.items()]
    seen: list[fetch.Progress] = []
    fetch.files(server.address, tmp_path, wanted, progress=seen.append)
    assert all((tmp_path / name).read_bytes() == content for name, content in server.contents.items())
    done = [progress.files_done for progress in seen]
    assert done == sorted(done) and done[-1] == 20
    assert seen[-1].bytes_done == sum(1000 * i + 1 for i in range(20))


@pytest.mark.parametrize("behaviour", ["trickles", "hangs"])
def test_the_deadline_holds_and_the_next_call_goes_on(server: Server, tmp_path: Path, behaviour: str) -> None:
    file, path = one(server, behaviour), tmp_path / "sub" / "a.dat"
    start = time.monotonic()
    with pytest.raises(UserError, match="time given for the download is over"):
        fetch.files(server.address, tmp_path, [file], ends=start + 0.3)
    assert time.monotonic() - start < HANGS
    assert not path.exists()
    server.behaviour["a.dat"] = ""
    fetch.files(server.address, tmp_path, [file])
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(("number", "said"), [(errno.ENOSPC, "disk is full"), (errno.EACCES, "no permission to write")])
def test_a_disk_that_takes_no_more_is_left_empty(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    class Disk(io.FileIO):
        def write(self, data: Any) -> int:
            if self.tell() > 100_000:
                raise OSError(number, os.strerror(number))
            return super().write(data)

    monkeypatch.setattr(Path, "open", lambda self, mode: Disk(self, mode.replace("b", "")))
    with pytest.raises(UserError, match=said):
        fetch.files(server.address, tmp_path, [one(server)])
    (tmp_path / "sub").rmdir()
    (tmp_path / "sub").touch()
    with pytest.raises(UserError, match="can't be written"):
        fetch.files(server.address, tmp_path, [one(server)])


def test_the_probe_and_a_server_that_nobody_runs(server: Server, tmp_path: Path) -> None:
    server.contents["sums"] = b"abc"
    assert fetch.text(f"{server.address}sums") == "abc"
    with pytest.raises(UserError, match="answered 404"):
        fetch.text(f"{server.address}other")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        with pytest.raises(UserError, match="can't be reached"):
            fetch.text(f"{url}x")
        with pytest.raises(UserError, match="failed 5 times"):
            fetch.files(url, tmp_path, [fetch.File("x", "x", "0" * 64)])
    assert list(tmp_path.iterdir()) == []


# --- databases --------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(data: Path) -> Path:
    """Of `mitdb`, which is not there."""
    return data / "mitdb"


@pytest.fixture
def physionet(server: Server, folder: Path, few_records: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server with three records of `mitdb` and their checksums; signals come at the second try."""
    server.contents = {path.name: path.read_bytes() for path in few_records.iterdir()} | {"102-0.atr": b"not wanted"}
    server.behaviour = {f"{name}.dat": "errors" for name in FEW}
    sums = [f"{hashlib.sha256(content).hexdigest()} {name}\n" for name, content in sorted(server.contents.items())]
    server.contents["SHA256SUMS.txt"] = "".join(sums).encode()
    entry = dataclasses.replace(databases.DATABASES["mitdb"], url=server.address)
    monkeypatch.setitem(databases.DATABASES, "mitdb", entry)
    return server


def test_fetch_verify_and_mend(physionet: Server, folder: Path) -> None:
    seen: list[fetch.Progress] = []
    source = fetch.download("mitdb", deadline=60, progress=seen.append)
    assert (source.sample, source.records) == (False, FEW)
    expected = sorted([*(f"{name}{suffix}" for name in FEW for suffix in (".atr", ".dat", ".hea")), "RECORDS"])
    assert sorted(path.name for path in folder.iterdir()) == sorted([*expected, "SHA256SUMS.txt"])
    assert seen[-1].files_done == seen[-1].files_total == len(expected)
    assert fetch.verify("mitdb") == []
    hits = physionet.hits.total()
    fetch.download("mitdb")
    assert physionet.hits.total() == hits, "a complete database needs no network"
    (folder / "208.dat").write_bytes(b"broken")
    (folder / "100.atr").unlink()
    assert fetch.verify("mitdb") == ["100.atr", "208.dat"]
    fetch.download("mitdb")
    assert fetch.verify("mitdb") == []


@pytest.mark.parametrize("zipped", [False, True])
def test_an_unfinished_first_fetch_is_no_database_until_it_is_whole(
    physionet: Server, folder: Path, few_records: Path, zipped: bool
) -> None:
    if zipped:
        shutil.make_archive(str(folder), "zip", few_records)
        assert databases.get("mitdb").records == FEW
    good, physionet.contents["208.atr"] = physionet.contents["208.atr"], b"spoilt on the server"
    with pytest.raises(UserError, match="another SHA-256"):
        fetch.download("mitdb")
    assert not (folder / "208.atr").exists()
    # Which files were whole when the spoilt one failed depends on the threads; one was: files outnumber threads.
    came = [path.name for path in folder.iterdir() if path.suffix in (".hea", ".dat", ".atr")]
    assert came
    assert databases.find("mitdb") is None
    assert databases.get("mitdb").sample
    physionet.contents["208.atr"] = good
    hits = {name: physionet.hits[name] for name in came}
    assert fetch.download("mitdb").records == FEW
    assert {name: physionet.hits[name] for name in came} == hits, "what came the first time is kept"
    assert not databases.get("mitdb").sample


def test_a_fetch_that_fails_to_mend_leaves_a_database_one(physionet: Server, folder: Path, few_records: Path) -> None:
    shutil.copytree(few_records, folder)
    (folder / "208.atr").unlink()
    physionet.contents["208.atr"] = b"spoilt on the server"
    with pytest.raises(UserError, match="another SHA-256"):
        fetch.download("mitdb")
    assert not databases.get("mitdb").sample


@pytest.mark.parametrize("sums", ["<html>a captive portal</html>", "0" * 64 + " ../100.dat", "abc 100.dat"])
def test_fetch_refuses_a_list_that_is_none(physionet: Server, folder: Path, sums: str) -> None:
    physionet.contents["SHA256SUMS.txt"] = sums.encode()
    with pytest.raises(UserError, match=r"lists no file of mitdb|unreadable line"):
        fetch.download("mitdb")
    assert not folder.exists()


def test_no_network_is_told_quickly(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "PROBE_SECONDS", 0.5)

    def hang(*args: Any, **kwargs: Any) -> Any:
        time.sleep(60)

    monkeypatch.setattr("socket.getaddrinfo", hang)
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    monkeypatch.delenv("https_proxy", raising=False)
    start = time.monotonic()
    with pytest.raises(UserError, match=r"no answer within 0\.5 s"):
        fetch.download("mitdb")
    assert time.monotonic() - start < 50, "it did not wait for the answer"
    assert not folder.exists()
    assert databases.get("mitdb").sample


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("there", [True, False])
def test_a_folder_that_takes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, *, there: bool
) -> None:
    # Access is refused by a stub: a superuser, as in many containers, may write everywhere.
    def refuse(path: Any, *args: Any) -> Any:
        raise OSError(number, os.strerror(number), str(path))

    if there:
        folder.mkdir()
    monkeypatch.setattr("os.open" if there else "os.mkdir", refuse)
    with pytest.raises(UserError, match=rf"{os.strerror(number)}\); make room, .*or set ECGLIB_DATA"):
        fetch.download("mitdb")


def test_what_can_not_be_fetched_or_verified(folder: Path, few_records: Path) -> None:
    with pytest.raises(UserError, match=r"can't be fetched without an account; download mitbih_train.*kaggle"):
        fetch.download("heartbeat")
    shutil.copytree(few_records, folder)
    with pytest.raises(UserError, match=r"SHA256SUMS\.txt: no such file"):
        fetch.verify("mitdb")


def test_patterns_choose_the_files_we_read() -> None:
    digest = "0" * 64
    names = [
        "RECORDS", "training/cpsc_2018/g1/A0001.hea", "training/cpsc_2018/g1/A0001.mat", "training/cpsc_2018/RECORDS",
        "records100/00000/00001_lr.hea", "records500/00000/00001_hr.dat", "ptbxl_database.csv",
        "patient001/s0010_re.xyz", "bw.dat", "118e00.dat", "100.atr", "x_mitdb/x_108.dat", "102-0.atr", "999.dat",
    ]  # fmt: skip
    sums = "".join(f"{digest}  {name}\n" for name in names)

    def chosen(name: str) -> list[str]:
        return [file.here for file in fetch.listed(databases.DATABASES[name], sums, "sums")]

    assert chosen("mitdb") == ["100.atr", "RECORDS"]
    assert chosen("nstdb") == ["bw.dat"]
    assert chosen("challenge-2021") == ["A0001.mat", "A0001.hea"]
    assert chosen("ptbdb") == ["patient001/s0010_re.xyz", "RECORDS"]
    assert chosen("ptb-xl") == [
        "ptbxl_database.csv", "records100/00000/00001_lr.hea", "records500/00000/00001_hr.dat", "RECORDS",
    ]  # fmt: skip
