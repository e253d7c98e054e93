"""Twenty kills of a training at random moments."""

from __future__ import annotations

from pathlib import Path

import pytest
from projects import make_project
from training.kill import kill_and_resume, uninterrupted


def test_twenty_kills(tmp_path: Path, small_mitdb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, seconds = uninterrupted(make_project(tmp_path / "whole", small_mitdb, monkeypatch))
    killed = attempt = 0
    while killed < 20:  # a training ends after some kills, and the next begins anew
        assert attempt < 10, "most kills came after the end"
        root = make_project(tmp_path / f"killed-{attempt}", small_mitdb, monkeypatch)
        killed += kill_and_resume(root, weights, min(4, 20 - killed), seconds, seed=attempt)
        attempt += 1
    print(f"{killed} kills in {attempt} trainings of {seconds:.1f} s; all weights are bit-equal")
