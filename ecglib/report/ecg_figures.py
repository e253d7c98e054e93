"""Figures of 12-lead recordings and of several labels at once, in the look of `figures`."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator
from numpy.typing import NDArray

from ecglib.data.records import LEADS
from ecglib.experiment.record import Record, card
from ecglib.report.figures import marked, panels, style, subplots
from ecglib.report.tables import count, number

Samples = NDArray[np.floating[Any]]
MM_PER_S: Final = 25.0
MM_PER_MV: Final = 10.0
ROW_MM: Final = 30.0
"""Distance of two rows of an ECG; a lead is clipped where it would leave its row and half of the next."""
SECONDS: Final = 10.0
LAYOUT: Final = (("I", "AVR", "V1", "V4"), ("II", "AVL", "V2", "V5"), ("III", "AVF", "V3", "V6"))
NAMES: Final = {"AVR": "aVR", "AVL": "aVL", "AVF": "aVF"}
_PAPER, _FINE, _COARSE, _TRACE, _SHADE = "#FFF8F6", "#F6D5CF", "#E79A8D", "#1A1A1A", "#3B6FB6"
_PULSE_MM: Final = 5.0


def ecg_paper(signals: Samples, fs: float, *, attention: Samples | None = None, title: str = "") -> Figure:
    """The first ten seconds of a recording on ECG paper: 25 mm/s, 10 mm/mV, three rows of four leads and lead II below.

    `signals` are `(12, samples)` in mV, in standard order, `fs` samples a second; a lead that is 0 throughout was not
    recorded. `attention` `(samples,)` are weights of the samples that add up to 1: the paper is shaded the darker the
    more a sample weighs. Both axes are in mm, so that the paper is true whatever its size on the page.
    """
    with style():
        # Half a row above and below, for what leaves the first row and the last.
        width, height = MM_PER_S * SECONDS + 2 * _PULSE_MM, ROW_MM * (len(LAYOUT) + 2)
        figure, axes = subplots(1, 1, height=6.4 * height / width + 0.35)
        ax = axes[0, 0]
        _grid(ax, width, height)
        for row, names in enumerate((*LAYOUT, ("II",))):
            middle, piece = height - ROW_MM * (row + 1), SECONDS / len(names)
            pulse = middle + MM_PER_MV * np.array([0, 0, 1, 1, 0, 0])  # 1 mV over 0.1 s
            ax.plot([1.0, 1.5, 1.5, 4.0, 4.0, 4.5], pulse, color=_TRACE, linewidth=0.6)
            for column, name in enumerate(names):
                start = column * piece
                left, part = _PULSE_MM + MM_PER_S * start, slice(round(start * fs), round((start + piece) * fs))
                weights = None if attention is None else attention[part] * len(attention)
                _lead(ax, name, signals[LEADS.index(name)], part, fs, left, middle, weights)
        said = "25 mm/s, 10 mm/mV" + ("; the darker, the more attention" if attention is not None else "")
        ax.set_xlabel(said, fontsize=8)
        ax.set_title(title, fontsize=9)
        return figure


def _grid(ax: Axes, width: float, height: float) -> None:
    ax.set(xlim=(0, width), ylim=(0, height), aspect="equal", facecolor=_PAPER)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MultipleLocator(5))
        axis.set_minor_locator(MultipleLocator(1))
        axis.set_tick_params(which="both", length=0, labelleft=False, labelbottom=False)
    ax.grid(which="minor", color=_FINE, linewidth=0.2)
    ax.grid(which="major", color=_COARSE, linewidth=0.4)
    ax.set_axisbelow(True)


def _lead(
    ax: Axes, name: str, lead: Samples, part: slice, fs: float, left: float, middle: float, weights: Samples | None
) -> None:
    """Part of a lead from `left` on, shaded by the weights of its samples, multiples of their mean."""
    ax.text(left + 0.6, middle + 0.36 * ROW_MM, NAMES.get(name, name), fontsize=7, color=_TRACE, va="center")
    if not lead.any():
        ax.text(left + 0.6, middle, "not recorded", fontsize=6, color=_TRACE, va="center")
        return
    mm = MM_PER_MV * lead[part]
    if not len(mm):
        return
    x = left + MM_PER_S * np.arange(len(mm)) / fs
    if weights is not None:  # four times the mean is the darkest
        colour = to_rgba_array([_SHADE] * len(weights), 0.6 * np.clip(weights / 4.0, 0, 1))[None]
        bounds = (left, x[-1], middle - 0.45 * ROW_MM, middle + 0.45 * ROW_MM)
        ax.imshow(colour, extent=bounds, aspect="equal", zorder=1.5, interpolation="bilinear")
    ax.plot(x, middle + np.clip(mm, -ROW_MM, ROW_MM), color=_TRACE, linewidth=0.55)


def one_vs_rest(record: Record) -> Figure:
    """A confusion matrix of every label against the rest, counts over all seeds; colours are shares of the true row."""
    cells = np.asarray(record.confusion).sum(axis=0).reshape(-1, 2, 2)  # tn, fp, fn, tp
    with style():
        figure, axes = panels(len(cells), min(4, len(cells)), 1.75)
        for ax, name, counts in zip(axes, record.classes, cells, strict=True):
            shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
            ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
            for (row, column), share in np.ndenumerate(shares):
                text, colour = f"{count(counts[row, column])}\n{number(share, 2)}", "white" if share > 0.55 else _TRACE
                ax.text(column, row, text, ha="center", va="center", fontsize=7.5, color=colour)
            ax.set_xticks((0, 1), ("no", "yes"))
            ax.set_yticks((0, 1), ("no", "yes"))
            ax.tick_params(length=0, labelsize=7.5)
            ax.set_title(name, fontsize=9)
        figure.supxlabel("label given", fontsize=9)
        figure.supylabel("label of the recording", fontsize=9)
        return marked(figure, record)


def label_reliability(record: Record) -> Figure:
    """Share of recordings that have a label against the probability given, by bins, over all seeds."""
    found = card(record).reliability
    with style():
        figure, axes = panels(len(found), min(4, len(found)) or 1, 1.75, 0.2, sharex=True, sharey=True)
        if not found:
            figure.axes[0].text(0.5, 0.5, "no probabilities, so no calibration", ha="center", va="center")
        for ax, (name, bins) in zip(axes, found.items(), strict=True):
            ax.plot((0, 1), (0, 1), color="#8A8A8A", linewidth=0.8, linestyle="--")
            some = [i for i, n in enumerate(bins["n"]) if n]
            size = [8 + 60 * float(bins["n"][i] or 0) / max(float(n or 0) for n in bins["n"]) for i in some]
            x, y = (np.array([bins[key][i] for i in some], dtype=np.float64) for key in ("predicted", "observed"))
            ax.plot(x, y, color="#0072B2", linewidth=1)
            ax.scatter(x, y, s=size, color="#0072B2", zorder=3)
            ece = record.per_class[name].get("ece")
            ax.set_title(f"{name}, ECE {number(None if ece is None else ece.mean)}", fontsize=8)
            ax.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
            ax.tick_params(labelsize=7.5)
        figure.supxlabel("probability given", fontsize=9)
        figure.supylabel("share with the label", fontsize=9)
        return marked(figure, record)
