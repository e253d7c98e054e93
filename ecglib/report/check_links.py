"""Dead links in a rendered book, whichever renderer made it."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ecglib.report.problem import Problem, relative


class _Page(HTMLParser):
    """The ids of one page, and what it points to."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.targets: list[tuple[int, str]] = []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for key, value in attrs:
            if value and (key == "id" or (key == "name" and tag == "a")):
                self.ids.add(value)
            elif value and key in {"href", "src"}:
                self.targets.append((self.getpos()[0], value))


def check_links(root: Path, output: Path) -> Iterator[Problem]:
    """Every relative `href` and `src` under `output` whose file or `#fragment` does not exist."""
    pages = {file: _Page(file) for file in sorted(output.resolve().rglob("*.html"))}
    for file, page in pages.items():
        shown = relative(output / file.relative_to(output.resolve()), root)
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
