"""How good a model, or any annotator, is on labelled records: the tables of the field, with intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from ecglib import aami, paths
from ecglib.data import databases, detection, infarction, records
from ecglib.data.catalogues import catalogue, folder, ptb_xl
from ecglib.data.databases import Source
from ecglib.data.records import Annotations, Recording
from ecglib.errors import RecordError, UserError
from ecglib.evaluation import binary, bootstrap, matching, metrics
from ecglib.evaluation.bootstrap import Interval
from ecglib.experiment import provenance, record
from ecglib.serving.annotate import ANNOTATOR, UNCLASSIFIED
from ecglib.serving.model import Card, Model

T = TypeVar("T")
Peaks = Literal["given", "detected"]
N: Final = len(aami.CLASSES)
SCORED: Final = ("N", "S", "V", "F")
"""The classes that macro means are over, where the records have them."""
RESAMPLES: Final = 1000
OF_SICK: Final = ("se", "sp", "ppv", "f1")
"""What is told of the infarctions themselves."""
OF_THE_SAME: Final = {"kaggle": "ptbdb"}
"""Database -> the one that its beats were cut from."""


class Evaluated(BaseModel):
    """What was found; intervals resample records, or patients of whole recordings."""

    subject: str
    """Of a model its name, else the folder of the annotations."""
    version: str = ""
    data: str
    sample: bool
    peaks: str = ""
    """Of beats: `given`, `detected`, or `annotated` by whoever is evaluated."""
    records: list[str]
    passed_over: dict[str, str]
    """Records that can't be used -> why."""
    learnt: list[str] = []
    """Records that the model learnt from, or may have: what it scores on them says nothing of others."""
    left_out: dict[str, int] = {}
    """Beats that are not scored, by reason."""
    counts: dict[str, int]
    """Class or label -> beats or recordings of the reference."""
    metrics: dict[str, Interval]
    per_class: dict[str, dict[str, Interval]]
    ec57: dict[str, dict[str, Interval]] = {}
    """`VEB` and `SVEB`, as EC57 scores them."""
    detection: dict[str, Interval] = {}
    """Of beats of whatever class, where their R peaks were not given."""
    by_record: dict[str, list[list[int]]] = {}
    """Record -> confusion matrix, rows of the reference, the last row and column for no beat."""


@dataclass(frozen=True)
class _Scored:
    matrix: NDArray[np.int64]
    """`(N + 1, N + 1)`"""
    left_out: dict[str, int]


def beats(
    subject: Model | Path, source: Source, *, peaks: Peaks = "given", protocol: Literal["all", "inter"] = "all"
) -> Evaluated:
    """Score the beats of a source's records as ANSI/AAMI EC57 compares and counts them. Unlike there, the first five
    minutes of a record count, and so do paced records.

    Parameters
    ----------
    subject
        A model of beats, or a folder with annotation files: `<record>.atr`, or `<record>/<record>.atr` as
        `ecglib annotate` writes them.
    source
        Records with reference annotations.
    peaks
        Of a model: whether it is given the reference's R peaks, and what it can't read is left out, as in the book; or
        has to find them, and is compared beat by beat (`evaluation.matching`), a beat that it can't read being of
        class Q. What is found in ventricular flutter, where the reference has no beats, does not count.
    protocol
        `inter`: of `mitdb`, DS2 alone.

    Raises UserError when no record can be used, or the model is of another task or of other classes.
    """
    if isinstance(subject, Model):
        subject.expect("beats")
        if subject.card.classes != list(aami.CLASSES):
            raise UserError(subject.card.name, f"classes {', '.join(subject.card.classes)}", "those of EC57")
    of_mitdb = source.database == "mitdb"
    if protocol == "inter" and not of_mitdb:
        raise UserError("--protocol inter", f"{source.name} has no DS2", "mitdb, or of recordings ptb-xl")
    names = [name for name in source.records if protocol == "all" or name in aami.DS2]
    found, passed_over = _tried(names, lambda name: _scored(subject, source, name, peaks), source.folder)
    matrices = np.stack([one.matrix for one in found.values()])
    sums = matrices.sum((0, 2))
    scored = [aami.CLASSES.index(name) for name in SCORED if sums[aami.CLASSES.index(name)]]
    drawn = bootstrap.resampled(matrices[None], RESAMPLES if len(found) > 1 else 0)
    summary = metrics.summary(drawn, scored)
    per_class = {name: values[..., :N] for name, values in metrics.per_class(drawn).items()}
    matched = peaks == "detected" or not isinstance(subject, Model)
    evaluated = Evaluated(
        subject=subject.card.name if isinstance(subject, Model) else str(subject),
        version=subject.card.version if isinstance(subject, Model) else "",
        data=source.name,
        sample=source.sample,
        peaks=peaks if isinstance(subject, Model) else "annotated",
        records=list(found),
        passed_over=passed_over,
        left_out=dict(sum((Counter(one.left_out) for one in found.values()), Counter[str]())),
        counts={name: int(n) for name, n in zip(aami.CLASSES, sums, strict=False)},
        metrics=bootstrap.intervals({name: summary[name] for name in ("macro_f1", "macro_recall", "accuracy")}),
        per_class=bootstrap.by_class(per_class, aami.CLASSES),
        ec57={kind: bootstrap.intervals(of) for kind, of in metrics.ec57(drawn, list(aami.CLASSES)).items()},
        detection=bootstrap.intervals(matching.detection(drawn)) if matched else {},
        by_record={name: one.matrix.tolist() for name, one in found.items()},
        learnt=_learnt(subject.card, _called(source), found) if isinstance(subject, Model) else [],
    )
    taught_on = isinstance(subject, Model) and bool(subject.card.started_from)
    tested = {*found} & {*aami.DS2} - (set() if taught_on else {*evaluated.learnt})
    if of_mitdb and not source.sample and tested:
        _log(subject, evaluated, np.sum([found[name].matrix for name in tested], 0))
    return evaluated


