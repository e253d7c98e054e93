"""Databases from PhysioNet, every file whole and with its published SHA-256, or not at all.

`pooch` fetches a file under another name, checks it, tries again where that may mend it, and only then renames it; a
file that is there and right is left alone, so that a second call goes on where the first stopped. Around it stand a few
transfers at a time, how far they are, and an end to every wait: with no way to the server the first probe says so.
"""

from __future__ import annotations

import errno
import math
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pooch
import requests
import urllib3

from ecglib import paths
from ecglib.data import databases
from ecglib.data.databases import SUMS, UNFINISHED, Database, Source
from ecglib.errors import UserError
from ecglib.files import lock

PROBE_SECONDS: Final = 8.0
"""The longest that the first request may take, name resolution included."""
ATTEMPTS: Final = 5
"""Tries of a file before it is given up."""
THREADS: Final = 4
"""Transfers at a time."""
_CONNECT, _READ = 5.0, 30.0
_CHUNK = 1 << 16
_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_DO_NETWORK = "check the connection, or copy the files there by hand"

pooch.get_logger().setLevel("WARNING")


@dataclass(frozen=True)
class File:
    """One file to fetch: its names on the server and here, and its SHA-256 in hexadecimal digits."""

    there: str
    here: str
    sha256: str


@dataclass(frozen=True)
class Progress:
    """How far a download is; bytes are those received in this call."""

    files_done: int
    files_total: int
    bytes_done: int


Report = Callable[[Progress], None]


def download(name: str, *, deadline: float | None = None, progress: Report | None = None) -> Source:
    """Fetch what is missing or wrong of a database, checking every file against its published SHA-256.

    A second call goes on at the first file that is missing; with everything there and right it doesn't use the network.
    The deadline is in seconds for all of it; None waits for as long as bytes keep coming. `progress` is as for `files`.
    A `UserError` when the database can't be fetched (it says where to get it), the network can't be reached, the time
    is over, a file stays wrong, the disk is full, or the folder may not be written.
    """
    entry, seconds = databases.database(name), math.inf if deadline is None else deadline
    ends = time.monotonic() + seconds
    if entry.url is None:
        raise UserError(name, "can't be fetched without an account", do=entry.hint)
    folder = paths.data() / name
    with _fetching(folder):
        if not (folder / SUMS).is_file() or verify(name):
            sums = text(entry.url + SUMS, seconds=min(seconds, PROBE_SECONDS))
            wanted = listed(entry, sums, entry.url + SUMS)
            there = databases.find(name)
            first = there is None or not there.folder.is_relative_to(folder)  # but in a zip file
            (folder / UNFINISHED).write_text(sums, encoding="utf-8")
            if not first:
                (folder / UNFINISHED).replace(folder / SUMS)
            files(entry.url, folder, wanted, ends=ends, progress=progress)
            if first:
                (folder / UNFINISHED).replace(folder / SUMS)
    source = databases.find(name)
    if source is None:
        raise UserError(folder, "the files were fetched, but no record can be read", do="look at the folder")
    return source


def verify(name: str) -> list[str]:
    """Names of the files of a database that are missing or differ from its `SHA256SUMS.txt`; empty when all is well. A
    `UserError` when there is no such database, `SHA256SUMS.txt` is not in its folder, or the folder may not be read."""
    entry = databases.database(name)
    folder = paths.data() / name
    with databases.readable(folder):
        if not (folder / SUMS).is_file():
            raise UserError(folder / SUMS, "no such file, so nothing to check against", do=entry.hint)
        sums = (folder / SUMS).read_text(encoding="utf-8", errors="replace")
        expected = {file.here: file.sha256 for file in listed(entry, sums, folder / SUMS)}
        there = [here for here in expected if (folder / here).is_file()]
        found = dict(zip(there, databases.digests(folder / here for here in there), strict=True))
    return sorted(here for here, digest in expected.items() if found.get(here) != digest)


def listed(entry: Database, sums: str, where: str | Path) -> list[File]:
    """The files to have by the lines of a `SHA256SUMS.txt`, in the order to fetch them.

    A record's header comes after its other files and `RECORDS` at the very end: an interrupted fetch leaves no header
    without its signal, and no list of records that are not there. A `UserError` when `where`, which the lines are from,
    has one that can't be read, or none of a file that is wanted.
    """
    found = []
    for line in sums.splitlines():
        digest, _, there = line.strip().partition(" ")
        there = there.strip().lstrip("*").removeprefix("./")
        if not re.fullmatch(entry.wanted, there):
            continue
        if not re.fullmatch(r"[0-9a-f]{64}", digest) or not re.fullmatch(r"(?!.*\.\.)\w[\w./+-]*", there):
            raise UserError(where, f"unreadable line {line[:80]!r}", "SHA-256, space, file name")
        if not entry.records or there.partition(".")[0] in (*entry.records, "RECORDS"):
            found.append(File(there, there.rpartition("/")[2] if entry.flat else there, digest))
    if not found:
        raise UserError(where, f"lists no file of {entry.name}", "lines of SHA-256, space, file name")

    def order(file: File) -> tuple[bool, str, bool, str]:
        stem, _, suffix = file.here.rpartition(".")
        return file.here == "RECORDS", stem, suffix == "hea", suffix

    return sorted(found, key=order)


