"""Records in; tables, figures and pages out. Where it is imported, runs go to MLflow with pictures and a report."""

from __future__ import annotations

from pathlib import Path

from ecglib import tracking
from ecglib.experiment.record import Record


def write_artifacts(record: Record, folder: Path) -> None:
    """Pictures and reports of a run, as files of a folder."""
    from ecglib.report import ecg_figures, figures, tables

    confusion = ecg_figures.one_vs_rest if record.task == "multilabel" else figures.confusion
    pictures = {"confusion.png": confusion(record)}
    if record.training:
        pictures["learning-curves.png"] = figures.learning_curves(record)
    for name, figure in pictures.items():
        (folder / name).write_bytes(figures.png(figure))
    report = [f"# {record.title or record.experiment}", tables.metrics(record), tables.per_class(record)]
    report += [tables.circumstances(record), tables.parameters(record)]
    (folder / "report.md").write_text("\n\n".join(report) + "\n", encoding="utf-8")


tracking.ARTIFACTS["report"] = write_artifacts
