"""Fetching files from a server on this machine that breaks every promise a server makes."""

from __future__ import annotations

import errno
import hashlib
import io
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ecglib.data import download
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
        self.ranges: list[str | None] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Dropped connections are what these tests are about: no traceback for them."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        behaviour = self.server.behaviour.get(name, "")
        self.server.hits[name] += 1
        self.server.ranges.append(self.headers.get("Range"))
        content = self.server.contents.get(name)
        if content is None:
            return self.send_error(404)
        if behaviour == "errors" and self.server.hits[name] <= 3:
            return self.send_error(503)
        if behaviour == "hangs":
            time.sleep(HANGS)
        if behaviour == "wrong bytes":
            content = content[:-1] + b"!"
        start = 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked and behaviour != "ignores ranges":
            start = int(asked[1])
            if start >= len(content):
                return self.send_error(416)
        self.answer(content, start, behaviour)

    def answer(self, content: bytes, start: int, behaviour: str) -> None:
        body = content[start:]
        length = len(body) + {"too long": 1000, "too short": -1000}.get(behaviour, 0)
        self.send_response(206 if start else 200)
        if start:
            shift = 7 if behaviour == "another range" else 0
            self.send_header("Content-Range", f"bytes {start + shift}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if behaviour in ("drops", "ignores ranges", "another range") and self.server.hits[self.path[1:]] <= 3:
            body = body[: len(body) // 3]
        if behaviour == "trickles":
            for byte in body:
                self.wfile.write(bytes([byte]))
                time.sleep(0.05)
            return
        self.wfile.write(body)
        self.wfile.flush()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "BACKOFF", 0.01)
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def one(server: Server, folder: Path, behaviour: str = "", *, checked: bool = True) -> download.File:
    server.contents["a.dat"] = CONTENT
    server.behaviour["a.dat"] = behaviour
    digest = hashlib.sha256(CONTENT).hexdigest() if checked else None
    return download.File(f"{server.address}/a.dat", folder / "sub" / "a.dat", digest)


@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize("behaviour", ["", "drops", "errors", "ignores ranges", "another range"])
def test_arrives_whole_in_spite_of(server: Server, tmp_path: Path, behaviour: str, checked: bool) -> None:
    file = one(server, tmp_path, behaviour, checked=checked)
    download.files([file])
    assert file.path.read_bytes() == CONTENT
    assert [path.name for path in file.path.parent.iterdir()] == ["a.dat"]
    assert (server.hits["a.dat"] > 1) == bool(behaviour)


def test_dropped_transfers_go_on_where_they_stopped(server: Server, tmp_path: Path) -> None:
    download.files([one(server, tmp_path, "drops")])
    starts = [int(asked[6:-1]) for asked in server.ranges if asked]
    assert len(starts) == 3
    assert starts == sorted(set(starts)) and starts[0] == len(CONTENT) // 3


def test_an_earlier_part_is_continued(server: Server, tmp_path: Path) -> None:
    file = one(server, tmp_path)
    file.path.parent.mkdir()
    file.path.with_name("a.dat.part").write_bytes(CONTENT[:1000])
    download.files([file])
    assert server.ranges == ["bytes=1000-"]
    assert file.path.read_bytes() == CONTENT


def test_a_spoilt_part_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    file = one(server, tmp_path)
    file.path.parent.mkdir()
    file.path.with_name("a.dat.part").write_bytes(b"x" * 1000)
    download.files([file])
    assert file.path.read_bytes() == CONTENT


def test_a_length_that_is_too_long(server: Server, tmp_path: Path) -> None:
    file = one(server, tmp_path, "too long")
    download.files([file])  # the checksum proves that all bytes came
    assert file.path.read_bytes() == CONTENT
    with pytest.raises(UserError, match="failed 5 times"):
        download.files([one(server, tmp_path / "unchecked", "too long", checked=False)])
    assert not (tmp_path / "unchecked" / "sub" / "a.dat").exists()


@pytest.mark.parametrize("behaviour", ["too short", "wrong bytes"])
def test_wrong_content_is_refused(server: Server, tmp_path: Path, behaviour: str) -> None:
    file = one(server, tmp_path, behaviour)
    with pytest.raises(UserError, match="another SHA-256"):
        download.files([file])
    assert server.hits["a.dat"] == 2
    assert list(file.path.parent.iterdir()) == []


def test_a_good_file_is_left_alone_and_a_bad_one_replaced(server: Server, tmp_path: Path) -> None:
    file = one(server, tmp_path)
    file.path.parent.mkdir()
    file.path.write_bytes(CONTENT)
    download.files([file])
    assert server.hits["a.dat"] == 0
    file.path.write_bytes(b"broken")
    download.files([file])
    assert file.path.read_bytes() == CONTENT


def test_missing_on_the_server(server: Server, tmp_path: Path) -> None:
    file = download.File(f"{server.address}/nothing", tmp_path / "nothing")
    with pytest.raises(UserError, match="answered 404"):
        download.files([file])
    assert server.hits["nothing"] == 1
    assert list(tmp_path.iterdir()) == []


def test_many_files_with_progress(server: Server, tmp_path: Path) -> None:
    wanted = []
    for i in range(20):
        name, content = f"{i}.dat", bytes([i]) * (1000 * i + 1)
        server.contents[name] = content
        server.behaviour[name] = "drops" if i % 3 == 0 else ""
        wanted.append(download.File(f"{server.address}/{name}", tmp_path / name, hashlib.sha256(content).hexdigest()))
    seen: list[download.Progress] = []
    download.files(wanted, progress=seen.append, deadline=60)
    assert all(download.sha256(file.path) == file.sha256 for file in wanted)
    done = [progress.files_done for progress in seen]
    assert done == sorted(done) and done[-1] == 20
    assert seen[-1].bytes_done == sum(1000 * i + 1 for i in range(20))


@pytest.mark.parametrize("behaviour", ["trickles", "hangs"])
def test_the_deadline_holds_and_the_next_call_goes_on(server: Server, tmp_path: Path, behaviour: str) -> None:
    file = one(server, tmp_path, behaviour)
    start = time.monotonic()
    with pytest.raises(UserError, match="time given for the download is over"):
        download.files([file], deadline=0.5)
    assert time.monotonic() - start < HANGS
    assert not file.path.exists()
    server.behaviour["a.dat"] = ""
    download.files([file], deadline=20)
    assert file.path.read_bytes() == CONTENT


class FullDisk(io.FileIO):
    """Takes some bytes and then has no room."""

    def write(self, data: Any) -> int:
        if self.tell() > 100_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


def test_a_full_disk_leaves_nothing(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = one(server, tmp_path)
    original = Path.open

    def open_full(self: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        return FullDisk(self, "w") if mode in ("wb", "ab") else original(self, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", open_full)
    with pytest.raises(UserError, match="disk is full"):
        download.files([file])
    assert list(file.path.parent.iterdir()) == []


def test_a_folder_without_rights(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *args: Any, **kwargs: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UserError, match="no permission to write"):
        download.files([one(server, tmp_path)])


def test_a_file_where_a_folder_should_be(server: Server, tmp_path: Path) -> None:
    (tmp_path / "sub").write_text("in the way")
    with pytest.raises(UserError, match="can't be written"):
        download.files([one(server, tmp_path)])


def test_the_probe(server: Server) -> None:
    server.contents["sums"] = b"abc"
    assert download.text(f"{server.address}/sums") == "abc"
    with pytest.raises(UserError, match="answered 404"):
        download.text(f"{server.address}/other")
    server.contents["slow"] = b"abc"
    server.behaviour["slow"] = "hangs"
    start = time.monotonic()
    with pytest.raises(UserError, match=r"no answer|can't be reached"):
        download.text(f"{server.address}/slow", seconds=0.3)
    assert time.monotonic() - start < HANGS


def test_nobody_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "BACKOFF", 0.01)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/x"
        with pytest.raises(UserError, match="can't be reached"):
            download.text(url)
        with pytest.raises(UserError, match="failed 5 times"):
            download.files([download.File(url, tmp_path / "x")])
    assert list(tmp_path.iterdir()) == []
