"""Twenty kills of a training at random moments."""

from __future__ import annotations

from pathlib import Path

import pytest
from projects import make_project
from training.kill import kill


def test_twenty_kills(tmp_path: Path, small_mitdb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    print(kill(lambda name: make_project(tmp_path / name, small_mitdb, monkeypatch), 20))
