"""What is wrong with the book: `ecglib book --check`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ecglib.errors import UserError
from ecglib.experiment import record as results
from ecglib.report import chapters, check_text, tables
from ecglib.report.chapters import Chapter
from ecglib.report.check_links import check_links
from ecglib.report.check_records import check_records
from ecglib.report.problem import Problem, relative

EXPERIMENTS: Final = "book/experiments"
BUILT: Final = f"{EXPERIMENTS}/_chapters.yml"
"""The list of chapters that a build makes."""
HEADLINE: Final = "book/results/headline.md"
ENTRY: Final = re.compile(r"^\s*@(?!comment|string|preamble)\w+\s*\{\s*([^,\s]+)", re.MULTILINE)


@dataclass(frozen=True)
class Text:
    """A piece of Markdown with its place: a file, or one cell of a notebook."""

    file: str
    """Path from the root."""
    text: str
    line: int = 1
    """Its first line in the file; 0 in an executed notebook, where `place` names the cell."""
    place: str = ""

    def problem(self, offset: int, message: str) -> Problem:
        line = self.line + self.text.count("\n", 0, offset) if self.line else 0
        return Problem(self.file, line, f"{self.place}: {message}" if self.place else message)


def check(root: Path, output: Path | None = None) -> list[Problem]:
    """What is wrong with the book's sources, notebooks, records and pages, by file; empty when the book is sound.

    `root` is that of the project, `output` the rendered book, whose links are followed; None, or a folder that is not
    there, for the sources alone. Typed numbers are those of `check_text.typed_numbers`. Of a book that was not built
    the chapters are unknown, so that nothing is said of what they lack.
    """
    try:
        listed = chapters.listed(root)
    except UserError as error:
        return [Problem.of(error, root, root / "_quarto.yml")]
    found = [*_chapters(root, listed), *_texts(root, listed), *_notebook_sources(root), *check_records(root)]
    if output is not None and output.is_dir():
        found += check_links(root, output)
    return sorted(set(found))


# Chapters and experiments -------------------------------------------------------------------------------------------


def _at(root: Path, text: str, message: str) -> Problem:
    """A problem of the line that holds `text`, in the list of chapters: in `_quarto.yml`, or in a file of `book/`."""
    for file in (root / "_quarto.yml", *sorted((root / "book").glob("*.yml"))):
        for i, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            if text in line:
                return Problem(relative(file, root), i, message)
    return Problem("_quarto.yml", 0, message)


def _not_built(root: Path) -> bool:
    """Whether the list of chapters that a build makes is not there."""
    return BUILT in (chapters.config(root).get("metadata-files") or []) and not (root / BUILT).is_file()


def _chapters(root: Path, listed: list[Chapter]) -> Iterator[Problem]:
    project, not_built = chapters.config(root), _not_built(root)
    for name in project.get("metadata-files") or []:
        if not (root / name).is_file():
            said = "the book was not built here, and its chapters were not looked at" if name == BUILT else "add it"
            yield _at(root, name, f"metadata-files: {name} is missing: {said}; run `ecglib book`")
    if project["book"].get("appendices"):
        yield _at(root, "appendices", "appendices: the preview has no such pages; list them as chapters")
    for chapter in listed:
        source, part = chapter.source, chapter.part
        if not (root / source).is_file():
            yield _at(root, source, f"missing chapter {source}: run `ecglib book`, or take it out")
        if part.endswith((".qmd", ".ipynb")):
            yield _at(root, part, f"part {part}: the preview has no page for it; give the part a name")
    files = (root / "params").glob("*/*.yaml")
    experiments = {f"{f.parent.name}/{f.stem}" for f in files if f.parent.name != "profiles"}
    ran = [c.source for c in listed if c.source.startswith(f"{EXPERIMENTS}/")]
    pages = {source.removeprefix(f"{EXPERIMENTS}/").removesuffix(".ipynb"): source for source in ran}
    for name in [] if not_built else sorted(experiments - pages.keys()):
        message = f"no chapter for this experiment: list {EXPERIMENTS}/{name}.ipynb among the chapters"
        yield Problem(f"params/{name}.yaml", 0, message)
    for name in sorted(pages.keys() - experiments):
        yield _at(root, pages[name], f"chapter {pages[name]}: there is no params/{name}.yaml")


# Text -----------------------------------------------------------------------------------------------------------------


def _with_includes(root: Path, file: Path) -> Iterator[Text | Problem]:
    """A chapter without its front matter, whose lines count, and the files that it includes, in order of their names;
    missing ones as problems."""
    whole = file.read_text(encoding="utf-8")
    text = Text(relative(file, root), chapters.FRONT_MATTER.sub(lambda head: "\n" * head[0].count("\n"), whole))
    yield text
    for offset, name, value in check_text.shortcodes(text.text):
        if name == "include":
            included = file.parent / value
            if included.is_file() and included != file:
                yield from _with_includes(root, included)
            else:
                yield text.problem(offset, f"missing include {value}: no such file beside {file.name}")


def _executed(name: str, notebook: dict[str, Any]) -> Iterator[Text]:
    """The Markdown of an executed notebook's shown cells and outputs; label lines count as Markdown labels."""
    for i, cell in chapters.shown_cells(notebook):
        source = chapters.text_of(cell["source"])
        if cell["cell_type"] == "markdown":
            yield Text(name, source, 0, f"cell {i}")
        elif cell["cell_type"] == "code":
            options, _ = chapters.cell_options(source, f"cell {i}")
            label = f"{{#{options['label']}}}" if "label" in options else ""
            captions = [str(options[key]) for key in ("fig-cap", "tbl-cap") if key in options]
            outputs = [output.get("data", {}).get("text/markdown", "") for output in cell.get("outputs", [])]
            yield Text(name, "\n\n".join([label, *captions, *map(chapters.text_of, outputs)]), 0, f"cell {i}")