def _tried(
    names: Iterable[str], score: Callable[[str], T], where: str | Path, aside: Mapping[str, str] | None = None
) -> tuple[dict[str, T], dict[str, str]]:
    """What `score` gives for every record that it takes, and why it refused the others, after those that were put
    `aside` before."""
    found: dict[str, T] = {}
    passed_over = dict(aside or {})
    for name in names:
        try:
            found[name] = score(name)
        except RecordError as error:
            passed_over[name] = str(error)
    if not found:
        raise UserError(where, f"no record can be scored; the first: {next(iter(passed_over.values()), 'none')}")
    return found, passed_over


def recordings(model: Model, source: catalogue.Records, data: str, *, fold: int = 0) -> Evaluated:
    """Score the labels of whole recordings, all of them or those of one fold. A `UserError` when none can be used, or
    the model has a label that they lack."""
    from ecglib.experiment import twelve_lead

    model.expect("recordings")
    classes = model.card.classes
    if missing := [name for name in classes if name not in source.classes]:
        raise UserError(data, f"no label {', '.join(missing)}", f"those of {model.card.name}: {', '.join(classes)}")
    entries = [i for i, entry in enumerate(source.entries) if fold in (0, entry.fold)]
    at = {source.entries[i].record: i for i in entries}
    p, passed_over = _tried(at, lambda name: model.score(source.read(source.entries[at[name]])), data)
    of_model = replace(source, classes=tuple(classes))
    thresholds = np.array(model.card.thresholds or [0.5] * len(classes))
    index, given = np.array([at[name] for name in p]), np.stack(list(p.values())).astype(np.float64)
    table = twelve_lead.score_table(of_model, "test", index, given, thresholds)
    whole, per_class = twelve_lead.measured(twelve_lead.Scored.of([table], classes), (), RESAMPLES)
    return Evaluated(
        subject=model.card.name,
        version=model.card.version,
        data=data,
        sample=source.sample,
        records=list(p),
        passed_over=passed_over,
        counts={name: int(table[f"y:{name}"].sum()) for name in classes},
        metrics=whole,
        per_class=per_class,
    )


