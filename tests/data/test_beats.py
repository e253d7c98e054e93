from __future__ import annotations

import time
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import clinics
import excerpts
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wfdb.io.annotation import ann_labels

from ecglib import aami
from ecglib.data import beats, records, rhythm
from ecglib.data.catalogues import annotated, kaggle_csv
from ecglib.data.records import RATE
from ecglib.errors import RecordError, UserError


@pytest.mark.real
def test_the_kachuee_cut_has_exactly_the_counts_of_the_kaggle_set_in_half_a_minute(real_mitdb: Path) -> None:
    start = time.process_time()
    found = beats.cut_records(excerpts.source(real_mitdb), "kachuee", ["MLII"])
    assert time.process_time() - start < 30
    counts = np.bincount(found.labels, minlength=5).tolist()
    assert dict(zip(aami.CLASSES, counts, strict=True)) == kaggle_csv.COUNTS
    assert found.left_out == {"no next beat": 48}
    assert found.records_left_out == {}


@pytest.mark.real
def test_annotated_beats_by_set(real_mitdb: Path) -> None:
    rows = {name: list(row.values()) for name, row in annotated.by_set(excerpts.source(real_mitdb)).items()}
    assert rows == {
        "DS1": [45866, 944, 3788, 415, 8, 51021],
        "DS2": [44259, 1837, 3221, 388, 7, 49712],
        "all": [90631, 2781, 7236, 803, 8043, 109494],
    }


@pytest.mark.parametrize(
    ("there", "leads", "chosen"),
    [
        ("V5 MLII", ["MLII"], [1]),  # as in record 114 of `mitdb`
        ("V5 V2", ["MLII", "V5"], [1, 0]),  # as in 102
        ("V1 II MLII", ["MLII"], [2]),
        ("I II III", ["MLII"], [1]),
        ("V1 DII", ["MLII"], [1]),
        ("V1 ML2", ["MLII"], [1]),
        ("RESP ECG1 ECG2", ["MLII"], [1]),
        ("ECG1 ECG2", ["MLII", "V1"], [0, 1]),
        ("V2 -II", ["MLII"], [0]),
        ("A B", ["V1", "MLII"], [0, 1]),
        ("ecg", ["MLII"], [0]),
    ],
)
def test_a_lead_stands_in_by_preference_or_the_first_does(there: str, leads: list[str], chosen: list[int]) -> None:
    assert beats.choose_leads(Path("100"), there.split(), leads) == chosen


@pytest.mark.parametrize(
    ("cut", "leads"), [("kachuee", ["MLII"]), *product(("centred", "relative"), (["MLII"], ["MLII", "V1"]))]
)
def test_shapes_ranges_and_what_is_left_out(cut: beats.Cut, leads: list[str], small_mitdb: Path) -> None:
    found = beats.cut_records(excerpts.source(small_mitdb / "mitdb", "100", "201", "202"), cut, leads)
    assert found.signals.shape == (len(found), *beats.shape(cut, len(leads)))
    assert found.features.shape == (len(found), len(beats.features_of(cut, len(leads))))
    assert found.features.dtype == found.signals.dtype == np.float32
    assert np.isfinite(found.signals).all() and np.isfinite(found.features).all()
    assert set(np.unique(found.patient)) == {"100", "201"}
    assert (found.labels == [aami.index_of(s) for s in found.symbol]).all()
    for name in ("100", "201", "202"):
        annotations = records.read_annotations(small_mitdb / "mitdb", name)
        r_peaks = annotations.samples[np.isin(annotations.symbols, list(aami.SYMBOLS))]
        kept = r_peaks[:-1] if cut == "kachuee" else r_peaks[1:-1]
        np.testing.assert_array_equal(found.sample[found.record == name], kept)
    if cut == "kachuee":
        assert found.left_out == {"no next beat": 3}
        assert found.signals.min() == 0
        np.testing.assert_allclose(found.signals.max(axis=(1, 2)), 1)
    else:
        assert found.left_out == {"no previous beat": 3, "no next beat": 3}


