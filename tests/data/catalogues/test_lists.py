"""Which records a folder has: by its list, by its headers, through links, one folder deeper, or packed."""

from __future__ import annotations

import errno
import os
import re
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import clinics
import cohorts
import pytest

from ecglib.data import databases, records
from ecglib.data.catalogues import challenge, ptb_xl
from ecglib.errors import UserError, named

LOW, HIGH = ("records100/00000/00001_lr", "records100/21000/21837_lr"), (
    "records500/00000/00001_hr", "records500/21000/21837_hr",
)  # fmt: skip
GLUED = f"{LOW[0]}\n{LOW[1]}{HIGH[0]}\n{HIGH[1]}\n"
"""As PTB-XL's own list: no line end between the records of 100 Hz and those of 500 Hz."""


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("there", "lists", "expected"),
    [
        ([*LOW, *HIGH], {"": GLUED}, [*LOW, *HIGH]),
        (LOW, {"": GLUED}, [*LOW, *HIGH]),
        (HIGH, {"": GLUED}, [*LOW, *HIGH]),
        (["100", "101"], {"": "100101\n102"}, ["100", "101", "102"]),
        (["r1", "r12"], {"": "r1\nr12\nr123\n"}, ["r1", "r12", "r123"]),
        (["a/r1", "a/r12"], {"": "a/r1\na/r12\na/r123\n"}, ["a/r1", "a/r12", "a/r123"]),
        (["t/g1/A2", "t/g1/A1", "t/g2/E1"], {"": "t/g1/\nt/g2\nt/g3/\n"}, ["t/g1/A1", "t/g1/A2", "t/g2/E1", "t/g3"]),
        (["t/g1/A1", "t/g1/A2"], {"": "t/\n", "t": "g1/\n", "t/g1": "A2\nA3"}, ["t/g1/A2", "t/g1/A3"]),
        (["g/a", "b"], {"": "g/\ng/a\nb\nb\n"}, ["g/a", "b"]),
        (["g/a", "h/.a", "i/j/.a"], {"": "g/\nh/\ni\n"}, ["g/a", "h", "i"]),
        (["a", "g/b"], {"": "\ufeff./a.hea\r\n./g/b\r\n"}, ["a", "g/b"]),
        (["a", "b", "c"], {"": "a b\rc"}, ["a", "b", "c"]),
        (["b", "a", "sub/c"], {"": "\n \n"}, ["a", "b"]),
        (["z/._a", "z/a", ".git/b", "__MACOSX/._a"], {}, ["z/a"]),
    ],
)
def test_what_a_list_names(tmp_path: Path, there: list[str], lists: dict[str, str], expected: list[str]) -> None:
    touch(tmp_path, *(f"{name}.hea" for name in there))
    for where, text in lists.items():
        (tmp_path / where / "RECORDS").write_text(text, encoding="utf-8")
    assert records.list_records(tmp_path) == expected


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"../a\n", "/RECORDS: unsafe path"), (b"g/\n", "/g/RECORDS: unsafe path"),
     ("a\n".encode("utf-16"), "/RECORDS: it is no text in UTF-8"),
     (b"x" * 5000, ": can't be read (File name too long)")],
)  # fmt: skip
def test_a_list_that_is_none(tmp_path: Path, content: bytes, said: str) -> None:
    touch(tmp_path, "g/a.hea")
    (tmp_path / "g" / "RECORDS").write_text("../../etc/a")
    (tmp_path / "RECORDS").write_bytes(content)
    with pytest.raises(UserError, match="^" + re.escape(f"{tmp_path}{said}")):
        records.list_records(tmp_path)
    with pytest.raises(UserError, match="nowhere: no such folder"):
        records.list_records(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        ({"records100": "elsewhere"}, ["records100/1"]),
        ({"a": "elsewhere", "b": "elsewhere"}, ["a/1"]),
        ({"x/up": "here", "x/data": "", "y": "here/x"}, []),
        ({"gone": "nowhere"}, []),
    ],
)
def test_links_are_followed_once(tmp_path: Path, links: dict[str, str], expected: list[str]) -> None:
    here = touch(tmp_path, "here/x/2.hea", "elsewhere/1.hea") / "here"
    (tmp_path / "elsewhere" / "itself").symlink_to(tmp_path / "elsewhere")
    for name, to in links.items():
        (here / name).symlink_to(tmp_path / to)
    assert sorted(records.list_records(here)) == sorted([*expected, "x/2"])


@pytest.mark.parametrize("there", [["a", "lost/b"], ["a/b", "lost/b"]])
def test_subfolders_that_may_not_be_read_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: list[str]
) -> None:
    def scandir(path: str) -> Any:
        if Path(path).name == "lost":
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    scan = os.scandir
    touch(tmp_path, *(f"{name}.hea" for name in there))
    monkeypatch.setattr("os.scandir", scandir)
    assert records.list_records(tmp_path) == there[:1]
    assert [path.stem for path in records.walked(tmp_path)] == [Path(there[0]).name]


