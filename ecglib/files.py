"""Files that are written whole or not at all, and locks and lines between processes: once, for all.

A kill at any moment, a full disk or a second process leave a file as it was, or as it is meant to be.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from filelock import FileLock, Timeout

from ecglib.errors import UNPACKED, UserError

WATCH: Final = 1.0
"""Seconds between two looks at a parent."""


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to; what is there in the end becomes `path`, in one step. Its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all; a text in UTF-8."""
    with writing(path) as temporary:
        temporary.write_bytes(content if isinstance(content, bytes) else content.encode())


@contextlib.contextmanager
def writing_folder(folder: Path, *, new: bool = False) -> Iterator[Path]:
    """A new folder beside `folder`, which takes its place in the end; what a killed process left there goes.

    A `UserError` while another process of this machine writes the same folder, and, with `new`, as of `refuse_taken`.
    Threads of one process hold a lock.
    """
    temporary, former = _beside(folder), _beside(folder)
    temporary.mkdir(parents=True)  # before a look at those of others: of two at once, one sees the other at least
    try:
        named = re.compile(rf"\.{re.escape(folder.name)}\.(\d+)-[0-9a-f]{{8}}\.tmp")
        for path in folder.parent.glob(".*.tmp"):
            if (other := named.fullmatch(path.name)) is not None and path != temporary:
                if _lives(int(other[1])):
                    raise UserError(folder, "another process writes it", do=f"wait for it to end, or remove {path}")
                shutil.rmtree(path)
        if new:
            refuse_taken(folder)
        yield temporary
        if folder.exists():
            folder.rename(former)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(former, ignore_errors=True)


def refuse_taken(folder: Path) -> None:
    """A `UserError` where a folder that is to be made is there with something in it, or is one that can't be replaced:
    a link, a mount point, or the current folder."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(folder, "it is there already", "a folder to be made", "--out names another")
    if folder.is_symlink() or folder.is_mount() or folder.resolve() == Path.cwd():
        found = "a link, a mount point or the current folder"
        raise UserError(folder, found, "a folder to be made", "--out names one inside it")


@contextlib.contextmanager
def lock(path: Path, timeout: float = -1, busy: UserError | None = None) -> Iterator[None]:
    """Held against other processes that ask for the same lock file; its folder is made.

    Waits `timeout` seconds for it, below 0 for as long as it takes. A `UserError` when it was not free in that time
    (`busy`, if given), or its file can't be written.
    """
    held = FileLock(path, timeout=timeout)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held.acquire()
    except Timeout:
        raise busy or UserError(path, "held by another process", do="wait for it to end") from None
    except OSError as error:
        raise UserError(path.parent, f"can't be written: {error.strerror}", do="free space or rights") from None
    try:
        yield
    finally:
        held.release()


def to_watcher(kind: str, line: str) -> bool:
    """Hand a line to `ecglib run`, where that started this process: `runs`, the folder of a finished run, whose record
    it tells of; `said`, what it says as it is. False where nobody watches."""
    if watched := os.environ.get("ECGLIB_PROGRESS"):
        with Path(watched).with_suffix(f".{kind}").open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
    return bool(watched)


def tell(line: str) -> None:
    """Say a line: to `ecglib run`, where that started this process, else on stderr."""
    if not to_watcher("said", line):
        print(line, file=sys.stderr, flush=True)


def end_with(parent: int) -> None:
    """End this process when `parent` has ended, however it did; the notebook's kernel follows this process likewise."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def zipped(packed: Path) -> dict[str, int]:
    """Name and size in bytes of every file in a zip file, but for hidden ones. A `UserError` when it is damaged, needs
    a password, or has a name that leads out of the folder that it is unpacked in."""
    with _unzipping(packed) as archive:
        return {info.filename: info.file_size for info in _members(packed, archive)}


def unzipped(packed: Path, home: Path, version: str) -> Path:
    """The folder `home/version`, made of what `zipped` names unless it is there, which a line tells. What `home` has of
    the zip file's former versions goes. Errors as there, and where the disk is full."""
    folder = home / version
    with lock(home.with_suffix(".lock")):
        if not folder.is_dir():
            with _unzipping(packed) as archive:
                members = _members(packed, archive)
                shutil.rmtree(home, ignore_errors=True)
                with writing_folder(folder) as temporary:
                    need, free = sum(info.file_size for info in members), shutil.disk_usage(temporary).free
                    if need > free:
                        found = f"{need / 1e9:.2f} GB to unpack, with {free / 1e9:.2f} GB free"
                        raise UserError(packed, found, do=f"make room in {home.parent}")
                    tell(f"unpacking {packed} into {folder}")
                    archive.extractall(temporary, members)
    UNPACKED[str(folder)] = str(packed)
    return folder


@contextlib.contextmanager
def _unzipping(packed: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(packed) as archive:
            yield archive
    except UserError:
        raise
    except Exception as error:  # zipfile raises many kinds for what is damaged
        why = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
        do = "fetch it again, or unpack it there"
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            why, do = "the disk is full", "make room in cache/"
        raise UserError(packed, f"can't be unpacked ({why})", do=do) from None


def _members(packed: Path, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    members = []
    for info in archive.infolist():
        name = info.filename.replace("\\", "/")  # some programs part folders so
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise UserError(packed, f"holds {name[:60]!r}, which leads out of its folder")
        if info.flag_bits & 1:
            raise UserError(packed, "needs a password", do="unpack it there")
        if not name.endswith("/") and not any(part.startswith((".", "__MACOSX")) for part in path.parts):
            info.filename = str(path)
            members.append(info)
    return members


def _lives(process: int) -> bool:
    """Whether it runs and is another than this."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return process != os.getpid()


def _beside(path: Path) -> Path:
    """A name in the same folder that no other process or thread takes."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
