"""Reference results side by side: the tables of the chapters that compare. They read records and train nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ecglib import aami, config
from ecglib.data import beats
from ecglib.evaluation import metrics
from ecglib.evaluation.bootstrap import Interval
from ecglib.experiment import comparison
from ecglib.experiment import record as results
from ecglib.experiment.record import Record
from ecglib.models import registry
from ecglib.report import tables
from ecglib.report.names import ANSWERS, NOT_RUN, PROTOCOLS, UNDEFINED
from ecglib.report.tables import count, interval, mean, number, scores, table

HOLDS_MOST_S: Final = "232"
"""The record of DS2 without which S is scored again, as it holds most beats of that class."""


def beat_results(every: Mapping[str, Record] | None = None) -> list[Record]:
    """The reference results of beat classifiers, or those of `every`, in order of the registry and of `ANSWERS`.

    One whose thresholds were moved, and that was all, stands there a second time as it is with that decision.
    """
    every = results.references(notebook="heartbeat") if every is None else every
    models, answers = list(registry.OF_BEATS), list(ANSWERS)
    mine = [record for name, record in every.items() if name.startswith("heartbeat/")]
    found = [one for record in mine for one in results.decisions(record)]
    return sorted(
        found,
        key=lambda r: (
            models.index(r.parameters["model"]) if r.parameters["model"] in models else len(models),
            answers.index(r.parameters["imbalance"]),
            r.experiment,
        ),
    )


def of(records: Iterable[Record], **parameters: Any) -> list[Record]:
    """The records with these values of their parameters."""
    return [r for r in records if all(r.parameters.get(name) == value for name, value in parameters.items())]


def plain(records: Iterable[Record], **parameters: Any) -> Record | None:
    """A model's result with nothing done about the imbalance and no option changed, or None."""
    return next((r for r in of(records, imbalance="none", **parameters) if not tables.variant(r)), None)


def architectures(records: Sequence[Record], protocol: str) -> str:
    """Every model under one protocol: its plain results, and of those with an answer to the imbalance the one that is
    best on validation. A model without a plain one, or without any answer, says so."""
    rows = []
    for model in registry.OF_BEATS:
        mine = of(records, model=model, protocol=protocol)
        unanswered = of(mine, imbalance="none")
        answered = best([r for r in mine if r.parameters["imbalance"] != "none"], protocol)
        rows += [
            {"model": link(r, tables.model_name(r)), **_scores(r)} for r in (*unanswered, answered) if r is not None
        ]
        missing = [] if unanswered else [ANSWERS["none"]]
        missing += ["any answer"] if answered is None else []
        if missing:
            rows.append({"model": f"`{model}`", "imbalance": ", ".join(missing), "macro-F1": NOT_RUN})
    return table(rows)


def _scores(record: Record) -> dict[str, str]:
    values = {"imbalance": ANSWERS[record.parameters["imbalance"]]}
    values |= scores(record.metrics, ("macro_f1", "macro_recall"))
    if record.without_202:
        values["macro-F1 without 202"] = mean(record.without_202["metrics"]["macro_f1"])
        values["macro-F1 (N, S, V)"] = mean(record.metrics.get("macro_f1_nsv"))
    rare = [name for name in record.macro_classes if name != "N"]
    values |= {f"{name} F1": mean(record.per_class[name]["f1"]) for name in rare}
    if HOLDS_MOST_S in record.by_record and record.parameters["protocol"] != "intra":
        values[f"S F1 without {HOLDS_MOST_S}"] = number(without(record, HOLDS_MOST_S, "S"))
    return values


def without(record: Record, left_out: str, name: str) -> float | None:
    """F1 of one class over all test records but one, mean over the seeds."""
    kept = [np.array(matrices) for other, matrices in record.by_record.items() if other != left_out]
    if not kept:
        return None
    values = metrics.per_class(np.sum(kept, axis=0))["f1"][:, record.classes.index(name)]
    return None if np.isnan(values).all() else float(np.nanmean(values))


def circumstances(records: Sequence[Record], *protocols: str) -> str:
    """What the results under these protocols rest on, how often DS2 was scored where it was."""
    mine = [r for r in records if r.parameters["protocol"] in protocols]
    if not mine:
        return ""
    said = tables.rests_on(
        mine, precision=lambda r: r.precision, epochs_at_most=lambda r: r.parameters.get("max_epochs")
    )
    return f"Real `{mine[0].data.name}`; {said}.{tables.scorings(mine)}"


