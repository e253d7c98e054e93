"""Where data comes from: the databases, what of them is on disk, fetching, checking, and the synthetic fallback.

`ECGLIB_DATA` holds one folder per database, named as in `DATABASES`. `get` never touches the network; `fetch` does.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from filelock import FileLock, Timeout

from ecglib import aami, paths
from ecglib.data import download, records, synthetic
from ecglib.errors import RecordError, UserError

_SUMS = "SHA256SUMS.txt"
_UNFINISHED = f"{_SUMS}.part"
_SUFFIXES = (".hea", ".dat", ".mat", ".xyz", ".atr")
_RIGHTS = "give yourself access to the folder, or set ECGLIB_DATA to another one"


@dataclass(frozen=True)
class Database:
    """A public database, and how to recognise and fetch it.

    Parameters
    ----------
    name
        Its folder's name.
    title, version, licence, citation, doi
        For the book's data chapter.
    page
        Its page on the web.
    url
        The folder its files are fetched from, or None where that takes an account.
    expected
        How many records (files, for a set of CSVs) the whole database has.
    records
        The names of the records we use, where they are few; empty for all.
    wanted
        Which files of `SHA256SUMS.txt` are fetched (regular expression over the whole name).
    flat
        Files of subfolders are kept side by side.
    tables
        Files beside the records (for a set of CSVs, all of it).
    """

    name: str
    title: str
    version: str
    licence: str
    citation: str
    doi: str
    page: str
    url: str | None
    expected: int
    records: tuple[str, ...] = ()
    wanted: str = r"RECORDS|.*\.(hea|dat)"
    flat: bool = False
    tables: tuple[str, ...] = ()


DATABASES: Final[dict[str, Database]] = {
    database.name: database
    for database in (
        Database(
            name="mitdb",
            title="MIT-BIH Arrhythmia Database",
            version="1.0.0",
            licence="ODC-By 1.0",
            citation="Moody & Mark, IEEE Engineering in Medicine and Biology 20(3):45-50, 2001",
            doi="10.13026/C2F305",
            page="https://physionet.org/content/mitdb/1.0.0/",
            url="https://physionet.org/files/mitdb/1.0.0/",
            expected=48,
            records=tuple(sorted((*aami.DS1, *aami.DS2, *aami.PACED))),
            wanted=r"RECORDS|\d{3}\.(hea|dat|atr)",
        ),
        Database(
            name="nstdb",
            title="MIT-BIH Noise Stress Test Database",
            version="1.0.0",
            licence="ODC-By 1.0",
            citation="Moody, Muldrow & Mark, Computers in Cardiology 11:381-384, 1984",
            doi="10.13026/C2HS3T",
            page="https://physionet.org/content/nstdb/1.0.0/",
            url="https://physionet.org/files/nstdb/1.0.0/",
            expected=3,
            records=("bw", "em", "ma"),
            wanted=r"(bw|em|ma)\.(hea|dat)",
        ),
        Database(
            name="ptb-xl",
            title="PTB-XL",
            version="1.0.3",
            licence="CC BY 4.0",
            citation="Wagner et al., Scientific Data 7:154, 2020",
            doi="10.13026/6sec-a640",
            page="https://physionet.org/content/ptb-xl/1.0.3/",
            url="https://physionet.org/files/ptb-xl/1.0.3/",
            expected=21_799,
            wanted=r"RECORDS|LICENSE\.txt|(ptbxl_database|scp_statements)\.csv|records[15]00/.*\.(hea|dat)",
            tables=("ptbxl_database.csv", "scp_statements.csv"),
        ),
        Database(
            name="challenge-2021",
            title="PhysioNet/Computing in Cardiology Challenge 2021, training data",
            version="1.0.3",
            licence="CC BY 4.0",
            citation="Reyna et al., Computing in Cardiology 48:1-4, 2021",
            doi="10.13026/34va-7q14",
            page="https://physionet.org/content/challenge-2021/1.0.3/",
            url="https://physionet.org/files/challenge-2021/1.0.3/",
            expected=88_253,
            wanted=r"training/.*\.(hea|mat)",
            flat=True,
        ),
        Database(
            name="ptbdb",
            title="PTB Diagnostic ECG Database",
            version="1.0.0",
            licence="ODC-By 1.0",
            citation="Bousseljot, Kreiseler & Schnabel, Biomedizinische Technik 40(s1):317, 1995",
            doi="10.13026/C28C71",
            page="https://physionet.org/content/ptbdb/1.0.0/",
            url="https://physionet.org/files/ptbdb/1.0.0/",
            expected=549,
            wanted=r"RECORDS|patient\d+/.*\.(hea|dat|xyz)",
        ),
        Database(
            name="heartbeat",
            title="ECG Heartbeat Categorization Dataset (Kaggle)",
            version="1",
            licence="none stated; derived from mitdb and ptbdb (ODC-By 1.0)",
            citation="Kachuee, Fazeli & Sarrafzadeh, IEEE ICHI, 443-444, 2018",
            doi="10.1109/ICHI.2018.00092",
            page="https://www.kaggle.com/datasets/shayanfazeli/heartbeat",
            url=None,
            expected=4,
            tables=("mitbih_train.csv", "mitbih_test.csv", "ptbdb_normal.csv", "ptbdb_abnormal.csv"),
        ),
    )
}


@dataclass(frozen=True)
class Source:
    """A database's files, real or synthetic.

    Parameters
    ----------
    name
        The database.
    folder
        Where the files lie.
    synthetic
        Whether they come from the heart model; whoever shows a number must say so.
    records
        Record names for `ecglib.data.records`, broken ones included (file names, for a set of CSVs).
    """

    name: str
    folder: Path
    synthetic: bool
    records: tuple[str, ...]

    def fingerprint(self) -> str:
        """SHA-256 over the sorted names and contents of the records' files and of the tables beside them."""
        found = [self.folder / (name + suffix) for name in self.records for suffix in _SUFFIXES]
        found += [self.folder / table for table in DATABASES[self.name].tables]
        names = sorted(path.relative_to(self.folder).as_posix() for path in found if path.is_file())
        whole = hashlib.sha256()
        with _rights(self.folder):
            for name, digest in zip(names, digests(self.folder / name for name in names), strict=True):
                whole.update(f"{name} {digest}\n".encode())
        return whole.hexdigest()


