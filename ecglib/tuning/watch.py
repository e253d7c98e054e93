"""What is seen of a search while it runs: a table in the terminal, TensorBoard's logs, and MLflow's runs."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.table import Table

from ecglib import files, tracking
from ecglib.tuning.search import Search, Trial, begun

SHOWN: Final = 12
"""Trials in the table: those that run, and the best of the others."""
Log = Callable[[Trial], object]


class Watch:
    """It is given all trials from time to time (`look`), shows them, in a terminal while its table is `live`, and logs
    each once, when it has ended. `logs` are what logs a trial, by name."""

    def __init__(self, search: Search, logs: Mapping[str, Log]) -> None:
        self.search, self.logs = search, dict(logs)
        self.started, self.seen = time.monotonic(), set[int]()
        self.ended_before: int | None = None
        console = Console(stderr=True)
        self.live = Live(console=console, refresh_per_second=2) if console.is_terminal else None

    def look(self, trials: list[Trial]) -> None:
        """Show the trials, and log those that have ended since the last time."""
        ended = [one for one in trials if one.state != "running"]
        if self.ended_before is None:
            self.ended_before = len(ended)
        for one in ended:
            if one.number not in self.seen:
                self.seen.add(one.number)
                for name in list(self.logs):
                    self._log(name, one)
                if self.live is None:
                    print(f"{said(one)}; {self._state(trials)}", file=sys.stderr, flush=True)
        if self.live:
            self.live.update(self._table(trials))

    def _log(self, name: str, one: Trial) -> None:
        try:
            self.logs[name](one)
        except Exception as error:  # a search must not be lost because its tracking failed
            del self.logs[name]
            why = tracking.first_line(error)
            files.tell(f"{name} has no trials that end from here on ({why}); --resume logs them")

    def _state(self, trials: list[Trial]) -> str:
        """How far it is, in a line."""
        ended, wanted = [one for one in trials if one.state != "running"], self.search.asked.trials
        values = [one.value for one in trials if not math.isnan(one.value)]
        counts = {name: sum(one.state == name for one in trials) for name in ("running", "stopped", "failed")}
        parts = [f"{len(ended)} of {wanted} trials", *(f"{n} {name}" for name, n in counts.items() if n)]
        if values:
            parts.append(f"best {max(values):.4f}")
        since, new = time.monotonic() - self.started, len(ended) - (self.ended_before or 0)
        if new and len(ended) < wanted:
            left = min(since / new * (wanted - len(ended)), self.search.budget - since)
            parts.append(f"about {max(left, 0) / 60:.0f} min left")
        return ", ".join(parts)

    def _table(self, trials: list[Trial]) -> Table:
        table = Table(title=f"{self.search.asked.experiment}: {self._state(trials)}", title_justify="left")
        for name in ("trial", "state", "epochs", "best", "parameters"):
            table.add_column(name, justify="left" if name in ("state", "parameters") else "right", no_wrap=True)
        running = [one for one in trials if one.state == "running"]
        ended = (one for one in trials if one not in running)
        others = sorted(ended, key=lambda one: (math.isnan(one.value), -one.value))  # those without a value last
        for one in [*running, *others[: max(SHOWN - len(running), 0)]]:
            value = "" if math.isnan(one.value) else f"{one.value:.4f}"
            drawn = ", ".join(f"{name.split('.')[-1]} {value}" for name, value in one.drawn.items())
            table.add_row(str(one.number), one.state, str(len(one.curve)), value, drawn)
        return table


def said(one: Trial) -> str:
    """What a trial came to, in a line."""
    value = "" if math.isnan(one.value) else f", {one.value:.4f}"
    return f"trial {one.number} {one.state} after {len(one.curve)} epochs{value}{f' ({one.why})' if one.why else ''}"


def tensorboard(search: Search) -> Log | None:
    """Writes each trial's epochs and parameters where TensorBoard reads them; None where that is not installed."""
    with suppress(ImportError):
        from torch.utils.tensorboard import SummaryWriter

        def log(one: Trial) -> None:
            folder = search.folder / "tensorboard" / f"trial-{one.number}"
            if folder.is_dir():  # before a resumption
                return
            with SummaryWriter(str(folder)) as writer:
                for epoch in one.curve:
                    writer.add_scalar(search.asked.metric, epoch.value, epoch.epoch)
                drawn = {name: v if isinstance(v, int | float) else str(v) for name, v in one.drawn.items()}
                writer.add_hparams(drawn, {"best": one.value}, run_name=".")

        return log
    return None


def mlflow(search: Search) -> Log:
    """Logs each trial as a child of the search's run in MLflow, once however often the search is resumed."""
    parent: list[str] = []
    there: set[str] = set()

    def log(one: Trial) -> None:
        with tracking.open_store() as store:
            if not parent:
                run_id, known = tracking.parent_of(store, "tuning", begun(search)["id"], search.asked.experiment)
                parent.append(run_id)
                there.update(known)
            if str(one.number) not in there:
                curve = [(epoch.epoch, epoch.value) for epoch in one.curve]
                state = "FAILED" if one.state == "failed" else "FINISHED"
                tags = {"trial": str(one.number), "state": one.state}
                tracking.log_child(
                    store, "tuning", parent[0], tags, one.drawn, {str(search.asked.metric): curve}, one.seconds, state
                )
                there.add(str(one.number))

    return log


def logs(search: Search) -> dict[str, Log]:
    """Those that need nothing else, by name."""
    made = {"TensorBoard": tensorboard(search), "MLflow": mlflow(search)}
    return {name: log for name, log in made.items() if log is not None}
