"""The contracts that `lint-imports` holds in `make lint` notice an arrow that goes the other way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from projects import ROOT

BACK = {"data/splits.py": "config", "experiment/recipes.py": "report.tables", "report/book.py": "report.preview.pages"}


def test_an_arrow_that_goes_back_is_refused(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "ecglib", tmp_path / "ecglib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for file, target in {**BACK, "data/digest.py": "errors"}.items():
        with (tmp_path / "ecglib" / file).open("a", encoding="utf-8") as module:
            module.write(f"\nimport ecglib.{target}\n")
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout
    for file, target in BACK.items():
        assert f"{file[:-3].replace('/', '.')} -> ecglib.{target} (l." in done.stdout
    assert "-> ecglib.errors" not in done.stdout, "that one goes the right way"
