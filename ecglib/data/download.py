"""Files over HTTP, whole and unchanged or not at all.

A file is written to `name.part`, continued there after a break (HTTP ranges, RFC 9110, section 14), checked for its
length and SHA-256, and only then renamed. Every wait has an end: with no way to the server the first probe says so.
"""

from __future__ import annotations

import errno
import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import requests
import urllib3

from ecglib.errors import UserError

PROBE_SECONDS: Final = 8.0
"""The longest that the first request may take, name resolution included."""
ATTEMPTS: Final = 5
"""Tries in succession that bring a file no byte further before it is given up."""
BACKOFF: Final = 0.5
"""Seconds before the first new try; doubled for each further one, at most 8."""
_CONNECT, _READ = 5.0, 30.0
_CHUNK = 1 << 16
_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_DO_NETWORK = "check the connection, or copy the files there by hand"


@dataclass(frozen=True)
class File:
    """One file to fetch.

    Parameters
    ----------
    url
        Where it is.
    path
        Where it goes; folders are made.
    sha256
        Its SHA-256 in hexadecimal digits, or None where none is published.
    """

    url: str
    path: Path
    sha256: str | None = None


@dataclass(frozen=True)
class Progress:
    """How far a download is; bytes are those received in this call."""

    files_done: int
    files_total: int
    bytes_done: int


@dataclass
class _Job:
    """What the threads of one download share."""

    ends: float
    total: int = 0
    report: Callable[[Progress], None] | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _files: int = 0
    _bytes: int = 0

    def advance(self, *, files: int = 0, n_bytes: int = 0) -> None:
        with self._lock:
            self._files += files
            self._bytes += n_bytes
            if self.report is not None:
                self.report(Progress(self._files, self.total, self._bytes))

    def left(self) -> float:
        return self.ends - time.monotonic()


class _Interrupted(Exception):
    """A try failed in a way that a later one may mend."""


class _Stopped(Exception):
    """Another thread has failed; this one has nothing to add."""


def text(url: str, *, seconds: float = PROBE_SECONDS) -> str:
    """The text at `url`, or an error within `seconds`: the probe that tells whether the server can be reached.

    Raises
    ------
    UserError
        When there is no answer in time, or one that is no success.
    """
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
    wanted: Sequence[File],
    *,
    deadline: float | None = None,
    threads: int = 4,
    progress: Callable[[Progress], None] | None = None,
) -> None:
    """Fetch files, a few at a time, in the order given.

    What is complete stays when another file fails, and `name.part` of a broken transfer is continued by the next call;
    only a full disk or a wrong checksum removes it.

    Parameters
    ----------
    wanted
        The files; one that is there already with the right SHA-256 is left alone.
    deadline
        Seconds for all of them, or None for as long as bytes keep coming.
    threads
        Transfers at a time.
    progress
        Called after every piece received and every file done, from any thread, one call at a time.

    Raises
    ------
    UserError
        When a file can't be fetched, has another length or SHA-256 than it should, the disk is full, the folder may
        not be written, or the time is over.
    """
    job = _Job(time.monotonic() + (float("inf") if deadline is None else deadline), len(wanted), progress)
    with ThreadPoolExecutor(max_workers=threads) as pool:
        futures = [pool.submit(_fetch, file, job) for file in wanted]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            job.stop.set()
    for future in done:
        future.result()


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _fetch(file: File, job: _Job) -> None:
    """Fetch one file, try after try."""
    part = file.path.with_name(file.path.name + ".part")
    _check_time(file.url, job)
    try:
        if not (file.sha256 and file.path.is_file() and sha256(file.path) == file.sha256):
            file.path.parent.mkdir(parents=True, exist_ok=True)
            _fetch_part(file, part, job)
            part.replace(file.path)
    except OSError as error:
        raise _disk_error(error, file.path, part) from None
    job.advance(files=1)


def _fetch_part(file: File, part: Path, job: _Job) -> None:
    """Bring `part` to the whole, right content."""
    failures, wrong, longest = 0, 0, _size(part)
    while True:
        if file.sha256 and _size(part) and sha256(part) == file.sha256:
            return
        try:
            _transfer(file.url, part, job)
            if file.sha256 is None or sha256(part) == file.sha256:
                return
            part.unlink()
            wrong += 1
            # Bytes of an earlier call may have spoilt the first try; a second one has only the server's.
            if wrong == 2:
                raise UserError(file.url, "the bytes received have another SHA-256", file.sha256, "try again later")
            failures, longest = 0, 0
        except (requests.RequestException, urllib3.exceptions.HTTPError, _Interrupted) as error:
            failures = 0 if _size(part) > longest else failures + 1
            longest = max(longest, _size(part))
            if failures >= ATTEMPTS:
                found = f"failed {ATTEMPTS} times in succession ({_brief(error)})"
                raise UserError(file.url, found, do=_DO_NETWORK) from None
            _pause(file, failures, job)


def _transfer(url: str, part: Path, job: _Job) -> None:
    """One request: append to `part` what is missing of the file."""
    _check_time(url, job)
    start = _size(part)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    patience = max(0.1, min(_READ, job.left()))
    with requests.get(url, headers=headers, stream=True, timeout=(min(_CONNECT, patience), patience)) as response:
        if response.status_code == 416:
            part.unlink()
            raise _Interrupted("there is nothing after what was received before")
        if response.status_code in _AGAIN:
            raise _Interrupted(f"the server answered {response.status_code}")
        if response.status_code not in (200, 206):
            raise UserError(url, f"the server answered {response.status_code}", "200", "check the address")
        resumed = response.status_code == 206
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            part.unlink()
            raise _Interrupted("the server sent another range than asked for")
        length = response.headers.get("Content-Length", "")
        received = 0
        with part.open("ab" if resumed else "wb") as stream:
            # `iter_content` would wait for a full chunk, however slowly it comes, and no time limit would be looked at.
            while chunk := response.raw.read1(_CHUNK):
                stream.write(chunk)
                received += len(chunk)
                job.advance(n_bytes=len(chunk))
                _check_time(url, job)
    if length.isdigit() and received != int(length):
        raise _Interrupted(f"{received} of {length} bytes came")


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _brief(error: Exception) -> str:
    return str(error) if isinstance(error, _Interrupted) else type(error).__name__


def _check_time(url: str, job: _Job) -> None:
    if job.stop.is_set():
        raise _Stopped
    if job.left() <= 0:
        raise UserError(url, "the time given for the download is over", do="run it again: it goes on where it stopped")


def _pause(file: File, failures: int, job: _Job) -> None:
    seconds = min(8.0, BACKOFF * 2.0 ** max(0, failures - 1))
    job.stop.wait(min(seconds, max(0.0, job.left())))
    _check_time(file.url, job)


def _disk_error(error: OSError, path: Path, part: Path) -> Exception:
    """The user's view of a failed write; a full disk also gets the part's space back."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        part.unlink(missing_ok=True)
        return UserError(path, "the disk is full", do="make room and run it again")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return UserError(path, "no permission to write here", do="give yourself write access, or set ECGLIB_DATA")
    return UserError(path, f"can't be written ({error.strerror or error})", do="look at the folder and run it again")
