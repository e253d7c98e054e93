"""`report.html`: what it holds, and what a reader can do with it in a real browser."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import browser
import numpy as np
import pytest
from browser import Tab
from excerpts import SAMPLE
from numpy.typing import NDArray

from ecglib import aami
from ecglib.data.records import LEADS, Recording, read_annotations, read_recording
from ecglib.serving import page as pages
from ecglib.serving.model import Card, Classified
from ecglib.serving.summary import summarise

CARD = Card(
    name="heartbeat/baseline", task="beats", model="cnet", classes=list(aami.CLASSES), leads=["MLII"], rate=125,
    cut="kachuee", input_shape=[1, 187], examples=1000, database="mitdb", sample=True, protocol="inter", profile="full",
    seed=0, key="k", recipe={}, commit="c", created="today", files={}, version="0123456789abcdef",
)  # fmt: skip
HOSTILE = '<img src=x onerror="alert(1)">'


def classified(sample: NDArray[np.int64], decided: NDArray[np.int64]) -> Classified:
    """Beats of which the model is sure, but for every ninth."""
    probability = np.full((len(sample), len(CARD.classes)), 0.01, dtype=np.float32)
    probability[np.arange(len(sample)), decided] = np.where(np.arange(len(sample)) % 9 == 8, 0.62, 0.96)
    return Classified(sample, probability, decided, {"no next beat": 1})


def excerpt(name: str = "208") -> tuple[Recording, Classified]:
    """A record of the sample with its annotations, as if a model had found them."""
    marks = read_annotations(SAMPLE, name)
    of_beats = [i for i, symbol in enumerate(marks.symbols) if symbol in aami.SYMBOLS]
    decided = [aami.CLASSES.index(aami.SYMBOLS[str(marks.symbols[i])]) for i in of_beats]
    return read_recording(SAMPLE, name), classified(marks.samples[of_beats], np.array(decided, dtype=np.int64))


def html(recording: Recording, beats: Classified, **more: Any) -> str:
    length = recording.signals.shape[1]
    found = summarise(beats, recording.fs, length, CARD.classes)
    summary = asdict(found) | {"leads": list(recording.leads[:1])} | more
    return pages.page(CARD, recording, beats, summary, np.append(beats.sample, length - 1))


def held(text: str) -> dict[str, Any]:
    """What a page's script reads."""
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    data: dict[str, Any] = json.loads(found)
    return data


def millivolts(lead: dict[str, Any]) -> NDArray[np.float64]:
    """A lead as the page's script unpacks it."""
    low, high = np.frombuffer(zlib.decompress(base64.b64decode(lead["data"])), np.uint8).reshape(2, -1).astype(np.int32)
    zigzag = low | high << 8
    return pages.STEP * np.cumsum((zigzag >> 1) ^ -(zigzag & 1)).astype(np.int16)


# --- what it holds ----------------------------------------------------------------------------------------------------


def test_the_signal_is_the_record_s_own_to_half_a_step() -> None:
    recording, beats = excerpt()
    data = held(html(recording, beats))
    assert data["rate"] == recording.fs and [lead["name"] for lead in data["leads"]] == list(recording.leads)
    for lead, signal in zip(data["leads"], recording.signals, strict=True):
        assert np.abs(millivolts(lead) - (signal - np.median(signal))).max() <= pages.STEP / 2 + 1e-6
    assert data["beats"]["at"] == pytest.approx(beats.sample / recording.fs, abs=6e-4)
    assert data["beats"]["unsure"] == beats.unsure.astype(int).tolist()


def test_half_an_hour_of_two_leads_stays_at_its_own_rate() -> None:
    recording, beats = excerpt()
    times = 6
    length = recording.signals.shape[1]
    sample = np.concatenate([beats.sample + i * length for i in range(times)])
    long = replace(recording, signals=np.tile(recording.signals, times))
    assert long.signals.shape[1] >= 1800 * long.fs
    text = html(long, classified(sample, np.tile(beats.decided, times)))
    assert len(text.encode()) < 1_500_000 and held(text)["rate"] == 360


