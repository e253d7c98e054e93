"""Tables and sentences about infarction experiments: one result, or all of them side by side. They train nothing."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Final

from ecglib import config
from ecglib.experiment import record as results
from ecglib.experiment.record import Record, infarction
from ecglib.report import tables
from ecglib.report.comparisons import link, of
from ecglib.report.names import BEATS_ALONE, NOT_RUN, UNDEFINED, WAYS, sentence
from ecglib.report.published import aim_row, entries, listed, of_task, span, studies, theirs
from ecglib.report.tables import count, interval, mean, scores, signed, table, told_apart, with_mark
from ecglib.report.yardsticks import beside, gain, is_yardstick, together

_SHOWN: Final = ("auroc", "auprc", "se", "sp", "ppv", "f1", "ece")
_ALIKE: Final = {"protocol": "by-patient", "imbalance": "weighted"}
"""What the ways of transfer that are compared have in common."""


def infarction_results() -> list[Record]:
    """The reference results of networks of infarction on PTB-XL, in order of model, leads and way; what a search found
    is compared in its own chapter."""
    every = [r for r in results.references(notebook="infarction").values() if not r.experiment.endswith(config.TUNED)]
    found = [r for r in every if r.data.name == "ptb-xl" and not is_yardstick(r)]
    tables.refuse_mixture(found)

    def order(r: Record) -> tuple[Any, ...]:
        p = r.parameters
        return p["model"] != "cnet", p["model"], _leads(r), list(WAYS).index(p["way"]), p["imbalance"]

    return sorted(found, key=order)


def _leads(record: Record) -> int:
    return len(record.parameters["leads"])


def _on(leads: int) -> str:
    return f"on {count(leads)} lead{'s' * (leads > 1)}"


# --- one result -------------------------------------------------------------------------------------------------------


def provenance(record: Record) -> str:
    """What was run, on whom."""
    p, counts = record.parameters, record.data.class_counts
    people, recordings = counts["patients"], counts["recordings"]
    leads = f"lead {p['leads'][0]}" if _leads(record) == 1 else f"{count(_leads(record))} leads"
    read = {"aligned": f"aligned beats of {leads}", "median beat": f"the median beat of {leads}"}.get(p["cut"], leads)
    unit = tables.unit(record)
    who = f"{count(recordings['infarction'])} {unit} with an infarction and {count(recordings['healthy'])} without"
    if any(people.values()):
        who += f", of {count(people['infarction'])} and {count(people['healthy'])} patients"
    if is_yardstick(record):
        how = f"`{p['model']}` on {p['cut'] if p['cut'] == 'age and sex' else read}, fitted at once"
    else:
        source = "" if p["way"] == "scratch" else f", from `{p['pretrained']}`"
        learn = f"{count(infarction(record).transfer['n_learning'])} of {count(record.n_parameters)} parameters learn"
        how = f"`{p['model']}` on {read}, {WAYS[p['way']]}{source}; {learn}"
    what = f"{who}, from `{record.data.name}`; {count(sum(counts['beats'].values()))} beats"
    alone = f" A stratified fifth is scored. {BEATS_ALONE}" * (record.data.name == "kaggle")
    if p["protocol"] == "held-out":
        alone = f" A fifth of the patients is held out{'' if p['test'] else ', and was not read'}."
    return f"{how}. {what}.{alone} Profile *{record.profile}*, key `{record.key}`."


def result(record: Record) -> str:
    """The headline of one run."""
    what = tables.unit(record)
    if what == "recordings" and record.parameters["protocol"] == "by-beat":
        what += " whose other beats were learnt"
    auroc, se, sp = (interval(record.metrics[key]) for key in ("auroc", "se", "sp"))
    found = f"{se} of those with an infarction are found, and {sp} of those without are told so"
    return f"Over {what}, AUROC is {auroc}; {found}."


def levels(record: Record) -> str:
    """The same scores of recordings, of recordings without the less likely infarctions, and of single beats."""
    card = infarction(record)
    rows = {"recordings": record.metrics, "recordings, infarction likely": card.likely, "beats": card.beat_metrics}
    if tables.unit(record) == "beats":
        del rows["recordings"]
    return with_mark(record, table([{"what": name, **scores(of, _SHOWN)} for name, of in rows.items() if of]))


def transferred(record: Record) -> str:
    """What was taken over, what was left behind, and what didn't learn."""
    found = infarction(record).transfer
    names = {"loaded": "taken over", "skipped": "left behind", "frozen": "frozen"}
    said = {key: ", ".join(f"`{name}`" for name in found[key]) or UNDEFINED for key in names}
    return table([{"what": names[key], "tensors": count(len(found[key])), "value": said[key]} for key in names])


