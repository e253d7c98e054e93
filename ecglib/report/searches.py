"""Tables and sentences of the chapter *Tuning*: what a search found, as `book/searches/` has it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import pandas as pd
from scipy.stats import mannwhitneyu

from ecglib import config, paths, tuning
from ecglib.config import HeartbeatParameters, TuningParameters
from ecglib.evaluation import metrics
from ecglib.evaluation.bootstrap import Interval
from ecglib.experiment import comparison
from ecglib.experiment import record as results
from ecglib.experiment.record import Record
from ecglib.report import tables, yardsticks
from ecglib.report.comparisons import link
from ecglib.report.names import UNDEFINED, metric_name, parameter_name, sentence
from ecglib.report.tables import count, number, table
from ecglib.report.words import percent
from ecglib.tuning import replay
from ecglib.tuning import search as searches
from ecglib.tuning import space as spaces
from ecglib.tuning.search import Search, Trial
from ecglib.tuning.space import Dimension, Space
from ecglib.tuning.trial import Place, in_folds

FULL_CURVES: Final = "curves"
"""The search without early stopping whose trials are replayed, where its table is there."""
NEAR: Final = 0.01
"""How near to the best value counts as near, in units of the metric."""
OF_BEATS: Final = ("macro_f1", "macro_recall", "accuracy")
"""Metrics that results of beats are compared by."""
SEARCHERS: Final = {
    "tpe": "a tree-structured Parzen estimator [@bergstra2011]",
    "gp": "a Gaussian process",
    "random": "chance",
    "grid": "all points of a grid",
    "hyperopt": "HyperOpt's tree-structured Parzen estimator [@bergstra2011]",
}
SCHEDULERS: Final = {
    "asha": "asynchronous successive halving [@li2020]",
    "hyperband": "HyperBand",
    "median": "the median of the others",
    "none": "nobody",
}


@dataclass(frozen=True)
class Shown:
    """A search, and what it found."""

    search: Search
    found: dict[str, Any]
    """Empty where it was not run."""
    trials: list[Trial]

    @property
    def space(self) -> Space:
        return self.search.space

    @property
    def metric(self) -> str:
        return self.search.asked.metric

    @cached_property
    def best(self) -> Trial:
        return next(one for one in self.trials if one.number == self.found["best"]["trial"])

    @cached_property
    def of_base(self) -> Trial | None:
        """The trial of the base's own parameters, where there is one."""
        return next((one for one in self.trials if one.drawn == self.search.of_base and one.curve), None)

    @cached_property
    def records(self) -> tuple[Record | None, Record | None]:
        """The reference results of the base and of the best parameters."""
        return results.reference(self.search.asked.base), results.reference(self.search.tuned)


def of(asked: TuningParameters) -> Shown:
    """The search of these parameters, of which those win that it was run with; without a space that of its name, and
    without a name the first of all."""
    if not asked.space:
        names = (name for name in config.experiments() if name.startswith("tuning/"))
        asked = tuning.load(asked.experiment or next(names), profile=asked.profile)
    path = paths.search(asked.experiment.partition("/")[2])
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    trials = searches.trials_of(pd.read_parquet(path.with_suffix(".parquet"))) if found else []
    run = asked.model_dump() | {name: found[name] for name in TuningParameters.model_fields if name in found}
    checked = config.check("tuning", run, path)
    assert isinstance(checked, TuningParameters)
    base = searches.base_of(checked)
    place = Place("", found.get("precision", ""))
    space = spaces.parsed(checked.space, base)
    return Shown(Search(checked, base, space, place, searches.folder_of(path.stem)), found, trials)