def test_what_does_not_fit_is_shown_at_a_lower_rate_and_then_with_fewer_leads() -> None:
    rng = np.random.default_rng(0)

    def shown(minutes: float, size: float) -> tuple[str, dict[str, Any]]:
        signals = rng.normal(0, size, (12, round(minutes * 60 * 500))).astype(np.float32)
        sample = np.arange(500, signals.shape[1], 400)
        text = html(
            Recording("noise", signals, 500, LEADS), classified(sample, np.zeros(len(sample), np.int64)), leads=["V6"]
        )
        assert len(text.encode()) <= pages.LIMIT
        return dict(held(text)["facts"])["Shown here"], held(text)

    said, data = shown(15, 0.2)
    assert (data["rate"], len(data["leads"])) == (125, 12) and "more would not fit" not in said
    said, data = shown(15, 20.0)
    assert data["rate"] == 125 and data["leads"][-1]["name"] == "V6" and data["leads"][-1]["used"]
    assert said.endswith(f"; {12 - len(data['leads'])} more would not fit") and 1 < len(data["leads"]) < 12


def test_samples_that_are_no_number_leave_a_gap() -> None:
    recording, beats = excerpt()
    signals = recording.signals.copy()
    signals[1, 400:900] = np.nan
    signals[1, 950] = np.inf
    lost = Recording("lost", np.vstack([signals, np.full_like(signals[:1], np.nan)]), 360.0, ("MLII", "V1", "V2"))
    leads = held(html(lost, beats))["leads"]
    assert [lead["recorded"] for lead in leads] == [True, True, False]
    assert np.array_equal(np.isclose(millivolts(leads[1]), -(2**15) * pages.STEP), ~np.isfinite(signals[1]))


def test_foreign_text_is_data_and_never_markup() -> None:
    recording, beats = excerpt()
    comments = ("</script><script>alert(1)</script>", "<!-- <script>", "a \u2028 b \ud800")
    text = html(replace(recording, name=HOSTILE, comments=comments, leads=("MLII", HOSTILE)), beats)
    text.encode()
    assert "<img" not in text and "<!--" not in text and text.count("</script>") == 2
    data = held(text)
    assert data["record"] == HOSTILE and dict(data["facts"])["Comments of the header"] == "\n".join(comments)


def test_the_model_is_unsure_of_a_beat_by_the_class_that_it_gives() -> None:
    """Offsets may decide for another class than the likeliest."""
    recording, beats = excerpt()
    moved = replace(beats, decided=np.where(beats.decided == 0, 1, beats.decided))
    given = beats.decided == 0
    assert given.any() and moved.unsure[given].all() and (moved.sure[given] < 0.02).all()
    data = held(html(recording, moved))
    assert data["beats"]["unsure"] == moved.unsure.astype(int).tolist()
    tiles = {name: detail for name, *_, detail in data["tiles"]}
    assert tiles["Model unsure"] == f"{moved.unsure.sum()} beats below 80 %"


def test_the_page_names_model_leads_repairs_and_what_was_left_out() -> None:
    recording, beats = excerpt()
    facts = dict(held(html(replace(recording, repairs=("µV written as mV",)), beats, date="3 May 1979"))["facts"])
    assert facts["Model"] == CARD.name and CARD.version.startswith(facts["Version"])
    assert facts["Read by the model"] == "MLII" and facts["Recorded"] == "3 May 1979"
    assert facts["Repaired"] == "µV written as mV" and facts["Beats left out"] == "1 no next beat"


# --- in a browser -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    if browser.command() is None:
        pytest.skip(f"no Chromium on PATH ({', '.join(browser.COMMANDS)})")
    with browser.tab(tmp_path_factory.mktemp("profile")) as found:
        yield found


