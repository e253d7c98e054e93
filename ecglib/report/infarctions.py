"""Tables and sentences about infarction experiments: one result, or all of them side by side. They train nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecglib.evaluation import bootstrap, metrics, ranking
from ecglib.evaluation.bootstrap import Interval
from ecglib.experiment import record as results
from ecglib.experiment.record import Record, infarction
from ecglib.report.comparisons import link, of, signed, told_apart
from ecglib.report.names import NOT_RUN, UNDEFINED, WAYS, sentence
from ecglib.report.published import aim_row, entries, listed, of_task, span, theirs
from ecglib.report.tables import count, interval, mean, refuse_mixture, rests_on, scores, table, with_mark
from ecglib.report.yardsticks import beside, is_yardstick

_SHOWN: Final = ("auroc", "auprc", "se", "sp", "ppv", "f1", "ece")


def infarction_results(every: Mapping[str, Record] | None = None, database: str = "ptb-xl") -> list[Record]:
    """The reference results of networks of infarction, or those of `every`, on one database, in order of model, leads
    and way."""
    every = results.references(notebook="infarction") if every is None else every
    found = [r for name, r in every.items() if name.startswith("infarction/") and r.data.name == database]
    found = [r for r in found if not is_yardstick(r)]
    refuse_mixture(found)
    ways = list(WAYS)
    return sorted(
        found,
        key=lambda r: (
            r.parameters["model"] != "cnet",
            r.parameters["model"],
            len(r.parameters["leads"]),
            ways.index(r.parameters["way"]),
            r.parameters["imbalance"],
        ),
    )


# --- one result -------------------------------------------------------------------------------------------------------


def provenance(record: Record) -> str:
    """What was run, on whom."""
    p, counts = record.parameters, record.data.class_counts
    people, recordings = counts["patients"], counts["recordings"]
    leads = f"lead {p['leads'][0]}" if len(p["leads"]) == 1 else f"{count(len(p['leads']))} leads"
    read = {"aligned": f"aligned beats of {leads}", "median beat": f"the median beat of {leads}"}.get(p["cut"], leads)
    source = "" if p["way"] == "scratch" else f", from `{p['pretrained']}`"
    who = f"{count(recordings['infarction'])} recordings with an infarction and {count(recordings['healthy'])} without"
    if any(people.values()):
        who += f", of {count(people['infarction'])} and {count(people['healthy'])} patients"
    if is_yardstick(record):
        how = f"`{p['model']}` on {p['cut'] if p['cut'] == 'age and sex' else read}, fitted at once"
    else:
        learn = f"{count(infarction(record).transfer['n_learning'])} of {count(record.n_parameters)} parameters learn"
        how = f"`{p['model']}` on {read}, {WAYS[p['way']]}{source}; {learn}"
    return (
        f"{how}. {who}, from `{record.data.name}`; {count(sum(counts['beats'].values()))} beats. "
        f"Profile *{record.profile}*, key `{record.key}`."
    )


def result(record: Record) -> str:
    """The headline of one run."""
    what = "recordings" if record.parameters["protocol"] == "by-patient" else "recordings whose other beats were learnt"
    text = f"Over {what}, AUROC is {interval(record.metrics['auroc'])}"
    text += f"; {interval(record.metrics['se'])} of those with an infarction are found"
    return f"{text}, and {interval(record.metrics['sp'])} of those without are told so."


def levels(record: Record) -> str:
    """The same scores of recordings, of recordings without the less likely infarctions, and of single beats."""
    rows = {
        "recordings": record.metrics,
        "recordings, infarction likely": infarction(record).likely,
        "beats": infarction(record).beat_metrics,
    }
    shown = [{"what": name, **scores(values, _SHOWN)} for name, values in rows.items() if values]
    return with_mark(record, table(shown))


def yardsticks(record: Record, others: Sequence[Record]) -> str:
    """AUROC of what needs no network, on the same folds, and what the network has more.

    Parameters
    ----------
    record
        The network's.
    others
        Results of yardsticks, of which those that belong to it are taken.
    """
    if is_yardstick(record):
        return "This is a yardstick itself."
    rows = [{"model": "this network", "AUROC": interval(record.metrics["auroc"])}]
    for name, one in beside(record, others).items():
        gained = gain(record, one)
        rows.append({
            "model": name,
            "AUROC": interval(one.metrics["auroc"]),
            "network's gain": signed(gained),
            "this network is": told_apart(gained),
        })  # fmt: skip
    return with_mark(record, table(rows))


def transferred(record: Record) -> str:
    """What was taken over, what was left behind, and what didn't learn."""
    found = infarction(record).transfer
    names = {"loaded": "taken over", "skipped": "left behind", "frozen": "frozen"}
    rows = []
    for key, title in names.items():
        value = ", ".join(f"`{name}`" for name in found[key]) or UNDEFINED
        rows.append({"what": title, "tensors": count(len(found[key])), "value": value})
    return table(rows)


