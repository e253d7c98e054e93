"""What the book's pages show, made from the committed reference results alone, as text that git compares.

A snapshot is made by the page's own notebook: its cells run in their order, and what each shows is written down, a
table or sentence as it is, a figure as a line for each of its artists. So a page can't move unseen, and code may:
nothing here names a function that makes a table.

`python tests/report/snapshots.py --write` renews the files in `tests/report/snapshots/`; `git diff` tells what moved.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import Collection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.text import Text
from matplotlib.ticker import LogFormatter, ScalarFormatter

from ecglib import config, paths
from ecglib.experiment import record as results
from ecglib.report import tables
from ecglib.report.pages import shown

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = Path(__file__).with_suffix("")
RENEW: Final = "python tests/report/snapshots.py --write"
NO_RECORD_HOLDS: Final = {"explore/mitdb": "the whole page is drawn from the ECG records"}
"""Pages without a snapshot: what they show is in no reference result."""
IN_FULL: Final = 6
"""So many numbers of an artist are written out; of more, a summary."""


@contextmanager
def at_home() -> Iterator[None]:
    """Paths point to this repository, wherever the process stands, and there are no data, nor can any be put there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECGLIB_ROOT", str(ROOT))
        patch.setenv("ECGLIB_DATA", os.devnull)
        yield


# --- pages ------------------------------------------------------------------------------------------------------------


def kinds() -> list[str]:
    """The first page, and the kinds of experiments: the names of their notebooks."""
    return ["headline", *sorted(config.MODELS)]


def pages(kind: str) -> list[str]:
    """Names of a kind's snapshots: each experiment whose page shows a result."""
    if kind == "headline":
        return [kind]
    with at_home():
        trained = issubclass(config.MODELS[kind], config.TrainedParameters)
        mine = [name for name in config.experiments() if name.startswith(f"{kind}/") and name not in NO_RECORD_HOLDS]
        return [name for name in mine if not trained or paths.reference(name).is_file()]


def snapshot(name: str) -> str:
    """What a page shows, as one text: the label of every cell that shows something, and what that is."""
    with at_home():
        if name == "headline":
            return compact(tables.headline(results.references()))
        parts = []
        for cell, value in shown(config.load(name, profile="full")):
            if value is not None and (text := _text(value)):
                label = re.search(r"^#\| label: (\S+)", cell.source, re.MULTILINE)
                parts.append(f"## {label[1] if label else 'text'}\n\n{text}")
        return "\n\n".join(parts)


def _text(shown: Any) -> str:
    return "\n".join(figure_lines(shown)) if isinstance(shown, Figure) else compact(shown._repr_markdown_())


def compact(markdown: str) -> str:
    """Pipe tables without the spaces that align them in the source, so that one cell's width moves no other line."""
    lines = markdown.strip().splitlines()
    return "\n".join(re.sub("-{2,}", "--", re.sub(" +", " ", line)) if line.startswith("|") else line for line in lines)


# --- figures ----------------------------------------------------------------------------------------------------------


def figure_lines(figure: Figure) -> list[str]:
    """What a figure shows, as drawn: its size, its panels with their axes, and a line for each artist.

    Raises
    ------
    TypeError
        When it holds an artist of a kind that is not known here.
    """
    lines = [f"figure {_listed(figure.get_size_inches())} in"]
    for child in figure.get_children():
        if isinstance(child, Axes):
            lines += _panel(child)
        elif child is not figure.patch:
            lines += _artists([child])
    return lines


def _panel(panel: Axes) -> list[str]:
    titles = [_quoted(panel.get_title(place)) for place in ("left", "center", "right") if panel.get_title(place)]
    lines = [" ".join(["panel", *titles, *([] if panel.axison else ["without axes"])])]
    if panel.axison:
        for name, axis, limits in (("x", panel.xaxis, panel.get_xlim()), ("y", panel.yaxis, panel.get_ylim())):
            scale = f"{axis.get_scale()} {_listed(limits)}"
            lines.append(f"  {name} {_quoted(axis.get_label_text())} {scale}{_ticks(axis)}")
    legend = panel.get_legend()
    inside = [*panel.lines, *panel.collections, *panel.patches, *panel.images, *panel.texts, *panel.artists,
              *panel.tables, *panel.child_axes, *([legend] if legend else [])]  # fmt: skip
    return lines + [f"  {line}" for line in _artists(inside)]


