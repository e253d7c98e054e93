"""Tables of result records as Markdown pipe tables.

Both renderers of the book, Quarto and Pandoc, read them: pipe tables, and spans and fenced divs with classes, are all
that is used. One format throughout: a metric is `0.937 [0.921, 0.950]` (mean over the seeds and the 95 % interval of
that mean), an undefined value is `–`, counts have narrow spaces between thousands. Numbers of the
embedded sample and others never share a table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from ecglib import aami, config, paths
from ecglib.errors import UserError
from ecglib.evaluation import metrics as metrics_of
from ecglib.evaluation.bootstrap import Interval
from ecglib.experiment import record as results
from ecglib.experiment.record import Record
from ecglib.report.names import ANSWERS, NOT_RUN, UNDEFINED, metric_name, sentence

if TYPE_CHECKING:
    from ecglib.data.beats import Beats

SAMPLE: Final = "[embedded sample]{.sample}"
OF_SAMPLE: Final = (
    "Of each record of `mitdb` it holds five minutes, chosen for their ectopic beats, of the others a few records: "
    "enough to see everything at work, too little to judge a network by."
)
HOLDS_MOST_S: Final = "232"
"""The record of DS2 without which S is scored again, as it holds most beats of that class."""
FIRST_METRIC: Final = {"multiclass": "macro_f1", "binary": "auroc", "multilabel": "macro_auroc"}
"""The metric that stands for a result of each task."""

_TEXT_COLUMNS = frozenset({
    "experiment", "set", "protocol", "imbalance", "seeds", "profile", "class", "result", "this network is", "metric",
    "ectopy", "records", "parameter", "circumstance", "value", "model", "source", "known flaw", "what", "aim",
    "hardware", "record", "for", "measured on", "tried", "ours", "not as by default", "classes", "trained on", "lead",
    "how it is drawn", "base", "best found", "seed", "epochs",
})  # fmt: skip
_PER_CLASS = ("se", "ppv", "f1", "specificity")
_EC57 = ("se", "ppv", "fpr", "f1")


def number(value: float | None, digits: int = 3) -> str:
    """A value with a fixed number of digits after the point, or `–` where it is None or not finite."""
    if value is None or not np.isfinite(value):
        return UNDEFINED
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def count(n: float) -> str:
    """A count, rounded, with narrow no-break spaces between thousands (`72 470`)."""
    return f"{round(n):,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def interval(value: Interval | Mapping[str, Any] | None) -> str:
    """`mean [low, high]`; the mean alone where no interval is known; `–` where the value is undefined.

    The space within the brackets doesn't break, so that in a narrow column the interval stands below the mean.
    """
    value = _as_interval(value)
    if value.mean is None or value.low is None or value.high is None:
        return number(value.mean)
    return f"{number(value.mean)} [{number(value.low)},\N{NO-BREAK SPACE}{number(value.high)}]"


def signed(value: Interval) -> str:
    """A difference with its sign, and its interval."""
    if value.mean is None or value.low is None or value.high is None:
        return UNDEFINED
    text = f"{value.mean:+.3f} [{value.low:+.3f},\N{NO-BREAK SPACE}{value.high:+.3f}]"
    return text.replace("-", "\N{MINUS SIGN}")


def told_apart(difference: Interval) -> str:
    """What a difference says of the first, by its interval; undecided where there is none."""
    if difference.low is None or difference.high is None or difference.low <= 0 <= difference.high:
        return "not told apart from it"
    return "better" if difference.low > 0 else "worse"


def scores(values: Mapping[str, Interval | Mapping[str, Any]], keys: Iterable[str]) -> dict[str, str]:
    """Cells of a row: metric's name -> its value with interval."""
    return {metric_name(key): interval(values.get(key)) for key in keys}


def mean(value: Interval | Mapping[str, Any] | None) -> str:
    """The mean alone of a value that has an interval."""
    return number(_as_interval(value).mean)


def mean_of(values: Iterable[float | None]) -> float | None:
    """The mean of those values that are defined."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def rests_on(records: Sequence[Record], **facts: Callable[[Record], object]) -> str:
    """What several results rest on: profiles and seeds, then each fact's values, underscores of its name as spaces."""
    values = {"profile": [r.profile for r in records], "seeds": [_listed(r.seeds) for r in records]}
    values |= {name.replace("_", " "): [str(of(r)) for r in records] for name, of in facts.items()}
    return "; ".join(f"{name} {' or '.join(sorted(set(said)))}" for name, said in values.items())


