"""A name that begins with an underscore is used in its own module alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest
from projects import ROOT

TESTS = [path.relative_to(ROOT).with_suffix("") for path in (ROOT / "tests").rglob("*.py")]
OURS = {"ecglib", *(part for path in TESTS for part in path.parts)}


def private(name: object) -> bool:
    return isinstance(name, str) and name.startswith("_") and not name.endswith("_") and not name.startswith("__")


def ours(module: str | None) -> bool:
    """Whether a module is of this project: of the package or of its tests."""
    return (module or "").partition(".")[0] in OURS


def foreign(source: str) -> Iterator[str]:
    """The private names of other modules of this project that a module uses, each as it stands there."""
    nodes = list(ast.walk(ast.parse(source)))
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    own |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    own |= {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
    others = {
        (one.asname or one.name).partition(".")[0]
        for node in nodes
        if isinstance(node, ast.Import | ast.ImportFrom)
        for one in node.names
        if not ours(node.module if isinstance(node, ast.ImportFrom) else one.name)
    }
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and ours(node.module):
            yield from (f"{node.module}.{one.name}" for one in node.names if private(one.name))
        elif isinstance(node, ast.Attribute) and private(node.attr) and node.attr not in own:
            root = ast.unparse(node).partition(".")[0]
            if root not in others and ast.unparse(node.value) not in ("self", "cls"):
                yield ast.unparse(node)
        elif isinstance(node, ast.Call) and "setattr" in (getattr(node.func, "attr", ""), getattr(node.func, "id", "")):
            (name,) = node.args[1:2] or [None]
            if isinstance(name, ast.Constant) and private(name.value) and name.value not in own:
                yield ast.unparse(node)


def found() -> dict[str, list[str]]:
    files = [path for folder in ("ecglib", "tests") for path in (ROOT / folder).rglob("*.py")]
    every = {path.relative_to(ROOT).as_posix(): list(foreign(path.read_text(encoding="utf-8"))) for path in files}
    return {name: uses for name, uses in every.items() if uses}


def test_no_module_uses_a_private_name_of_another() -> None:
    assert not found(), "make the name public, with a docstring, or move what uses it"


@pytest.mark.parametrize(
    ("use", "is_foreign"),
    [
        ("from ecglib.training.loop import _order", True),
        ("from tests.report import snapshots\nsnapshots._cells('heartbeat')", True),
        ("from ecglib.training import loop\nloop._order(3)", True),
        ("import ecglib.training.loop\necglib.training.loop._order(3)", True),
        ("def test(fitting):\n    fitting._loss(3)", True),
        ("from ecglib.training import loop\ndef t(patch):\n    patch.setattr(loop, '_order', None)", True),
        ("import os\nos._exit(1)", False),
        ("from torch import nn\nnn.modules.batchnorm._BatchNorm", False),
        ("class A:\n    def _b(self): ...\n    def c(self, other):\n        self._d()\n        other._b()", False),
        ("from ecglib.report import tables\ntables.table([])._repr_markdown_()", False),
    ],
)
def test_a_use_of_another_module_s_private_name_is_found(use: str, is_foreign: bool) -> None:
    assert len(list(foreign(use))) == is_foreign
