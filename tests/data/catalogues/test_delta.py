"""Recordings in a Delta table: the same bits as from WFDB, however the table lies on disk, and what others write."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import clinics
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from ecglib.data import databases, export, recordings
from ecglib.data import delta as tables
from ecglib.data.catalogues import challenge, delta, folder, ptb_xl
from ecglib.data.catalogues.catalogue import Records
from ecglib.data.recordings import Batch, Example, TwelveLead
from ecglib.errors import RecordError, UserError

deltalake = pytest.importorskip("deltalake")
SAMPLE = databases.SAMPLE


@pytest.fixture(autouse=True)
def root(empty: Path) -> None:
    """An empty project, whose cache this is."""


def clinic(where: Path) -> Records:
    """Six recordings of a folder: few leads, in any order, by other names or negated; µV and gaps; and one cut off."""
    gaps = clinics.units(2500, 2, fs=250)
    gaps[0, 100:110] = -32768
    clinics.dat(where, "z/1", clinics.units(2500, 3, fs=250), ("V2", "DII", "-aVR"), fs=250)
    clinics.dat(where, "z/2", clinics.units(2000, 2, fs=200, seed=1), ("II", "V5"), fs=200, gain="1/mV")
    clinics.dat(where, "b", gaps, ("I", "V1"), fs=250)
    clinics.dat(where, "a", clinics.units(5000, seed=3))
    cut = clinics.dat(where, "c", clinics.units(5000, seed=4)).with_suffix(".dat")
    cut.write_bytes(cut.read_bytes()[:-100])
    names = ["z/1", "b", "z/2", "a", "c"]
    rows = {"record": names, "patient": ["p", "q", "p", None, "r"], "zeal": [1, 0, 0, 1, 0], "AF": [1, 0, 1, 0, 0]}
    about = {"none has it": [0] * 5, "age": [50, "x", 300, None, 4], "sex": ["f", "m", "", "F", "m"]}
    pd.DataFrame(rows | about).to_csv(where / "labels.csv", index=False)
    return folder.read(where, where / "labels.csv")


SOURCES: dict[str, Callable[[Path], Records]] = {
    "superclasses": lambda _: ptb_xl.read(databases.get("ptb-xl")),
    "scored": lambda _: ptb_xl.read(databases.get("ptb-xl"), True),
    "challenge": lambda _: challenge.joined(
        challenge.read(databases.get("challenge-2021")), ptb_xl.read(databases.get("ptb-xl"), True)
    ),
    "clinic": lambda where: clinic(where / "clinic"),
}


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype == np.float32 and np.array_equal(a.view(np.int32), b.view(np.int32))


def assert_same(source: Records, found: Records, refused: dict[str, str]) -> None:
    """What is known of the recordings, in their order, and all that is read."""
    read = [entry for entry in source.entries if entry.record not in refused]
    assert (found.classes, found.sample) == (source.classes, source.sample)
    for mine, its in zip(read, found.entries, strict=True):
        a, b = source.read(mine), found.read(its)
        same = replace(its, folder=mine.folder, row=None, repairs=mine.repairs)
        assert repr(same) == repr(mine), "NaN included"
        assert same_bits(a.signals, b.signals)
        assert (a.fs, a.leads, a.repairs) == (b.fs, b.leads, b.repairs)


@pytest.mark.parametrize("name", SOURCES)
def test_recordings_from_a_table_are_those_of_the_source(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "SAMPLE", SAMPLE)
    source = SOURCES[name](tmp_path)
    refused = export.table(source, tmp_path / "table")
    assert refused == ({"c": "truncated signal"} if name == "clinic" else {})
    found = delta.read(str(tmp_path / "table"))
    assert_same(source, found, refused)
    assert len(found.entries) == len(source.entries) - len(refused) > 3
    a, b = TwelveLead(source, 100.0), TwelveLead(found, 100.0)
    mine = [one for one in map(a.__getitem__, range(len(a))) if isinstance(one, Example)]
    for one, two in zip(mine, map(b.__getitem__, range(len(b))), strict=True):
        assert isinstance(two, Example) and same_bits(one.x.numpy(), two.x.numpy())
        assert one.y.equal(two.y) and one.known.equal(two.known)


@pytest.mark.parametrize("how", ["shuffled", "partitioned", "compacted", "of other types", "appended"])
def test_however_the_table_lies_on_disk(how: str, tmp_path: Path) -> None:
    source = clinic(tmp_path / "clinic")
    refused = export.table(source, tmp_path / "table")
    whole = deltalake.DeltaTable(tmp_path / "table").to_pyarrow_table()
    where, some = tmp_path / "other", whole.take([2, 0, 3, 1])
    if how == "partitioned":
        some = some.set_column(some.schema.get_field_index("source"), "source", pa.array(["clinic"] * 4))
        deltalake.write_deltalake(where, some, partition_by=["source", "fold"])
    elif how in ("compacted", "appended"):
        for i in range(4):
            deltalake.write_deltalake(where, some.slice(i, 1), mode="append")
        if how == "compacted":
            deltalake.DeltaTable(where).optimize.compact()
    else:
        if how == "of other types":
            large = {"signal": pa.large_list(pa.float64()), "leads": pa.large_list(pa.large_string())}
            large |= {"record_id": pa.large_string(), "fold": pa.int64(), "age": pa.float32()}
            fields = [field.with_type(large.get(field.name, field.type)) for field in some.schema]
            some = some.cast(pa.schema(fields))
        deltalake.write_deltalake(where, some)
    assert_same(source, delta.read(str(where)), refused)


def table(**columns: Any) -> pa.Table:
    """Four recordings of two leads, 10 s at 250 Hz, of a patient each; with these columns, or without those that are
    None."""
    signals = [clinics.units(2500, 2, fs=250, seed=i).ravel() / np.float32(1000) for i in range(4)]
    whole = {
        "record_id": ["r0", "r1", "r2", "r3"], "patient": ["a", "b", "c", "d"], "fs": [250.0] * 4,
        "leads": [["II", "V1"]] * 4, "signal": signals, "labels": [["AF"], [], ["AF", "B"], ["B"]],
    }  # fmt: skip
    whole["signal"] = pa.array(signals, pa.list_(pa.float32()))
    return pa.table({name: values for name, values in (whole | columns).items() if values is not None})


def made(tmp_path: Path, rows: pa.Table, **how: Any) -> str:
    deltalake.write_deltalake(tmp_path / "table", rows, **how)
    return str(tmp_path / "table")


def signals_of(*changed: Any) -> pa.Array:
    first = table()["signal"].to_pylist()
    return pa.array([*changed, *first[len(changed) :]], pa.list_(pa.float64()))


def test_labels_folds_and_order_of_a_table_that_says_no_more(tmp_path: Path) -> None:
    found = delta.read(made(tmp_path, table().take([3, 1, 0, 2])))
    assert [entry.record for entry in found.entries] == ["r0", "r1", "r2", "r3"]
    assert [entry.labels for entry in found.entries] == [("AF",), (), ("AF", "B"), ("B",)]
    assert (found.classes, found.refused, found.assumed, found.sample) == (("AF", "B"), {}, (), False)
    assert len({entry.fold for entry in found.entries}) == 4, "dealt out by patient"
    assert {entry.source for entry in found.entries} == {"table"}
    assert np.isnan([[entry.age, entry.female] for entry in found.entries]).all()


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (pa.concat_tables([table(), table()]), "r0 stands in two rows; expected each record once"),
        (table()[:0], "it is empty; expected a row for each recording"),
        (table(record_id=["a", None, " ", "d"]), "2 rows without a record_id"),
        (table(record_id=[1, 2, 3, 4]), "column record_id is int64; expected string"),
        (table(patient=[1, 2, 3, 4]), "column patient is int64; expected string"),
        (table(labels=[[1]] * 4), r"column labels is list<element: int64>; expected array<string>"),
        (table(labels=["AF"] * 4), "column labels is string; expected array<string>"),
        (table(labels=[[]] * 2 + [["x"]] * 2)[:2], "no row has a label"),
        (table(labels=pa.array([None] * 4, pa.list_(pa.string()))), "no usable row; r0: no labels"),
        (table(fs=["250"] * 4), "column fs is string; expected double"),
        (table(signal=[[1, 2]] * 4), "column signal is list<element: int64>; expected array<float>"),
        (table(signal=[[[1.0]]] * 4), "column signal is list<element: list<.*expected array<float>"),
        (table(age=["60"] * 4), "column age is string; expected double"),
        (table(fold=[1.0] * 4), "column fold is double; expected int"),
        (
            table(patient=None),
            r"no column patient \(there are: record_id, fs, leads, signal, labels\); expected columns",
        ),
    ],
)
def test_a_table_that_is_none_of_recordings_is_refused_in_one_line(rows: pa.Table, said: str, tmp_path: Path) -> None:
    where = made(tmp_path, rows)
    with pytest.raises(UserError, match=f"^{where}: {said}") as caught:
        delta.read(where)
    assert "\n" not in str(caught.value)


NAN = float("nan")


@pytest.mark.parametrize(
    ("changed", "reasons", "repairs"),
    [
        ({"fs": pa.array([250, None, 50, 2000])}, ["missing value", "unsupported rate", "unsupported rate"], {}),
        ({"fs": [250.0, NAN, -1.0, float("inf")]}, ["unsupported rate"] * 3, {}),
        (
            {"leads": [["I", "DII"], ["II", "II"], ["I", "II", "V1"], ["MLII", "resp"]]},
            ["a lead twice", "signal and leads disagree", "no standard lead with a signal"],
            {},
        ),
        (
            {"leads": [["-aVR", "mdc_ecg_lead_V6"], None, [], [None, None]]},
            ["missing value", "missing value", "no standard lead with a signal"],
            {"r0": "negated by its name, so turned over: -aVR"},
        ),
        (
            {"signal": signals_of([NAN, *[0.1, 0.9] * 2499, None], None, [], [0.0] * 5000)},
            ["missing value", "empty signal", "no standard lead with a signal"],
            {"r0": "II, V1: samples without a number interpolated"},
        ),
        (
            {"signal": signals_of([500.0, -500.0] * 2500, [1e300] * 5000, [5e6, -5e6] * 2500, [0.1] * 200)},
            ["no standard lead with a signal", "implausible amplitude", "short signal"],
            {"r0": "µV written as mV"},
        ),
    ],
)
def test_a_bad_recording_is_refused_and_what_can_be_is_put_right(
    changed: dict[str, Any], reasons: list[str], repairs: dict[str, str], tmp_path: Path
) -> None:
    found = delta.read(made(tmp_path, table(**changed)))
    repaired, refused = recordings.survey(TwelveLead(found))
    assert refused == dict(zip(["r1", "r2", "r3"], reasons, strict=True))
    assert {name: said[0] for name, said in repaired.items()} == repairs


def test_rows_that_the_columns_can_not_place_are_set_aside(tmp_path: Path) -> None:
    rows = table(
        patient=["a", "a", "", None], fold=[1, 2, 3, 11], age=[60, 999, 4, 5], sex=["f", "m", "x", None],
        labels=[["AF"], ["B"], ["AF"], ["B"]], device=["x"] * 4,
    )  # fmt: skip
    found = delta.read(made(tmp_path, rows))
    assert found.refused == {
        "r0": "patient in several folds", "r1": "patient in several folds", "r3": "a fold that is not of 1 to 10"
    }  # fmt: skip
    assert found.assumed == (
        "no patient in 2 rows, so each counts as a patient of its own (r2, r3)",
        "device: no column of a recording, so passed over",
    )
    (entry,) = found.entries
    assert (entry.patient, entry.fold, entry.age) == ("r2", 3, 4.0)
    assert entry.repairs == ("sex is neither male nor female, so taken for unknown",)
    aside = delta.read(made(tmp_path / "b", table(labels=[["AF", " "], ["AF", None], None, [" B "]])))
    assert aside.refused == {"r0": "a label without a name", "r1": "a label without a name", "r2": "no labels"}
    assert aside.classes == ("B",)


def test_a_version_is_a_fingerprint_and_no_cache_is_of_another(tmp_path: Path) -> None:
    where = made(tmp_path, table())
    first = delta.read(where)
    before = [TwelveLead(first)[i] for i in range(4)]
    louder = table(signal=signals_of(*(2 * np.array(table()["signal"].to_pylist()))))
    deltalake.write_deltalake(where, louder.cast(table().schema), mode="overwrite")
    second, pinned = delta.read(where), delta.read(f"{where}@0")
    assert (first.fingerprint[:2], second.fingerprint[:2]) == ("0-", "1-")
    assert pinned == first and second.fingerprint != first.fingerprint
    for i, one in enumerate(before):
        now, then = TwelveLead(second)[i], TwelveLead(pinned)[i]
        assert isinstance(one, Example) and isinstance(now, Example) and isinstance(then, Example)
        assert now.x.allclose(2 * one.x) and then.x.equal(one.x)
    with pytest.raises(UserError, match=f"^{where}: no version 2; expected 0 to 1$"):
        delta.read(f"{where}@2")


def test_a_recording_is_read_when_it_is_wanted_and_by_its_row_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, whole = list[int](), pa.parquet.ParquetFile.read_row_group

    def counted(self: pa.parquet.ParquetFile, group: int, **how: Any) -> pa.Table:
        read.append(group)
        return whole(self, group, **how)

    monkeypatch.setattr(pa.parquet.ParquetFile, "read_row_group", counted)
    monkeypatch.setattr(export, "GROUP", 2)
    export.table(clinic(tmp_path / "clinic"), tmp_path / "table")
    data = TwelveLead(delta.read(str(tmp_path / "table")))
    assert read == [] and len(data) == 4
    assert data.entries[2].row is not None and (data.entries[2].row.group, data.entries[2].row.place) == (1, 0)
    data[2]
    data[3]
    data[2]
    assert read == [1]


def test_a_worker_reads_though_its_process_was_forked(tmp_path: Path) -> None:
    data = TwelveLead(delta.read(made(tmp_path, table())))
    got = [
        one.index.tolist() for one in recordings.batches(data, [[0, 1], [2, 3]], workers=2) if isinstance(one, Batch)
    ]
    assert got == [[0, 1], [2, 3]]


def test_a_file_that_goes_away(tmp_path: Path) -> None:
    where = made(tmp_path, table())
    found = delta.read(where)
    file = next((tmp_path / "table").glob("*.parquet"))
    file.unlink()
    with pytest.raises(RecordError, match="unreadable signal"):
        found.read(found.entries[0])
    with pytest.raises(UserError, match=f"^{file}: can't be read as a Delta table \\(No such file or directory\\)$"):
        delta.read(where)
    (tmp_path / "table/_delta_log/00000000000000000000.json").write_text("{")
    with pytest.raises(UserError, match=f"^{where}: can't be read as a Delta table"):
        delta.read(where)
    for none in (str(tmp_path), str(tmp_path / "no"), f"{where}@latest", str(file)):
        with pytest.raises(UserError, match="no Delta table there; expected PATH or PATH@VERSION"):
            delta.read(none)


def test_a_table_is_made_whole_or_not_at_all(tmp_path: Path) -> None:
    source, out = clinic(tmp_path / "clinic"), tmp_path / "table"
    with pytest.raises(UserError, match="no recording can be read; c: truncated signal"):
        export.table(replace(source, entries=source.entries[-1:]), out)
    assert {path.name for path in tmp_path.iterdir() if "table" in path.name} == set()
    export.table(source, out)
    with pytest.raises(UserError, match=f"^{out}: it is there already"):
        export.table(source, out)


def test_without_the_extra_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, where = clinic(tmp_path / "clinic"), made(tmp_path, table())
    monkeypatch.setitem(sys.modules, "deltalake", None)
    said = r"^Delta tables: deltalake is not installed; pip install ecglib-book\[serve\]$"
    with pytest.raises(UserError, match=said):
        delta.read(where)
    with pytest.raises(UserError, match=said):
        export.table(source, tmp_path / "out")
    assert not (tmp_path / "out").exists() and tables.exists(where)