# --- side by side -----------------------------------------------------------------------------------------------------


def ways(records: Sequence[Record], model: str, n_leads: int) -> str:
    """The four ways of one model side by side."""
    rows = []
    for way, title in WAYS.items():
        found = [r for r in of(records, model=model, way=way, protocol="by-patient", imbalance="weighted")
                 if len(r.parameters["leads"]) == n_leads]  # fmt: skip
        if not found:
            rows.append({"what": title, "AUROC": NOT_RUN})
        likely = "AUROC, infarction likely"
        rows += [
            {
                "what": link(r, title),
                **scores(r.metrics, _SHOWN),
                likely: interval(infarction(r).likely.get("auroc")),
                "AUROC, seeds together": interval(together(r)),
            }
            for r in found
        ]
    return table(rows)


def models(records: Sequence[Record], names: Sequence[str]) -> str:
    """Other networks on lead II: from scratch, pretrained, and with SMOTE-Tomek."""
    rows = []
    for name in names:
        for title, wanted in (
            ("from scratch", {"way": "scratch", "imbalance": "weighted"}),
            ("fine-tuned", {"way": "finetune", "imbalance": "weighted"}),
            ("fine-tuned, SMOTE-Tomek", {"way": "finetune", "imbalance": "smote-tomek"}),
        ):
            found = [r for r in of(records, model=name, **wanted) if len(r.parameters["leads"]) == 1]
            if not found:
                rows.append({"model": f"`{name}`", "what": title, "AUROC": NOT_RUN})
            rows += [{"model": f"`{name}`", "what": link(r, title), **scores(r.metrics, _SHOWN)} for r in found]
    return table(rows)


def yardstick_scores(records: Sequence[Record], others: Sequence[Record]) -> str:
    """AUROC of each yardstick of `others`, which is the same for all results on the same leads, folds and seeds."""
    rows = {}
    for record in of(records, protocol="by-patient"):
        leads = len(record.parameters["leads"])
        found = {name: interval(one.metrics["auroc"]) for name, one in beside(record, others).items()}
        if found:
            rows[leads, record.data.test_indices_sha256, *record.seeds] = {"leads": count(leads), **found}
    return table([rows[key] for key in sorted(rows)])


def against_yardsticks(records: Sequence[Record], others: Sequence[Record]) -> str:
    """Each result's AUROC, and its paired differences to the yardsticks of `others` on the same folds."""
    rows = []
    for record in of(records, protocol="by-patient"):
        p = record.parameters
        row = {"model": f"`{p['model']}`", "what": link(record, ", ".join(record.title.split(", ")[-2:]))}
        row |= {"leads": count(len(p["leads"])), "AUROC": interval(record.metrics["auroc"])}
        for name, one in beside(record, others).items():
            row[f"gain over {name}"] = signed(gain(record, one))
        rows.append(row)
    return table(rows)