def opened(tab: Tab, folder: Path, recording: Recording, beats: Classified, width: int = 1400) -> None:
    path = folder / "report.html"
    path.write_text(html(recording, beats), encoding="utf-8")
    tab.open(path, width)
    tab.until("document.querySelector('#strip .trace') !== null && document.getElementById('where').textContent !== ''")


@pytest.fixture
def shown(tab: Tab, tmp_path: Path) -> Iterator[tuple[Tab, Recording, Classified]]:
    """A page that is open, and at the end has nothing to complain of."""
    recording, beats = excerpt()
    opened(tab, tmp_path, recording, beats)
    yield tab, recording, beats
    tab.value("new Promise(requestAnimationFrame)")
    assert not tab.complaints


def chosen(tab: Tab) -> float:
    """Where the beat is that was gone to, in seconds; it must be in sight and marked."""
    tab.value("new Promise(requestAnimationFrame)")
    assert tab.value("document.querySelectorAll('#strip .chosen').length") == 1
    assert tab.value("view.start <= beats.at[chosen] && beats.at[chosen] <= view.start + visible()")
    return float(tab.value("beats.at[chosen]"))


def middle(tab: Tab, name: str = "strip") -> tuple[float, float]:
    tab.value(f"$('{name}').scrollIntoView({{block: 'center'}})")
    box = tab.value(
        f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])($('{name}').getBoundingClientRect())"
    )
    return box[0], box[1]


def test_next_and_previous_go_from_beat_to_beat(shown: tuple[Tab, Recording, Classified]) -> None:
    tab, recording, beats = shown
    at = np.round(beats.sample / recording.fs, 3)
    of_v = at[beats.decided == aami.CLASSES.index("V")]
    for time in of_v[:40]:
        tab.key("v")
        assert chosen(tab) == time
    tab.key("V", shift=True)
    assert chosen(tab) == of_v[38]
    tab.value(
        "[...document.querySelectorAll('#jumps button')].find((b) => b.textContent.startsWith('Next unsure')).click()"
    )
    assert chosen(tab) == at[beats.unsure & (at > of_v[38])][0]
    tab.value("$('faster').focus()")
    tab.key("End", 35)
    tab.key("v")
    tab.until("$('where').textContent.endsWith('no further V beat')")
    tab.key("V", shift=True)
    assert chosen(tab) == of_v[-1]
    tab.until("$('where').textContent.includes('V at ')")


def test_keys_pan_and_zoom(shown: tuple[Tab, Recording, Classified]) -> None:
    tab = shown[0]
    tab.key("Tab", 9)
    tab.value("$('strip').focus()")
    tab.key("ArrowRight", 39)
    assert tab.value("view.start") == pytest.approx(tab.value("visible()") / 5, abs=0.02)
    tab.key("PageDown", 34)
    assert tab.value("view.start") == pytest.approx(1.2 * tab.value("visible()"), abs=0.02)
    tab.key("+")
    tab.until("$('speed').textContent === '50 mm/s'")
    for _ in range(9):
        tab.key("-")
    assert tab.value("view.speed") == 2.5
    tab.key("Home", 36)
    assert tab.value("view.start") == 0
    tab.key("ArrowLeft", 37)
    assert tab.value("view.start") == 0