def _read(root: Path, listed: list[Chapter]) -> Iterator[Text | Problem]:
    """The texts of all chapters, written by hand and executed, and what is wrong with their files."""
    for file in (root / chapter.source for chapter in listed):
        try:
            if file.suffix == ".ipynb" and file.is_file():
                name, notebook = relative(file, root), chapters.read_notebook(file)
                yield from _execution(name, notebook)
                yield from _executed(name, notebook)
            elif file.is_file():
                yield from _with_includes(root, file)
                meta, _ = chapters.split_front_matter(file.read_text(encoding="utf-8"), file)
                for key in sorted(meta.keys() - {"title"}):
                    message = f"front matter `{key}`: only a title is shared by the renderers"
                    yield Problem(relative(file, root), 1, message)
        except UserError as error:
            yield Problem.of(error, root, file)


def _texts(root: Path, listed: list[Chapter]) -> Iterator[Problem]:
    found = list(_read(root, listed))
    yield from (one for one in found if isinstance(one, Problem))
    texts = [one for one in found if isinstance(one, Text)]
    places: dict[str, str] = {}
    targets: set[str] = set()
    for text in texts:
        for offset, label, numbered in check_text.labels(text.text):
            if label in places:
                yield text.problem(offset, f"duplicate label {label}: it stands in {places[label]} too; rename one")
            places.setdefault(label, text.file)
            targets |= {label} if numbered else set()
    sought = None if _not_built(root) else targets
    variables = chapters.read_yaml(root / "_variables.yml")
    named = [root / name for name in chapters.named_files(chapters.config(root), "bibliography")]
    known = {key for file in named if file.is_file() for key in ENTRY.findall(file.read_text(encoding="utf-8"))}
    for text in texts:
        if text.line == 0:
            yield from _not_run(root, text)
        else:
            yield from _headline(root) if text.file == HEADLINE else _prose(text)
        yield from _dangling(text, sought, known)
        for offset, name, value in check_text.shortcodes(text.text):
            if name == "var" and chapters.lookup(variables, value) is None:
                yield text.problem(offset, f"missing variable {value}: _variables.yml has no such text")


