"""Tables and sentences about experiments on whole 12-lead recordings. They train nothing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import pandas as pd

from ecglib.evaluation import bootstrap
from ecglib.evaluation.bootstrap import Interval
from ecglib.evaluation.labels import areas, recording_weights
from ecglib.evaluation.metrics import Array, macro
from ecglib.experiment.record import Record, card
from ecglib.report import tables
from ecglib.report.comparisons import signed, told_apart
from ecglib.report.names import UNDEFINED, metric_name
from ecglib.report.published import listed, of_task
from ecglib.report.tables import count, interval, number, table, with_mark
from ecglib.report.yardsticks import beside, is_yardstick

SHOWN: Final = ("auroc", "auprc", "f1", "se", "sp", "ppv", "ece")


def provenance(record: Record) -> str:
    """What was run, on what."""
    p, found = record.parameters, card(record)
    origins = ", ".join(f"{count(n)} of {name}" for name, n in found.by_source.items())
    noise = {"nstdb": "recorded noise of `nstdb`", "synthetic": "synthetic noise", "": "no noise"}[found.noise]
    yardstick = is_yardstick(record)
    how = f"fitted at once to the {p['cut']}" if yardstick else f"{count(record.n_parameters)} parameters"
    return (
        f"`{p['model']}`, {how}, on {count(found.recordings)} recordings of "
        f"{count(found.patients)} patients ({origins}); {count(len(record.classes))} labels at once; "
        f"folds scored in turn: {count(len(found.folds))}. {'' if yardstick else f'Augmented with {noise}. '}Profile "
        f"*{record.profile}*, key `{record.key}`."
    )


def result(record: Record) -> str:
    """The headline of one run."""
    text = f"Over all scored folds, macro AUROC is {interval(record.metrics.get('macro_auroc'))}"
    if official := card(record).official:
        which = "PTB-XL's own test fold" if record.parameters["database"] == "ptb-xl" else "fold 10"
        text += f"; on {which}, {interval(official.get('macro_auroc'))}"
    if "challenge_score" in record.metrics:
        text += f". The Challenge's score over these labels is {interval(record.metrics['challenge_score'])}"
    return text + "."


def per_label(record: Record) -> str:
    """Every label against the rest, out of fold, with the recordings that have it."""
    positives = card(record).positives
    rows = [
        {
            "class": name,
            "recordings": count(positives[name]),
            **tables.scores(record.per_class[name], SHOWN),
        }
        for name in record.classes
    ]
    whole = {metric_name(key): interval(record.metrics.get(f"macro_{key}")) for key in SHOWN}
    return with_mark(record, table([*rows, {"class": "mean", "recordings": UNDEFINED, **whole}]))


def yardsticks(record: Record, others: Sequence[Record]) -> str:
    """Macro AUROC, and that of every label, of what needs no network, on the same folds.

    Parameters
    ----------
    record
        The network's.
    others
        Results of yardsticks, of which those that belong to it are taken.
    """
    if is_yardstick(record):
        return "This is a yardstick itself."
    mine = {name: interval(record.per_class[name].get("auroc")) for name in record.classes}
    whole = {"macro AUROC": interval(record.metrics.get("macro_auroc"))}
    rows = [{"model": "this network", **whole, "network's gain": UNDEFINED, "this network is": UNDEFINED, **mine}]
    for name, one in beside(record, others).items():
        gained = gain(record, one)
        whole = {
            "macro AUROC": interval(one.metrics["macro_auroc"]),
            "network's gain": signed(gained),
            "this network is": told_apart(gained),
        }
        by_label = {label: tables.mean(one.per_class[label]["auroc"]) for label in record.classes}
        rows.append({"model": name, **whole, **by_label})
    return with_mark(record, table(rows))


def gain(record: Record, yardstick: Record, n_resamples: int = 1000) -> Interval:
    """Macro AUROC of a network less that of a yardstick on the same recordings, mean over the seeds; the interval draws
    the same patients for both."""
    theirs = card(yardstick)
    names = list(theirs.truth)
    y = np.array([theirs.truth[name] for name in names], dtype=np.bool_)
    patients = tuple(theirs.patient_of[name] for name in names)

    def of_seeds(one: Record) -> Array:
        p = np.array([card(one).probabilities[name] for name in names]).swapaxes(0, 1)
        return np.stack([_macro_auroc(of_seed.tobytes(), y.tobytes(), y.shape, patients, n_resamples) for of_seed in p])

    return bootstrap.interval(of_seeds(record) - of_seeds(yardstick))


@lru_cache(maxsize=64)
def _macro_auroc(p: bytes, y: bytes, shape: tuple[int, ...], patients: tuple[str, ...], n_resamples: int) -> Array:
    """Macro AUROC of probabilities (float64) of labels (bool), both `(n, labels)`, on the recordings and on resamples
    of their patients, `(1 + resamples,)`. Kept, as a page pairs a network with several yardsticks, and these are the
    same under every seed."""
    weights = recording_weights(pd.Series(patients), n_resamples)
    labels, given = np.frombuffer(y, np.bool_).reshape(shape), np.frombuffer(p, np.float64).reshape(shape)
    return macro(areas(labels, given, weights)[0])


def folds(record: Record) -> str:
    """Metrics of every fold, mean over the seeds."""
    rows = []
    for fold, metrics in card(record).folds.items():
        means = {metric_name(name): number(tables.mean_of(values)) for name, values in metrics.items()}
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
    rows = [{"record": f"`{name}`", "what": "; ".join(said)} for name, said in found.repaired.items()]
    rows += [{"record": f"`{name}`", "what": f"counted once, as `{twin}`"} for name, twin in found.duplicates.items()]
    rows += [{"record": f"`{name}`", "what": f"label conflict: {said}"} for name, said in found.conflicts.items()]
    rows += [{"record": f"`{name}`", "what": f"set aside: {why}"} for name, why in record.data.records_left_out.items()]
    return table(rows) if rows else "Nothing to put right."


def few(record: Record) -> str:
    """The labels that too few recordings have."""
    found = card(record).few
    if not found:
        return ""
    names = ", ".join(f"{name} ({count(n)})" for name, n in found.items())
    return f"Too few recordings, so not among the labels: {names}."


def tried(record: Record) -> str:
    """Settings that were tried for this experiment before its parameters were set (`tried.yml`)."""
    rows = [
        {
            "tried": row["tried"],
            "macro AUROC, validation": f"{row['validation']:.4f}",
            "macro AUROC, out of fold": f"{row['test']:.4f}",
        }
        for study in of_task(listed("tried.yml", {"aim", "measured", "rows"}), "twelve-lead")
        if study["aim"] == record.experiment
        for row in study["rows"]
    ]
    return table(rows) if rows else "With this experiment itself nothing else was tried."
