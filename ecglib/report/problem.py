"""One thing that is wrong with the book, and where."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ecglib.errors import UserError


@dataclass(frozen=True, order=True)
class Problem:
    """A fault that `ecglib book --check` found."""

    file: str
    """Path of the file, relative to the project root."""
    line: int
    """Line in the file, from 1; 0 where the message names the place (a cell of a notebook, a field of a record)."""
    message: str
    """What was found, and what to do."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}" if self.line else f"{self.file}: {self.message}"

    @classmethod
    def of(cls, error: UserError, root: Path, file: Path) -> Problem:
        """What made `file` unreadable, as a problem of that file."""
        return cls(relative(file, root), 0, str(error).removeprefix(f"{error.where}: "))


def relative(file: Path, root: Path) -> str:
    """The path from the root, or the whole path of a file that lies elsewhere."""
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file)
