"""The command line as a user meets it: what it runs, where it writes, and one line for each mistake."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from projects import ROOT, Call, Done, kept, make_project, tracked
from report.example import example_record

from ecglib import aami, cli, config, files, paths
from ecglib.data import databases, fetch
from ecglib.errors import UserError
from ecglib.experiment import recipes
from ecglib.experiment import record as results
from ecglib.report import book as builder
from ecglib.report import runner, tables

EXPERIMENTS = kept()
BEATS = [name for name in EXPERIMENTS if name.startswith("heartbeat/")]
TRAINED = [*BEATS, "infarction/scratch", "twelve-lead/crnn"]
RUN = ["explore/mitdb", "heartbeat/baseline", "architectures/mitdb"]
"""What only looks, what trains, and a chapter that compares; `tests/notebooks` runs the others too."""


def is_one_line(done: Done, *words: str) -> None:
    assert done.code == 2, done
    assert re.fullmatch("error: .+\n", done.err)
    assert all(word in done.err for word in words), done.err


def files_in(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[runner.Job]:
    """What would have been run; nothing is."""
    ordered: list[runner.Job] = []

    def note(jobs: list[runner.Job], at_once: int = 1) -> list[runner.Job]:
        ordered.extend(jobs)
        return []

    monkeypatch.setattr(runner, "run", note)
    return ordered


def names(jobs: list[runner.Job]) -> list[str]:
    return [job.name for job in jobs]


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "heartbeat/basline"], ["basline: no such experiment; did you mean heartbeat/baseline?\n"]),
        (["run", "zzz"], ["zzz: no such experiment; ecglib run --list prints the names\n"]),
        (["run", "../heartbeat/baseline"], ["no such experiment"]),
        (["run"], ["no experiment given", "--all, or names such as heartbeat/baseline", "ecglib run --list"]),
        (["run", "heartbeat/baseline", "--all"], ["both names and --all given"]),
        (["run", "heartbeat/baseline", "--profile", "fast"], ["no profile fast", "full, quick, smoke"]),
        (["run", "--all", "-p", "epoch", "3"], ["no experiment has a parameter epoch"]),
        (["run", "heartbeat/baseline", "-p", "max_epochs"], ["max_epochs"]),
        (["run", "heartbeat/baseline", "-p", "leads", "[1"], ["leads", "no YAML value"]),
        (["run", "heartbeat/baseline", "--seed", "1", "--seed", "1"], ["names a seed twice"]),
        (["data", "counts", ""], ["data counts: no name", "a database, or a folder of annotated WFDB records"]),
        (["data", "counts", "nstdb"], ["nstdb: no beat annotations", "a folder of WFDB records"]),
        (["data", "fetch", "mitbd"], ["mitbd: no such database", "mitdb"]),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    arguments: list[str], words: list[str], call: Call, project: Path
) -> None:
    before = files_in(project)
    is_one_line(call(*arguments), *words)
    after = files_in(project)
    after.pop("cache/book.lock", None)
    assert after == before


def test_an_unknown_key_in_a_parameters_file_is_named_with_the_file(call: Call, project: Path) -> None:
    with (project / "params" / "heartbeat" / "baseline.yaml").open("a", encoding="utf-8") as file:
        file.write("epoch: 3\n")
    is_one_line(call("book", "--no-fetch"), "params/heartbeat/baseline.yaml: unknown parameter epoch", "max_epochs")
    assert not (project / "book" / "experiments").exists()


def test_outside_a_project(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ECGLIB_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    is_one_line(call("data", "status"), "no _quarto.yml here or in a folder above", "ECGLIB_ROOT")
    monkeypatch.setenv("ECGLIB_ROOT", str(tmp_path))
    is_one_line(call("results"), "ECGLIB_ROOT", "has no _quarto.yml")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_the_data(call: Call, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECGLIB_DATA", str(project / "index.qmd"))
    is_one_line(call("book", "--no-fetch"), str(project / "index.qmd"), "expected a folder")


@pytest.mark.parametrize(("suffix", "size"), [(".dat", 41), (".hea", 0), (".atr", 41)])
def test_counts_of_broken_records_are_no_counts(
    suffix: str, size: int, call: Call, project: Path, own_data: Path
) -> None:
    for path in own_data.glob(f"*{suffix}"):
        os.truncate(path, size)
    is_one_line(call("data", "counts", "mitdb", "--json"), f"100{suffix}")
    assert list((project / "cache").rglob("*.npz")) == []


def test_counts_name_the_records_passed_over(call: Call, project: Path, own_data: Path) -> None:
    (own_data / "101.atr").unlink()
    (own_data / "234.atr").write_bytes(b"")
    done = call("data", "counts", "mitdb", "--json")
    about = json.loads(done.out)["data"]
    assert (done.code, about["records"], about["patients"]) == (0, 46, 45), "what was counted, and whose"
    assert "\n46 records of 45 patients, annotations .atr\n" in call("data", "counts", "mitdb").out
    assert [line.split(" (")[0] for line in done.err.splitlines()] == [
        f"passed over: {own_data / '101.atr'}: missing annotations",
        f"passed over: {own_data / '234.atr'}: empty annotations",
    ]


def test_broken_data_stops_a_book_with_one_line(call: Call, project: Path, own_data: Path) -> None:
    for path in own_data.glob("*.dat"):
        path.unlink()
    is_one_line(call("book", "--no-fetch"), f"{own_data}: no record can be read", "100.dat: missing signal")
    assert not (project / "_book").exists()


@pytest.fixture
def fetched(tmp_path: Path, small_mitdb: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The empty folder to fetch to: file by file of the small `mitdb`, half of them where a deadline is near."""
    there = tmp_path / "fetched" / "mitdb"

    def download(name: str, *, deadline: float | None, progress: Callable[[fetch.Progress], None]) -> databases.Source:
        files = sorted((small_mitdb / name).iterdir())
        there.mkdir(parents=True, exist_ok=True)
        (there / databases.UNFINISHED).touch()
        for n, file in enumerate(files, 1):
            shutil.copy(file, there)
            progress(fetch.Progress(n, len(files), 1000 * n))
            if deadline == 1.5 and n == len(files) // 2:
                raise UserError("here", "the time given is over")
        (there / databases.UNFINISHED).unlink()
        return databases.get(name)

    monkeypatch.setattr(fetch, "download", download)
    monkeypatch.setenv("ECGLIB_DATA", str(there.parent))
    return there


