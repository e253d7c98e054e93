"""No page of the book moves unseen: its tables and its figures' data are those of its snapshot."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ecglib import config
from ecglib.experiment import record as results
from tests.report import snapshots

LOAD = cache(results.load)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of where the process stands may be in a snapshot. Every result is read once, and shown many times."""
    monkeypatch.setattr(results, "load", LOAD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ECGLIB_ROOT", str(tmp_path))
    monkeypatch.setenv("ECGLIB_DATA", str(tmp_path))
    monkeypatch.setenv("TZ", "Asia/Kathmandu")


@pytest.mark.parametrize("kind", snapshots.kinds())
def test_no_page_moves(kind: str) -> None:
    for name in snapshots.pages(kind):
        now, file = snapshots.snapshot(name).splitlines(), snapshots.path_of(name)
        assert now == file.read_text(encoding="utf-8").splitlines(), f"{name}; if meant to: {snapshots.RENEW}"


def test_every_snapshot_has_its_page() -> None:
    strays = snapshots.strays()
    assert not strays, f"no such page: {strays}; {snapshots.RENEW} removes them"


def test_what_has_no_snapshot_is_there() -> None:
    with snapshots.at_home():
        assert set(snapshots.NO_RECORD_HOLDS) <= set(config.experiments())


# --- what a snapshot tells --------------------------------------------------------------------------------------------

VALUES = np.linspace(0, 1, 12).reshape(3, 4)


def drawn(change: Callable[[Axes], object] = lambda ax: None, values: np.ndarray = VALUES) -> str:
    """A figure with one artist of each kind, changed or not."""
    figure = Figure()
    ax = figure.subplots()
    ax.bar(["N", "S", "V"], [1, 2, 3], color=["red", "green", "blue"], label="bars")
    ax.plot(values.ravel(), label="line")
    ax.plot([3], [4], "o")
    ax.scatter(values[0], values[1])
    ax.fill_between(range(12), values.ravel(), 2)
    ax.pcolormesh(values)
    ax.imshow(values)
    ax.stairs(values[0])
    ax.text(0.5, 0.25, "cell")
    ax.set(title="title", xlabel="epoch", xlim=(0, 5), xticks=range(3), xticklabels=["a", "b", "c"])
    figure.legend()
    figure.suptitle("all")
    change(ax)
    return "\n".join(snapshots.figure_lines(figure))


@pytest.mark.parametrize(
    "change",
    [
        lambda ax: ax.patches[0].set_height(2),
        lambda ax: ax.lines[0].set_ydata(ax.lines[0].get_ydata() + 2e-6 * np.eye(12)[5]),
        lambda ax: ax.collections[1].set_verts([VALUES.reshape(6, 2)]),
        lambda ax: ax.collections[2].set_array(VALUES[::-1]),
        lambda ax: ax.images[0].set_data(VALUES[::-1]),
        lambda ax: ax.patches[-1].set_data(VALUES[1]),
        lambda ax: ax.set_xticklabels(["a", "c", "b"]),
        lambda ax: ax.set_yscale("log"),
        lambda ax: ax.set_axis_off(),
        lambda ax: ax.figure.legends[0].get_texts()[0].set_text("other"),
    ],
)
def test_a_snapshot_tells_what_moved_in_a_figure(change: Callable[[Axes], object]) -> None:
    before, after = drawn().splitlines(), drawn(change).splitlines()
    assert 1 <= len(set(before) ^ set(after)) <= 4, "one artist or axis moved, and so does its line alone"


def test_what_processors_disagree_on_is_not_in_a_snapshot() -> None:
    assert drawn(values=VALUES * (1 + 1e-12)) == drawn()


def test_an_artist_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(TypeError, match="Table"):
        drawn(lambda ax: ax.table([["a"]]))


def test_a_wider_cell_moves_its_own_line_alone() -> None:
    narrow = "| a   |   b |\n|:----|----:|\n| 1   |   2 |"
    wide = "| a    |   b |\n|:-----|----:|\n| 1    |   2 |\n| 1000 |   2 |"
    assert snapshots.compact(wide) == snapshots.compact(narrow) + "\n| 1000 | 2 |"


# --- files ------------------------------------------------------------------------------------------------------------


def test_one_command_renews_and_removes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "FOLDER", tmp_path)
    monkeypatch.setattr(snapshots, "kinds", lambda: ["headline", "infarction"])
    monkeypatch.setattr(snapshots, "pages", lambda kind: [kind] if kind == "headline" else ["infarction/scratch"])
    shown = {"headline": "| 1 |\n| 2 |", "infarction/scratch": "text"}
    monkeypatch.setattr(snapshots, "snapshot", lambda name: shown[name])
    assert {path.name for path in snapshots.write()} == {"headline.md", "scratch.md"}
    assert snapshots.write() == []
    shown["headline"] = "| 1 |\n| 3 |"
    gone = tmp_path / "heartbeat" / "gone.md"
    gone.parent.mkdir()
    gone.write_text("old")
    assert snapshots.strays() == [gone]
    assert set(snapshots.write()) == {gone, tmp_path / "headline.md"} and not gone.exists()
