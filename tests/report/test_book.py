"""From notebooks to a rendered book."""

from __future__ import annotations

import re
import runpy
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import papermill
import psutil
import pytest
from filelock import FileLock
from jupyter_client.connect import LocalPortCache
from projects import ROOT
from report.example import example_record

from ecglib import config, files, paths, tracking
from ecglib.data import databases
from ecglib.errors import UserError
from ecglib.experiment import tasks
from ecglib.report import book, check, runner, tables
from ecglib.report.preview import pages

BASELINE = "heartbeat/baseline"
LABEL = re.compile(r"^#\| label: (fig|tbl)-(\S+)", re.MULTILINE)


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
    page = book.stamp(executed(), smoke(), "key")
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
    parameters = smoke("explore/mitdb")
    page, notebook = paths.executed("explore/mitdb"), project / "notebooks" / "explore.py"

    def write() -> None:
        stamped = book.stamp(executed(), parameters, book.page_key(parameters, book.inputs_key(parameters)))
        files.write(page, nbformat.writes(stamped))
        assert book.is_current(parameters)

    assert not book.is_current(parameters)
    write()
    assert not book.is_current(parameters.model_copy(update={"title": "Other"}))
    files.write(notebook, notebook.read_text(encoding="utf-8") + "\n# %% [markdown]\n# More.\n")
    assert not book.is_current(parameters)
    write()
    example_record().save(paths.reference("explore/mitdb"))
    assert not book.is_current(parameters)
    write()
    files.write(page, "{}")
    assert not book.is_current(parameters)


@pytest.mark.parametrize("measured", ["results/in-use.json", "tried.yml"])
def test_a_chapter_follows_from_what_was_measured_for_it(project: Path, measured: str) -> None:
    before = book.inputs_key(smoke("in-use/mitdb"))
    files.write(paths.book() / measured, "[]")
    assert book.inputs_key(smoke("in-use/mitdb")) != before


def test_the_page_of_what_was_not_run_says_so_and_has_every_label(project: Path) -> None:
    text = "\n".join(cell.source for cell in book.not_run(BASELINE).cells)
    assert text.startswith("# CNet, intra-patient {#sec-heartbeat-baseline}")
    assert "Not run yet" in text
    assert "`ecglib data fetch mitdb` first" in text
    for kind, name in LABEL.findall((project / "notebooks" / "heartbeat.py").read_text(encoding="utf-8")):
        assert text.count(f"#{kind}-heartbeat-baseline-{name}}}") == 1


def shown(experiment: str) -> dict[str, str]:
    """Of every cell of code of a page, by its source: what it shows."""
    cells = nbformat.read(paths.executed(experiment), as_version=4).cells
    return {cell.source: str(cell.outputs) for cell in cells if cell.cell_type == "code"}


def test_a_reference_result_needs_no_run_to_be_shown_and_a_run_adds_a_row(project: Path) -> None:
    example_record().save(paths.reference(BASELINE))
    book.prepare()
    alone = shown(BASELINE)
    assert not book.has_page(BASELINE), "nothing was run"
    source = (project / "notebooks" / "heartbeat.py").read_text(encoding="utf-8")
    for kind, name in LABEL.findall(source):
        assert f"#| label: {kind}-heartbeat-baseline-{name}\n" in "".join(alone)
    assert tables.number(example_record().metrics["macro_f1"].mean) in str(alone)
    example_record(profile="quick", seeds=[0], draw=1).save(project / "fresh.json")
    with_run = source.replace("), None\n", "), results.load(config.paths.root() / 'fresh.json')\n")
    (project / "notebooks" / "heartbeat.py").write_text(with_run, encoding="utf-8")
    book.prepare()
    moved = [source for source, text in shown(BASELINE).items() if source in alone and text != alone[source]]
    assert len(moved) == 1 and "tbl-heartbeat-baseline-circumstances" in moved[0]
    paths.reference(BASELINE).unlink()
    book.prepare()
    assert "Not run yet" in paths.executed(BASELINE).read_text(encoding="utf-8")


