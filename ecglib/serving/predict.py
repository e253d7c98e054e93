"""Batch inference: a table or a folder of records in, a Delta table of their beats or labels out.

Input is WFDB (a folder, or the name of a database), or a Delta table or Parquet with a row a recording; these, and the
rows of the output, are described in `ecglib.serving.rows`. Rows of one record and one version of the model come and go
together, in one commit: so a repeated run, one killed and repeated, and two at once leave each beat once. A record that
can't be classified has a row in the table `<output>_quarantine` instead, with the reason, which is written first. What
is done of the same input is passed over.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import sys
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing import forkserver
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TimeRemainingColumn
from rich.text import Text

from ecglib import cluster
from ecglib.data import databases, records
from ecglib.errors import UserError, some
from ecglib.serving import delta, rows
from ecglib.serving import model as serving
from ecglib.serving.model import Card
from ecglib.serving.rows import Row, Scored, Wfdb

ROWS, RECORDS, SECONDS = 100_000, 1000, 30.0
"""A commit is made of no more than so many rows (but a whole record) and records, and after so many seconds."""
KINDS: Final = "a Delta table, Parquet, a folder of WFDB records (.hea), or a database's name"
OF_TRAINING: Final = "record_id"
"""What `ecglib data export delta` calls the column `record`."""
MANY: Final = 0.1
"""Share of the records that may have another lead than the model's, or lack one, without a warning."""
SHOWN: Final = {
    "amplitude_mv": ("amplitude", 1, " mV"),
    "beats_per_minute": ("heart rate", 1, "/min"),
    "unsure": ("unsure of", 100, " %"),
}
"""Name in `Card.training` -> what it is, by how much it is multiplied, and the unit."""
ROOM: Final = 256 * 2**20
"""Bytes of signals that wait for a worker, or one record."""
_Engine = Callable[[Callable[[Wfdb | Row, str], Scored], Iterable[tuple[Wfdb | Row, str]]], Iterator[Scored]]


# --- inputs -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Input:
    """The records to classify, in the order of their names or of the table."""

    names: list[str]
    records: Iterable[Wfdb | Row]


def read(where: str, peaks: str = "") -> Input:
    """An input by its path, or the name of a database; `peaks` is the suffix of the annotations beside WFDB records
    that give the R peaks. A `UserError` when there is none, it is empty, or has other columns than `rows.COLUMNS`."""
    dataset = _dataset(where)
    if dataset is not None and peaks:
        raise UserError(f"--peaks {peaks}", "the input is a table", "a folder of WFDB records", "use column r_peaks")
    return _of_folder(where, peaks) if dataset is None else _of_table(where, dataset)


def _of_folder(where: str, peaks: str) -> Input:
    place = where if where in databases.DATABASES else str(Path(where).expanduser().resolve())
    if peaks:
        source = databases.annotated(place, peaks)
    elif place in databases.DATABASES:
        source = databases.get(place)
    elif Path(place).is_dir() or databases.is_zip(Path(place)):
        folder = databases.opened(Path(place))
        source = databases.Source("", folder, False, tuple(records.list_records(folder)))
    else:
        raise UserError(where, "a file" if Path(place).is_file() else "not there", KINDS)
    if not source.records:
        raise UserError(where, "no record in it", KINDS)
    every = (Wfdb(source.folder, name, source.annotator if peaks else "") for name in source.records)
    return Input(list(source.records), every)


def _dataset(where: str) -> pa.dataset.Dataset | None:
    """Of a Delta table or of Parquet; None where neither is there."""
    found, path = delta.dataset(where), Path(where)
    if found is None and "://" in where:
        raise UserError(where, "no Delta table there")
    if found is None and (files := _parquet(path)):
        with _reading(where):
            return pa.dataset.dataset(files, format="parquet", partitioning="hive")
    return found


def _parquet(path: Path) -> list[str]:
    """The files of a table of Parquet; none of a folder with WFDB records, whatever else lies there."""
    if not path.is_dir():
        return [str(path)] * (path.suffix == ".parquet")
    if any(path.rglob("*.hea")):
        return []
    found = (one for one in path.rglob("*.parquet") if one.is_file())
    return sorted(str(one) for one in found if not any(part[0] in "_." for part in one.relative_to(path).parts))


def _of_table(where: str, dataset: pa.dataset.Dataset) -> Input:
    rows.check_columns(where, _named(dataset.schema))
    column = "record" if "record" in dataset.schema.names else OF_TRAINING
    with _reading(where):
        names = dataset.to_table(columns=[column])[column].to_pylist()
    rows.check_names(where, names)
    return Input(names, _rows(dataset))


