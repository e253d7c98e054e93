"""Figures of a search: its trials one after another, their curves, and what the good ones have in common."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import NDArray

from ecglib.report.figures import style, subplots
from ecglib.report.names import NOT_RUN, metric_name, parameter_name
from ecglib.report.searches import Shown, quarters
from ecglib.tuning.search import Trial
from ecglib.tuning.space import Dimension

STATES: Final = {"finished": ("#0072B2", "o"), "stopped": ("#E69F00", "v"), "failed": ("#4D4D4D", "x")}
"""State of a trial -> colour and marker."""
TITLES: Final = {"finished": "run in full", "stopped": "stopped early", "failed": "failed"}
_INK, _GREY, _GRID = "#222222", "#9A9A9A", "#DDDDDD"
TICKS: Final = (
    0.5, 0.9, 0.99, 0.999, 0.2, 0.7, 0.8, 0.95, 0.98, 0.995, 0.6, 0.85, 0.93, 0.97, 0, 0.75, 0.88, 0.92, 0.94, 0.96,
    0.985, 0.4, 0.65, 0.91,
)  # fmt: skip
"""Ticks of a metric, those first that matter more; one too near to those before it is left out."""
MOST: Final = 0.9999
"""Higher values are drawn there, as the logarithm of what is missing to one has no end."""


def history(search: Shown) -> Figure:
    """Every trial's metric by its number, and the highest so far."""
    with style():
        figure, ax = _one(search, 3.2)
        if not search.found:
            return figure
        values = [(one.number, one.value, one.state) for one in search.trials if not math.isnan(one.value)]
        lowest = min(value for _, value, _ in values)
        values += [(one.number, lowest, one.state) for one in search.trials if math.isnan(one.value)]
        for state, (shade, marker) in STATES.items():
            if mine := [(number, value) for number, value, of in values if of == state]:
                look: dict[str, Any] = {"markersize": 5, "markerfacecolor": "none" if state == "stopped" else shade}
                ax.plot(*zip(*mine, strict=True), marker, color=shade, label=TITLES[state], **look)
        by_number = sorted((one.number, one.value) for one in search.search.comparable(search.trials))
        numbers, so_far = [n for n, _ in by_number], np.maximum.accumulate([value for _, value in by_number])
        ax.step(numbers, so_far, color=_INK, linewidth=1.2, where="post", label="highest so far", zorder=1)
        ax.set(xlabel="trial", ylabel=_metric(search))
        _upper(ax, [value for _, value, _ in values])
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        figure.legend(loc="outside upper center", ncols=4, columnspacing=1.2, handletextpad=0.4)
        return figure


def curves(search: Shown) -> Figure:
    """The metric of every trial after each of its epochs, by how the trial ended; the best one's thick."""
    with style():
        figure, ax = _one(search, 3.2)
        if not search.found:
            return figure
        every = [one for one in search.trials if one.curve]
        for state, (shade, _) in STATES.items():
            if mine := [one for one in every if one.state == state]:
                x, y = _joined([_curve(one) for one in mine])
                width: dict[str, Any] = {"linewidth": 0.9, "alpha": 0.7, "zorder": 2 if state == "finished" else 1}
                ax.plot(x, y, color=shade, label=TITLES[state], **width)
                ends = [(one.curve[-1].epoch, one.curve[-1].value) for one in mine if state != "finished"]
                if ends:
                    ax.plot(*zip(*ends, strict=True), ".", color=shade, markersize=4)
        ax.plot(*_curve(search.best), color=_INK, linewidth=2, label=f"the best, trial {search.best.number}", zorder=3)
        ax.set(xlabel="epoch", ylabel=_metric(search), xlim=(0.7, search.search.epochs + 0.3))
        _upper(ax, [epoch.value for one in every for epoch in one.curve])
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        figure.legend(loc="outside upper center", ncols=4, columnspacing=1.2, handletextpad=0.4)
        return figure


