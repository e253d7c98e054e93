"""The book's figures, in one look.

Every function returns a `Figure` and shows nothing. A notebook cell that ends with the call shows the figure once, with
any backend. The background is opaque white with a margin, so that a figure also reads on a dark page; sizes and fonts
are made for a width of 420 px and up. Colours are one per class, told apart with deuteranopia and protanopia too.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator, NullLocator
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from ecglib.aami import SYMBOLS
from ecglib.experiment.record import Record, infarction
from ecglib.report.names import NOT_RUN, PATIENTS, metric_name
from ecglib.report.tables import count, number, refuse_mixture, unit
from ecglib.training.history import SeedRun

WIDTH: Final = 6.4
"""Inches. At the 150 dots per inch that figures are saved with: 960 px."""

EXAMPLES: Final = 8
"""Beats that are drawn of a class, taken evenly over all of them."""
COLOURS: Final[dict[str, str]] = {"N": "#0072B2", "S": "#E69F00", "V": "#882255", "F": "#117733", "Q": "#8A8A8A"}
"""The fixed colour of each AAMI class."""

_OTHERS = ("#0072B2", "#E69F00", "#882255", "#117733", "#56B4E9", "#CC79A7", "#4D4D4D", "#B8A200")
_MARKERS = "osD^vPX*"
_INK, _GRID, _RED = "#222222", "#DDDDDD", "#C00000"
_RING: Final[dict[str, Any]] = {"linestyle": "", "marker": "o", "markersize": 7, "markerfacecolor": "none",
                                "markeredgewidth": 1.6}  # fmt: skip
_STYLE: Final[dict[Any, Any]] = {
    **sns.axes_style("ticks"),
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    **dict.fromkeys(("font.size", "axes.titlesize", "axes.labelsize"), 10),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), 9),
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK),
    **dict.fromkeys(("legend.frameon", "axes.spines.top", "axes.spines.right"), False),
    **dict.fromkeys(("figure.facecolor", "savefig.facecolor"), "white"),
    **dict.fromkeys(("figure.dpi", "savefig.dpi"), 150),
    "grid.color": _GRID,
    "lines.linewidth": 1.5,
}


class BookFigure(Figure):
    """A figure that Jupyter shows as a PNG without pyplot, and so without a display or a second copy of the figure."""

    def _repr_png_(self) -> bytes:
        return png(self)


def style() -> AbstractContextManager[None]:
    """The book's look, as a context: fonts, sizes, colours of text and axes."""
    return mpl.rc_context(_STYLE)


def png(figure: Figure) -> bytes:
    """The figure as PNG of 256 colours, a third of the size of one of all; the same bytes for the same figure."""
    drawn, packed = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=150, facecolor="white")
    image = Image.open(drawn).convert("RGB")
    image.quantize(256, dither=Image.Dither.NONE).save(packed, format="png", optimize=True)
    return packed.getvalue()


def learning_curves(record: Record) -> Figure:
    """Loss and selection metric by epoch, one line per seed, the chosen epoch ringed.

    Training loss is dashed, validation solid. Of a model that is fitted at once the figure says that.
    """
    with style():
        if not any(run.history for run in record.training):
            figure, axes = subplots(1, 1, height=0.6)
            axes[0, 0].set_axis_off()
            axes[0, 0].text(0.5, 0.5, "fitted at once: no epochs, no curves", ha="center", va="center")
            return marked(figure, record)
        figure, axes = subplots(1, 2, height=3.1)
        left, right = axes[0]
        shades = sns.color_palette("blend:#0B3A66,#5AB4EA", len(record.training))
        for run, shade in zip(record.training, shades, strict=True):
            _curves(left, right, run, shade)
        left.set(xlabel="epoch", ylabel="loss")
        right.set(xlabel="epoch", ylabel=f"{metric_name(record.selection or 'metric')} (validation)")
        right.plot([], [], "--", color=_INK, linewidth=1.1, label="training")
        right.plot([], [], color=_INK, label="validation")
        right.plot([], [], color=_INK, label="chosen epoch", **_RING)
        last = max(one.epoch for run in record.training for one in run.history)
        for ax in (left, right):
            ax.grid(axis="y")
            ax.set_xlim(min(1 - 0.03 * last, 0.7), last * 1.03 + 0.2)
            ax.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        figure.legend(loc="outside lower center", ncols=min(6, len(record.training) + 3), columnspacing=1.2)
        return marked(figure, record)