# --- side by side -----------------------------------------------------------------------------------------------------


def ways(records: Sequence[Record], model: str, n_leads: int) -> str:
    """The four ways of one model side by side."""
    rows = []
    for way, title in WAYS.items():
        found = [r for r in of(records, model=model, way=way, **_ALIKE) if _leads(r) == n_leads]
        rows += [] if found else [{"what": title, "AUROC": NOT_RUN}]
        for r in found:
            row = {"what": link(r, title), **scores(r.metrics, _SHOWN)}
            row["AUROC, infarction likely"] = interval(infarction(r).likely.get("auroc"))
            rows.append(row | {"AUROC, seeds together": interval(together(r))})
    return table(rows)


def models(records: Sequence[Record], names: Sequence[str]) -> str:
    """Other networks on lead II: from scratch, pretrained, and with SMOTE-Tomek."""
    on_one = [r for r in records if _leads(r) == 1]
    shown = {"from scratch": ("scratch", "weighted"), "fine-tuned": ("finetune", "weighted")}
    shown |= {"fine-tuned, SMOTE-Tomek": ("finetune", "smote-tomek")}
    rows = []
    for model, (title, (way, imbalance)) in itertools.product(names, shown.items()):
        head, found = {"model": f"`{model}`"}, of(on_one, model=model, way=way, imbalance=imbalance)
        rows += [{**head, "what": link(r, title), **scores(r.metrics, _SHOWN)} for r in found]
        rows += [] if found else [{**head, "what": title, "AUROC": NOT_RUN}]
    return table(rows)


def yardstick_scores(records: Sequence[Record], others: Sequence[Record]) -> str:
    """AUROC of each yardstick of `others`, which is the same for all results on the same leads, folds and seeds."""
    rows = {}
    for record in of(records, protocol="by-patient"):
        if found := {name: interval(one.metrics["auroc"]) for name, one in beside(record, others).items()}:
            key = _leads(record), record.data.test_indices_sha256, *record.seeds
            rows[key] = {"leads": count(_leads(record)), **found}
    return table([rows[key] for key in sorted(rows)])


def against_yardsticks(records: Sequence[Record], others: Sequence[Record]) -> str:
    """Each result's AUROC, and its paired differences to the yardsticks of `others` on the same folds."""
    rows = []
    for record in of(records, protocol="by-patient"):
        what = link(record, ", ".join(record.title.split(", ")[-2:]))
        row = {"model": f"`{record.parameters['model']}`", "what": what, "leads": count(_leads(record))}
        gains = {f"gain over {name}": signed(gain(record, one)) for name, one in beside(record, others).items()}
        rows.append(row | {"AUROC": interval(record.metrics["auroc"])} | gains)
    return table(rows)


def verdict_of_yardsticks(records: Sequence[Record], others: Sequence[Record]) -> str:
    """How many results are told apart from each yardstick, a sentence for each number of leads."""
    by_leads: dict[int, dict[str, list[str]]] = {}
    for record in sorted(of(records, protocol="by-patient"), key=_leads):
        for name, one in beside(record, others).items():
            said = by_leads.setdefault(_leads(record), {}).setdefault(name, [])
            said.append(told_apart(gain(record, one)))
    sentences = []
    for leads, said_of in by_leads.items():
        parts = [f"{said.count('better')} and {said.count('worse')} than *{name}*" for name, said in said_of.items()]
        which = f"{count(max(map(len, said_of.values())))} results {_on(leads)}"
        sentences.append(f"Of {which}, so many are told better and worse: {', '.join(parts)}.")
    return " ".join(sentences)


