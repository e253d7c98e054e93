from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecglib import aami
from ecglib.data import beats, databases, records, rhythm
from ecglib.data.catalogues import kaggle_csv, mitdb
from ecglib.data.records import RATE
from ecglib.errors import RecordError

CUTS = get_args(beats.Cut)


@pytest.fixture(scope="module")
def real_kachuee(real_mitdb: Path) -> beats.Beats:
    return beats.cut_records(real_mitdb, records.list_records(real_mitdb), "kachuee", ["MLII"])


@pytest.mark.real
def test_the_kachuee_cut_has_exactly_the_counts_of_the_kaggle_set(real_kachuee: beats.Beats) -> None:
    found = np.bincount(real_kachuee.labels, minlength=5).tolist()
    assert dict(zip(aami.CLASSES, found, strict=True)) == kaggle_csv.COUNTS
    assert real_kachuee.left_out == {"no next beat": 48}
    assert real_kachuee.records_left_out == {}


@pytest.mark.real
def test_annotated_beats_by_set(real_mitdb: Path) -> None:
    source = databases.Source("mitdb", real_mitdb, False, tuple(records.list_records(real_mitdb)))
    rows = {name: list(row.values()) for name, row in mitdb.by_set(source).items()}
    assert rows == {
        "DS1": [45866, 944, 3788, 415, 8, 51021],
        "DS2": [44259, 1837, 3221, 388, 7, 49712],
        "all": [90631, 2781, 7236, 803, 8043, 109494],
    }


@pytest.mark.real
def test_all_records_are_cut_in_a_minute_of_the_processor(real_mitdb: Path) -> None:
    start = time.process_time()
    for cut in ("kachuee", "centred"):
        beats.cut_records(real_mitdb, records.list_records(real_mitdb), cut, ["MLII"])
    assert time.process_time() - start < 60


@pytest.mark.real
def test_record_114_gives_the_lead_named_and_102_its_first(real_mitdb: Path) -> None:
    swapped = records.read_recording(real_mitdb, "114")
    assert swapped.leads[0] == "V5"
    chosen = beats.choose_leads(swapped, ["MLII"])
    assert chosen.leads == ("MLII",)
    np.testing.assert_array_equal(chosen.signals[0], swapped.signals[1])
    without = records.read_recording(real_mitdb, "102")
    assert beats.choose_leads(without, ["MLII", "V5"]).leads == ("V2", "V5")


@pytest.mark.parametrize("cut", CUTS)
def test_shapes_and_ranges(cut: beats.Cut, small_mitdb: Path) -> None:
    found = beats.cut_records(small_mitdb / "mitdb", ["100", "114", "201", "202"], cut, ["MLII"])
    assert found.signals.shape[1:] == (beats.n_channels(cut, 1), beats.n_samples(cut))
    assert found.features.shape == (len(found), beats.n_features(cut, 1))
    assert found.features.dtype == np.float32
    assert found.signals.dtype == np.float32
    assert set(np.unique(found.record)) == {"100", "114", "201", "202"}
    assert set(np.unique(found.patient)) == {"100", "114", "201"}
    assert (found.labels == [aami.index_of(s) for s in found.symbol]).all()
    for record in np.unique(found.record):
        assert (np.diff(found.sample[found.record == record]) > 0).all()
    if cut == "kachuee":
        assert found.signals.min() == 0
        np.testing.assert_allclose(found.signals.max(axis=(1, 2)), 1)


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
    _, _, keep, left_out = beats.kachuee(signal, np.array([0.1, 0.9, 2.2, 3.0]))
    assert keep.tolist() == [False, True, True, False]
    assert left_out == {"no next beat": 1, "no variation": 1}


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


