from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from example import example_record, with_moved
from test_tables import cells

from ecglib import config, paths
from ecglib.aami import CLASSES
from ecglib.evaluation import metrics
from ecglib.experiment import comparison, raw
from ecglib.experiment import record as results
from ecglib.experiment.record import Record
from ecglib.models import registry
from ecglib.report import comparisons, figures, names, published, tables


def record(name: str, model: str, protocol: str, imbalance: str = "none", draw: int = 0) -> Record:
    made = example_record(f"heartbeat/{name}", protocol=protocol, draw=draw)
    parameters = made.parameters | {"model": model, "imbalance": imbalance}
    return made.model_copy(update={"parameters": parameters, **_parts(made)})


def _parts(made: Record) -> dict[str, object]:
    """Two records that add up to the confusion matrices, and which beats are right."""
    whole = np.array(made.confusion)
    half = whole // 2
    right = [np.arange(m.sum()) < np.trace(m) for m in whole]
    return {
        "by_record": {"100": half.tolist(), "232": (whole - half).tolist()},
        "right": [raw.pack(one) for one in right],
    }


EVERY = {
    r.experiment: r
    for r in (
        record("baseline", "cnet", "intra"),
        record("weighted", "cnet", "intra", "weighted", draw=1),
        record("smote-tomek", "cnet", "intra", "smote-tomek", draw=2),
        record("inter-patient", "cnet", "inter", draw=3),
        record("bilstm", "bilstm", "intra", draw=4),
    )
}
RECORDS = comparisons.beat_results(EVERY)


def test_the_order_is_that_of_the_registry_and_of_the_answers() -> None:
    found = [(r.parameters["model"], r.parameters["imbalance"], r.parameters["protocol"]) for r in RECORDS]
    assert [model for model, *_ in found] == ["cnet"] * 4 + ["bilstm"]
    assert [imbalance for _, imbalance, _ in found[:4]] == ["none", "none", "weighted", "smote-tomek"]


def test_every_answer_of_the_parameters_has_its_row_and_its_words() -> None:
    from typing import get_args

    answers = get_args(config.HeartbeatParameters.model_fields["imbalance"].annotation)
    assert set(names.ANSWERS) == {*answers, results.MOVED}


def test_moved_thresholds_stand_where_every_answer_does() -> None:
    """In the tables of a model's answers, with all that a record says; but not of records with another answer."""
    moved = record("any", "bilstm", "intra", draw=6)
    every = EVERY | {name: with_moved(EVERY[name], moved) for name in ("heartbeat/bilstm", "heartbeat/weighted")}
    both = comparisons.beat_results(every)
    assert [(r.experiment, r.parameters["imbalance"]) for r in both if r not in RECORDS and r.moved is None] == [
        ("heartbeat/bilstm", results.MOVED)
    ]
    shown = [row for row in cells(comparisons.architectures(both, "intra")) if "bilstm" in row[0]]
    assert [row[:3] for row in shown] == [
        ["[`bilstm`](../heartbeat/bilstm.ipynb)", answer, tables.interval(of.metrics["macro_f1"])]
        for answer, of in (("nothing", EVERY["heartbeat/bilstm"]), ("thresholds moved", moved))
    ]
    rows = {row[0]: row for row in cells(comparisons.imbalance(both, "bilstm", "intra"))}
    row = rows["[thresholds moved](../heartbeat/bilstm.ipynb)"]
    plain = EVERY["heartbeat/bilstm"]
    assert row[-2] == comparisons.signed(comparison.difference(moved, plain, comparisons.macro_f1(moved)))
    assert rows["focal loss"][1] == "not run"
    assert comparisons.plain(both, model="bilstm") is every["heartbeat/bilstm"]
    assert both[-1].title == "Bilstm with moved thresholds"
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


@pytest.mark.parametrize("best", ["weighted", "smote-tomek"])
def test_of_a_models_answers_the_one_that_is_best_on_validation_is_shown(best: str) -> None:
    records = [r.model_copy(deep=True) for r in RECORDS]
    for each in records:
        for run in each.training:
            run.validation = 0.9 if each.experiment == f"heartbeat/{best}" else 0.8
    _, *rows = cells(comparisons.architectures(records, "intra"))
    shown = [row[1] for row in rows if "cnet" in row[0] or "baseline" in row[0] or f"/{best}." in row[0]]
    assert shown[:2] == ["nothing", names.ANSWERS[best]]
    assert not any(f"/{other}." in row[0] for row in rows for other in {"weighted", "smote-tomek"} - {best})


def test_costs_are_those_of_the_record() -> None:
    head, first, *_ = cells(comparisons.costs(RECORDS))
    assert head[1:5] == ["protocol", "parameters", "seconds a seed", "beats/s in training"]
    assert first[3] == "54"  # six epochs of nine seconds
    assert first[4] == tables.count(78_592 / 9)


