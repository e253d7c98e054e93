"""Progress of a training: a line an epoch on stderr, and a file for whoever watches.

`ecglib run` starts notebooks in processes of their own and names a file in `ECGLIB_PROGRESS`; the line written there is
what it shows.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path


class Reporter:
    """Reports epochs of one training, of so many at most."""

    def __init__(self, title: str, epochs: int) -> None:
        self.title, self.epochs, self.start = title, epochs, time.monotonic()
        self.first: int | None = None
        target = os.environ.get("ECGLIB_PROGRESS")
        self.file = Path(target) if target else None
        self.quiet = "PYTEST_CURRENT_TEST" in os.environ

    def epoch(self, done: int, note: str) -> None:
        """Say that `done` epochs are behind, with a short note on the last one."""
        self.first = done - 1 if self.first is None else self.first
        left = (time.monotonic() - self.start) / max(done - self.first, 1) * (self.epochs - done)
        line = f"{self.title}: epoch {done}/{self.epochs}, {note}, at most {left:.0f} s left"
        if self.file:
            self.file.write_text(line, encoding="utf-8")
        elif not self.quiet:
            print(line, file=sys.stderr, flush=True)
