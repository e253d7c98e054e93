"""A record's two files: read back equal, whole or refused, small, and open to pandas."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from projects import ROOT
from report.example import example_record

from ecglib.errors import UserError
from ecglib.evaluation.bootstrap import Interval
from ecglib.experiment import raw
from ecglib.experiment import record as results
from ecglib.experiment.record import InfarctionCard, Moved, Record

REFERENCES = ROOT / "book" / "results"
FILES = sorted(REFERENCES.glob("*/*.json"))


def with_everything(**more: Any) -> Record:
    """A record with raw material of every kind that a beat classifier has."""
    rng = np.random.default_rng(3)
    record = example_record(protocol="inter")
    right = [rng.random(int(np.sum(matrix))) < 0.9 for matrix in record.confusion]
    parts = rng.integers(0, 400, (2, 4, 3, 5, 5)).tolist()
    names = ["100", "103", "202", "234"]
    return record.model_copy(
        update={
            "by_record": dict(zip(names, parts[0], strict=True)),
            "right": [raw.pack(one) for one in right],
            "predicted": raw.pack(rng.integers(0, 5, len(right[0])).astype(np.uint8)),
            "class_scores": {name: raw.pack(rng.integers(0, 256, len(right[0])).astype(np.uint8)) for name in "NSVFQ"},
            "unadapted": record.without_202 | {"by_record": dict(zip(names, parts[1], strict=True))},
            "data": record.data.model_copy(update={"records_left_out": {"102": "paced", "104": "paced"}}),
            **more,
        }
    )


def binary(scores: dict[str, dict[str, list[float]]]) -> Record:
    interval = {"auroc": Interval(mean=0.5, per_seed=[0.5, None, 0.5])}
    card = InfarctionCard(
        beat_metrics=interval, likely={}, curve={"5": interval["auroc"]},
        transfer={"loaded": ["c1.weight", "c1.bias"], "skipped": [], "frozen": ["c1.weight"], "n_learning": 7},
        scores=scores, patients={"a": "1", "b": "2"}, epochs=5, folds=10,
    )  # fmt: skip
    return example_record("infarction/finetune").model_copy(update={"infarction": card})


_OTHER = example_record(protocol="inter", draw=1)
MOVED = Moved(
    offsets=[[0.0, 0.5, -0.25, 0.0, 0.0]] * 3,
    validation=[0.9, 0.8, 0.85],
    validation_recall=[0.9, 0.7, 0.75],
    created="2026-11-25T02:31:43Z",
    **{name: getattr(_OTHER, name) for name in ("metrics", "per_class", "ec57", "without_202", "confusion")},
    by_record={"100": _OTHER.confusion},
    right=[raw.pack(np.arange(np.sum(matrix)) % 7 > 0) for matrix in _OTHER.confusion],
)
"""Another decision of the same kind."""

MADE = {
    "beats": with_everything(),
    "nothing long": example_record().model_copy(update={"per_class": {}, "ec57": {}, "training": []}),
    "infarction": binary({"all": {"a": [0.1234, -1.5, 7.0], "b": [0.0, -0.0001, 2.5]}}),
    "finer scores": binary({"all": {"a": [0.123456789, -1.5, 7.0]}, "5": {"a": [123456.7891, 0.1, 0.2]}}),
    "extra fields": example_record().model_copy(update={"moved": None, "recipe": {"training": 1}, "verified": {}}),
    "moved": example_record(protocol="inter").model_copy(update={"moved": MOVED}),
}  # fmt: skip


@pytest.mark.parametrize("record", MADE.values(), ids=MADE)
def test_a_record_is_read_back_as_it_was(record: Record, tmp_path: Path) -> None:
    record = Record.model_validate_json(record.model_dump_json())
    record.save(tmp_path / "one.json")
    again = results.load(tmp_path / "one.json")
    assert again == record
    assert again.model_dump_json() == record.model_dump_json() or again.model_dump() == record.model_dump()
    assert list(again.by_record) == list(record.by_record), "resamples draw records by their order"
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    again.save(tmp_path / "one.json")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
    assert files.keys() == ({"one.json"} if record == MADE["nothing long"] else {"one.json", "one.parquet"})
    MADE["nothing long"].save(tmp_path / "one.json")
    assert [path.name for path in tmp_path.iterdir()] == ["one.json"], "no raw material of another one stays"


def test_a_file_of_before_that_holds_everything_is_read_and_split(tmp_path: Path) -> None:
    old, record = tmp_path / "record.json", with_everything()
    old.write_text(json.dumps(record.model_dump(mode="json"), indent=1))
    results.load(old).save(old)
    assert (tmp_path / "record.parquet").is_file()
    assert "by_record" not in json.loads(old.read_text())
    assert results.load(old) == record


def test_a_record_that_says_synthetic_is_read(tmp_path: Path) -> None:
    old, record = tmp_path / "record.json", with_everything()
    record.save(old)
    content = json.loads(old.read_text())
    content["data"] = {"name": "mitdb", "synthetic": content["data"].pop("sample"), **content["data"]}
    old.write_text(json.dumps(content))
    again = results.load(old)
    assert again == record and "synthetic" not in (again.data.model_extra or {})


def test_a_parquet_file_that_is_missing_or_another_ones_is_told_in_one_line(tmp_path: Path) -> None:
    file, raw_file = tmp_path / "one.json", tmp_path / "one.parquet"
    with_everything().save(file)
    whole = raw_file.read_bytes()
    with_everything(right=[]).save(tmp_path / "other.json")
    of_another = (tmp_path / "other.parquet").read_bytes()
    for damaged in (whole[:-1], whole.replace(b"PAR1", b"PAR2"), b"", of_another):
        raw_file.write_bytes(damaged)
        with pytest.raises(UserError, match=r"one\.parquet: damaged, or of another run; expected .*one\.json"):
            results.load(file)
    raw_file.unlink()
    with pytest.raises(UserError, match=r"one\.parquet: missing; expected the raw material of one\.json"):
        results.load(file)
    raw_file.write_bytes(whole)
    assert results.load(file) == with_everything()


@pytest.mark.parametrize("text", ["", "[]", "3", '{"experiment": NaN}', "{}", '{"raw_sha256": "0"}'])
def test_what_is_no_record_is_told_in_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text(text)
    with pytest.raises(UserError, match=r"one\.(json|parquet)") as caught:
        results.load(tmp_path / "one.json")
    assert "\n" not in str(caught.value)


def test_a_record_of_a_model_that_was_removed_is_refused_in_one_line(tmp_path: Path) -> None:
    record = example_record()
    file = tmp_path / "one.json"
    record.model_copy(update={"parameters": record.parameters | {"model": "gated_ecgnet"}}).save(file)
    with pytest.raises(UserError, match=r"^\S+one\.json: a result with model: gated_ecgnet, which was removed; take"):
        results.load(file)


@pytest.mark.parametrize("suffix", [".parquet", ".json"])
def test_where_writing_stops_the_old_record_stays_or_the_torn_pair_is_refused(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, first, second = tmp_path / "one.json", with_everything(), with_everything(right=[])
    first.save(file)
    replace = Path.replace

    def stops(path: Path, target: Path) -> Path:
        if target.suffix == suffix:
            raise OSError("no space left")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", stops)
    with pytest.raises(OSError, match="no space"):
        second.save(file)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.json", "one.parquet"]
    if suffix == ".parquet":
        assert results.load(file) == first
    else:
        with pytest.raises(UserError, match="of another run"):
            results.load(file)


def test_a_value_that_is_no_json_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    record = with_everything(train_seconds=float("nan"))
    with pytest.raises(ValueError, match="JSON"):
        record.save(tmp_path / "one.json")
    assert list(tmp_path.iterdir()) == []


TEXT = st.text('abc{}[]",: é', max_size=40)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(TEXT, inner, max_size=12),
    max_leaves=60,
)


@given(VALUES)
def test_lines_are_short_and_say_the_same(value: Any) -> None:
    lines = results.json_lines(value)
    assert json.loads("\n".join(lines)) == value
    assert all(len(line) <= results.WIDTH for line in lines)


# --- the committed references -------------------------------------------------------------------------------------


def test_the_references_are_small_and_readable() -> None:
    assert len(FILES) >= 5
    long = {path.name: n for path in FILES if (n := len(path.read_text(encoding="utf-8").splitlines())) > 200}
    assert long == {}, "lines"
    wide = {path.name for path in FILES if max(map(len, path.read_text(encoding="utf-8").splitlines())) > results.WIDTH}
    assert wide == set()
    assert sum(path.stat().st_size for path in REFERENCES.rglob("*") if path.is_file()) < 4_000_000
    pairs = {path.with_suffix(".json") for path in REFERENCES.glob("*/*.parquet")}
    assert pairs <= set(FILES), "no Parquet file without its JSON file"


def test_pandas_alone_gives_what_a_record_holds() -> None:
    file = REFERENCES / "heartbeat" / "baseline.json"
    table, record = pd.read_parquet(file.with_suffix(".parquet")), results.load(file)
    parts = table[table["table"] == "by_record"]
    whole = parts.groupby(["seed", "true", "predicted"], observed=True, sort=False)["count"].sum()
    assert whole.to_numpy().reshape(3, 5, 5).tolist() == record.confusion
    right = table[table["table"] == "right"].groupby("seed")["right"].sum()
    assert right.tolist() == [int(np.trace(matrix)) for matrix in record.confusion]
    curve = table[(table["table"] == "training.history") & (table["metric"] == "val_metric") & (table["seed"] == 1)]
    assert curve["value"].tolist() == [epoch.val_metric for epoch in record.training[1].history]
    s = table[(table["table"] == "per_class.per_seed") & (table["class"] == "S") & (table["metric"] == "auprc")]
    assert s["value"].tolist() == record.per_class["S"]["auprc"].per_seed


def test_every_column_is_explained_and_every_field_has_a_table_of_its_own() -> None:
    names = [raw.table_of(raw.steps_of(field)) for field in raw.FIELDS]
    assert len(set(names)) == len(names)
    explained = {word for line in (raw.__doc__ or "").splitlines() if line.startswith("`") for word in line.split("`")}
    assert explained >= {"table", *raw.AXES, *raw.VALUES}


# --- the frame ----------------------------------------------------------------------------------------------------


def test_the_frame_has_a_row_for_every_seed_of_every_metric() -> None:
    record = with_everything()
    moved = {"metrics": {"macro_f1": Interval(mean=0.5, low=0.4, high=0.6, per_seed=[0.4, 0.5, None]).model_dump()},
             "per_class": {}, "confusion": [], "without_202": record.without_202}  # fmt: skip
    table = results.frame({"heartbeat/x": record.model_copy(update={"moved": moved})})
    n = len(record.metrics) + sum(map(len, record.per_class.values())) + sum(map(len, record.ec57.values()))
    assert table.groupby("variant", sort=False).size().to_dict() == {
        "": 3 * n, "without_202": 3 * n, "unadapted": 3 * n, "moved": 3, "moved.without_202": 3 * n,
    }  # fmt: skip
    assert not table.duplicated(["experiment", "variant", "class", "metric", "seed"]).any()
    own = table[table["variant"] == ""].set_index(["class", "metric", "seed"])
    assert own.loc[("S", "ppv", 2), "value"] == record.per_class["S"]["ppv"].per_seed[2]
    assert own.loc[("VEB", "fpr", 0), "high"] == record.ec57["VEB"]["fpr"].high
    assert own.loc[("", "mcc", 1), "mean"] == record.metrics["mcc"].mean
    assert set(table["model"]) == {"cnet"}
    assert set(table["protocol"]) == {"inter"}
    after = table[table["variant"] == "moved"]
    assert after["value"].tolist()[:2] == [0.4, 0.5]
    assert np.isnan(after["value"].iloc[2])


def test_the_frame_of_the_references_gives_their_means() -> None:
    records = {str(path.relative_to(REFERENCES).with_suffix("")): results.load(path) for path in FILES[::9]}
    assert results.frame({}).columns.tolist() == results.COLUMNS
    table = results.frame(records)
    own = table[(table["variant"] == "") & (table["class"] == "")]
    means = own.groupby(["experiment", "metric"])["value"].mean()
    for name, record in records.items():
        for metric, interval in record.metrics.items():
            assert means[name, metric] == pytest.approx(np.nan if interval.mean is None else interval.mean, nan_ok=True)


# --- what a beat was given ----------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 255), max_size=99), st.lists(st.booleans(), max_size=99))
def test_bits_and_bytes_come_back(levels: list[int], bits: list[bool]) -> None:
    assert raw.unpack(raw.pack(np.array(levels, dtype=np.uint8))).tolist() == levels
    assert raw.unpack(raw.pack(np.array(bits, dtype=bool)), len(bits)).tolist() == bits


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted as Linux lists them")
def test_reading_starts_no_thread() -> None:
    """One of Arrow's, which holds the file's bytes as its process ends, aborts that process."""
    code = """
import os, sys
from pathlib import Path
from ecglib.experiment import record
threads = lambda: len(os.listdir("/proc/self/task"))
before = threads()
record.load(Path(sys.argv[1]))
print(threads() - before)
"""
    done = subprocess.run([sys.executable, "-c", code, str(FILES[0])], capture_output=True, text=True)
    assert done.stdout == "0\n", done.stderr
