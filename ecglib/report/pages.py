"""A page made in this process: an experiment's notebook, run on the reference result alone."""

from __future__ import annotations

import ast
import base64
from collections.abc import Iterator
from typing import Any, Final

import jupytext
import nbformat

from ecglib import paths
from ecglib.config import SharedParameters

RUN: Final = "run"
"""The tag of cells that need a run made here; a page of the reference result alone goes without them."""
_SHOWN: Final = "_shown"
"""The name that a cell's last expression is given, as a kernel's `_`."""


def shown(parameters: SharedParameters) -> Iterator[tuple[nbformat.NotebookNode, Any]]:
    """Every cell of an experiment's notebook but those that need a run, and what it shows: None where that is nothing.

    Cells share their variables as in a kernel, and what one raises goes through. The code is the committed notebook's
    alone: parameters enter as values and are never read as code.
    """
    notebook = parameters.experiment.split("/")[0]
    namespace: dict[str, Any] = {}
    for cell in jupytext.read(paths.notebooks() / f"{notebook}.py").cells:
        tags = cell.metadata.get("tags", [])
        if RUN in tags:
            continue
        value = None
        if cell.cell_type == "code":
            code = ast.parse(cell.source)
            if code.body and isinstance(last := code.body[-1], ast.Expr):
                code.body[-1] = ast.Assign([ast.Name(_SHOWN, ast.Store())], last.value)
            exec(compile(ast.fix_missing_locations(code), notebook, "exec"), namespace)
            value = namespace.pop(_SHOWN, None)
        if "parameters" in tags:
            namespace |= parameters.model_dump()  # as papermill does
        yield cell, value


def executed(parameters: SharedParameters) -> nbformat.NotebookNode:
    """The notebook with what its cells show, as a kernel would leave it."""
    cells = []
    for number, (cell, value) in enumerate(shown(parameters), start=1):
        cell["id"] = f"cell-{number}"
        if cell.cell_type == "code":
            cell.execution_count = number
            cell.outputs = [] if value is None else [_output(value)]
        cells.append(cell)
    notebook: nbformat.NotebookNode = nbformat.v4.new_notebook(cells=cells)
    return notebook


def _output(value: Any) -> nbformat.NotebookNode:
    """What a kernel would make of it: Markdown, a figure, or else plain text."""
    data = {"text/plain": repr(value)}
    if hasattr(value, "_repr_markdown_"):
        data["text/markdown"] = value._repr_markdown_()
    elif hasattr(value, "_repr_png_"):
        data["image/png"] = base64.b64encode(value._repr_png_()).decode()
    output: nbformat.NotebookNode = nbformat.v4.new_output("display_data", data=data)
    return output
