"""A function of the package has at most sixty lines, its docstring among them, and ten arguments; those of
`cli.py`, which are mostly commands, may take more."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from projects import ROOT

LINES, ARGUMENTS = 60, 10
COMMANDS = "cli.py"


def too_much(file: str, source: str) -> Iterator[str]:
    """The functions of a file that are too long, or take too many arguments."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = len([*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs])
            lines = (node.end_lineno or 0) - node.lineno + 1
            if lines > LINES or (arguments > ARGUMENTS and file != COMMANDS):
                yield f"{file}: {node.name} ({lines} lines, {arguments} arguments)"


def test_functions_are_small() -> None:
    folder = ROOT / "ecglib"
    files = [(path.relative_to(folder).as_posix(), path.read_text(encoding="utf-8")) for path in folder.rglob("*.py")]
    assert len(files) > 100
    assert [found for file, source in files for found in too_much(file, source)] == []


def test_what_is_too_much_is_noticed() -> None:
    many, long = f"def f({', '.join(f'a{i}' for i in range(11))}): pass\n", "def f():\n" + "    pass\n" * 60
    assert list(too_much("a.py", many)) == ["a.py: f (1 lines, 11 arguments)"] and not list(too_much(COMMANDS, many))
    assert list(too_much(COMMANDS, long)) == [f"{COMMANDS}: f (61 lines, 0 arguments)"]