def test_a_fetch_says_how_far_it_is(call: Call, project: Path, fetched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "SHOW_SECONDS", 0.0)
    done = call("data", "fetch", "mitdb", "--json")
    assert json.loads(done.out) == {"name": "mitdb", "folder": str(fetched), "records": 48}
    total = len(list(fetched.iterdir()))
    shares = [f"{100 * n // total} %, {n} of {total} files" for n in range(1, total + 1)]
    lines = [f"mitdb: {share}, {n / 1000:.1f} MB received" for n, share in enumerate(shares, 1)]
    assert done.err.splitlines() == lines
    monkeypatch.setattr(cli, "SHOW_SECONDS", 60.0)
    assert call("data", "fetch", "mitdb").err == "", "a short fetch needs no word"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    in_terminal = call("data", "fetch", "mitdb").err
    assert in_terminal.count("\n") == 1, "a line that changes"
    assert in_terminal.endswith(f"\r{lines[-1]}\n")


def test_a_book_does_not_wait_for_ever_for_its_data(
    call: Call, project: Path, fetched: Path, jobs: list[runner.Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builder, "render", lambda plainly: (project / "index.html", "quarto"))
    monkeypatch.setattr(cli, "FETCH_SECONDS", 1.5)
    done = call("book", "--profile", "smoke")
    assert (done.code, done.err) == (0, "not fetched: here: the time given is over\n")
    assert f"only 24 records so far in {fetched}: what is run here rests on the embedded sample" in done.out
    monkeypatch.setattr(cli, "FETCH_SECONDS", 60.0)
    done = call("book", "--profile", "smoke")
    assert (done.code, done.err) == (0, "")
    assert "sample" not in done.out


def test_a_book_without_data_runs_the_first_experiment_of_each_notebook(
    call: Call, project: Path, jobs: list[runner.Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECGLIB_DATA", str(tmp_path / "none"))
    monkeypatch.setattr(builder, "render", lambda plainly: (project / "index.html", "quarto"))
    monkeypatch.setattr(builder, "is_current", lambda parameters: False)
    p = config.load("heartbeat/smote", profile="smoke")
    files.write(paths.executed(p.experiment), nbformat.writes(builder.stamp(builder.not_run(p.experiment), p, "old")))
    edited = paths.executed("heartbeat/inter-patient")
    files.write(edited, '{"cells": ["mine"], "metadata": {"ecglib": {"run": true, "cells": "others"}}}')
    monkeypatch.setattr(results, "reference", lambda name: None if name == "heartbeat/weighted" else example_record())
    done = call("book", "--profile", "smoke", "--no-fetch")
    trained = {"heartbeat/baseline", "heartbeat/weighted", "infarction/scratch", "twelve-lead/crnn"}
    assert set(names(jobs)) & set(TRAINED) == trained, done
    assert "2 experiments are shown by their reference results alone" in done.out
    assert not paths.executed(p.experiment).exists(), "made of older code, and not run again"
    assert not edited.exists() and [file.name[:20] for file in edited.parent.iterdir()] == ["inter-patient.edited"]
    assert done.err.count(f"{edited}: its cells were edited") == 1


def test_git_passes_over_what_is_half_written() -> None:
    names = ["_book.123.tmp/index.html", "book/results/heartbeat/baseline.123.tmp"]
    done = subprocess.run(["git", "check-ignore", *names], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == names


def test_a_disk_that_refuses_is_one_line(call: Call, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, said in ((errno.ENOSPC, "No space left on device"), (errno.EACCES, "no permission")):

        def refuse(number: int = number) -> None:
            raise OSError(number, os.strerror(number), "/x/y")

        monkeypatch.setattr(builder, "make_notebooks", refuse)
        is_one_line(call("run", "heartbeat/baseline"), f"/x/y: {said}")


# --- run --------------------------------------------------------------------------------------------------------------


def test_help_lists_the_commands(call: Call) -> None:
    page = call("--help")
    assert page.code == 0
    for word in ("run ", "book ", "notebooks ", "results ", "data ", "ECGLIB_DATA", "ecglib run heartbeat/baseline"):
        assert word in page.out
    for option in ("--all", "--profile", "--seed", "--missing", "--stale", "--fresh", "--out", "--list", "-p", "-j"):
        assert option in call("run", "--help").out
    assert {"status", "fetch", "counts"} <= set(call("data", "--help").out.split())


def test_list_names_every_parameters_file(call: Call, project: Path) -> None:
    files = sorted(path for path in (project / "params").glob("*/*.yaml") if path.parent.name != "profiles")
    assert sorted(call("run", "--list").out.splitlines()) == sorted(f"{p.parent.name}/{p.stem}" for p in files)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-p", "max_epochs=2"], {"max_epochs": 2}),
        (["-p", "max_epochs", "2", "-p", "refit", "true"], {"max_epochs": 2, "refit": True}),
        (["-p", "gradient_clip", "null"], {"gradient_clip": None}),
        (["-p", "model_options", "{width: 8}"], {"model_options": {"width": 8}}),
        (["--seed", "3", "--seed", "1"], {"seeds": [3, 1]}),
        (["-p", "seeds", "[5, 6]"], {"seeds": [5, 6]}),
        (["--profile", "smoke", "-p", "max_beats", "300"], {"profile": "smoke", "max_beats": 300}),
        ([], {}),
    ],
)
def test_overrides_reach_the_notebook(
    arguments: list[str], expected: dict[str, Any], call: Call, project: Path, jobs: list[runner.Job]
) -> None:
    assert call("run", "heartbeat/baseline", *arguments).code == 0
    (job,) = jobs
    profile = expected.get("profile", "quick")
    plain = config.load("heartbeat/baseline", profile=profile).model_dump()
    assert job.parameters.model_dump() == plain | expected
    assert (job.target, job.fresh) == (None, False)


def test_a_name_given_twice_is_run_once(call: Call, project: Path, jobs: list[runner.Job]) -> None:
    assert call("run", "explore/mitdb", "heartbeat/baseline", "explore/mitdb", "-j", "2").code == 0
    assert names(jobs) == ["explore/mitdb", "heartbeat/baseline"]


def test_out_and_fresh_reach_the_notebook(call: Call, project: Path, jobs: list[runner.Job], tmp_path: Path) -> None:
    done = call("run", "heartbeat/baseline", "heartbeat/smote", "--fresh", "--out", tmp_path / "out")
    targets = [tmp_path / "out" / "heartbeat" / f"{name}.ipynb" for name in ("baseline", "smote")]
    assert [(job.target, job.fresh) for job in jobs] == [(target, True) for target in targets]
    assert done.out.splitlines() == [str(target) for target in targets]


def test_what_runs_left_out_is_told_once_with_their_names(
    call: Call, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(jobs: list[runner.Job], at_once: int = 1) -> list[runner.Job]:
        for n, job in enumerate(jobs):
            record = example_record()
            record.data.left_out = {"no next beat": 48} | ({"no variation": 2} if n == 1 else {})
            record.data.records_left_out, record.data.sample = {}, False
            record.save(tmp_path / str(n) / "record.json")
            job.runs = (tmp_path / str(n),) * 2
        return []

    monkeypatch.setattr(runner, "run", run)
    names = ("heartbeat/baseline", "heartbeat/smote", "heartbeat/weighted")
    assert call("run", *names).err.splitlines() == [
        "heartbeat/baseline, heartbeat/smote and 1 more: left out 48 beats: no next beat",
        "heartbeat/smote: left out 2 beats: no variation",
    ]
    assert call("run", names[0]).err.splitlines() == ["left out 48 beats: no next beat"]


def test_an_override_of_all_reaches_those_that_have_the_parameter(
    call: Call, project: Path, jobs: list[runner.Job]
) -> None:
    assert call("run", "--all", "-p", "batch_size", "64", "--seed", "2").code == 0
    assert names(jobs) == EXPERIMENTS
    assert {job.parameters.model_dump().get("batch_size") for job in jobs} == {64, None}
    assert all(getattr(job.parameters, "seeds", [2]) == [2] for job in jobs), "chapters have none"


def test_a_database_that_cannot_be_read_leaves_out_its_experiments_alone(
    call: Call, project: Path, jobs: list[runner.Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data" / "ptb-xl").mkdir(parents=True)
    (tmp_path / "data" / "ptb-xl" / "ptb-xl-1.0.3.zip").touch()
    monkeypatch.setenv("ECGLIB_DATA", str(tmp_path / "data"))
    done = call("run", "--all")
    assert re.search(r"^left out 2 experiments \(infarction/scratch …\): .*\.zip: can.t be unpacked", done.out)
    assert done.code == 0 and names(jobs) == [name for name in EXPERIMENTS if name not in TRAINED[-2:]]


def test_missing_takes_what_has_no_page_and_in_the_full_profile_no_reference(
    call: Call, project: Path, jobs: list[runner.Job]
) -> None:
    builder.prepare()  # pages of what was not run are no results
    call("run", "--all", "--missing", "--profile", "smoke")
    assert names(jobs) == EXPERIMENTS
    jobs.clear()
    example_record("heartbeat/smote").save(paths.reference("heartbeat/smote"))
    call("run", "--all", "--missing", "--profile", "full")
    assert names(jobs) == [name for name in EXPERIMENTS if name != "heartbeat/smote"]
    jobs.clear()
    assert "nothing to run" in call("run", "heartbeat/smote", "--missing", "--profile", "full").out
    assert jobs == []


def test_stale_takes_references_that_no_longer_fit_the_code(
    call: Call, project: Path, jobs: list[runner.Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    full = {name: config.load(name, profile="full") for name in TRAINED}
    for name, change in (("smote", {}), ("baseline", {"training": 0}), ("inter-patient", {})):
        p = full[f"heartbeat/{name}"]
        record = example_record(p.experiment)
        recipe = recipes.of(p) | change
        shown = p.model_dump(exclude={"experiment", "title", "profile", "seeds"})
        shown |= {"learning_rate": 0.5} if name == "inter-patient" else {}
        record.model_copy(update={"recipe": recipe, "parameters": shown}).save(paths.reference(p.experiment))
    monkeypatch.setattr(recipes, "history", lambda stage: {1: "as published"})
    for profile in ("quick", "full"):
        said = call("run", "--all", "--stale", "--list", "--profile", profile).out
        assert said.splitlines() == [
            "heartbeat/baseline: training 0 → 1: as published",
            "heartbeat/inter-patient: learning_rate 0.5 → 0.003",
        ], "neither the fitting nor the missing"
    call("run", "--all", "--stale", "--profile", "full")
    assert sorted(names(jobs)) == ["heartbeat/baseline", "heartbeat/inter-patient"]


def test_runs_of_an_earlier_version_are_counted_once(call: Call, project: Path, jobs: list[runner.Job]) -> None:
    for key in ("a", "b"):
        example_record().save(paths.runs() / key / "record.json")
    assert "2 runs in" in call("run", "heartbeat/smote").out
    assert "earlier version" not in call("run", "heartbeat/smote").out


# --- all of them ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, small_mitdb: Path) -> tuple[Done, Path]:
    """`RUN` run at once on an empty store and data with bad records: how it ended, and the project, where what was not
    run has a page as if it had been."""
    folder = tmp_path_factory.mktemp("filled")
    data = shutil.copytree(small_mitdb, folder / "data")
    os.truncate(data / "mitdb" / "100.dat", 999)
    (data / "mitdb" / "101.atr").unlink()
    with pytest.MonkeyPatch.context() as patch:
        root = make_project(folder / "project", data, patch)
        command = [sys.executable, "-m", "ecglib", "run", *RUN, "-j", "4", "--profile", "smoke"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=500)
        for p in (config.load(name, profile="smoke") for name in EXPERIMENTS if name not in RUN):
            key = builder.page_key(p, builder.inputs_key(p))
            page = builder.stamp(builder.not_run(p.experiment), p, key)
            files.write(paths.executed(p.experiment), nbformat.writes(page))
        return Done(done.returncode, done.stdout, done.stderr), root


@pytest.fixture
def here(filled: tuple[Done, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The filled project as the current one."""
    monkeypatch.setenv("ECGLIB_ROOT", str(filled[1]))
    monkeypatch.setenv("ECGLIB_DATA", str(filled[1].with_name("data")))
    return filled[1]


@pytest.mark.long
def test_all_at_once_on_an_empty_store(filled: tuple[Done, Path], here: Path) -> None:
    done, root = filled
    assert done.code == 0, done.err
    assert done.out.splitlines() == [str(paths.executed(name)) for name in RUN]
    assert all(builder.has_page(name) for name in RUN)
    records = {record.experiment: record for record in map(results.load, (root / "runs").glob("*/record.json"))}
    assert set(records) == set(RUN) & set(TRAINED)
    assert sorted(run.data.tags["key"] for run in tracked(root)) == sorted(one.key for one in records.values())
    assert len(list((root / "mlartifacts").glob("*/artifacts/confusion.png"))) == len(records)
    for name in RUN:
        assert f"{name}: started" in done.err
        assert f"{name}: done in" in done.err
    left_out = {"100": "truncated signal", "101": "missing annotations"}
    assert records["heartbeat/baseline"].data.records_left_out == left_out
    assert "100: truncated signal" in paths.executed("heartbeat/baseline").read_text(encoding="utf-8")
    for name, reason in left_out.items():
        assert f"heartbeat/baseline: left out 1: {reason} ({name})\n" in done.err
    assert "Traceback" not in done.err
    assert not list((root / "cache" / "notebooks").glob("*.ipynb")), "no half-made notebook stays"
    assert results.references() == {}, "smoke results are no reference"


@pytest.mark.long
def test_nothing_is_missing_or_stale_then(here: Path, call: Call, jobs: list[runner.Job]) -> None:
    for choice in ("--missing", "--stale"):
        assert call("run", "--all", choice, "--profile", "smoke").out == "nothing to run\n"
    paths.executed("heartbeat/smote").rename(here / "aside")
    try:
        call("run", "--all", "--missing", "--stale", "--profile", "smoke")
    finally:
        (here / "aside").rename(paths.executed("heartbeat/smote"))
    assert names(jobs) == ["heartbeat/smote"]


@pytest.mark.long
def test_changed_parameters_make_one_page_stale_and_a_changed_notebook_several(
    here: Path, call: Call, jobs: list[runner.Job]
) -> None:
    for path, stale in (
        (here / "params" / "heartbeat" / "weighted.yaml", ["heartbeat/weighted"]),
        (here / "notebooks" / "heartbeat.py", BEATS),
    ):
        text = path.read_text(encoding="utf-8")
        path.write_text(text + ("learning_rate: 0.001\n" if path.suffix == ".yaml" else "\n# %%\n1 + 1\n"))
        call("run", "--all", "--stale", "--profile", "smoke")
        path.write_text(text, encoding="utf-8")
        assert names(jobs) == stale
        jobs.clear()


@pytest.mark.long
def test_the_book_of_them_runs_no_notebook_and_is_sound(
    here: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builder, "find_quarto", lambda: None)
    pages = {name: paths.executed(name).stat().st_mtime_ns for name in EXPERIMENTS}
    for _ in range(2):
        done = call("book", "--profile", "smoke", "--no-fetch")
        assert (done.code, done.err) == (0, "")
        n = len(EXPERIMENTS)
        assert done.out.splitlines() == [
            f"{n} of {n} notebooks are up to date",
            "rendered with Pandoc as a plain preview, because Quarto is not here",
            f"the book is ready: open {here / '_book' / 'index.html'}",
        ]
    assert {name: paths.executed(name).stat().st_mtime_ns for name in EXPERIMENTS} == pages
    checked = call("book", "--check")
    assert checked == Done(0, "the book is sound\n", ""), checked


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_results_as_table_and_json(call: Call, project: Path) -> None:
    assert json.loads(call("results", "--json").out) == {}
    record = example_record("heartbeat/baseline")
    record.save(paths.reference("heartbeat/baseline"))
    assert json.loads(call("results", "--json").out) == {"heartbeat/baseline": record.model_dump(mode="json")}
    table = call("results").out
    for word in ("heartbeat/baseline", "intra", tables.interval(record.metrics["macro_f1"]), "0, 1, 2", "full"):
        assert word in table
    paths.reference("heartbeat/baseline").write_text("{}")
    is_one_line(call("results"), "baseline.json", "a result record")


def test_a_check_names_what_it_can_not_compute_again(call: Call, project: Path) -> None:
    record = example_record("heartbeat/baseline")
    record.metrics["macro_auroc"] = record.metrics["macro_f1"]
    record.save(paths.reference("heartbeat/baseline"))
    lines = call("book", "--check").out.splitlines()
    assert "multiclass: not computed again, for want of raw material: metrics.macro_auroc (1)" in lines
    assert [line for line in lines if line.startswith("multiclass, low and high: ") and "metrics.mcc (1)" in line]
    paths.reference("heartbeat/baseline").write_text("{}")
    assert "not computed again" not in call("book", "--check").out


def test_data_status_as_table_and_json(call: Call, project: Path, small_mitdb: Path) -> None:
    rows = {row["name"]: row for row in json.loads(call("data", "status", "--json").out)}
    mitdb = rows["mitdb"]
    assert (mitdb["state"], mitdb["found"], mitdb["expected"]) == ("present", 48, 48)
    assert mitdb["folder"] == str(small_mitdb / "mitdb")
    assert rows["nstdb"]["state"] == "absent"
    table = call("data", "status").out
    assert all(name in table for name in rows)


def test_data_counts_as_table_and_json(call: Call, project: Path) -> None:
    counted = json.loads(call("data", "counts", "mitdb", "--json").out)
    about = {"name": "mitdb", "folder": str(paths.data() / "mitdb"), "sample": False, "records": 48, "patients": 47}
    assert counted.pop("data") == about
    assert list(counted) == ["DS1", "DS2", "all"]
    assert [list(row) for row in counted.values()] == [[*aami.CLASSES, "all"]] * 3
    for row in counted.values():
        assert row["all"] == sum(row[name] for name in aami.CLASSES) > 0
    assert f"{counted['all']['all']:,}".replace(",", " ") in call("data", "counts").out


def test_counts_of_a_folder_beside_the_user(
    call: Call, project: Path, small_mitdb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only one from the root, as of a parameters file; a database's name stays that of the database."""
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path / "small rec", project / "from root", tmp_path / "mitdb"):
        folder.mkdir()
        for suffix in (".hea", ".dat", ".atr"):
            shutil.copy(small_mitdb / "mitdb" / f"100{suffix}", folder)
    for name, folder in (("small rec", tmp_path), ("from root", project), ("mitdb", paths.data())):
        about = json.loads(call("data", "counts", name, "--json").out)["data"]
        assert (about["name"], about["folder"]) == (name, str(folder / name))


def test_counts_of_the_kaggle_files(call: Call, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "data" / "heartbeat"
    folder.mkdir(parents=True)
    monkeypatch.setenv("ECGLIB_DATA", str(folder.parent))
    beat = ",".join(["0.5"] * 187)
    (folder / "mitbih_test.csv").write_text("".join(f"{beat},{label}\n" for label in (0, 0, 2, 4)))
    (folder / "ptbdb_abnormal.csv").write_text(f"{beat},1\n")
    counted = json.loads(call("data", "counts", "heartbeat", "--json").out)
    assert counted.pop("data")["records"] == 2
    assert counted == {
        "mitbih_test.csv": {"N": 2, "S": 0, "V": 1, "F": 0, "Q": 1, "all": 4},
        "ptbdb_abnormal.csv": {"normal": 0, "abnormal": 1, "all": 1},
    }
    assert "ptbdb_abnormal.csv" in call("data", "counts", "heartbeat").out
    with zipfile.ZipFile(folder / "mitbih_test.csv.zip", "w") as archive:
        archive.write(folder / "mitbih_test.csv", "mitbih_test.csv")
    (folder / "mitbih_test.csv").unlink()
    of_all = json.loads(call("data", "counts", "kaggle", "--json").out)
    assert (of_all["mitbih_test.csv"], of_all["data"]["records"]) == (counted["mitbih_test.csv"], 2)
    (folder / "mitbih_test.csv").write_text(f"{beat},7\n")
    is_one_line(call("data", "counts", "kaggle"), "line 1")


def test_notebooks_are_made(call: Call, project: Path) -> None:
    made = [str(project / "notebooks" / f"{name}.ipynb") for name in sorted(config.MODELS)]
    assert call("notebooks").out.splitlines() == made


def test_a_check_of_a_book_that_was_never_built_says_only_that(call: Call, project: Path) -> None:
    builder.prepare()
    shutil.rmtree(project / "book" / "experiments")
    done = call("book", "--check")
    assert (done.code, done.err) == (2, "error: 1 fault in the book\n")
    assert re.fullmatch(r"_quarto\.yml:9: .+/_chapters\.yml is missing: .+ not built here.+`ecglib book`.*\n", done.out)


def test_check_says_where_the_fault_is(call: Call, project: Path) -> None:
    builder.prepare()
    sound = call("book", "--check")
    assert (sound.code, sound.err) == (0, "")
    assert sound.out.startswith("the book is sound (not rendered yet")
    with (project / "book" / "methods.qmd").open("a", encoding="utf-8") as chapter:
        chapter.write("\nThe macro-F1 is 0.93, see @fig-nowhere.\n")
    done = call("book", "--check")
    assert (done.code, done.err) == (2, "error: 2 faults in the book\n")
    assert len(done.out.splitlines()) == 2
    assert all(line.startswith("book/methods.qmd:") for line in done.out.splitlines())
    assert "typed number '0.93'" in done.out
    assert "dangling reference @fig-nowhere" in done.out
