"""JupyterLab as a reader uses it: notebooks run where they lie, and saving one writes its text form."""

from __future__ import annotations

import json
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
    environment = {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
        "JUPYTER_DATA_DIR": str(tmp_path / "d"),
    }
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
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
    url = f"{address}/api/contents/heartbeat.ipynb"
    model = requests.get(url, params={"token": TOKEN}, timeout=20).json()
    saved = requests.put(url, params={"token": TOKEN}, json=model, timeout=20)
    assert saved.status_code == 200, saved.text
    assert text.read_text(encoding="utf-8") == before  # nothing changed, so nothing is written anew

    model = requests.get(url, params={"token": TOKEN}, timeout=20).json()
    model["content"]["cells"].append(
        json.loads(json.dumps(nbformat.v4.new_markdown_cell("A thought of the reader's.")))
    )
    saved = requests.put(url, params={"token": TOKEN}, json=model, timeout=20)
    assert saved.status_code == 200, saved.text
    after = text.read_text(encoding="utf-8")
    assert after.startswith(before.rstrip())
    assert after.rstrip().endswith("# %% [markdown]\n# A thought of the reader's.")
