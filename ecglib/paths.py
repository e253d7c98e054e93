"""Every path of the project, anchored at its root.

papermill runs a notebook in the caller's folder and JupyterLab in `notebooks/`; both must meet the same data, runs
and results. So nothing in the package uses a path relative to the working directory: it asks here.
"""

from __future__ import annotations

import os
from pathlib import Path

from ecglib.errors import UserError

_DO = "change into the clone, or set ECGLIB_ROOT to it"


def root() -> Path:
    """The project root: `ECGLIB_ROOT`, else the nearest folder upward from the working directory with `_quarto.yml`;
    of a package that was installed without its clone, the working directory, where runs, caches and data then lie. A
    `UserError` when `ECGLIB_ROOT` is no project, or no folder upward holds `_quarto.yml`."""
    if named := os.environ.get("ECGLIB_ROOT"):
        folder = Path(named).expanduser().resolve()
        if not (folder / "_quarto.yml").is_file():
            raise UserError("ECGLIB_ROOT", f"{folder} has no _quarto.yml", "the folder of the cloned project")
        return folder
    here = Path.cwd().resolve()
    for folder in (here, *here.parents):
        if (folder / "_quarto.yml").is_file():
            return folder
    if not (Path(__file__).parents[1] / "_quarto.yml").is_file():
        return here
    raise UserError(here, "no _quarto.yml here or in a folder above", "a working directory inside the project", _DO)


def _of_clone(name: str) -> Path:
    folder = root()
    if not (folder / "_quarto.yml").is_file():
        raise UserError(folder, f"no {name}/ of the project", "a working directory inside its clone", _DO)
    return folder / name


def data() -> Path:
    """The folder with one folder per database: `ECGLIB_DATA`, taken from the root if relative, else `data/`. A
    `UserError` when a file lies in its place."""
    folder = (root() / Path(os.environ.get("ECGLIB_DATA") or "data").expanduser()).resolve()
    if folder.is_file():
        raise UserError(folder, "a file", "a folder with one folder per database", "move it, or set ECGLIB_DATA")
    return folder


def cache() -> Path:
    """Prepared beats and other things that can be made again: `cache/`."""
    return root() / "cache"


def runs() -> Path:
    """One folder per run, named by its key: `runs/`."""
    return root() / "runs"


def notebooks() -> Path:
    return _of_clone("notebooks")


def params() -> Path:
    return _of_clone("params")


def book() -> Path:
    return _of_clone("book")


def executed(experiment: str) -> Path:
    """The executed notebook of `<notebook>/<experiment>`, which is a page of the book."""
    return book() / "experiments" / f"{experiment}.ipynb"


def results() -> Path:
    """The reference results: `book/results/<notebook>/<experiment>.json`."""
    return book() / "results"


def reference(experiment: str) -> Path:
    return results() / f"{experiment}.json"


def searches() -> Path:
    """What searches found: `book/searches/<name>.json`, and `.parquet` with every epoch of it."""
    return book() / "searches"


def search(name: str) -> Path:
    return searches() / f"{name}.json"


def test_reads() -> Path:
    """The log with a line for every scoring of DS2."""
    return results() / "test-reads.jsonl"
