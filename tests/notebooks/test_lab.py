"""JupyterLab as a reader uses it: notebooks run where they lie, and saving one writes its text form."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
import requests
from projects import make_project

from ecglib.report import book

TOKEN = "test-token"


@pytest.fixture
def lab(tmp_path: Path, small_mitdb: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    root = make_project(tmp_path / "project", small_mitdb, monkeypatch)
    book.make_notebooks()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip", "127.0.0.1", f"--port={port}",
        f"--notebook-dir={root / 'notebooks'}", f"--IdentityProvider.token={TOKEN}",
    ]  # fmt: skip
    own = {"JUPYTER_CONFIG_DIR": str(tmp_path / "config"), "JUPYTER_DATA_DIR": str(tmp_path / "d")}
    process = subprocess.Popen(
        command, env={**os.environ, **own}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            if process.poll() is not None:
                pytest.fail(process.stderr.read() if process.stderr else "the server ended")
            try:
                requests.get(f"{address}/api/status", params={"token": TOKEN}, timeout=2)
                break
            except requests.ConnectionError:
                time.sleep(0.25)
        yield address, root
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_saving_a_notebook_writes_its_text(lab: tuple[str, Path]) -> None:
    address, root = lab
    text = root / "notebooks" / "heartbeat.py"
    before = text.read_text(encoding="utf-8")

    def save(*cells: nbformat.NotebookNode) -> str:
        """Save it with these cells at its end; its text then."""
        place = {"url": f"{address}/api/contents/heartbeat.ipynb", "params": {"token": TOKEN}, "timeout": 20}
        model = requests.get(**place).json()
        model["content"]["cells"] += cells
        saved = requests.put(**place, json=model)
        assert saved.status_code == 200, saved.text
        return text.read_text(encoding="utf-8")

    assert save() == before  # nothing changed, so nothing is written anew
    after = save(nbformat.v4.new_markdown_cell("A thought of the reader's."))
    assert after.startswith(before.rstrip())
    assert after.rstrip().endswith("# %% [markdown]\n# A thought of the reader's.")
