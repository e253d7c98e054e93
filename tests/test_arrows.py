"""The contract that `lint-imports` holds in `make lint` notices an arrow that goes the other way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from projects import ROOT


@pytest.mark.parametrize(
    ("file", "line", "kept"),
    [
        ("data/splits.py", "import ecglib.errors", True),
        ("data/splits.py", "import ecglib.config", False),
        ("experiment/recipes.py", "import ecglib.report.tables", False),
        ("report/book.py", "import ecglib.report.preview.pages", False),
    ],
)
def test_an_arrow_that_goes_back_is_refused(file: str, line: str, kept: bool, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "ecglib", tmp_path / "ecglib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "ecglib" / file).open("a", encoding="utf-8") as module:
        module.write(f"\n{line}\n")
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == kept, done.stdout
