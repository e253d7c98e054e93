"""Runs several experiments at once, each notebook in a process of its own, with a line of progress for each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.live import Live
from rich.table import Table

from ecglib import cluster, paths
from ecglib.config import SharedParameters, TrainedParameters

_PAUSE = 0.2


class Process(Protocol):
    """A notebook that runs somewhere."""

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""

    def terminate(self) -> None:
        """End it."""


Order = dict[str, Any]
"""What `ecglib execute` is told, as JSON."""


@dataclass
class Job:
    """One experiment on its way; `error` is None while it may still succeed."""

    parameters: SharedParameters
    target: Path | None = None
    fresh: bool = False
    state: str = "waiting"
    seconds: float = 0.0
    error: str | None = None
    process: Process | None = field(default=None, repr=False)
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


def here(order: Order, environment: Mapping[str, str], errors: Path) -> subprocess.Popen[bytes]:
    """Start a notebook in a process of this machine, which ends with this one; what it says on stderr goes to a file,
    as a pipe that nobody empties would stop it."""
    command = [sys.executable, "-m", "ecglib", "execute", json.dumps(order | {"parent": os.getpid()})]
    streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    with errors.open("w", encoding="utf-8") as file:
        return subprocess.Popen(command, env={**os.environ, **environment}, stderr=file, **streams)


def run(jobs: Sequence[Job], at_once: int = 1) -> list[Job]:
    """Run all jobs, `at_once` side by side, and return those that failed.

    The processor's threads are shared evenly; a failure leaves the others running.
    """
    share = max(1, (os.cpu_count() or 1) // max(1, min(at_once, len(jobs))))
    return _run(jobs, at_once, lambda job, *given: here(*given), share if at_once > 1 else None)


def run_on_ray(jobs: Sequence[Job], at_once: int | None = None, address: str = "") -> list[Job]:
    """As `run`, in tasks of the cluster at an address (see `cluster.joined`), whose processors are shared evenly; one
    that trains takes a GPU where there are any. Without `at_once` there is one for each GPU, or for each machine.

    Runs, pages and progress are written in the project's folder, which every machine must see at the same path. The
    task of a machine that dies is repeated, and its run resumed. A `UserError` where Ray does not start, or no machine
    has what a job asks for.
    """
    with cluster.joined(address) as ray:
        nodes = cluster.nodes(ray)
        gpus = int(sum(node.get("GPU", 0) for node in nodes))
        at_once = min(at_once or max(len(nodes), gpus), len(jobs))
        share = shared(nodes, at_once)

        def asked(job: Job) -> dict[str, int]:
            trains = isinstance(job.parameters, TrainedParameters) and job.parameters.device in ("auto", "cuda")
            return {"CPU": share, "GPU": int(trains and gpus > 0)}

        for job in jobs:
            cluster.refuse_too_much(asked(job), nodes, job.name)

        def start(job: Job, *given: Any) -> Process:
            task = ray.remote(num_cpus=share, num_gpus=asked(job)["GPU"])(_waited)
            return _Task(ray, task.remote(*given), given[-1])

        return _run(jobs, at_once, start, share, paths.cache())


def shared(nodes: Sequence[Mapping[str, float]], at_once: int) -> int:
    """Processors of each of so many tasks on machines of these resources: an even share, of which one machine has as
    many as it is to run, those with a GPU one task for each of theirs."""
    with_gpu = [node.get("CPU", 0) // min(node["GPU"], at_once) for node in nodes if node.get("GPU", 0) >= 1]
    cpus = [node.get("CPU", 0) for node in nodes]
    return max(1, int(min(sum(cpus) // at_once, min(with_gpu, default=max(cpus)))))


def _waited(order: Order, environment: Mapping[str, str], errors: Path) -> int:
    """In a task of Ray: a notebook's exit code."""
    return here(order, environment, errors).wait()


@dataclass
class _Task:
    ray: Any
    ref: Any
    errors: Path

    def poll(self) -> int | None:
        if not self.ray.wait([self.ref], timeout=0)[0]:
            return None
        try:
            return int(self.ray.get(self.ref))
        except self.ray.exceptions.RayError as error:
            self.errors.write_text(f"error: {cluster.line(error)}\n", encoding="utf-8")
            return 1

    def terminate(self) -> None:
        self.ray.cancel(self.ref, force=True)


def _run(
    jobs: Sequence[Job], at_once: int, start: Callable[..., Process], threads: int | None, home: Path | None = None
) -> list[Job]:
    """Jobs that `start` starts, given an order, an environment and a file for errors; their progress lies in `home`."""
    if home is not None:
        home.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True)
    live = Live(console=console, refresh_per_second=4) if console.is_terminal else None
    with tempfile.TemporaryDirectory(prefix="ecglib-", dir=home) as scratch, live or nullcontext():
        for i, job in enumerate(jobs):
            job.progress = Path(scratch) / f"{i}.txt"
        try:
            while any(job.state not in ("done", "failed") for job in jobs):
                running = [job for job in jobs if job.process is not None]
                for job in [job for job in jobs if job.state == "waiting"][: at_once - len(running)]:
                    _start(job, start, threads)
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


def _start(job: Job, start: Callable[..., Process], threads: int | None) -> None:
    environment = {"ECGLIB_ROOT": str(paths.root()), "ECGLIB_PROGRESS": str(job.progress)}
    if threads is not None:
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    order = {"parameters": job.parameters.model_dump(), "target": str(job.target or ""), "fresh": job.fresh}
    job.process = start(job, order, environment, job.progress.with_suffix(".err"))
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