def adapted(records: Sequence[Record]) -> str:
    """What a patient's first minutes are worth: the same networks before and after, on the same beats."""
    rows = []
    for after in of(records, protocol="adapted"):
        before = after.model_copy(update=after.unadapted)
        gained = comparison.difference(after, before, macro_f1(after))
        row = {"model": link(after), "macro-F1": interval(after.metrics["macro_f1"]), "gain": signed(gained)}
        for name in "SV":
            old, new = (mean(one["f1"]) for one in (after.unadapted["per_class"][name], after.per_class[name]))
            row[f"{name} F1"] = f"{old} → {new}"
        old, new = (number(without(one, HOLDS_MOST_S, "S")) for one in (before, after))
        rows.append(row | {f"S F1 without {HOLDS_MOST_S}": f"{old} → {new}"})
    return table(rows)


def paired(records: Sequence[Record], model: str, protocol: str) -> str:
    """Every plain model against one, on the same beats: the difference in macro-F1, and McNemar's p."""
    base = plain(records, model=model, protocol=protocol)
    rows = []
    for name in registry.OF_BEATS:
        other = plain(records, model=name, protocol=protocol)
        if base is None or other is None or other is base or not comparison.comparable(other, base):
            continue
        difference, p = _against(other, base)
        rows.append({"model": link(other), f"macro-F1, difference to {model}": difference, "McNemar p": p})
    return table(rows)


def tuned(records: Sequence[Record]) -> str:
    """In what each plain result's training differs from the defaults, by model."""
    rows = []
    fields = config.HeartbeatParameters.model_fields
    names = ("leads", "cut", "sampling", "beats_per_epoch", *config.OF_NETWORKS)
    for model in registry.OF_BEATS:
        for protocol in ("intra", "inter", "adapted"):
            for record in of(records, model=model, protocol=protocol, imbalance="none"):
                p = record.parameters
                own = [f"{n}: {p[n]}" for n in names if n in p and p[n] != fields[n].get_default()]
                own += [f"{n}: {value}" for n, value in p.get("model_options", {}).items()]
                head = {"model": link(record), "protocol": PROTOCOLS[protocol]}
                rows += [{**head, "not as by default": ", ".join(f"`{one}`" for one in own)}] if own else []
    return table(rows)


def costs(records: Sequence[Record]) -> str:
    """Size and training time of every model with nothing done about the imbalance."""
    rows = []
    for model, entry in registry.OF_BEATS.items():
        found = [r for protocol in ("intra", "inter") if (r := plain(records, model=model, protocol=protocol))]
        rows += [{"model": link(r), "protocol": PROTOCOLS[r.parameters["protocol"]], **_cost(r)} for r in found]
        if not found:
            size = UNDEFINED if entry.classical or entry.reads_features else count(_size(model))
            rows.append({"model": f"`{model}`", "protocol": NOT_RUN, "parameters": size})
    return table(rows)


def _size(model: str) -> int:
    return registry.n_parameters(registry.build(model, 1, beats.KACHUEE_SAMPLES, len(aami.CLASSES)))


def _cost(record: Record) -> dict[str, str]:
    """Of a network, an epoch's seconds are the median over its training, so that a pause in one doesn't count."""
    trained = [run for run in record.training if run.history]
    seconds = sum(len(one.history) * float(np.median([e.seconds for e in one.history])) for one in trained)
    shown = sum(one.epochs_run * one.examples_per_epoch for one in trained)
    return {
        "parameters": count(record.n_parameters),
        "seconds a seed": count((seconds or record.train_seconds) / len(record.seeds)),
        "beats/s in training": count(shown / seconds) if shown else UNDEFINED,
        "precision": record.precision,
        "hardware": tables.hardware(record),
    }


