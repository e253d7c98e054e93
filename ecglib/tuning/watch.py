"""What is seen of a search while it runs."""

from __future__ import annotations

import sys
from ecglib.tuning.search import Search, Trial


class Watch:
    def __init__(self, search: Search) -> None:
        self.search, self.seen = search, set[int]()

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def look(self, trials: list[Trial]) -> None:
        for one in trials:
            if one.state != "running" and one.number not in self.seen:
                self.seen.add(one.number)
                print(f"trial {one.number} {one.state} after {len(one.curve)} epochs: {one.value:.4f} {one.why} {one.drawn}", file=sys.stderr, flush=True)