def _rows(dataset: pa.dataset.Dataset) -> Iterator[Row]:
    """Row by row, so that a file may be of any size: a scan of the dataset reads whole row groups, ahead of use."""
    for fragment in dataset.get_fragments():
        with _reading(fragment.path), fragment.filesystem.open_input_file(fragment.path) as file:
            parquet = pa.parquet.ParquetFile(file, pre_buffer=False, buffer_size=2**20)
            schema = _named(parquet.schema_arrow)  # it may be another than that of the first file
            of_path = pa.dataset.get_partition_keys(fragment.partition_expression)  # partitioned tables lack these
            more = [dataset.schema.field(name) for name in of_path if name in rows.COLUMNS and name not in schema.names]
            rows.check_columns(fragment.path, pa.schema([*schema, *more]))
            for batch in parquet.iter_batches(1, columns=[*rows.COLUMNS, OF_TRAINING]):
                batch = batch.rename_columns(_named(batch.schema).names)
                for one in more:
                    batch = batch.append_column(one, pa.array([of_path[one.name]], one.type))
                yield Row.of(batch, 0)


def _named(schema: pa.Schema) -> pa.Schema:
    """With the column `record`, where training data has `OF_TRAINING` in its place."""
    if "record" in schema.names:
        return schema
    return pa.schema([one.with_name("record") if one.name == OF_TRAINING else one for one in schema])


