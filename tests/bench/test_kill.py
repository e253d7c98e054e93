"""Twenty kills of a training at random moments."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from projects import make_project
from training.kill import kill_and_resume, uninterrupted


def test_twenty_kills(tmp_path: Path, small_mitdb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, seconds = uninterrupted(make_project(tmp_path / "whole", small_mitdb, monkeypatch))
    killed = 0
    for attempt in range(5):  # a training ends after some kills, so there are several
        root = make_project(tmp_path / f"killed-{attempt}", small_mitdb, monkeypatch)
        outcome = kill_and_resume(root, 4, seconds, seed=attempt)
        assert outcome.worst_loss <= 1
        for name, tensor in weights.items():
            assert torch.equal(outcome.weights[name], tensor), name
        killed += outcome.killed
    print(f"{killed} kills of 20 hit a running training of {seconds:.1f} s; all weights are bit-equal")
    assert killed >= 15
