"""Where a database is: what of it is on disk, its fingerprint, and the sample that stands in for it.

`ECGLIB_DATA` holds one folder per database, named as in `DATABASES`, but for the Kaggle set's. Where it has none, the
package's own excerpts are taken. Any other folder of WFDB records with beat annotations may take a database's place.
Nothing here touches the network (see `ecglib.data.fetch`).
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from ecglib import aami, files, fingerprint, paths
from ecglib.data import records
from ecglib.errors import RecordError, UserError

SUMS: Final = "SHA256SUMS.txt"
UNFINISHED: Final = f"{SUMS}.part"
"""What the first fetch of a database leaves until it is through."""
SAMPLE: Final = Path(__file__).resolve().parents[1] / "sample"
"""Excerpts of some of the databases, in the package: one folder each (see its README and `tools/make_sample.py`)."""
_SUFFIXES = (".hea", ".dat", "_a.dat", "_b.dat", ".mat", ".xyz", ".atr")
_FORMS = ("", ".gz", ".zip")
"""How the name of a table of a set of CSVs goes on: as it is, gzipped, or alone in a zip file."""
_PACKED = (".zip", ".gz", ".tgz", ".tar", ".7z", ".rar", ".bz2", ".xz", ".zst")
_RIGHTS = "give yourself access to the folder, or set ECGLIB_DATA to another one"


@dataclass(frozen=True, kw_only=True)
class Database:
    """A public database, and how to recognise and fetch it."""

    name: str
    """Its folder's name too, where `place` is empty."""
    title: str
    version: str
    licence: str
    citation: str
    doi: str
    page: str
    """On the web."""
    url: str | None
    """The folder its files are fetched from, or None where that takes an account."""
    expected: int
    """How many records (files, for a set of CSVs) the whole database has."""
    records: tuple[str, ...] = ()
    """The names of the records we use, where they are few; empty for all."""
    wanted: str = ""
    """Which files of `SHA256SUMS.txt` are fetched (regular expression over the whole name)."""
    flat: bool = False
    """Files of subfolders are kept side by side."""
    tables: tuple[str, ...] = ()
    """Files beside the records (for a set of CSVs, all of it)."""
    annotator: str = ""
    """Suffix of its beat annotations; empty where it has none."""
    place: str = ""
    """Its folder's name, where that is another."""

    @property
    def folder(self) -> Path:
        """Where it lies, or would."""
        return paths.data() / (self.place or self.name)

    @property
    def home(self) -> Path:
        """Its folder, or where that has no file a zip file beside it of the same name."""
        zipped = self.folder.with_suffix(".zip")
        here = self.folder.is_dir() and any(records.walked(self.folder))
        return zipped if is_zip(zipped) and not here else self.folder

    @property
    def forms(self) -> dict[str, str]:
        """Names of the files that may hold a table, each with the table's own name."""
        return {table + form: table for table in self.tables for form in (_FORMS if self.url is None else ("",))}

    @property
    def hint(self) -> str:
        """What to do where it, or a part of it, is missing."""
        if self.url is not None:
            return f"ecglib data fetch {self.name}, or copy the files from {self.page} to {self.folder}"
        files = f"download {', '.join(self.tables)}, zipped or not, from {self.page} to {self.folder}"
        return f"{files}, or rebuild them: ecglib data export {self.name} --out {self.folder}"


def _physionet(name: str, version: str = "1.0.0", licence: str = "ODC-By 1.0", **more: Any) -> Database:
    page, url = (f"https://physionet.org/{kind}/{name}/{version}/" for kind in ("content", "files"))
    return Database(name=name, version=version, licence=licence, page=page, url=url, **more)