@contextmanager
def _reading(where: str) -> Iterator[None]:
    """A file that is none of Parquet, or is torn, becomes a `UserError`."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise UserError(where, f"can't be read as Parquet ({delta.line(error)})") from None


# --- the whole --------------------------------------------------------------------------------------------------------


@dataclass
class Summary:
    """What a run did."""

    output: str
    quarantine: str
    version: str
    """Of the model."""
    run_id: str
    records: int = 0
    """That were classified, now."""
    rows: int = 0
    """Of them."""
    done: int = 0
    """Records that were passed over: their rows are of this input and version."""
    set_aside: Counter[str] = field(default_factory=Counter)
    """Reason -> records in quarantine."""
    seconds: float = 0.0
    """From the start of the workers, or of the work on a cluster, to the last commit."""
    compared: str = ""
    """The input beside the training data; empty where nothing was classified."""
    warnings: list[str] = field(default_factory=list)
    """Where they drift apart."""


def predict(
    model: str, given: str, output: str, *, peaks: str = "", engine: Literal["pool", "ray"] = "pool", workers: int = 0
) -> Summary:
    """Classify an input into a Delta table (both as above) in so many processes, 0 for one a core; engine `pool` is
    this machine, `ray` the cluster of `RAY_ADDRESS`.

    A `UserError` for a model, an input or an output that can't be used, and where Ray does not start, before anything
    is written; and where no record could be classified, or a process died: what was done by then stays.
    """
    if engine == "ray":
        cluster.library()
    else:
        _workers()
    output = _named_place(output)
    opened = serving.load(model, threads=1)
    if peaks and opened.card.task != "beats":
        raise UserError(f"--peaks {peaks}", f"{model} is a model of {opened.card.task}", "no R peaks")
    if given not in databases.DATABASES and f"{_place(output)}/".startswith(f"{_place(given)}/"):
        raise UserError(output, "inside the input", "a place of its own")
    source = read(given, peaks)
    where = rows.Packed.of(opened) if engine == "ray" else str(opened.folder.resolve())
    work = functools.partial(rows.score, where, opened.card.version)
    with _started(engine, workers or len(os.sched_getaffinity(0))) as run:
        summary = _into(Output(output, opened.card), source, functools.partial(run, work))
    if not summary.records + summary.done:
        found = f"no record could be classified ({_counted(summary.set_aside)})"
        raise UserError(given, found, do=f"the reasons are in {summary.quarantine}")
    return summary


def _into(
    sink: Output, source: Input, score: Callable[[Iterable[tuple[Wfdb | Row, str]]], Iterator[Scored]]
) -> Summary:
    """Classify what is not done yet."""
    summary = Summary(sink.where, sink.quarantine, sink.card.version, sink.run_id)
    twice = {name: n for name, n in Counter(source.names).items() if n > 1}
    for name, n in twice.items():
        sink.put(rows.twice(name, n))
        summary.set_aside["a record twice"] += 1
    items = ((one, sink.done.get(one.name, "")) for one in source.records if one.name not in twice)
    seen, began = Seen(sink.card), time.monotonic()
    try:
        with _progress(len(source.names) - sum(twice.values())) as advance:
            for one in score(items):
                seen.add(one)
                summary.records, summary.rows = summary.records + bool(len(one)), summary.rows + len(one)
                summary.done += not len(one) and not one.reason
                summary.set_aside.update([one.reason] * bool(one.reason))
                sink.put(one)
                advance()
    finally:
        sink.flush()
    summary.seconds = time.monotonic() - began
    summary.compared, summary.warnings = seen.compared()
    return summary


def _named_place(output: str) -> str:
    """An output whose last part is a name, as that of the quarantine begins with it: of `.` and its kin the real one. A
    `UserError` where it is empty."""
    if not output:
        raise UserError("--output", "empty", "a folder, or the address of a store")
    last = output.rstrip("/").rpartition("/")[2]
    return _place(output) if last in ("", ".", "..") else output.rstrip("/")


def _place(where: str) -> str:
    path = where.removeprefix("file://")
    return path.rstrip("/") if "://" in path else str(Path(path).resolve())


def told(summary: Summary) -> str:
    """A run in a line."""
    n, seconds = summary.records, max(summary.seconds, 1e-3)
    line = f"{summary.output}: {summary.rows} rows of {n} records in {seconds:.1f} s ({n / seconds:.1f} records/s)"
    if summary.done:
        line += f"; {summary.done} were done before"
    if summary.set_aside:
        line += f"; {summary.set_aside.total()} in {summary.quarantine}: {_counted(summary.set_aside)}"
    return line


def _counted(reasons: Counter[str]) -> str:
    return ", ".join(f"{n} {reason}" for reason, n in reasons.most_common())


def _workers() -> BaseContext:
    """Processes that fork from one which has imported all that they need, once and while this one opens model and
    output. It has no session of ONNX Runtime yet, whose threads a fork would lack."""
    forkserver.set_forkserver_preload(["__main__", "ecglib.serving.rows"])
    forkserver.ensure_running()
    return multiprocessing.get_context("forkserver")


@contextmanager
def _started(engine: str, workers: int) -> Iterator[_Engine]:
    """An engine of so many processes, which classifies the records that it is given."""
    if engine == "pool":
        yield lambda work, items: pooled(work, items, workers)
    else:
        with cluster.joined(num_cpus=workers, include_dashboard=False) as ray:
            yield functools.partial(on_ray, ray)


def pooled(
    work: Callable[[Wfdb | Row, str], Scored], items: Iterable[tuple[Wfdb | Row, str]], workers: int
) -> Iterator[Scored]:
    """What `work` gives for the items, in processes, in the order in which it is ready; no more of them are taken than
    the processes will soon want. A `UserError` where a process dies."""
    waiting: dict[Future[Scored], Wfdb | Row] = {}
    pool = ProcessPoolExecutor(workers, _workers(), initializer=_in_worker)
    try:
        yield from _flow(lambda given, done: pool.submit(work, given, done), items, waiting, 4 * workers)
    except BrokenProcessPool:
        names = some([one.name for one in waiting.values()], 4 * workers)
        do = "repeat it, with fewer --workers if memory was short; what is done stays"
        raise UserError(
            "ecglib predict", f"a worker died (killed, or out of memory) at one of {names}", do=do
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def on_ray(
    ray: Any, work: Callable[[Wfdb | Row, str], Scored], items: Iterable[tuple[Wfdb | Row, str]]
) -> Iterator[Scored]:
    """As `pooled`, in tasks of a cluster (see `cluster.joined`), whose machines see WFDB records at the same path. A
    task whose process dies is repeated three times."""
    once, task = ray.put(work), ray.remote(_task)  # the work is stored once on a machine
    most = 2 * int(ray.cluster_resources()["CPU"])
    yield from _flow(lambda given, done: task.remote(once, given, done).future(), items, {}, most)


def _task(work: Callable[[Wfdb | Row, str], Scored], given: Wfdb | Row, done: str) -> Scored:
    return work(given, done)


def _flow(
    submit: Callable[[Wfdb | Row, str], Future[Scored]],
    items: Iterable[tuple[Wfdb | Row, str]],
    waiting: dict[Future[Scored], Wfdb | Row],
    most: int,
) -> Iterator[Scored]:
    """The results as they come; so many items wait, and those of `ROOM`."""
    for given, done in items:
        while waiting and (len(waiting) >= most or sum(one.size for one in waiting.values()) + given.size > ROOM):
            yield from _ready(waiting)
        waiting[submit(given, done)] = given
    while waiting:
        yield from _ready(waiting)


def _ready(waiting: dict[Future[Scored], Wfdb | Row]) -> Iterator[Scored]:
    """The results that are there, one or more."""
    for future in wait(waiting, return_when=FIRST_COMPLETED).done:
        scored = future.result()
        del waiting[future]
        yield scored


def _in_worker() -> None:
    """A worker leaves Ctrl-C to the process that started it, and ends with it, however it ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:.1f} records/s")


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """A bar on a terminal, with records/s and the time that is left; what is given is called after each record."""
    columns = BarColumn(), MofNCompleteColumn(), _Speed(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("", total=total)
        yield lambda: progress.advance(task)


class Seen:
    """What the records of a run are like, beside those that the model learnt from."""

    def __init__(self, card: Card) -> None:
        self.card = card
        self.leads, self.rates, self.values = Counter[str](), Counter[float](), defaultdict[str, list[float]](list)

    def add(self, one: Scored) -> None:
        if len(one):
            self.leads[" ".join(one.leads)] += 1
            self.rates[one.fs] += 1
            for name, value in one.about.items():
                self.values[name].append(value)

    def compared(self) -> tuple[str, list[str]]:
        """A line, empty where no record was classified, and warnings."""
        n, wanted, said, warnings = self.leads.total(), " ".join(self.card.leads), [], []
        if not n:
            return "", []
        leads = ", ".join(f"{name} ({k})" if k < n else name for name, k in self.leads.most_common(3))
        said += [f"lead {leads}", "/".join(f"{fs:g}" for fs in sorted(self.rates)) + " Hz"]
        others = sum(k for name, k in self.leads.items() if name.upper() != wanted.upper())
        slow = sum(k for fs, k in self.rates.items() if fs < self.card.rate)
        if self.card.task == "beats" and others > MANY * n:
            warnings.append(f"{others} of {n} records have another lead than {wanted}")
        if self.card.task == "recordings" and others > MANY * n:
            warnings.append(f"{others} of {n} records lack one or more of the twelve leads")
        if slow:
            warnings.append(f"{slow} of {n} records were sampled below {self.card.rate:g} Hz")
        for name, (what, factor, unit) in SHOWN.items():
            if name not in self.values:
                continue
            median = factor * float(np.median(self.values[name]))
            said.append(f"{what} {median:.3g}{unit}")
            if name in self.card.training:
                low, _, high = (factor * value for value in self.card.training[name])
                said[-1] += f" (training {low:.3g} to {high:.3g})"
                if not low <= median <= high:
                    usual = f"{low:.3g} to {high:.3g}{unit} in nine of ten records that the model learnt from"
                    warnings.append(f"{what} {median:.3g}{unit}; {usual}")
        return f"input, medians over records: {'; '.join(said)}", warnings


class Output:
    """The output of one run and its quarantine, made unless they are there; a `UserError` where other tables are."""

    def __init__(self, where: str, card: Card) -> None:
        self.where, self.card, self.run_id = where, card, uuid.uuid4().hex
        self.quarantine, self.schema = f"{self.where}_quarantine", rows.schema(card)
        columns = [f"p_{name}" for name in card.classes] if card.task == "beats" else ["probability"]
        constraint = " AND ".join(f"`{name}` BETWEEN 0 AND 1" for name in columns)
        delta.check(self.where, self.schema)
        delta.make(self.quarantine, rows.QUARANTINE)
        delta.make(self.where, self.schema, constraint)
        self._mine = f"version = {delta.text(card.version)}"
        hashes = f"SELECT record, min(input_hash) AS digest FROM t WHERE {self._mine} GROUP BY record"
        aside = f"SELECT record FROM t WHERE {self._mine}"
        self.done = {row["record"]: row["digest"] for row in delta.select(self.where, hashes)}
        """Record -> digest of the input that its rows are of."""
        self._aside = {row["record"] for row in delta.select(self.quarantine, aside)}
        self._waiting: list[Scored] = []
        self._last = time.monotonic()

    def put(self, scored: Scored) -> None:
        """Take what became of a record; a commit is made when it is time."""
        self._waiting.append(scored)
        n, seconds = sum(map(len, self._waiting)), time.monotonic() - self._last
        if n >= ROWS or len(self._waiting) >= RECORDS or seconds >= SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what waits: reasons first, then rows, in one commit with the end of these records' earlier ones."""
        good, bad = [one for one in self._waiting if len(one)], [one for one in self._waiting if one.reason]
        made = datetime.now(UTC)
        if bad:
            lines = [rows.aside(self.card, one, self.run_id, made) for one in bad]
            delta.merge(self.quarantine, pa.Table.from_pylist(lines, rows.QUARANTINE), ("record", "version"))
        if good or any(one.record in self.done for one in bad):
            match = f"{self._mine} AND {delta.among('record', (one.record for one in (*good, *bad)))}"
            delta.replace(
                self.where, match, self.schema, lambda: (rows.of(self.card, one, self.run_id, made) for one in good)
            )
        if back := {one.record for one in self._waiting if not one.reason} & self._aside:
            match = f"{self._mine} AND {delta.among('record', back)}"
            delta.change(self.quarantine, lambda table: table.delete(match))
        self._waiting, self._last = [], time.monotonic()