def test_a_kachuee_beat_is_the_recipe_at_125_hz(tmp_path: Path) -> None:
    signal = np.linspace(0, 3, 1000, dtype=np.float32)[None]
    cuts, features, keep, left_out = beats.kachuee(signal, np.array([1.0, 2.0, 4.0]))
    assert keep.tolist() == [True, True, False]
    assert features.shape == (2, 0)
    assert left_out == {"no next beat": 1, "no variation": 0}
    np.testing.assert_allclose(cuts[0, 0, :150], np.linspace(0, 1, 150), atol=1e-4)  # 1.2 x 1 s x 125 Hz
    assert (cuts[0, 0, 150:] == 0).all()
    np.testing.assert_allclose(cuts[1, 0], np.linspace(0, 1, 187), atol=1e-4)  # 1.2 x 2 s is cut at 187


def test_a_beat_without_variation_is_left_out_and_counted() -> None:
    signal = np.zeros((1, 500), dtype=np.float32)
    signal[0, 250:] = np.arange(250)
    peaks = np.array([0.1, 0.9, 2.2, 3.0])
    cuts, _, keep, left_out = beats.kachuee(signal, peaks)
    assert keep.tolist() == [False, True, True, False]
    assert left_out == {"no next beat": 1, "no variation": 1}
    both, _, kept, _ = beats.kachuee(np.concatenate([signal + np.arange(500) % 2, -2 * signal]), peaks)
    assert kept.tolist() == keep.tolist(), "in one of the leads"
    np.testing.assert_allclose(both[:, 1:].max(2), 1)
    np.testing.assert_allclose(both[:, 1, :50], 1 - cuts[:, 0, :50], atol=1e-6)


def test_a_centred_beat_has_its_r_peak_at_the_stated_place() -> None:
    signal = np.zeros((2, 2000), dtype=np.float32)
    signal[:, [250, 500, 750]] = [[1], [2]]
    cuts, _, keep, _ = beats.centred(signal, np.array([2.0, 4.0, 6.0]))
    assert keep.tolist() == [False, True, False]
    assert cuts.shape == (1, 2, beats.BEFORE + beats.AFTER)
    assert cuts[0].argmax(axis=1).tolist() == [beats.BEFORE] * 2


@given(st.lists(st.floats(0.2, 3.0), min_size=1, max_size=60))
def test_rr_features_follow_from_the_intervals(rr: list[float]) -> None:
    peaks = np.concatenate([[1.0], 1 + np.cumsum(rr)])
    found = beats.rr_features(peaks)
    assert found.shape == (len(peaks), 6)
    np.testing.assert_allclose(found[1:, 0], rr, rtol=1e-4)
    np.testing.assert_allclose(found[:-1, 1], rr, rtol=1e-4)
    np.testing.assert_allclose(found[:, 3], found[:, 0] / found[:, 2], rtol=1e-4)
    assert (found[:, 2] >= min(rr) * 0.999).all()
    assert (found[:, 2] <= max(rr) * 1.001).all()


@pytest.mark.parametrize("cut", ["centred", "relative"])
def test_only_labels_depend_on_symbols(cut: beats.Cut, small_mitdb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = beats.cut_record(excerpts.source(small_mitdb / "mitdb"), "208", cut, ["V1", "MLII"])
    read = beats.read_annotations

    def other_symbols(*record: Any) -> records.Annotations:
        found = read(*record)
        is_beat = np.isin(found.symbols, list(aami.SYMBOLS))
        return replace(found, symbols=np.where(is_beat, np.where(found.symbols == "N", "V", "N"), found.symbols))

    monkeypatch.setattr(beats, "read_annotations", other_symbols)
    after = beats.cut_record(excerpts.source(small_mitdb / "mitdb"), "208", cut, ["V1", "MLII"])
    assert (before.labels != after.labels).all()
    for name in ("features", "signals", "sample"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))


# --- annotations as they are in the wild -----------------------------------------------------------------------------

CODES = {label.symbol: label.label_store for label in ann_labels}
Marks = list[tuple[int, str | int, str]]


def marked(folder: Path, marks: Marks) -> Path:
    """A record of 4000 samples at 360 Hz, annotated at these samples by symbol or code, some with a note; in another
    channel each."""
    content, last = b"", 0
    for channel, (sample, symbol, note) in enumerate(marks):
        code = CODES[symbol] if isinstance(symbol, str) else symbol
        skip = (sample - last) % 2**32
        words = [59 << 10, skip >> 16, skip % 2**16, code << 10, 62 << 10 | channel, 63 << 10 | len(note)]
        content += b"".join(word.to_bytes(2, "little") for word in words) + note.encode() + b"\0" * (len(note) % 2)
        last = sample
    clinics.dat(folder, "900", clinics.units(4000, 2, fs=360), ["MLII", "V1"], fs=360)
    (folder / "900.atr").write_bytes(content + b"\0\0")
    return folder


