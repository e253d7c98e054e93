from __future__ import annotations

from pathlib import Path

import pytest
from projects import make_project
from training.kill import kill


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_weights(
    tmp_path: Path, small_mitdb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill(lambda name: make_project(tmp_path / name, small_mitdb, monkeypatch), 2)