@dataclass(frozen=True)
class Status:
    """What of a database is on disk; plain values, for JSON.

    `found` and `expected` count records, or files for a set of CSVs; `size` is in bytes; `synthetic` says whether `get`
    can stand in with synthetic records; `hint` says what to do where something is missing.
    """

    name: str
    title: str
    version: str
    state: Literal["present", "partial", "absent"]
    folder: str
    found: int
    expected: int
    size: int
    synthetic: bool
    licence: str
    citation: str
    doi: str
    hint: str


def database(name: str) -> Database:
    """The database of that name.

    Raises
    ------
    UserError
        When there is none.
    """
    if name not in DATABASES:
        raise UserError(name, "no such database", f"one of {', '.join(DATABASES)}")
    return DATABASES[name]


def status() -> list[Status]:
    """What is on disk of every database, complete or not.

    Raises
    ------
    UserError
        When a database's folder may not be read.
    """
    return [_status(entry) for entry in DATABASES.values()]


def find(name: str) -> Source | None:
    """The real files of a database, if at least one record of it can be read; None otherwise.

    Raises
    ------
    UserError
        When there is no such database, or its folder may not be read.
    """
    return _find(database(name))[0]


def get(name: str) -> Source:
    """The real files of a database, else its synthetic stand-in (which only `mitdb` has), without the network.

    Raises
    ------
    UserError
        When there are neither, when there are files but every record of them is broken, when a folder may not be read
        or written, or the disk is full.
    """
    entry = database(name)
    source, broken = _find(entry)
    if source is not None:
        return source
    if broken is not None:
        raise UserError(
            paths.data() / name, f"no record can be read; the first: {broken}",
            do=f"mend or remove the folder, then: ecglib data fetch {name}",
        )  # fmt: skip
    if name == "mitdb":
        return _synthetic(entry)
    raise UserError(name, f"not in {paths.data()}", do=_hint(entry))


def can_get(name: str) -> bool:
    """Whether `get` would give something: real files, or a synthetic stand-in."""
    return name == "mitdb" or find(name) is not None