def test_the_mouse_drags_zooms_and_jumps(shown: tuple[Tab, Recording, Classified]) -> None:
    tab, recording, _ = shown
    x, y = middle(tab)
    tab.value("go(60)")
    start = tab.value("view.start")
    tab.mouse("mousePressed", x, y, button="left", clickCount=1)
    tab.mouse("mouseMoved", x - 100, y, button="left", buttons=1)
    tab.mouse("mouseReleased", x - 100, y, button="left")
    assert tab.value("view.start") == pytest.approx(start + 1.0, abs=0.01), "100 pixels are 25 mm are a second"
    time = tab.value(f"timeAt({x} - $('strip').getBoundingClientRect().left)")
    tab.mouse("mouseWheel", x, y, deltaX=0, deltaY=-200)
    tab.until("view.speed > 30")
    assert tab.value(f"timeAt({x} - $('strip').getBoundingClientRect().left)") == pytest.approx(time, abs=0.02)
    middle(tab, "trend")
    left, top, width = tab.value("(({x, y, width}) => [x, y, width])($('trend').getBoundingClientRect())")
    tab.mouse("mousePressed", left + 48 + (width - 62) / 2, top + 40, button="left", clickCount=1, buttons=1)
    tab.mouse("mouseReleased", left + 48 + (width - 62) / 2, top + 40, button="left")
    seconds = recording.signals.shape[1] / recording.fs
    assert chosen(tab) == pytest.approx(seconds / 2, abs=1.5)
    assert tab.value("classes[beats.class[chosen]]") != "N"


def test_an_r_peak_that_was_not_classified_is_marked(shown: tuple[Tab, Recording, Classified]) -> None:
    tab, recording, _ = shown
    assert tab.value("data.others") == [round((recording.signals.shape[1] - 1) / recording.fs, 3)]
    for at, marks in ((60, 0), (1e9, 1)):
        tab.value(f"show({at})")
        tab.value("new Promise(requestAnimationFrame)")
        assert tab.value("document.querySelectorAll('#strip .other').length") == marks


def test_fingers_pan_and_pinch(shown: tuple[Tab, Recording, Classified]) -> None:
    tab = shown[0]
    x, y = middle(tab)
    tab.value("go(60)")
    start = tab.value("view.start")
    tab.touch("touchStart", (x, y))
    for i in range(1, 6):
        tab.touch("touchMove", (x - 40 * i, y))
    tab.touch("touchEnd")
    assert tab.value("view.start") == pytest.approx(start + 2.0, abs=0.2)
    tab.touch("touchStart", (x - 50, y), (x + 50, y))
    for i in range(1, 6):
        tab.touch("touchMove", (x - 50 - 10 * i, y), (x + 50 + 10 * i, y))
    tab.touch("touchEnd")
    assert tab.value("view.speed") == pytest.approx(50, rel=0.1)


def test_a_row_of_the_table_leads_to_its_event(shown: tuple[Tab, Recording, Classified]) -> None:
    tab = shown[0]
    rows = tab.value("data.events.length")
    assert rows == tab.value("document.querySelectorAll('#rows tr').length") > 3
    tab.value("document.querySelectorAll('#rows button')[3].focus()")
    tab.key("\r", 13)
    assert tab.value("document.activeElement.id") == "strip"
    assert tab.value("view.start <= data.events[3].start && data.events[3].start < view.start + visible()")
    tab.value("$('kind').value = 'slowest minute'; $('kind').onchange()")
    assert tab.value("[...document.querySelectorAll('#rows tr')].filter((row) => !row.hidden).length") == 1


def test_a_stretch_without_beats_is_shaded_and_breaks_the_trend(tab: Tab, tmp_path: Path) -> None:
    recording, beats = excerpt()
    lost = (beats.sample > 100 * recording.fs) & (beats.sample < 130 * recording.fs)
    opened(tab, tmp_path, recording, classified(beats.sample[~lost], beats.decided[~lost]))
    x, width = (
        float(tab.value(f"document.querySelector('#trend .gap').getAttribute('{of}')")) for of in ("x", "width")
    )
    rate = tab.value("document.querySelector('#trend .rate').getAttribute('d')")
    drawn = [float(found) for found in re.findall(r"[ML](-?[\d.]+) ", rate)]
    assert rate.count("M") == 2 and not [at for at in drawn if x < at < x + width] and min(drawn) < x < max(drawn)
    assert not tab.complaints