def confusion(record: Record) -> Figure:
    """Confusion matrix, the counts of all seeds added, beside rates by true class."""
    counts = np.asarray(record.confusion).sum(axis=0)
    rates = shares(counts)
    with style():
        figure, axes = subplots(1, 2, height=3.3, sharey=True)
        over = f"seed {record.seeds[0]}" if len(record.seeds) == 1 else f"{len(record.seeds)} seeds added"
        beats = unit(record) if record.scored == "test" else f"validation {unit(record)}"
        for ax, cells, title in (
            (axes[0, 0], [[count(n) for n in row] for row in counts.tolist()], f"{beats} ({over})"),
            (axes[0, 1], [[number(rate) for rate in row] for row in rates.tolist()], "share of the true class"),
        ):
            _heat_map(ax, rates, np.array(cells), record.classes, 8.5 if len(record.classes) < 6 else 6.5)
            ax.set(title=title, xlabel="predicted")
        axes[0, 0].set_ylabel("true")
        return marked(figure, record)


def shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Rows of a confusion matrix as shares of the true class; NaN where it has none."""
    total = counts.sum(axis=1, keepdims=True)
    return np.where(total > 0, counts / np.maximum(total, 1), np.nan)


def _heat_map(
    ax: Axes, rates: NDArray[np.float64], cells: NDArray[Any], classes: Sequence[str], size: float = 10
) -> None:
    """Cells as text on the colours of their rates; `size` is that of the text."""
    sns.heatmap(np.nan_to_num(rates), annot=cells, fmt="", ax=ax, cmap="Blues", vmin=0, vmax=1, cbar=False, square=True,
                linewidths=0.8, linecolor="white", xticklabels=classes, yticklabels=classes,
                annot_kws={"size": size})  # fmt: skip
    ax.tick_params(length=0, labelrotation=0)


def class_balance(counts: Mapping[str, Mapping[str, int]]) -> Figure:
    """Beats per class on a logarithmic axis, one panel per set: set (`"DS1"` …) -> class -> beats."""
    classes = list(dict.fromkeys(name for one in counts.values() for name in one))
    largest = max((n for one in counts.values() for n in one.values()), default=1)
    with style():
        figure, axes = subplots(1, len(counts), height=0.9 + 0.32 * len(classes), sharex=True, sharey=True)
        for ax, (name, one) in zip(axes[0], counts.items(), strict=True):
            n = [one.get(label, 0) for label in classes]
            ax.barh(classes, n, color=[COLOURS[name] for name in classes], height=0.7)
            for y, value in enumerate(n):
                ax.text(max(value, 0.7) * 1.25, y, count(value), va="center", fontsize=9)
            ax.set(title=f"{name}: {count(sum(n))}", xlabel="beats")
            ax.set_xscale("log")
            ax.set_xlim(0.7, max(largest, 10) ** 1.45)
            ax.set_xticks([10**k for k in range(0, len(str(largest)), 2)])
            ax.xaxis.set_minor_locator(NullLocator())
            ax.tick_params(axis="y", length=0)
        axes[0, 0].invert_yaxis()
        return figure


def example_beats(
    signals: ArrayLike,
    labels: ArrayLike,
    classes: Sequence[str],
    fs: float,
    unit: str = "mV",
    lead_names: Sequence[str] = (),
    r_peak: int = 0,
) -> Figure:
    """Small multiples: for each class a few beats, thin, and the mean of all its beats, thick.

    `signals` are `(n, leads, samples)`, `fs` samples a second, in `unit`: `"mV"`, or `"0..1"` for beats scaled to that
    range. `labels` `(n,)` are positions in `classes`, of which one without a beat gets an empty panel that says so.
    `lead_names`, one per lead, are in the panels' titles. Time is 0 at sample `r_peak` of each window.
    """
    x, y = np.asarray(signals, dtype=np.float64), np.asarray(labels)
    leads = x.shape[1]
    seconds = (np.arange(x.shape[2]) - r_peak) / fs
    shown = list(itertools.product(enumerate(classes), range(leads)))
    columns = leads if leads > 1 else min(3, len(classes))
    with style():
        figure, axes = panels(len(shown), columns, 1.35, 0.5, sharex=True, sharey=unit == "0..1")
        for position, (ax, ((k, name), lead)) in enumerate(zip(axes, shown, strict=True)):
            chosen = np.flatnonzero(y == k)
            _beats(ax, x[chosen, lead], seconds, COLOURS[name])
            where = f", {lead_names[lead]}" if lead_names else ""
            n = f" ({count(len(chosen))} beats)" if lead == 0 else ""
            ax.set_title(f"{name}{where}{n}", loc="left", pad=3)
            if position + columns >= len(shown):
                ax.set_xlabel("s")
                ax.tick_params(labelbottom=True)
        for ax in axes[::columns]:
            ax.set_ylabel("amplitude, 0..1" if unit == "0..1" else unit)
            if unit == "0..1":
                ax.set_yticks([0, 0.5, 1])
        return figure


def rr_histogram(rr_s: Mapping[str, ArrayLike]) -> Figure:
    """Distribution of RR intervals, one row per class, each scaled to its own number of beats: class -> the intervals
    to the previous beat, seconds."""
    edges = np.arange(0.2, 2.0001, 0.025)
    with style():
        figure, axes = subplots(len(rr_s), 1, height=0.7 + 0.62 * len(rr_s), sharex=True)
        for ax, (name, values) in zip(axes[:, 0], rr_s.items(), strict=True):
            rr = np.asarray(values, dtype=np.float64)
            rr = rr[np.isfinite(rr)]
            share = np.histogram(np.clip(rr, edges[0], edges[-1]), edges)[0] / max(len(rr), 1)
            ax.stairs(100 * share, edges, fill=True, color=COLOURS[name])
            if len(rr):
                ax.axvline(float(np.median(rr)), color=_INK, linewidth=1, linestyle=":")
            middle = f"\nmedian {np.median(rr):.2f} s" if len(rr) else ""
            box = {"facecolor": "white", "alpha": 0.85, "linewidth": 0, "pad": 1}
            said = f"{name}: {count(len(rr))} beats{middle}"
            ax.text(0.99, 0.92, said, transform=ax.transAxes, ha="right", va="top", fontsize=9, bbox=box)
            ax.yaxis.set_major_locator(MaxNLocator(2, integer=True))
        axes[-1, 0].set(xlabel="RR interval, s (outer bars: at the edge or beyond)", xlim=(edges[0], edges[-1]))
        figure.supylabel("% of the class's beats", fontsize=10)
        return figure


def record_strip(
    signals_mv: ArrayLike,
    fs: float,
    samples: ArrayLike,
    symbols: Sequence[str],
    lead_names: Sequence[str],
    start: int = 0,
) -> Figure:
    """A strip of one record in the proportions of ECG paper (25 mm/s, 10 mm/mV), its beats annotated.

    `signals_mv` are `(leads, samples)` in mV, `fs` samples a second. The strip begins at the record's sample `start`;
    the time axis counts from the record's beginning, as `samples` do, those of the annotations. Of these, a beat's
    symbol stands above the strip in the colour of its class, with a line down to the R peak; what marks no beat
    (rhythm, noise) stands below, in grey.
    """
    x = np.asarray(signals_mv, dtype=np.float64)
    seconds = (start + np.arange(x.shape[1])) / fs
    known = x[np.isfinite(x)] if np.isfinite(x).any() else np.zeros(1)
    low = float(np.floor(known.min() / 0.5)) * 0.5  # whole big squares (0.5 mV) around the signals
    high = max(float(np.ceil(known.max() / 0.5)) * 0.5, low + 1)
    with style():
        paper = (WIDTH - 0.7) / (seconds[-1] - seconds[0]) * 0.4
        figure, axes = subplots(len(x), 1, height=0.95 + len(x) * ((high - low) * paper + 0.15), sharex=True)
        for ax, lead, name in zip(axes[:, 0], x, lead_names, strict=True):
            ax.plot(seconds, lead, color=_INK, linewidth=0.9)
            ax.set_ylabel(f"{name}, mV")
            _paper(ax, seconds[0], seconds[-1], low, high)
        for sample, symbol in zip(np.asarray(samples).tolist(), symbols, strict=True):
            if start <= sample < start + x.shape[1]:
                _annotated(axes[:, 0], sample / fs, symbol)
        axes[-1, 0].set_xlabel("s")
        return figure


def beats_per_record(counts: pd.DataFrame) -> Figure:
    """Beats of each record (rows) by class (columns) as stacked bars, in two columns of records."""
    half = -(-len(counts) // 2)
    with style():
        figure, axes = subplots(1, 2, height=0.9 + 0.19 * half, sharex=True)
        for ax, part in zip(axes[0], (counts.iloc[:half], counts.iloc[half:]), strict=True):
            left = np.zeros(len(part))
            names = [str(name) for name in part.index]
            for label in map(str, counts.columns):
                ax.barh(names, part[label], left=left, color=COLOURS[label], label=label, height=0.78, linewidth=0)
                left += part[label].to_numpy(dtype=np.float64)
            ax.set(xlabel="beats", ylim=(half - 0.4, -0.6))
            ax.tick_params(axis="y", length=0)
            ax.xaxis.set_major_locator(MaxNLocator(3, integer=True))
            ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(value)))
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
        return figure


def models(records: Sequence[Record]) -> Figure:
    """Forest plot of macro-F1, one line per model with nothing done about the imbalance, one panel per protocol."""
    refuse_mixture(records)
    plain = [r for r in records if r.parameters.get("imbalance") == "none"]
    panels = {title: [r for r in plain if r.parameters["protocol"] == key] for key, title in PATIENTS.items()}
    most = max(map(len, panels.values()))
    with style():
        figure, axes = subplots(1, 2, height=1.0 + 0.26 * max(most, 1))
        for ax, (title, mine) in zip(axes[0], panels.items(), strict=True):
            for y, record in enumerate(mine):
                value = record.metrics["macro_f1"]
                low, high, mean, *seeds = np.array([value.low, value.high, value.mean, *value.per_seed], np.float64)
                ax.plot([low, high], [y, y], color=_OTHERS[0], linewidth=1.8, solid_capstyle="butt")
                ax.plot(seeds, [y] * len(seeds), "|", color=_OTHERS[0], markersize=6)
                ax.plot(mean, y, color=_OTHERS[0], marker=_MARKERS[0], markersize=6)
            ax.set_yticks(range(len(mine)), [r.title.split(",")[0] or r.parameters["model"] for r in mine])
            ax.set(title=title, ylim=(max(len(mine), 1) - 0.4, -0.6), xlabel="macro-F1")
            ax.tick_params(axis="y", length=0)
            ax.grid(axis="x")
        return marked(figure, *records)


def confusions(records: Sequence[Record]) -> Figure:
    """Confusion matrices of several results, shares of the true class over all seeds, one panel each."""
    refuse_mixture(records)
    with style():
        figure, axes = panels(len(records), 4, 2.1, sharex=True, sharey=True)
        for ax, record in zip(axes, records, strict=True):
            rates = shares(np.asarray(record.confusion).sum(axis=0))
            _heat_map(ax, rates, np.array([[number(rate, 2) for rate in row] for row in rates]), record.classes)
            ax.set_title("\n".join(part.strip() for part in record.title.split(",")), fontsize=8.5)
            ax.tick_params(labelsize=7.5)
        if not records:
            figure.text(0.5, 0.5, NOT_RUN, ha="center", va="center")
        return marked(figure, *records)


def label_curve(records: Sequence[Record]) -> Figure:
    """AUROC of recordings against the number of labelled patients, one line a result, the whole training part last."""
    refuse_mixture(records)
    drawn = [r for r in records if infarction(r).curve]
    with style():
        figure, axes = subplots(1, 1, height=3.4)
        ax = axes[0, 0]
        for record, shade, marker in zip(drawn, _OTHERS, _MARKERS, strict=False):
            numbers = [int(n) for n in infarction(record).curve] + [_labelled(record)]
            values = [*infarction(record).curve.values(), record.metrics["auroc"]]
            mean, low, high = np.array([(v.mean, v.low, v.high) for v in values], dtype=np.float64).T  # None: a gap
            name = record.title.split(",")[0]
            ax.plot(numbers, mean, marker=marker, markersize=5, color=shade, label=name)
            ax.fill_between(numbers, low, high, color=shade, alpha=0.1, linewidth=0)
        ax.set(xscale="log", xlabel="labelled patients", ylabel="AUROC")
        ticks = sorted({int(n) for r in drawn for n in infarction(r).curve} | {_labelled(r) for r in drawn})
        ax.set_xticks(ticks, [count(n) for n in ticks])
        ax.xaxis.set_minor_locator(NullLocator())
        ax.grid(axis="y")
        if drawn:
            figure.legend(loc="outside upper center", ncols=min(2, len(drawn)))
        else:
            ax.set_yticks([])
            said = "learnt from all patients alone" if records else NOT_RUN
            ax.text(0.5, 0.5, said, ha="center", va="center", transform=ax.transAxes)
        return marked(figure, *drawn)


def _labelled(record: Record) -> int:
    """Patients that a fold's network learns from."""
    folds = infarction(record).folds
    return round(sum(record.data.class_counts["patients"].values()) * (folds - 1) / folds)