def fetch(
    name: str, *, deadline: float | None = None, progress: Callable[[download.Progress], None] | None = None
) -> Source:
    """Fetch what is missing or wrong of a database, checking every file against its published SHA-256.

    A second call goes on where the first stopped; with everything there and right it doesn't use the network.

    Parameters
    ----------
    name
        The database.
    deadline
        Seconds for all of it, or None for as long as bytes keep coming.
    progress
        See `ecglib.data.download.files`.

    Raises
    ------
    UserError
        When the database can't be fetched (it says where to get it), the network can't be reached, the time is over, a
        file stays wrong, the disk is full, or the folder may not be written.
    """
    entry, start = database(name), time.monotonic()
    if entry.url is None:
        raise UserError(name, "can't be fetched without an account", do=_hint(entry))
    folder = paths.data() / name
    with _fetching(folder):
        if not (folder / _SUMS).is_file() or verify(name):
            probe = download.PROBE_SECONDS if deadline is None else min(deadline, download.PROBE_SECONDS)
            sums = download.text(entry.url + _SUMS, seconds=probe)
            wanted = [
                download.File(entry.url + there, folder / here, digest)
                for there, here, digest in _wanted(entry, sums, entry.url + _SUMS)
            ]
            first = _find(entry)[0] is None
            (folder / _UNFINISHED).write_text(sums, encoding="utf-8")
            if not first:
                (folder / _UNFINISHED).replace(folder / _SUMS)
            left = None if deadline is None else max(0.0, deadline - (time.monotonic() - start))
            download.files(wanted, deadline=left, progress=progress)
            if first:
                (folder / _UNFINISHED).replace(folder / _SUMS)
    source = find(name)
    if source is None:
        raise UserError(folder, "the files were fetched, but no record can be read", do="look at the folder")
    return source


def verify(name: str) -> list[str]:
    """Names of the files of a database that are missing or differ from its `SHA256SUMS.txt`; empty when all is well.

    Raises
    ------
    UserError
        When there is no such database, `SHA256SUMS.txt` is not in its folder, or the folder may not be read.
    """
    entry = database(name)
    folder = paths.data() / name
    with _rights(folder):
        if not (folder / _SUMS).is_file():
            raise UserError(folder / _SUMS, "no such file, so nothing to check against", do=_hint(entry))
        sums = (folder / _SUMS).read_text(encoding="utf-8", errors="replace")
        expected = {here: digest for _, here, digest in _wanted(entry, sums, folder / _SUMS)}
        there = [here for here in expected if (folder / here).is_file()]
        found = dict(zip(there, digests(folder / here for here in there), strict=True))
    return sorted(here for here, digest in expected.items() if found.get(here) != digest)


def _status(entry: Database) -> Status:
    folder = paths.data() / entry.name
    sizes: dict[str, int] = {}
    if folder.exists():
        with _rights(folder):
            # Path.rglob passes over folders that may not be read, os.walk does so only without `onerror`.
            for parent, _, files in os.walk(folder, onerror=_raise):
                for file in files:
                    path = Path(parent, file)
                    sizes[path.relative_to(folder).as_posix()] = path.stat().st_size if path.is_file() else 0
    found = _count(entry, sizes)
    state: Literal["present", "partial", "absent"] = "partial" if found else "absent"
    if found >= entry.expected:
        state = "present"
    return Status(
        entry.name, entry.title, entry.version, state, str(folder), found, entry.expected, sum(sizes.values()),
        entry.name == "mitdb", entry.licence, entry.citation, entry.doi, "" if state == "present" else _hint(entry),
    )  # fmt: skip


def _count(entry: Database, sizes: dict[str, int]) -> int:
    if entry.url is None:
        return sum(sizes.get(table, 0) > 0 for table in entry.tables)
    stems = {name.removesuffix(".hea") for name, size in sizes.items() if name.endswith(".hea") and size}
    whole = {stem for stem in stems if sizes.get(f"{stem}.dat") or sizes.get(f"{stem}.mat")}
    if entry.records:
        return len(whole.intersection(entry.records))
    # PTB-XL has every record at two rates.
    return len({stem.rpartition("/")[2].removesuffix("_lr").removesuffix("_hr") for stem in whole})