def resampled(records: Sequence[Record], models: Sequence[str], answer: str) -> str:
    """Precision, recall and F1, overall (macro) and by class, of models without and with one answer, intra-patient.

    Where the answer asks for another form of a model, that form stands without it too, so that like meets like.
    """
    rows = []
    for model in models:
        mine = of(records, model=model, protocol="intra")
        answered = next(iter(of(mine, imbalance=answer)), None)
        alike = "" if answered is None else tables.variant(answered)
        wanted = {f"`{model}`": plain(mine)}
        if answered is not None and alike:
            own = (r for r in of(mine, imbalance="none") if tables.variant(r) == alike)
            wanted[tables.model_name(answered)] = next(own, None)
        for name, imbalance, record in (
            *((name, "none", record) for name, record in wanted.items()),
            (list(wanted)[-1], answer, answered),
        ):
            head = {"model": name, "imbalance": ANSWERS[imbalance]}
            if record is None:
                rows.append({**head, "class": "all", "precision": NOT_RUN})
            else:
                rows += [{**head, **row} for row in _report(record)]
    return table(rows)


def _report(record: Record) -> list[dict[str, str]]:
    names = {"precision": "ppv", "recall": "se", "F1": "f1"}
    parts = [record.per_class[name] for name in record.macro_classes]
    whole = {title: number(tables.mean_of(p[key].mean for p in parts)) for title, key in names.items()}
    by_class = [
        {"class": name, **{title: mean(record.per_class[name][key]) for title, key in names.items()}}
        for name in record.macro_classes
    ]
    return [{"class": "all", **whole}, *by_class]


# --- imbalance --------------------------------------------------------------------------------------------------------


def imbalance(records: Sequence[Record], model: str, protocol: str) -> str:
    """Every answer to imbalance on one model: scores, and what it gains over doing nothing."""
    mine = [r for r in of(records, model=model, protocol=protocol) if not tables.variant(r)]
    nothing = plain(mine)
    rows = []
    for answer, name in ANSWERS.items():
        found = of(mine, imbalance=answer)
        if not found:
            rows.append({"imbalance": name, "macro-F1": NOT_RUN})
        rows += [{**_scores(r), "imbalance": link(r, name), **_gain(r, nothing)} for r in found]
    return table(rows)


def _gain(record: Record, nothing: Record | None) -> dict[str, str]:
    """The paired difference in macro-F1, and the median of the seeds' McNemar p.

    Only where nothing but the answer differs: the same beats, and the same training.
    """
    if (
        nothing is None
        or nothing is record
        or not comparison.comparable(record, nothing)
        or _differ(record, nothing, "imbalance")
    ):
        return {"gain": UNDEFINED, "McNemar p": UNDEFINED}
    gained, p = _against(record, nothing)
    return {"gain": gained, "McNemar p": p}


def _against(record: Record, other: Record) -> tuple[str, str]:
    """The paired difference in macro-F1 to a comparable record, and the median of the seeds' McNemar p."""
    difference = comparison.difference(record, other, macro_f1(record))
    return signed(difference), _p(float(np.median(comparison.mcnemar(record, other).p)))


def _differ(a: Record, b: Record, switch: str) -> bool:
    """Whether parameters differ other than `switch` (`imbalance`, `protocol`) and what belongs to it."""
    own = {switch, "bootstrap", "device", "in_book"}
    own |= {name for name, (other, _) in config.ONLY_WITH.items() if other == switch}
    names = (a.parameters.keys() | b.parameters.keys()) - own
    return any(a.parameters.get(name) != b.parameters.get(name) for name in names)


def macro_f1(record: Record) -> comparison.Metric:
    """Macro-F1 over the classes that the record's protocol averages over, of confusion matrices."""
    classes = [record.classes.index(name) for name in record.macro_classes]
    return lambda matrices: metrics.summary(matrices, classes)["macro_f1"]


def signed(value: Interval) -> str:
    """A difference with its sign, and its interval."""
    if value.mean is None or value.low is None or value.high is None:
        return UNDEFINED
    space = "\N{NO-BREAK SPACE}"
    return f"{value.mean:+.3f} [{value.low:+.3f},{space}{value.high:+.3f}]".replace("-", "\N{MINUS SIGN}")


def told_apart(difference: Interval) -> str:
    """What a difference says of the first, by its interval; undecided where there is none."""
    if difference.low is None or difference.high is None or difference.low <= 0 <= difference.high:
        return "not told apart from it"
    return "better" if difference.low > 0 else "worse"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else number(p)


# --- what the split is worth ------------------------------------------------------------------------------------------