def unit(record: Record) -> str:
    """What a result counts: recordings where they are known and what is diagnosed, else beats."""
    return "beats" if record.task == "multiclass" or record.data.name == "kaggle" else "recordings"


def support(record: Record) -> dict[str, float]:
    """Scored beats per true class, mean over the seeds."""
    matrices = np.asarray(record.confusion, dtype=float)
    multilabel = record.task == "multilabel"  # a row is tn, fp, fn, tp of a label
    rows = (matrices[..., 2:] if multilabel else matrices).sum(2).mean(0)
    return dict(zip(record.classes, rows.tolist(), strict=True))


def refuse_mixture(records: Iterable[Record]) -> None:
    """Raise ValueError when some of the records rest on the sample and others do not."""
    if len({record.data.sample for record in records}) > 1:
        raise ValueError("numbers of the sample never share a table with others: give one kind at a time")


def per_class(record: Record, keys: Sequence[str] = _PER_CLASS) -> str:
    """One class against the rest: scores with intervals (`se`, `ppv`, `f1`, `specificity`, `auroc`, `auprc`), and the
    class's scored beats."""
    n, counted = support(record), unit(record)
    rows = [{"class": name, **scores(record.per_class[name], keys), counted: count(n[name])} for name in record.classes]
    return _of_one(record, table(rows))


def without(record: Record, left_out: str, name: str) -> float | None:
    """F1 of one class over all test records but one, mean over the seeds."""
    kept = [np.array(matrices) for other, matrices in record.by_record.items() if other != left_out]
    if not kept:
        return None
    values = metrics_of.per_class(np.sum(kept, axis=0))["f1"][:, record.classes.index(name)]
    return None if np.isnan(values).all() else float(np.nanmean(values))


def suggested_by_test(record: Record) -> bool:
    """Whether the features of a result were changed because of `HOLDS_MOST_S`, a record that it is tested on."""
    p = record.parameters
    return p.get("cut") == "relative" and results.from_ds1(p) and HOLDS_MOST_S in record.by_record


def headline(records: Mapping[str, Record]) -> str:
    """The table on the book's first page: one row per model and answer to imbalance on `mitdb`, the protocols side by
    side.

    `records`: experiment's name (`heartbeat/baseline`) -> record. Thresholds moved are an answer, of the record that
    holds that decision too. Each macro-F1 links to its experiment's page, from the project root. Of several results of
    a model, the one that is best on validation is shown. Profile and seeds stand above the table. ValueError where
    records of the sample and others are mixed.
    """
    records = {name: r for name, r in records.items() if r.task == "multiclass" and r.data.name == "mitdb"}
    if not records:
        return table([{"model": NOT_RUN}])  # a caption needs its table
    refuse_mixture(records.values())
    groups: dict[tuple[str, str], dict[str, tuple[str, Record]]] = {}
    for name, record in ((name, one) for name, both in records.items() for one in results.decisions(both)):
        protocol, imbalance = (str(record.parameters.get(key, UNDEFINED)) for key in ("protocol", "imbalance"))
        mine = groups.setdefault((model_name(record), imbalance), {})
        known = mine.setdefault(protocol, (name, record))
        if (validated(record) or 0.0) > (validated(known[1]) or 0.0):
            mine[protocol] = name, record
    rows = []
    for (model, imbalance), found in sorted(groups.items(), key=lambda item: [*ANSWERS, UNDEFINED].index(item[0][1])):
        by_class = found["inter"][1].per_class if "inter" in found else {}
        rare = {f"inter: {name} F1": mean(by_class.get(name, {}).get("f1")) for name in "SV"}
        one = without(found["inter"][1], HOLDS_MOST_S, "S") if "inter" in found else None
        rare |= {f"inter: S F1 without {HOLDS_MOST_S}": number(one)}
        scored = {f"{p}: macro-F1": _linked(*found[p]) if p in found else UNDEFINED for p in ("intra", "inter")}
        rows.append({"model": model, "imbalance": imbalance, **scored, **rare})
    said = sorted({f"profile *{r.profile}*, seeds {_listed(r.seeds)}" for r in records.values()})
    text = f"All results: {'; or '.join(said)}.{scorings(records.values())}"
    if any(map(suggested_by_test, records.values())):
        text += " What `ecgnet` and the random forest take for usual in a record was suggested by record "
        text += f"{HOLDS_MOST_S}, which is in DS2."
    return with_mark(next(iter(records.values())), f"{text}\n\n{table(rows)}")


