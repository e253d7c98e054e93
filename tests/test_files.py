"""What breaks off leaves a file or a folder as it was, and one process at a time holds a lock."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ecglib import files
from ecglib.errors import UserError

KILLED = """
import os, sys
from pathlib import Path
from ecglib import files
with files.{how}(Path(sys.argv[1])) as temporary:
    (temporary / "half" if temporary.is_dir() else temporary).write_text("half")
    os._exit(9)
"""


def test_a_file_and_its_folder_are_made_and_then_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    for content in ("für", "other"):
        files.write(path, content)
        assert path.read_text(encoding="utf-8") == content
    files.write(path, b"\x00")
    assert path.read_bytes() == b"\x00"
    assert list(path.parent.iterdir()) == [path]


def test_what_breaks_off_leaves_the_file_or_folder_that_was_there(tmp_path: Path) -> None:
    path, folder = tmp_path / "a" / "b.txt", tmp_path / "b" / "pages"
    files.write(path, "before")
    with pytest.raises(OSError, match="full"), files.writing(path) as temporary:
        temporary.write_text("half")
        raise OSError("disk full")
    assert path.read_text() == "before" and list(path.parent.iterdir()) == [path]
    for content in ("before", "after"):
        with files.writing_folder(folder) as temporary:
            (temporary / f"{content}.txt").write_text(content)
    with pytest.raises(OSError, match="full"), files.writing_folder(folder) as temporary:
        (temporary / "half.txt").write_text("half")
        raise OSError("disk full")
    assert list(folder.parent.rglob("*")) == [folder, folder / "after.txt"]


@pytest.mark.parametrize("how", ["writing", "writing_folder"])
def test_a_kill_leaves_what_was_there(how: str, tmp_path: Path) -> None:
    path = tmp_path / "it"
    if how == "writing":
        files.write(path, "before")
    else:
        with files.writing_folder(path) as temporary:
            (temporary / "file").write_text("before")
    code = KILLED.format(how=how)
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == 9
    assert (path / "file" if path.is_dir() else path).read_text() == "before"
    (left_over,) = (one for one in tmp_path.iterdir() if one != path)
    assert left_over.suffix == ".tmp", "which git ignores"
    if how == "writing_folder":
        with files.writing_folder(path):
            assert not left_over.exists()
        assert list(tmp_path.rglob("*")) == [path]


def test_a_folder_that_another_process_writes_is_left_to_it(tmp_path: Path) -> None:
    code = "import sys; from ecglib import files\n"
    code += "with files.writing_folder(__import__('pathlib').Path(sys.argv[1])):\n  print(flush=True); input()"
    out, longer = tmp_path / "out", tmp_path / "out.v2"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(longer)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None and other.stdout is not None
        other.stdout.readline()
        with files.writing_folder(out) as temporary:
            (temporary / "mine").touch()
        with pytest.raises(UserError, match="another process writes it"), files.writing_folder(longer):
            pytest.fail("both write")
        other.stdin.write("\n")
    assert other.returncode == 0
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        "out",
        "out.v2",
        "out/mine",
    ]


def test_a_folder_that_can_t_be_replaced_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full, empty, link = tmp_path / "full", tmp_path / "empty", tmp_path / "link"
    (full / "of").mkdir(parents=True)
    empty.mkdir()
    link.symlink_to(empty)
    for folder in (empty, tmp_path / "new"):
        files.refuse_taken(folder)
    with pytest.raises(UserError, match="it is there already"):
        files.refuse_taken(full)
    with pytest.raises(UserError, match="it is there already"), files.writing_folder(full, new=True):
        pytest.fail("one that came meanwhile is replaced")
    assert [*full.iterdir()] == [full / "of"] and {*tmp_path.iterdir()} == {full, empty, link}
    monkeypatch.chdir(empty)
    for folder in (link, Path(), empty, Path("/proc/self/cwd")):
        with pytest.raises(UserError, match="a link, a mount point or the current folder"):
            files.refuse_taken(folder)


def test_threads_that_write_the_same_file_at_once_leave_one_of_their_files(tmp_path: Path) -> None:
    path = tmp_path / "b.txt"
    contents = [str(i) * 100_000 for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: files.write(path, content), contents))
    assert path.read_text() in contents and list(tmp_path.iterdir()) == [path]


def test_a_lock_is_held_by_one_and_free_again_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lock"
    for _ in range(2):
        with files.lock(path), pytest.raises(UserError, match="held by another process"), files.lock(path, timeout=0):
            pytest.fail("held twice")
        with pytest.raises(ValueError, match="own"), files.lock(path, timeout=0):
            raise ValueError("the body's own")
    busy = UserError("book", "is being built")
    with files.lock(path), pytest.raises(UserError, match="is being built"), files.lock(path, timeout=0, busy=busy):
        pytest.fail("held twice")


def test_a_lock_that_can_t_be_written_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="can't be written: ") as error, files.lock(tmp_path / "file" / "lock"):
        pytest.fail("held")
    assert "\n" not in str(error.value)


def test_a_line_goes_to_whoever_watches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files.tell("to all")
    monkeypatch.setenv("ECGLIB_PROGRESS", str(tmp_path / "0.txt"))
    files.tell("to ecglib run")
    assert (capsys.readouterr().err, (tmp_path / "0.said").read_text()) == ("to all\n", "to ecglib run\n")
