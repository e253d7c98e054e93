"""Reference results side by side: the tables of the chapters that compare. They read records and train nothing."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ecglib import aami, config
from ecglib.data import beats
from ecglib.evaluation import metrics
from ecglib.experiment import comparison
from ecglib.experiment import record as results
from ecglib.experiment.record import Record
from ecglib.models import registry
from ecglib.report import tables
from ecglib.report.names import ANSWERS, NOT_RUN, PROTOCOLS, UNDEFINED
from ecglib.report.tables import count, interval, mean, number, scores, signed, table


def beat_results() -> list[Record]:
    """The reference results of beat classifiers on `mitdb`, in order of the registry and of `ANSWERS`.

    One whose thresholds were moved, and that was all, stands there a second time as it is with that decision. What a
    search found is compared in its own chapter, with the experiment that it began with.
    """
    models, answers = {name: i for i, name in enumerate(registry.OF_BEATS)}, list(ANSWERS)

    def order(r: Record) -> tuple[int, int, str]:
        p = r.parameters
        return models.get(p["model"], len(models)), answers.index(p["imbalance"]), r.experiment

    every = [r for r in results.references(notebook="heartbeat").values() if r.data.name == "mitdb"]
    every = [r for r in every if not r.experiment.endswith(config.TUNED)]
    return sorted((one for record in every for one in results.decisions(record)), key=order)


def of(records: Iterable[Record], **parameters: Any) -> list[Record]:
    """The records with these values of their parameters."""
    return [r for r in records if all(r.parameters.get(name) == value for name, value in parameters.items())]


def plain(records: Iterable[Record], **parameters: Any) -> Record | None:
    """A model's result with nothing done about the imbalance and no option changed, or None."""
    return next((r for r in of(records, imbalance="none", **parameters) if not tables.variant(r)), None)


def best(records: Sequence[Record], protocol: str, metric: str = "macro_f1", least_f1: float = 0.0) -> Record | None:
    """Our best result under a protocol, best on validation. The test set chooses nothing.

    Macro recall is maximised over what has a validation macro-F1 of `least_f1`; for all else macro-F1 decides.
    """
    good = [r for r in of(records, protocol=protocol) if (tables.validated(r) or 0.0) >= least_f1]
    known = [r for r in good if tables.validated(r, metric) is not None]
    return max(known, key=lambda r: tables.validated(r, metric) or 0.0, default=None)


def link(record: Record, text: str = "") -> str:
    """A link from one executed page to another."""
    return f"[{text or record.title.split(',')[0] or record.parameters['model']}](../{record.experiment}.ipynb)"


def architectures(records: Sequence[Record], protocol: str) -> str:
    """Every model under one protocol: its plain results, and of those with an answer to the imbalance the one that is
    best on validation. A model without a plain one, or without any answer, says so."""
    rows = []
    for model in registry.OF_BEATS:
        mine = of(records, model=model, protocol=protocol)
        unanswered = of(mine, imbalance="none")
        answered = best([r for r in mine if r.parameters["imbalance"] != "none"], protocol)
        shown = [*unanswered, *([] if answered is None else [answered])]
        rows += [{"model": link(r, tables.model_name(r)), **_scores(r)} for r in shown]
        missing = [ANSWERS["none"]] * (not unanswered) + ["any answer"] * (answered is None)
        if missing:
            rows.append({"model": f"`{model}`", "imbalance": ", ".join(missing), "macro-F1": NOT_RUN})
    return table(rows)


def _scores(record: Record) -> dict[str, str]:
    values = {"imbalance": ANSWERS[record.parameters["imbalance"]]}
    values |= scores(record.metrics, ("macro_f1", "macro_recall"))
    if record.without_202:
        values["macro-F1 without 202"] = mean(record.without_202["metrics"]["macro_f1"])
        values["macro-F1 (N, S, V)"] = mean(record.metrics.get("macro_f1_nsv"))
    values |= {f"{name} F1": mean(record.per_class[name]["f1"]) for name in record.macro_classes if name != "N"}
    if tables.HOLDS_MOST_S in record.by_record and results.from_ds1(record.parameters):
        values[f"S F1 without {tables.HOLDS_MOST_S}"] = number(tables.without(record, tables.HOLDS_MOST_S, "S"))
    return values


def circumstances(records: Sequence[Record], *protocols: str) -> str:
    """What the results under these protocols rest on, how often DS2 was scored where it was."""
    mine = [r for r in records if r.parameters["protocol"] in protocols]
    if not mine:
        return ""
    facts = {"precision": lambda r: r.precision, "epochs_at_most": lambda r: r.parameters.get("max_epochs")}
    return f"Real `{mine[0].data.name}`; {tables.rests_on(mine, **facts)}.{tables.scorings(mine)}"


