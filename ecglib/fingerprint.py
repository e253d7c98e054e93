"""Fingerprints of code and values, from which the keys of runs and caches are made."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from ecglib.errors import UserError

PACKAGE = Path(__file__).parent
_AT_START = {path: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
"""The code that this process runs. Files may be edited while a notebook's kernel lives on."""


def of_values(*values: Any) -> str:
    """SHA-256 of JSON-able values, the order of mapping keys aside."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def of_code(files: Iterable[str]) -> str:
    """SHA-256 of the syntax trees of modules, so that a comment, a docstring or a line break changes nothing.

    Parameters
    ----------
    files
        Paths relative to the package, such as `losses.py` or `training`; a folder stands for all modules below it.

    Raises
    ------
    UserError
        When one of them was edited after this process started: what it computes would be filed under other code.
    """
    modules: list[Path] = []
    for name in files:
        path = PACKAGE / name
        modules += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return of_values([(str(m.relative_to(PACKAGE)), _tree(m, m.stat().st_mtime_ns)) for m in modules])


def with_imports(file: str, folder: str) -> list[str]:
    """A module and the modules of `folder` that it imports, directly or through others; paths as for `of_code`."""
    found = [file]
    for name in found:  # grows on the way
        tree = ast.parse((PACKAGE / name).read_text(encoding="utf-8"))
        modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        paths = [f"{module.removeprefix('ecglib.').replace('.', '/')}.py" for module in modules]
        found += [path for path in paths if path.startswith(f"{folder}/") and path not in found]
    return found


@cache
def _tree(path: Path, _modified: int) -> str:
    text = path.read_text(encoding="utf-8")
    tree = dump(text)
    started_with = _AT_START.get(path, text)
    if text != started_with and tree != dump(started_with):
        raise UserError(path, "edited after this process started", do="restart the kernel, or run the command again")
    return tree


def dump(source: str) -> str:
    """The syntax tree of a module as text, without docstrings and positions."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            # a bare text anywhere in a body documents (as under a field) and computes nothing
            node.body = [
                child
                for child in node.body
                if not (
                    isinstance(child, ast.Expr)
                    and isinstance(child.value, ast.Constant)
                    and isinstance(child.value.value, str)
                )
            ]
    return ast.dump(tree)