@contextmanager
def _fetching(folder: Path) -> Iterator[None]:
    """The folder, made and held against a second fetch of the same database; removed again if nothing came."""
    held, busy = folder / ".fetch.lock", UserError(folder, "another fetch is at work here", do="wait for it to end")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held.touch()  # what keeps a lock from being made is told in general words
        with lock(held, 0, busy):
            try:
                yield
            finally:
                held.unlink(missing_ok=True)
                if not any(folder.iterdir()):
                    folder.rmdir()
    except OSError as error:
        found = f"can't be written ({error.strerror or error})"
        raise UserError(folder, found, do="make room, give yourself write access, or set ECGLIB_DATA") from None


# --- files ------------------------------------------------------------------------------------------------------------


def text(url: str, *, seconds: float = PROBE_SECONDS) -> str:
    """The text at `url`, or an error within `seconds`: the probe that tells whether the server can be reached. A
    `UserError` when there is no answer in time, or one that is no success."""
    answer: list[requests.Response | requests.RequestException] = []

    def ask() -> None:
        try:
            answer.append(requests.get(url, timeout=min(_CONNECT, seconds)))
        except requests.RequestException as error:
            answer.append(error)

    # A thread, as no timeout of requests covers the resolution of the server's name.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    if not answer:
        raise UserError(url, f"no answer within {seconds:g} s", do=_DO_NETWORK)
    if isinstance(answer[0], requests.RequestException):
        raise UserError(url, f"can't be reached ({type(answer[0]).__name__})", do=_DO_NETWORK)
    if not answer[0].ok:
        raise UserError(url, f"the server answered {answer[0].status_code}", "200", _DO_NETWORK)
    return answer[0].content.decode("utf-8", errors="replace")


def files(
    url: str, folder: Path, wanted: Sequence[File], *, ends: float = math.inf, progress: Report | None = None
) -> None:
    """Fetch files, a few at a time, in the order given; what is complete stays when another file fails.

    They go from the server's folder `url`, which has a slash at its end, to `folder`, where one that is there already
    with the right SHA-256 is left alone. `ends` is when to give up, by `time.monotonic`; `progress` is called after
    every piece received and every file done, from any thread, one call at a time. A `UserError` when a file can't be
    fetched, has another SHA-256 than it should, the disk is full, the folder may not be written, or the time is over.
    """
    job = _Job(ends, len(wanted), progress)
    store = pooch.Pooch(
        path=folder,
        base_url=url,
        registry={file.here: f"sha256:{file.sha256}" for file in wanted},
        urls={file.here: url + file.there for file in wanted},
        retry_if_failed=ATTEMPTS - 1,
    )
    with ThreadPoolExecutor(max_workers=THREADS) as pool:
        futures = [pool.submit(_fetch, store, file, job) for file in wanted]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            job.stop.set()
    for future in done:
        future.result()


class _Stopped(Exception):
    """Another thread has failed; this one has nothing to add."""


class _Job:
    """What the threads of one download share."""

    def __init__(self, ends: float, total: int, report: Report | None) -> None:
        self.ends, self.now, self.report = ends, Progress(0, total, 0), report
        self.stop, self._lock = threading.Event(), threading.Lock()

    def advance(self, *, files: int = 0, n_bytes: int = 0) -> None:
        with self._lock:
            now = self.now
            self.now = Progress(now.files_done + files, now.files_total, now.bytes_done + n_bytes)
            if self.report is not None:
                self.report(self.now)

    def left(self, url: str) -> float:
        """Seconds, more than 0."""
        if self.stop.is_set():
            raise _Stopped
        left = self.ends - time.monotonic()
        if left <= 0:
            do = "run it again: it goes on where it stopped"
            raise UserError(url, "the time given for the download is over", do=do)
        return left


def _fetch(store: Any, file: File, job: _Job) -> None:
    url, path = store.get_url(file.here), store.abspath / file.here
    job.left(url)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        store.fetch(file.here, downloader=lambda url, part, _: _transfer(url, Path(part), job))
    except requests.RequestException as error:
        found = f"failed {ATTEMPTS} times ({error or type(error).__name__})"
        raise UserError(url, found[:200], do=_DO_NETWORK) from None
    except ValueError:
        raise UserError(url, "the bytes received have another SHA-256", file.sha256, "try again later") from None
    except OSError as error:
        raise _disk_error(error, path) from None
    job.advance(files=1)


def _transfer(url: str, part: Path, job: _Job) -> None:
    """One try."""
    patience = min(_READ, max(0.1, job.left(url)))
    part.unlink()  # pooch makes it readable for its owner alone
    headers = {"Accept-Encoding": "identity"}
    with requests.get(url, headers=headers, stream=True, timeout=(min(_CONNECT, patience), patience)) as response:
        if response.status_code in _AGAIN:
            raise requests.HTTPError(f"the server answered {response.status_code}")
        if not response.ok:
            raise UserError(url, f"the server answered {response.status_code}", "200", "check the address")
        try:
            with part.open("wb") as stream:
                # `iter_content` would wait for a whole chunk, however slowly it comes, and nobody would see the time.
                while chunk := response.raw.read1(_CHUNK):
                    stream.write(chunk)
                    job.advance(n_bytes=len(chunk))
                    job.left(url)
        except urllib3.exceptions.HTTPError as error:
            raise requests.ConnectionError(type(error).__name__) from None


def _disk_error(error: OSError, path: Path) -> UserError:
    """The user's view of a failed write."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(path, "the disk is full", do="make room and run it again")
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return UserError(path, "no permission to write here", do="give yourself write access, or set ECGLIB_DATA")
    return UserError(path, f"can't be written ({error.strerror or error})", do="look at the folder and run it again")
