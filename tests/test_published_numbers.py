"""No published number moved: today's references beside those of a commit of before the records were put in order.

Every reference result of then that stays must have the same means and confusion matrices. Moved thresholds were
experiments of their own then: since, they are a second decision, `moved`, of the run whose thresholds were moved.
"""

from __future__ import annotations

import copy
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest
from projects import ROOT

from ecglib import config
from ecglib.experiment import record as results

THEN = "99917aa294b6d5aeabfd024ca0fdf179f441d5b7"
TOLERANCE = 1e-9
ANEW = {"heartbeat/ecgnet", "heartbeat/ecgnet-inter", "heartbeat/ecgnet-adapted"}
"""Trained anew since, on other features: what is usual in a record was asked of all of its beats then."""
DECISION = ("metrics", "per_class", "ec57", "without_202", "confusion", "by_record", "right")


@pytest.fixture(scope="module")
def then() -> dict[str, dict[str, Any]]:
    """The reference results of then, by experiment."""
    git = ["git", "-C", str(ROOT)]
    try:
        found = subprocess.run([*git, "archive", THEN, "book/results"], capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"the history of git does not reach back to {THEN}")
    with tarfile.open(fileobj=io.BytesIO(found)) as archive:
        files = [archive.extractfile(member) for member in archive if member.name.endswith(".json")]
        records = [json.load(file) for file in files if file is not None]
    return {record["experiment"]: record for record in records}


def numbers(node: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every mean and every cell of a confusion matrix, with its place."""
    if isinstance(node, dict) and "mean" in node:
        yield place, node["mean"]
    elif isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from numbers(value, f"{place}.{key}" if place else str(key))
    else:
        yield place, node


def moved(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Places of the numbers of an old record that are others in a new one, or not there."""
    before, after = (
        dict(numbers({key: one[key] for key in ("metrics", "per_class", "ec57", "confusion")})) for one in (old, new)
    )
    return [
        place
        for place, value in before.items()
        if place not in after
        or (value is None) != (after[place] is None)
        or (value is not None and abs(value - after[place]) > TOLERANCE)
    ]


def is_twin(record: dict[str, Any]) -> bool:
    """Whether it was an experiment of moved thresholds."""
    return bool(record["parameters"].get("imbalance") == "thresholds")


def test_no_number_of_a_reference_moved(then: dict[str, Any]) -> None:
    gone = ANEW | config.REMOVED.keys()
    stay = {name: one for name, one in then.items() if not is_twin(one) and name not in gone}
    assert (len(then), len(stay)) == (98, 72)
    files = {name: ROOT / "book" / "results" / f"{name}.json" for name in stay}
    assert [name for name, file in files.items() if not file.is_file()] == []
    found = {name: moved(old, json.loads(files[name].read_text(encoding="utf-8"))) for name, old in stay.items()}
    assert {name: one for name, one in found.items() if one} == {}


def test_a_number_that_moved_or_went_is_found(then: dict[str, Any]) -> None:
    old = then["heartbeat/inter-patient"]
    new = copy.deepcopy(old)
    assert moved(old, new) == []
    new["metrics"]["mcc"]["mean"] += 2e-9
    new["per_class"]["S"]["se"]["mean"] = None
    del new["ec57"]["VEB"]["fpr"]
    new["confusion"][1][2][3] += 1
    assert sorted(moved(old, new)) == ["confusion.1.2.3", "ec57.VEB.fpr", "metrics.mcc", "per_class.S.se"]


def twins(then: dict[str, Any]) -> dict[str, Any]:
    """Experiment -> that of moved thresholds, whose parameters differ in the answer to imbalance alone."""

    def alike(record: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in record["parameters"].items() if name not in ("imbalance", "in_book")}

    plain = [one for one in then.values() if one["parameters"].get("imbalance") == "none"]
    return {a["experiment"]: b for b in filter(is_twin, then.values()) for a in plain if alike(a) == alike(b)}


def test_a_moved_decision_is_that_of_the_experiment_that_it_was(then: dict[str, Any]) -> None:
    """Every mean, interval and value of a seed, every matrix, offset and validation value, and when it was computed.

    No other result of then, trained before every run made it, has such a decision.
    """
    every, pairs = results.references(), twins(then)
    assert len(pairs) == 21
    for name in (pairs.keys() & every.keys()) - ANEW:  # some experiments are no more
        decided, twin = every[name].moved, pairs[name]
        assert decided is not None
        found = decided.model_dump(mode="json")
        assert {part: found[part] for part in DECISION} == {part: twin[part] for part in DECISION}, name
        for part in ("offsets", "validation", "validation_recall"):
            assert found[part] == [run[part] for run in twin["training"]], f"{name}.{part}"
        assert found["created"] == twin["evaluated"]["created"]
    for name, record in every.items():
        if name.startswith("heartbeat/") and then.get(name, {}).get("created") == record.created:
            assert (record.moved is not None) == (name in pairs), name
