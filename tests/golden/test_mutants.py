"""The goldens notice what they are there for: every mutant is run alone, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import mutants
import pytest

HERE = Path(__file__).parent


def run(name: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(HERE), str(mutants.ROOT)])
    return subprocess.run(
        [sys.executable, str(HERE / "mutants.py"), name],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", mutants.MUTANTS)
def test_a_mutant_is_noticed(name: str) -> None:
    mutants.MUTANTS[name].source()  # a text that is not found is no mutant
    done = run(name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip(), "it says what has moved"


def test_what_changes_no_number_is_not_noticed(tmp_path: Path) -> None:
    """The process compares what it should: with an edit that means nothing, its case gives the known numbers."""
    same = mutants.Mutant(mutants.LOOP, "class InMemory:", "class InMemory:  # the same", "heartbeat/cnet-none-intra")
    code = f"import mutants; mutants.MUTANTS['same'] = mutants.{same!r}; raise SystemExit(mutants.main('same'))"
    path = os.pathsep.join([str(HERE), str(mutants.ROOT)])
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, check=False)
    assert done.returncode == 1


def test_a_text_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="stands there 0 times"):
        mutants.Mutant(mutants.LOOP, "no such text", "", "").source()
