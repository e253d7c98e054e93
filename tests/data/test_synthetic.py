"""The synthetic records: real WFDB files with the shape, the classes and the habits of mitdb."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from ecglib import aami
from ecglib.data import records, synthetic
from ecglib.errors import UserError


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic")
    start = time.process_time()
    synthetic.write(folder)
    # 3.6 s on one core of an AMD EPYC; the bound leaves room for a slow machine.
    assert time.process_time() - start < 30
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_every_record_of_mitdb_reads_without_complaint(whole: Path) -> None:
    names = records.list_records(whole)
    assert sorted(names) == sorted((*aami.DS1, *aami.DS2, *aami.PACED))
    for name in names:
        recording = records.read_recording(whole, name)
        assert recording.signals.shape == (2, 6 * 60 * 360)
        assert recording.fs == 360
        assert 0.5 < np.ptp(recording.signals) < 10
        assert "synthetic" in recording.comments[0]
        assert records.read_annotations(whole, name).samples.size > 200


def test_leads_are_named_as_in_mitdb(whole: Path) -> None:
    leads = {name: records.read_recording(whole, name).leads for name in ("100", "102", "103", "104", "114")}
    assert leads == {
        "100": ("MLII", "V5"), "102": ("V5", "V2"), "103": ("MLII", "V2"), "104": ("V5", "V2"), "114": ("V5", "MLII"),
    }  # fmt: skip


def test_every_class_in_every_set(whole: Path) -> None:
    training = tuple(name for name in aami.DS1 if name not in aami.DS1_VALIDATION)
    counts: dict[str, Counter[str]] = {}
    sets = {"train": training, "val": aami.DS1_VALIDATION, "DS2": aami.DS2, "paced": aami.PACED}
    for set_name, names in sets.items():
        symbols = [symbol for name in names for symbol in records.read_annotations(whole, name).symbols]
        counts[set_name] = Counter(aami.SYMBOLS[symbol] for symbol in symbols if symbol in aami.SYMBOLS)
    for set_name in ("train", "val", "DS2"):
        assert all(counts[set_name][name] >= 2 for name in aami.CLASSES), counts[set_name]
        assert counts[set_name]["N"] / counts[set_name].total() > 0.8
    assert counts["paced"]["Q"] / counts["paced"].total() > 0.7
    assert 20_000 < sum(count.total() for count in counts.values()) < 25_000


def test_ectopic_beats_come_early_and_ventricular_ones_pause_fully(whole: Path) -> None:
    before: dict[str, list[float]] = {"N": [], "A": [], "V": []}
    around: list[float] = []
    for name in ("100", "118", "119", "205", "209", "228"):
        annotations = records.read_annotations(whole, name)
        rr, symbols = np.diff(annotations.samples[1:]) / 360, annotations.symbols[1:]
        usual = float(np.median(rr))
        for i in range(1, rr.size):
            if symbols[i] in before and symbols[i - 1] == "N" and symbols[i + 1] == "N":
                before[symbols[i]].append(float(rr[i - 1]) / usual)
                if symbols[i] == "V":
                    around.append(float(rr[i - 1] + rr[i]) / usual)
    assert abs(np.median(before["N"]) - 1) < 0.1
    assert 0.6 < np.median(before["A"]) < 0.9
    assert 0.5 < np.median(before["V"]) < 0.85
    assert abs(np.median(around) - 2) < 0.1


def test_ventricular_beats_are_broad(whole: Path) -> None:
    """Half-height width of each beat in the 60 ms around the mark, on average over records with many such beats."""
    broad: dict[str, list[int]] = {"N": [], "V": []}
    for name in ("106", "119", "200", "208", "221", "228", "233"):
        signal = records.read_recording(whole, name, ["MLII"]).signals[0]
        annotations = records.read_annotations(whole, name)
        for peak, symbol in zip(annotations.samples, annotations.symbols, strict=True):
            if symbol in broad and 50 < peak < signal.size - 50:
                deviation = np.abs(signal[peak - 36 : peak + 36] - np.median(signal[peak - 50 : peak + 50]))
                broad[symbol].append(int(np.count_nonzero(deviation > deviation.max() / 2)))
    assert np.mean(broad["V"]) > 1.5 * np.mean(broad["N"])


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    names = ("201", "102")
    synthetic.write(tmp_path / "a", seed=3, minutes=0.5, records=names)
    synthetic.write(tmp_path / "b", seed=3, minutes=0.5, records=names)
    synthetic.write(tmp_path / "c", seed=4, minutes=0.5, records=names)
    synthetic.write(tmp_path / "d", seed=3, minutes=0.5, records=("102",))
    a, c, d = content(tmp_path / "a"), content(tmp_path / "c"), content(tmp_path / "d")
    assert sorted(a) == ["102.atr", "102.dat", "102.hea", "201.atr", "201.dat", "201.hea", "RECORDS"]
    assert a == content(tmp_path / "b")
    assert a["201.dat"] != c["201.dat"]
    assert a["102.dat"] == d["102.dat"]


def test_patients_differ_and_201_and_202_are_one(whole: Path) -> None:
    def mean_beat(name: str) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        signal = records.read_recording(whole, name, ["MLII"]).signals[0]
        annotations = records.read_annotations(whole, name)
        peaks = annotations.samples[annotations.symbols == "N"][1:-1]
        beat = np.mean([signal[peak - 30 : peak + 60] for peak in peaks], axis=0)
        return np.asarray(beat - beat.mean())

    beats = {name: mean_beat(name) for name in ("100", "201", "202", "203", "230")}
    same = np.abs(beats["201"] - beats["202"]).max()
    others = [np.abs(beats["201"] - beats[name]).max() for name in ("100", "203", "230")]
    assert same < 0.06 < min(others)


def test_unknown_record_and_too_short(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no 999"):
        synthetic.write(tmp_path / "x", records=("100", "999"))
    with pytest.raises(UserError, match=r"0\.5 or more"):
        synthetic.write(tmp_path / "x", minutes=0.1)
    assert not (tmp_path / "x").exists()


def test_classes_overlap_as_real_ones_do(whole: Path) -> None:
    """A linear reading of shape and RR on unseen patients is far from chance and far from perfect."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import recall_score

    def beats(names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        rows, labels = [], []
        for name in names:
            signal = records.read_recording(whole, name, ["MLII"]).signals[0]
            annotations = records.read_annotations(whole, name)
            for i in range(2, annotations.samples.size - 1):
                peak, label = annotations.samples[i], aami.SYMBOLS[annotations.symbols[i]]
                if label in "NSV" and 90 <= peak < signal.size - 126:
                    rr = np.diff(annotations.samples[i - 1 : i + 2]) / 360
                    rows.append([*signal[peak - 90 : peak + 126 : 6], *rr])
                    labels.append(label)
        return np.array(rows), np.array(labels)

    (x, y), (x_test, y_test) = beats(aami.DS1[::2]), beats(aami.DS2[::2])
    model = LogisticRegression(class_weight="balanced", max_iter=300).fit(x, y)
    macro_recall = recall_score(y_test, model.predict(x_test), average="macro")
    assert 0.45 < macro_recall < 0.97