def splits(records: Sequence[Record], model: str) -> str:
    """What a split by beat makes of the same network: recordings and beats, by patient and by beat."""
    mine, rows = of(records, model=model, imbalance="weighted"), []
    for record in mine:
        protocol, of_beats = record.parameters["protocol"], infarction(record).beat_metrics
        alike = of(mine, leads=record.parameters["leads"], way=record.parameters["way"])
        if {r.parameters["protocol"] for r in alike} != {protocol}:
            row = {"what": link(record), "protocol": protocol, "AUROC": interval(record.metrics["auroc"])}
            row |= {"AUROC of beats": interval(of_beats["auroc"]), "accuracy of beats": mean(of_beats["accuracy"])}
            rows.append(row)
    return table(rows)


def cost_of_the_split(records: Sequence[Record], model: str) -> str:
    """What a split by beat makes of the accuracy of beats, in sentences."""
    said = []
    for record in of(records, model=model, imbalance="weighted", protocol="by-beat"):
        leads, way = (record.parameters[name] for name in ("leads", "way"))
        for other in of(records, model=model, leads=leads, way=way, **_ALIKE):
            ours, theirs = (mean(infarction(r).beat_metrics["accuracy"]) for r in (other, record))
            apart = f"{ours} with patients apart and {theirs} with beats of a patient in both"
            said.append(f"Accuracy of beats is {apart}.")
    return " ".join(said) or sentence(NOT_RUN)


def gains(records: Sequence[Record], model: str) -> str:
    """What each pretrained way has more than the same network from scratch, paired by patient."""
    rows = []
    for record, scratch in _with_scratch(records, model):
        more = gain(record, scratch)
        row = {"what": link(record), "leads": count(_leads(record)), "AUROC less that from scratch": signed(more)}
        rows.append(row | {"result": told_apart(more)})
    return table(rows)


def verdict(records: Sequence[Record], model: str) -> str:
    """What transfer gave, in a sentence."""
    said = [told_apart(gain(record, scratch)) for record, scratch in _with_scratch(records, model)]
    if not said:
        return sentence(NOT_RUN)
    kinds = ("better", "worse", "not told apart from it")
    parts = [f"{count(said.count(kind))} {kind}" for kind in kinds if kind in said]
    return f"Of {count(len(said))} pretrained results beside the same network from scratch, {', '.join(parts)}."


def gains_of_few(records: Sequence[Record], model: str) -> str:
    """What the pretrained ways, and aligned beats, have more than the network from scratch after learning from few
    patients."""
    return table([
        {"what": link(record)} | {n: signed(gain(record, scratch, n)) for n in [*sizes, "all"]}
        for record, scratch in _with_scratch(records, model, aligned_too=True)
        if (sizes := _sizes(record, scratch))
    ])  # fmt: skip


def verdict_of_few(records: Sequence[Record], model: str) -> str:
    """The numbers of labelled patients at which transfer, or aligned beats, gave something, in sentences."""
    said = []
    for record, scratch in _with_scratch(records, model, aligned_too=True):
        if sizes := _sizes(record, scratch):
            better = [count(int(n)) for n in sizes if told_apart(gain(record, scratch, n)) == "better"]
            where = f"better with {', '.join(better)} patients" if better else "never told better"
            said.append(f"{record.title.split(',')[0]}: {where}.")
    return " ".join(said) or sentence(NOT_RUN)