def test_a_clean_clone_can_be_rendered_and_is_sound_until_its_headline_is_edited(project: Path) -> None:
    example_record().save(paths.reference(BASELINE))
    book.prepare()
    before = {path: path.stat().st_mtime_ns for path in (project / "book").rglob("*") if path.is_file()}
    book.prepare()
    assert {path: path.stat().st_mtime_ns for path in (project / "book").rglob("*") if path.is_file()} == before
    output = project / "_book"
    pages.render(project, output)
    shown = output / "book" / "experiments" / "heartbeat"
    assert "Not run yet" in (shown / "smote.html").read_text(encoding="utf-8")
    assert "Not run yet" not in (shown / "baseline.html").read_text(encoding="utf-8")
    example_record("heartbeat/smote").save(paths.reference("heartbeat/smote"))
    found = check.check(project, output)
    assert {problem.file for problem in found if "says 'Not run'" in problem.message} == {
        "book/experiments/heartbeat/smote.ipynb"
    }, "a page of before its result came"
    book.prepare()
    assert [str(problem) for problem in check.check(project, output)] == []
    headline = project / "book" / "results" / "headline.md"
    headline.write_text(headline.read_text(encoding="utf-8").replace("0.", "1."), encoding="utf-8")
    (problem,) = check.check(project)
    assert problem.file == "book/results/headline.md" and "is not what the records" in problem.message


def test_processes_that_import_the_pre_render_script_prepare_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[None] = []
    monkeypatch.setattr(book, "prepare", lambda: prepared.append(None))
    for name, n in (("__mp_main__", 0), ("__main__", 1)):
        runpy.run_path(str(ROOT / "book" / "pre-render.py"), run_name=name)
        assert len(prepared) == n


def test_a_book_is_rendered_again_only_when_something_changed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = []

    def render(root: Path, output: Path) -> Path:
        rendered.append(output)
        for name in ("index", "other"):
            files.write(output / f"{name}.html", name)
        return output / "index.html"

    monkeypatch.setattr(book, "find_quarto", lambda: None)
    page = project / "_book" / "index.html"
    assert book.render(render) == book.render(render) == (page, "pandoc")
    assert len(rendered) == 1
    (project / "_book" / "other.html").unlink()
    book.render(render)
    with (project / "book" / "methods.qmd").open("a", encoding="utf-8") as chapter:
        chapter.write("\nMore.\n")
    book.render(render)
    assert len(rendered) == 3
    page.unlink()

    def fail(root: Path, output: Path) -> None:
        raise UserError("pandoc", "no")

    with pytest.raises(UserError):
        book.render(fail)
    page.touch()  # what a failed rendering left is no book
    with pytest.raises(UserError):
        book.render(fail)


def plant(project: Path, code: str, name: str = "explore") -> None:
    """Put `code` in the place of a notebook's content."""
    text = f'# %% [markdown]\n# # Planted\n\n# %% tags=["parameters"]\nexperiment = ""\n\n# %%\n{code}\n'
    (project / "notebooks" / f"{name}.py").write_text(text, encoding="utf-8")


def test_a_port_that_somebody_takes_first_ends_no_notebook(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(project, "'done'")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(LocalPortCache, "find_available_port", lambda *_: taken.getsockname()[1])
        assert book.execute(smoke("explore/mitdb")).is_file()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("from ecglib.errors import UserError; raise UserError('here', 'nothing')", "here: nothing"),
        ("os.kill(os.getpid(), 9)", "the notebook's process was killed, perhaps for want of memory"),
    ],
)
def test_a_failed_notebook_is_kept_and_so_is_the_former_page(project: Path, code: str, message: str) -> None:
    plant(project, f"import os; {code}")
    files.write(paths.executed("explore/mitdb"), "former")
    with pytest.raises(UserError) as caught:
        book.execute(smoke("explore/mitdb"))
    notebook = project / "cache" / "notebooks" / "failed-explore-mitdb.ipynb"
    assert str(caught.value) == f"explore/mitdb: {message}; the failed notebook is {notebook}"
    assert notebook.is_file()
    assert paths.executed("explore/mitdb").read_text(encoding="utf-8") == "former"


