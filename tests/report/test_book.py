"""From notebooks to a rendered book."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import nbformat
import pytest
import yaml
from projects import ROOT, make_project
from report.example import example_record

from ecglib import config, paths, results
from ecglib.errors import UserError
from ecglib.report import book, check, preview, runner, tables

BASELINE = "heartbeat/baseline"


def smoke(name: str = BASELINE, **overrides: object) -> config.SharedParameters:
    return config.load(name, profile="smoke", overrides=overrides)


def executed() -> nbformat.NotebookNode:
    """What papermill leaves: an injected cell, time stamps, paths of the machine."""
    new = nbformat.v4
    notebook = new.new_notebook(
        cells=[
            new.new_markdown_cell("# One experiment\n\nSee @fig-curves and @sec-methods."),
            new.new_code_cell("seeds = [0]", metadata={"tags": ["parameters"]}),
            new.new_code_cell("seeds = [1]", metadata={"tags": ["injected-parameters"]}),
            new.new_code_cell(
                "#| label: fig-curves\n#| fig-cap: Curves\nplot()",
                metadata={"papermill": {"duration": 1.5}},
                execution_count=3,
            ),
        ],
        metadata={"papermill": {"input_path": "/home/someone/x.ipynb", "start_time": "2026-01-01T00:00:00"}},
    )
    return notebook


def test_a_stamped_notebook_is_a_page(project: Path) -> None:
    page = book.stamp(executed(), smoke())
    title, parameters, injected, curves = page.cells
    assert (
        title.source
        == "# CNet, intra-patient {#sec-heartbeat-baseline}\n\nSee @fig-heartbeat-baseline-curves and @sec-methods."
    )
    assert "remove-cell" in parameters.metadata["tags"]
    assert "remove-cell" in injected.metadata["tags"]
    assert curves.source.startswith("#| label: fig-heartbeat-baseline-curves\n")
    text = nbformat.writes(page)
    for trace in ("/home", "2026-01-01", "duration"):
        assert trace not in text
    assert page.metadata["ecglib"]["experiment"] == BASELINE


def test_a_page_is_current_until_what_it_follows_from_changes(project: Path) -> None:
    book.make_notebooks()
    page = paths.executed(BASELINE)

    def write() -> None:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(nbformat.writes(book.stamp(executed(), smoke())), encoding="utf-8")
        assert book.is_current(smoke())

    assert not book.is_current(smoke())
    write()
    assert not book.is_current(smoke(max_epochs=2))
    notebook = project / "notebooks" / "heartbeat.py"
    notebook.write_text(notebook.read_text(encoding="utf-8") + "\n# %% [markdown]\n# More.\n", encoding="utf-8")
    assert not book.is_current(smoke())
    write()
    example_record().save(paths.reference(BASELINE))
    assert not book.is_current(smoke())
    write()
    page.write_text("{}", encoding="utf-8")
    assert not book.is_current(smoke())


@pytest.mark.parametrize("with_reference", [False, True])
def test_a_placeholder_says_so_shows_the_reference_and_has_every_label(project: Path, with_reference: bool) -> None:
    record = example_record()
    if with_reference:
        record.save(paths.reference(BASELINE))
    text = "\n".join(cell.source for cell in book.placeholder(BASELINE).cells)
    assert text.startswith("# CNet, intra-patient {#sec-heartbeat-baseline}")
    assert "Not run yet" in text
    assert (tables.interval(record.metrics["macro_f1"]) in text) is with_reference
    source = (project / "notebooks" / "heartbeat.py").read_text(encoding="utf-8")
    for line in source.splitlines():
        if line.startswith("#| label: "):
            kind, name = line.removeprefix("#| label: ").split("-", 1)
            assert text.count(f"#{kind}-heartbeat-baseline-{name}}}") == 1


def test_a_clean_clone_can_be_rendered_and_is_sound(project: Path) -> None:
    example_record().save(paths.reference(BASELINE))
    book.prepare()
    before = {path: path.stat().st_mtime_ns for path in (project / "book").rglob("*") if path.is_file()}
    book.prepare()
    assert {path: path.stat().st_mtime_ns for path in (project / "book").rglob("*") if path.is_file()} == before
    output = project / "_book"
    preview.render(project, output)
    assert [str(p) for p in check.check(project, output)] == []
    assert "Not run yet" in (output / "book" / "experiments" / "heartbeat" / "smote.html").read_text(encoding="utf-8")


def test_an_edited_headline_is_found(project: Path) -> None:
    example_record().save(paths.reference(BASELINE))
    book.prepare()
    headline = project / "book" / "results" / "headline.md"
    headline.write_text(headline.read_text(encoding="utf-8").replace("0.", "1."), encoding="utf-8")
    (problem,) = check.check(project)
    assert problem.file == "book/results/headline.md"
    assert "is not what the records" in problem.message


def test_every_experiment_is_a_chapter() -> None:
    text = (ROOT / "book" / "chapters.yml").read_text(encoding="utf-8")
    assert yaml.safe_load(text)["book"]["chapters"]
    for path in sorted((ROOT / "params").glob("[!p]*/*.yaml")):
        assert f"book/experiments/{path.parent.name}/{path.stem}.ipynb" in text


def test_a_failing_cell_names_its_cause_and_the_former_page_stays(project: Path) -> None:
    notebook = project / "notebooks" / "explore.py"
    notebook.write_text(
        notebook.read_text(encoding="utf-8") + "\n# %%\nraise RuntimeError('planted')\n", encoding="utf-8"
    )
    book.make_notebooks()
    page = paths.executed("explore/mitdb")
    page.parent.mkdir(parents=True)
    page.write_text("former", encoding="utf-8")
    with pytest.raises(UserError, match="explore/mitdb: RuntimeError: planted"):
        book.execute(smoke("explore/mitdb"))
    assert page.read_text(encoding="utf-8") == "former"
    failed = project / "cache" / "notebooks" / "failed-explore-mitdb.ipynb"
    assert "planted" in failed.read_text(encoding="utf-8")


def test_notebooks_are_made_one_way_and_only_when_changed(project: Path) -> None:
    made = book.make_notebooks()
    assert [path.name for path in made] == ["explore.ipynb", "heartbeat.ipynb"]
    before = [path.stat().st_mtime_ns for path in made]
    assert [path.stat().st_mtime_ns for path in book.make_notebooks()] == before
    made[0].write_text("stale", encoding="utf-8")
    book.make_notebooks()
    assert json.loads(made[0].read_text(encoding="utf-8"))["nbformat"] == 4
    assert "stale" not in (project / "notebooks" / "explore.py").read_text(encoding="utf-8")


def test_quarto_is_asked_for_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def no_index(command: list[str], **more: object) -> None:
        calls.append((command, more))
        raise subprocess.TimeoutExpired(command, 60)

    monkeypatch.setattr(book.shutil, "which", lambda name: None)
    monkeypatch.setattr(book.subprocess, "run", no_index)
    assert book.find_quarto() is None
    assert book.find_quarto() is None
    ((command, more),) = calls
    assert command[-1] == "quarto-cli"
    assert more["timeout"] == book.QUARTO_SECONDS


def test_a_second_build_at_the_same_time_is_refused(project: Path) -> None:
    with book.build_lock(), pytest.raises(UserError, match="another build"), book.build_lock():
        pass


def test_the_whole_book_is_built_once_and_then_left_alone(
    tmp_path: Path, small_mitdb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_project(tmp_path / "project", small_mitdb, monkeypatch)
    monkeypatch.setattr(book, "find_quarto", lambda: None)
    book.make_notebooks()
    every = [smoke(name) for name in config.experiments()]
    assert runner.run([runner.Job(p) for p in every], at_once=2) == []
    page, renderer = book.render()
    assert renderer == "pandoc"
    assert page.is_file()
    assert [str(p) for p in check.check(root, root / "_book")] == []
    assert results.references() == {}  # a smoke run is no reference
    start = time.perf_counter()
    assert all(book.is_current(p) for p in every)
    assert time.perf_counter() - start < 15