def _find(entry: Database) -> tuple[Source | None, RecordError | None]:
    """The real source, or None and why the first record can't be read.

    What an unfinished first fetch has brought is no source yet: results would follow from where it stopped.
    """
    folder = paths.data() / entry.name
    if not folder.exists():
        return None, None
    with _rights(folder):
        os.listdir(folder)  # noqa: PTH208  (Path.iterdir is lazy in newer Pythons)
        if entry.url is None:
            tables = tuple(table for table in entry.tables if (folder / table).is_file())
            return (Source(entry.name, folder, False, tables) if tables else None), None
        if (folder / _UNFINISHED).is_file() and _status(entry).state != "present":
            return None, None
    listed = records.list_records(folder)
    names = tuple(name for name in listed if not entry.records or name in entry.records)
    broken = None
    for name in names:
        try:
            # The noise records' missing gain is taken as the format's default: here it only matters that they decode.
            records.read_recording(folder, name, uncalibrated_gain=200.0)
        except RecordError as error:
            broken = broken or error
        else:
            return Source(entry.name, folder, False, names), None
    return None, broken


def _synthetic(entry: Database) -> Source:
    """The synthetic records, written once; a folder under its final name is always complete."""
    parent = paths.cache() / "synthetic"
    folder, version = parent / entry.name, parent / entry.name / "VERSION"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with FileLock(parent / f"{entry.name}.lock"):
            if not (version.is_file() and version.read_text() == synthetic.version()):
                _write_synthetic(folder)
    except OSError as error:
        found = f"can't be written ({error.strerror or error})"
        raise UserError(folder, found, do="make room, or give yourself write access") from None
    return Source(entry.name, folder, True, tuple(records.list_records(folder)))


def _write_synthetic(folder: Path) -> None:
    for left_over in folder.parent.glob(f".{folder.name}.*.tmp"):
        shutil.rmtree(left_over)
    temporary = folder.parent / f".{folder.name}.{os.getpid()}.tmp"
    try:
        synthetic.write(temporary)
        (temporary / "VERSION").write_text(synthetic.version())
        if folder.exists():
            folder.rename(folder.parent / f".{folder.name}.old.tmp")
            shutil.rmtree(folder.parent / f".{folder.name}.old.tmp")
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _wanted(entry: Database, sums: str, where: str | Path) -> list[tuple[str, str, str]]:
    """(name on the server, name here, SHA-256) of the files to have, in the order to fetch them.

    A record's header comes after its other files and `RECORDS` at the very end: an interrupted fetch leaves no header
    without its signal, and no list of records that are not there.
    """
    rows = []
    for line in sums.splitlines():
        digest, _, there = line.strip().partition(" ")
        there = there.strip().lstrip("*").removeprefix("./")
        if not re.fullmatch(entry.wanted, there):
            continue
        if not re.fullmatch(r"[0-9a-f]{64}", digest) or not re.fullmatch(r"(?!.*\.\.)\w[\w./+-]*", there):
            raise UserError(where, f"unreadable line {line[:80]!r}", "SHA-256, space, file name")
        if not entry.records or there.partition(".")[0] in (*entry.records, "RECORDS"):
            rows.append((there, there.rpartition("/")[2] if entry.flat else there, digest))
    if not rows:
        raise UserError(where, f"lists no file of {entry.name}", "lines of SHA-256, space, file name")

    def order(row: tuple[str, str, str]) -> tuple[bool, str, bool, str]:
        stem, _, suffix = row[1].rpartition(".")
        return row[1] == "RECORDS", stem, suffix == "hea", suffix

    return sorted(rows, key=order)


def digests(files: Iterable[Path]) -> list[str]:
    """SHA-256 of the content of every file, in hexadecimal digits."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        return list(pool.map(download.sha256, files))


def _hint(entry: Database) -> str:
    if entry.url is not None:
        return f"ecglib data fetch {entry.name}, or copy the files from {entry.page} to {paths.data() / entry.name}"
    return f"download {', '.join(entry.tables)} from {entry.page} to {paths.data() / entry.name}"


def _raise(error: OSError) -> None:
    raise error


@contextmanager
def _rights(folder: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise UserError(error.filename or folder, "no permission to read it", do=_RIGHTS) from None
    except NotADirectoryError:
        raise UserError(folder, "a file", "a folder", "move it away") from None


@contextmanager
def _fetching(folder: Path) -> Iterator[None]:
    """The folder, made and held against a second fetch of the same database; removed again if nothing came."""
    lock = folder / ".fetch.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(lock, timeout=0):
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
                if not any(folder.iterdir()):
                    folder.rmdir()
    except Timeout:
        raise UserError(folder, "another fetch is at work here", do="wait for it to end") from None
    except OSError as error:
        found = f"can't be written ({error.strerror or error})"
        raise UserError(folder, found, do="make room, give yourself write access, or set ECGLIB_DATA") from None
