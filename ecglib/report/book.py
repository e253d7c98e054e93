"""Runs the notebooks and renders the book.

Text notebooks (`notebooks/*.py`) become `.ipynb`, papermill runs one per experiment, and the executed notebook, stamped
and stripped of what belongs to one machine, is the experiment's page. Quarto renders the book where it is there or can
be had; else the same chapters become a plainer book through Pandoc.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import jupytext
import nbformat

from ecglib import config, files, fingerprint, paths
from ecglib.config import SharedParameters
from ecglib.data import databases
from ecglib.errors import UserError
from ecglib.experiment import record as results
from ecglib.experiment import tasks
from ecglib.experiment.recipes import Trained
from ecglib.report import chapters, pages, tables, yardsticks

QUARTO_SECONDS = 60
"""How long `pip install quarto-cli` may take; it downloads Quarto while it installs, with no time limit of its own."""
READ_BY_CHAPTERS = ("published.yml", "aims.yml", "tried.yml")
"""Files in `book/` that chapters read beside the reference results."""
_SHOWING = [f"report/{name}.py" for name in ("comparisons", "ecg_figures", "figures", "in_use", "infarctions",
                                             "names", "pages", "published", "recordings", "search_figures", "searches",
                                             "tables", "words", "yardsticks")]  # fmt: skip
"""Modules of `report/` that give an executed page its tables, figures and sentences."""
_KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


# --- notebooks --------------------------------------------------------------------------------------------------------


def make_notebooks() -> list[Path]:
    """Make `notebooks/*.ipynb` from the text notebooks, one way; what has the cells of its text stays untouched.

    So does one whose cells are not those that were last seen to be its text's: they are somebody's own, as of an editor
    that writes no text form. A line on stderr says so; experiments follow from the text all the same.
    """
    made = []
    for text in sorted(paths.notebooks().glob("*.py")):
        target, seen = text.with_suffix(".ipynb"), paths.cache() / "notebooks" / f"{text.stem}.txt"
        content = _from_text(text)
        now, there = _cells(content), _cells(target.read_text("utf-8", "replace")) if target.is_file() else ""
        last = seen.read_text("utf-8") if seen.is_file() else ""
        if there in (now, last, ""):
            if there != now:
                files.write(target, content)
            _write_if_new(seen, now)
        else:
            found = (
                f"its cells are not those of {text.name}, which experiments follow: edited, or of an earlier version"
            )
            keep = "rename it" if now != last else f"jupytext --to py:percent {target}"
            print(UserError(target, found, do=f"to keep them: {keep}; to drop them: remove it"), file=sys.stderr)
        made.append(target)
    return made


def _from_text(text: Path) -> str:
    notebook = jupytext.read(text)
    notebook.metadata["kernelspec"] = _KERNEL
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"{text.stem}-{number:02d}"  # jupytext draws them at random; a fixed name keeps files equal
    return str(nbformat.writes(notebook))


def _cells(content: str) -> str:
    """Hash of what a notebook's text form would have of it, kind, source and tags of every cell; of what is no notebook
    that of the whole, and empty where there is nothing."""
    try:
        cells = nbformat.reads(content, as_version=4).cells
        return fingerprint.of_values([(c.cell_type, c.source.strip(), c.metadata.get("tags", [])) for c in cells])
    except Exception:  # whatever somebody's file holds, it is not ours
        return fingerprint.of_values(content) if content.strip() else ""


def execute(parameters: SharedParameters, *, target: Path | None = None, fresh: bool = False) -> Path:
    """Run an experiment's notebook with papermill and put the page at `target`, None: its place in the book.

    `fresh` throws away the run that the notebook would find. UserError where a cell fails or the kernel dies; the
    failed notebook is kept beside the caches, and the former page stays.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    name = parameters.experiment
    target = target or paths.executed(name)
    unfinished = paths.cache() / "notebooks" / f"{name.replace('/', '-')}.{os.getpid()}.ipynb"
    content = _from_text(paths.notebooks() / f"{name.split('/')[0]}.py")
    inputs = inputs_key(parameters)  # code edited from here on has no part in the page
    try:
        if fresh and isinstance(parameters, Trained):
            tasks.run(parameters, fresh=True)  # the notebook finds it
        files.write(unfinished, content)
        how: dict[str, Any] = {"kernel_name": "python3", "progress_bar": False, "log_output": False}
        where = re.sub(r"([{}])", r"\1\1", str(unfinished))  # papermill fills parameters into braces
        with tempfile.TemporaryDirectory() as sockets:
            # TCP ports would be chosen here and bound by the kernel seconds later, when another may have them.
            talk = {"transport": "ipc", "connection_file": f"{sockets}/kernel.json"}
            how["config"] = Config(KernelManager=talk)
            papermill.execute_notebook(where, where, parameters.model_dump(), cwd=paths.root(), **how)
    except (PapermillExecutionError, DeadKernelError) as error:
        failed = unfinished.with_name(f"failed-{name.replace('/', '-')}.ipynb")
        unfinished.replace(failed)
        killed = "the notebook's process was killed, perhaps for want of memory"
        what = killed if isinstance(error, DeadKernelError) else in_a_line(error.ename, error.evalue)
        raise UserError(name, what, do=f"the failed notebook is {failed}") from None
    executed = nbformat.read(unfinished, as_version=4)
    unfinished.unlink()
    _put(target, stamp(executed, parameters, page_key(parameters, inputs)))
    return target


