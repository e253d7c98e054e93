from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecglib import aami
from ecglib.data import beats, counts, records, sources
from ecglib.errors import RecordError


@pytest.fixture(scope="module")
def real_kachuee(real_mitdb: Path) -> beats.Beats:
    return beats.cut_records(real_mitdb, records.list_records(real_mitdb), "kachuee", ["MLII"])


@pytest.mark.real
def test_the_kachuee_cut_has_exactly_the_counts_of_the_kaggle_set(real_kachuee: beats.Beats) -> None:
    found = np.bincount(real_kachuee.labels, minlength=5).tolist()
    assert dict(zip(aami.CLASSES, found, strict=True)) == counts.KAGGLE
    assert real_kachuee.left_out == {"no next beat": 48}
    assert real_kachuee.records_left_out == {}


@pytest.mark.real
def test_annotated_beats_by_set(real_mitdb: Path) -> None:
    source = sources.Source("mitdb", real_mitdb, False, tuple(records.list_records(real_mitdb)))
    rows = {name: list(row.values()) for name, row in counts.by_set(source).items()}
    assert rows == {
        "DS1": [45866, 944, 3788, 415, 8, 51021],
        "DS2": [44259, 1837, 3221, 388, 7, 49712],
        "all": [90631, 2781, 7236, 803, 8043, 109494],
    }


@pytest.mark.real
def test_all_records_are_cut_in_ten_seconds(real_mitdb: Path) -> None:
    start = time.perf_counter()
    for cut in ("kachuee", "centred"):
        beats.cut_records(real_mitdb, records.list_records(real_mitdb), cut, ["MLII"])
    assert time.perf_counter() - start < 20


@pytest.mark.real
def test_record_114_gives_the_lead_named_and_102_its_first(real_mitdb: Path) -> None:
    swapped = records.read_recording(real_mitdb, "114")
    assert swapped.leads[0] == "V5"
    chosen = beats._choose_leads(swapped, ["MLII"])
    assert chosen.leads == ("MLII",)
    np.testing.assert_array_equal(chosen.signals[0], swapped.signals[1])
    without = records.read_recording(real_mitdb, "102")
    assert beats._choose_leads(without, ["MLII", "V5"]).leads == ("V2", "V5")


@pytest.mark.parametrize("cut", ["kachuee", "centred"])
def test_shapes_and_ranges(cut: beats.Cut, small_mitdb: Path) -> None:
    found = beats.cut_records(small_mitdb / "mitdb", ["100", "114", "201", "202"], cut, ["MLII"])
    assert found.signals.shape[1:] == (1, beats.n_samples(cut))
    assert found.signals.dtype == np.float32
    assert set(np.unique(found.record)) == {"100", "114", "201", "202"}
    assert set(np.unique(found.patient)) == {"100", "114", "201"}
    assert (found.labels == [aami.index_of(s) for s in found.symbol]).all()
    for record in np.unique(found.record):
        assert (np.diff(found.sample[found.record == record]) > 0).all()
    if cut == "kachuee":
        assert found.signals.min() == 0
        np.testing.assert_allclose(found.signals.max(axis=(1, 2)), 1)
    else:
        assert found.features.shape == (len(found), len(beats.RR_FEATURES))


def test_a_kachuee_beat_is_the_recipe_at_125_hz(tmp_path: Path) -> None:
    signal = np.linspace(0, 3, 1000, dtype=np.float32)[None]
    cuts, features, keep, left_out = beats._kachuee(signal, np.array([1.0, 2.0, 4.0]))
    assert keep.tolist() == [True, True, False]
    assert features.shape == (2, 0)
    assert left_out == {"no next beat": 1, "no variation": 0}
    np.testing.assert_allclose(cuts[0, 0, :150], np.linspace(0, 1, 150), atol=1e-4)  # 1.2 x 1 s x 125 Hz
    assert (cuts[0, 0, 150:] == 0).all()
    np.testing.assert_allclose(cuts[1, 0], np.linspace(0, 1, 187), atol=1e-4)  # 1.2 x 2 s is cut at 187


def test_a_beat_without_variation_is_left_out_and_counted() -> None:
    signal = np.zeros((1, 500), dtype=np.float32)
    signal[0, 250:] = np.arange(250)
    _, _, keep, left_out = beats._kachuee(signal, np.array([0.1, 0.9, 2.2, 3.0]))
    assert keep.tolist() == [False, True, True, False]
    assert left_out == {"no next beat": 1, "no variation": 1}


def test_a_centred_beat_has_its_r_peak_at_the_stated_place() -> None:
    signal = np.zeros((2, 2000), dtype=np.float32)
    signal[:, [250, 500, 750]] = [[1], [2]]
    cuts, _, keep, _ = beats._centred(signal, np.array([2.0, 4.0, 6.0]))
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


def test_features_do_not_depend_on_symbols(small_mitdb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = beats.cut_record(small_mitdb / "mitdb", "208", "centred", ["MLII"])
    read = beats.read_annotations

    def all_normal(folder: Path, name: str) -> records.Annotations:
        found = read(folder, name)
        symbols = np.where(np.isin(found.symbols, list(aami.SYMBOLS)), "N", found.symbols)
        return records.Annotations(found.samples, symbols)

    monkeypatch.setattr(beats, "read_annotations", all_normal)
    after = beats.cut_record(small_mitdb / "mitdb", "208", "centred", ["MLII"])
    assert len(np.unique(before.labels)) > 1
    np.testing.assert_array_equal(before.features, after.features)
    np.testing.assert_array_equal(before.signals, after.signals)


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
    source = sources.get("mitdb")
    first, second = beats.load(source, "kachuee"), beats.load(source, "kachuee")
    assert len(list((project / "cache" / "beats").iterdir())) == 1
    for name in beats._ARRAYS:
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