def verdict_of_yardsticks(records: Sequence[Record], others: Sequence[Record]) -> str:
    """How many results are told apart from each yardstick, a sentence for each number of leads."""
    sentences = []
    shown = of(records, protocol="by-patient")
    for leads in sorted({len(record.parameters["leads"]) for record in shown}):
        said: dict[str, list[str]] = {}
        for record in shown:
            if len(record.parameters["leads"]) == leads:
                for name, one in beside(record, others).items():
                    said.setdefault(name, []).append(told_apart(gain(record, one)))
        if said:
            most = count(max(map(len, said.values())))
            parts = [f"{each.count('better')} and {each.count('worse')} than *{name}*" for name, each in said.items()]
            which = f"{most} results on {count(leads)} lead{'s' * (leads > 1)}"
            sentences.append(f"Of {which}, so many are told better and worse: {', '.join(parts)}.")
    return " ".join(sentences)


def splits(records: Sequence[Record], model: str) -> str:
    """What a split by beat makes of the same network: recordings and beats, by patient and by beat."""
    rows = []
    for record in of(records, model=model, imbalance="weighted"):
        alike = [r for r in of(records, model=model, way=record.parameters["way"], imbalance="weighted")
                 if r.parameters["leads"] == record.parameters["leads"]]  # fmt: skip
        if len({r.parameters["protocol"] for r in alike}) > 1:
            rows.append({
                "what": link(record),
                "protocol": record.parameters["protocol"],
                "AUROC": interval(record.metrics["auroc"]),
                "AUROC of beats": interval(infarction(record).beat_metrics["auroc"]),
                "accuracy of beats": mean(infarction(record).beat_metrics["accuracy"]),
            })  # fmt: skip
    return table(rows)


def cost_of_the_split(records: Sequence[Record], model: str) -> str:
    """What a split by beat makes of the accuracy of beats, in sentences."""
    said = []
    for record in of(records, model=model, imbalance="weighted", protocol="by-beat"):
        like = of(records, model=model, imbalance="weighted", protocol="by-patient", way=record.parameters["way"])
        for other in (r for r in like if r.parameters["leads"] == record.parameters["leads"]):
            ours, theirs = (mean(infarction(r).beat_metrics["accuracy"]) for r in (other, record))
            said.append(
                f"Accuracy of beats is {ours} with patients apart and {theirs} with beats of a patient in both."
            )
    return " ".join(said) or sentence(NOT_RUN)


def gains(records: Sequence[Record], model: str) -> str:
    """What each pretrained way has more than the same network from scratch, paired by patient."""
    rows = []
    for record, scratch in _pairs(records, model):
        difference = gain(record, scratch)
        rows.append({
            "what": link(record),
            "leads": count(len(record.parameters["leads"])),
            "AUROC less that from scratch": signed(difference),
            "result": told_apart(difference),
        })  # fmt: skip
    return table(rows)


def verdict(records: Sequence[Record], model: str) -> str:
    """What transfer gave, in a sentence."""
    said = [told_apart(gain(record, scratch)) for record, scratch in _pairs(records, model)]
    if not said:
        return sentence(NOT_RUN)
    counts = {kind: said.count(kind) for kind in ("better", "worse", "not told apart from it")}
    parts = [f"{count(n)} {kind}" for kind, n in counts.items() if n]
    return f"Of {count(len(said))} pretrained results beside the same network from scratch, {', '.join(parts)}."


def gains_of_few(records: Sequence[Record], model: str) -> str:
    """What the pretrained ways, and aligned beats, have more than the network from scratch after learning from few
    patients."""
    rows = []
    for record, scratch in _of_few(records, model):
        if sizes := _sizes(record, scratch):
            rows.append({"what": link(record)} | {n: signed(gain(record, scratch, n)) for n in [*sizes, "all"]})
    return table(rows)