# --- databases --------------------------------------------------------------------------------------------------------


def mitdb(folder: Path, *names: str) -> Path:
    for name in names or ("100", "101"):
        clinics.dat(folder, name)
    return folder


def challenge_of(folder: Path) -> Path:
    for name in ("training/cpsc_2018/g1/A0001", "training/georgia/g1/E00001"):
        clinics.mat(folder, name)  # its first values and checksums are none of the strict reader's
        (folder / name).with_name("RECORDS").write_text(Path(name).name)
    (folder / "RECORDS").write_text("training/cpsc_2018/g1/\ntraining/georgia/g1/\ntraining/ningbo/g1/\n")
    return folder


MADE = {
    "mitdb": mitdb,
    "ptb-xl": lambda folder: cohorts.ptb_xl(folder, 2, 2),
    "heartbeat": cohorts.kaggle,
    "ptbdb": lambda folder: cohorts.ptb(folder, 1, 1),
    "challenge-2021": challenge_of,
}


def found(name: str) -> tuple[int, int]:
    """Records of a database that are read, and that are counted."""
    source = databases.get(name)
    return len(source.records), databases.status(source.name).found


@pytest.mark.parametrize("deeper", ["unpacked-1.0.0", "physionet.org/files/its/1.0.0"])
@pytest.mark.parametrize(("name", "make"), MADE.items())
def test_a_database_some_folders_deeper_or_behind_links(
    data: Path, name: str, make: Callable[[Path], Path], deeper: str
) -> None:
    made = make(data.parent / "made")
    shutil.copytree(made, data / name)
    expected, fingerprint = found(name), databases.get(name).fingerprint()
    shutil.move(data / name, data.parent / "moved")
    (data / name / deeper).parent.mkdir(parents=True)
    shutil.move(data.parent / "moved", data / name / deeper)
    if name not in ("ptbdb", "challenge-2021"):  # their records are known by their paths
        assert databases.get(name).fingerprint() == fingerprint
    assert found(name) == (expected[1], expected[1])
    shutil.rmtree(data / name)
    (data / name).mkdir()
    for path in made.iterdir():
        (data / name / path.name).symlink_to(path)
    assert (found(name), databases.get(name).fingerprint()) == (expected, fingerprint)


def zipped(made: Path, target: Path, names: Callable[[str], str] = str, **how: Any) -> Path:
    """A folder as a zip file, its files by other names."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", **how) as archive:
        for path in sorted(made.rglob("*")):
            if path.is_file():
                archive.writestr(names(path.relative_to(made).as_posix()), path.read_bytes())
    return target


NAMED: dict[str, tuple[str, Callable[[str], str]]] = {
    "as it is": ("/a.zip", str),
    "in a folder": ("/mit-bih 1.0 [x].ZIP", lambda name: f"mit-bih-1.0.0/{name}"),
    "deeper": ("/a.zip", lambda name: f"./physionet.org/files/its/1.0.0/{name}"),
    "by Windows": ("/a.zip", lambda name: f"its\\{name}".replace("/", "\\")),
    "beside the folder": (".zip", lambda name: f"its/{name}"),
}


@pytest.mark.parametrize("how", NAMED)
@pytest.mark.parametrize(("name", "make"), MADE.items())
def test_a_database_in_a_zip_file_is_unpacked_once(
    data: Path, name: str, make: Callable[[Path], Path], how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file, names = NAMED[how]
    made = make(data / name)
    expected, fingerprint = found(name), databases.get(name).fingerprint()
    shutil.move(made, data.parent / "made")
    packed = zipped(data.parent / "made", data / f"{name}{file}", names, compression=zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("__MACOSX/its/._100.hea", "")
        archive.writestr(".DS_Store", "")
        archive.writestr(names("") or "./", "")
    if packed.parent != data:
        (packed.parent / "LICENSE.txt").touch()
    listed = databases.status(name)
    assert (listed.found, listed.folder, capsys.readouterr().err) == (
        expected[1], str(packed if packed.parent == data else packed.parent), ""
    )  # fmt: skip
    assert (found(name), databases.get(name).fingerprint()) == (expected, fingerprint)
    assert capsys.readouterr().err.count(f"unpacking {packed} into ") == 1
    assert databases.get(name).folder.is_relative_to(data.parent / "cache" / "unpacked")
    shutil.copytree(data.parent / "made", data / name, dirs_exist_ok=True)
    assert databases.get(name).folder == data / name, "what is unpacked there goes before"


def spoilt(change: Callable[[bytes], bytes]) -> Callable[[Path, Path], object]:
    def make(made: Path, target: Path) -> None:
        target.write_bytes(change(zipped(made, target).read_bytes()))

    return make


ENTRY = b"PK\1\2\x14\3\x14\0"
"""How the list of a zip file's files begins each; flags and method follow."""
BAD_ZIPS: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "cut": (spoilt(lambda content: content[:-400]), "can't be unpacked"),
    "its beginning cut": (spoilt(lambda content: content[400:]), "can't be unpacked"),
    "other bytes": (spoilt(lambda content: content.replace(b"426783006", b"426783007")), "can't be unpacked"),
    "a password": (spoilt(lambda content: content.replace(ENTRY + b"\0", ENTRY + b"\1")), "needs a password; unpack"),
    "another way": (spoilt(lambda all: all.replace(ENTRY + b"\0\0\0", ENTRY + b"\0\0\x09")), "can't be unpacked"),
    "out": (lambda made, to: zipped(made, to, lambda name: f"a/../../{name}"), "holds 'a/../../.*leads out"),
    "to the root": (lambda made, to: zipped(made, to, lambda name: f"/{name}"), "holds '/.*leads out"),
    "out by Windows": (lambda made, to: zipped(made, to, lambda name: f"..\\{name}"), "holds '../.*leads out"),
    "a file and a folder": (
        lambda made, to: zipped(made, to, lambda name: "a" if name == "100.dat" else f"a/{name}"), "can't be unpacked"
    ),
    "something else": (
        lambda made, to: zipped(made, to, lambda name: f"{name}.txt"),
        r"a packed file \(nothing of it inside\); ecglib data fetch",
    ),
    "two": (lambda made, to: zipped(made, zipped(made, to).with_name("b.zip")), "a packed file; unpack it there"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_ZIPS)