def _ticks(axis: Axis) -> str:
    """Labels that were set; numbers that follow from the limits are left out."""
    if isinstance(axis.get_major_formatter(), (ScalarFormatter, LogFormatter)):
        return ""
    shown = " | ".join(label.get_text() for label in axis.get_ticklabels())
    return f", ticks {shown or 'none'}"


def _artists(artists: Sequence[Artist]) -> Iterator[str]:
    """A line for each, texts of one height together, as of a heat map's row."""
    for height, group in groupby(artists, lambda a: a.get_position()[1] if isinstance(a, Text) else None):
        if height is None:
            yield from map(_artist, group)
        elif texts := [one for one in group if isinstance(one, Text) and one.get_text()]:
            said = " | ".join(_quoted(one.get_text()) for one in texts)
            yield f"text y {_number(height)}, x {_listed(one.get_position()[0] for one in texts)}: {said}"


def _artist(artist: Artist) -> str:
    if isinstance(artist, Legend):
        return f"legend {' | '.join(text.get_text() for text in artist.get_texts())}"
    kind, look, numbers = _drawn(artist)
    label = str(artist.get_label())
    name = [] if label.startswith("_") else [_quoted(label)]
    said = "; ".join(f"{which} {_summary(values)}" for which, values in numbers.items())
    return f"{' '.join([kind, *name, *filter(None, look)])}: {said}"


def _drawn(artist: Artist) -> tuple[str, list[str], dict[str, Any]]:
    """An artist's kind, its look, and the numbers that it draws."""
    if isinstance(artist, Line2D):
        marks = [str(mark) for mark in (artist.get_linestyle(), artist.get_marker()) if mark not in (None, "None", "")]
        numbers = {"x": artist.get_xdata(orig=False), "y": artist.get_ydata(orig=False)}
        return "line", [to_hex(artist.get_color()), *marks], numbers
    if isinstance(artist, AxesImage):
        return "image", [], {"values": artist.get_array(), "extent": artist.get_extent()}
    if isinstance(artist, Rectangle):
        numbers = {"x, y, width, height": [*artist.get_xy(), artist.get_width(), artist.get_height()]}
        return "bar", [to_hex(artist.get_facecolor())], numbers
    if isinstance(artist, Patch):
        outline = artist.get_patch_transform().transform(artist.get_path().vertices)
        return "patch", [to_hex(artist.get_facecolor())], {"outline": outline}
    if isinstance(artist, Collection):
        look = [to_hex(colour) for colour in artist.get_facecolor()[:1]]
        if isinstance(artist, PathCollection):
            return "points", look, {"at": artist.get_offsets(), "size": artist.get_sizes()}
        if artist.get_array() is not None:
            return "cells", [], {"values": artist.get_array()}
        return "area", look, {"outline": np.concatenate([path.vertices for path in artist.get_paths()])}
    raise TypeError(f"{type(artist).__name__}: say in {Path(__file__).name} what numbers such an artist draws")


def _summary(values: Any) -> str:
    """The numbers; of many their shape, first and last, smallest and largest, sum, and a digest of all."""
    array = np.ma.filled(np.ma.asarray(values, dtype=np.float64), np.nan)
    if array.size <= IN_FULL:
        return _listed(array.ravel()) or "none"
    digest = hashlib.sha256(_listed(array.ravel()).encode()).hexdigest()[:8]
    shape, known = "×".join(map(str, array.shape)), array[np.isfinite(array)]
    said = [f"{shape} values {_number(array.flat[0])} … {_number(array.flat[-1])}"]
    if known.size:
        said += [f"{_number(known.min())} to {_number(known.max())}", f"sum {_number(math.fsum(known))}"]
    return ", ".join([*said, digest])


def _listed(values: Any) -> str:
    return ", ".join(map(_number, values))


def _number(value: float) -> str:
    """Six digits, on which processors agree; no negative zero."""
    return f"{float(value) + 0.0:.6g}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\n", "⏎") + '"'


# --- files ------------------------------------------------------------------------------------------------------------


def path_of(name: str) -> Path:
    return FOLDER / f"{name}.md"


def strays() -> list[Path]:
    """Files of pages that are no more."""
    wanted = {path_of(name) for kind in kinds() for name in pages(kind)}
    return sorted({path for path in FOLDER.rglob("*") if path.is_file()} - wanted)


def write() -> list[Path]:
    """Renew all snapshots; the files that changed or went."""
    changed = strays()
    for path in changed:
        path.unlink()
    for name in (name for kind in kinds() for name in pages(kind)):
        path, text = path_of(name), snapshot(name) + "\n"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            changed.append(path)
    return changed


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(f"usage: {RENEW}")
    print(*write(), sep="\n")