def test_the_paper_is_calibrated(shown: tuple[Tab, Recording, Classified]) -> None:
    tab, recording, _ = shown
    tab.value("show(20)")
    tab.value("new Promise(requestAnimationFrame)")
    coarse = tab.value("document.querySelectorAll('#strip .coarse')[1].getAttribute('d')")
    lines = [float(found) for found in re.findall(r"M([\d.]+) \d+v", coarse)]
    assert np.diff(lines) == pytest.approx(20), "5 mm are 0.2 s are 20 pixels"
    drawn = [
        float(found)
        for found in re.findall(r" (-?[\d.]+)", tab.value("document.querySelector('#strip .trace').getAttribute('d')"))
    ]
    first, last = round(20 * recording.fs), round((20 + tab.value("visible()")) * recording.fs)
    assert np.ptp(drawn) == pytest.approx(40 * np.ptp(recording.signals[0, first:last]), abs=1), "1 mV is 40 pixels"


COLOURS = """
    [["body", "backgroundColor"], ["body", "color"], [".paper", "fill"], [".trace", "stroke"]]
        .map(([of, which]) => getComputedStyle(document.querySelector(of))[which])
"""


@pytest.mark.parametrize("width", [420, 1400])
def test_nothing_overflows_and_dark_differs_from_light(tab: Tab, tmp_path: Path, width: int) -> None:
    opened(tab, tmp_path, *excerpt(), width=width)
    colours = []
    for scheme in ("light", "dark"):
        tab.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        colours.append(tab.value(COLOURS))
    tab.send("Emulation.setEmulatedMedia", features=[])
    assert all(light != dark for light, dark in zip(*colours, strict=True))
    assert tab.value("document.documentElement.scrollWidth") <= width
    assert not tab.complaints


def test_it_prints_strips_in_true_size(shown: tuple[Tab, Recording, Classified]) -> None:
    tab = shown[0]
    pdf = base64.b64decode(tab.send("Page.printToPDF", preferCSSPageSize=True)["data"])
    assert pdf.startswith(b"%PDF") and 1 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 4
    assert tab.value("document.querySelectorAll('#printed figure').length") >= 3
    tab.send("Emulation.setEmulatedMedia", media="print")
    width = tab.value("document.querySelector('#printed svg').getBoundingClientRect().width")
    assert width == pytest.approx(180 * 96 / 25.4, abs=0.5), "one unit of 720 is a quarter of a millimetre"
    assert tab.value("getComputedStyle($('events')).display") == "none"
    tab.send("Emulation.setEmulatedMedia", media="")


def test_a_hostile_name_is_shown_as_text(tab: Tab, tmp_path: Path) -> None:
    recording, beats = excerpt()
    hostile = replace(recording, name=HOSTILE, leads=(HOSTILE, "V1"), comments=("</script><script>alert(1)</script>",))
    opened(tab, tmp_path, hostile, beats)
    assert tab.value("$('record').textContent") == HOSTILE
    assert tab.value("document.querySelectorAll('img, script').length") == 2
    assert not tab.complaints


@pytest.mark.parametrize("beats", [0, 1, 2])
def test_short_twelve_lead_recordings_with_few_beats_open(tab: Tab, tmp_path: Path, beats: int) -> None:
    signals = np.random.default_rng(0).normal(0, 0.1, (12, 5000)).astype(np.float32)
    signals[3], signals[4, 500:800] = 0, np.nan
    found = classified(np.array([1000, 1400][:beats], dtype=np.int64), np.zeros(beats, np.int64))
    opened(tab, tmp_path, Recording("00001_hr", signals, 500.0, LEADS), found, 420)
    assert tab.value("document.querySelectorAll('#strip .trace').length") == 11
    assert tab.value("$('strip').textContent").count("not recorded") == 1
    paths = tab.value("[...document.querySelectorAll('#strip .trace')].map((path) => path.getAttribute('d'))")
    assert [path.count("M") for path in paths] == [1, 1, 1, 2, *[1] * 7], "a gap in the fifth lead"
    for key in ("v", "u", "+", "-"):
        tab.key(key)
    assert tab.value("document.documentElement.scrollWidth") <= 420
    assert not tab.complaints