def told(shown: Shown) -> str:
    """What was searched, how, and what came of it; or that it was not run."""
    asked, found = shown.search.asked, shown.found
    base = f"[{config.load(asked.base).title}](../{asked.base}.ipynb)"
    if not found:
        how = f"`ecglib tune {asked.experiment}` runs this search over {base}."
        return f'::: {{.callout-note title="Not run yet"}}\n{how} Its space is below; all else is missing.\n:::'
    states = {"finished": "were run in full", "stopped": "were stopped early", "failed": "failed"}
    said = [f"{count(n)} {states[state]}" for state, n in found["states"].items() if n]
    n = sum(found["states"].values())
    text = f"The search tried {count(n)} sets of parameters over {base}, drawn by {SEARCHERS[asked.searcher]}"
    if asked.scheduler != "none":
        text += f"; which of these trials went on was decided by {SCHEDULERS[asked.scheduler]}"
    text += f". {_listed(said)}. That took {tables.duration(found['seconds'])}, at most "
    text += f"{_many(asked.concurrency, 'trial')} at once, on {tables.hardware(found['hardware'])}, "
    text += f"profile *{asked.profile}*. "
    text += f"The best, trial {shown.best.number}, reached {number(shown.best.value)} in {metric_name(shown.metric)} "
    text += f"on validation after epoch {_peak(shown.best)}"
    if shown.best is shown.of_base:
        text += ", with the base's own parameters"
    elif shown.of_base is not None:
        early = "" if shown.of_base.state == "finished" else f", stopped early after epoch {len(shown.of_base.curve)}"
        text += f"; the base's own parameters reached {number(shown.of_base.value)}{early}"
    text += ". As it is the highest of so many, the best value is optimistic."
    box = f'\n\n::: {{.callout-warning title="No result"}}\nThis is of the {tables.SAMPLE}. {tables.OF_SAMPLE}\n:::'
    return text + (box if found.get("sample") else "")


# --- the space --------------------------------------------------------------------------------------------------------


def space(shown: Shown) -> str:
    """Every parameter: how it is drawn, its value in the base, and the best one."""
    own, rows = shown.space.own(shown.search.base), []
    for one in shown.space.dimensions:
        row = {"parameter": _parameter(one.name), "how it is drawn": _drawn(one), "base": _value(own, one.name)}
        rows.append(row | ({"best found": _value(shown.best.drawn, one.name)} if shown.found else {}))
    return table(rows)


def fixed(shown: Shown) -> str:
    """What all trials share."""
    values = {name: value for name, value in shown.search.asked.fixed.items() if value is not None}
    all_share = [f"{_parameter(name)} {_text(value)}" for name, value in values.items()]
    text = "A dash stands where a parameter means nothing beside the others."
    return f"{text} All trials have {_listed(all_share)}; what is not named is as in the base." if all_share else text


def _parameter(name: str) -> str:
    return f"`{parameter_name(name)}`"


def _drawn(one: Dimension) -> str:
    if one.kind == "choice":
        text = ", ".join(map(_text, one.choices))
    else:
        low, high = one.ends
        text = f"{_text(low)} to {_text(high)}"
        text += f" by {_text(one.step)}" if one.step and one.step != 1 else ""
        text += ", log-uniform" if one.log else ""
    waits = [f"{_parameter(name)} {_listed([_text(value) for value in values], 'or')}" for name, values in one.when]
    return f"{text}, with {_listed(waits)}" if waits else text


def _value(values: dict[str, Any], name: str) -> str:
    return _text(values[name]) if name in values else UNDEFINED


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list):
        return f"`{json.dumps(value)}`"  # as code, or Markdown would take its stars for emphasis
    return count(value) if isinstance(value, int) and value >= 10_000 else json.dumps(value)


def _listed(items: Sequence[str], last: str = "and") -> str:
    return f"{', '.join(items[:-1])} {last} {items[-1]}" if len(items) > 1 else "".join(items)


def _many(n: int, what: str) -> str:
    return f"{count(n)} {what}{'' if n == 1 else 's'}"


# --- the trials -------------------------------------------------------------------------------------------------------


def history(shown: Shown) -> str:
    """When the best came, and how near the search had been before."""
    if not shown.found:
        return ""
    best, valued = shown.best, shown.search.comparable(shown.trials)
    near = [one for one in valued if one is not best and one.value >= best.value - NEAR]
    text = f"Trial {best.number} reached the highest value, {number(best.value)}"
    if not near:
        return f"{text}. No other came within {NEAR:g} of it."
    first = min(one.number for one in near)
    text += f", and {_many(len(near), 'other trial')} came within {NEAR:g} of it"
    return f"{text}{f', the first of them trial {first}' if len(near) > 1 else f', trial {first}'}."


