"""Sentences with numbers in them, made from records and data: no number in the book's prose is typed by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ecglib import aami
from ecglib.data.beats import Beats
from ecglib.data.databases import Source
from ecglib.experiment import record as results
from ecglib.experiment.record import Record
from ecglib.report.names import ANSWERS_TOLD, BEATS_ALONE, PROTOCOLS_TOLD
from ecglib.report.tables import HOLDS_MOST_S, OF_SAMPLE, SAMPLE, count, interval, number, suggested_by_test, without


def provenance(record: Record) -> str:
    """What was run, on what."""
    p, data = record.parameters, record.data
    protocol = "drawn" if p["protocol"] == "inter" and not results.from_ds1(p) else p["protocol"]
    kind = f"the {SAMPLE} of `{data.name}`" if data.sample else f"`{data.name}`"
    seeds = f"seed{'s' if len(record.seeds) > 1 else ''} {', '.join(map(str, record.seeds))}"
    size = f" with {count(record.n_parameters)} parameters" if record.n_parameters else ""
    balanced = (p.get("model_options") or {}).get("balanced")
    answer = "class weights in the forest by inverse frequency" if balanced else ANSWERS_TOLD[p["imbalance"]]
    return (
        f"`{p['model']}`{size}, {answer}, "
        f"{PROTOCOLS_TOLD[protocol]}. The run rests on {kind}, {seeds}, profile *{record.profile}*: "
        f"{count(data.n_train)} beats to train on, {count(data.n_val)} to choose on, "
        f"{count(data.n_test) if record.scored == 'test' else 'none'} to test on. "
        f"{f'{BEATS_ALONE} ' * (data.name == 'kaggle')}{_resampled(record)}Key `{record.key}`."
    )


def percent(share: float) -> str:
    """A share in per cent, the sign after a narrow space (`42 %`)."""
    return f"{share:.0%}".replace("%", "\N{NARROW NO-BREAK SPACE}%")


def _resampled(record: Record) -> str:
    """What resampling made of the training part (imbalanced sets of the first seed)."""
    if not record.resampled:
        return ""
    total, largest = sum(record.resampled.values()), max(record.data.class_counts["train"].values())
    text = f"Resampling made {count(total)} training beats of these"
    if record.parameters["imbalance"] == "smote-tomek":
        present = sum(n > 0 for n in record.data.class_counts["train"].values())
        text += f" and removed {count(present * largest - total)} in Tomek links"
    return text + ". "


def result(record: Record) -> str:
    """The headline of one result, and what must be said beside it."""
    over = ", ".join(record.macro_classes or record.classes)
    scored = "test" if record.scored == "test" else "validation"
    text = f"On the {scored} set, over {over}, macro-F1 is {interval(record.metrics['macro_f1'])}"
    if "macro_f1_nsv" in record.metrics:
        text += f" and over N, S and V alone {interval(record.metrics['macro_f1_nsv'])}"
    text += f"; {interval(record.metrics['accuracy'])} of all beats are classified as annotated."
    if record.without_202:
        other = record.without_202["metrics"]["macro_f1"]
        text += f" Without record 202, whose patient is also in DS1, macro-F1 is {interval(other)}."
    if record.task == "multiclass" and suggested_by_test(record):
        alone = number(without(record, HOLDS_MOST_S, "S"))
        text += (
            f" S F1 is {interval(record.per_class['S']['f1'])}, and {alone} without record {HOLDS_MOST_S}, "
            "which is in the test set and suggested what is taken for usual in a record (@sec-published-mitdb)."
        )
    return text


def classes(record: Record) -> str:
    """Which class is found worst, and what its beats are taken for."""
    scored = {name: record.per_class[name]["f1"].mean for name in record.macro_classes or record.classes}
    known = {name: value for name, value in scored.items() if value is not None}
    if not known:
        return "No class was scored."
    worst = min(known, key=lambda name: known[name])
    i = record.classes.index(worst)
    row = np.sum([matrix[i] for matrix in record.confusion], axis=0)
    text = f"The weakest class is {worst}, with an F1 of {number(known[worst])}"
    missed = row.sum() - row[i]
    if missed:
        row[i] = 0
        most = int(row.argmax())
        text += f": of its beats that were missed, {percent(row[most] / missed)} were taken for {record.classes[most]}"
    return text + "."


def source(source: Source, beats: Beats) -> str:
    """Which records these are."""
    text = f"{count(len(source.records))} records of `{source.name}`, {count(len(beats))} beats in the `kachuee` cut."
    aside = [f"{name} ({reason})" for name, reason in beats.records_left_out.items()]
    text += f" Set aside: {', '.join(aside)}." if aside else " No record had to be set aside."
    box = f'\n\n::: {{.callout-note title="A part of the database"}}\nThis is the {SAMPLE}. {OF_SAMPLE}\n:::'
    return text + (box if source.sample else "")


def concentration(by_record: pd.DataFrame) -> str:
    """How much of a rare class one record of DS2 holds; nothing to say of no records."""
    if by_record.empty:
        return ""
    ds2 = by_record[by_record.index.isin(aami.DS2)]
    parts = []
    for name in ("S", "F"):
        total = int(ds2[name].sum())
        if total:
            record = str(ds2[name].idxmax())
            parts.append(f"record {record} alone holds {percent(ds2[name].max() / total)} of the {name} beats")
    return f"In DS2, {' and '.join(parts)}." if parts else "DS2 holds no S or F beats here."
