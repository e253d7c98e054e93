"""The preview book: hidden cells, numbers, references and links, and the same as Quarto where Quarto is."""

from __future__ import annotations

import posixpath
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from bs4 import BeautifulSoup, Tag

from ecglib import files
from ecglib.errors import UserError
from ecglib.report import chapters
from ecglib.report.check import check
from ecglib.report.preview import pages

PAGES = ("index", "book/data", "book/methods", "book/notes", "book/references",
         "book/experiments/heartbeat/baseline", "book/experiments/heartbeat/weighted")  # fmt: skip


@dataclass
class Seen:
    """What a reader sees in <main> of either renderer's page: captions of numbered floats by id, headings, links."""

    captions: dict[str, str]
    headings: list[tuple[str, str]]
    links: list[tuple[str, str]]
    text: str


def seen(output: Path, page: str) -> Seen:
    main = BeautifulSoup((output / f"{page}.html").read_text(encoding="utf-8"), "html.parser").main
    assert main is not None
    # Chrome that each renderer has in its own way: breadcrumbs, and previous and next chapter.
    for chrome in main("nav"):
        chrome.decompose()

    def text(tag: Tag) -> str:
        return " ".join(tag.get_text().split())

    floats = re.compile(r"^(fig|tbl)-(?!.*caption-)")
    captions = {found["id"]: text(one) for one in main("figcaption") if (found := one.find_parent(id=floats))}
    links = [(resolved(page, a["href"]), text(a)) for a in main("a", href=re.compile("^(?!#cb|#fn)."))]
    return Seen(captions, [(h.name, text(h)) for h in main(["h1", "h2", "h3"])], links, main.get_text())


def resolved(page: str, href: str) -> str:
    if "://" in href:
        return href
    path, _, fragment = href.partition("#")
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else f"{page}.html"
    return f"{path}#{fragment}" if fragment else path


def test_every_chapter_is_a_page_that_says_it_is_a_preview(rendered_book: Path) -> None:
    found = {str(path.relative_to(rendered_book).with_suffix("")) for path in rendered_book.rglob("*.html")}
    assert found == set(PAGES)
    for page in PAGES:
        assert pages.NOTE in (rendered_book / f"{page}.html").read_text(encoding="utf-8")


def test_captions_are_numbered_by_chapter(rendered_book: Path) -> None:
    assert seen(rendered_book, "index").captions == {"tbl-headline": "Table 1: The headline, from one place"}
    assert seen(rendered_book, "book/methods").captions == {
        "fig-beat": "Figure 2.1: A beat, drawn", "fig-second": "Figure 2.2: The second figure, in a div",
    }  # fmt: skip
    assert seen(rendered_book, "book/experiments/heartbeat/weighted").captions == {
        "fig-heartbeat-weighted-curves": "Figure 4.1: Loss: the training part",
        "tbl-heartbeat-weighted-scores": "Table 4.1: Scores per class",
        "fig-heartbeat-weighted-beat": "Figure 4.2: A beat after Moody and Mark (2001)",
    }


def test_sections_are_numbered(rendered_book: Path) -> None:
    assert seen(rendered_book, "book/methods").headings == [
        ("h1", "2 Methods"), ("h2", "2.1 The network"), ("h2", "2.2 The loss"), ("h3", "2.2.1 In detail"),
        ("h3", "Unnumbered"),
    ]  # fmt: skip


def test_references_reach_over_the_book(rendered_book: Path) -> None:
    index, notes = seen(rendered_book, "index").links, seen(rendered_book, "book/notes").links
    assert ("book/experiments/heartbeat/baseline.html", "3 Baseline") in index
    assert ("book/experiments/heartbeat/baseline.html#tbl-heartbeat-baseline-scores", "Table 3.1") in index
    assert ("book/methods.html#sec-detail", "Section 2.2.1") in notes
    assert ("book/experiments/heartbeat/weighted.html#fig-heartbeat-weighted-beat", "Figure 4.2") in notes


def test_links_between_chapters_lead_to_pages(rendered_book: Path) -> None:
    links = seen(rendered_book, "book/methods").links
    assert ("book/data.html#sec-records", "the records") in links
    assert ("book/experiments/heartbeat/baseline.html", "an experiment") in links
    assert (rendered_book / "book" / "results" / "heartbeat" / "baseline.json").is_file()