def gap_by_class(records: Sequence[Record]) -> str:
    """F1 of each class under both protocols, and the difference, of every model whose parameters are the same under
    both."""
    rows = []
    for model in registry.OF_BEATS:
        intra, inter = (plain(records, model=model, protocol=p) for p in ("intra", "inter"))
        if intra is not None and inter is not None and _differ(intra, inter, "protocol"):
            continue
        if intra is None or inter is None:
            rows.append({"model": f"`{model}`", "class": "all", "intra-patient": NOT_RUN if intra is None else "",
                         "inter-patient": NOT_RUN if inter is None else ""})  # fmt: skip
            continue
        for name in inter.macro_classes:
            a, b = intra.per_class[name]["f1"].mean, inter.per_class[name]["f1"].mean
            rows.append({
                "model": f"`{model}`",
                "class": name,
                "intra-patient": interval(intra.per_class[name]["f1"]),
                "inter-patient": interval(inter.per_class[name]["f1"]),
                "lost": number(a - b) if a is not None and b is not None else UNDEFINED,
            })  # fmt: skip
    return table(rows)


def gap_by_record(records: Sequence[Record], model: str) -> list[dict[str, Any]]:
    """Of every record of DS2: beats of each class, and the share classified right under both protocols."""
    found = [plain(records, model=model, protocol=p) for p in ("intra", "inter")]
    if any(record is None or not record.by_record for record in found):
        return []
    intra, inter = (record.by_record for record in found if record is not None)
    rows = []
    for name in sorted(inter):
        counts = np.array(inter[name][0]).sum(1)
        rows.append({
            "record": name,
            **dict(zip(aami.CLASSES, counts.tolist(), strict=True)),
            "intra": _right(intra[name]) if name in intra else np.nan,
            "inter": _right(inter[name]),
        })  # fmt: skip
    return rows


def _right(matrices: Sequence[Sequence[Sequence[int]]]) -> float:
    whole = np.array(matrices)
    return float(np.trace(whole.sum(0)) / whole.sum())


def by_record_table(rows: Sequence[Mapping[str, Any]], most: int = 10) -> str:
    """The records with the largest gap between the protocols."""
    worst = sorted(rows, key=lambda row: row["inter"] - row["intra"])[:most]
    return table([
        {
            "record": f"`{row['record']}`",
            **{name: count(row[name]) for name in aami.CLASSES},
            "right, intra": number(row["intra"]),
            "right, inter": number(row["inter"]),
        }
        for row in worst
    ])  # fmt: skip


def effective_patients(counts: Mapping[str, NDArray[np.int64]]) -> str:
    """How many equal records each class's beats would come from: Kish's effective size of the counts by record.

    Parameters
    ----------
    counts
        Class -> its beats in each record of the test set, `(records,)`.
    """
    rows = []
    for name, n in counts.items():
        total = int(n.sum())
        rows.append({
            "class": name,
            "beats": count(total),
            "records with any": count(int((n > 0).sum())),
            "share of the largest": f"{n.max() / total:.0%}" if total else UNDEFINED,
            "effective number of records": number(_kish(n), 1),
        })  # fmt: skip
    return table(rows)


def best(records: Sequence[Record], protocol: str, metric: str = "macro_f1", least_f1: float = 0.0) -> Record | None:
    """Our best result under a protocol, best on validation. The test set chooses nothing.

    Macro recall is maximised over what has a validation macro-F1 of `least_f1`; for all else macro-F1 decides.
    """
    ranked = tables.validated_recall if metric == "macro_recall" else tables.validated
    good = [r for r in of(records, protocol=protocol) if (tables.validated(r) or 0.0) >= least_f1]
    scored = [(value, r) for r in good if (value := ranked(r)) is not None]
    return max(scored, key=lambda pair: pair[0])[1] if scored else None


def link(record: Record, text: str = "") -> str:
    """A link from one executed page to another."""
    model = record.parameters["model"]
    text = text or (f"{record.title.split(',')[0]}" if record.title else model)
    return f"[{text}](../{record.experiment}.ipynb)"


def _kish(n: NDArray[np.int64]) -> float | None:
    return float(n.sum()) ** 2 / float((n.astype(np.float64) ** 2).sum()) if n.any() else None


def counts_by_record(rows: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[np.int64]]:
    """Class -> its beats in each record, of the rows of `gap_by_record`; classes without a beat are left out."""
    counts = {name: np.array([row[name] for row in rows], dtype=np.int64) for name in aami.CLASSES}
    return {name: n for name, n in counts.items() if n.sum()}
