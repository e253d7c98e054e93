"""The goldens notice what they are there for: every mutant is run alone, in a process of its own."""

from __future__ import annotations

import importlib
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor

import mutants
import pytest
from mutants import Mutant

Alone = Callable[[Mutant], list[str]]


def _ready() -> None:
    for package in mutants.PACKAGES:
        importlib.import_module(package)


def _forked(mutant: Mutant) -> list[str]:
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        return pool.submit(mutant.moved).result()


@pytest.fixture(scope="module")
def alone() -> Iterator[Alone]:
    """What a mutant moves, each in a process of its own, forked from one that has the packages of others imported.

    A fork server wouldn't do: a process has one, and another test may have started it with ecglib imported.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_ready) as pool:
        pool.submit(len, ()).result()  # imported before the first mutant, whose time it would be
        yield lambda mutant: pool.submit(_forked, mutant).result()


@pytest.mark.parametrize("name", mutants.MUTANTS)
def test_a_mutant_is_noticed(name: str, alone: Alone) -> None:
    assert alone(mutants.MUTANTS[name])


def test_what_changes_no_number_is_not_noticed(alone: Alone) -> None:
    """The process compares what it should: with an edit that means nothing, its case gives the known numbers."""
    same = Mutant(mutants.LOOP, "class InMemory:", "class InMemory:  # the same", "heartbeat/cnet-none-intra")
    assert alone(same) == []


def test_a_text_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="stands there 0 times"):
        Mutant(mutants.LOOP, "no such text", "", "").moved()