def in_a_line(kind: str, message: str) -> str:
    """An exception's kind and the first line of its message; the message alone where it is for the user."""
    first = next((line.strip() for line in message.splitlines() if line.strip()), "")
    return first if first and kind in ("UserError", "RecordError") else f"{kind}: {first}".removesuffix(": ")


def stamp(
    notebook: nbformat.NotebookNode, parameters: SharedParameters, key: str, *, run: bool = True
) -> nbformat.NotebookNode:
    """Make an executed notebook a page of the book.

    The experiment's title replaces the notebook's, labels get the experiment's name in front (one notebook makes
    several pages, and labels are unique over the book), the cells with parameters are hidden (papermill's injected cell
    does not inherit the tags of the one before it), and time stamps and paths of this machine go. `key` says what the
    page follows from, `run` whether the experiment was run for it.
    """
    name, notebook = parameters.experiment, nbformat.from_dict(notebook)
    prefix = name.replace("/", "-")
    for cell in notebook.cells:
        tags = set(cell.metadata.get("tags", []))
        tags |= {"remove-cell"} if tags & {"parameters", "injected-parameters"} else set()
        cell.metadata = {"tags": sorted(tags)} if tags else {}
        cell.source = _prefixed(cell.source, prefix)
    first = next((cell for cell in notebook.cells if cell.cell_type == "markdown"), None)
    if first is not None:
        first.source = re.sub(r"\A# .*", f"# {parameters.title or name} {{#sec-{prefix}}}", first.source)
    notebook.metadata = {
        "kernelspec": _KERNEL,
        "language_info": {"name": "python"},
        "ecglib": {"experiment": name, "profile": parameters.profile, "stamp": key, "run": run},
    }
    return notebook


def _put(page: Path, notebook: nbformat.NotebookNode) -> None:
    """Write a page, and in it what `set_aside` knows its cells by."""
    notebook.metadata["ecglib"]["cells"] = _cells(nbformat.writes(notebook))
    set_aside(page)
    files.write(page, nbformat.writes(notebook))


def set_aside(page: Path) -> None:
    """Rename a page whose cells are not those that it was made with: somebody edited them. A line says so."""
    cells, noted = _cells(page.read_text("utf-8", "replace")) if page.is_file() else "", _stamped(page)
    if cells and cells != noted.get("cells", cells if noted else ""):  # earlier versions noted no cells
        kept = page.with_suffix(f".edited-{cells[:8]}.ipynb")
        page.replace(kept)
        files.tell(f"{page}: its cells were edited; it is kept as {kept.name}, and made anew")


def _prefixed(source: str, prefix: str) -> str:
    source = re.sub(r"^(#\| label: (?:fig|tbl)-)", rf"\g<1>{prefix}-", source, flags=re.MULTILINE)
    return re.sub(r"(?<![\w@])@(fig|tbl)-(?!\w+-\w+-\w)", rf"@\1-{prefix}-", source)


def page_key(parameters: SharedParameters, inputs: str) -> str:
    """Hash of all that an executed page follows from; a page that carries it need not be made again.

    The reference result is not among the `inputs`: a full run writes it before its page shows it.
    """
    reference = paths.reference(parameters.experiment)
    committed = reference.read_text(encoding="utf-8") if reference.is_file() else ""
    return fingerprint.of_values(inputs, committed)[:20]


