from __future__ import annotations

from pathlib import Path

import pytest
from projects import make_project
from training.kill import kill_and_resume, uninterrupted


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_weights(
    tmp_path: Path, small_mitdb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, seconds = uninterrupted(make_project(tmp_path / "whole", small_mitdb, monkeypatch))
    killed = make_project(tmp_path / "killed", small_mitdb, monkeypatch)
    assert kill_and_resume(killed, weights, 3, seconds) >= 2
