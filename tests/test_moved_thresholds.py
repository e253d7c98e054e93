"""Moved thresholds were experiments of their own once; what their records said now stands under `moved`."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from projects import ROOT

from ecglib.experiment import record as results

BEFORE = "99917aa294b6d5aeabfd024ca0fdf179f441d5b7"
"""The last commit with these experiments."""
DECISION = ("metrics", "per_class", "ec57", "without_202", "confusion", "by_record", "right")


def git(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=check)


@pytest.fixture(scope="module")
def before() -> dict[str, dict[str, Any]]:
    """Every beat result of that commit, by experiment."""
    if git("cat-file", "-e", f"{BEFORE}^{{commit}}", check=False).returncode:
        pytest.skip(f"this history lacks commit {BEFORE[:7]}, which has the experiments of moved thresholds")
    files = git("ls-tree", "--name-only", BEFORE, "book/results/heartbeat/").stdout.split()
    records = [json.loads(git("show", f"{BEFORE}:{file}").stdout) for file in files]
    return {record["experiment"]: record for record in records}


def alike(record: dict[str, Any]) -> dict[str, Any]:
    """The parameters but for the answer to imbalance."""
    return {name: value for name, value in record["parameters"].items() if name not in ("imbalance", "in_book")}


def twins(before: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Experiment -> that of moved thresholds, whose parameters differ in that alone."""
    moved = [record for record in before.values() if record["parameters"]["imbalance"] == "thresholds"]
    plain = [record for record in before.values() if record["parameters"]["imbalance"] == "none"]
    return {name["experiment"]: record for record in moved for name in plain if alike(name) == alike(record)}


def test_a_moved_decision_is_that_of_the_experiment_that_it_was(before: dict[str, dict[str, Any]]) -> None:
    """Every mean, interval and value of a seed, every matrix, offset and validation value, and when it was computed."""
    every, pairs = results.references(), twins(before)
    assert len(pairs) == 21
    for name in pairs.keys() & every.keys():  # some experiments are no more
        moved, twin = every[name].model_dump(mode="json")["moved"], pairs[name]
        assert {part: moved[part] for part in DECISION} == {part: twin[part] for part in DECISION}, name
        for part in ("offsets", "validation", "validation_recall"):
            assert moved[part] == [run[part] for run in twin["training"]], f"{name}.{part}"
        assert moved["created"] == twin["evaluated"]["created"]


def test_no_other_result_has_a_decision_that_was_never_made(before: dict[str, dict[str, Any]]) -> None:
    """Of those trained before every run made it."""
    pairs = twins(before)
    for name, record in results.references().items():
        if before.get(name, {}).get("created") == record.created:
            assert (record.moved is not None) == (name in pairs), name
