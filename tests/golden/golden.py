"""The numbers that are known of every case, what may move them, and how they are recorded anew.

`python tests/golden/golden.py` says what has moved; `--write` records it. A training's numbers may move only where the
`RECIPE` of a stage that it uses was raised, and a raised recipe must move numbers. Where a cut moves, every result on
such data is stale; `--write-cuts-too` records that.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import trainings

from ecglib.experiment import recipes

KNOWN: Final = Path(__file__).parent / "known.json"
TOLERANCE: Final = 1e-9
NEAR: Final = {"infarction/median_beat": 1e-5}
"""Case -> the tolerance of one whose solver, L-BFGS, stops short of the optimum, on another processor elsewhere."""
EVALUATION: Final = "evaluation"
"""The part that scores give; it has no recipe, as `ecglib book --check` computes metrics again from the records."""

Golden = dict[str, Any]


def has_recipe(name: str) -> bool:
    """Whether a case trains; what is cut, or follows from scores, has no recipe."""
    return not name.startswith(("data/", "evaluation/"))


def known() -> dict[str, Golden]:
    """Case -> its numbers, and `recipe`."""
    found: dict[str, Golden] = json.loads(KNOWN.read_text(encoding="utf-8"))
    return found


def now(name: str) -> Golden:
    """The same of a case today."""
    p = trainings.parameters()[name]
    quiet = contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings()
    with quiet[0], quiet[1]:
        warnings.simplefilter("ignore")
        numbers = trainings.numbers(name)
    return numbers | {"recipe": recipes.of(p) if has_recipe(name) else {}}


def moved(name: str, before: Golden, after: Golden) -> list[str]:
    """Names of the numbers in which two of a case differ."""
    near, parts = NEAR.get(name, TOLERANCE), [part for part in {**before, **after} if part != "recipe"]
    return [part for part in parts if _differ(before.get(part), after.get(part), near)]


def raised(before: Golden, after: Golden) -> list[str]:
    """Stages whose recipe differs."""
    a, b = before.get("recipe", {}), after["recipe"]
    return [stage for stage in {**a, **b} if a.get(stage) != b.get(stage)]


def problems(before: Mapping[str, Golden], after: Mapping[str, Golden]) -> list[str]:
    """Why the numbers of today may not be recorded without a word, a sentence each."""
    found, stages, with_reason = [], set(), set()
    for name, golden in after.items():
        if name not in before:
            continue
        parts = [part for part in moved(name, before[name], golden) if part != EVALUATION]
        if name.startswith("data/") and parts:  # every result on such data is stale then
            found.append(f"{name}: {', '.join(parts)} moved")
        if not has_recipe(name):
            continue
        reasons = raised(before[name], golden)
        stages |= set(reasons)
        if parts and not reasons:
            of = ", ".join(golden["recipe"])
            found.append(f"{name}: {', '.join(parts)} moved; raise RECIPE, with a line of history, in one of {of}")
        if parts and len(reasons) == 1:
            with_reason |= set(reasons)
    alone = "alone moves no number; record raised stages one by one"
    return [*found, *(f"RECIPE of {stage} {alone}" for stage in sorted(stages - with_reason))]


def _differ(a: Any, b: Any, near: float) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return any(_differ(a.get(name), b.get(name), near) for name in {**a, **b})
    if isinstance(a, list) and isinstance(b, list):
        return len(a) != len(b) or any(_differ(*pair, near) for pair in zip(a, b, strict=True))
    if isinstance(a, int | float) and isinstance(b, int | float):
        return not np.isclose(a, b, rtol=near, atol=1e-12)
    return bool(a != b)


def write(goldens: Mapping[str, Golden]) -> None:
    """Record them, a case a line."""
    lines = [f"{json.dumps(name)}: {json.dumps(golden)}" for name, golden in goldens.items()]
    KNOWN.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def main(wish: str) -> int:
    """Say what has moved, and record it where that is wished and allowed."""
    before = known() if KNOWN.is_file() else {}
    with trainings.place():
        after = {name: now(name) for name in trainings.parameters()}
    for name in sorted({*before, *after}):
        if name not in after or name not in before:
            print(f"{name}: {'gone' if name in before else 'new'}")
        elif parts := moved(name, before[name], after[name]) + raised(before[name], after[name]):
            print(f"{name}: {', '.join(parts)}")
    wrong = problems(before, after)
    if wish == "--write-cuts-too":
        wrong = [problem for problem in wrong if not problem.startswith("data/")]
    if wish.startswith("--write") and not wrong:
        same = {name for name in after if name in before and not moved(name, before[name], after[name])}
        write(
            {name: before[name] | {"recipe": now_["recipe"]} if name in same else now_ for name, now_ in after.items()}
        )
    for problem in wrong:
        print(f"error: {problem}", file=sys.stderr)
    return len(wrong) > 0


if __name__ == "__main__":
    raise SystemExit(main("".join(sys.argv[1:])))
