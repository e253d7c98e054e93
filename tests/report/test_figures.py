"""Figures: what they show is in the record, they read on any page, and they leave nothing behind."""

from __future__ import annotations

import io
from collections.abc import Callable
from itertools import combinations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray
from PIL import Image

from ecglib.aami import CLASSES
from ecglib.report import figures
from tests.report.example import example_record

FULL = example_record()
SAMPLE = example_record(profile="smoke", seeds=[0], epochs=1, sample=True)
RNG = np.random.default_rng(0)
BEATS = RNG.normal(size=(60, 2, 90)).cumsum(axis=2) / 9
LABELS = RNG.integers(0, 4, 60)
RR = {"N": RNG.normal(0.8, 0.1, 500), "S": [0.4, np.nan, 3.0], "V": []}
PER_RECORD = pd.DataFrame(RNG.integers(0, 2000, (7, 5)), index=[str(100 + k) for k in range(7)], columns=list(CLASSES))

EVERY: dict[str, Callable[[], Figure]] = {
    "learning_curves": lambda: figures.learning_curves(FULL),
    "learning_curves, one epoch": lambda: figures.learning_curves(SAMPLE),
    "confusion": lambda: figures.confusion(FULL),
    "class_balance": lambda: figures.class_balance(FULL.data.class_counts),
    "example_beats": lambda: figures.example_beats(BEATS, LABELS, CLASSES, 360.0, "mV", lead_names=["MLII", "V1"]),
    "example_beats, one lead": lambda: figures.example_beats(BEATS[:, :1], LABELS, CLASSES, 125.0, "0..1"),
    "rr_histogram": lambda: figures.rr_histogram(RR),
    "record_strip": lambda: figures.record_strip(BEATS[0], 30.0, [5, 40, 60], ["N", "+", "V"], ["MLII", "V1"]),
    "beats_per_record": lambda: figures.beats_per_record(PER_RECORD),
}


@pytest.mark.parametrize("name", EVERY)
def test_every_figure_reads_on_any_page_and_leaves_nothing_behind(name: str) -> None:
    before = dict(mpl.rcParams)
    figure = EVERY[name]()
    picture = figures.png(figure)
    assert dict(mpl.rcParams) == before
    assert plt.get_fignums() == [], "nothing for a backend to show a second time"
    image = Image.open(io.BytesIO(picture)).convert("RGBA")
    assert image.width == 960
    assert image.height < 1300
    assert len(picture) < 150_000
    pixels = np.array(image)
    assert (pixels[..., 3] == 255).all(), "opaque: a dark page must not shine through"
    pixels[4:-4, 4:-4] = 255
    assert (pixels == 255).all(), "white around, nothing cut off"
    shown = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    assert min(text.get_fontsize() for text in shown) >= 8, "points: 7 px at a width of 420 px"
    assert figures.png(EVERY[name]()) == picture, "the same bytes again"


def _linear(colour: str) -> NDArray[np.float64]:
    rgb = np.array(mpl.colors.to_rgb(colour))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def _lab(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIE 1976 L*a*b* of linear sRGB under D65."""
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    t = xyz / np.array([0.9505, 1.0, 1.089])
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


SIGHT = {
    "normal": np.eye(3),
    # Machado, Oliveira & Fernandes (2009), IEEE Trans. Vis. Comput. Graph. 15(6), severity 1.0
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}


@pytest.mark.parametrize("sight", SIGHT)
def test_classes_keep_colours_apart_for_all_eyes(sight: str) -> None:
    assert set(figures.COLOURS) == set(CLASSES)
    seen = {name: _lab(np.clip(SIGHT[sight] @ _linear(colour), 0, 1)) for name, colour in figures.COLOURS.items()}
    for one, other in combinations(CLASSES, 2):
        assert np.linalg.norm(seen[one] - seen[other]) > 15, f"{one} and {other}"
    for name in CLASSES:
        assert np.linalg.norm(seen[name] - _lab(np.ones(3))) > 30, f"{name} on white"


def test_confusion_names_the_set_in_development() -> None:
    titles = [
        figures.confusion(FULL.model_copy(update={"scored": which})).axes[0].get_title() for which in ("test", "val")
    ]
    assert titles == ["beats (3 seeds added)", "validation beats (3 seeds added)"]


def test_confusion_of_an_empty_class_has_no_rate() -> None:
    empty = FULL.model_copy(update={"confusion": [[[3, 1], [0, 0]]], "classes": ["N", "S"], "seeds": [0]})
    assert [text.get_text() for text in figures.confusion(empty).axes[1].texts] == ["0.750", "0.250", "–", "–"]


def test_learning_curves_without_validation_have_gaps() -> None:
    history = [one.model_copy(update={"val_loss": None, "val_metric": None}) for one in FULL.training[0].history]
    run = FULL.training[0].model_copy(update={"history": history})
    left, right = figures.learning_curves(FULL.model_copy(update={"training": [run]})).axes
    assert np.isfinite(left.lines[0].get_ydata()).all()
    assert np.isnan(right.lines[0].get_ydata()).all()


def test_numbers_of_the_sample_say_so_in_the_picture() -> None:
    for figure in (figures.confusion(SAMPLE), figures.learning_curves(SAMPLE), figures.models([SAMPLE])):
        assert figure.get_suptitle() == "embedded sample"
    assert figures.confusion(FULL).get_suptitle() == ""


def test_the_sample_shares_no_forest_plot() -> None:
    with pytest.raises(ValueError, match="sample"):
        figures.models([FULL, SAMPLE])


def test_record_strip_has_the_proportions_of_paper_and_its_beats() -> None:
    top, below = EVERY["record_strip"]().axes
    assert top.get_aspect() == below.get_aspect() == 10 / 25, "10 mm/mV over 25 mm/s"
    marks = {text.get_text(): text.xy for text in top.texts}
    assert marks["N"][0] == pytest.approx(5 / 30)
    assert marks["V"][1] > 1 > marks["+"][1], "beats above the strip, other marks inside"


def test_record_strip_takes_only_its_own_seconds() -> None:
    samples, symbols = [99, 100, 189, 190], ["N", "V", "$", "N"]
    top = figures.record_strip(BEATS[0], 30.0, samples, symbols, ["I", "II"], start=100).axes[0]
    assert [text.get_text() for text in top.texts] == ["V", r"\$"]


@settings(max_examples=10)
@given(
    shape=st.tuples(st.integers(1, 6), st.integers(1, 3), st.integers(2, 40)),
    n_classes=st.integers(1, 5),
    r_peak=st.integers(0, 20),
    data=st.data(),
)
def test_example_beats_draws_any_shape(
    shape: tuple[int, int, int], n_classes: int, r_peak: int, data: st.DataObject
) -> None:
    labels = data.draw(st.lists(st.integers(0, n_classes - 1), min_size=shape[0], max_size=shape[0]))
    names = CLASSES[:n_classes]
    figure = figures.example_beats(np.ones(shape), labels, names, 100.0, r_peak=r_peak)
    drawn = [ax for ax in figure.axes if ax.axison]
    assert len(drawn) == n_classes * shape[1]
    for k, name in enumerate(names):
        title = f"{name} ({labels.count(k)} beats)"
        assert sum(ax.get_title(loc="left") == title for ax in drawn) == 1
