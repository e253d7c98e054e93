"""No published number moved: today's references beside those of a commit of before the records were put in order.

Every reference result of then that stays must have the same means and confusion matrices. Results of moved thresholds
went: since then they are a second decision of the run whose thresholds were moved.
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

THEN = "99917aa294b6d5aeabfd024ca0fdf179f441d5b7"
TOLERANCE = 1e-9


@pytest.fixture(scope="module")
def then() -> dict[str, Any]:
    """The reference results of then, by experiment."""
    git = ["git", "-C", str(ROOT)]
    try:
        found = subprocess.run([*git, "archive", THEN, "book/results"], capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"the history of git does not reach back to {THEN}")
    records = {}
    with tarfile.open(fileobj=io.BytesIO(found)) as archive:
        for member in archive:
            if member.name.endswith(".json") and (file := archive.extractfile(member)) is not None:
                record = json.load(file)
                records[record["experiment"]] = record
    return records


def numbers(record: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every mean and every cell of a confusion matrix, with its place."""
    for key in ("metrics", "per_class", "ec57"):
        yield from _means(record[key], key)
    for place, matrix in enumerate(record["confusion"]):
        for row, counts in enumerate(matrix):
            for column, count in enumerate(counts):
                yield f"confusion.{place}.{row}.{column}", count


def _means(node: dict[str, Any], place: str) -> Iterator[tuple[str, Any]]:
    if "mean" in node:
        yield place, node["mean"]
        return
    for key, value in node.items():
        yield from _means(value, f"{place}.{key}")


def moved(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """The numbers of an old record that are others in a new one, or not there."""
    there = dict(numbers(new))
    return [
        f"{place}: {value} became {there.get(place)}"
        for place, value in numbers(old)
        if place not in there
        or (value is None) != (there[place] is None)
        or (value is not None and abs(value - there[place]) > TOLERANCE)
    ]


def test_no_number_of_a_reference_moved(then: dict[str, Any]) -> None:
    twins = {name for name, one in then.items() if one["parameters"].get("imbalance") == "thresholds"}
    stay = {name: one for name, one in then.items() if name not in {*twins, *config.REMOVED}}
    assert (len(then), len(stay)) == (98, 75)
    files = {name: ROOT / "book" / "results" / f"{name}.json" for name in stay}
    assert [name for name, file in files.items() if not file.is_file()] == []
    found = {name: moved(old, json.loads(files[name].read_text(encoding="utf-8"))) for name, old in stay.items()}
    assert {name: one for name, one in found.items() if one} == {}


CHANGES: list[tuple[Any, ...]] = [
    ("metrics", "mcc"), ("per_class", "S", "se"), ("ec57", "VEB", "fpr"), ("confusion", 1, 2),
]  # fmt: skip


@pytest.mark.parametrize("path", CHANGES, ids=lambda path: path[0])
def test_a_number_that_moved_or_went_is_found(path: tuple[Any, ...], then: dict[str, Any]) -> None:
    old = then["heartbeat/inter-patient"]
    last = 3 if path[0] == "confusion" else "mean"
    for by in (2e-9, 1, None):
        new = copy.deepcopy(old)
        node = new
        for key in path:
            node = node[key]
        node[last] = None if by is None else node[last] + by
        place = ".".join(map(str, (*path, last) if path[0] == "confusion" else path))
        assert [one.split(":")[0] for one in moved(old, new)] == [place]
    new = copy.deepcopy(old)
    del new[path[0]][path[1]]
    assert moved(old, new)
    assert moved(old, copy.deepcopy(old)) == []