@pytest.mark.parametrize(
    ("process", "message"),
    [
        ("echo 'a warning\nerror: explore/mitdb: nothing here\nnoise at the end' >&2; exit 2", "nothing here"),
        ("echo 'Traceback\n  ...\nImportError: no such module' >&2; exit 1", "ImportError: no such module"),
        ("kill -9 $$", "its process was ended by SIGKILL, perhaps for want of memory"),
        ("echo noise >&2; kill $$", "its process was ended by SIGTERM"),
        ("exit 3", "ended with exit code 3 and no message"),
    ],
)
def test_a_failed_job_says_its_name_and_its_cause_in_one_line(
    project: Path, process: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write(project / "python", f"#!/bin/sh\n{process}\n")
    (project / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(project / "python"))
    (failed,) = runner.run([runner.Job(smoke("explore/mitdb"))])
    assert failed.error == f"explore/mitdb: {message}"


def test_an_exception_is_told_in_a_line() -> None:
    assert book.in_a_line("RuntimeError", "\nthe first\nand the last") == "RuntimeError: the first"
    assert book.in_a_line("RuntimeError", "") == "RuntimeError"
    assert book.in_a_line("UserError", "here: nothing") == "here: nothing"


def test_killing_a_run_ends_its_notebook(project: Path) -> None:
    pids = project / "pids"
    plant(
        project, f"import os, time; open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{os.getppid()}}'); time.sleep(99)"
    )
    run = subprocess.Popen([sys.executable, "-m", "ecglib", "run", "explore/mitdb"], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: pids.is_file() and len(pids.read_text().split()) == 2)
        kernel, job = map(psutil.Process, map(int, pids.read_text().split()))
        assert job.ppid() == run.pid
    finally:
        run.kill()
        run.wait()
    wait_for(lambda: not alive(job) and not alive(kernel))


def alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait, on a busy machine for long; what never happens ends after ten minutes."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < 600
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("edits", "current"), [("notebooks/explore.py", False), ("book/results/explore/mitdb.json", True)]
)
def test_a_page_carries_what_was_there_when_its_notebook_started(
    project: Path, edits: str, current: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the reference result is what a full run itself writes before its page shows it
    def edited(notebook: str, target: str, *_: object, **how: object) -> None:
        assert "its newest form" in Path(notebook).read_text(encoding="utf-8")
        files.write(project / edits, "# edited")
        nbformat.write(executed(), target)

    book.make_notebooks()
    plant(project, "'its newest form'")
    monkeypatch.setattr(papermill, "execute_notebook", edited)
    assert book.execute(smoke("explore/mitdb")) == paths.executed("explore/mitdb")
    assert book.is_current(smoke("explore/mitdb")) is current


def test_a_page_follows_from_the_database_of_its_parameters(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def get(name: str) -> databases.Source:
        asked.append(name)
        return databases.Source("mitdb", project, False, ())

    monkeypatch.setattr(databases, "get", get)
    book.inputs_key(config.ExploreParameters.model_construct(**smoke("explore/mitdb").model_dump() | {"database": "x"}))
    assert asked == ["x"]


def test_fresh_throws_the_run_away_when_nobody_else_is_at_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = smoke()
    assert isinstance(parameters, config.HeartbeatParameters)
    trained = []

    def found(_: Path, target: Path, *values: object, **how: object) -> None:
        trained.append(tasks.run(parameters).trained)
        nbformat.write(executed(), target)

    monkeypatch.setattr(papermill, "execute_notebook", found)
    monkeypatch.setattr(tracking, "log", lambda record, folder: None)  # to make a store takes seconds
    folder = paths.runs() / tasks.key_of(parameters)
    files.write(folder / "of another", "")
    page = project / "out.ipynb"
    job = threading.Thread(target=book.execute, args=(parameters,), kwargs={"fresh": True, "target": page})
    with FileLock(folder.with_suffix(".lock")):
        job.start()
        job.join(3)
        assert (folder / "of another").exists()
    job.join(120)
    assert not (folder / "of another").exists()
    assert trained == [False], "by the notebook, which finds the run"
    assert page.is_file() and not paths.executed(BASELINE).exists()


def test_notebooks_are_made_one_way_and_only_when_changed(project: Path) -> None:
    made = book.make_notebooks()
    assert [path.stem for path in made] == sorted(config.MODELS)
    before = [path.stat().st_mtime_ns for path in made]
    assert [path.stat().st_mtime_ns for path in book.make_notebooks()] == before


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
