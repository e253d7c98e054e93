"""Yardsticks beside networks: which belong to a result, by one rule, and that the reference results are all paired."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from projects import ROOT
from test_infarctions import example, yardstick

from ecglib.evaluation.bootstrap import Interval
from ecglib.experiment import record as results
from ecglib.experiment.record import Record
from ecglib.report import comparisons, infarctions, recordings
from ecglib.report.yardsticks import beside, is_yardstick, yardstick_results

BEFORE = "99917aa"
"""The commit whose records still hold yardsticks of their own."""
MOVED = 1.5e-4
"""A difference rests on scores of networks to four digits, where it once rested on all of them."""


def test_a_yardstick_belongs_to_what_read_the_same_and_is_divided_alike() -> None:
    one = yardstick("median_beat", cut="median beat")
    assert beside(example("finetune"), [one]) == {"median beat": one}
    assert beside(one, [one]) == {}, "a yardstick has none beside it"
    apart: list[dict[str, Any]] = [
        {"leads": ["V1"]}, {"protocol": "by-beat"}, {"folds": 4}, {"database": "ptbdb"}, {"max_records": 20}
    ]  # fmt: skip
    for other in apart:
        assert beside(example("finetune", **other), [one]) == {}, other
    people = yardstick()
    assert beside(example("finetune", leads=["V1"]), [people, one]) == {"age and sex": people}, "it reads no lead"
    assert beside(example("finetune", folds=4), [people]) == {}


@pytest.mark.parametrize("changed", ["seeds", "classes", "fingerprint", "task"])
def test_what_rests_on_something_else_is_not_paired(changed: str) -> None:
    record, one = example("finetune"), yardstick()
    if changed == "fingerprint":
        record.data.fingerprint = "other"
    else:
        record = record.model_copy(
            update={changed: {"seeds": [0], "classes": ["a", "b"], "task": "multilabel"}[changed]}
        )
    assert beside(record, [one]) == {}


# --- the reference results --------------------------------------------------------------------------------------------


def networks(notebook: str) -> list[Record]:
    found = results.references(ROOT / "book" / "results")
    return [r for name, r in found.items() if name.startswith(f"{notebook}/") and not is_yardstick(r)]


@cache
def before(experiment: str) -> dict[str, Any]:
    """What a record said of its yardsticks at `BEFORE`."""
    shown = subprocess.run(
        ["git", "-C", str(ROOT), "show", f"{BEFORE}:book/results/{experiment}.json"], capture_output=True, check=False
    )
    if shown.returncode:
        pytest.skip(f"the history here does not hold {BEFORE}")
    record = json.loads(shown.stdout)
    found: dict[str, Any] = record[experiment.partition("/")[0].replace("-", "_")]["yardsticks"]
    return found


def pairs(notebook: str) -> Iterator[tuple[Record, dict[str, Record], dict[str, Any]]]:
    others = yardstick_results(notebook)
    for record in networks(notebook):
        yield record, beside(record, others), before(record.experiment)


def equal(a: Any, b: dict[str, Any], what: str) -> None:
    assert (a.mean, a.low, a.high) == pytest.approx((b["mean"], b["low"], b["high"]), abs=1e-9), what
    assert a.per_seed == pytest.approx(b["per_seed"], abs=1e-9), what


@pytest.mark.parametrize("notebook", ["infarction", "twelve-lead"])
def test_every_yardstick_s_number_is_that_of_the_networks_old_records(notebook: str) -> None:
    compared = 0
    for record, paired, old in pairs(notebook):
        assert list(paired) == list(old), record.experiment
        for name, one in paired.items():
            what = f"{record.experiment}, {name}"
            metric = "auroc" if notebook == "infarction" else "macro_auroc"
            equal(one.metrics[metric], old[name][metric], what)
            for label in record.classes if notebook == "twelve-lead" else []:
                equal(one.per_class[label]["auroc"], old[name][label], f"{what}, {label}")
            compared += 1
    assert compared == {"infarction": 3 * 19, "twelve-lead": 3 * 3}[notebook]


@pytest.mark.parametrize("notebook", ["infarction", "twelve-lead"])
def test_what_a_network_gains_is_what_it_gained_and_is_told_in_the_same_words(notebook: str) -> None:
    gain = infarctions.gain if notebook == "infarction" else recordings.gain
    for record, paired, old in pairs(notebook):
        for name, one in paired.items():
            now, then = gain(record, one), Interval.model_validate(old[name]["difference"])
            what = f"{record.experiment}, {name}"
            assert (now.mean, now.low, now.high) == pytest.approx((then.mean, then.low, then.high), abs=MOVED), what
            assert comparisons.told_apart(now) == comparisons.told_apart(then), what


def test_a_record_of_recordings_can_be_paired_by_patient() -> None:
    for one in yardstick_results("twelve-lead"):
        card = results.card(one)
        assert card.patient_of.keys() == card.truth.keys() == card.probabilities.keys()
