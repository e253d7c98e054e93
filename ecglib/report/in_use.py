"""Tables and sentences of the chapter *In use*; what is measured for it is in `book/results/in-use.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from ecglib import aami, paths, serving
from ecglib.evaluation import metrics
from ecglib.evaluation.bootstrap import Interval
from ecglib.report.names import metric_name, sentence
from ecglib.report.tables import HOLDS_MOST_S, SAMPLE, count, interval, number, table
from ecglib.serving import model as models
from ecglib.serving.annotate import Annotated
from ecglib.serving.evaluate import Evaluated

FILE: Final = "in-use.json"
"""In `book/results/`; `tools/in_use.py` writes it."""
BOX: Final = f"""::: {{.callout-note}}
What is run on this page is run on the {SAMPLE}: no number of this section and the next is a result.
:::"""
BAR: Final = 0.01
"""By how much an F1 may fall with detected R peaks."""
STRIP: Final = 10.0
"""Seconds of the strip."""
SPEED: Final = {
    "detection": "R peaks of half-hour records, seconds of recording a second on one core",
    "onnx": "`cnet` by ONNX Runtime alone, one session a core, beats a second",
    "predict": "`ecglib predict` with `cnet`, from WFDB to Delta, beats a second",
    "share": "share of the former",
    "memory": "memory of its largest process, MB",
    "annotate": "`ecglib annotate` of a half-hour record, from a cold start, seconds",
}
"""What is timed, in words."""


def measured() -> dict[str, Any]:
    """What was measured; empty where nothing was."""
    path = paths.results() / FILE
    if not path.is_file():
        return {}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found | {kind: Evaluated.model_validate(found[kind]) for kind in ("given", "detected")}


def embedded() -> str:
    """The models that the package embeds."""
    rows = []
    for name in models.bundled():
        model = serving.load(name)
        size, card = sum(path.stat().st_size for path in model.folder.iterdir()), model.card
        row = {
            "model": f"`{name}`",
            "classes": ", ".join(card.classes),
            "trained on": f"`{card.database}`",
            "protocol": card.protocol,
            "lead": card.leads[0] if len(card.leads) == 1 else f"{len(card.leads)} leads",
            "examples": count(card.examples),
            "MB": f"{size / 1e6:.1f}",
        }
        rows.append(row)
    return table(rows)


def summary(found: Mapping[str, Any]) -> str:
    """What a summary says of a recording."""
    heart = found["heart_rate"] or {}
    rows = {
        "beats": ", ".join(f"{count(n)} {name}" for name, n in found["counts"].items() if n),
        **{kind: _ectopy(own) for kind, own in found["ectopy"].items()},
        "heart rate": f"{heart['lowest']:.0f} to {heart['highest']:.0f} a minute" if heart else "not told",
        "pauses": str(found["pauses"]),
        "unsure": f"{found['unsure']} beats",
        "not classified": ", ".join(f"{n} ({reason})" for reason, n in found["not_classified"].items()) or "none",
        "lead": ", ".join(found["leads"]),
    }
    return table([{"what": name, "value": text} for name, text in rows.items()])


def _ectopy(found: Mapping[str, Any]) -> str:
    runs = f"{found['runs']} runs, the longest of {found['longest_run']} beats" if found["runs"] else "no run"
    return f"{found['per_hour']:.0f} an hour, {found['couplets']} couplets, {runs}"


def busiest_strip(annotated: Annotated, classes: Sequence[str]) -> dict[str, Any]:
    """The stretch of a recording with beats of the most classes, as arguments of `figures.record_strip`."""
    recording, beats = annotated.recording, annotated.classified
    width = int(STRIP * recording.fs)
    starts = range(0, recording.signals.shape[1] - width + 1, width)

    def score(start: int) -> tuple[int, int]:
        n = np.bincount(beats.decided[(beats.sample >= start) & (beats.sample < start + width)], minlength=1)
        return int((n > 0).sum()), int(n.sum() - n.max())

    start = max(starts, key=score)
    return {
        "signals_mv": recording.signals[:, start : start + width],
        "fs": recording.fs,
        "samples": beats.sample,
        "symbols": [classes[i] for i in beats.decided],
        "lead_names": recording.leads,
        "start": start,
    }


def rows(beats: pd.DataFrame) -> str:
    """The first rows of a table of beats, versions and hashes cut short; without what differs from run to run."""
    cells = []
    for row in beats.sort_values(["record", "sample"]).head(5).to_dict("records"):
        named = {str(name): value for name, value in row.items() if name not in ("run_id", "time")}
        long = {name: f"{str(named[name])[:8]}…" for name in ("version", "input_hash") if name in named}
        parts = {name: f"{value:.3f}" for name, value in named.items() if name.startswith(("p_", "time_s"))}
        cells.append({name: str(value) for name, value in named.items()} | long | parts)
    return table(cells)


def peaks(found: Mapping[str, Any]) -> str:
    """DS2 with given and with detected R peaks."""
    if not found:
        return sentence("not run")
    both: dict[str, Evaluated] = {kind: found[kind] for kind in ("given", "detected")}

    def row(name: str, of: Mapping[str, Interval | None]) -> dict[str, str]:
        return {"metric": name, **{kind: interval(value) for kind, value in of.items()}}

    lines = [row(f"{name} F1", {kind: one.per_class[name]["f1"] for kind, one in both.items()}) for name in "NSV"]
    alone = {kind: number(_without(one, HOLDS_MOST_S)) for kind, one in both.items()}
    lines.insert(2, {"metric": f"S F1 without {HOLDS_MOST_S}", **alone})
    for kind in ("VEB", "SVEB"):
        lines += [
            row(f"{kind} {metric_name(name)}", {key: one.ec57[kind][name] for key, one in both.items()})
            for name in ("se", "ppv")
        ]
    lines.append(row("accuracy", {kind: one.metrics["accuracy"] for kind, one in both.items()}))
    lines += [
        row(f"R peaks {metric_name(name)}", {"detected": both["detected"].detection[name]}) for name in ("se", "ppv")
    ]
    return table(lines)


def verdict(found: Mapping[str, Any]) -> str:
    """What detection costs."""
    if not found:
        return ""
    said = []
    for name in "VS":
        given, detected = (found[kind].per_class[name]["f1"].mean or 0.0 for kind in ("given", "detected"))
        within = "within" if given - detected <= BAR else "beyond"
        said.append(f"{name} F1 goes from {given:.3f} to {detected:.3f}, {within} the {BAR} that we aimed at")
    return f"With detected R peaks {' and '.join(said)}. @sec-published-mitdb tells what was tried about it, on DS1."


def speed(found: Mapping[str, Any]) -> str:
    """What was timed."""
    if not found:
        return sentence("not run")
    timed = found["speed"]
    lines = [
        {"what": SPEED[name], "value": f"{value:,.3g}" if value < 100 else count(value)}
        for name, value in timed.items()
    ]
    lines.append({"what": "hardware", "value": found["hardware"]})
    return table(lines)


def _without(found: Evaluated, left_out: str) -> float | None:
    """S F1 without a record."""
    kept = [matrix for name, matrix in found.by_record.items() if name != left_out]
    f1 = metrics.per_class(np.sum(kept, 0))["f1"][aami.CLASSES.index("S")]
    return float(f1)