def every(symbols: str, *more: tuple[int, str | int, str]) -> Marks:
    """A beat a second, and `more` between them or on them."""
    return sorted([(360 * (k + 1), symbol, "") for k, symbol in enumerate(symbols)] + [*more], key=lambda mark: mark[0])


@pytest.mark.parametrize(
    ("marks", "symbols", "left_out"),
    [
        (every("NBrn?NeE"), "NBrn?NeE", {}),
        (every("NNVN", (720, "+", "(AFIB"), (720, "~", ""), (900, "s", "")), "NNVN", {}),
        (every("NNVN", (720, "N", ""), (725, "L", "")), "NNVN", {"annotated again": 2}),
        (every("NNVN", (755, "N", "")), "NNVN", {"annotated again": 1}),
        (every("NNVN", (757, "N", "")), "NNNVN", {}),
        (every("NNVN", (755, "N", ""), (790, "N", "")), "NNNVN", {"annotated again": 1}),  # 70 from the kept
        (every("NNVN", (749, "Q", "")), "NNQVN", {}),
        (every("NNVN", (725, "Q", ""), (730, "N", "")), "NNQVN", {"annotated again": 1}),
        (every("NNVN", (900, 42, ""), (901, 42, "")), "NNVN", {"annotated as code 42, of no class": 2}),
        (
            every("NNVN", (0, '"', "## annotation type definitions"), (0, '"', "42 X pause"), (0, '"', "43 A early"),
                  (0, '"', "## end of definitions"), (0, '"', "1 Q is no definition"), (900, 42, ""), (1000, 43, "")),
            "NNAVN", {"annotated as X, of no class": 1},
        ),
        (every("NNVN", (0, '"', "## time resolution: 360"), (0, '"', "## time resolution: 360")), "NNVN", {}),
        (every("NNVN", (0, '"', "## seen by two")), "NNVN", {}),
        (every("NNVN", (0, '"', "## time resolution: 250")), "unreadable annotations", {}),
        (every("NNVN", (0, '"', "## time resolution: none")), "NNVN", {}),
        (every("NNVN", (720, "V", "")), "contradictory annotations", {}),
        (every("NNVN", (715, "N", ""), (720, "V", "")), "contradictory annotations", {}),
        (every("+~|"), "no beats", {}),
        (every("~", (0, '"', "")), "no beats", {}),
        ([(0, '"', "## seen by two")], "empty annotations", {}),
        ([(540, "N", ""), (180, "+", "")], "annotations out of order", {}),
    ],
)  # fmt: skip
def test_every_beat_is_cut_or_counted(tmp_path: Path, marks: Marks, symbols: str, left_out: dict[str, int]) -> None:
    folder = marked(tmp_path, marks)
    if " " in symbols:
        read = lambda place, *how: beats.cut_record(excerpts.source(place), *how)  # noqa: E731
        assert clinics.refused(read, folder, "900", "kachuee", ["MLII"]) == symbols
        return
    found = beats.cut_record(excerpts.source(folder), "900", "centred", ["MLII"])
    assert "".join(found.symbol) == symbols[1:-1]
    assert found.left_out == {"no previous beat": 1, "no next beat": 1, **left_out}
    r_peaks = [sample for sample, symbol, _ in marks if symbol in CODES and str(symbol) in aami.SYMBOLS]
    if len(r_peaks) == len(symbols):
        np.testing.assert_allclose(found.features[:, 0], np.diff(r_peaks)[:-1] / 360, rtol=1e-6)


# --- relative ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leads", [1, 2])
def test_the_second_half_of_relative_channels_is_the_first_without_the_record_s_template(leads: int) -> None:
    draw = np.random.default_rng(0)
    peaks = np.cumsum(draw.uniform(0.6, 1.1, 41)) + 1
    signals = (0.4 * draw.normal(size=(leads, int(peaks[-1] * RATE) + 200))).astype(np.float32)
    cuts, features, keep, left_out = beats.relative(signals, peaks)
    assert keep.tolist() == [False] + [True] * 39 + [False]
    assert left_out == {"no previous beat": 1, "no next beat": 1}
    clean = np.stack([rhythm.without_baseline(lead) for lead in signals])
    start = np.round(peaks * RATE).astype(int) - beats.RELATIVE_BEFORE
    every = np.stack([clean[:, k : k + cuts.shape[2]] for k in start])
    np.testing.assert_array_equal(cuts[:, :leads], every[1:-1])
    np.testing.assert_allclose(
        cuts[:, leads:], (every - np.median(every[rhythm.not_premature(peaks)], 0))[1:-1], atol=1e-6
    )
    of_leads = [rhythm.features(clean[0], peaks), *(rhythm.shapes(lead, peaks) for lead in clean[1:])]
    expected = np.stack([column for each in of_leads for column in each.values()], 1).astype(np.float32)
    np.testing.assert_array_equal(features, expected[1:-1])


