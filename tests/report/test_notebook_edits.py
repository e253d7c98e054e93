"""Whoever edits `notebooks/*.ipynb` elsewhere than in JupyterLab loses nothing and is told; nobody else hears of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import jupytext
import nbformat
import papermill
import pytest

from ecglib import config, paths
from ecglib.report import book

TEXT = "\n# %% [markdown]\n# From the text.\n"
Edit = Callable[[Path, Path], object]


def notebook(edit: Callable[[nbformat.NotebookNode], object]) -> Edit:
    """An edit of the `.ipynb` as an editor makes it."""

    def apply(file: Path, text: Path) -> None:
        content = nbformat.read(file, as_version=4)
        edit(content)
        nbformat.write(content, file)

    return apply


def in_text(file: Path, text: Path) -> None:
    text.write_text(text.read_text(encoding="utf-8") + TEXT, encoding="utf-8")


def in_both(file: Path, text: Path) -> None:
    """As JupyterLab saves."""
    added(file, text)
    jupytext.write(jupytext.read(file), text, fmt="py:percent")


def forgotten(file: Path, text: Path) -> None:
    shutil.rmtree(file.parents[1] / "cache")


added = notebook(lambda n: n.cells.append(nbformat.v4.new_code_cell("mine = 1")))
changed = notebook(lambda n: n.cells[-1].update(source="mine = 1"))
ran = notebook(lambda n: [c.update(execution_count=1) for c in n.cells if c.cell_type == "code"])
other_kernel = notebook(
    lambda n: (n.metadata.update(kernelspec={"name": "conda", "display_name": ""}), n.cells[0].update(id="drawn"))
)
TAKE, RENAME = "jupytext --to py:percent", "rename it"


@pytest.mark.parametrize(
    ("edits", "kept", "said"),
    [
        ([added], True, TAKE),
        ([changed], True, TAKE),
        ([notebook(lambda n: n.cells.pop())], True, TAKE),
        ([notebook(lambda n: n.cells.reverse())], True, TAKE),
        ([notebook(lambda n: n.cells[-1].metadata.update(tags=["mine"]))], True, TAKE),
        ([notebook(lambda n: n.cells[-1].update(cell_type="raw"))], True, TAKE),
        ([lambda file, text: file.write_text("<<<<<<< mine\n")], True, TAKE),
        ([lambda file, text: file.write_bytes(b"\xff\xfe{")], True, TAKE),
        ([added, in_text], True, RENAME),
        ([forgotten, added], True, RENAME),
        ([forgotten, in_text], True, RENAME),
        ([ran], True, ""),
        ([other_kernel], True, ""),
        ([in_both], True, ""),
        ([forgotten], True, ""),
        ([in_text], False, ""),
        ([ran, in_text], False, ""),
        ([in_both, lambda file, text: book.make_notebooks(), in_text], False, ""),
        ([forgotten, lambda file, text: book.make_notebooks(), in_text], False, ""),
        ([lambda file, text: file.unlink()], False, ""),
        ([lambda file, text: file.write_text("")], False, ""),
    ],
)  # fmt: skip
def test_an_edit_is_kept_and_told_unless_the_text_has_it(
    project: Path, edits: list[Edit], kept: bool, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for other in (project / "notebooks").glob("*.py"):
        if other.stem != "explore":
            other.unlink()
    (file,) = book.make_notebooks()
    for edit in edits:
        edit(file, file.with_suffix(".py"))
    before = file.read_bytes() if file.exists() else b""
    for _ in range(2):
        book.make_notebooks()
        assert (file.read_bytes() == before) is kept
        told = capsys.readouterr().err
        assert told.count("\n") == bool(said) and said in told and (str(file) in told) == bool(said)
    if said == TAKE and edits == [added]:
        jupytext.write(jupytext.read(file), file.with_suffix(".py"), fmt="py:percent")
        book.make_notebooks()
        assert "mine = 1" in file.read_text(encoding="utf-8") and not capsys.readouterr().err
    elif not kept:
        assert ("From the text" in file.read_text(encoding="utf-8")) is (in_text in edits)


def test_an_experiment_follows_the_text(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book.make_notebooks()
    file = project / "notebooks" / "explore.ipynb"
    added(file, file.with_suffix(".py"))
    in_text(file, file.with_suffix(".py"))
    monkeypatch.setattr(papermill, "execute_notebook", lambda *_, **__: None)
    page = book.execute(config.load("explore/mitdb", profile="smoke")).read_text(encoding="utf-8")
    assert "From the text" in page and "mine" not in page
    assert "mine" in file.read_text(encoding="utf-8")
    assert not list((project / "cache" / "notebooks").glob("*.ipynb"))


nothing = notebook(lambda n: None)


@pytest.mark.parametrize(
    ("edit", "kept"),
    [
        (added, True),
        (changed, True),
        (lambda file, text: file.write_text("<<<<<<< mine\n"), True),
        (notebook(lambda n: (n.cells.clear(), n.metadata.clear())), True),
        (lambda file, text: file.write_text('{"cells": [], "metadata": []}'), True),
        (nothing, False),
        (ran, False),
        (other_kernel, False),
        (lambda file, text: file.unlink(), False),
        (lambda file, text: file.write_text(""), False),
        (notebook(lambda n: n.metadata["ecglib"].pop("cells")), False),
    ],
)
@pytest.mark.parametrize("was_run", [True, False])
def test_an_edited_page_is_kept_beside_the_new_one(
    project: Path, edit: Edit, kept: bool, was_run: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    p = config.load("explore/mitdb", profile="smoke")
    monkeypatch.setattr(papermill, "execute_notebook", lambda *_, **__: None)
    book.execute(p) if was_run else book.prepare()
    page = paths.executed(p.experiment)
    nothing(page, page)  # as another program writes it
    edit(page, page)
    edited = page.read_bytes() if page.exists() else b""
    for _ in range(2):
        book.execute(p)
    others = [file for file in page.parent.iterdir() if file != page]
    assert [file.read_bytes() for file in others] == [edited] * kept
    told = capsys.readouterr().err.splitlines()
    assert told == [f"{page}: its cells were edited; it is kept as {file.name}, and made anew" for file in others]
    assert "mine" not in page.read_text(encoding="utf-8") and book.has_page(p.experiment)
