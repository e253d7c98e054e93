"""The one exception for what a user can put right: bad parameters, bad files, missing data."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

UNPACKED: Final[dict[str, str]] = {}
"""Folders in the cache that zip files were unpacked into, each with its zip file."""


def named(text: str) -> str:
    """What a user reads of paths: the zip file in place of the folder in the cache that it was unpacked into."""
    for folder, packed in UNPACKED.items():
        text = text.replace(folder, packed)
    return text


class UserError(Exception):
    """A mistake or a broken input that the user can mend; the command line prints it as one line, exit code 2.

    Parameters
    ----------
    where
        The file, record or parameter that the message is about.
    found
        What was found there.
    expected
        What should have been there.
    do
        What to do about it.
    """

    def __init__(self, where: str | Path, found: str, expected: str = "", do: str = "") -> None:
        self.where, self.found, self.expected, self.do = map(named, (str(where), found, expected, do))
        parts = (f"{self.where}: {self.found}", expected and f"expected {self.expected}", self.do)
        super().__init__("; ".join(filter(None, parts)))


class RecordError(UserError):
    """One ECG record that can't be read or trusted; callers set it aside with `reason` and go on.

    Parameters
    ----------
    reason
        A short, countable class of failure ("truncated signal", "no annotations", …), used as the key of `left_out`.
    """

    def __init__(self, where: str | Path, reason: str, found: str = "", expected: str = "", do: str = "") -> None:
        self.reason = reason
        super().__init__(where, f"{reason} ({found})" if found else reason, expected, do)


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """What is to be done about an unknown name, where one of those that are known is like it; else empty."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=cutoff)
    return f"did you mean {near[0]}?" if near else ""


def some(names: Sequence[str], most: int = 2) -> str:
    """The first names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
