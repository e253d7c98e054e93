"""The book's chapters: their list, and each as Pandoc Markdown, its shortcodes resolved, its notebook read."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from ecglib.errors import UserError

HIDDEN_TAGS: Final = {"parameters", "injected-parameters", "remove-cell"}
SHORTCODE: Final = re.compile(r"\{\{\{<(?P<literal>.*?)>\}\}\}|\{\{<\s*(?P<name>include|var)\s+(?P<value>\S+)\s*>\}\}")
IMAGES: Final = {"image/svg+xml": "svg", "image/png": "png", "image/jpeg": "jpg"}


@dataclass(frozen=True)
class Chapter:
    """One entry of the book's chapter list.

    Parameters
    ----------
    source
        The `.qmd` or `.ipynb` file, relative to the root.
    text
        What the sidebar calls it; empty where its own title serves.
    part
        The part that it belongs to, or empty.
    """

    source: str
    text: str = ""
    part: str = ""

    @property
    def href(self) -> str:
        return Path(self.source).with_suffix(".html").as_posix()


def parse_yaml(text: str, where: str | Path) -> dict[str, Any]:
    """A YAML text that holds a mapping, or nothing.

    Raises
    ------
    UserError
        When it is no YAML or no mapping.
    """
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(where, f"not readable as YAML ({' '.join(str(error).split())})") from None
    if not isinstance(content or {}, dict):
        raise UserError(where, f"holds a {type(content).__name__}", "a mapping of keys to values")
    return content or {}


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping; empty where there is no such file.

    Raises
    ------
    UserError
        When it is no YAML or no mapping.
    """
    return parse_yaml(path.read_text(encoding="utf-8"), path) if path.is_file() else {}


def read_notebook(path: Path) -> dict[str, Any]:
    """A notebook as its JSON, unchanged.

    Raises
    ------
    UserError
        When it is no JSON or holds no cells.
    """
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(path, f"not readable as a notebook ({error})", do="run it again: ecglib run --fresh") from None
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise UserError(path, "no cells", "an executed notebook", "run it again: ecglib run --fresh")
    return notebook


def config(root: Path) -> dict[str, Any]:
    """`_quarto.yml`, with the chapters that its `metadata-files` add behind its own, as Quarto lays them together.

    Raises
    ------
    UserError
        When a file is no YAML, or there is no list of chapters.
    """
    project = read_yaml(root / "_quarto.yml")
    book = project.get("book") or {}
    entries = book.get("chapters")
    if not isinstance(entries, list):
        raise UserError(root / "_quarto.yml", "no `book: chapters:` list", "the chapters of the book")
    for name in project.get("metadata-files") or []:
        added = (read_yaml(root / name).get("book") or {}).get("chapters") or []
        entries = entries + [entry for entry in added if entry not in entries]
    return {**project, "book": {**book, "chapters": entries}}


def listed(root: Path) -> list[Chapter]:
    """The chapters of the book, in order.

    Raises
    ------
    UserError
        When `_quarto.yml` has no list of chapters.
    """

    def walk(entries: list[Any], part: str) -> Iterator[Chapter]:
        for entry in entries:
            if isinstance(entry, str):
                yield Chapter(entry, part=part)
            elif "part" in entry:
                yield from walk(entry.get("chapters") or [], str(entry["part"]))
            else:
                yield Chapter(str(entry.get("file") or entry.get("href")), str(entry.get("text") or ""), part)

    return list(walk(config(root)["book"]["chapters"], ""))


def numbered(root: Path) -> list[tuple[Chapter, int]]:
    """The chapters with their numbers, counted as Quarto does: 0 for a `.qmd` whose title is `{.unnumbered}`.

    Raises
    ------
    UserError
        When a chapter's file is missing.
    """
    found, count = [], 0
    for chapter in listed(root):
        file = root / chapter.source
        if not file.is_file():
            raise UserError(file, "no such file", "a chapter that _quarto.yml lists", "run `ecglib book`")
        text = qmd_markdown(file) if file.suffix == ".qmd" else ""
        title = re.search(r"^# .*$", text, re.MULTILINE)
        unnumbered = title is not None and re.search(r"\{[^}]*(\.unnumbered|(?<=[{ ])-(?=[ }]))[^}]*\}", title[0])
        count += not unnumbered
        found.append((chapter, 0 if unnumbered else count))
    return found


def lookup(variables: dict[str, Any], key: str) -> str | None:
    """The text behind `{{< var a.b >}}`, or None where `_variables.yml` lacks it."""
    value: Any = variables
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return None if value is None or isinstance(value, (dict, list)) else str(value)


def expand(text: str, file: Path, variables: dict[str, Any]) -> str:
    """Resolve the shortcodes `include` (relative to `file`) and `var`; `{{{< … >}}}` stands for itself, as in Quarto.

    Raises
    ------
    UserError
        When an included file is missing.
    """

    def replace(match: re.Match[str]) -> str:
        if match["literal"] is not None:
            return f"{{{{<{match['literal']}>}}}}"
        if match["name"] == "var":
            found = lookup(variables, match["value"])
            return f"**?var:{match['value']}**" if found is None else found
        included = file.parent / match["value"]
        if not included.is_file() or included == file:
            raise UserError(file, f"{{{{< include {match['value']} >}}}}", "a file beside it that exists")
        return expand(included.read_text(encoding="utf-8"), included, variables)

    return SHORTCODE.sub(replace, text)