def inputs_key(parameters: SharedParameters) -> str:
    """Hash of the notebook, the parameters, the data and the code that a page follows from."""
    text = (paths.notebooks() / f"{parameters.experiment.split('/')[0]}.py").read_text(encoding="utf-8")
    shown = parameters.model_dump()
    if isinstance(parameters, Trained):
        notebook = parameters.experiment.split("/")[0]
        paired = [] if notebook == "heartbeat" else yardsticks.yardstick_results(notebook)
        key = tasks.key_of(parameters)
        run = fingerprint.of_values(key, [record.model_dump(mode="json") for record in paired])
    elif isinstance(parameters, config.ChapterParameters):
        read = [*sorted(paths.results().glob("*/*.json")), *_beside_results(parameters.experiment)]
        run = fingerprint.of_values([_digest(path) for path in read])
    else:
        run = databases.get(shown["database"]).fingerprint()
    code = fingerprint.of_code(["evaluation", "data", *_SHOWING])
    return fingerprint.of_values(text, shown, run, code)


def _beside_results(experiment: str) -> list[Path]:
    """What a chapter reads beside the reference results."""
    read = [*(paths.book() / name for name in READ_BY_CHAPTERS), *sorted(paths.results().glob("*.json"))]
    if experiment.startswith("tuning/"):
        read += sorted(path for path in paths.searches().glob("*") if path.suffix in (".json", ".parquet"))
        read.append(paths.params() / f"{config.load_yaml(paths.params() / f'{experiment}.yaml')['base']}.yaml")
    return read


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def is_current(parameters: SharedParameters) -> bool:
    """Whether the experiment's page is there and nothing that it follows from has changed."""
    stamped = _stamped(paths.executed(parameters.experiment)).get("stamp")
    return stamped is not None and bool(stamped == page_key(parameters, inputs_key(parameters)))


def has_page(experiment: str) -> bool:
    """Whether the experiment was run here, and its page made by that."""
    return bool(_stamped(paths.executed(experiment)).get("run"))


def _stamped(page: Path) -> dict[str, Any]:
    """What `stamp` noted in a page; empty where there is none, or one that can't be read."""
    try:
        return dict(chapters.read_notebook(page)["metadata"]["ecglib"])
    except (UserError, LookupError, TypeError, ValueError, FileNotFoundError):  # it may be anybody's file
        return {}


def prepare() -> None:
    """Write what the book's sources expect and git does not hold: the pages of experiments that were not run here, the
    table of the first page, the chapter list.

    Quarto runs this before it renders. It stops when a listed chapter is missing, even before its scripts run, so the
    list itself is what comes last here.
    """
    code = fingerprint.of_code(["evaluation", *_SHOWING])
    for experiment in config.experiments():
        if not has_page(experiment):
            _write_page(experiment, code)
    _write_if_new(paths.results() / "headline.md", tables.headline(results.references()) + "\n")
    listed = (paths.book() / "chapters.yml").read_text(encoding="utf-8")
    _write_if_new(paths.book() / "experiments" / "_chapters.yml", listed)


def _write_page(experiment: str, code: Any) -> None:
    """The page of an experiment that was not run here: that of its reference result, of the results that it compares,
    or one that says so."""
    page, notebook = paths.executed(experiment), experiment.split("/")[0]
    compares = issubclass(config.MODELS[notebook], config.ChapterParameters)
    if not (compares or paths.reference(experiment).is_file()):
        told = not_run(experiment)
        if _stamped(page).get("cells") != _cells(nbformat.writes(told)):
            _put(page, told)
        return
    read = [paths.notebooks() / f"{notebook}.py", paths.params() / f"{experiment}.yaml"]
    read += sorted(paths.results().glob(f"{'*' if compares else notebook}/*.json"))  # yardsticks among them
    read += _beside_results(experiment)
    key = fingerprint.of_values([_digest(file) for file in read], code)[:20]
    if _stamped(page).get("stamp") != key:
        parameters = config.load(experiment, profile="full")
        _put(page, stamp(pages.executed(parameters), parameters, key, run=False))