def variant(record: Record) -> str:
    """In what a result's network is not as its model's file defaults, in words; empty where it is.

    What our own models are given belongs to the protocol, and counts as their default, as do the weights of the forest.
    What a search found is called tuned: it differs in too much to list.
    """
    if record.experiment.endswith(config.TUNED):
        return "tuned"
    p = record.parameters
    if p.get("model") in ("ecgnet", "random_forest"):
        return ""
    said = [f"{name.replace('_', ' ')} {value}" for name, value in (p.get("model_options") or {}).items()]
    said += [f"label smoothing {p['label_smoothing']}"] if p.get("label_smoothing") else []
    alone = ["one beat at a time"] if p.get("beats_per_sequence") == 1 and _takes_sequences(record) else []
    return ", ".join([*alone, *said])


def reads_neighbours(record: Record) -> bool:
    """Whether a result's network reads more than one beat at a time."""
    return _takes_sequences(record) and record.parameters.get("beats_per_sequence") != 1


def _takes_sequences(record: Record) -> bool:
    from ecglib.models import registry

    entry = registry.ENTRIES.get(record.parameters.get("model", ""))
    return entry is not None and entry.takes == "sequence"


def model_name(record: Record) -> str:
    """A result's model, and in what it is not as its file defaults; of the forest, that it weighs its classes."""
    balanced = (record.parameters.get("model_options") or {}).get("balanced")
    said = variant(record) or ("balanced" if balanced else "")
    return f"`{record.parameters.get('model', UNDEFINED)}`" + (f", {said}" if said else "")


def scorings(records: Iterable[Record]) -> str:
    """A sentence: how often DS2 had been scored when the last of these results was computed; empty without DS2."""
    times = [_computed(r) for r in records if results.on_ds2(r.parameters)]
    if not times:
        return ""
    until = max(times)
    return f" By {until[:10]} DS2 had been scored {test_reads(until=until)} times, by every model and in every profile."


def _computed(record: Record) -> str:
    """When the last of its decisions was."""
    first = record.evaluated.get("created") or record.created
    return first if record.moved is None else max(first, record.moved.created)


def validated(record: Record, metric: str = "macro_f1") -> float | None:
    """Validation macro-F1, or macro recall, of what was kept, mean over the seeds; None after a refit, which has learnt
    those beats."""
    recall = metric == "macro_recall"
    return mean_of(run.validation_recall if recall else run.validation for run in record.training)


def _linked(name: str, record: Record) -> str:
    """Macro-F1 with its interval, the mean a link to the page."""
    mean, *rest = interval(record.metrics.get("macro_f1")).split(" ", 1)
    return " ".join([f"[{mean}](book/experiments/{name}.ipynb)", *rest])


def metrics(record: Record) -> str:
    """The metrics of one result with their intervals, an inter-patient result's without record 202 as well."""
    values = {metric_name(key): value for key, value in record.metrics.items()}
    values |= {f"{metric_name(key)}, without 202": v for key, v in record.without_202.get("metrics", {}).items()}
    return _of_one(record, table([{"metric": name, "score": interval(value)} for name, value in values.items()]))


def box(reference: Record | None, record: Record) -> str:
    """What stands in front of a page without a reference result, whose `record` is that of a run made here; empty where
    there is one."""
    if reference is not None:
        return ""
    said = f"What follows is of the run made here, and is no result that the project stands for: {in_brief(record)}."
    said += f" {OF_SAMPLE}" if record.data.sample else ""
    return f'::: {{.callout-warning title="No reference result yet"}}\n{said}\n:::\n\n'


def in_brief(record: Record) -> str:
    """A run in a few words: how much was run, and the metric that stands for its task."""
    said = [record.profile, "one seed" if len(record.seeds) == 1 else f"{count(len(record.seeds))} seeds"]
    said += [f"the {SAMPLE}"] if record.data.sample else []
    said += [f"{_listed([f'`{name}`' for name in record.overridden])} changed"] if record.overridden else []
    said += ["on the validation set"] if record.scored != "test" else []
    key = FIRST_METRIC[record.task]
    return f"{', '.join(said)}, {metric_name(key)} {interval(record.metrics.get(key))}"


