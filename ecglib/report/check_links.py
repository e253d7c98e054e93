"""Dead links, unresolved references and attributes left in the text of a rendered book, whichever renderer made it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from ecglib.report.problem import Problem, relative

# What the renderers leave in the text for a name that they don't know; Quarto also marks it by a class.
UNRESOLVED: Final = re.compile(r"\?(?:@|var:)[\w.-]+")
# What Markdown leaves of the attributes of something that it took for text.
ATTRIBUTES: Final = re.compile(r"\{[#.][A-Za-z][^{}<>]*\}")
VERBATIM: Final = {"code", "pre", "annotation"}


class _Page(HTMLParser):
    """The ids of one page, and with their lines what it points to and what was left unresolved or unread."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.targets: list[tuple[int, str]] = []
        self.faults: list[tuple[int, str]] = []
        self._marked = False
        self._verbatim = 0
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value for key, value in attrs if value}
        self.ids |= {values[key] for key in ("id", "name") if key in values and (key == "id" or tag == "a")}
        self.targets += [(self.getpos()[0], values[key]) for key in ("href", "src") if key in values]
        self._marked = "quarto-unresolved-ref" in values.get("class", "")
        self._verbatim += tag in VERBATIM

    def handle_endtag(self, tag: str) -> None:
        self._verbatim -= tag in VERBATIM

    def handle_data(self, data: str) -> None:
        marked, self._marked = self._marked, False
        if self.cdata_elem is not None:
            return
        names = [data.strip()] if marked else UNRESOLVED.findall(data)
        said = [f"unresolved {name}: no section, figure, table or variable has this name" for name in names]
        left = [] if self._verbatim else ATTRIBUTES.findall(data)
        said += [f"attributes {each} in the text: what they belong to stands elsewhere" for each in left]
        self.faults += [(self.getpos()[0], message) for message in said]


def check_links(root: Path, output: Path) -> Iterator[Problem]:
    """Every relative `href` and `src` under `output` whose file or `#fragment` does not exist, unresolved names, and
    attributes that stand in the text."""
    output = output.resolve()
    pages = {file: _Page(file) for file in sorted(output.rglob("*.html"))}
    for file, page in pages.items():
        shown = relative(file, root.resolve())
        yield from (Problem(shown, line, message) for line, message in page.faults)
        for line, target in page.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            path = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            if path.is_dir():
                path /= "index.html"
            if not path.is_file():
                yield Problem(shown, line, f"dead link {target}: no such file")
            elif parts.fragment and path in pages and unquote(parts.fragment) not in pages[path].ids:
                yield Problem(shown, line, f"dead link {target}: {path.name} has no such id")