def gaps(shares: pd.DataFrame) -> Figure:
    """Share of each record's beats classified right under both protocols, of `comparisons.gap_by_record`."""
    ordered = shares.sort_values("inter", kind="stable")
    rows = range(len(ordered))
    with style():
        figure, axes = subplots(1, 1, height=1.2 + 0.2 * max(len(rows), 1))
        ax = axes[0, 0]
        for y, ends in zip(rows, ordered[["inter", "intra"]].to_numpy(), strict=True):
            ax.plot(ends, [y, y], color=_GRID, linewidth=2, zorder=1)
        for key, title, shade, marker in zip(PATIENTS, PATIENTS.values(), _OTHERS, _MARKERS, strict=False):
            ax.plot(ordered[key], rows, marker, color=shade, markersize=5, label=title)
        ax.set_yticks(rows, ordered.index)
        ax.set(xlabel="share of beats classified right", ylabel="record", ylim=(len(rows) - 0.4, -0.6))
        ax.grid(axis="x")
        figure.legend(loc="outside upper center", ncols=2)
        return figure


def subplots(
    rows: int, columns: int, height: float, sharex: bool = False, sharey: bool = False
) -> tuple[BookFigure, NDArray[Any]]:
    engine = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
    figure = BookFigure(figsize=(WIDTH, height), layout=engine)
    return figure, figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey)