def moved(record: Record) -> str:
    """The decision with thresholds moved, in short: three metrics and each class's F1."""
    decided = results.with_thresholds_moved(record)
    if decided is None:
        return "No thresholds were moved in this experiment."
    shown = {key: decided.metrics[key] for key in ("macro_f1", "macro_recall", "accuracy")}
    shown |= {f"{name} F1": decided.per_class[name]["f1"] for name in record.macro_classes or record.classes}
    return metrics(decided.model_copy(update={"metrics": shown, "without_202": {}}))


def parameters(record: Record, idle: AbstractSet[str] = frozenset()) -> str:
    """Every parameter and its value; one that the command line changed says so, and so does one of those that meant
    nothing with the others as they were."""
    marks = dict.fromkeys(idle, " *(of no effect)*") | dict.fromkeys(record.overridden, " **(overridden)**")
    shown = {name: _value(value) + marks.get(name, "") for name, value in record.parameters.items()}
    return table([{"parameter": f"`{name}`", "value": value} for name, value in shown.items()])


def hardware(noted: str) -> str:
    """The processor, and how many threads trained on it, as a record notes them."""
    return re.sub(r"\b1 threads\b", "1 thread", noted)


def circumstances(record: Record, fresh: Record | None = None) -> str:
    """What the numbers rest on: data, sets, beats left out, seeds and epochs, machine, versions, time, commit; and the
    same experiment as run here, where that is another run; of the sample, in a box of its own."""
    data, drawn = record.data, record.intervals
    commit, _, changed = record.commit.partition("-")
    excerpts = [SAMPLE + f" of {name}" * (name != data.name) for name in data.of_sample]
    facts = {
        "data": _escaped(data.name) + (f" ({', '.join(excerpts)})" if excerpts else ""),
        "fingerprint": f"`{data.fingerprint[:12]}`",
        unit(record): f"training {count(data.n_train)}, validation {count(data.n_val)}, test {count(data.n_test)}",
        f"{unit(record)} left out": _listed([f"{_escaped(why)} {count(n)}" for why, n in data.left_out.items()]),
        "records set aside": _listed([f"{name}: {_escaped(why)}" for name, why in data.records_left_out.items()]),
        "profile": record.profile,
        "seeds": _listed(record.seeds),
        "epoch chosen": _chosen_epochs(record),
        "intervals": f"95 %, {count(drawn.n)} resamples by {drawn.unit}" if drawn.n else UNDEFINED,
        "precision": record.precision,
        "hardware": _escaped(f"{hardware(record.hardware)} ({record.device})"),
        "versions": _listed([f"{name} {version}" for name, version in record.versions.items()]),
        "training time": duration(record.train_seconds),
        "commit": f"`{commit[:12]}`{', and changes since' if changed else ''}" if commit else UNDEFINED,
        "created": record.created,
    }
    if results.on_ds2(record.parameters):
        until = _computed(record)
        mine = test_reads(str(record.parameters.get("model", "")), until=until)
        facts["readings of the test set"] = f"{test_reads(until=until)} until then, of them {mine} by this model"
    facts["recipe"] = _listed([f"{stage} {number}" for stage, number in record.recipe.items()])
    if record.verified:
        facts["verified"] = _escaped(verified(record.verified))
    aside = ""
    if fresh is not None and (fresh.created, fresh.profile) != (record.created, record.profile):
        if fresh.data.sample:
            said = f"The same experiment: {in_brief(fresh)}. {OF_SAMPLE}"
            aside = f'\n\n::: {{.callout-note title="Repeated here"}}\n{said}\n:::'
        else:
            facts["repeated here"] = in_brief(fresh)
    return table([{"circumstance": what, "value": value} for what, value in facts.items()]) + aside


def verified(found: dict[str, Any]) -> str:
    """What `ecglib verify` found, in one line."""
    said = f"data {'as recorded' if not found['moved'] else ', '.join(found['moved']) + ' moved'}"
    if not found["epochs"]:
        return f"{said}; no history to train again"
    losses = (("train_loss", "training"), ("val_loss", "validation"))
    off = ", ".join(f"{what} loss {100 * found[name]:.2g} %" for name, what in losses if found[name] is not None)
    above = "" if found["holds"] or found["moved"] else ", above the tolerance"
    return f"{said}; first {found['epochs']} epochs in {found['precision']} within {off}{above}"


def ec57(record: Record) -> str:
    """EC57's VEB and SVEB scores: Se, +P, FPR and F1, with and without record 202, the patient of 201 in DS1."""
    sets = {"all": record.ec57, "without 202": record.without_202.get("ec57", {})}
    shown = [(name, which) for name in ("VEB", "SVEB") for which, found in sets.items() if name in found]
    rows = [{"ectopy": name, "records": which, **scores(sets[which][name], _EC57)} for name, which in shown]
    return _of_one(record, table(rows)) if rows else "No VEB and SVEB scores in this result."