def not_run(experiment: str) -> nbformat.NotebookNode:
    """The page of an experiment without a run and without a reference result. It has a stand-in for every figure and
    table of its notebook, so that references to them hold."""
    prefix = experiment.replace("/", "-")
    parameters = config.load(experiment)
    title = parameters.title or experiment
    needed = [databases.DATABASES[name] for name in parameters.databases if name in databases.DATABASES]
    fetched = [f"`ecglib data fetch {entry.name}`" for entry in needed if entry.url is not None]
    first = f"\n{' and '.join(fetched)} first, where the data are not here." if fetched else ""
    brought = "".join(_bring(entry) for entry in needed if entry.url is None)
    how = f"`ecglib run {experiment}` runs it and makes this page.{first}{brought}"
    parts = [f"# {title} {{#sec-{prefix}}}", f'::: {{.callout-note title="Not run yet"}}\n{how}\n:::']
    for cell in jupytext.read(paths.notebooks() / f"{experiment.split('/')[0]}.py").cells:
        if cell.cell_type == "code":
            options, _ = chapters.cell_options(_prefixed(cell.source, prefix), experiment)
            if caption := options.get("fig-cap") or options.get("tbl-cap"):
                parts.append(f"::: {{#{options['label']}}}\n*Not run yet.*\n\n{caption}\n:::")
    cells = [nbformat.v4.new_markdown_cell(part, id=f"{prefix}-{i}") for i, part in enumerate(parts)]
    metadata = {"ecglib": {"experiment": experiment, "run": False}}
    notebook: nbformat.NotebookNode = nbformat.v4.new_notebook(cells=cells, metadata=metadata)
    return notebook


def _bring(entry: databases.Database) -> str:
    """How the files of a database come here that can't be fetched."""
    files = ", ".join(f"`{table}`" for table in entry.tables)
    return (
        f"\nBring the files first: {files}, as they are or in the archive that [Kaggle]({entry.page}) hands out, "
        f"into the folder `{entry.folder.name}` of `ECGLIB_DATA`. `ecglib data export {entry.name} --out DIR` rebuilds "
        "them from `mitdb` and `ptbdb`."
    )


# --- rendering --------------------------------------------------------------------------------------------------------


def render(plainly: Callable[[Path, Path], object]) -> tuple[Path, str]:
    """Render the book to `_book/`, unless it is there and nothing it is made of has changed; its first page, and the
    renderer's name. `plainly` renders the book of a root to a folder where Quarto can't be had. UserError where the
    renderer fails; it says what it said last."""
    prepare()
    output, noted, quarto = paths.root() / "_book", paths.cache() / "rendered.txt", find_quarto()
    page, renderer = output / "index.html", "quarto" if quarto else "pandoc"
    if page.is_file() and noted.is_file() and noted.read_text(encoding="utf-8") == _made_of(output, renderer):
        return page, renderer
    noted.unlink(missing_ok=True)
    if quarto is None:
        plainly(paths.root(), output)
    else:
        command, environment = [quarto, "render", str(paths.root())], {**os.environ, "QUARTO_PYTHON": sys.executable}
        said: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        done = subprocess.run(command, env=environment, check=False, **said)
        if done.returncode:
            raise UserError("quarto render", "\n".join(done.stdout.strip().splitlines()[-8:]))
    files.write(noted, _made_of(output, renderer))
    return page, renderer


def _made_of(output: Path, renderer: str) -> str:
    """Hash of what a rendered book follows from, and of the names of its pages, one of which may have been removed."""
    root = paths.root()
    sources = [root / "_quarto.yml", root / "index.qmd", *(root / "book").rglob("*"), *Path(__file__).parent.rglob("*")]
    files = sorted(path for path in sources if path.is_file() and path.suffix not in (".json", ".jsonl", ".pyc"))
    contents = [(str(path), _digest(path)) for path in files]
    return fingerprint.of_values(renderer, contents, sorted(str(path) for path in output.rglob("*.html")))


def find_quarto() -> str | None:
    """Quarto's command, from PATH or by installing `quarto-cli`, which is tried once, for a minute at most."""
    beside = Path(sys.executable).with_name("quarto")
    found = shutil.which("quarto") or (str(beside) if beside.is_file() else None)
    failed = paths.cache() / "quarto-cli-failed"
    if found or failed.exists():
        return found
    print("Quarto is not installed; trying pip install quarto-cli (a minute at most) …", flush=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--retries", "0", "--timeout", "10", "quarto-cli"]
    try:
        subprocess.run(command, timeout=QUARTO_SECONDS, check=True, capture_output=True)
        if beside.is_file() and subprocess.run([beside, "--version"], timeout=20, capture_output=True).returncode == 0:
            return str(beside)
    except (OSError, subprocess.SubprocessError):
        pass
    files.write(failed, f"tried {time.strftime('%F')}; delete this file to try again\n")
    return None


def build_lock() -> AbstractContextManager[None]:
    """Held while the book is built; UserError where another build holds it, or the folder can't be written."""
    busy = UserError("book", "another build of this book is running", do="wait for it to end")
    return files.lock(paths.cache() / "book.lock", timeout=0, busy=busy)


def _write_if_new(path: Path, content: str) -> None:
    if not path.is_file() or path.read_text(encoding="utf-8") != content:
        files.write(path, content)
