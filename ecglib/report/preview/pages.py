"""The book rendered with Pandoc, for machines without Quarto: plainer, with the same numbers, references and links.

Each chapter becomes Pandoc Markdown and goes through Pandoc twice, both times with `filter.lua`: first to number its
sections, figures and tables, then, when the labels of all chapters are known, to resolve the references and write HTML.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path
from string import Template
from typing import Any, Final

from ecglib import files
from ecglib.errors import UserError
from ecglib.report import chapters
from ecglib.report.chapters import Chapter
from ecglib.report.preview import markdown

HERE: Final = Path(__file__).parent
NOTE: Final = "plain preview, rendered with Pandoc; install Quarto for the full book"


@dataclass
class Page:
    """A chapter on its way through Pandoc: its number (0 for none), and after the first pass its document tree and what
    `filter.lua` found there."""

    chapter: Chapter
    number: int
    tree: dict[str, Any]
    found: dict[str, Any]

    @property
    def title(self) -> str:
        text = self.chapter.text or str(self.found["pagetitle"])
        return f"{self.number}\u2002{text}" if self.number else text


def _pandoc(root: Path, text: str, *arguments: str) -> str:
    import pypandoc

    try:
        command = [pypandoc.get_pandoc_path(), f"--lua-filter={HERE / 'filter.lua'}", *arguments]
    except OSError:
        raise UserError("Pandoc", "not found", "the one of pypandoc_binary", "install requirements.lock") from None
    done = subprocess.run(command, input=text, text=True, encoding="utf-8", cwd=root, capture_output=True, check=False)
    if done.returncode:
        raise UserError("Pandoc", done.stderr.strip().replace("\n", " "))
    return done.stdout


def _relative(href: str, page: str) -> str:
    return os.path.relpath(href, os.path.dirname(page) or ".").replace(os.sep, "/")  # noqa: PTH120 (URLs, not files)


def _number(root: Path, output: Path, chapter: Chapter, number: int, variables: dict[str, Any]) -> Page:
    """First pass: a chapter's Markdown, numbered."""
    page = output / chapter.href
    text = markdown.of(root / chapter.source, page.with_name(f"{page.stem}_files"), variables)
    tree = json.loads(_pandoc(root, text, "--from=markdown", "--to=json", f"--metadata=chapter:{number}"))
    return Page(chapter, number, tree, json.loads(tree["meta"].pop("found")["c"]))


def _resolve(root: Path, pages: list[Page], page: Page, style: list[str]) -> str:
    """Second pass: a chapter's HTML, with the references to all others resolved."""
    targets = {}  # every label of the book, with its address from here; another chapter's is that of its page
    for other in pages:
        path = _relative(other.chapter.href, page.chapter.href) if other is not page else ""
        for key, label in dict(other.found["labels"]).items():  # Lua's empty table reads as a list
            targets[key] = {**label, "href": path if path and label["chapter"] else f"{path}#{key}"}
    book: dict[str, Any] = {"targets": targets}
    home = next((p for p in pages if p.found["references"]), None)
    if home is page:
        book["keys"] = sorted({key for p in pages for key in p.found["cited"]})
    elif home:
        book["bibpage"] = _relative(home.chapter.href, page.chapter.href)
    meta = page.tree["meta"] | {"book": {"t": "MetaString", "c": json.dumps(book)}}
    options = ("--from=json", "--to=html5", "--mathml", "--wrap=none", "--section-divs", *style)
    return _pandoc(root, json.dumps(page.tree | {"meta": meta}), *options)


def _link(page: Page, other: Page, attributes: str = "", form: str = "{}") -> str:
    address = escape(_relative(other.chapter.href, page.chapter.href))
    return f'<a href="{address}"{attributes}>{form.format(escape(other.title))}</a>'


def _sidebar(pages: list[Page], page: Page) -> str:
    """The chapter list; a part is folded unless the reader is in it."""
    blocks = []
    for part, members in groupby(pages, key=lambda p: p.chapter.part):
        own = ((' aria-current="page"' if member is page else "", member) for member in members)
        items = f"<ul>{''.join(f'<li>{_link(page, other, attribute)}</li>' for attribute, other in own)}</ul>"
        unfolded = " open" if part == page.chapter.part else ""
        blocks.append(f"<details{unfolded}><summary>{escape(part)}</summary>{items}</details>" if part else items)
    return "\n".join(blocks)


def _turn(page: Page, other: Page | None, relation: str, arrow: str) -> str:
    return "<span></span>" if other is None else _link(page, other, f' rel="{relation}"', arrow)


def _html(pages: list[Page], i: int, body: str, book: dict[str, Any]) -> str:
    page, title = pages[i], escape(str(book.get("title", "")))
    first = page.chapter.href == "index.html"
    subtitle = f"<p>{escape(str(book['subtitle']))}</p>" if book.get("subtitle") else ""
    template = Template((HERE / "preview.html").read_text(encoding="utf-8"))
    return template.substitute(
        language=escape(str(book.get("lang", "en"))),
        title=title if first else f"{escape(page.title)} – {title}",
        book=title,
        home=_relative("index.html", page.chapter.href),
        css=_relative("preview.css", page.chapter.href),
        note=NOTE,
        sidebar=_sidebar(pages, page),
        heading=f'<header class="book-title"><p class="book">{title}</p>{subtitle}</header>' if first else "",
        body=body,
        previous=_turn(page, pages[i - 1] if i else None, "prev", "← {}"),
        next=_turn(page, pages[i + 1] if i + 1 < len(pages) else None, "next", "{} →"),
    )


def _copy_files(root: Path, output: Path, page: Page) -> None:
    """Bring along the local pictures and downloads that a page points to."""
    for name in page.found["files"]:
        source = (root / page.chapter.source).parent / name
        target = (output / page.chapter.href).parent / name
        if source.is_file() and not target.exists() and target.resolve().is_relative_to(output.resolve()):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def render(root: Path, output: Path) -> Path:
    """Render the book of the project root with Pandoc.

    `output`, the folder for the HTML book, is replaced once every page is made. Its `index.html` is returned. UserError
    where a chapter or an included file is missing or unreadable, or Pandoc fails.
    """
    config, variables = chapters.config(root), chapters.read_yaml(root / "_variables.yml")
    found = markdown.numbered(root)
    style = [f"--{key}={name}" for key in ("bibliography", "csl") for name in chapters.named_files(config, key)]
    with files.writing_folder(output) as making:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            pages = list(pool.map(lambda item: _number(root, making, item[0], item[1], variables), found))
            bodies = list(pool.map(lambda page: _resolve(root, pages, page, style), pages))
        for i, (page, body) in enumerate(zip(pages, bodies, strict=True)):
            file = making / page.chapter.href
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(_html(pages, i, body, config["book"]), encoding="utf-8")
            _copy_files(root, making, page)
        shutil.copyfile(HERE / "preview.css", making / "preview.css")
    return output / "index.html"