_BEATS: Final = {"wanted": r"RECORDS|\w+\.(hea|dat|atr)", "annotator": "atr"}
"""Of a database of annotated beats."""
_OF_QTDB = """
100 102 103 104 114 116 117 123 213 221 223 230 231 232 233 301 302 306 307 308 310
803 808 811 820 821 840 847 853 871 872 873 883 891
14046 14157 14172 15814 16265 16272 16273 16420 16483 16539 16773 16786 16795 17453
e0104 e0106 e0107 e0110 e0111 e0112 e0114 e0116 e0121 e0122 e0124 e0126 e0129 e0133 e0136 e0166 e0170
e0203 e0210 e0211 e0303 e0405 e0406 e0409 e0411 e0509 e0603 e0604 e0606 e0607 e0609 e0612 e0704
"""
"""Names in the databases that they are excerpts of, of all but the 24 records of sudden death, whose beats were not
annotated (Laguna et al. 1997, table 2)."""
_DATABASES = (
    _physionet(
        "mitdb",
        title="MIT-BIH Arrhythmia Database",
        citation="Moody & Mark, IEEE Engineering in Medicine and Biology 20(3):45-50, 2001",
        doi="10.13026/C2F305",
        expected=48,
        records=tuple(sorted((*aami.DS1, *aami.DS2, *aami.PACED))),
        **_BEATS,
    ),
    _physionet(
        "svdb",
        title="MIT-BIH Supraventricular Arrhythmia Database",
        citation="Greenwald, PhD thesis, Harvard-MIT Division of Health Sciences and Technology, 1990",
        doi="10.13026/C2V30W",
        expected=78,
        records=tuple(str(n) for n in (*range(800, 813), *range(820, 830), *range(840, 895))),
        **_BEATS,
    ),
    _physionet(
        "incartdb",
        title="St Petersburg INCART 12-lead Arrhythmia Database",
        citation="Tihonenko, Khaustov, Ivanov & Rivin, St Petersburg Institute of Cardiological Technics",
        doi="10.13026/C2V88N",
        expected=75,
        records=tuple(f"I{n:02}" for n in range(1, 76)),
        **_BEATS,
    ),
    _physionet(
        "ltdb",
        title="MIT-BIH Long-Term ECG Database",
        citation="Goldberger et al., Circulation 101(23):e215-e220, 2000",
        doi="10.13026/C2KS3F",
        expected=7,
        records=("14046", "14134", "14149", "14157", "14172", "14184", "15814"),
        **_BEATS,
    ),
    _physionet(
        "qtdb",
        title="QT Database",
        citation="Laguna, Mark, Goldberger & Moody, Computers in Cardiology 24:673-676, 1997",
        doi="10.13026/C24K53",
        expected=81,
        records=tuple(f"sel{name}" for name in _OF_QTDB.split()),
        **_BEATS,
    ),
    _physionet(
        "nstdb",
        title="MIT-BIH Noise Stress Test Database",
        citation="Moody, Muldrow & Mark, Computers in Cardiology 11:381-384, 1984",
        doi="10.13026/C2HS3T",
        expected=3,
        records=("bw", "em", "ma"),
        wanted=r"(bw|em|ma)\.(hea|dat)",
    ),
    _physionet(
        "ptb-xl",
        "1.0.3",
        "CC BY 4.0",
        title="PTB-XL",
        citation="Wagner et al., Scientific Data 7:154, 2020",
        doi="10.13026/6sec-a640",
        expected=21_799,
        wanted=r"RECORDS|LICENSE\.txt|(ptbxl_database|scp_statements)\.csv|records[15]00/.*\.(hea|dat)",
        tables=("ptbxl_database.csv", "scp_statements.csv"),
    ),
    _physionet(
        "challenge-2021",
        "1.0.3",
        "CC BY 4.0",
        title="PhysioNet/Computing in Cardiology Challenge 2021, training data",
        citation="Reyna et al., Computing in Cardiology 48:1-4, 2021",
        doi="10.13026/34va-7q14",
        expected=88_253,
        wanted=r"training/.*\.(hea|mat)",
        flat=True,
    ),
    _physionet(
        "ptbdb",
        title="PTB Diagnostic ECG Database",
        citation="Bousseljot, Kreiseler & Schnabel, Biomedizinische Technik 40(s1):317, 1995",
        doi="10.13026/C28C71",
        expected=549,
        wanted=r"RECORDS|patient\d+/.*\.(hea|dat|xyz)",
    ),
    Database(
        name="kaggle",
        place="heartbeat",
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
DATABASES: Final = {database.name: database for database in _DATABASES}
ANNOTATED: Final = tuple(name for name, database in DATABASES.items() if database.annotator)
"""Those with beat annotations."""
_PLACES: Final = {database.place: database.name for database in _DATABASES if database.place}


@dataclass(frozen=True)
class Source:
    """A database's files, or those of its sample."""

    name: str
    """That of the database, or of a folder that is none, as it was asked for."""
    folder: Path
    sample: bool
    """Whether they are the excerpts that the package embeds; whoever shows a number must say so."""
    records: tuple[str, ...]
    """Record names for `ecglib.data.records`, broken ones included (file names, for a set of CSVs)."""
    annotator: str = "atr"
    """Suffix of its beat annotations, where it has any."""
    copy_of: str = ""
    """Of a folder that has the records of a database, and no others, the name of that."""

    @property
    def database(self) -> str:
        """The name of the database whose records these are, or else its own."""
        return self.copy_of or self.name

    def fingerprint(self) -> str:
        """SHA-256 over the sorted names and contents of the records' files and of the tables beside them."""
        suffixes = (*_SUFFIXES, f".{self.annotator}")
        found = {self.folder / (name + suffix) for name in self.records for suffix in suffixes}
        if self.name in DATABASES:
            found |= {packed(self.folder / table) for table in DATABASES[self.name].tables}
        else:
            found |= {file for name in self.records for file in records.beside(self.folder, name)}
        names = sorted(path.relative_to(self.folder).as_posix() for path in found if path.is_file())
        whole = hashlib.sha256()
        with readable(self.folder):
            for name, digest in zip(names, digests(self.folder / name for name in names), strict=True):
                whole.update(f"{name} {digest}\n".encode())
        return whole.hexdigest()


@dataclass(frozen=True)
class Status:
    """What of a database is on disk; plain values, for JSON.

    `found` and `expected` count records, or files for a set of CSVs; `size` is in bytes; `sample` says whether the
    package embeds excerpts that `get` takes instead; `hint` says what to do where something is missing.
    """

    name: str
    title: str
    version: str
    state: Literal["present", "partial", "absent"]
    folder: str
    found: int
    expected: int
    size: int
    sample: bool
    licence: str
    citation: str
    doi: str
    hint: str


def database(name: str) -> Database:
    """The database of that name, or of a folder so named; or a `UserError`."""
    name = _PLACES.get(name, name)
    if name not in DATABASES:
        raise UserError(name, "no such database", f"one of {', '.join(DATABASES)}")
    return DATABASES[name]


def find(name: str) -> Source | None:
    """The files of a database in `ECGLIB_DATA`, if at least one record of it can be read; None otherwise. A `UserError`
    when there is no such database, or its folder may not be read."""
    return _find(database(name))[0]


def get(name: str) -> Source:
    """The files of a database in `ECGLIB_DATA`, else its sample, without the network. A `UserError` when there is
    neither, when there are files but every record of them is broken, or they are in several folders, or a folder may
    not be read."""
    entry = database(name)
    source, why = _find(entry)
    if isinstance(why, RecordError):
        do = "" if why.do else f"mend or remove the folder, then: ecglib data fetch {name}"
        raise UserError(entry.home, f"no record can be read; the first: {why}", do=do)
    if why is not None:
        raise why
    source = source or sample(name)
    if source is None:
        raise UserError(name, f"not in {paths.data()}", do=entry.hint)
    return source


def annotated(name: str, annotator: str = "") -> Source:
    """Records with beat annotations: of a database as `get` gives them, or of any folder or zip file of one: a path
    from the root or in `ECGLIB_DATA`. `annotator` is the suffix of the annotations, empty for the database's own or the
    only one there.

    A `UserError` when the database has no beat annotations, there is no such folder, it has no records or none with
    annotations, or it has several kinds of them and none is chosen; and as of `get`.
    """
    if name in DATABASES and DATABASES[name].annotator:
        return replace(get(name), annotator=annotator or DATABASES[name].annotator)
    expected = f"one of {', '.join(ANNOTATED)}, or a folder of WFDB records"
    if name in DATABASES:
        raise UserError(name, "no beat annotations", expected)
    given = Path(name).expanduser()
    for place in (given,) if given.is_absolute() else (paths.root() / given, paths.data() / name):
        with readable(place):
            if place.is_dir() or is_zip(place):
                folder = opened(place.resolve())
                break
    else:
        raise UserError(name, "no such database or folder", f"{expected}, or kaggle")
    names = tuple(records.list_records(folder))
    if not names:
        raise UserError(folder, "no WFDB record in it", "headers (.hea), signals and annotations")
    found = _annotators(folder, names)
    if not found:
        raise UserError(folder, "no annotations of beats", "such as 100.atr beside 100.hea")
    if annotator and annotator not in found:
        raise UserError(folder, f"no annotations .{annotator}", f"one of {', '.join(found)}")
    if not annotator and len(found) > 1:
        raise UserError(
            folder, f"annotations of several kinds ({', '.join(found)})", "one", f"choose: annotator {found[0]}"
        )
    copied = (one for one, each in DATABASES.items() if each.records and {*each.records} == {*names})
    return Source(name, folder, False, names, annotator or found[0], next(copied, ""))


def sample(name: str) -> Source | None:
    """The excerpts of a database that the package embeds, whatever `ECGLIB_DATA` has; None where there are none."""
    folder = SAMPLE / name
    return Source(name, folder, True, tuple(records.list_records(folder))) if folder.is_dir() else None


def opened(folder: Path, tables: Collection[str] = (), names: Sequence[str] = ()) -> Path:
    """The folder; of a zip file, or a folder that has one and neither a header nor one of the tables, the folder that
    it holds, unpacked once into the cache: the first with something beside one folder, or with a record of one of the
    names. A `UserError` when it can't be unpacked, an `OSError` when a folder can't be read."""
    packed = _packed_alone(folder, tables)
    if packed is None:
        return folder
    about = packed.stat()
    home = paths.cache() / "unpacked" / fingerprint.of_values(str(packed.resolve()))[:20]
    folder = files.unzipped(packed, home, fingerprint.of_values(about.st_size, about.st_mtime_ns)[:8])
    while len(below := list(folder.iterdir())) == 1 and below[0].is_dir():
        if any(os.path.isfile(f"{folder}/{name}.hea") for name in names):  # noqa: PTH113  (that of Path may raise)
            break
        (folder,) = below
    return folder


def is_zip(path: Path) -> bool:
    return path.suffix.lower() == ".zip" and path.is_file()


def _packed_alone(folder: Path, tables: Collection[str]) -> Path | None:
    if is_zip(folder):
        return folder
    packed = [name for name in os.listdir(folder) if is_zip(folder / name) and name[0] != "."]  # noqa: PTH208
    if len(packed) != 1 or any(path.suffix == ".hea" or path.name in tables for path in records.walked(folder)):
        return None
    return folder / packed[0]


def _sizes(entry: Database, folder: Path) -> dict[str, int]:
    """Name and size of every file in a database's folder, or in the zip file that `opened` would unpack."""
    if packed := _packed_alone(folder, entry.forms):
        return files.zipped(packed)
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size if path.is_file() else 0
        for path in records.walked(folder)
    }


def _walked(home: Path) -> Iterable[Path]:
    return [home] if is_zip(home) else records.walked(home)


def _annotators(folder: Path, names: Iterable[str]) -> list[str]:
    """Suffixes of the annotation files beside these records, sorted: `atr`, and any other of a file that is none of the
    record's own and has beats."""
    parents = defaultdict[Path, dict[str, str]](dict)
    for name in names:
        path = records.header_path(folder, name)
        parents[path.parent][path.stem] = name
    found: set[str] = set()
    for parent, names_of in parents.items():
        for file in parent.glob("*"):
            stem, _, suffix = file.name.rpartition(".")
            if stem in names_of and suffix not in (*found, "hea", "dat", "mat") and re.fullmatch(r"\w+", suffix):
                other = suffix != "atr" and file in records.beside(folder, names_of[stem])
                with suppress(RecordError):
                    if suffix == "atr" or (
                        not other and np.isin(records.annotation_file(file)[1], list(aami.SYMBOLS)).any()
                    ):
                        found.add(suffix)
    return sorted(found)


def packed(table: Path) -> Path:
    """The file that holds a table of a set of CSVs: it itself, or the same gzipped or zipped beside it; the name as it
    is where there is none."""
    forms = (table.with_name(table.name + form) for form in _FORMS)
    return next((path for path in forms if path.is_file()), table)


def status(name: str) -> Status:
    """What is on disk of a database, complete or not, or why nothing of it can be read."""
    entry = database(name)
    folder, sizes = entry.folder, dict[str, int]()
    why: UserError | None = None
    try:
        with readable(folder):
            folder = entry.home
            if folder.exists():
                sizes = _sizes(entry, folder)
                _place(entry, folder)
    except UserError as error:
        why = error
    found = _count(entry, sizes)
    present = found >= entry.expected and why is None
    state: Literal["present", "partial", "absent"] = "present" if present else "partial" if found else "absent"
    why = why or (_unread(entry, folder, found) if sizes and not present else None)
    hint, size = "" if present else str(why or entry.hint), sum(sizes.values())
    about = {key: getattr(entry, key) for key in ("name", "title", "version", "expected", "licence", "citation", "doi")}
    return Status(
        **about,
        state=state,
        folder=str(folder),
        found=found,
        size=size,
        sample=(SAMPLE / entry.name).is_dir(),
        hint=hint,
    )


def _count(entry: Database, sizes: dict[str, int]) -> int:
    if entry.url is None:
        there = {name.rpartition("/")[2] for name, size in sizes.items() if size}
        return len({table for file, table in entry.forms.items() if file in there})
    stems = {name.removesuffix(".hea") for name, size in sizes.items() if name.endswith(".hea") and size}
    whole = {stem for stem in stems if sizes.get(f"{stem}.dat") or sizes.get(f"{stem}.mat")}
    # PTB-XL has every record at two rates.
    found = {stem.rpartition("/")[2].removesuffix("_lr").removesuffix("_hr") for stem in whole}
    return len(found.intersection(entry.records) if entry.records else found)


def _find(entry: Database) -> tuple[Source | None, UserError | None]:
    """The source in `ECGLIB_DATA`, or None and why there is none: a `RecordError` is that of its first record. Where a
    folder below has all of what it is known by, that is its folder. What an unfinished first fetch has brought is no
    source yet: results would follow from where it stopped."""
    with readable(entry.folder):
        home = entry.home
        if not home.exists():
            return None, None
        try:
            folder = _place(entry, opened(home, entry.forms))
        except UserError as error:
            return None, error
        if entry.url is None:
            tables = tuple(table for table in entry.tables if packed(folder / table).is_file())
            return (Source(entry.name, folder, False, tables), None) if tables else (None, _unread(entry, home))
        if (home / UNFINISHED).is_file() and status(entry.name).state != "present":
            return None, None
    listed = records.list_records(folder)
    names = tuple(name for name in listed if not entry.records or name in entry.records)
    broken = None
    for name in names:
        try:
            if entry.records:
                # The noise's missing gain is taken as the format's default: here it only matters that it decodes.
                records.read_recording(folder, name, uncalibrated_gain=records.DEFAULT_GAIN)
            else:
                records.read_repaired(folder, name)
        except RecordError as error:
            broken = broken or error
        else:
            return Source(entry.name, folder, False, names), None
    with readable(folder):
        return None, _unread(entry, folder) or broken or _unread(entry, home)


def _place(entry: Database, folder: Path) -> Path:
    """The folder, or the one below it, that has all of the files that a database is known by and that are here. A
    `UserError` where not one folder has, or several have."""
    known_by = entry.forms or {file: file for file in (f"{name}.hea" for name in entry.records)}
    if all((folder / name).is_file() for name in known_by.values()):
        return folder
    found = defaultdict[Path, set[str]](set)
    for path in _walked(folder):
        if path.name in known_by:
            found[path.parent].add(known_by[path.name])
    whole = [place for place, names in found.items() if names == set().union(*found.values())]
    if folder in whole or not found:
        return folder
    if len(whole) == 1:
        return whole[0]
    several = " and ".join(place.relative_to(folder).as_posix() for place in whole or sorted(found))
    raise UserError(folder, f"its files are in several folders ({several})", do="move them together, or copies away")


def _unread(entry: Database, folder: Path, found: int = 0) -> RecordError | None:
    """The first file that may be of the database and is not in the form in which it is read, where so much is found."""
    for path in sorted(_walked(folder)):
        suffix = path.suffix.lower()
        if path.is_symlink() and not path.exists():
            return RecordError(path, "a link that leads nowhere", str(path.readlink()), do="mend the link")
        if suffix in _PACKED and path.name not in entry.forms:
            if path != _packed_alone(folder, entry.forms):
                return RecordError(path, "a packed file", do="unpack it there")
            if not found:
                return RecordError(path, "a packed file", "nothing of it inside", do=entry.hint)
        if path.name not in entry.tables and (path.name.lower() in entry.tables or path.suffix != suffix in _SUFFIXES):
            return RecordError(path, "a name in capitals", expected="small letters", do="rename it")
    return None


def digests(files: Iterable[Path]) -> list[str]:
    """SHA-256 of the content of every file, in hexadecimal digits."""

    def sha256(path: Path) -> str:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    with ThreadPoolExecutor(max_workers=2) as pool:
        return list(pool.map(sha256, files))


@contextmanager
def readable(folder: Path) -> Iterator[None]:
    """Turns a folder that may not be read, or is none, into a `UserError`."""
    try:
        yield
    except PermissionError as error:
        raise UserError(error.filename or folder, "no permission to read it", do=_RIGHTS) from None
    except NotADirectoryError:
        raise UserError(folder, "a file", "a folder", "move it away") from None