def adapted(records: Sequence[Record]) -> str:
    """What a patient's first minutes are worth: the same networks before and after, on the same beats."""
    rows = []
    for after in of(records, protocol="adapted"):
        before = after.model_copy(update=after.unadapted)
        gained = comparison.difference(after, before, macro_f1(after))
        values = {f"{name} F1": [mean(r.per_class[name]["f1"]) for r in (before, after)] for name in "SV"}
        values[f"S F1 without {tables.HOLDS_MOST_S}"] = [
            number(tables.without(r, tables.HOLDS_MOST_S, "S")) for r in (before, after)
        ]
        head = {"model": link(after), "macro-F1": interval(after.metrics["macro_f1"]), "gain": signed(gained)}
        rows.append(head | {name: " → ".join(both) for name, both in values.items()})
    return table(rows)


def paired(records: Sequence[Record], model: str, protocol: str) -> str:
    """Every plain model against one, on the same beats: the difference in macro-F1, and McNemar's p."""
    base = plain(records, model=model, protocol=protocol)
    others = [other for name in registry.OF_BEATS if (other := plain(records, model=name, protocol=protocol))]
    titles = f"macro-F1, difference to {model}", "McNemar p"
    told = [(other, said) for other in others if (said := _against(other, base))]
    return table({"model": link(other)} | dict(zip(titles, said, strict=True)) for other, said in told)


def tuned(records: Sequence[Record]) -> str:
    """In what each plain result's training differs from the defaults, by model."""
    rows = []
    names = ("leads", "cut", "features", "sampling", "beats_per_epoch", *config.OF_NETWORKS)
    defaults = {name: config.HeartbeatParameters.model_fields[name].get_default() for name in names}
    for model, protocol in itertools.product(registry.OF_BEATS, ("intra", "inter", "adapted")):
        for record in of(records, model=model, protocol=protocol, imbalance="none"):
            p = record.parameters
            own = {name: p[name] for name, value in defaults.items() if p.get(name, value) != value}
            if said := [f"`{name}: {value}`" for name, value in (own | p.get("model_options", {})).items()]:
                row = {"model": link(record), "protocol": PROTOCOLS[protocol], "not as by default": ", ".join(said)}
                rows.append(row)
    return table(rows)


def costs(records: Sequence[Record]) -> str:
    """Size and training time of every model with nothing done about the imbalance."""
    rows = []
    for model, entry in registry.OF_BEATS.items():
        found = [r for protocol in ("intra", "inter") if (r := plain(records, model=model, protocol=protocol))]
        rows += [{"model": link(r), "protocol": PROTOCOLS[r.parameters["protocol"]], **_cost(r)} for r in found]
        if not found:
            size = UNDEFINED
            if not (entry.classical or entry.reads_features):
                network = registry.build(model, 1, beats.KACHUEE_SAMPLES, len(aami.CLASSES))
                size = count(registry.n_parameters(network))
            rows.append({"model": f"`{model}`", "protocol": NOT_RUN, "parameters": size})
    return table(rows)


def _cost(record: Record) -> dict[str, str]:
    """Of a network, an epoch's seconds are the median over its training, so that a pause in one doesn't count."""
    trained = [run for run in record.training if run.history]
    seconds = sum(len(one.history) * float(np.median([e.seconds for e in one.history])) for one in trained)
    shown = sum(one.epochs_run * one.examples_per_epoch for one in trained)
    a_seed = count((seconds or record.train_seconds) / len(record.seeds))
    cost = {"parameters": count(record.n_parameters), "seconds a seed": a_seed}
    cost["beats/s in training"] = count(shown / seconds) if shown else UNDEFINED
    return cost | {"precision": record.precision, "hardware": tables.hardware(record.hardware)}


def resampled(records: Sequence[Record], models: Sequence[str], answer: str) -> str:
    """Precision, recall and F1, overall (macro) and by class, of models without and with one answer, intra-patient.

    Where the answer asks for another form of a model, that form stands without it too, so that like meets like.
    """
    rows = []
    for model in models:
        mine = of(records, model=model, protocol="intra")
        answered = next(iter(of(mine, imbalance=answer)), None)
        shown = [(f"`{model}`", "none", plain(mine))]
        if answered is not None and (form := tables.variant(answered)):
            alike = (r for r in of(mine, imbalance="none") if tables.variant(r) == form)
            shown.append((tables.model_name(answered), "none", next(alike, None)))
        shown.append((shown[-1][0], answer, answered))
        for name, imbalance, record in shown:
            head = {"model": name, "imbalance": ANSWERS[imbalance]}
            if record is None:
                rows.append(head | {"class": "all", "precision": NOT_RUN})
                continue
            parts = {one: record.per_class[one] for one in record.macro_classes or record.classes}
            each = {one: [part[key].mean for key in ("ppv", "se", "f1")] for one, part in parts.items()}
            each = {"all": [tables.mean_of(values) for values in zip(*each.values(), strict=True)]} | each
            for one, values in each.items():
                scored = dict(zip(("precision", "recall", "F1"), map(number, values), strict=True))
                rows.append(head | {"class": one} | scored)
    return table(rows)


# --- imbalance --------------------------------------------------------------------------------------------------------


