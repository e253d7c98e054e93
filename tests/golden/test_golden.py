"""Every case gives the numbers that are known of it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import golden
import pytest
import trainings

from ecglib.experiment import recipes

NAME = "heartbeat/cnet-none-intra"
BEFORE = golden.known()


@pytest.fixture(scope="module", autouse=True)
def place() -> Iterator[None]:
    with trainings.place():
        yield


@pytest.mark.parametrize("name", trainings.parameters())
def test_numbers_and_recipe_are_the_known_ones(name: str) -> None:
    before, after = BEFORE.get(name, {}), golden.now(name)
    moved, raised = golden.moved(name, before, after), golden.raised(before, after)
    why = golden.problems({name: before}, {name: after}) or ["record it: python tests/golden/golden.py --write"]
    assert not moved and not raised, f"{', '.join(moved + raised)}; {why[0]}"


def test_no_number_is_known_of_a_case_that_is_not_there() -> None:
    assert set(BEFORE) == set(trainings.parameters())


def test_every_stage_has_a_case() -> None:
    used = {stage for case in BEFORE.values() for stage in case["recipe"]}
    assert used == set(recipes.STAGES) | set(recipes.networks())


def test_the_excerpts_are_small() -> None:
    assert sum(path.stat().st_size for path in trainings.DATA.rglob("*") if path.is_file()) <= 300_000


@pytest.fixture
def after() -> dict[str, golden.Golden]:
    """The known numbers, to be changed."""
    return copy.deepcopy(BEFORE)


def test_a_number_that_moved_without_a_raised_recipe_may_not_be_recorded(after: dict[str, golden.Golden]) -> None:
    after[NAME]["train_loss"][0] *= 1 + 1e-8
    (problem,) = golden.problems(BEFORE, after)
    assert problem.startswith(f"{NAME}: train_loss moved; raise RECIPE")
    after[NAME]["recipe"]["training"] += 1
    assert not golden.problems(BEFORE, after)


@pytest.mark.parametrize(("stages", "loss"), [(["losses"], None), (["losses", "training"], [0.0])])
def test_a_recipe_raised_alone_or_with_another_may_not_be_recorded(
    stages: list[str], loss: list[float] | None, after: dict[str, golden.Golden]
) -> None:
    """Alone it moves no number; two at once are not told apart."""
    for case in after.values():
        for stage in set(stages) & case["recipe"].keys():
            case["recipe"][stage] += 1
            case["train_loss"] = loss or case["train_loss"]
    said = "RECIPE of losses alone moves no number; record raised stages one by one"
    assert golden.problems(BEFORE, after) == [said]


def test_a_cut_that_moved_is_recorded_on_purpose_only(after: dict[str, golden.Golden]) -> None:
    after["data/kachuee-intra"]["labels"] = "others"
    assert golden.problems(BEFORE, after) == ["data/kachuee-intra: labels moved"]


def test_a_metric_needs_no_recipe(after: dict[str, golden.Golden]) -> None:
    after[NAME]["evaluation"]["macro_f1"] = 0.5
    assert golden.moved(NAME, BEFORE[NAME], after[NAME]) == ["evaluation"]
    assert not golden.problems(BEFORE, after)


def test_what_may_not_be_recorded_is_not(
    after: dict[str, golden.Golden], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after[NAME]["weights"][0] += 1
    monkeypatch.setattr(golden, "KNOWN", tmp_path / "known.json")
    monkeypatch.setattr(golden.trainings, "parameters", lambda: {NAME: None})
    monkeypatch.setattr(golden, "now", BEFORE.get)
    golden.write({NAME: after[NAME]})
    assert golden.main("--write") == 1
    assert golden.known() == {NAME: after[NAME]}