def counts(sets: Mapping[str, Mapping[str, int]]) -> str:
    """Beats by set and class: set -> class -> beats."""
    return table([{"set": name, **{cls: count(n) for cls, n in row.items()}} for name, row in sets.items()])


def cut_counts(beats: Beats, published: Mapping[str, int]) -> str:
    """Beats of a cut by class, those left out by reason, and the published counts (class -> beats) beside them; none
    where there is nothing to compare with, as for the sample."""
    ours = np.bincount(beats.labels, minlength=len(aami.CLASSES))
    here = dict(zip(aami.CLASSES, ours.tolist(), strict=True)) | {"all": len(beats)}
    here |= {f"left out: {why}": n for why, n in beats.left_out.items()}
    theirs = {name: count(n) for name, n in {**published, "all": sum(published.values())}.items()}
    rows = [{"class": name, "beats here": count(n)} for name, n in here.items()]
    return table([row | {"published": theirs.get(row["class"], "")} for row in rows] if published else rows)


def with_mark(record: Record, text: str) -> str:
    return f"Of the {SAMPLE}:\n\n{text}" if record.data.sample else text


def _of_one(record: Record, text: str) -> str:
    """A table of this record alone, under the set that was scored where that is not the test set."""
    return with_mark(record, text if record.scored == "test" else f"On the validation set:\n\n{text}")


def _as_interval(value: Interval | Mapping[str, Any] | None) -> Interval:
    return value if isinstance(value, Interval) else Interval.model_validate(value or {})


def _chosen_epochs(record: Record) -> str:
    if record.infarction is not None and record.infarction.epochs:
        return f"{count(record.infarction.epochs)} in every fold, fixed beforehand"
    if not any(run.history for run in record.training):
        strengths = [f"seed {run.seed}: {run.strength:g}" for run in record.training if run.strength is not None]
        return "fitted at once" + (f"; penalty by validation, {_listed(strengths)}" if strengths else "")
    runs = [
        f"seed {run.seed}: {run.best_epoch} of {run.epochs_run}{' (stopped early)' if run.stopped_early else ''}"
        for run in record.training
    ]
    return _listed(runs) + (f"; by {metric_name(record.selection)} on validation" if record.selection else "")


def test_reads(model: str | None = None, *, until: str) -> str:
    """How often DS2 had been scored, by the log that every scoring adds a line to; of one model where one is named.

    It counts until a time as records note it, `2026-01-31T12:00:00Z`: a result tells the scorings before it was
    computed, so that later ones leave its page as it is. UserError where a line of the log can't be read.
    """
    known = [entry for entry in logged(paths.test_reads()) if str(entry.get("time", "")) <= until]
    return count(sum(model is None or entry.get("model") == model for entry in known))


def logged(path: Path) -> list[dict[str, Any]]:
    """The lines of a log of scorings, none where there is no such file; UserError where one can't be read."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    try:
        return [dict(json.loads(line)) for line in lines if line.strip()]
    except (ValueError, TypeError):
        raise UserError(path, "a line that is no JSON object", "one per scoring", "restore it from git") from None


def duration(seconds: float) -> str:
    """A time in its two largest units."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _listed(items: Sequence[object]) -> str:
    return ", ".join(str(item) for item in items) or UNDEFINED


def _value(value: object) -> str:
    said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return UNDEFINED if value in (None, "") else f"`{said}`"


def _escaped(text: str) -> str:
    """Free text in a table cell: the signs that Markdown would take for its own."""
    return " ".join(re.sub(r"[\\`*_\[\]<>$@]", r"\\\g<0>", text).split())


def table(rows: Iterable[Mapping[str, str]]) -> str:
    """A pipe table: columns of text to the left, columns of numbers to the right; without rows, that it was not run."""
    escaped = [{title: cell.replace("|", "\\|") for title, cell in row.items()} for row in rows]
    if not escaped:
        return sentence(NOT_RUN)
    frame = pd.DataFrame(escaped).fillna(UNDEFINED)
    align = ["left" if column in _TEXT_COLUMNS else "right" for column in frame.columns]
    return str(frame.to_markdown(index=False, tablefmt="pipe", colalign=align, disable_numparse=True))
