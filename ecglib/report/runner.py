"""Runs several experiments at once, each notebook in a process of its own, with a line of progress for each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from ecglib import paths
from ecglib.config import SharedParameters

_PAUSE = 0.2


@dataclass
class Job:
    """One experiment on its way; `error` is None while it may still succeed."""

    parameters: SharedParameters
    target: Path | None = None
    fresh: bool = False
    state: str = "waiting"
    seconds: float = 0.0
    error: str | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    progress: Path = Path()
    """The file that the process writes its state to; what it says on stderr lies beside it."""
    started: float = 0.0
    runs: tuple[Path, ...] = ()
    """Folders of the runs that its notebook made or found."""
    said: tuple[str, ...] = ()
    """What they have to say themselves."""

    @property
    def name(self) -> str:
        return self.parameters.experiment


def run(jobs: Sequence[Job], at_once: int = 1) -> list[Job]:
    """Run all jobs, `at_once` side by side, and return those that failed.

    The processor's threads are shared evenly; a failure leaves the others running.
    """
    share = max(1, (os.cpu_count() or 1) // max(1, min(at_once, len(jobs))))
    console = Console(stderr=True)
    live = Live(console=console, refresh_per_second=4) if console.is_terminal else None
    with tempfile.TemporaryDirectory(prefix="ecglib-") as scratch, live or nullcontext():
        for i, job in enumerate(jobs):
            job.progress = Path(scratch) / f"{i}.txt"
        try:
            while any(job.state not in ("done", "failed") for job in jobs):
                running = [job for job in jobs if job.process is not None]
                for job in [job for job in jobs if job.state == "waiting"][: at_once - len(running)]:
                    _start(job, share if at_once > 1 else None)
                    _say(live, f"{job.name}: started")
                    running.append(job)
                for job in running:
                    _look(job, live)
                if live:
                    live.update(_table(jobs))
                time.sleep(_PAUSE)
        finally:
            for job in jobs:
                if job.process is not None:
                    job.process.terminate()
    return [job for job in jobs if job.error is not None]


def _start(job: Job, threads: int | None) -> None:
    environment = {**os.environ, "ECGLIB_ROOT": str(paths.root()), "ECGLIB_PROGRESS": str(job.progress)}
    if threads is not None:
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    values = job.parameters.model_dump()
    order = {"parameters": values, "target": str(job.target or ""), "fresh": job.fresh, "parent": os.getpid()}
    # a file takes any amount of output; a pipe that nobody empties would stop the process
    with job.progress.with_suffix(".err").open("w", encoding="utf-8") as errors:
        command = [sys.executable, "-m", "ecglib", "execute", json.dumps(order)]
        streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": errors}
        job.process = subprocess.Popen(command, env=environment, **streams)
    job.state, job.started = "starting", time.monotonic()


def _look(job: Job, live: Live | None) -> None:
    assert job.process is not None
    job.seconds = time.monotonic() - job.started
    line = job.progress.read_text(encoding="utf-8") if job.progress.is_file() else ""
    if line and line != job.state:
        job.state = line
        _say(live, line)
    if (code := job.process.poll()) is None:
        return
    job.process, job.state = None, "failed" if code else "done"
    if code:
        errors = job.progress.with_suffix(".err").read_text(encoding="utf-8", errors="replace")
        job.error = f"{job.name}: {message(errors, code).removeprefix(f'{job.name}: ')}"
    else:
        job.runs = tuple(map(Path, _handed(job.progress, "runs")))
        job.said = tuple(_handed(job.progress, "said"))
    how = "failed after" if code else "done in"
    _say(live, f"{job.name}: {how} {job.seconds:.0f} s")


def _handed(progress: Path, kind: str) -> list[str]:
    """The lines that a notebook's process handed over (see `driver.run`), each once."""
    file = progress.with_suffix(f".{kind}")
    return list(dict.fromkeys(file.read_text(encoding="utf-8").splitlines())) if file.is_file() else []


def message(errors: str, code: int) -> str:
    """Why a process ended: its error line among what else it and its libraries wrote, or the signal."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if said:
        return said[-1]
    if code < 0:
        why = ", perhaps for want of memory" if -code == signal.SIGKILL else ""
        return f"its process was ended by {signal.Signals(-code).name}{why}"
    return lines[-1] if lines else f"ended with exit code {code} and no message"


def _say(live: Live | None, line: str) -> None:
    if live is None:
        print(line, file=sys.stderr, flush=True)


def _table(jobs: Iterable[Job]) -> Table:
    table = Table.grid(padding=(0, 2))
    for job in jobs:
        time_ = f"{job.seconds:.0f} s" if job.seconds else ""
        table.add_row(job.name, time_, job.state.removeprefix(f"{job.name} "))
    return table
