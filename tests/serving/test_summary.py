"""What classified beats say: counted by hand, and what holds of any."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecglib import aami
from ecglib.serving.model import UNSURE, Classified
from ecglib.serving.summary import ARTEFACT, GAP, PAUSE, Summary, heart_rate, summarise

FS = 100.0


def summary(
    symbols: str, rr: list[float], *, start: float = 1.0, seconds: float = 600.0, top: float = 0.9,
    classes: tuple[str, ...] = aami.CLASSES,
) -> Summary:  # fmt: skip
    """Of beats with these classes and, in seconds, the intervals between them."""
    at = np.rint(FS * (start + np.cumsum([0.0, *rr])))[: len(symbols)].astype(np.int64)
    decided = np.array([classes.index(symbol) for symbol in symbols], dtype=np.int64)
    probability = np.full((len(symbols), len(classes)), (1 - top) / (len(classes) - 1), dtype=np.float32)
    probability[np.arange(len(symbols)), decided] = top
    return summarise(Classified(at, probability, decided, {}), FS, round(seconds * FS), classes)


def test_counts_and_burden_are_those_of_a_hand_count() -> None:
    found = summary("NNVNSNVVNVVVNVVVVNSSN", [1.0] * 20, seconds=1200)
    assert found.counts == {"N": 8, "S": 3, "V": 10, "F": 0, "Q": 0}
    veb, sveb = found.ectopy["VEB"], found.ectopy["SVEB"]
    assert (veb.beats, veb.couplets, veb.runs, veb.longest_run) == (10, 1, 2, 4)
    assert (sveb.beats, sveb.couplets, sveb.runs, sveb.longest_run) == (3, 1, 0, 0)
    assert veb.per_hour == 30 and veb.percent == pytest.approx(1000 / 21)
    told = [(event.kind, event.start, event.end, event.text) for event in found.events]
    assert told == [
        ("V couplet", 7.0, 8.0, "2 V at 60/min"),
        ("V run", 10.0, 12.0, "3 V at 60/min"),
        ("V run", 14.0, 17.0, "4 V at 60/min, the longest"),
        ("S couplet", 19.0, 20.0, "2 S at 60/min"),
        ("no beats", 21.0, 1200.0, "no beat for 1179 s: look at the signal"),
    ]


def test_a_pause_is_told_and_a_loss_of_signal_is_none() -> None:
    found = summary("NNNNNN", [1.0, 2.0, 1.99, 10.0, 10.01], seconds=30)
    assert (found.pauses, found.longest_pause) == (2, 10.0)
    assert [(event.kind, event.start, event.end) for event in found.events] == [
        ("pause", 2.0, 4.0), ("pause", 5.99, 15.99), ("no beats", 15.99, 26.0),
    ]  # fmt: skip


def test_beats_on_either_side_of_a_loss_do_not_succeed_each_other() -> None:
    found = summary("VVV", [1.0, 11.0], seconds=14)
    assert (found.ectopy["VEB"].couplets, found.ectopy["VEB"].runs) == (1, 0)


def test_heart_rate_is_of_eight_intervals_without_artefacts() -> None:
    found = summary("N" * 25, [1.0] * 8 + [0.5] * 8 + [0.1] + [1.5] * 7, seconds=30)
    assert found.heart_rate is not None
    assert (found.heart_rate.lowest, found.heart_rate.highest) == (60.0, 120.0), "the slow ones are fewer than eight"
    assert found.heart_rate.mean == pytest.approx(60 * 23 / (8 + 4 + 10.5))
    few = summary("NNN", [1.0, 0.5], seconds=10).heart_rate
    assert few is not None and few.lowest == few.highest == pytest.approx(80)
    assert summary("N", [], seconds=10).heart_rate is None
    assert summary("NN", [GAP + 1], seconds=20).heart_rate is None


def test_the_fastest_and_the_slowest_minute_are_whole_ones() -> None:
    rr = [1.0] * 60 + [0.5] * 120 + [2 / 3] * 90 + [0.4] * 70
    found = summary("N" * 341, rr, start=0.0, seconds=208)
    minutes = {event.kind: (event.start, event.end, event.text) for event in found.events}
    assert minutes == {
        "fastest minute": (60.0, 120.0, "120/min on average"),
        "slowest minute": (0.0, 60.0, "60/min on average"),
    }
    assert not summary("N" * 115, [1.0] * 114, seconds=119).events, "there is one whole minute"


def test_the_model_is_unsure_below_the_limit_alone() -> None:
    assert summary("NV", [1.0], top=UNSURE).unsure == 0
    found = summary("NV", [1.0], top=UNSURE - 0.01)
    assert (found.unsure, found.unsure_percent) == (2, 100.0)


def test_no_beats_and_other_classes_are_told_too() -> None:
    found = summary("", [], seconds=60)
    assert (found.beats, found.unsure_percent, found.heart_rate, found.longest_pause) == (0, None, None, None)
    assert [event.kind for event in found.events] == ["no beats"]
    assert summary("NV", [1.0], classes=("N", "V")).ectopy.keys() == {"VEB"}


RECORDS = st.lists(st.tuples(st.sampled_from("NSVFQ"), st.floats(0.05, 15.0)), max_size=60)


@given(RECORDS, st.floats(0.0, 1.0))
@settings(max_examples=100)
def test_of_any_beats_the_numbers_agree_with_each_other(beats: list[tuple[str, float]], top: float) -> None:
    symbols, rr = "".join(symbol for symbol, _ in beats), [interval for _, interval in beats]
    found = summary(symbols, rr[1:], seconds=sum(rr) + 5, top=top)
    assert json.loads(json.dumps(asdict(found), allow_nan=False)) == asdict(found)
    assert sum(found.counts.values()) == found.beats == len(symbols)
    for symbol, name in (("V", "VEB"), ("S", "SVEB")):
        said = found.ectopy[name]
        runs = [event for event in found.events if event.kind == f"{symbol} run"]
        assert (said.beats, said.runs) == (symbols.count(symbol), len(runs))
        assert 3 * said.runs + 2 * said.couplets <= said.beats
        assert said.longest_run == max((int(event.text.split()[0]) for event in runs), default=0)
    assert all(0 <= event.start < event.end <= found.seconds for event in found.events)
    assert [event.start for event in found.events] == sorted(event.start for event in found.events)
    assert found.longest_pause is None or PAUSE - 1e-9 <= found.longest_pause <= GAP
    if found.heart_rate is not None:
        rate = found.heart_rate
        assert 60 / GAP - 1e-9 <= rate.lowest <= rate.highest <= 60 / ARTEFACT + 1e-9


@given(st.lists(st.integers(20, 1000), min_size=1, max_size=60), st.integers(1, 5))
@settings(max_examples=50)
def test_heart_rate_knows_no_sampling_rate(rr: list[int], times: int) -> None:
    sample = np.cumsum([0, *rr])
    found = heart_rate(sample, FS)
    assert len(found) == len(sample)
    np.testing.assert_allclose(heart_rate(times * sample, times * FS), found)
