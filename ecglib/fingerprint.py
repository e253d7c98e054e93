"""Fingerprints of code and values, from which the keys of runs and caches are made."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent
AT_START = {path: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
"""The code that this process runs. Files may be edited while a notebook's kernel lives on."""


def of_values(*values: Any) -> str:
    """SHA-256 of JSON-able values, the order of mapping keys aside."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def of_files(names: Iterable[str]) -> dict[str, str]:
    """Module -> the beginning of a SHA-256 of its syntax tree, so that a comment, a docstring or a line break changes
    nothing. Names are paths relative to the package, such as `losses.py` or `training`; a folder stands for all modules
    below it."""
    found: list[Path] = []
    for name in names:
        path = PACKAGE / name
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    sources = {path: AT_START.get(path) or path.read_text(encoding="utf-8") for path in found}
    return {path.relative_to(PACKAGE).as_posix(): _of_tree(source) for path, source in sources.items()}


def of_code(names: Iterable[str]) -> str:
    """SHA-256 over the syntax trees of modules; names as for `of_files`."""
    return of_values(of_files(names))


def edited() -> list[str]:
    """Modules whose code was changed since this process started, which may run the old code or the new one."""
    changed = [path for path, text in AT_START.items() if _differs(path, text)]
    return [path.relative_to(PACKAGE).as_posix() for path in changed]


def _differs(path: Path, before: str) -> bool:
    try:
        now = path.read_text(encoding="utf-8")
        return now != before and dump(now) != dump(before)
    except (OSError, SyntaxError):
        return True


@cache
def _of_tree(source: str) -> str:
    return hashlib.sha256(dump(source).encode()).hexdigest()[:16]


def dump(source: str) -> str:
    """The syntax tree of a module as text, without docstrings and positions."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            # a bare text anywhere in a body documents (as under a field) and computes nothing
            node.body = [child for child in node.body if not _is_text(child)]
    return ast.dump(tree)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
