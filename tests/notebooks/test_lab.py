"""JupyterLab as a reader uses it: saving a notebook writes its text form."""

from __future__ import annotations

import asyncio
from pathlib import Path

import nbformat
import pytest
from jupyter_server.serverapp import ServerApp

from ecglib.report import book


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of JupyterLab and its extensions among themselves
def test_saving_a_notebook_writes_its_text(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book.make_notebooks()
    for name in ("CONFIG", "DATA", "RUNTIME"):
        monkeypatch.setenv(f"JUPYTER_{name}_DIR", str(tmp_path / name))  # the reader's own settings are not asked
    server = ServerApp(root_dir=str(project / "notebooks"), log_level="ERROR")
    server.initialize([], new_httpserver=False)
    text = project / "notebooks" / "heartbeat.py"
    before = text.read_text(encoding="utf-8")

    async def save(*cells: nbformat.NotebookNode) -> str:
        """Save it with these cells at its end; its text then."""
        model = await server.contents_manager.get("heartbeat.ipynb")
        model["content"]["cells"] += cells
        await server.contents_manager.save(model, "heartbeat.ipynb")
        return text.read_text(encoding="utf-8")

    assert asyncio.run(save()) == before  # nothing changed, so nothing is written anew
    after = asyncio.run(save(nbformat.v4.new_markdown_cell("A thought of the reader's.")))
    assert after.startswith(before.rstrip())
    assert after.rstrip().endswith("# %% [markdown]\n# A thought of the reader's.")
