"""A chapter as Pandoc Markdown, its shortcodes resolved, its notebook read."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any, Final

from ecglib.errors import UserError
from ecglib.report import chapters
from ecglib.report.chapters import Chapter, cell_options, text_of

SHORTCODE: Final = re.compile(r"\{\{\{<(?P<literal>.*?)>\}\}\}|\{\{<\s*(?P<name>include|var)\s+(?P<value>\S+)\s*>\}\}")
IMAGES: Final = {"image/svg+xml": "svg", "image/png": "png", "image/jpeg": "jpg"}


def numbered(root: Path) -> list[tuple[Chapter, int]]:
    """The chapters with their numbers, counted as Quarto does: 0 for a `.qmd` whose title is `{.unnumbered}`. UserError
    where a chapter's file is missing."""
    found, count = [], 0
    for chapter in chapters.listed(root):
        file = root / chapter.source
        if not file.is_file():
            raise UserError(file, "no such file", "a chapter that _quarto.yml lists", "run `ecglib book`")
        text = qmd_markdown(file) if file.suffix == ".qmd" else ""
        title = re.search(r"^# .*$", text, re.MULTILINE)
        unnumbered = title is not None and re.search(r"\{[^}]*(\.unnumbered|(?<=[{ ])-(?=[ }]))[^}]*\}", title[0])
        count += not unnumbered
        found.append((chapter, 0 if unnumbered else count))
    return found


def expand(text: str, file: Path, variables: dict[str, Any]) -> str:
    """Resolve the shortcodes `include` (relative to `file`) and `var`; `{{{< … >}}}` stands for itself, as in Quarto.
    UserError where an included file is missing."""

    def replace(match: re.Match[str]) -> str:
        if match["literal"] is not None:
            return f"{{{{<{match['literal']}>}}}}"
        if match["name"] == "var":
            found = chapters.lookup(variables, match["value"])
            return f"**?var:{match['value']}**" if found is None else found
        included = file.parent / match["value"]
        if not included.is_file() or included == file:
            raise UserError(file, f"{{{{< include {match['value']} >}}}}", "a file beside it that exists")
        return expand(included.read_text(encoding="utf-8"), included, variables)

    return SHORTCODE.sub(replace, text)


def qmd_markdown(file: Path) -> str:
    """A hand-written chapter with its title as a heading."""
    meta, body = chapters.split_front_matter(file.read_text(encoding="utf-8"), file)
    return f"# {meta['title']}\n\n{body}" if "title" in meta else body


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


def of(file: Path, folder: Path, variables: dict[str, Any]) -> str:
    """A chapter (`.qmd`, or executed `.ipynb` without its hidden cells) as Pandoc Markdown.

    The figures of a notebook are written to `folder`, beside the page; `variables`, the content of `_variables.yml`, is
    what `{{< var … >}}` stands for. UserError where the chapter is unreadable or includes a file that is missing.
    """
    if file.suffix != ".ipynb":
        return expand(qmd_markdown(file), file, variables)
    parts = []
    for i, cell in chapters.shown_cells(chapters.read_notebook(file)):
        if cell["cell_type"] == "markdown":
            parts.append(text_of(cell["source"]))
        elif cell["cell_type"] == "code":
            parts.append(cell_markdown(cell, folder, f"cell-{i}"))
    return expand("\n\n".join(parts), file, variables)
