"""A small book with one of everything that both renderers do; its executed notebooks are made here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import v4

from ecglib.report.preview import pages
from tests.report.example import hand_counted

SOURCES = Path(__file__).parent / "fixture_book"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M/wHwAEBgIApD5fRAAAAABJRU5ErkJggg=="
SVG = (SOURCES / "book" / "beat.svg").read_text(encoding="utf-8")


def code(source: str, *outputs: dict[str, str] | str, tags: tuple[str, ...] = ()) -> Any:
    """An executed code cell; an output is what it printed, or a mapping of MIME types."""
    made = [
        v4.new_output("stream", name="stdout", text=output)
        if isinstance(output, str)
        else v4.new_output("display_data", data=output)
        for output in outputs
    ]
    return v4.new_code_cell(source, outputs=made, execution_count=1, metadata={"tags": list(tags)})


def notebook(experiment: str, title: str) -> Any:
    """An executed notebook as papermill and the stamping of labels leave it."""
    p = experiment.replace("/", "-")
    cells = [
        v4.new_markdown_cell(
            f"# {title} {{#sec-{p}}}\n\nSee @fig-{p}-curves, @tbl-{p}-scores and @sec-methods, after [@kachuee2018]."
        ),
        code("hidden = 'parameters'", tags=("parameters", "remove-cell")),
        code("hidden = 'injected'", tags=("injected-parameters", "remove-cell")),
        code("hidden = 'removed'", "hidden output", tags=("remove-cell",)),
        v4.new_markdown_cell("## Curves\n\nThe [loss](../../methods.qmd#sec-loss) says how."),
        code(
            f'#| label: fig-{p}-curves\n#| fig-cap: "Loss: the *training* part"\n#| fig-alt: "Two curves"\nplot()',
            {"image/png": PIXEL, "text/plain": "<Figure size 1x1>"},
        ),
        code(
            f"#| label: tbl-{p}-scores\n#| tbl-cap: 'Scores per class'\n#| echo: false\nhidden_code(record)",
            "a line of the log\n",
            {"text/markdown": "| Class | Se |\n|:--|--:|\n| N | 0.99 |", "text/plain": "…"},
        ),
        code("summary(record)", {"text/markdown": "The macro-F1 is **0.914**, see @tbl-headline.", "text/plain": "…"}),
        code(
            f'#| label: fig-{p}-beat\n#| fig-cap: "A beat after @moody2001"\nbeat(record)',
            {"image/svg+xml": SVG, "text/plain": "…"},
        ),
        v4.new_markdown_cell(f"## Last {{#sec-{p}-last}}\n\nThis is @sec-{p}-last of @sec-{p}."),
    ]
    metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "ecglib": {"experiment": experiment},
        "papermill": {"exception": None},
    }
    return v4.new_notebook(cells=cells, metadata=metadata)


def make_book(root: Path) -> Path:
    shutil.copytree(SOURCES, root)
    for experiment, title in (("heartbeat/baseline", "Baseline"), ("heartbeat/weighted", "Weighted loss")):
        file = root / "book" / "experiments" / f"{experiment}.ipynb"
        file.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook(experiment, title), file)
    results = root / "book" / "results" / "heartbeat"
    results.mkdir(parents=True, exist_ok=True)
    (results / "baseline.json").write_text(json.dumps(hand_counted()), encoding="utf-8")
    return root


@pytest.fixture
def fixture_book(tmp_path: Path) -> Path:
    """The root of a fresh copy of the fixture book, with its notebooks executed."""
    return make_book(tmp_path / "book")


@pytest.fixture(scope="session")
def rendered_book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The preview of the fixture book; to read only."""
    root = make_book(tmp_path_factory.mktemp("preview") / "book")
    return pages.render(root, root / "_book").parent