def panels(
    n: int, columns: int, height: float, margin: float = 0.0, sharex: bool = False, sharey: bool = False
) -> tuple[BookFigure, list[Axes]]:
    """A figure of n panels in so many columns, each row of this height; what is left of the last row stays empty."""
    rows = max(1, -(-n // columns))
    figure, axes = subplots(rows, columns, height * rows + margin, sharex, sharey)
    for ax in axes.ravel()[n:]:
        ax.set_axis_off()
    return figure, list(axes.ravel()[:n])


def marked(figure: Figure, *records: Record) -> Figure:
    """Numbers from the sample say so in red, also where the picture stands without its page."""
    if any(record.data.sample for record in records):
        figure.set_figheight(figure.get_figheight() + 0.3)
        figure.suptitle("embedded sample", color=_RED, fontsize=10, fontweight="bold")
    return figure


def _curves(left: Axes, right: Axes, run: SeedRun, shade: Any) -> None:
    curve = pd.DataFrame([dict(one) for one in run.history]).astype(np.float64)  # None becomes NaN: a gap
    chosen = curve[curve["epoch"] == run.best_epoch]
    dots: dict[str, Any] = {"marker": "o", "markersize": 3} if len(curve) < 4 else {}
    left.plot(curve["epoch"], curve["train_loss"], "--", color=shade, linewidth=1.1, **dots)
    left.plot(curve["epoch"], curve["val_loss"], color=shade, **dots)
    right.plot(curve["epoch"], curve["val_metric"], color=shade, label=f"seed {run.seed}", **dots)
    left.plot(chosen["epoch"], chosen["val_loss"], color=shade, **_RING)
    right.plot(chosen["epoch"], chosen["val_metric"], color=shade, **_RING)


def _beats(ax: Axes, beats: NDArray[np.float64], seconds: NDArray[np.float64], shade: str) -> None:
    ax.set_xlim(seconds[0], seconds[-1])
    ax.yaxis.set_major_locator(MaxNLocator(3))
    ax.xaxis.set_major_locator(MaxNLocator(4))
    if not len(beats):
        ax.text(0.5, 0.5, "no beats", transform=ax.transAxes, ha="center", va="center", color="#777777")
        return
    some = beats[np.unique(np.linspace(0, len(beats) - 1, EXAMPLES).round().astype(int))]
    ax.plot(seconds, some.T, color=shade, alpha=0.35, linewidth=0.7)
    ax.plot(seconds, beats.mean(axis=0), color="white", linewidth=3.4)
    ax.plot(seconds, beats.mean(axis=0), color=shade, linewidth=2)


def _paper(ax: Axes, left: float, right: float, low: float, high: float) -> None:
    """The red grid: big squares 0.2 s × 0.5 mV; the small ones (0.04 s × 0.1 mV) where they would not blur."""
    squares = [(0.2, 0.5, "#F0A0A0", 0.6)]
    if right - left <= 6:
        squares.insert(0, (0.04, 0.1, "#F9DADA", 0.4))
    for dx, dy, shade, width in squares:
        ax.vlines(np.arange(np.ceil(left / dx), right / dx + 1e-6) * dx, low, high, shade, linewidth=width, zorder=0.5)
        ax.hlines(np.arange(np.ceil(low / dy), high / dy + 1e-6) * dy, left, right, shade, linewidth=width, zorder=0.5)
    ax.yaxis.set_major_locator(MultipleLocator(1))
    ax.xaxis.set_major_locator(MultipleLocator(1))
    ax.set(xlim=(left, right), ylim=(low, high), aspect=0.4)


def _annotated(panels: NDArray[Any], second: float, symbol: str) -> None:
    name = SYMBOLS.get(symbol)
    text = symbol.replace("$", r"\$")  # else the start of a formula
    where = {"xycoords": ("data", "axes fraction"), "ha": "center", "annotation_clip": False}
    if name is None:
        panels[0].annotate(text, (second, 0.03), color="#555555", fontsize=8, **where)
        return
    panels[0].annotate(text, (second, 1.03), color=COLOURS[name], fontsize=10, fontweight="bold", **where)
    for ax in panels:
        ax.axvline(second, color=COLOURS[name], linewidth=0.7, linestyle=":")
