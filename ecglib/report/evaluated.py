"""What `ecglib evaluate` prints."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from ecglib.report.names import metric_name
from ecglib.report.tables import interval
from ecglib.serving.evaluate import Evaluated


def tables(found: Evaluated) -> Iterator[Table]:
    """By class or label, and of all of them."""
    metrics = list(dict.fromkeys(name for own in found.per_class.values() for name in own))
    by_class = Table("class", "reference", *map(metric_name, metrics))
    for name, own in found.per_class.items():
        by_class.add_row(name, f"{found.counts[name]}", *(interval(own.get(metric)) for metric in metrics))
    yield by_class
    whole = Table("of all", "")
    parts = {"": found.metrics, **{f"{kind} ": own for kind, own in found.ec57.items()}, "R peaks, ": found.detection}
    for part, values in parts.items():
        for name, value in values.items():
            whole.add_row(f"{part}{metric_name(name)}", interval(value))
    yield whole


def told(found: Evaluated) -> str:
    """What it rests on, in a line."""
    peaks = {"given": "R peaks given", "detected": "R peaks detected", "annotated": "annotations compared", "": ""}
    left = ", ".join(f"{n} {reason}" for reason, n in found.left_out.items() if n)
    parts = [
        f"{found.subject} on {len(found.records)} records of {found.data}{' (the embedded sample)' * found.sample}",
        peaks[found.peaks],
        f"not scored: {left}" if left else "",
        f"{len(found.passed_over)} records passed over" if found.passed_over else "",
        f"it learnt from {len(found.learnt)} of these records, or may have" if found.learnt else "",
    ]
    return "; ".join(part for part in parts if part)
