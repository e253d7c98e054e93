"""What needs no network, beside networks: which yardsticks belong to a result, and its gain, paired by patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecglib import config
from ecglib.evaluation import bootstrap, ranking
from ecglib.evaluation.bootstrap import Interval
from ecglib.evaluation.metrics import Array, macro
from ecglib.experiment import record as results
from ecglib.experiment.record import Record, card, infarction
from ecglib.models import registry
from ecglib.report import tables
from ecglib.report.names import UNDEFINED, metric_name

RESAMPLES: Final = 1000
"""Draws of patients behind an interval of a gain."""


def is_yardstick(record: Record) -> bool:
    """Whether a result is of a yardstick and not of a network."""
    model = str(record.parameters.get("model"))
    return model in registry.ENTRIES and registry.entry(model).yardstick


def yardstick_results(notebook: str) -> list[Record]:
    """The reference results of a notebook's yardsticks, in order of the registry."""
    own = [name for name in config.experiments() if name.partition("/")[0] == notebook]
    named = [name for name in own if registry.entry(getattr(config.load(name), "model", "")).yardstick]
    order = list(registry.ENTRIES)
    return sorted(filter(None, map(results.reference, named)), key=lambda r: order.index(r.parameters["model"]))


def beside(record: Record, yardsticks: Sequence[Record]) -> dict[str, Record]:
    """The yardsticks that a network's result is paired with, by their names.

    They read the same data and scored the same parts of it: the database's fingerprint, the labels and the seeds are
    the same, and so is every parameter that says what such a yardstick reads and how it is divided (`read_by`).
    """
    found = [] if is_yardstick(record) else [one for one in yardsticks if _like(one, record)]
    return {str(one.parameters["model"]).replace("_", " "): one for one in found}


def _like(a: Record, b: Record) -> bool:
    if (a.task, a.data.fingerprint, a.classes, a.seeds) != (b.task, b.data.fingerprint, b.classes, b.seeds):
        return False
    model = config.TwelveLeadParameters if a.task == "multilabel" else config.InfarctionParameters
    return all(a.parameters.get(name) == b.parameters.get(name) for name in model.read_by(a.parameters["model"]))


def table(record: Record, others: Sequence[Record]) -> str:
    """AUROC of a network and of those of `others` that are its yardsticks, on the same folds, and what it has more; of
    several labels their mean, and that of every label."""
    if is_yardstick(record):
        return "This is a yardstick itself."
    key, labels = ("macro_auroc", record.classes) if record.task == "multilabel" else ("auroc", [])
    shown = {name: tables.interval(record.per_class[name].get("auroc")) for name in labels}
    paired = beside(record, others)
    undefined = dict.fromkeys(("network's gain", "this network is"), UNDEFINED) if paired else {}
    rows = [{"model": "this network", metric_name(key): tables.interval(record.metrics.get(key)), **undefined, **shown}]
    for name, one in paired.items():
        gained = gain(record, one)
        row = {"model": name, metric_name(key): tables.interval(one.metrics[key])}
        row |= {"network's gain": tables.signed(gained), "this network is": tables.told_apart(gained)}
        rows.append(row | {label: tables.mean(one.per_class[label]["auroc"]) for label in labels})
    return tables.with_mark(record, tables.table(rows))


# --- paired by patient ------------------------------------------------------------------------------------------------


def gain(a: Record, b: Record, learnt: str = "all") -> Interval:
    """AUROC of `a` less that of `b` on the recordings of `b`, mean over the labels and over the seeds, of infarctions
    after learning from so many patients; the interval draws the same patients for both. Undefined where they are not
    known."""
    if not (card(b).patient_of if b.task == "multilabel" else infarction(b).scores):
        return Interval()
    return bootstrap.interval(_areas(a, b, learnt) - _areas(b, b, learnt))


def together(record: Record) -> Interval:
    """AUROC of the mean over the seeds of a recording's log-odds: one vote of as many networks as there are seeds, none
    of which saw the recording's patient. Undefined where patients are not known."""
    return bootstrap.interval(_areas(record, record, together=True)) if infarction(record).scores else Interval()


def _areas(record: Record, like: Record, learnt: str = "all", together: bool = False) -> Array:
    """Mean AUROC over the labels on the recordings of `like` and on resamples of their patients, `(seeds, 1 +
    resamples)`; of the seeds together, one row."""
    given: Mapping[str, Any]
    if record.task == "multilabel":
        given, truth, patient_of = card(record).probabilities, card(like).truth, card(like).patient_of
        names, y = list(truth), np.array(list(truth.values()), dtype=np.bool_)
    else:
        given, patient_of = infarction(record).scores[learnt], infarction(like).patients
        names = list(infarction(like).scores[learnt])
        y = np.array([like.by_record[name] for name in names]).sum((1, 3)).argmax(1)[:, None] == 1  # each a single one
    p = np.array([given[name] for name in names], dtype=np.float64).reshape(len(y), len(record.seeds), -1)
    p = p.mean(1, keepdims=True) if together else p
    patients = tuple(patient_of[name] for name in names)
    labels = [label.tobytes() for label in y.T]
    areas = [
        [_area(p[:, seed, i].tobytes(), label, patients) for i, label in enumerate(labels)]
        for seed in range(p.shape[1])
    ]
    return macro(np.array(areas).swapaxes(1, 2))


@lru_cache(maxsize=4096)
def _area(scores: bytes, positive: bytes, patients: tuple[str, ...]) -> Array:
    """AUROC of scores (float64) of recordings with and without a label (bool). Kept, as a chapter pairs each result
    with many others."""
    codes, drawn = _resamples(patients)
    return ranking.auroc_auprc(np.frombuffer(scores, np.float64), np.frombuffer(positive, np.bool_), codes, drawn)[0]


@lru_cache(maxsize=16)
def _resamples(patients: tuple[str, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`bootstrap.patient_weights`, drawn once for all results on the same recordings: it takes longest of all here."""
    return bootstrap.patient_weights(pd.Series(patients), RESAMPLES)