def split_front_matter(text: str, where: str | Path) -> tuple[dict[str, Any], str]:
    """The YAML block at the head of a chapter, and the rest."""
    match = re.match(r"---\n(.*?)\n---[ \t]*(?:\n|$)", text, re.DOTALL)
    return (parse_yaml(match[1], where), text[match.end() :]) if match else ({}, text)


def qmd_markdown(file: Path) -> str:
    """A hand-written chapter with its title as a heading."""
    meta, body = split_front_matter(file.read_text(encoding="utf-8"), file)
    return f"# {meta['title']}\n\n{body}" if "title" in meta else body


def cell_options(source: str, where: str | Path) -> tuple[dict[str, Any], str]:
    """The `#| key: value` lines at the head of a code cell, and the code."""
    lines = source.splitlines()
    n = next((i for i, line in enumerate(lines) if not line.startswith("#|")), len(lines))
    options = parse_yaml("\n".join(line[2:].removeprefix(" ") for line in lines[:n]), where)
    return options, "\n".join(lines[n:]).strip("\n")


def text_of(value: Any) -> str:
    return "".join(value) if isinstance(value, list) else str(value)


def _fenced(code: str, kind: str = "") -> str:
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", code)), default=0))
    return f"{fence}{kind}\n{code}\n{fence}"


def _image(kind: str, content: str, folder: Path, name: str, alt: str) -> str:
    """Write one figure under `folder`, and point to it from the page beside that folder."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.{IMAGES[kind]}"
    file.write_bytes(content.encode() if kind == "image/svg+xml" else base64.b64decode(content))
    escaped = alt.replace("\\", "\\\\").replace('"', '\\"')
    return f'![]({folder.name}/{file.name}){{fig-alt="{escaped}"}}'


def cell_markdown(cell: dict[str, Any], folder: Path, name: str) -> str:
    """One executed code cell: its code folded, its outputs as a captioned figure or table where it has a label."""
    options, code = cell_options(text_of(cell["source"]), f"{folder.name}, {name}")
    if options.get("include") is False:
        return ""
    label, blocks, shown = str(options.get("label", name)), [], []
    if code and options.get("echo") is not False:
        blocks.append(f'<details class="code"><summary>Code</summary>\n\n{_fenced(code, "python")}\n\n</details>')
    outputs = cell.get("outputs", []) if options.get("output") is not False else []
    for i, output in enumerate(outputs, start=1):
        data = output.get("data", {})
        image = next((kind for kind in IMAGES if kind in data), None)
        if output["output_type"] == "stream":
            blocks.append(_fenced(text_of(output["text"]).rstrip()))
        elif output["output_type"] == "error":
            blocks.append(_fenced(f"{output['ename']}: {output['evalue']}"))
        elif "text/markdown" in data:
            shown.append(text_of(data["text/markdown"]).strip())
        elif image:
            shown.append(_image(image, text_of(data[image]), folder, f"{label}-{i}", str(options.get("fig-alt", ""))))
        elif "text/html" in data:
            shown.append(_fenced(text_of(data["text/html"]), "{=html}"))
        elif "text/plain" in data:
            shown.append(_fenced(text_of(data["text/plain"])))
    if shown and label.startswith(("fig-", "tbl-")):
        caption = str(options.get(f"{label[:3]}-cap", "")).strip() or "\\ "
        shown = [f"::: {{#{label}}}", *shown, caption, ":::"]
    return "\n\n".join([*blocks, *shown])


def notebook_markdown(file: Path, folder: Path) -> str:
    """An executed notebook without its hidden cells; its figures are written to `folder`."""
    parts = []
    for i, cell in enumerate(read_notebook(file)["cells"], start=1):
        if HIDDEN_TAGS & set(cell.get("metadata", {}).get("tags", [])):
            continue
        if cell["cell_type"] == "markdown":
            parts.append(text_of(cell["source"]))
        elif cell["cell_type"] == "code":
            parts.append(cell_markdown(cell, folder, f"cell-{i}"))
    return "\n\n".join(parts)


def markdown(file: Path, folder: Path, variables: dict[str, Any]) -> str:
    """A chapter as Pandoc Markdown.

    Parameters
    ----------
    file
        The `.qmd`, or the executed `.ipynb`.
    folder
        Where the figures of a notebook are written; beside the page.
    variables
        What `{{< var … >}}` stands for: the content of `_variables.yml`.

    Raises
    ------
    UserError
        When the chapter is unreadable or includes a file that is missing.
    """
    text = notebook_markdown(file, folder) if file.suffix == ".ipynb" else qmd_markdown(file)
    return expand(text, file, variables)
