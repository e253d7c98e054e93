from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

import numpy as np
from example import example_record, with_moved
from test_tables import cells

from ecglib import config
from ecglib.experiment import raw
from ecglib.experiment import record as results
from ecglib.experiment.record import Record
from ecglib.models import registry
from ecglib.report import comparisons, figures, names, published


def record(name: str, model: str, protocol: str, imbalance: str = "none", draw: int = 0) -> Record:
    """A result of two records that add up to its confusion matrices."""
    made = example_record(f"heartbeat/{name}", protocol=protocol, draw=draw)
    made.parameters |= {"model": model, "imbalance": imbalance}
    whole = np.array(made.confusion)
    half = whole // 2
    made.by_record = {"100": half.tolist(), "232": (whole - half).tolist()}
    made.right = [raw.pack(np.arange(m.sum()) < np.trace(m)) for m in whole]
    return made


RUN = [
    record("baseline", "cnet", "intra"),
    record("weighted", "cnet", "intra", "weighted", draw=1),
    record("smote-tomek", "cnet", "intra", "smote-tomek", draw=2),
    record("inter-patient", "cnet", "inter", draw=3),
    record("bilstm", "bilstm", "intra", draw=4),
]
EVERY = {r.experiment: r for r in RUN}


def decided(every: Mapping[str, Record]) -> list[Record]:
    """All decisions of these results."""
    return [one for record in every.values() for one in results.decisions(record)]


RECORDS = decided(EVERY)


def test_every_answer_of_the_parameters_has_its_row_and_its_words() -> None:
    answers = get_args(config.HeartbeatParameters.model_fields["imbalance"].annotation)
    assert set(names.ANSWERS) == {*answers, results.MOVED}


def test_moved_thresholds_are_an_answer_of_their_own_but_not_beside_another() -> None:
    moved = record("any", "bilstm", "intra", draw=6)
    every = EVERY | {name: with_moved(EVERY[name], moved) for name in ("heartbeat/bilstm", "heartbeat/weighted")}
    both = decided(every)
    (new,) = (r for r in both if r not in RECORDS and r.moved is None)
    assert (new.experiment, new.parameters["imbalance"]) == ("heartbeat/bilstm", results.MOVED)
    assert comparisons.plain(both, model="bilstm") is every["heartbeat/bilstm"]
    assert comparisons.best(comparisons.of(both, model="bilstm"), "intra") is every["heartbeat/bilstm"], "a tie"


def test_every_model_has_a_row_and_one_without_a_result_says_so() -> None:
    head, *rows = cells(comparisons.architectures(RECORDS, "intra"))
    assert head[:4] == ["model", "imbalance", "macro-F1", "macro recall"]
    ran = [row for row in rows if row[2] != "not run"]
    assert len(ran) == 3
    assert all(row[0].startswith("[") for row in ran)
    assert [(row[0], row[1]) for row in rows if row[2] == "not run"] == [
        (f"`{model}`", "any answer" if model == "bilstm" else "nothing, any answer")
        for model in registry.OF_BEATS
        if model != "cnet"
    ]


def test_there_is_no_gain_where_more_than_the_answer_differs() -> None:
    other = record("weighted", "cnet", "intra", "weighted", draw=1)
    other.parameters["max_epochs"] = 99
    records = decided(EVERY | {"heartbeat/weighted": other})
    rows = cells(comparisons.imbalance(records, "cnet", "intra"))
    assert next(row for row in rows if row[0].startswith("[class weights, inverse"))[-2:] == ["–", "–"]


def test_models_are_paired_on_the_same_beats_alone() -> None:
    base, better = EVERY["heartbeat/baseline"], record("bilstm", "bilstm", "intra", draw=4)
    other = record("enhanced-cnn", "enhanced_cnn", "intra", draw=5)
    other.data = other.data.model_copy(update={"test_indices_sha256": "of other beats"})
    rows = cells(comparisons.paired([base, better, other], "cnet", "intra"))[1:]
    assert len(rows) == 1 and "heartbeat/bilstm" in rows[0][0]
    assert rows[0][1].startswith(("+", "\N{MINUS SIGN}"))


def test_nothing_run_gives_a_chapter_all_the_same() -> None:
    assert "53\N{NARROW NO-BREAK SPACE}957" in comparisons.costs([]), "parameters are known without a result"
    for made in (
        comparisons.architectures([], "intra"),
        comparisons.imbalance([], "cnet", "inter"),
        comparisons.gap_by_class([]),
        comparisons.by_record_table(comparisons.gap_by_record([], "cnet")),
        comparisons.paired([], "cnet", "intra"),
        comparisons.resampled([], ["seq2seq"], "smote-tomek"),
        comparisons.tuned([]),
        comparisons.adapted([]),
        published.aims([]),
    ):
        assert "not run" in made.lower()
    assert figures.models([]).axes and figures.gaps(comparisons.gap_by_record([], "cnet")).axes