def _prose(text: Text) -> Iterator[Problem]:
    for found in (*check_text.foreign_syntax(text.text), *check_text.typed_numbers(text.text)):
        yield text.problem(*found)


def _not_run(root: Path, text: Text) -> Iterator[Problem]:
    """A page may say that its experiment was not run only where there is no reference result to show."""
    name = text.file.removeprefix(f"{EXPERIMENTS}/").removesuffix(".ipynb")
    if (root / "book" / "results" / f"{name}.json").is_file():
        for match in re.finditer(r"\bnot run\b", text.text, re.IGNORECASE):
            yield text.problem(match.start(), f"says {match[0]!r}, but there is a reference result: run `ecglib book`")


def _headline(root: Path) -> Iterator[Problem]:
    """The generated table of the first page must be what its records give."""
    try:
        expected = tables.headline(results.references(root / "book" / "results"))
    except (UserError, ValueError) as error:
        yield Problem(HEADLINE, 0, str(error))
        return
    if (root / HEADLINE).read_text(encoding="utf-8").strip() != expected.strip():
        yield Problem(HEADLINE, 0, "is not what the records beside it give; make it anew: ecglib book")


def _dangling(text: Text, targets: set[str] | None, bibliography: set[str]) -> Iterator[Problem]:
    """References to no figure, table or section of `targets`, which is None where those are unknown, and citations of
    nothing in the bibliography."""
    for offset, key in check_text.references(text.text):
        label = key[0].lower() + key[1:]
        if label.startswith(("fig-", "tbl-", "sec-")):
            if targets is not None and label not in targets:
                yield text.problem(offset, f"dangling reference @{key}: no numbered section, figure or table has it")
        elif key not in bibliography:
            yield text.problem(offset, f"citation @{key}: no such entry in the bibliography")


# Notebooks ------------------------------------------------------------------------------------------------------------


def _notebook_sources(root: Path) -> Iterator[Problem]:
    """Faults of the Markdown cells of a notebook's text form, and of the captions in its code cells."""
    for file in sorted((root / "notebooks").glob("*.py")):
        shown, markdown = [], False
        for line in file.read_text(encoding="utf-8").splitlines():
            caption = re.match(r"#\|\s*(?:fig|tbl)-cap:\s*(.*)", line)
            if line.startswith("# %%"):
                markdown = bool(re.search(r"\[(?:markdown|md)\]", line))
                shown.append("")
            elif markdown:
                shown.append(re.sub(r"^# ?", "", line))
            else:
                shown.append(caption[1] if caption else "")
        yield from _prose(Text(relative(file, root), "\n".join(shown)))


def _execution(name: str, notebook: dict[str, Any]) -> Iterator[Problem]:
    """A run that failed or never ended."""

    def failed(message: str) -> Problem:
        return Problem(name, 0, f"failed notebook: {message}; run it again: ecglib run --fresh")

    if notebook.get("metadata", {}).get("papermill", {}).get("exception"):
        yield failed("papermill met an exception")
    for i, cell in enumerate(notebook["cells"], start=1):
        if cell["cell_type"] != "code" or not chapters.text_of(cell["source"]).strip():
            continue
        for output in cell.get("outputs", []):
            if output["output_type"] == "error":
                yield failed(f"cell {i} raised {output.get('ename')}: {output.get('evalue')}")
        if cell.get("execution_count") is None:
            yield failed(f"cell {i} was not executed")
        tags = set(cell.get("metadata", {}).get("tags", []))
        if tags & {"parameters", "injected-parameters"} and "remove-cell" not in tags:
            yield Problem(name, 0, f"cell {i}: tag the parameters `remove-cell` too: Quarto shows them")