def parallel(search: Shown) -> Figure:
    """Parallel coordinates: a row for every parameter, a line through them for every trial, the best quarter's in
    front. A line has a gap where a parameter was not drawn."""
    dimensions = search.space.dimensions
    with style():
        if not search.found:
            return _one(search, 0)[0]
        figure, axes = subplots(1, 1, height=0.9 + 0.46 * (len(dimensions) + 1))
        ax = axes[0, 0]
        good, others = quarters(search)
        values = [one.value for one in (*good, *others)]
        low, high = min(_stretched(values)), max(_stretched(values))
        spread = max(high - low, 1e-9)
        for mine, shade, width, name in (
            ([one for one in others if one is not search.best], _GREY, 0.6, "the others"),
            ([one for one in good if one is not search.best], "#0072B2", 1.1, "the best quarter"),
            ([search.best], "#C00000", 2.2, f"the best, trial {search.best.number}"),
        ):
            lines = [_line(one, dimensions, (_stretched([one.value])[0] - low) / spread) for one in mine]
            x, y = _joined(lines)
            ax.plot(x, y, color=shade, linewidth=width, alpha=0.75, label=name)
            ax.plot(x, y, ".", color=shade, markersize=3 if width < 2 else 7)
        ends = [f"{value:.3f}" for value in (min(values), max(values))]
        for row, labels in enumerate([dict(zip((0.0, 1.0), ends, strict=True)), *map(_labels, dimensions)]):
            ax.axhline(row, color=_GRID, linewidth=0.8, zorder=0)
            for place, text in labels.items():
                box = {"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.6}
                ax.text(place, row + 0.12, text, ha="center", va="top", fontsize=9, bbox=box, zorder=4)
        names = [metric_name(search.metric), *(parameter_name(one.name) for one in dimensions)]
        ax.set_yticks(range(len(names)), names)
        ax.set(xlim=(-0.08, 1.08), ylim=(len(names) - 0.4, -0.4))
        ax.set_xticks([])
        ax.tick_params(axis="y", length=0)
        ax.spines[["left", "bottom"]].set_visible(False)
        figure.legend(loc="outside upper center", ncols=3, columnspacing=1.2)
        return figure


def _one(search: Shown, height: float) -> tuple[Figure, Axes]:
    """A figure of one panel; of a search that was not run, one that says so."""
    figure, axes = subplots(1, 1, height=height if search.found else 0.6)
    if not search.found:
        axes[0, 0].set_axis_off()
        axes[0, 0].text(0.5, 0.5, NOT_RUN, ha="center", va="center")
    return figure, axes[0, 0]


def _metric(search: Shown) -> str:
    return f"{metric_name(search.metric)} (validation)"


def _curve(trial: Trial) -> tuple[list[float], list[float]]:
    return [float(epoch.epoch) for epoch in trial.curve], [epoch.value for epoch in trial.curve]


def _joined(lines: Sequence[tuple[Sequence[float], Sequence[float]]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Lines as one, with a gap after each."""
    x = [value for line in lines for value in (*line[0], math.nan)]
    y = [value for line in lines for value in (*line[1], math.nan)]
    return np.array(x), np.array(y)


def _stretched(values: Any) -> NDArray[np.float64]:
    """Less the logarithm of what is missing to one, so that 0.9 and 0.99 are as far apart as 0.99 and 0.999."""
    known = np.asarray(values, dtype=np.float64)
    return np.asarray(-np.log10(1 - np.minimum(known, MOST)))


def _upper(ax: Axes, values: Sequence[float]) -> None:
    """A scale that is wider towards one."""
    known = [value for value in values if not math.isnan(value)]
    ax.set_yscale("function", functions=(_stretched, lambda y: 1 - 10 ** -np.asarray(y, dtype=np.float64)))
    low, high = _stretched([min(known), max(known)])
    margin = max(0.06 * (high - low), 0.005)
    lowest, highest = 1 - 10 ** -(low - margin), 1 - 10 ** -(high + margin)
    ax.set_ylim(lowest, highest)
    ticks: list[float] = []
    for one in TICKS:
        near = [abs(_stretched(one) - _stretched(other)) < (high - low) / 8 for other in ticks]
        if lowest <= one <= highest and not any(near):
            ticks.append(one)
    ax.set_yticks(ticks, [f"{one:g}" for one in ticks])
    ax.yaxis.set_minor_locator(NullLocator())
    ax.grid(axis="y")


def _line(trial: Trial, dimensions: Sequence[Dimension], value: float) -> tuple[list[float], list[float]]:
    """A trial's places on every row, 0 to 1; NaN on that of a parameter which it does not have."""
    shift = (trial.number * 0.618034 % 1 - 0.5) * 0.05  # apart from others with the same choice
    drawn = trial.drawn
    own = [_place(one, drawn[one.name]) + shift if one.name in drawn else math.nan for one in dimensions]
    places = [value, *own]
    return places, [float(row) for row in range(len(places))]


def _place(one: Dimension, value: Any) -> float:
    if one.kind == "choice":
        return list(one.choices).index(value) / max(len(one.choices) - 1, 1)
    low, high, at = (math.log(x) if one.log else float(x) for x in (one.low, one.high, value))
    return (at - low) / (high - low)


def _labels(one: Dimension) -> dict[float, str]:
    """Place on the row -> what stands there: its choices, those that are lists by number, or its ends."""
    return {_place(one, value): _label(i, value) for i, value in enumerate(one.ends, 1)}


def _label(i: int, value: Any) -> str:
    if isinstance(value, list):
        return f"no. {i}"
    return f"{value:g}" if isinstance(value, float) else str(value)