def test_features_are_chosen_by_name_or_pattern() -> None:
    every = beats.features_of("relative", 2)
    assert len(every) == 71 + 10 and [*every.values()] == [*range(81)] and {"width_2", "qrs_width"} < every.keys()
    chosen = beats.features_of("relative", 2, ["*_to_recent", "width_2"])
    assert chosen == {name: every[name] for name in ("rr+0_to_recent", "rr+1_to_recent", "width_2")}
    assert beats.features_of("kachuee", 1) == {} and [*beats.features_of("centred", 1)] == [*beats.RR_FEATURES]
    with pytest.raises(
        UserError, match=r"^features: qrs_with: no feature of the relative cut; did you mean qrs_width\?$"
    ):
        beats.features_of("relative", 1, ["*", "qrs_with"])


def test_relative_beats_are_bounded() -> None:
    signal = np.zeros((1, 3000), dtype=np.float32)
    peaks = np.arange(2.0, 20.0)
    signal[0, np.round(peaks * RATE).astype(int)] = 1
    signal[0, 1250] = 90  # an artefact on the R peak at 10 s
    cuts, *_ = beats.relative(signal, peaks)
    assert np.abs(cuts).max() == beats.RELATIVE_CLIP
    assert cuts[7].argmax(1).tolist() == [beats.RELATIVE_BEFORE] * 2
    assert cuts[3, 0].max() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_a_record_of_few_beats_gives_those_between_two(n: int) -> None:
    signal = np.random.default_rng(0).normal(size=(2, 2000)).astype(np.float32)
    for cut in (beats.centred, beats.relative):
        cuts, features, keep, left_out = cut(signal, 3.0 + np.arange(n))
        assert len(cuts) == len(features) == keep.sum() == max(n - 2, 0)
        assert (len(keep), sum(left_out.values())) == (n, min(n, 2))


def test_the_cache_gives_the_same_beats_by_cut_and_code(small_mitdb: Path, empty: Path, code: Path) -> None:
    few = excerpts.source(small_mitdb / "mitdb", "100", "101")

    def kept() -> int:
        return len(list((empty / "cache" / "beats").iterdir()))

    first, second = beats.load(few, "kachuee"), beats.load(few, "kachuee")
    assert kept() == 1
    for name in beats.ARRAYS:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert (first.left_out, first.records_left_out) == (second.left_out, second.records_left_out)
    beats.load(few, "centred")
    assert kept() == 2
    for name, made in (("losses.py", 2), ("data/rhythm.py", 3)):
        with (code / name).open("a", encoding="utf-8") as module:
            module.write("\nCHANGED = True\n")
        beats.load(few, "kachuee")
        assert kept() == made


def test_a_broken_record_is_set_aside_with_its_reason(small_mitdb: Path, tmp_path: Path) -> None:
    for file in (small_mitdb / "mitdb").glob("10[01].*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "101.dat").write_bytes(b"")
    found = beats.cut_records(excerpts.source(tmp_path, "100", "101"), "kachuee", ["MLII"])
    assert set(found.record) == {"100"}
    assert list(found.records_left_out) == ["101"]
    assert "empty" in found.records_left_out["101"]
    with pytest.raises(RecordError, match=r"101\.dat"):
        beats.cut_records(excerpts.source(tmp_path, "101"), "kachuee", ["MLII"])


def test_limit_keeps_every_class_and_the_order(small_mitdb: Path) -> None:
    every = beats.cut_records(excerpts.source(small_mitdb / "mitdb"), "kachuee", ["MLII"])
    every = replace(every, sample=np.arange(len(every)))
    for n in (200, 500, 2000):
        few = beats.limit(every, n)
        assert len(few) <= n and (np.diff(few.sample) > 0).all()
        assert set(few.labels) == set(every.labels)
