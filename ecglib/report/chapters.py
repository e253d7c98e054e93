"""The book's chapters: their list, and what their files say: front matter, variables, cells."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from ecglib.errors import UserError

HIDDEN_TAGS: Final = {"parameters", "injected-parameters", "remove-cell"}
FRONT_MATTER: Final = re.compile(r"\A---\n(.*?)\n---[ \t]*(?:\n|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Chapter:
    """One entry of the book's chapter list."""

    source: str
    """The `.qmd` or `.ipynb` file, relative to the root."""
    text: str = ""
    """What the sidebar calls it; empty where its own title serves."""
    part: str = ""
    """The part that it belongs to, or empty."""

    @property
    def href(self) -> str:
        return Path(self.source).with_suffix(".html").as_posix()


def parse_yaml(text: str, where: str | Path) -> dict[str, Any]:
    """A YAML text that holds a mapping, or nothing; UserError where it is no YAML or no mapping."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(where, f"not readable as YAML ({' '.join(str(error).split())})") from None
    if not isinstance(content or {}, dict):
        raise UserError(where, f"holds a {type(content).__name__}", "a mapping of keys to values")
    return content or {}


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file as `parse_yaml` takes it; empty where there is no such file."""
    return parse_yaml(path.read_text(encoding="utf-8"), path) if path.is_file() else {}


def read_notebook(path: Path) -> dict[str, Any]:
    """A notebook as its JSON, unchanged; UserError where it is no JSON or holds no cells."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(path, f"not readable as a notebook ({error})", do="run it again: ecglib run --fresh") from None
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise UserError(path, "no cells", "an executed notebook", "run it again: ecglib run --fresh")
    return notebook


def shown_cells(notebook: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The cells of an executed notebook that a page shows, with their numbers from 1."""
    for i, cell in enumerate(notebook["cells"], start=1):
        if not HIDDEN_TAGS & set(cell.get("metadata", {}).get("tags", [])):
            yield i, cell


def config(root: Path) -> dict[str, Any]:
    """`_quarto.yml`, with the chapters that its `metadata-files` add behind its own, as Quarto lays them together.
    UserError where a file is no YAML, or there is no list of chapters."""
    project = read_yaml(root / "_quarto.yml")
    book = project.get("book") or {}
    entries = book.get("chapters")
    if not isinstance(entries, list):
        raise UserError(root / "_quarto.yml", "no `book: chapters:` list", "the chapters of the book")
    for name in project.get("metadata-files") or []:
        added = (read_yaml(root / name).get("book") or {}).get("chapters") or []
        entries = entries + [entry for entry in added if entry not in entries]
    return {**project, "book": {**book, "chapters": entries}}


def named_files(config: dict[str, Any], key: str) -> list[str]:
    """The files that `_quarto.yml` names under a key: none, one or a list."""
    names = config.get(key) or []
    return [names] if isinstance(names, str) else list(names)


def listed(root: Path) -> list[Chapter]:
    """The chapters of the book, in order; UserError where `_quarto.yml` has no list of them."""

    def walk(entries: list[Any], part: str) -> Iterator[Chapter]:
        for entry in entries:
            if isinstance(entry, str):
                yield Chapter(entry, part=part)
            elif "part" in entry:
                yield from walk(entry.get("chapters") or [], str(entry["part"]))
            else:
                yield Chapter(str(entry.get("file") or entry.get("href")), str(entry.get("text") or ""), part)

    return list(walk(config(root)["book"]["chapters"], ""))


def lookup(variables: dict[str, Any], key: str) -> str | None:
    """The text behind `{{< var a.b >}}`, or None where `_variables.yml` lacks it."""
    value: Any = variables
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return None if value is None or isinstance(value, (dict, list)) else str(value)


def split_front_matter(text: str, where: str | Path) -> tuple[dict[str, Any], str]:
    """The YAML block at the head of a chapter, and the rest."""
    match = FRONT_MATTER.match(text)
    return (parse_yaml(match[1], where), text[match.end() :]) if match else ({}, text)


def cell_options(source: str, where: str | Path) -> tuple[dict[str, Any], str]:
    """The `#| key: value` lines at the head of a code cell, and the code."""
    lines = source.splitlines()
    n = next((i for i, line in enumerate(lines) if not line.startswith("#|")), len(lines))
    options = parse_yaml("\n".join(line[2:].removeprefix(" ") for line in lines[:n]), where)
    return options, "\n".join(lines[n:]).strip("\n")


def text_of(value: Any) -> str:
    return "".join(value) if isinstance(value, list) else str(value)