def test_a_zip_file_that_can_not_be_read_is_named_and_leaves_nothing(data: Path, kind: str) -> None:
    make, said = BAD_ZIPS[kind]
    made = mitdb(data.parent / "made")
    (data / "mitdb").mkdir(parents=True)
    make(made, data / "mitdb" / "a.zip")
    for _ in range(2):
        with pytest.raises(UserError, match=f"^.*a.zip: {said}") as caught:
            databases.get("mitdb")
        assert "\n" not in str(caught.value)
    assert databases.find("mitdb") is None
    status = databases.status("mitdb")
    assert status.found or "a.zip" in status.hint
    if kind != "something else":
        assert not [path for path in (data.parent / "cache").rglob("*") if path.suffix != ".lock" and path.is_file()]
    assert not [path for path in data.parent.rglob("100.hea") if made not in path.parents]


def test_a_zip_file_that_changed_and_what_is_broken_in_it(data: Path) -> None:
    packed = zipped(mitdb(data.parent / "made"), data / "mitdb.zip")
    other = databases.opened(zipped(data.parent / "made", data / "other.zip"))
    former = databases.get("mitdb").folder
    assert named(f"{former}/100.dat") == f"{packed}/100.dat"
    (data.parent / "made" / "101.dat").unlink()
    (data.parent / "made" / "100.dat").write_bytes(b"short")
    zipped(data.parent / "made", packed, lambda name: f"its/{name}")
    assert other.is_dir() and former.is_dir()
    with pytest.raises(UserError, match=rf"^{packed}: no record can be read; the first: {packed}/its/100\b") as caught:
        databases.get("mitdb")
    assert "unpacked" not in str(caught.value)
    assert other.is_dir() and not former.exists()


@pytest.mark.parametrize(("name", "loose"), [("mitdb", "100.*"), ("heartbeat", "ptbdb_normal.csv")])
def test_a_zip_file_that_is_not_read_is_told(data: Path, name: str, loose: str) -> None:
    made = MADE[name](data.parent / "made")
    packed = zipped(made, data / name / "archive.zip")
    for path in made.glob(loose):
        shutil.copy(path, data / name)
    status = databases.status(name)
    assert (status.state, status.found) == ("partial", 1)
    assert status.hint == f"{packed}: a packed file; unpack it there"


def test_a_disk_that_fills_while_a_zip_file_is_unpacked(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    zipped(mitdb(data.parent / "made"), data / "mitdb.zip")
    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(UserError, match=r"mitdb\.zip: can't be unpacked \(the disk is full\); make room in cache/$"):
        databases.get("mitdb")


def test_no_room_for_a_zip_file(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zipped(mitdb(data.parent / "made"), data / "mitdb" / "a.zip")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0))  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"a\.zip: 0\.00 GB to unpack, with 0\.00 GB free; make room in .*unpacked"):
        databases.get("mitdb")