def curves(shown: Shown) -> str:
    """When trials run in full were at their highest."""
    if not shown.found:
        return ""
    whole = [one for one in shown.trials if one.state == "finished" and one.curve]
    if not whole:
        return "No trial was run in full."
    if in_folds(shown.search.base):
        n = count(len(whole[0].curve))
        return f"An epoch here is a fold: the metric is of those scored so far, and a trial's value that of all {n}."
    peaks = [_peak(one) for one in whole]
    late = sum(peak == shown.search.epochs for peak in peaks)
    were = "was" if late == 1 else "were"
    text = f"Of {count(len(whole))} trials run in full, {count(late)} {were} highest after the last epoch of "
    text += f"{shown.search.epochs}"
    more = ": more epochs might have raised them further" if late > len(whole) / 2 else ""
    return f"{text}{more}. A trial's value is the highest of its epochs."


def _peak(one: Trial) -> int:
    """The epoch whose value is the trial's."""
    return next((epoch.epoch for epoch in one.curve if epoch.value == one.value), len(one.curve))


def quarters(shown: Shown) -> tuple[list[Trial], list[Trial]]:
    """The best quarter of the trials that can be compared, and the others."""
    ordered = sorted(shown.search.comparable(shown.trials), key=lambda one: (-one.value, one.number))
    n = max(1, round(len(ordered) / 4))
    return ordered[:n], ordered[n:]


def in_common(shown: Shown) -> str:
    """The choice and the range in which the best quarter differs most from the others."""
    if not shown.found:
        return ""
    good, others = quarters(shown)
    choices, ranges = [], []
    for one in shown.space.dimensions:
        mine, theirs = ([each.drawn[one.name] for each in part if one.name in each.drawn] for part in (good, others))
        if len(mine) < len(good) / 2 or len(theirs) < len(others) / 2:
            continue
        if one.kind == "choice":
            for value in one.choices:
                a, b = ([each == value for each in part] for part in (mine, theirs))
                text = f"{_parameter(one.name)} is {_text(value)} in {_of(a)} (of the others: {_of(b)})"
                choices.append((float(np.mean(a) - np.mean(b)), text))
        else:
            apart = mannwhitneyu(mine, theirs).statistic / (len(mine) * len(theirs)) - 0.5
            text = (
                f"the middle half of its {_parameter(one.name)} is {_middle(mine)} (of the others: {_middle(theirs)})"
            )
            ranges.append((abs(float(apart)), text))
    most = [max(kind)[1] for kind in (choices, ranges) if kind]
    return f"The best quarter differs most from the others in this: {_listed(most)}." if most else ""


def _middle(values: Sequence[float]) -> str:
    low, high = (f"{float(f'{value:.2g}'):g}" for value in np.quantile(values, [0.25, 0.75]))
    return low if low == high else f"{low} to {high}"


def _of(holds: Sequence[bool]) -> str:
    return f"{count(sum(holds))} of {count(len(holds))}"


# --- what matters -----------------------------------------------------------------------------------------------------


def importances(shown: Shown) -> str:
    """Share of the variance of the trials' ranks that each parameter explains alone, the largest first."""
    found = shown.found.get("importances") or {}
    if not found:
        return sentence("not computed")
    valued = [one for one in shown.trials if one.curve]
    rows = [
        {
            "parameter": _parameter(name),
            "share": f"{number(one['mean'], 2)} [{number(one['low'], 2)},\N{NO-BREAK SPACE}{number(one['high'], 2)}]",
            "trials that have it": count(sum(name in each.drawn for each in valued)),
        }
        for name, one in sorted(found.items(), key=lambda item: -item[1]["mean"])
    ]
    return table(rows)


