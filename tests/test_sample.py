"""The embedded sample: real excerpts, whose beats are counted, and which can be made again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import wfdb

from ecglib import aami
from ecglib.data import databases, records
from ecglib.data.catalogues import annotated, challenge, ptb_xl
from tools import make_sample

SAMPLE = databases.SAMPLE


@pytest.fixture
def nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECGLIB_DATA", str(tmp_path))


@pytest.mark.usefixtures("nothing")
def test_beats_of_the_sample() -> None:
    source = databases.get("mitdb")
    assert source.sample and source.records == databases.DATABASES["mitdb"].records
    by_record = annotated.by_record(source)
    counts = {
        "DS1": [6936, 485, 942, 147, 2],
        "DS2": [7156, 488, 701, 109, 2],
        "PACED": [127, 0, 75, 0, 1271],
    }
    for name, expected in counts.items():
        assert by_record.loc[list(getattr(aami, name))].sum().tolist() == expected
    assert by_record.loc[list(aami.DS1_VALIDATION), ["S", "V", "F"]].sum().tolist() == [92, 152, 15]
    flutter = wfdb.rdann(str(SAMPLE / "mitdb" / "207"), "atr").symbol
    assert {"[", "!", "]"} <= set(flutter)
    for name in source.records:
        first = wfdb.rdann(str(SAMPLE / "mitdb" / name), "atr")
        assert first.symbol[0] == "+" and first.aux_note[0].startswith("("), "the rhythm in force"


@pytest.mark.usefixtures("nothing")
def test_recordings_of_the_sample() -> None:
    source = databases.get("ptb-xl")
    found = ptb_xl.read(source)
    folds = pd.Series([entry.fold for entry in found.entries])
    assert not found.refused and folds.value_counts().to_dict() == dict.fromkeys(range(1, 11), 8)
    assert len({entry.patient for entry in found.entries}) == 80
    sick = [entry for entry in found.entries if "MI" in entry.labels]
    assert len(sick) == 24 and {entry.fold for entry in sick} == set(range(1, 11))
    others = challenge.read(databases.get("challenge-2021"))
    assert {entry.source for entry in others.entries} == {*challenge.SOURCES.values()} - {"INCART"}
    assert (
        sum("which is no record name" in str(records.read_repaired(e.folder, e.record).repairs) for e in others.entries)
        == 3
    )
    assert max(records.read_repaired(e.folder, e.record).signals.shape[1] for e in others.entries) == 10_000
    assert records.list_records(SAMPLE / "nstdb") == ["bw", "ma"]


def test_it_is_small_enough_to_ship() -> None:
    assert sum(path.stat().st_size for path in SAMPLE.rglob("*") if path.is_file()) <= 8_000_000


def test_made_again_from_the_whole_databases(real_data: Path, tmp_path: Path) -> None:
    """Signals, annotations and headers as they are in the package; compressed bytes may differ with the library."""
    for name, file in (("nstdb", "ma.dat"), ("ptb-xl", ptb_xl.TABLE), ("challenge-2021", "S0001.mat")):
        if not (real_data / name / file).is_file():
            pytest.skip(f"{name}: no real records in ECGLIB_DATA")
    make_sample.make(real_data, tmp_path)
    files = {path.relative_to(SAMPLE).as_posix() for path in SAMPLE.rglob("*") if path.is_file()} - {"README.md"}
    assert files == {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    for name in sorted(files):
        ours, again = SAMPLE / name, tmp_path / name
        if name.endswith(".dat"):
            continue
        assert ours.read_bytes() == again.read_bytes()
        if name.endswith(".hea") and "challenge" not in name:
            signals = [wfdb.rdrecord(str(path.with_suffix("")), physical=False).d_signal for path in (ours, again)]
            assert np.array_equal(*signals)


def test_the_excerpts_are_the_databases_own(real_data: Path) -> None:
    for name in ("100", "207", "232"):
        said = wfdb.rdheader(str(SAMPLE / "mitdb" / name)).comments[-1]
        start = int(said.split()[3]) * 360
        ours = wfdb.rdrecord(str(SAMPLE / "mitdb" / name), physical=False)
        whole = wfdb.rdrecord(str(real_data / "mitdb" / name), physical=False, sampfrom=start, sampto=start + 108_000)
        assert np.array_equal(ours.d_signal, whole.d_signal)
        assert (ours.sig_name, ours.adc_gain, ours.baseline) == (whole.sig_name, whole.adc_gain, whole.baseline)
        marks = [
            wfdb.rdann(str(folder / "mitdb" / name), "atr", sampfrom=first, sampto=first + 107_999, shift_samps=True)
            for folder, first in ((SAMPLE, 0), (real_data, start))
        ]
        n = len(marks[1].sample)
        assert np.array_equal(marks[0].sample[-n:], marks[1].sample) and marks[0].symbol[-n:] == marks[1].symbol
