"""Every case gives the numbers that are known of it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import golden
import pytest
import trainings

from ecglib.experiment import recipes


@pytest.fixture(scope="module", autouse=True)
def place() -> Iterator[None]:
    with trainings.place():
        yield


@pytest.mark.parametrize("name", trainings.parameters())
def test_numbers_and_recipe_are_the_known_ones(name: str) -> None:
    before, after = golden.known().get(name, {}), golden.now(name)
    moved, raised = golden.moved(before, after), golden.raised(before, after)
    why = golden.problems({name: before}, {name: after}) or ["record it: python tests/golden/golden.py --write"]
    assert not moved and not raised, f"{', '.join(moved + raised)}; {why[0]}"


def test_no_number_is_known_of_a_case_that_is_not_there() -> None:
    assert set(golden.known()) == set(trainings.parameters())


def test_every_stage_has_a_case() -> None:
    used = {stage for case in golden.known().values() for stage in case["recipe"]}
    assert used == set(recipes.STAGES) | set(recipes.networks())


def test_the_excerpts_are_small() -> None:
    assert sum(path.stat().st_size for path in trainings.DATA.rglob("*") if path.is_file()) <= 300_000


NAME = "heartbeat/cnet-none-intra"


def test_a_number_that_moved_without_a_raised_recipe_may_not_be_recorded() -> None:
    before = golden.known()
    after = copy.deepcopy(before)
    after[NAME]["train_loss"][0] *= 1 + 1e-8
    (problem,) = golden.problems(before, after)
    assert problem.startswith(f"{NAME}: train_loss moved; raise RECIPE")
    after[NAME]["recipe"]["training"] += 1
    assert not golden.problems(before, after)


def test_a_recipe_raised_without_a_number_that_moved_may_not_be_recorded() -> None:
    before = golden.known()
    after = copy.deepcopy(before)
    for case in after.values():
        if "losses" in case["recipe"]:
            case["recipe"]["losses"] += 1
    assert golden.problems(before, after) == ["RECIPE of losses alone moves no number; record raised stages one by one"]


def test_a_cut_that_moved_is_recorded_on_purpose_only() -> None:
    before = golden.known()
    after = copy.deepcopy(before)
    after["data/kachuee-intra"]["labels"] = "others"
    assert golden.problems(before, after) == ["data/kachuee-intra: labels moved"]


def test_two_stages_raised_at_once_are_not_told_apart() -> None:
    before = golden.known()
    after = copy.deepcopy(before)
    for case in after.values():
        for stage in ("losses", "training"):
            if stage in case["recipe"]:
                case["recipe"][stage] += 1
                case["train_loss"] = [0.0]
    assert golden.problems(before, after) == ["RECIPE of losses alone moves no number; record raised stages one by one"]


def test_a_metric_needs_no_recipe() -> None:
    before = golden.known()
    after = copy.deepcopy(before)
    after[NAME]["evaluation"]["macro_f1"] = 0.5
    assert golden.moved(before[NAME], after[NAME]) == ["evaluation"]
    assert not golden.problems(before, after)


def test_what_may_not_be_recorded_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = golden.known()
    changed = copy.deepcopy(known)
    changed[NAME]["weights"][0] += 1
    monkeypatch.setattr(golden, "KNOWN", tmp_path / "known.json")
    monkeypatch.setattr(golden.trainings, "parameters", lambda: {NAME: None})
    monkeypatch.setattr(golden, "now", lambda name: known[name])
    golden.write({NAME: changed[NAME]})
    assert golden.main("--write") == 1
    assert golden.known() == {NAME: changed[NAME]}
