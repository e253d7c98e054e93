"""Moved thresholds were experiments of their own once; what their records said now stands under `moved`."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from projects import ROOT

from ecglib.experiment import record as results
from ecglib.experiment.record import Record

BEFORE = "99917aa294b6d5aeabfd024ca0fdf179f441d5b7"
"""The last commit with these experiments."""
DECISION = ("metrics", "per_class", "ec57", "without_202", "confusion", "by_record", "right")
CIRCUMSTANCES = ("validation", "validation_recall", "offsets", "unmoved", "seconds")
"""In what the trainings of one network may differ: its decision, and time."""


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


def twins(before: dict[str, dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each experiment of moved thresholds, and the one whose parameters differ in that alone."""

    def alike(record: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in record["parameters"].items() if name not in ("imbalance", "in_book")}

    found = []
    for record in before.values():
        if record["parameters"]["imbalance"] == "thresholds":
            (plain,) = (
                one
                for one in before.values()
                if one["parameters"]["imbalance"] == "none" and alike(one) == alike(record)
            )
            found.append((plain, record))
    return found


def without(value: Any, *names: str) -> Any:
    if isinstance(value, dict):
        return {name: without(one, *names) for name, one in value.items() if name not in names}
    return [without(one, *names) for one in value] if isinstance(value, list) else value


def assert_equal(found: Any, expected: Any, where: str) -> None:
    """Equal in every key and text, and in numbers to 1e-9."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for name, value in expected.items():
            assert_equal(found[name], value, f"{where}.{name}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for i, value in enumerate(expected):
            assert_equal(found[i], value, f"{where}[{i}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=0, abs=1e-9), where
    else:
        assert found == expected, where


def test_a_moved_decision_is_that_of_the_experiment_that_it_was(before: dict[str, dict[str, Any]]) -> None:
    """Every mean, interval and value of a seed, every matrix, offset and validation value, and when it was computed."""
    every = results.references()
    pairs = twins(before)
    assert len(pairs) == 21
    for plain, twin in pairs:
        if plain["experiment"] not in every:
            continue  # the experiment itself is no more
        moved = every[plain["experiment"]].model_dump(mode="json")["moved"]
        assert_equal(
            {name: moved[name] for name in DECISION}, {name: twin[name] for name in DECISION}, twin["experiment"]
        )
        for name in ("offsets", "validation", "validation_recall"):
            assert_equal(moved[name], [run[name] for run in twin["training"]], f"{twin['experiment']}.{name}")
        assert moved["created"] == twin["evaluated"]["created"]


def test_both_were_decisions_of_the_same_networks(before: dict[str, dict[str, Any]]) -> None:
    """On the same beats, with the same loss and validation metric after every epoch of every seed to the last digit."""
    for plain, twin in twins(before):
        for name in ("data", "seeds", "scored", "precision", "device", "hardware", "versions", "n_parameters"):
            assert plain[name] == twin[name], f"{twin['experiment']}: {name}"
        assert without(plain["training"], *CIRCUMSTANCES) == without(twin["training"], *CIRCUMSTANCES)
        assert [run["validation"] for run in plain["training"]] == [run["unmoved"] for run in twin["training"]]


def test_no_other_result_has_a_decision_that_was_never_made(before: dict[str, dict[str, Any]]) -> None:
    """Of those trained before every run made it."""
    with_twin = {plain["experiment"] for plain, _ in twins(before)}

    def is_older(record: Record) -> bool:
        return before.get(record.experiment, {}).get("created") == record.created

    for name, record in results.references().items():
        if is_older(record):
            assert (record.moved is not None) == (name in with_twin), name