def importance(shown: Shown) -> str:
    """Which parameters matter beyond doubt, and which were left out."""
    found = shown.found.get("importances") or {}
    if not found:
        return ""
    first, *rest = sorted(found, key=lambda name: -found[name]["mean"])
    below = [name for name in rest if found[name]["high"] < found[first]["low"]]
    text = f"{_parameter(first)} explains most"
    text += f"; its range lies above {_how_many(below, rest)}" if below else "; its range overlaps all others"
    left = [one.name for one in shown.space.dimensions if one.name not in found]
    few = f" Too few trials have {_listed([_parameter(name) for name in left])} for a share." if left else ""
    together = f" The shares do not add up to one: the rest is what parameters do together, and chance.{few}"
    return f"{text}.{together}"


def _how_many(some: Sequence[str], every: Sequence[str]) -> str:
    return "all others" if len(some) == len(every) else f"that of {len(some)} of the {len(every)} others"


# --- early stopping ---------------------------------------------------------------------------------------------------


def saved(shown: Shown) -> str:
    """Epochs that were run, of those of all trials in full."""
    if not shown.found:
        return ""
    epochs = shown.found["epochs"]
    text = f"All trials together ran {count(epochs['run'])} epochs. In full, {epochs['trial']} epochs each, they would "
    return f"{text}have run {count(epochs['full'])}: it took {percent(epochs['run'] / epochs['full'])} of that."


def replayed(shown: Shown) -> str:
    """What halving would have done with trials of the same parameters that were all run in full; empty where there are
    none."""
    path, asked = paths.search(FULL_CURVES).with_suffix(".parquet"), shown.search.asked
    if not path.is_file() or asked.scheduler != "asha":
        return ""
    trials = [one for one in searches.trials_of(pd.read_parquet(path)) if one.state == "finished"]
    names = {one.name for one in shown.space.dimensions}
    if not trials or not all(one.drawn.keys() <= names for one in trials):
        return ""
    found = replay.replayed(trials, asked.grace, asked.reduction)
    text = f"Whether the best are among those that go on can be seen where nothing was stopped: {count(found.trials)} "
    text += "trials of the same parameters, at random and in full. "
    text += f"Replayed in {count(replay.ORDERS)} orders, halving runs {percent(found.share)} of their epochs "
    text += f"on average (95 % of the orders: {percent(found.low)} to "
    return f"{text}{percent(found.high)}), and the best trial is run in full in {percent(found.kept)} of the orders."


# --- base and best ----------------------------------------------------------------------------------------------------


def confirmed(shown: Shown) -> str:
    """Base and best in full on validation, under seeds that the search did not see."""
    if not _pairs(shown):
        return sentence("not run")
    rows = [
        {"seed": str(base["seed"]), "base": number(base["value"]), "best found": number(best["value"]),
         "gain": _signed(best["value"] - base["value"])}
        for base, best in _pairs(shown)
    ]  # fmt: skip
    return table(rows)


def _pairs(shown: Shown) -> list[tuple[dict[str, float], dict[str, float]]]:
    """Base and best under each seed that the search did not see; of some searches under none."""
    under = shown.found.get("confirmed") or {"base": [], "best": []}
    return list(zip(under["base"], under["best"], strict=True))


def _promised(shown: Shown) -> list[float]:
    """Gain on validation under each seed that the search did not see."""
    return [best["value"] - base["value"] for base, best in _pairs(shown)]


def confirmation(shown: Shown) -> str:
    """How the best found fares under other seeds."""
    if not _pairs(shown):
        return ""
    gains = _promised(shown)
    better = sum(gain > 0 for gain in gains)
    text = f"Under {better} of {len(gains)} seeds that the search did not see, the best found is better than the base"
    text += f"; the mean gain is {_signed(float(np.mean(gains)))}"
    if shown.of_base is not None and shown.of_base.state == "finished":
        chosen = shown.best.value - shown.of_base.value
        text += f", where under the search's own seed it was {_signed(chosen)}"
    return f"{text}."