def test_of_two_copies_the_whole_one_and_of_two_whole_ones_or_two_parts_neither(data: Path) -> None:
    mitdb(data / "mitdb", "100")
    assert databases.get("mitdb").folder == data / "mitdb"
    mitdb(data / "mitdb" / "1.0.0")
    assert databases.get("mitdb").records == ("100", "101")
    shutil.copytree(data / "mitdb" / "1.0.0", data / "mitdb" / "old")
    where = rf"^{data / 'mitdb'}: its files are in several folders"
    with pytest.raises(UserError, match=where + r" \((old and 1\.0\.0|1\.0\.0 and old)\); move them together"):
        databases.get("mitdb")
    assert databases.find("mitdb") is None
    shutil.rmtree(data / "mitdb" / "old")
    mitdb(data / "mitdb", "103")
    with pytest.raises(UserError, match=where + r" \(\. and 1\.0\.0\)") as caught:
        databases.get("mitdb")
    status = databases.status("mitdb")
    assert (status.state, status.found, status.hint) == ("partial", 3, str(caught.value))
    mitdb(data / "mitdb")
    assert databases.get("mitdb").folder == data / "mitdb"


@pytest.mark.parametrize(
    ("name", "file", "said"),
    [
        ("mitdb", "mit-bih-arrhythmia-database-1.0.0.zip", "can't be unpacked"),
        ("mitdb", "100.hea.gz", "a packed file; unpack it there"),
        ("mitdb", "sub/ALL.TAR", "a packed file"),
        ("mitdb", "100.HEA", r"a name in capitals; expected small letters"),
        ("heartbeat", "mitbih_train.csv.7z", "a packed file"),
        ("heartbeat", "archive.zip", "can't be unpacked"),
        ("heartbeat", "MITBIH_TRAIN.CSV", "a name in capitals"),
        ("ptb-xl", "records100.tgz", "a packed file"),
        ("challenge-2021", "g1/A0001.HEA", "a name in capitals"),
        ("ptb-xl", "records100 -> gone", r"a link that leads nowhere \(gone\)"),
    ],
)
def test_why_nothing_is_read_of_what_is_there(data: Path, name: str, file: str, said: str) -> None:
    file, _, target = file.partition(" -> ")
    touch(data / name, *([] if target else [file]), "notes.txt")
    if target:
        (data / name / file).symlink_to(target)
    with pytest.raises(UserError, match=rf"{file}: {said}") as caught:
        databases.get(name)
    assert "ecglib data fetch" not in str(caught.value)
    assert databases.find(name) is None
    entry = databases.database(name)
    assert databases.status(entry.name).hint in str(caught.value)


@pytest.mark.parametrize(
    ("there", "rates", "said"),
    [
        ((*LOW, *HIGH), [500, 500], []),
        (LOW, [100, 100], []),
        (HIGH, [500, 500], []),
        ((*LOW, HIGH[1]), [100, 500], ["its file of 500 Hz is not here, so that of 100 Hz is read"]),
    ],
)
def test_ptb_xl_by_its_own_list(data: Path, there: tuple[str, ...], rates: list[int], said: list[str]) -> None:
    rows = [cohorts.row(1, "{'NORM': 100.0}"), cohorts.row(2, "{'IMI': 100.0}")]
    rows[1] |= {"filename_lr": LOW[1], "filename_hr": HIGH[1]}
    folder = cohorts.write_ptb_xl(data / "ptb-xl", rows)
    shutil.rmtree(folder / "records500")
    for name in there:
        cohorts.record(folder, name, False, fs=500 if name in HIGH else 100)
    (folder / "RECORDS").write_text(GLUED)
    source = ptb_xl.read(databases.get("ptb-xl"))
    read = [source.read(entry) for entry in source.entries]
    assert [one.fs for one in read] == rates
    assert [repair for one in read for repair in one.repairs] == said
    assert source.refused == {}


def test_the_challenge_by_its_own_list_and_a_copy_counted_once(data: Path) -> None:
    folder = challenge_of(data / "challenge-2021")
    once = challenge.read(databases.get("challenge-2021"))
    assert [entry.record for entry in once.entries] == ["training/cpsc_2018/g1/A0001", "training/georgia/g1/E00001"]
    assert once.refused == {"training/ningbo/g1": "missing header"}
    (folder / "RECORDS").unlink()
    shutil.copytree(folder / "training" / "georgia", folder / "z")
    twice = challenge.read(databases.get("challenge-2021"))
    assert [entry.record for entry in twice.entries] == [entry.record for entry in once.entries]
    assert twice.duplicates == {"z/g1/E00001": "training/georgia/g1/E00001"}
    assert challenge.joined(twice, replace(twice, entries=())).duplicates == twice.duplicates