def test_precision_recall_and_f1_are_means_over_the_classes() -> None:
    rows = cells(comparisons.resampled(RECORDS, ["cnet", "bigru"], "smote-tomek"))[1:]
    plain = EVERY["heartbeat/baseline"]
    assert rows[0][2] == "all"
    assert rows[0][5] == f"{np.mean([plain.per_class[c]['f1'].mean for c in CLASSES]):.3f}"
    assert [row[2] for row in rows[1:6]] == list(CLASSES)
    assert [row[3] for row in rows if row[0] == "`bigru`"] == ["not run", "not run"]


def test_the_gain_of_an_answer_is_the_paired_difference() -> None:
    rows = {row[0]: row for row in cells(comparisons.imbalance(RECORDS, "cnet", "intra"))[1:]}
    assert len(rows) == len(names.ANSWERS)
    plain, weighted = EVERY["heartbeat/baseline"], EVERY["heartbeat/weighted"]
    expected = comparison.difference(weighted, plain, comparisons.macro_f1(weighted))
    row = next(row for name, row in rows.items() if name.startswith("[class weights, inverse"))
    assert row[-2] == comparisons.signed(expected)
    assert rows["focal loss"][1] == "not run"


def test_what_the_split_is_worth_is_the_difference_between_the_protocols() -> None:
    rows = cells(comparisons.gap_by_class(RECORDS))[1:]
    intra, inter = EVERY["heartbeat/baseline"], EVERY["heartbeat/inter-patient"]
    lost = [intra.per_class[c]["f1"].mean - inter.per_class[c]["f1"].mean for c in "NSVF"]  # type: ignore[operator]
    assert [row[4] for row in rows if row[0] == "`cnet`"] == [f"{value:.3f}" for value in lost]
    assert [row[2:4] for row in rows if row[0] == "`bilstm`"] == [["", "not run"]]


def test_by_record_the_shares_are_those_of_the_matrices() -> None:
    rows = comparisons.gap_by_record(RECORDS, "cnet")
    assert [row["record"] for row in rows] == ["100", "232"]
    matrices = np.array(EVERY["heartbeat/inter-patient"].by_record["232"])
    assert rows[1]["inter"] == pytest.approx(np.trace(matrices.sum(0)) / matrices.sum())
    assert comparisons.gap_by_record(RECORDS, "bilstm") == []
    assert "232" in comparisons.by_record_table(rows)
    assert figures.gaps(rows).axes[0].get_yticklabels()


def test_the_effective_number_of_records_is_one_where_one_holds_all_and_all_where_they_share() -> None:
    counts = {"S": np.array([0, 90, 0]), "V": np.array([5, 5, 5])}
    rows = cells(comparisons.effective_patients(counts))[1:]
    assert [(row[2], row[4]) for row in rows] == [("1", "1.0"), ("3", "3.0")]


def test_a_model_with_options_changed_is_no_plain_result() -> None:
    wide = record("a-wide", "cnet", "intra", draw=5)
    wide.parameters["model_options"] = {"width": 64}
    both = comparisons.beat_results(EVERY | {"heartbeat/a-wide": wide})
    assert comparisons.plain(both, model="cnet", protocol="intra") is EVERY["heartbeat/baseline"]
    assert comparisons.imbalance(both, "cnet", "intra") == comparisons.imbalance(RECORDS, "cnet", "intra")


def test_there_is_no_gain_where_more_than_the_answer_differs() -> None:
    other = record("weighted", "cnet", "intra", "weighted", draw=1)
    other.parameters["max_epochs"] = 99
    rows = cells(
        comparisons.imbalance(comparisons.beat_results(EVERY | {"heartbeat/weighted": other}), "cnet", "intra")
    )
    assert next(row for row in rows if row[0].startswith("[class weights, inverse"))[-2:] == ["–", "–"]


def test_across_patients_the_result_without_202_and_what_it_rests_on_are_told(project: Path) -> None:
    head, first, *_ = cells(comparisons.architectures(RECORDS, "inter"))
    assert {"macro-F1 without 202", "macro-F1 (N, S, V)"} <= set(head)
    assert "–" not in first[:6]
    paths.test_reads().parent.mkdir(parents=True, exist_ok=True)
    times = ("2024-12-31T00:00:00Z", "2025-01-02T00:00:00Z", "2025-02-01T00:00:00Z")
    paths.test_reads().write_text("".join(f'{{"time": "{time}", "model": "cnet"}}\n' for time in times))
    assert "By 2025-01-02 DS2 had been scored 2 times" in comparisons.circumstances(RECORDS, "inter"), (
        "not the later one"
    )
    assert "DS2" not in comparisons.circumstances(RECORDS, "intra")
    assert comparisons.circumstances([], "inter") == ""