def imbalance(records: Sequence[Record], model: str, protocol: str) -> str:
    """Every answer to imbalance on one model: scores, and what it gains over doing nothing."""
    mine = [r for r in of(records, model=model, protocol=protocol) if not tables.variant(r)]
    nothing = plain(mine)
    rows = []
    for answer, name in ANSWERS.items():
        found = of(mine, imbalance=answer)
        rows += [] if found else [{"imbalance": name, "macro-F1": NOT_RUN}]
        for r in found:  # gained is what nothing but the answer makes: on the same beats, trained the same way
            alike = nothing is not None and not _differ(r, nothing, "imbalance")
            gain, p = (_against(r, nothing) if alike else None) or (UNDEFINED, UNDEFINED)
            rows.append({**_scores(r), "imbalance": link(r, name), "gain": gain, "McNemar p": p})
    return table(rows)


def _against(record: Record, other: Record | None) -> tuple[str, str] | None:
    """The paired difference in macro-F1 to another record, and the median of the seeds' McNemar p; None where there is
    no other, or none on the same beats."""
    if other is None or other is record or not comparison.comparable(record, other):
        return None
    difference = comparison.difference(record, other, macro_f1(record))
    p = float(np.median(comparison.mcnemar(record, other)))
    return signed(difference), "< 0.001" if p < 0.001 else number(p)


def _differ(a: Record, b: Record, switch: str) -> bool:
    """Whether parameters differ other than `switch` (`imbalance`, `protocol`) and what belongs to it."""
    own = {switch, "bootstrap", "device", "in_book"}
    own |= {name for name, (other, _) in config.ONLY_WITH.items() if other == switch}
    own |= {name for r in (a, b) for name in ("annotator", "train_on", "test_on") if not r.parameters.get(name)}
    return any(a.parameters.get(name) != b.parameters.get(name) for name in {*a.parameters, *b.parameters} - own)


def macro_f1(record: Record) -> comparison.Metric:
    """Macro-F1 over the classes that the record's protocol averages over, of confusion matrices."""
    classes = [record.classes.index(name) for name in record.macro_classes]
    return lambda matrices: metrics.summary(matrices, classes)["macro_f1"]


# --- what the split is worth ------------------------------------------------------------------------------------------


def gap_by_class(records: Sequence[Record]) -> str:
    """F1 of each class under both protocols, and the difference, of every model whose parameters are the same under
    both."""
    rows = []
    for model in registry.OF_BEATS:
        both = {PROTOCOLS[p]: plain(records, model=model, protocol=p) for p in ("intra", "inter")}
        head = {"model": f"`{model}`"}
        intra, inter = both.values()
        if intra is None or inter is None:
            missing = {title: "" if found else NOT_RUN for title, found in both.items()}
            rows.append({**head, "class": "all", **missing})
        elif not _differ(intra, inter, "protocol"):
            for name in inter.macro_classes:
                a, b = (r.per_class[name]["f1"] for r in (intra, inter))
                lost = None if a.mean is None or b.mean is None else a.mean - b.mean
                shown = dict(zip(both, map(interval, (a, b)), strict=True))
                rows.append({**head, "class": name, **shown, "lost": number(lost)})
    return table(rows)


def gap_by_record(records: Sequence[Record], model: str) -> pd.DataFrame:
    """A row for every record of DS2: its beats of each class, and under both protocols (`intra`, `inter`) the share
    classified right; no row where one of them was not run."""
    found = [plain(records, model=model, protocol=p) for p in ("intra", "inter")]
    intra, inter = (record.by_record if record is not None else {} for record in found)
    rows = {}
    for name in sorted(inter if intra else {}):
        each = [np.sum(matrices.get(name, np.zeros((1, 1, 1))), axis=0) for matrices in (intra, inter)]
        with np.errstate(invalid="ignore"):  # no beat of it: NaN
            rows[name] = [*np.sum(inter[name][0], axis=1), *(np.trace(whole) / whole.sum() for whole in each)]
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=[*aami.CLASSES, "intra", "inter"])
    return frame.astype(dict.fromkeys(aami.CLASSES, "int64"))


def by_record_table(gaps: pd.DataFrame) -> str:
    """The ten records of `gap_by_record` with the largest gap between the protocols."""
    rows = []
    for name in (gaps["inter"] - gaps["intra"]).sort_values(kind="stable").index[:10]:
        row = gaps.loc[name]
        right = {f"right, {protocol}": number(row[protocol]) for protocol in ("intra", "inter")}
        rows.append({"record": f"`{name}`", **{label: count(row[label]) for label in aami.CLASSES}, **right})
    return table(rows)


def effective_patients(counts: pd.DataFrame) -> str:
    """How many equal records each class's beats would come from: Kish's effective size of the counts by record.

    A row of `counts` is a record of the test set, a column a class; one without a beat is left out.
    """
    rows = []
    for name in aami.CLASSES:
        n = counts[name].to_numpy(dtype=np.float64)
        if total := n.sum():
            row = {"class": name, "beats": count(total), "records with any": count((n > 0).sum())}
            row["share of the largest"] = f"{n.max() / total:.0%}"
            rows.append(row | {"effective number of records": number(total**2 / (n**2).sum(), 1)})
    return table(rows)
