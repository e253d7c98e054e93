"""Progress of a training: a `rich` bar in a terminal, plain lines in a notebook or log, and a file for whoever watches.

`ecglib run` starts notebooks in processes of their own and names a file in `ECGLIB_PROGRESS`; the line written there is
what it shows.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class Reporter:
    """Reports epochs of one training, of so many at most; a context manager."""

    def __init__(self, title: str, epochs: int) -> None:
        self.title, self.epochs, self.start = title, epochs, time.monotonic()
        self.first: int | None = None
        target = os.environ.get("ECGLIB_PROGRESS")
        self.file = Path(target) if target else None
        self.bar: Progress | None = None
        self.quiet = "PYTEST_CURRENT_TEST" in os.environ
        if sys.stderr.isatty() and not self.file:
            texts = TextColumn("{task.description}"), TextColumn("{task.fields[note]}")
            columns = texts[0], BarColumn(), texts[1], TimeRemainingColumn()
            self.bar = Progress(*columns, console=Console(stderr=True))

    def __enter__(self) -> Self:
        if self.bar:
            self.bar.start()
            self.task = self.bar.add_task(self.title, total=self.epochs, note="")
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar:
            self.bar.stop()

    def epoch(self, done: int, note: str) -> None:
        """Say that `done` epochs are behind, with a short note on the last one."""
        self.first = done - 1 if self.first is None else self.first
        if self.bar:
            self.bar.update(self.task, completed=done, note=note)
            return
        left = (time.monotonic() - self.start) / max(done - self.first, 1) * (self.epochs - done)
        line = f"{self.title}: epoch {done}/{self.epochs}, {note}, at most {left:.0f} s left"
        if self.file:
            self.file.write_text(line, encoding="utf-8")
        elif not self.quiet:
            print(line, flush=True)
