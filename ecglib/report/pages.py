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


def shown(parameters: SharedParameters) -> Iterator[tuple[nbformat.NotebookNode, Any]]:
    """Every cell of an experiment's notebook but those that need a run, and what it shows: None where that is nothing.

    Cells share their variables as in a kernel, and what one raises goes through.
    """
    notebook = parameters.experiment.split("/")[0]
    namespace: dict[str, Any] = {}
    for cell in jupytext.read(paths.notebooks() / f"{notebook}.py").cells:
        tags = cell.metadata.get("tags", [])
        if RUN in tags:
            continue
        value = None
        if cell.cell_type == "code":
            body = ast.parse(cell.source).body
            last = ast.Expression(body.pop().value) if body and isinstance(body[-1], ast.Expr) else None
            exec(compile(ast.Module(body, []), notebook, "exec"), namespace)
            value = None if last is None else eval(compile(last, notebook, "eval"), namespace)
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