def verdict_of_few(records: Sequence[Record], model: str) -> str:
    """The numbers of labelled patients at which transfer, or aligned beats, gave something, in sentences."""
    said = []
    for record, scratch in _of_few(records, model):
        sizes = _sizes(record, scratch)
        better = [n for n in sizes if told_apart(gain(record, scratch, n)) == "better"]
        if sizes:
            where = f"better with {', '.join(map(count, map(int, better)))} patients" if better else "never told better"
            said.append(f"{record.title.split(',')[0]}: {where}.")
    return " ".join(said) or sentence(NOT_RUN)


def aligned(records: Sequence[Record], model: str) -> str:
    """Aligned beats beside the ways of one model on the same leads, paired by patient."""
    rows = []
    for record in of(records, cut="aligned", protocol="by-patient", imbalance="weighted"):
        leads, blank = count(len(record.parameters["leads"])), ("", "")
        shown = [(record, "aligned beats", *blank)]
        for other in _beside(records, record, model):
            difference = gain(record, other)
            shown.append((other, WAYS[other.parameters["way"]], signed(difference), told_apart(difference)))
        rows += [
            {
                "leads": leads,
                "what": link(one, title),
                "AUROC": interval(one.metrics["auroc"]),
                "gain of aligned beats": more,
                "aligned beats are": said,
            }
            for one, title, more, said in shown
        ]
    return table(rows)


def verdict_of_aligned(records: Sequence[Record], model: str) -> str:
    """What aligned beats gave beside the ways of one model, a sentence for each number of leads."""
    sentences = []
    for record in of(records, cut="aligned", protocol="by-patient", imbalance="weighted"):
        said = [told_apart(gain(record, other)) for other in _beside(records, record, model)]
        leads = len(record.parameters["leads"])
        if said:
            sentences.append(
                f"On {count(leads)} lead{'s' * (leads > 1)}, aligned beats are told better than {said.count('better')} "
                f"and worse than {said.count('worse')} of {count(len(said))} ways of `{model}`."
            )
    return " ".join(sentences) or sentence(NOT_RUN)


def _beside(records: Sequence[Record], record: Record, model: str) -> list[Record]:
    """Results of a model, all ways, on the leads and folds of another's."""
    mine = of(records, model=model, protocol="by-patient", imbalance="weighted", leads=record.parameters["leads"])
    return [other for other in mine if gain_is_defined(record, other)]


def _sizes(a: Record, b: Record) -> list[str]:
    """Numbers of patients that both learnt from, all of them aside."""
    return sorted(infarction(a).scores.keys() & infarction(b).scores.keys() - {"all"}, key=int)


def _pairs(records: Sequence[Record], model: str) -> list[tuple[Record, Record]]:
    mine = of(records, model=model, protocol="by-patient", imbalance="weighted")
    scratch = {len(r.parameters["leads"]): r for r in of(mine, way="scratch")}
    pairs = [(r, scratch.get(len(r.parameters["leads"]))) for r in mine if r.parameters["way"] != "scratch"]
    return [(record, other) for record, other in pairs if other is not None and gain_is_defined(record, other)]


def _of_few(records: Sequence[Record], model: str) -> list[tuple[Record, Record]]:
    """Pretrained ways and aligned beats, each with the network from scratch."""
    aligned = of(records, cut="aligned", protocol="by-patient", imbalance="weighted")
    apart = [(r, other) for r in aligned for other in of(_beside(records, r, model), way="scratch")]
    return [*_pairs(records, model), *apart]


def gain_is_defined(a: Record, b: Record) -> bool:
    """Whether both scored the same recordings on the same folds under the same seeds."""
    return (
        a.data.test_indices_sha256 == b.data.test_indices_sha256 and a.seeds == b.seeds and bool(infarction(a).scores)
    )


def gain(a: Record, b: Record, learnt: str = "all", n_resamples: int = 1000) -> Interval:
    """AUROC of `a` less that of `b`, mean over the seeds, after learning from so many patients; the interval draws the
    same patients for both."""
    mine = _scored(a, learnt)
    theirs = _scored(b, learnt).loc[mine.index]
    return bootstrap.interval(_areas(a, mine, n_resamples) - _areas(a, theirs, n_resamples))


