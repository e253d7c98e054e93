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
    """A chapter on its way through Pandoc: its number (0 for none) and its document tree after the first pass."""

    chapter: Chapter
    number: int
    tree: dict[str, Any]

    def meta(self, key: str) -> Any:
        """What `filter.lua` left under `key` in the first pass, as plain Python."""
        return _plain(self.tree["meta"].get(key, {"t": "MetaString", "c": ""}))

    @property
    def labels(self) -> dict[str, dict[str, Any]]:
        return dict(self.meta("labels"))

    @property
    def title(self) -> str:
        text = self.chapter.text or self.meta("pagetitle")
        return f"{self.number}\u2002{text}" if self.number else str(text)


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


def _plain(meta: Any) -> Any:
    """A value of Pandoc's metadata as plain Python."""
    kind, content = meta["t"], meta["c"]
    if kind == "MetaMap":
        return {key: _plain(value) for key, value in content.items()}
    return [_plain(value) for value in content] if kind == "MetaList" else content


def _meta(value: Any) -> dict[str, Any]:
    """Plain Python as a value of Pandoc's metadata."""
    if isinstance(value, dict):
        return {"t": "MetaMap", "c": {key: _meta(inner) for key, inner in value.items()}}
    if isinstance(value, list):
        return {"t": "MetaList", "c": [_meta(inner) for inner in value]}
    return {"t": "MetaBool" if isinstance(value, bool) else "MetaString", "c": value}


def _relative(href: str, page: str) -> str:
    return os.path.relpath(href, os.path.dirname(page) or ".").replace(os.sep, "/")  # noqa: PTH120 (URLs, not files)


def _number(root: Path, output: Path, chapter: Chapter, number: int, variables: dict[str, Any]) -> Page:
    """First pass: a chapter's Markdown, numbered."""
    page = output / chapter.href
    text = markdown.of(root / chapter.source, page.with_name(f"{page.stem}_files"), variables)
    tree = json.loads(_pandoc(root, text, "--from=markdown", "--to=json", f"--metadata=chapter:{number}"))
    return Page(chapter, number, tree)


def _resolve(root: Path, pages: list[Page], page: Page, style: dict[str, Any]) -> str:
    """Second pass: a chapter's HTML, with the references to all others resolved."""
    targets = {}  # every label of the book, with its address from here; another chapter's is that of its page
    for other in pages:
        path = _relative(other.chapter.href, page.chapter.href) if other is not page else ""
        for key, label in other.labels.items():
            targets[key] = {**label, "href": path if path and label["chapter"] else f"{path}#{key}"}
    extra = {"targets": targets, **style}
    if "bibliography" in style:
        home = next((p for p in pages if p.meta("references")), None)
        if home is page:
            extra["keys"] = sorted({key for p in pages for key in p.meta("cited")})
        elif home:
            extra["bibpage"] = _relative(home.chapter.href, page.chapter.href)
    meta = page.tree["meta"] | {key: _meta(value) for key, value in extra.items()}
    options = ("--from=json", "--to=html5", "--mathml", "--wrap=none", "--section-divs")
    return _pandoc(root, json.dumps(page.tree | {"meta": meta}), *options)


def _sidebar(pages: list[Page], page: Page) -> str:
    """The chapter list; a part is folded unless the reader is in it."""
    blocks = []
    for part, members in groupby(pages, key=lambda p: p.chapter.part):
        links = []
        for member in members:
            current = ' aria-current="page"' if member is page else ""
            address = escape(_relative(member.chapter.href, page.chapter.href))
            links.append(f'<li><a href="{address}"{current}>{escape(member.title)}</a></li>')
        items = f"<ul>{''.join(links)}</ul>"
        unfolded = " open" if part == page.chapter.part else ""
        blocks.append(f"<details{unfolded}><summary>{escape(part)}</summary>{items}</details>" if part else items)
    return "\n".join(blocks)


def _turn(page: Page, other: Page | None, relation: str, arrow: str) -> str:
    if other is None:
        return "<span></span>"
    address = escape(_relative(other.chapter.href, page.chapter.href))
    return f'<a rel="{relation}" href="{address}">{arrow.format(escape(other.title))}</a>'


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
    for name in page.meta("files"):
        source = (root / page.chapter.source).parent / name
        target = (output / page.chapter.href).parent / name
        if source.is_file() and not target.exists() and target.resolve().is_relative_to(output.resolve()):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def render(root: Path, output: Path) -> Path:
    """Render the book of the project root with Pandoc.

    `output`, the folder for the HTML book, is replaced once every page is made. Its `index.html` is returned.

    Raises
    ------
    UserError
        When a chapter or an included file is missing or unreadable, or Pandoc fails.
    """
    config, variables = chapters.config(root), chapters.read_yaml(root / "_variables.yml")
    found = markdown.numbered(root)
    style = {key: config[key] for key in ("bibliography", "csl") if config.get(key)}
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