def test_a_result_of_another_form_stands_by_itself() -> None:
    whole, one, answered = (
        record("seq2seq", "seq2seq", "intra"),
        record("seq2seq-one-beat", "seq2seq", "intra", draw=1),
        record("seq2seq-smote-tomek", "seq2seq", "intra", "smote-tomek", draw=2),
    )
    for r in (one, answered):
        r.parameters["beats_per_sequence"] = 1
    assert comparisons.plain([one, whole], model="seq2seq") is whole
    rows = cells(comparisons.resampled([whole, one, answered], ["seq2seq"], "smote-tomek"))[1:]
    heads = list(dict.fromkeys((row[0], row[1]) for row in rows))
    form = "`seq2seq`, one beat at a time"
    assert heads == [("`seq2seq`", "nothing"), (form, "nothing"), (form, "SMOTE-Tomek")]
    wide = record("cnet-wide", "cnet", "intra")
    wide.parameters["model_options"] = {"channels": 64}
    shown = {name: r for name, r in {**EVERY, "heartbeat/cnet-wide": wide}.items() if r.parameters["model"] == "cnet"}
    names = [row[0] for row in cells(tables.headline(shown))[1:]]
    assert names.count("`cnet`, channels 64") == 1


def test_our_own_model_is_plain_with_the_options_of_its_protocol() -> None:
    ours = record("ecgnet", "ecgnet", "intra")
    ours.parameters.update(model_options={"width": 64}, label_smoothing=0.05)
    assert comparisons.plain([ours], model="ecgnet") is ours
    assert tables.model_name(ours) == "`ecgnet`"


def test_what_was_not_trained_alike_has_no_gap() -> None:
    intra, inter = record("bilstm", "bilstm", "intra"), record("bilstm-inter", "bilstm", "inter", draw=1)
    assert sum(row[0] == "`bilstm`" for row in cells(comparisons.gap_by_class([intra, inter]))) == 4
    intra.parameters["learning_rate"] = 0.5
    assert "`bilstm`" not in comparisons.gap_by_class([intra, inter])


def test_without_a_record_its_beats_do_not_count() -> None:
    inter = EVERY["heartbeat/inter-patient"]
    rest = metrics.per_class(np.array(inter.by_record["100"]))["f1"][:, CLASSES.index("S")]
    assert comparisons.without(inter, "232", "S") == pytest.approx(rest.mean())
    head, row, *_ = cells(comparisons.architectures(RECORDS, "inter"))
    assert row[head.index("S F1 without 232")] == f"{rest.mean():.3f}"
    assert "S F1 without 232" not in comparisons.architectures(RECORDS, "intra")


def test_adaptation_is_compared_on_the_same_beats() -> None:
    before, after = record("b", "ecgnet", "inter", draw=7), record("a", "ecgnet", "adapted", draw=8)
    own = {"by_record": before.by_record, "per_class": before.per_class, "metrics": before.metrics}
    after = after.model_copy(update={"unadapted": own, "macro_classes": before.macro_classes})
    head, row = cells(comparisons.adapted([after]))
    gained = [
        metrics.summary(np.array(m), [0, 1, 2, 3])["macro_f1"].mean() for m in (before.confusion, after.confusion)
    ]
    assert row[head.index("gain")].split(" ")[0].replace("\N{MINUS SIGN}", "-") == f"{gained[1] - gained[0]:+.3f}"
    old, new = (r.per_class["V"]["f1"].mean for r in (before, after))
    assert row[head.index("V F1")] == f"{old:.3f} → {new:.3f}"


def test_settings_that_are_not_the_defaults_are_listed() -> None:
    made = record("bilstm", "bilstm", "intra")
    made.parameters |= {"learning_rate": 0.5, "beats_per_epoch": 1000}
    (row,) = [row for row in cells(comparisons.tuned([made])) if "heartbeat/bilstm" in row[0]]
    assert "`learning_rate: 0.5`" in row[2] and "`beats_per_epoch: 1000`" in row[2]
    assert "`batch_size: 256`" not in row[2]


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
        comparisons.by_record_table([]),
        comparisons.paired([], "cnet", "intra"),
        comparisons.resampled([], ["seq2seq"], "smote-tomek"),
        comparisons.tuned([]),
        comparisons.adapted([]),
        published.aims([]),
    ):
        assert "not run" in made.lower()
    assert figures.models([]).axes and figures.gaps([]).axes


def test_the_difference_of_macro_f1_is_over_the_records_own_classes() -> None:
    inter = EVERY["heartbeat/inter-patient"]
    matrices = np.array(inter.confusion)
    assert comparisons.macro_f1(inter)(matrices) == pytest.approx(metrics.summary(matrices, [0, 1, 2, 3])["macro_f1"])