def infarctions(model: Model, source: Source, protocol: Literal["all", "inter"] = "all") -> Evaluated:
    """Score a model of infarctions on the recordings of `ptb-xl` or `ptbdb` that are healthy or have one, or, `inter`,
    on those of patients whom it never saw. As in the book, the log-odds at even prior odds rank and decide. A
    `UserError` when it may have seen all of them, and when no recording can be used."""
    model.expect("infarction")
    card, (table, aside) = model.card, infarction.people(source)
    learnt = table["patient"].astype(bool) & (OF_THE_SAME.get(card.database, card.database) == source.name)
    if card.protocol == "held-out" and not card.sample and not source.sample:
        learnt &= ~table["patient"].isin(infarction.held_out(source))
    if protocol == "inter":
        table = table[~learnt]
        if table.empty:
            raise UserError("--protocol inter", f"{card.name} may have learnt from every patient of {source.name}")
    unclear = {name: reason for name, reason in aside if reason != catalogue.OTHER}
    scores, passed_over = _tried(
        table["record"], lambda name: model.log_odds(model.read(source.folder, name)), source.folder, unclear
    )
    rows = table[table["record"].isin(scores)]
    rows = rows.assign(score=rows["record"].map(scores), log_odds=0.0)
    codes, drawn = bootstrap.patient_weights(rows["patient"], RESAMPLES)
    found = binary.intervals([binary.values(rows, codes, drawn)])
    return Evaluated(
        subject=card.name,
        version=card.version,
        data=source.name,
        sample=source.sample,
        records=list(rows["record"]),
        passed_over=passed_over,
        learnt=list(rows["record"][learnt[rows.index]]),
        counts={name: int((rows["label"] == i).sum()) for i, name in enumerate(infarction.CLASSES)},
        metrics={name: found[name] for name in ("auroc", "auprc", "accuracy")},
        per_class={infarction.CLASSES[0]: {}, infarction.CLASSES[1]: {name: found[name] for name in OF_SICK}},
    )


def evaluate(
    subject: Model | Path,
    data: str,
    *,
    labels: Path | None = None,
    annotator: str = "",
    peaks: Peaks = "given",
    protocol: Literal["all", "inter"] = "all",
) -> Evaluated:
    """Score a model on a database by name, or a folder of annotated records or of recordings with a table of labels;
    or annotations in a folder on annotated records. Arguments and errors as of `beats`, `recordings` and
    `infarctions`, and a `UserError` when there are no such data."""
    if not isinstance(subject, Model) or subject.card.task == "beats":
        if labels is not None:
            raise UserError("--labels", "means nothing of beats, whose labels are the records' annotations")
        here = data if data in databases.DATABASES or not Path(data).exists() else str(Path(data).resolve())
        return beats(subject, databases.annotated(here, annotator), peaks=peaks, protocol=protocol)
    if peaks == "detected":
        raise UserError("--peaks", f"means nothing of {subject.card.name}, which reads whole recordings")
    if subject.card.task == "infarction":
        if data not in infarction.PEOPLE or labels is not None:
            named = "--labels" if labels is not None else data
            raise UserError(named, "no diagnoses of infarctions are read from it", " or ".join(infarction.PEOPLE))
        return infarctions(subject, databases.get(data), protocol)
    if labels is not None:
        found = recordings(subject, folder.read(Path(data), labels), data)
        place = Path(data).resolve()
        known = {name for name, each in databases.DATABASES.items() if each.home == place}
        learnt = _learnt(subject.card, {str(place), *known}, found.records)
        return found.model_copy(update={"learnt": learnt})
    if data != "ptb-xl":
        said = f"{data} has no labels of whole recordings" if data in databases.DATABASES else f"not given with {data}"
        raise UserError("--labels", said, "a folder of recordings with a table of labels, or ptb-xl")
    source = databases.get(data)
    own = int(subject.card.part.removeprefix("fold") or 0) if subject.card.database == data else 0
    whole = ptb_xl.read(source)
    found = recordings(subject, whole, data, fold=own if protocol == "inter" else 0)
    other = {entry.record for entry in whole.entries if entry.fold != own}
    learnt = [name for name in _learnt(subject.card, {data}, found.records) if name in other]
    return found.model_copy(update={"learnt": learnt})


# --- beats of one record ----------------------------------------------------------------------------------------------