@pytest.mark.parametrize("leads", [["MLII"], ["MLII", "V1"], ["V1"]])
@pytest.mark.parametrize("cut", ["centred", "relative"])
def test_neither_signals_nor_features_depend_on_symbols(
    cut: beats.Cut, leads: list[str], small_mitdb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = beats.cut_record(small_mitdb / "mitdb", "208", cut, leads)
    read = beats.read_annotations

    def other_symbols(folder: Path, name: str) -> records.Annotations:
        found = read(folder, name)
        is_beat = np.isin(found.symbols, list(aami.SYMBOLS))
        symbols = np.where(is_beat, np.random.default_rng(0).permutation(found.symbols), found.symbols)
        return records.Annotations(
            found.samples, np.where(is_beat & ~np.isin(symbols, list(aami.SYMBOLS)), "V", symbols)
        )

    monkeypatch.setattr(beats, "read_annotations", other_symbols)
    after = beats.cut_record(small_mitdb / "mitdb", "208", cut, leads)
    assert (before.labels != after.labels).any()
    np.testing.assert_array_equal(before.features, after.features)
    np.testing.assert_array_equal(before.signals, after.signals)
    np.testing.assert_array_equal(before.sample, after.sample)


# --- relative ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leads", [["MLII"], ["MLII", "V1"]])
@pytest.mark.parametrize("cut", ["centred", "relative"])
def test_of_every_record_the_first_and_last_beat_are_left_out(
    cut: beats.Cut, leads: list[str], small_mitdb: Path
) -> None:
    found = beats.cut_records(small_mitdb / "mitdb", ["100", "208"], cut, leads)
    for name in ("100", "208"):
        annotations = records.read_annotations(small_mitdb / "mitdb", name)
        r_peaks = annotations.samples[np.isin(annotations.symbols, list(aami.SYMBOLS))]
        np.testing.assert_array_equal(found.sample[found.record == name], r_peaks[1:-1])
    assert found.left_out == {"no previous beat": 2, "no next beat": 2}
    shape = len(found), beats.n_channels(cut, len(leads)), beats.n_samples(cut)
    assert found.signals.shape == shape
    assert found.features.shape == (len(found), beats.n_features(cut, len(leads)))
    assert np.isfinite(found.signals).all()
    assert np.isfinite(found.features).all()


@pytest.mark.parametrize("leads", [1, 2])
def test_the_second_half_of_relative_channels_is_the_first_without_the_record_s_median(leads: int) -> None:
    draw = np.random.default_rng(0)
    peaks = np.cumsum(draw.uniform(0.6, 1.1, 41)) + 1
    signals = (0.4 * draw.normal(size=(leads, int(peaks[-1] * RATE) + 200))).astype(np.float32)
    cuts, features, keep, left_out = beats.relative(signals, peaks)
    assert cuts.shape == (39, 2 * leads, beats.RELATIVE_BEFORE + beats.RELATIVE_AFTER)
    assert features.shape == (39, beats.n_features("relative", leads))
    assert keep.tolist() == [False] + [True] * 39 + [False]
    assert left_out == {"no previous beat": 1, "no next beat": 1}
    clean = np.stack([rhythm.without_baseline(lead) for lead in signals])
    start = np.round(peaks * RATE).astype(int) - beats.RELATIVE_BEFORE
    every = np.stack([clean[:, k : k + cuts.shape[2]] for k in start])
    np.testing.assert_array_equal(cuts[:, :leads], every[1:-1])
    np.testing.assert_allclose(cuts[:, leads:], (every - np.median(every, 0))[1:-1], atol=1e-6)
    first, _ = rhythm.features(clean[0], peaks, heart_rate=True)
    np.testing.assert_array_equal(features[:, : rhythm.N_FEATURES], first[1:-1])
    if leads == 2:
        np.testing.assert_array_equal(features[:, rhythm.N_FEATURES :], rhythm.shapes(clean[1], peaks)[1:-1])


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
@pytest.mark.parametrize("cut", [beats.centred, beats.relative])
def test_a_record_of_few_beats_gives_those_between_two(cut: Callable[..., beats.CutResult], n: int) -> None:
    signal = np.random.default_rng(0).normal(size=(2, 2000)).astype(np.float32)
    cuts, features, keep, left_out = cut(signal, 3.0 + np.arange(n))
    assert len(cuts) == len(features) == keep.sum() == max(n - 2, 0)
    assert len(keep) == n
    assert sum(left_out.values()) == min(n, 2)


def test_cuts_follow_from_the_code_of_data(project: Path, code: Path) -> None:
    source = databases.get("mitdb")
    few = replace(source, records=source.records[:2])
    beats.load(few, "kachuee")
    for name, made in (("losses.py", 1), ("data/rhythm.py", 2)):
        with (code / name).open("a", encoding="utf-8") as module:
            module.write("\nCHANGED = True\n")
        beats.load(few, "kachuee")
        assert len(list((project / "cache" / "beats").iterdir())) == made


def test_a_broken_record_is_set_aside_with_its_reason(small_mitdb: Path, tmp_path: Path) -> None:
    for name in ("100", "101"):
        for suffix in ("hea", "dat", "atr"):
            (tmp_path / f"{name}.{suffix}").write_bytes((small_mitdb / "mitdb" / f"{name}.{suffix}").read_bytes())
    (tmp_path / "101.dat").write_bytes(b"")
    found = beats.cut_records(tmp_path, ["100", "101"], "kachuee", ["MLII"])
    assert set(found.record) == {"100"}
    assert list(found.records_left_out) == ["101"]
    assert "empty" in found.records_left_out["101"]
    with pytest.raises(RecordError, match=r"101\.dat"):
        beats.cut_records(tmp_path, ["101"], "kachuee", ["MLII"])


def test_the_cache_gives_the_same_beats_and_a_changed_record_new_ones(project: Path, small_mitdb: Path) -> None:
    source = databases.get("mitdb")
    first, second = beats.load(source, "kachuee"), beats.load(source, "kachuee")
    assert len(list((project / "cache" / "beats").iterdir())) == 1
    for name in beats.ARRAYS:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert first.left_out == second.left_out
    beats.load(source, "centred")
    assert len(list((project / "cache" / "beats").iterdir())) == 2


@pytest.mark.parametrize("n", [200, 500, 2000])
def test_limit_keeps_every_class_and_the_order(n: int, small_mitdb: Path) -> None:
    every = beats.cut_records(small_mitdb / "mitdb", records.list_records(small_mitdb / "mitdb"), "kachuee", ["MLII"])
    few = beats.limit(every, n)
    assert len(few) <= n
    assert set(np.unique(few.labels)) == set(np.unique(every.labels))
    positions = {(r, s): i for i, (r, s) in enumerate(zip(every.record, every.sample, strict=True))}
    chosen = [positions[r, s] for r, s in zip(few.record, few.sample, strict=True)]
    assert chosen == sorted(set(chosen))