def test_citations_link_to_the_references_chapter(rendered_book: Path) -> None:
    targets = [target for target, _ in seen(rendered_book, "book/methods").links]
    assert "book/references.html#ref-kachuee2018" in targets
    text = (rendered_book / "book" / "references.html").read_text(encoding="utf-8")
    assert re.findall(r'id="ref-(\w+)"', text) == ["dechazal2004", "kachuee2018", "moody2001"]


def test_hidden_cells_and_option_lines_are_not_shown(rendered_book: Path) -> None:
    text = (rendered_book / "book/experiments/heartbeat/baseline.html").read_text(encoding="utf-8")
    for hidden in ("injected", "parameters", "removed", "hidden output", "hidden_code", "#|", "label:", "papermill"):
        assert hidden not in text
    assert text.count('<details class="code">') == 3


def test_figures_of_a_notebook_are_files(rendered_book: Path) -> None:
    folder = rendered_book / "book/experiments/heartbeat/baseline_files"
    assert sorted(path.name for path in folder.iterdir()) == [
        "fig-heartbeat-baseline-beat-1.svg", "fig-heartbeat-baseline-curves-1.png",
    ]  # fmt: skip
    assert 'alt="Two curves"' in folder.with_name("baseline.html").read_text(encoding="utf-8")


def test_shortcodes_are_filled_in_and_callouts_titled(rendered_book: Path) -> None:
    index, data = seen(rendered_book, "index").text, seen(rendered_book, "book/data").text
    assert "The macro-F1 of the baseline is 0.914 over 109 494 beats" in index
    assert "0.914 stays code" in index
    assert "{{< var a.b >}} is not" in index
    assert "Mind the leads" in data
    assert ("h2", "Two patients, one name") not in seen(rendered_book, "book/data").headings


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("book/notes.qmd", "", "no such file"),
        ("book/data.qmd", "{{< include nowhere.md >}}", "include nowhere.md"),
        ("book/experiments/heartbeat/baseline.ipynb", "{}", "no cells"),
    ],
)
def test_a_broken_source_is_named_and_the_old_book_stays(
    fixture_book: Path, file: str, content: str, message: str
) -> None:
    old = fixture_book / "_book" / "index.html"
    files.write(old, "old")
    (fixture_book / file).unlink()
    if content:
        files.write(fixture_book / file, content)
    with pytest.raises(UserError, match=rf"{re.escape(Path(file).name)}.*{message}"):
        pages.render(fixture_book, old.parent)
    assert [path.name for path in old.parent.iterdir()] == ["index.html"] and old.read_text() == "old"


def test_metadata_files_add_chapters(fixture_book: Path) -> None:
    (fixture_book / "_quarto.yml").write_text("book: {chapters: [index.qmd]}\nmetadata-files: [more.yml, none.yml]\n")
    (fixture_book / "more.yml").write_text("book: {chapters: [index.qmd, {part: P, chapters: [book/data.qmd]}]}\n")
    assert chapters.listed(fixture_book) == [
        chapters.Chapter("index.qmd"), chapters.Chapter("book/data.qmd", part="P"),
    ]  # fmt: skip


def wording(target: str, text: str) -> tuple[str, str]:
    """A link to compare; how many authors a citation names depends on the style that each Pandoc brings along."""
    return target, "" if "#ref-" in target else text


@pytest.mark.quarto
@pytest.mark.skipif(shutil.which("quarto") is None, reason="quarto is not on PATH")
def test_numbers_and_links_are_those_of_quarto(fixture_book: Path) -> None:
    quarto = fixture_book / "_book"
    subprocess.run(["quarto", "render", "--to", "html"], cwd=fixture_book, check=True, capture_output=True, timeout=300)
    pandoc = pages.render(fixture_book, fixture_book / "_preview").parent
    links = 0
    for page in PAGES:
        ours, theirs = seen(pandoc, page), seen(quarto, page)
        assert ours.captions == theirs.captions, page
        assert [h for h in ours.headings if h[0] != "h1"] == [h for h in theirs.headings if h[0] != "h1"], page
        assert [wording(*link) for link in ours.links] == [wording(*link) for link in theirs.links], page
        links += len(ours.links)
    assert links > 40
    assert check(fixture_book, quarto) == []
    assert check(fixture_book, pandoc) == []