def together(record: Record, n_resamples: int = 1000) -> Interval:
    """AUROC of the mean over the seeds of a recording's log-odds: one vote of as many networks as there are seeds, none
    of which saw the recording's patient."""
    if not infarction(record).scores:
        return Interval()
    return bootstrap.interval(_areas(record, _scored(record, "all").mean(axis=1).to_frame(), n_resamples))


def _scored(record: Record, learnt: str) -> pd.DataFrame:
    """Log-odds, one row a recording, one column a seed."""
    return pd.DataFrame.from_dict(infarction(record).scores[learnt], orient="index")


def _areas(record: Record, scored: pd.DataFrame, n_resamples: int) -> metrics.Array:
    """AUROC of every column on the recordings and on resamples of their patients, `(columns, 1 + resamples)`."""
    ill = np.array(list(record.by_record.values())).sum((1, 3)).argmax(1) == 1  # each holds a single recording
    positive = pd.Series(ill, list(record.by_record)).loc[scored.index].to_numpy()
    patients = tuple(infarction(record).patients[name] for name in scored.index)
    columns = scored.to_numpy(np.float64).T
    return np.stack([_area(seed.tobytes(), positive.tobytes(), patients, n_resamples) for seed in columns])


@lru_cache(maxsize=4096)
def _area(scores: bytes, positive: bytes, patients: tuple[str, ...], n_resamples: int) -> metrics.Array:
    """AUROC of scores (float64) of recordings with and without infarction (bool). Kept, as a chapter pairs each result
    with many others."""
    codes, drawn = _resamples(patients, n_resamples)
    return ranking.auroc_auprc(np.frombuffer(scores, np.float64), np.frombuffer(positive, np.bool_), codes, drawn)[0]


@lru_cache(maxsize=16)
def _resamples(patients: tuple[str, ...], n_resamples: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`bootstrap.patient_weights`, drawn once for all results on the same recordings: it takes longest of all here."""
    return bootstrap.patient_weights(pd.Series(patients), n_resamples)


def circumstances(records: Sequence[Record]) -> str:
    """What these results rest on."""
    if not records:
        return ""
    data = records[0].data
    counts = data.class_counts["recordings"]
    said = rests_on(records, folds=lambda r: infarction(r).folds, precision=lambda r: r.precision)
    who = f"{count(counts['infarction'])} recordings with an infarction, {count(counts['healthy'])} without"
    return f"Real `{data.name}`: {who}; {said}."


def aims(records: Sequence[Record], model: str) -> str:
    """What was aimed at beside the best of the ways, or of all networks, which the score itself chose (`aims.yml`)."""
    rows = []
    for aim in of_task(listed("aims.yml", {"what", "protocol", "metric", "least"}), "infarction"):
        mine = of(records, protocol=aim["protocol"], imbalance="weighted")
        found = [r for r in mine if len(r.parameters["leads"]) == aim["leads"]]
        if not aim.get("any_model"):
            found = of(found, model=model)
        best = max(found, key=lambda r: r.metrics[aim["metric"]].mean or 0.0, default=None)
        rows.append(aim_row(aim, best, None if best is None else best.metrics[aim["metric"]]))
    return table(rows)


def tried() -> str:
    """What was tried for the open ones (`tried.yml`); how it was measured stands in the first row of a study."""
    rows = [
        {"tried": row["tried"], "AUROC": span(row.get("AUROC")), "measured on": "" if i else study["measured"]}
        for study in of_task(listed("tried.yml", {"aim", "measured", "rows"}), "infarction")
        for i, row in enumerate(study["rows"])
    ]
    return table(rows)


def published() -> str:
    """Published results of infarction, each with how its beats were divided (`published.yml`)."""
    return table([theirs(entry) for entry in of_task(entries(), "infarction")])
