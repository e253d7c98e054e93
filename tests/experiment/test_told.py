"""What commands say of data: one line for each kind, whatever is of one recording alone."""

from __future__ import annotations

from report.example import example_record

from ecglib.experiment import told
from ecglib.experiment.record import TwelveLeadCard

GAIN = "gain of 4880 units per mV taken for 1000"


def test_one_line_a_kind_with_a_count() -> None:
    repaired = {
        "E00015": ("record line begins with 'E00015.mat', which is no record name", GAIN),
        "E00018": ("record line begins with 'E00018.mat', which is no record name", GAIN),
        "JS1": ("V1, V2: never varies, so taken for not recorded",),
        "JS2": ("AVR: never varies, so taken for not recorded", "II, V1: samples without a number interpolated"),
        "g1": ("AVL: never varies, so taken for not recorded",),
        "g2": ("µV written as mV",),
    }
    assert told.of_own({"a": "no voltage", "b": "bad gain", "c": "no voltage"}, repaired, ["one", "two"]) == [
        "left out 2: no voltage (a, c)",
        "left out 1: bad gain (b)",
        "repaired 3: some leads: never varies, so taken for not recorded (JS1, JS2 and 1 more)",
        "repaired 2: record line begins with no record name (E00015, E00018)",
        "repaired 2: gain of 4880 units per mV taken for 1000 (E00015, E00018)",
        "repaired 1: some leads: samples without a number interpolated (JS2)",
        "repaired 1: µV written as mV (g2)",
        "assumed: one",
        "assumed: two",
    ]
    assert told.of_own({}, {}, []) == []


def test_a_run_of_beats() -> None:
    record = example_record()
    named = {"100": "empty signal", "101": "empty signal"}
    counts = {"no next beat": 48, "empty signal": 2}
    data = record.data.model_copy(update={"left_out": counts, "records_left_out": named, "sample": False})
    assert told.of_run(record.model_copy(update={"data": data})) == [
        "left out 2: empty signal (100, 101)",
        "left out 48 beats: no next beat",
    ]
    repaired = {"p1": ["age put right"], "p2": ["age put right"]}
    data = data.model_copy(update={"left_out": {}, "records_left_out": {}, "sample": True, "repaired": repaired})
    assert told.of_run(record.model_copy(update={"data": data})) == [
        "repaired 2: age put right (p1, p2)",
        f"assumed: the embedded sample stands in for {data.name}",
    ]
    data = data.model_copy(update={"repaired": {}, "name": "ptb-xl"})
    for of_sample in (["mitdb"], ["ptb-xl", "mitdb"]):
        card = type(data).model_validate(data.model_dump() | {"sampled": of_sample})
        said = f"assumed: the embedded sample stands in for {' and '.join(of_sample)}"
        assert told.of_run(record.model_copy(update={"data": card})) == [said]


def test_a_run_of_recordings() -> None:
    record = example_record()
    data = record.data.model_copy(update={"left_out": {}, "records_left_out": {"A1": "flat signal"}, "sample": False})
    card = {name: {} for name in TwelveLeadCard.model_fields} | {
        "recordings": 512,
        "patients": 512,
        "duplicates": {"HR00001": "1_hr", "HR00002": "2_hr", "HR00003": "3_hr"},
        "few": {"BBB": 0, "Brady": 4},
        "repaired": {"E00015": ["gain of 4880 units per mV taken for 1000"]},
        "noise": "sample",
    }
    known = data.model_dump() | {"assumed": ["no patients are named"]}
    record = type(record).model_validate(record.model_dump() | {"data": known, "twelve_lead": card})
    assert told.of_run(record) == [
        "left out 1: flat signal (A1)",
        "left out 3: the same recording as another (HR00001, HR00002 and 1 more)",
        "left out 2 labels: too few recordings have them (BBB, Brady)",
        "repaired 1: gain of 4880 units per mV taken for 1000 (E00015)",
        "assumed: the embedded sample stands in for nstdb",
        "assumed: no patients are named",
    ]