def tested(shown: Shown) -> str:
    """Base and best on the test set, from their reference results, and the paired difference."""
    before, after = shown.records
    if before is None or after is None:
        return sentence("not run")
    rows = []
    for one in _scores(before, shown.metric):
        row = {"metric": one.name, "base": tables.mean(one.at(before)), "best found": tables.mean(one.at(after))}
        rows.append(row | {"gain": _difference(before, after, one)[1]})
    return tables.with_mark(before, table(rows))


@dataclass(frozen=True)
class Score:
    """What base and best are compared by: a metric, or the F1 of a class."""

    key: str
    of_class: str = ""

    @property
    def name(self) -> str:
        return f"{self.of_class} F1" if self.of_class else metric_name(self.key)

    def at(self, record: Record) -> Interval | None:
        """Its value in a record."""
        return record.per_class[self.of_class]["f1"] if self.of_class else record.metrics.get(self.key)

    def gain(self, a: Record, b: Record) -> Interval:
        """Difference of two records with its paired interval; undefined of a metric that has none, and where they can't
        be paired."""
        if a.task != "multiclass":
            return yardsticks.gain(a, b) if self.key == tables.FIRST_METRIC[a.task] else Interval()
        if not comparison.comparable(a, b):
            return Interval()
        if self.of_class:
            i = b.classes.index(self.of_class)
            return comparison.difference(a, b, lambda matrices: metrics.per_class(matrices)["f1"][..., i])
        if self.key not in OF_BEATS:
            return Interval()
        macro = [b.classes.index(name) for name in b.macro_classes or b.classes]
        return comparison.difference(a, b, lambda matrices: metrics.summary(matrices, macro)[self.key])


def _scores(record: Record, first: str) -> list[Score]:
    """What such records are compared by, the metric of the search first."""
    multiclass = record.task == "multiclass"
    keys = [first, *(OF_BEATS if multiclass else record.metrics)]
    found = [Score(key) for key in dict.fromkeys(keys) if key in record.metrics]
    return found + [Score("f1", name) for name in record.classes if multiclass]


def _alike(*records: Record) -> bool:
    """Whether all were scored on the same recordings, or beats, under the same seeds."""
    scored = [
        (r.data.fingerprint, r.data.n_test, r.data.test_indices_sha256, r.scored, r.seeds, r.classes) for r in records
    ]
    return all(one == scored[0] for one in scored)


def _difference(before: Record, after: Record, score: Score) -> tuple[Interval, str]:
    """The difference, with its interval where records or patients were resampled, and as text; none between what was
    not scored on the same."""
    if not _alike(before, after):
        return Interval(), UNDEFINED
    if (found := score.gain(after, before)).mean is not None:
        return found, tables.signed(found)
    a, b = (None if one is None else one.mean for one in (score.at(after), score.at(before)))
    if a is None or b is None:
        return Interval(), UNDEFINED
    return Interval(mean=a - b), _signed(a - b)


def gains(shown: Shown) -> str:
    """What the best found gains over the base: under the search's own seed, under others, in full, and on the test set,
    where both were scored on the same."""
    if not shown.found:
        return sentence("not run")
    own, rows = shown.search.asked.seed, []
    if shown.of_base is not None and shown.of_base.state == "finished":
        rows.append(_row("validation, as searched", [own], shown.of_base.value, shown.best.value))
    if pairs := _pairs(shown):
        base, best = (float(np.mean([one["value"] for one in part])) for part in zip(*pairs, strict=True))
        rows.append(_row("validation, not seen", [int(one["seed"]) for one, _ in pairs], base, best))
    before, after = shown.records
    if before is not None and after is not None and _alike(before, after):
        values = [_validated(record, shown.metric) for record in (before, after)]
        if None not in values:
            rows.append(_row("validation, reference", before.seeds, *values))
        tested = [record.metrics.get(shown.metric, Interval()) for record in (before, after)]
        if own in before.seeds and len(before.seeds) > 1:
            rows.append(_row("test", [own], *(_under(one, before.seeds, own) for one in tested)))
        rows.append(_row("test", before.seeds, *(one.mean for one in tested)))
    return table(rows)


