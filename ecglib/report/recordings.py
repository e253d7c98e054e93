"""Tables and sentences about experiments on whole 12-lead recordings. They train nothing."""

from __future__ import annotations

from typing import Final

import numpy as np

from ecglib.experiment.record import Record, card
from ecglib.report import tables
from ecglib.report.names import UNDEFINED, metric_name
from ecglib.report.published import studies
from ecglib.report.tables import count, interval, number, table, with_mark
from ecglib.report.yardsticks import is_yardstick

SHOWN: Final = ("auroc", "auprc", "f1", "se", "sp", "ppv", "ece")


def provenance(record: Record) -> str:
    """What was run, on what."""
    p, found = record.parameters, card(record)
    origins = ", ".join(f"{count(n)} of {name}" for name, n in found.by_source.items())
    noise = {
        "nstdb": "recorded noise of `nstdb`",
        "sample": "a minute of the noise of `nstdb`",
        "synthetic": "made-up noise",
        "": "no noise",
    }[found.noise]
    yardstick, n = is_yardstick(record), len(found.folds)
    alone = f"scored: fold {''.join(found.folds)}, {record.data.n_test} recordings"
    turn = alone if n == 1 else f"folds scored in turn: {n}"
    unread = "" if record.scored == "test" else ", of those that are validated on; those that are tested were not read"
    how = f"fitted at once to the {p['cut']}" if yardstick else f"{count(record.n_parameters)} parameters"
    return (
        f"`{p['model']}`, {how}, on {count(found.recordings)} recordings of "
        f"{count(found.patients)} patients ({origins}); {count(len(record.classes))} labels at once; "
        f"{turn}{unread}. {'' if yardstick else f'Augmented with {noise}. '}"
        f"Profile *{record.profile}*, key `{record.key}`."
    )


def result(record: Record) -> str:
    """The headline of one run."""
    official, alone = card(record).official, len(card(record).folds) == 1
    own = "PTB-XL's own test fold" if record.parameters["database"] == "ptb-xl" else "fold 10"
    where = f"On {own}" if official and alone else "Over all scored folds"
    text = f"{where}, macro AUROC is {interval(record.metrics.get('macro_auroc'))}"
    if official and not alone:
        text += f"; on {own}, {interval(official.get('macro_auroc'))}"
    if "challenge_score" in record.metrics:
        text += f". The Challenge's score over these labels is {interval(record.metrics['challenge_score'])}"
    return text + "."


def per_label(record: Record) -> str:
    """Every label against the rest, out of fold, with the scored recordings that have it."""
    positives = record.data.class_counts.get("recordings", card(record).positives)
    rows = [
        {"class": name, "recordings": count(positives[name]), **tables.scores(record.per_class[name], SHOWN)}
        for name in record.classes
    ]
    whole = {metric_name(key): interval(record.metrics.get(f"macro_{key}")) for key in SHOWN}
    return with_mark(record, table([*rows, {"class": "mean", "recordings": UNDEFINED, **whole}]))


def folds(record: Record) -> str:
    """Metrics of every fold, mean over the seeds."""
    rows = []
    for fold, metrics in card(record).folds.items():
        means = {metric_name(key): number(tables.mean_of(values)) for key, values in metrics.items()}
        rows.append({"set": f"fold {fold}", **means})
    return with_mark(record, table(rows))


def left_out_sources(record: Record) -> str:
    """Every source scored by networks that never saw it, beside the same recordings out of fold."""
    found = card(record)
    if not found.left_out_source:
        return "All recordings are of one source, or none was left out."
    rows = []
    for name, unseen in found.left_out_source.items():
        row = {"source": name, "recordings": count(found.by_source[name])}
        for key in ("macro_auroc", "challenge_score"):
            row[f"{metric_name(key)}, unseen"] = interval(unseen.get(key))
            row[f"{metric_name(key)}, seen"] = interval(found.known_source.get(name, {}).get(key))
        rows.append(row)
    return with_mark(record, table(rows))


def thresholds(record: Record) -> str:
    """What validation chose for every label: the median over seeds and folds, and the range."""
    rows = []
    for name, per_seed in card(record).thresholds.items():
        chosen = np.array(per_seed).ravel()
        spread = f"{number(chosen.min())} to {number(chosen.max())}"
        rows.append({"class": name, "median threshold": number(float(np.median(chosen))), "range": spread})
    return with_mark(record, table(rows)) if rows else "None was chosen."


def repairs(record: Record) -> str:
    """What was put right, counted once, contradictory or set aside, recording by recording."""
    found = card(record)
    said = [(name, "; ".join(repairs)) for name, repairs in found.repaired.items()]
    said += [(name, f"counted once, as `{twin}`") for name, twin in found.duplicates.items()]
    said += [(name, f"label conflict: {conflict}") for name, conflict in found.conflicts.items()]
    said += [(name, f"set aside: {why}") for name, why in record.data.records_left_out.items()]
    rows = [{"record": f"`{name}`", "what": what} for name, what in said]
    return table(rows) if rows else "Nothing to put right."


def few(record: Record) -> str:
    """The labels that too few recordings have."""
    names = ", ".join(f"{name} ({count(n)})" for name, n in card(record).few.items())
    return f"Too few recordings, so not among the labels: {names}." if names else ""


def tried(record: Record) -> str:
    """Settings that were tried for this experiment before its parameters were set (`tried.yml`)."""
    titles = {"validation": "macro AUROC, validation", "test": "macro AUROC, out of fold"}
    mine = [row for study, row in studies("twelve-lead") if record.experiment in (study["aim"], *study.get("also", []))]
    rows = [{"tried": row["tried"], **{title: number(row[key], 4) for key, title in titles.items()}} for row in mine]
    return table(rows) if rows else "With this experiment itself nothing else was tried."