def _scored(subject: Model | Path, source: Source, name: str, peaks: Peaks) -> _Scored:
    reference = records.read_annotations(source.folder, name, source.annotator)
    samples = reference.samples[reference.is_beat]
    true = _labels(reference)
    fs = records.sampling_rate(source.folder, name)
    if isinstance(subject, Path):
        found = _annotations(subject, name, fs)
        predicted, left_out = (found.samples[found.is_beat], _labels(found)), dict[str, int]()
    elif peaks == "given":
        classified = subject.classify(subject.read(source.folder, name), samples)
        kept = np.isin(samples, classified.sample)
        matrix = metrics.confusion(true[kept], classified.decided, N + 1)
        return _Scored(matrix, reference.left_out | classified.left_out)
    else:
        predicted, left_out = _detected(subject, *subject.read_whole(source.folder, name)), reference.left_out
    kept = ~_in_flutter(reference, predicted[0])
    matched = matching.match(samples, predicted[0][kept], fs)
    return _Scored(matching.confusion(matched, true, predicted[1][kept], N), left_out)


def _in_flutter(reference: Annotations, r_peaks: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which R peaks lie between the marks `[` and `]` of ventricular flutter or fibrillation, where the reference has
    no beats and EC57 compares none."""
    found = np.zeros(len(r_peaks), dtype=bool)
    for start in reference.samples[reference.symbols == "["]:
        ends = reference.samples[(reference.symbols == "]") & (reference.samples > start)]
        found |= (r_peaks >= start) & (r_peaks <= (ends[0] if len(ends) else np.inf))
    return found


def _detected(model: Model, recording: Recording, whole: Recording) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """R peaks that are found, and the class of each, that of `UNCLASSIFIED` where the model could not read the beat."""
    try:
        r_peaks = detection.of_recording(recording, whole)
    except RecordError as error:
        if error.reason != "no R peak":
            raise
        r_peaks = np.zeros(0, dtype=np.int64)  # then all are missed
    classified, decided = model.classify(recording, r_peaks), np.full(len(r_peaks), aami.index_of(UNCLASSIFIED))
    decided[np.searchsorted(r_peaks, classified.sample)] = classified.decided
    return r_peaks, decided


def _annotations(where: Path, name: str, fs: float) -> Annotations:
    """Somebody's annotations of a record, brought to its rate."""
    stem = Path(name).name
    paths = [where / f"{name}.{ANNOTATOR}", where / stem / f"{stem}.{ANNOTATOR}"]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise RecordError(paths[0], "no annotations")
    samples, symbols, own, left_out = records.annotation_file(path)
    scaled = np.rint(samples * fs / own).astype(np.int64) if own else samples
    return Annotations(scaled, symbols, left_out)


def _labels(annotations: Annotations) -> NDArray[np.int64]:
    symbols = annotations.symbols[annotations.is_beat]
    return np.array([aami.index_of(str(symbol)) for symbol in symbols], dtype=np.int64)


def _called(source: Source) -> set[str]:
    """What the data may be called."""
    return {source.name, source.database, str(source.folder)}


def _learnt(card: Card, where: Collection[str], names: Iterable[str]) -> list[str]:
    """The records of these that the model learnt from, or may have, `where` being what their source may be called: of
    its own databases all but those that its protocol kept for the test. What it was taught on from may have learnt from
    any database."""
    own = set[str]()
    for name in card.database.partition(" → ")[0].split(", "):  # what follows the arrow was tested
        own.add(name)
        with suppress(UserError):  # there is no such folder here, or it has no beats
            own.add(str((paths.root() / Path(name).expanduser()).resolve()))
            own |= _called(databases.annotated(name))
    if card.started_from:
        own |= databases.DATABASES.keys()
    kept = aami.DS2 if card.protocol == "inter" and card.database == "mitdb" and not card.started_from else ()
    return [name for name in names if name not in kept] if own.intersection(where) else []


def _log(subject: Model | Path, found: Evaluated, matrix: NDArray[np.int64]) -> None:
    """A line in the log of DS2's scorings, of the confusion matrix of its records."""
    about: dict[str, Any] = {"key": "", "experiment": "annotations", "profile": "", "model": "", "seed": 0}
    if isinstance(subject, Model):
        card = subject.card
        about |= card.model_dump(include={"key", "profile", "model", "seed"}) | {"experiment": card.name}
    values = metrics.summary(matrix, [aami.CLASSES.index(name) for name in SCORED])
    scored = {name: round(float(values[name]), 6) for name in ("macro_f1", "macro_recall", "accuracy")}
    record.log_test_read({"time": provenance.now(), **about, "decision": f"{found.peaks} peaks", "metrics": scored})