def _row(what: str, seeds: Sequence[int], base: float | None, best: float | None) -> dict[str, str]:
    gain = UNDEFINED if base is None or best is None else _signed(best - base)
    return {
        "set": what,
        "seeds": ", ".join(map(str, seeds)),
        "base": number(base),
        "best found": number(best),
        "gain": gain,
    }


def _under(value: Interval, seeds: Sequence[int], seed: int) -> float | None:
    """A metric under one of its seeds."""
    return dict(zip(seeds, value.per_seed, strict=False)).get(seed)


def _validated(record: Record, metric: str) -> float | None:
    """A metric on validation of what was kept, mean over the seeds; None of one that records do not hold."""
    if metric in ("macro_f1", "macro_recall"):
        return tables.validated(record, metric)
    if metric != record.selection or (record.twelve_lead is not None and len(record.twelve_lead.folds) > 1):
        return None  # of several folds, a record keeps the training of one
    return tables.mean_of(
        next((one.val_metric for one in run.history if one.epoch == run.best_epoch), None) for run in record.training
    )


def verdict(shown: Shown) -> str:
    """How much of the gain that validation promised the test set kept."""
    if not shown.found:
        return ""
    before, after = shown.records
    if missing := [name for name, one in zip((shown.search.asked.base, shown.search.tuned), shown.records, strict=True)
                   if one is None]:  # fmt: skip
        runs = _listed([f"`ecglib run {name} --profile full`" for name in missing])
        return f"The test set was not read for this yet: {runs} makes the reference result."
    assert before is not None and after is not None
    if not _alike(before, after):
        return f"{link(after, 'The best found')} and {link(before, 'the base')} were not scored on the same recordings."
    scored = shown.metric in before.metrics
    gain, text = _difference(before, after, Score(shown.metric)) if scored else (Interval(), UNDEFINED)
    if gain.mean is None:
        return f"The test set is not scored by {metric_name(shown.metric)}."
    said = f"On the test set the gain of {link(after, 'the best found')} over {link(before, 'the base')} is {text} in "
    said += f"{metric_name(shown.metric)}"
    if gain.low is not None and gain.high is not None and gain.low <= 0 <= gain.high:
        said += "; its interval holds zero, so that it may be chance"
    if each := _promised(shown):
        promised = float(np.mean(each))
        said += f". Validation under seeds not seen promised {_signed(promised)}"
        kept = f"{percent(gain.mean / promised)} of it" if gain.mean > 0 else "none of it"
        said += f"; the test set kept {kept}" if promised > 0 else ""
    base, best = (_validated(one, shown.metric) for one in (before, after))
    if base is not None and best is not None:
        long = f"{_how_long(before.parameters)} (trials: {_how_long(shown.search.base.model_dump())})"
        said += f". In the reference runs, of {long}, the gain on validation is {_signed(best - base)}"
    return f"{said}.{_shared(shown, before, after)}{tables.scorings([before, after])}"


def _how_long(p: Mapping[str, Any]) -> str:
    text = f"at most {p['max_epochs']} epochs"
    if p.get("beats_per_epoch") is not None and "crop_seconds" not in p:  # from whole recordings no beats are drawn
        text += f" of {count(p['beats_per_epoch'])} beats"
    return text + (f" on {count(p['max_records'])} recordings" if p.get("max_records") is not None else "")


def _shared(shown: Shown, before: Record, after: Record) -> str:
    """Where each seed draws what it tests: that the search knew beats which other seeds test, and what is gained
    without these; else empty."""
    p, own = shown.search.base, shown.search.asked.seed
    others = [str(seed) for seed in after.seeds if seed != own]
    if not isinstance(p, HeartbeatParameters) or p.database == "kaggle" or p.train_on or p.of_mitdb or not others:
        return ""
    said = f" Each seed has a split of its own: beats tested under {_listed(others)} were in the training or "
    said += "validation part by which the search chose the parameters."
    base, best = (_under(one.metrics.get(shown.metric, Interval()), one.seeds, own) for one in (before, after))
    if base is None or best is None or p.max_beats is not None:  # of fewer beats the search's split is another one
        return said
    return f"{said} Under its own seed alone, {own}, the gain on the test set is {_signed(best - base)}."


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")
