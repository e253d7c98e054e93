from __future__ import annotations

from pathlib import Path

import pytest
import torch
from projects import make_project
from training.kill import kill_and_resume, uninterrupted


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_weights(
    tmp_path: Path, small_mitdb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, seconds = uninterrupted(make_project(tmp_path / "whole", small_mitdb, monkeypatch))
    outcome = kill_and_resume(make_project(tmp_path / "killed", small_mitdb, monkeypatch), 3, seconds)
    assert outcome.killed >= 2
    assert outcome.worst_loss <= 1
    for name, tensor in weights.items():
        assert torch.equal(outcome.weights[name], tensor), name