def aligned(records: Sequence[Record], model: str) -> str:
    """Aligned beats beside the ways of one model on the same leads, paired by patient."""
    rows = []
    for record in of(records, cut="aligned", **_ALIKE):
        for other in (record, *_beside(records, record, model)):
            more, itself = gain(record, other), other is record
            what = link(other, "aligned beats" if itself else WAYS[other.parameters["way"]])
            row = {"leads": count(_leads(record)), "what": what, "AUROC": interval(other.metrics["auroc"])}
            row["gain of aligned beats"] = "" if itself else signed(more)
            rows.append(row | {"aligned beats are": "" if itself else told_apart(more)})
    return table(rows)


def verdict_of_aligned(records: Sequence[Record], model: str) -> str:
    """What aligned beats gave beside the ways of one model, a sentence for each number of leads."""
    sentences = []
    for record in of(records, cut="aligned", **_ALIKE):
        if said := [told_apart(gain(record, other)) for other in _beside(records, record, model)]:
            on, counts = _on(_leads(record)).capitalize(), [said.count(kind) for kind in ("better", "worse")]
            than = f"better than {counts[0]} and worse than {counts[1]} of {count(len(said))} ways of `{model}`"
            sentences.append(f"{on}, aligned beats are told {than}.")
    return " ".join(sentences) or sentence(NOT_RUN)


def _beside(records: Sequence[Record], record: Record, model: str, **parameters: Any) -> list[Record]:
    """Results of a model on the leads and folds of another's, under the same seeds."""
    mine = of(records, model=model, leads=record.parameters["leads"], **_ALIKE, **parameters)
    folds = record.data.test_indices_sha256, record.seeds
    return [r for r in mine if (r.data.test_indices_sha256, r.seeds) == folds and infarction(record).scores]


def _with_scratch(records: Sequence[Record], model: str, aligned_too: bool = False) -> list[tuple[Record, Record]]:
    """Pretrained ways, and aligned beats if wanted, each with the network from scratch."""
    shown = [r for r in of(records, model=model, **_ALIKE) if r.parameters["way"] != "scratch"]
    shown += of(records, cut="aligned", **_ALIKE) if aligned_too else []
    return [(r, scratch) for r in shown for scratch in _beside(records, r, model, way="scratch")]


def _sizes(a: Record, b: Record) -> list[str]:
    """Numbers of patients that both learnt from, all of them aside."""
    return sorted(infarction(a).scores.keys() & infarction(b).scores.keys() - {"all"}, key=int)


def circumstances(records: Sequence[Record]) -> str:
    """What these results rest on."""
    if not records:
        return ""
    data = records[0].data
    counts = data.class_counts["recordings"]
    said = tables.rests_on(records, folds=lambda r: infarction(r).folds, precision=lambda r: r.precision)
    who = f"{count(counts['infarction'])} recordings with an infarction, {count(counts['healthy'])} without"
    return f"Real `{data.name}`: {who}; {said}."


def aims(records: Sequence[Record], model: str) -> str:
    """What was aimed at beside the best of the ways, or of all networks, which the score itself chose (`aims.yml`)."""
    rows = []
    for aim in of_task(listed("aims.yml", {"what", "protocol", "metric", "least"}), "infarction"):
        mine = of(records, protocol=aim["protocol"], imbalance="weighted")
        mine = mine if aim.get("any_model") else of(mine, model=model)
        found = [r for r in mine if _leads(r) == aim["leads"]]
        best = max(found, key=lambda r: r.metrics[aim["metric"]].mean or 0.0, default=None)
        rows.append(aim_row(aim, best, None if best is None else best.metrics[aim["metric"]]))
    return table(rows)


def tried() -> str:
    """What was tried for the open ones (`tried.yml`); how it was measured stands in the first row of a study."""
    rows = []
    for study, row in studies("infarction"):
        measured = study["measured"] if row is study["rows"][0] else ""
        rows.append({"tried": row["tried"], "AUROC": span(row.get("AUROC")), "measured on": measured})
    return table(rows)


def published() -> str:
    """Published results of infarction, each with how its beats were divided (`published.yml`)."""
    return table([theirs(entry) for entry in of_task(entries(), "infarction")])
