"""The book's prose: the syntax that both renderers share, and no number typed by hand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

CALLOUTS: Final = {f".callout-{kind}" for kind in ("note", "tip", "warning", "important", "caution")}
SHORTCODES: Final = {"include", "var"}

CODE_BLOCK: Final = re.compile(
    r"^ *(?P<fence>`{3,}|~{3,})(?P<info>[^\n`]*)\n.*?(?:^ *(?P=fence)[`~]* *$|\Z)", re.M | re.S
)
CODE_SPAN: Final = re.compile(r"(?<!`)(`+)(?!`)(?P<code>(?:(?!\n\s*\n).)+?)(?<!`)\1(?!`)", re.S)
COMMENT: Final = re.compile(r"<!--.*?-->", re.S)
MATH: Final = re.compile(r"\$\$.+?\$\$|(?<![\\$\w])\$(?=\S)(?:[^$\\]|\\.)+?(?<=\S)\$(?!\d)", re.S)
ESCAPED: Final = re.compile(r"\{\{\{<.*?>\}\}\}")
SHORTCODE: Final = re.compile(r"\{\{<\s*(?P<name>/?[\w-]*)(?P<rest>.*?)>\}\}")
URL: Final = re.compile(r"<(?:https?://|mailto:)[^>\s]*>|https?://[^\s)\]>]+")
TARGET: Final = re.compile(r"(?<=\])\([^()\s]*(?:\s+\"[^\"\n]*\")?\)")
CITED: Final = re.compile(r"\[[^\[\]]*@[^\[\]]*\]|(?<![\w\\])-?@[\w:.#$%&+?<>~/-]*\w(?:\s\[[^\[\]]*\])?")
BRACES: Final = re.compile(r"\{[^{}\n]*\}")
ATTRIBUTE: Final = re.compile(r"""[.#]?[\w-]+(?:=(?:"[^"]*"|'[^']*'|[^\s}]+))?|=\w+|-""")

FENCE: Final = re.compile(r"^[ \t]*:{3,}[ \t]*(?P<rest>.*?)[ \t]*:*$", re.M)
IMAGE: Final = re.compile(r"!\[(?:[^\[\]]|\[[^\[\]]*\])*\]\([^()\s]*(?:\s+\"[^\"\n]*\")?\)(?P<attributes>\{[^{}]*\})")
CAPTION: Final = re.compile(r"^(?:Table)?:[ \t]+\S(?:.|\n(?!\s*\n))*?(?P<attributes>\{[^{}\n]*\})[ \t]*$", re.M)
HEADING: Final = re.compile(r"^#{1,6}[ \t]+[^\n]*?(?P<attributes>\{[^{}\n]*\})[ \t]*$", re.M)
ATTACHED: Final = re.compile(r"(?:(?<=[\])`])\{[^{}]*\}|\{\s*[.#=][^{}]*\}|\{[^{}\n]*\w=[^{}\n]*\})")
HTML: Final = re.compile(r"</?[A-Za-z][\w-]*(?:\s[^<>]*)?/?>")
LATEX: Final = re.compile(r"(?<!\\)\\[A-Za-z]+")

NUMBER: Final = re.compile(
    r"(?<![\w.])(?:(?P<year>(?:19|20)\d\d(?!\d|\s?%|\.\d))"
    r"|\d{1,3}(?:[, \u00a0\u2009\u202f]\d{3})+(?!\d)(?:\.\d+)?(?:\s?%)?"
    r"|\d+\.\d+(?:\s?%)?|\d+\s?(?:%|per\s?cent\b)|\d{4,})"
)
SPANNED: Final = re.compile(r"(?<![\w.])(?:0?\.\d+(?!\.?\d)(?:\s?%)?|\d+(?:\.\d+)?\s?%)")
CONSTANTS: Final = {"0.998", "0.003", "0.01", "0.1", "0.6", "0.9"}
"""Decimals below 1 that a code span may hold: the default decay of the moving average, learning rate, weight decay and
validation fraction, the seconds of the centred cut after the R peak, and the share of the mean RR interval that an
interval reaches which is not premature."""
LEVEL: Final = re.compile(r"\b95\s?%(?=\s+(?:confidence\s+)?intervals?\b)")
REFERENCE: Final = re.compile(r"(?<![\w\\@/])@\{?(?P<key>\w(?:[\w:.#$%&+?<>~/-]*\w)?)")
LABEL: Final = re.compile(r"\{[^{}\n]*?#(?P<label>(?:fig|tbl|sec)-[^\s{}]+)[^{}\n]*\}")


class Found(NamedTuple):
    """A fault at an offset of a text."""

    offset: int
    message: str


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", match[0])


def without_code(text: str) -> str:
    """The text with code, math and comments blanked out; offsets and lines stay."""
    for pattern in (COMMENT, CODE_BLOCK, CODE_SPAN, MATH):
        text = pattern.sub(_blank, text)
    return text


def references(text: str) -> Iterator[tuple[int, str]]:
    """Offset and key of each `@key`: a cross-reference or a citation."""
    text = URL.sub(_blank, TARGET.sub(_blank, without_code(text)))
    for match in REFERENCE.finditer(text):
        yield match.start(), match["key"]


def labels(text: str) -> Iterator[tuple[int, str, bool]]:
    """Offset, name and whether it can be referred to, of each `{#sec-…}`, `{#fig-…}`, `{#tbl-…}`."""
    for match in LABEL.finditer(without_code(text)):
        numbered = ".unnumbered" not in match[0] and " -" not in match[0]
        yield match.start(), match["label"], numbered


def shortcodes(text: str) -> Iterator[tuple[int, str, str]]:
    """Offset, name and argument of each shortcode; in code too, where both renderers resolve them."""
    for match in SHORTCODE.finditer(ESCAPED.sub(_blank, text)):
        yield match.start(), match["name"], match["rest"].strip()


def typed_numbers(text: str) -> Iterator[Found]:
    """Numbers in prose that look like a result.

    The rule: a decimal with a point (0.93), a percentage (95 %), thousands (1 234, 1,234), or four digits and more that
    are no year from 1900 to 2099. They come from `{{< var … >}}` or from a notebook's output, so that they follow the
    results. Free are code and code spans (a constant of a method may stand as `0.5`), math, addresses, citations,
    shortcodes, attributes and comments, and the level in "95 % interval". A decimal below 1 or a percentage in a code
    span looks like a result all the same, unless it is one of `CONSTANTS`.
    """
    for span in CODE_SPAN.finditer(CODE_BLOCK.sub(_blank, COMMENT.sub(_blank, text))):
        for match in SPANNED.finditer(span["code"]):
            if match[0] not in CONSTANTS:
                yield Found(
                    span.start("code") + match.start(),
                    f"typed number {match[0]!r} in a code span: take a result from {{{{< var … >}}}} or from a "
                    "notebook's output, and add a constant of the method to check_text.CONSTANTS",
                )
    text = without_code(text)
    for pattern in (ESCAPED, SHORTCODE, URL, TARGET, CITED, BRACES, LEVEL):
        text = pattern.sub(_blank, text)
    for match in NUMBER.finditer(text):
        if not match["year"]:
            yield Found(
                match.start(),
                f"typed number {match[0]!r} in the prose: take it from {{{{< var … >}}}} or from a notebook's output "
                "(a constant of the method may stand in a code span, a year is free)",
            )


def _div(rest: str) -> str | None:
    """What is wrong with the opening of a fenced div."""
    if not (rest.startswith("{") and rest.endswith("}")):
        return f"the div `::: {rest}`: write its class in braces, `::: {{.callout-note}}`"
    tokens = ATTRIBUTE.findall(rest.strip("{} "))
    keys = {token.partition("=")[0] for token in tokens if "=" in token}
    names = [token for token in tokens if "=" not in token]
    if len(names) == 1:
        if names[0] in CALLOUTS and keys <= {"title", "collapse"}:
            return None
        if not keys and (names[0] in {".panel-tabset", "#refs"} or names[0].startswith(("#fig-", "#tbl-"))):
            return None
    return f"the div `::: {rest}`: only callouts, tabsets, figures, tables and the list of references"


def _attributes(text: str) -> Iterator[Found]:
    """Attributes beyond labels; each kind of place is blanked when it has been looked at."""
    places: list[tuple[re.Pattern[str], str, Callable[[str], bool]]] = [
        (HEADING, "a heading", lambda t: t.startswith("#") or t in {".unnumbered", ".unlisted", "-"}),
        (IMAGE, "an image", lambda t: t.startswith("#fig-") or t.split("=")[0] in {"fig-alt", "width", "height"}),
        (CAPTION, "a table's caption", lambda t: t.startswith("#tbl-")),
    ]
    for pattern, name, allowed in places:
        for match in pattern.finditer(text):
            start, end = match.span("attributes")
            if wrong := [token for token in ATTRIBUTE.findall(text[start + 1 : end - 1]) if not allowed(token)]:
                yield Found(start, f"`{' '.join(wrong)}` on {name}: the two renderers don't share it")
            text = text[:start] + " " * (end - start) + text[end:]
    for match in ATTACHED.finditer(text):
        yield Found(match.start(), f"attributes `{match[0]}`: only headings, images, table captions and divs have them")


def _code(text: str) -> Iterator[Found]:
    for match in CODE_BLOCK.finditer(COMMENT.sub(_blank, text)):
        info = match["info"].strip()
        if info.startswith("{") and not info.startswith("{."):
            kind = "a raw block" if info.startswith("{=") else "an executable block"
            yield Found(match.start(), f"{kind} `{info}`: run code in a notebook, and write the text in Markdown")
    for match in CODE_SPAN.finditer(CODE_BLOCK.sub(_blank, text)):
        if re.match(r"\{?(?:python|r|julia)\}? ", match["code"]):
            yield Found(match.start(), f"inline code to run {match[0]}: take the number from {{{{< var … >}}}}")


def foreign_syntax(text: str) -> Iterator[Found]:
    """Syntax beyond headings, cross-references, citations, callouts, tabsets, include and var, tables, math, lists,
    links and images."""
    yield from _code(text)
    for offset, name, _ in shortcodes(text):
        if name not in SHORTCODES:
            yield Found(offset, f"the shortcode {{{{< {name} >}}}}: only include and var are shared by the renderers")
    text = ESCAPED.sub(_blank, without_code(text))
    text = URL.sub(_blank, SHORTCODE.sub(_blank, text))
    depth = 0
    for match in FENCE.finditer(text):
        depth += 1 if match["rest"] else -1
        if match["rest"] and (wrong := _div(match["rest"])):
            yield Found(match.start(), wrong)
        if depth < 0:
            yield Found(match.start(), "`:::` closes a div that was never opened")
            depth = 0
    if depth:
        yield Found(len(text.rstrip()), f"{depth} div(s) never closed: `:::` is missing")
    text = FENCE.sub(_blank, text)
    yield from _attributes(text)
    for match in HTML.finditer(text):
        yield Found(match.start(), f"raw HTML {match[0]}: write it in Markdown")
    for match in LATEX.finditer(text):
        yield Found(match.start(), f"raw LaTeX {match[0]}: only within $…$")
    for match in list(re.finditer(r"^# ", text, re.M))[1:]:
        yield Found(match.start(), "a second heading of level 1: a chapter has one, its title")
