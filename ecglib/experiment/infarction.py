"""Infarction or not, out of fold: the task.

Patients are divided into folds; a fold is scored by a network, transferred or not, or by a yardstick, that never saw
its patients. Or some are held out, and the folds of the others are for choices.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from ecglib import aami, config, losses, paths
from ecglib.config import HeartbeatParameters, InfarctionParameters
from ecglib.data import databases, digest, infarction, splits
from ecglib.data.infarction import CLASSES, Cohort
from ecglib.data.resampling import resample
from ecglib.data.splits import Index, Part
from ecglib.errors import UserError
from ecglib.evaluation import binary, bootstrap, metrics, ranking
from ecglib.evaluation.bootstrap import Interval
from ecglib.experiment import driver, heartbeat, raw
from ecglib.experiment.driver import Fitted, Found, Where
from ecglib.experiment.record import InfarctionCard, Resampling
from ecglib.models import age_and_sex, registry
from ecglib.models.layers import Vote
from ecglib.training import device, loop, transfer
from ecglib.training.history import Epoch, SeedRun
from ecglib.training.transfer import State, Transferred

RECIPE = 1
"""1: as published."""
LIKELY: Final = 50.0
"""Percent of likelihood from which an infarction counts in the second line."""
FEWEST: Final = 1000
"""Beats that an epoch shows at least: of few patients, beats come up more than once."""


class Data(driver.Data):
    """The cohort of an experiment, and the weights that it starts from, read when asked for."""

    def __init__(self, p: InfarctionParameters) -> None:
        self._p = p
        self.folds = cache(self._folds)
        self._states: dict[int, State] = {}

    @cached_property
    def source(self) -> databases.Source:
        """Where the records are."""
        return databases.get(self._p.database)

    @cached_property
    def sampled(self) -> list[str]:
        """The databases, its own and that of the pretraining, of which it has the excerpts that the package embeds."""
        before = pretraining(self._p)
        sources = [self.source, *([] if before is None else heartbeat.Data(before).sources)]
        return list(dict.fromkeys(source.name for source in sources if source.sample))

    @cached_property
    def sample(self) -> bool:
        """Whether there is one."""
        return bool(self.sampled)

    @cached_property
    def fingerprint(self) -> str:
        return self.source.fingerprint()

    @property
    def in_key(self) -> dict[str, Any]:
        """What the pretrained weights follow from: the key of their run, or the contents of their file."""
        p, before = self._p, pretraining(self._p)
        if p.way == "scratch":
            return {"pretrained": ""}
        if before is not None:
            return {"pretrained": driver.key_of(heartbeat.TASK, before)}
        return {"pretrained": hashlib.sha256((paths.root() / p.pretrained).read_bytes()).hexdigest()}

    def _folds(self, seed: int) -> Index:
        """Number of every beat's fold, `(beats,)`; the beats of a patient stay together where the protocol says so.
        Where but one is scored, it is the first."""
        cohort = self.cohort
        if self._p.database == "kaggle":
            return splits.fifth(cohort.labels, seed)
        if self._p.protocol == "held-out" and self._p.test:
            scored = cohort.recordings["patient"].isin(self._held_out).to_numpy()
            if not scored.any() or scored.all():
                found = f"{scored.sum()} of {len(scored)} recordings are of patients held out"
                raise UserError("protocol held-out", found, "some of them, and others to learn from")
            return np.where(scored, 0, 1)[cohort.recording]
        groups = np.arange(len(cohort)) if self._p.protocol == "by-beat" else cohort.patients
        return splits.folds(cohort.labels, groups, self._p.folds, seed, CLASSES)

    @cached_property
    def _held_out(self) -> frozenset[str]:
        """The patients who are tested by the protocol of that name."""
        return infarction.held_out(self.source)

    def pretrained(self, p: InfarctionParameters, seed: int) -> State | None:
        """The weights that are transferred, None where none are; a beat experiment that was not run yet is run first.
        Of `p`, that and the model must be those of the data."""
        if p.way == "scratch":
            return None
        if seed not in self._states:
            before, file = pretraining(p), paths.root() / p.pretrained
            if before is not None:
                file = driver.run(heartbeat.TASK, before).folder / f"weights-seed{seed}.safetensors"
            self._states[seed] = transfer.read_weights(file)
        return self._states[seed]

    @cached_property
    def cohort(self) -> Cohort:
        """As the experiment's network reads it; in development without those who are held out."""
        without = frozenset() if self._p.test else self._held_out
        found = infarction.limited(infarction.load(self.source, self._p.leads, without), self._p.max_records)
        return infarction.aligned(found, self.source, self._p.leads) if self._p.entry.reads_aligned else found

    @cached_property
    def read(self) -> NDArray[np.floating[Any]]:
        """What the model reads, `(n, leads, samples)`: beats, or of every recording the median beat or age and sex;
        UserError where nobody's are known."""
        takes = self._p.entry.takes
        if takes == "median beat":
            return self.cohort.median_beats
        if takes == "age and sex":
            return age_and_sex.as_read(self.cohort.recordings[["age", "female"]].to_numpy(np.float64))
        return self.cohort.signals

    def digest(self) -> digest.Digest:
        """Of the beats and of their folds under each seed."""
        cohort, people = self.cohort, self.cohort.recordings
        return digest.of(
            signals=cohort.signals,
            median_beats=cohort.median_beats,
            labels=cohort.labels,
            sample=cohort.sample,
            record=people["record"].to_numpy()[cohort.recording],
            patient=people["patient"].to_numpy(),
            people=people[["age", "female", "likelihood"]].to_numpy(dtype=np.float64),
            folds=np.stack([self.folds(seed) for seed in self._p.seeds]),
        )


class Run(driver.Run):
    """A finished run, with `scores-seedk.parquet` of every seed."""

    def scores(self) -> pd.DataFrame:
        """Every beat under every seed: `seed, beat, record, patient, likelihood, sample, label, fold, score,
        log_odds`, and `score_n` after learning from n patients. Of a yardstick a row is a recording."""
        return self.table("scores").sort_values(["seed", "beat"])


def run(parameters: InfarctionParameters, *, fresh: bool = False) -> Run:
    """Train and score one way of transfer, or a yardstick, out of fold, or find the run that did (see `driver.run`). A
    beat experiment that is to be transferred and was not run yet is run first, in the same profile."""
    return Run(**vars(driver.run(TASK, parameters, fresh=fresh)))


def pretraining(p: InfarctionParameters) -> HeartbeatParameters | None:
    """The beat experiment that is transferred; None where nothing is, or a file. Raises UserError when it is neither a
    file nor such an experiment, or its network is another one."""
    if p.way == "scratch" or (paths.root() / p.pretrained).is_file():
        return None
    if p.pretrained.partition("/")[0] != "heartbeat":
        raise UserError(f"pretrained: {p.pretrained}", "no such file", "a weights file, or heartbeat/<experiment>")
    found = config.load(p.pretrained, profile=p.profile, overrides={"seeds": p.seeds})
    assert isinstance(found, HeartbeatParameters)
    if (found.model, found.model_options) != (p.model, p.model_options):
        theirs, ours = (f"a {one.model} {one.model_options or ''}".strip() for one in (found, p))
        raise UserError(f"pretrained: {p.pretrained}", theirs, ours)
    return found


def maker(p: InfarctionParameters) -> Callable[[], nn.Module]:
    """A function that makes the model, of aligned beats one of those that vote, its weights drawn anew."""
    if p.entry.yardstick:
        return lambda: driver.yardstick(p.model, len(p.leads), 1)
    if p.entry.reads_aligned:
        n_leads, n_samples = len(p.leads), infarction.BEFORE + infarction.AFTER
        return lambda: registry.build(p.model, n_leads, n_samples, len(CLASSES), **p.model_options)
    options: dict[str, Any] = {"hidden": p.hidden, "dropout": p.dropout, "noise": p.noise, "options": p.model_options}
    return lambda: Transferred(p.model, len(p.leads), infarction.N_SAMPLES, len(CLASSES), **options)


@dataclass(frozen=True)
class Learnt:
    """What a network that learnt from some beats gave of others."""

    model: nn.Module
    run: SeedRun
    scores: NDArray[np.float32]
    """Log-odds of infarction at even prior odds, `(n,)`."""
    log_odds: float
    """Prior log-odds of infarction in its training part, counted in beats."""


def learn(p: InfarctionParameters, data: Data, seed: int, train: Index, scored: Index, where: Where) -> Learnt:
    """Train on some beats for a number of epochs fixed beforehand, score others.

    Of aligned beats several networks vote, of other first weights and another order (Lakshminarayanan et al. 2017,
    section 2.4); the run is then that of the first one, with the seconds of all.
    """
    cohort = data.cohort
    x, y = cohort.signals[train], cohort.labels[train]
    counts = np.bincount(y, minlength=len(CLASSES))
    weights = losses.inverse_frequency(counts) if p.imbalance == "weighted" else None
    if p.imbalance != "weighted":
        x, y = resample(x, y, p.imbalance, seed=seed, neighbours=p.smote_neighbours, classes=range(len(CLASSES)))
    epochs, aligned = min(p.epochs, p.max_epochs), p.entry.reads_aligned
    groups = None if aligned else transfer.groups(p.way, p.layer_decay, p.head_decay, p.weight_decay)
    given: dict[str, Any] = {"max_epochs": epochs, "stop_after": where.epochs or epochs, "groups": groups}
    recipe = driver.recipe(p, max(len(train), FEWEST), where, **given)
    make, loss = maker(p) if aligned else _pretrained(p, data, seed, where), losses.cross_entropy
    seeds = np.random.SeedSequence(seed).generate_state(p.networks).tolist() if aligned else [seed]
    fitted = []
    for number, one in enumerate(seeds, 1):
        title = f"{where.title}, network {number}/{len(seeds)}" if aligned else where.title
        own: dict[str, Any] = {"seed": one, "device": where.device, "title": title}
        fitted.append(loop.fit(make, loop.InMemory(x, y), None, loss(weights, p.label_smoothing), None, recipe, **own))
    model = Vote([one.model for one in fitted]).eval() if aligned else fitted[0].model
    given = {"device": where.device, "precision": where.precision, "deterministic": p.deterministic}
    logits = loop.predict(model, loop.InMemory(cohort.signals[scored], cohort.labels[scored]), **given)
    history = [
        epochs[0].model_copy(update={"seconds": sum(epoch.seconds for epoch in epochs)})
        for epochs in zip(*(one.run.history for one in fitted), strict=True)
    ]
    run = fitted[0].run.model_copy(update={"history": history})
    return Learnt(model, run, logits[:, 1] - logits[:, 0], float(np.log(counts[1] / counts[0])))


def _pretrained(p: InfarctionParameters, data: Data, seed: int, where: Where) -> Callable[[], nn.Module]:
    """A function that makes the network with the weights that it starts from; for a look at the first epochs alone,
    with those of a network of beats as it is drawn."""
    state = data.pretrained(p, seed) if where.epochs is None else None
    if p.way != "scratch" and where.epochs is not None:
        torch.manual_seed(seed)
        state = registry.build(p.model, 1, infarction.N_SAMPLES, len(aami.CLASSES), **p.model_options).state_dict()

    def make() -> nn.Module:
        model = maker(p)()
        _take(model, p, state)
        return model

    return make


def _take(model: nn.Module, p: InfarctionParameters, state: State | None) -> dict[str, list[str]]:
    """Load the weights that a network starts from and freeze what does not learn; returns the tensors' names."""
    if not isinstance(model, Transferred):
        return {"loaded": [], "skipped": [], "frozen": []}
    loaded, skipped = model.take(state, p.pretrained) if state is not None else ([], [])
    return {"loaded": loaded, "skipped": skipped, "frozen": model.freeze() if p.way == "frozen" else []}


def _table(cohort: Cohort, part: Part, index: Index) -> pd.DataFrame:
    """A row for each of these beats of a part; the scores are still to come."""
    rows = cohort.recordings.iloc[cohort.recording[index]]
    whose = {name: rows[name].to_numpy() for name in ("record", "patient", "likelihood")}
    beats = {"sample": cohort.sample[index], "label": cohort.labels[index]}
    return pd.DataFrame({"beat": index, **whose, **beats, "fold": int(part.name.removeprefix("fold"))})


def network(data: Data, p: InfarctionParameters) -> tuple[Callable[[], nn.Module], device.Batch]:
    """Makes the model, which is timed on a batch of beats."""
    n_samples = infarction.BEFORE + infarction.AFTER if p.entry.reads_aligned else infarction.N_SAMPLES
    return maker(p), ((p.batch_size, len(p.leads), n_samples), 0)


def parts(data: Data, p: InfarctionParameters, seed: int) -> list[Part]:
    """The folds, or the fifth that is scored of the Kaggle set, or of patients held out; there are no beats to choose
    on."""
    fold, nothing = data.folds(seed), np.zeros(0, dtype=np.int64)
    alone = p.database == "kaggle" or (p.protocol == "held-out" and p.test)
    divided = [splits.held_out(fold, n) for n in range(1 if alone else int(fold.max()) + 1)]
    return [Part(f"fold{n}", train, nothing, scored) for n, (train, scored) in enumerate(divided)]


def fit(data: Data, part: Part, p: InfarctionParameters, seed: int, where: Where) -> Fitted:
    """Learn from the other folds, and again from a few of their patients; score the fold each time."""
    if p.entry.yardstick:
        return _fit_yardstick(data, part, p, seed)
    cohort = data.cohort
    whole = learn(p, data, seed, part.train, part.scored, where)
    table = _table(cohort, part, part.scored).assign(score=whole.scores, log_odds=whole.log_odds)
    runs = [whole.run]
    trains = [one.train for one in parts(data, p, seed)] if p.curve and where.epochs is None else []
    for n in splits.curve_sizes(p.curve, cohort.patients, trains) if trains else []:
        few = splits.some_patients(cohort.labels, cohort.patients, part.train, n, seed)
        one = learn(p, data, seed, few, part.scored, replace(where, title=f"{where.title}, {n} patients"))
        table[f"score_{n}"] = one.scores
        runs.append(one.run)
    start = data.pretrained(p, seed) if where.epochs is None else None
    note = {
        "n_train": len(np.unique(cohort.recording[part.train])),
        "transfer": _take(maker(p)(), p, start),
        "n_parameters": sum(t.numel() for t in whole.model.parameters()),
        "n_learning": registry.n_parameters(whole.model),
    }
    seconds = sum(epoch.seconds for run in runs for epoch in run.history)
    return Fitted(whole.model, whole.run, seconds, {"scores": table}, note)


def _fit_yardstick(data: Data, part: Part, p: InfarctionParameters, seed: int) -> Fitted:
    """Fit to the recordings of the other folds; a row is a recording."""
    started, rows = time.perf_counter(), data.cohort.recordings
    _, first = np.unique(data.cohort.recording, return_index=True)
    sick, patients = (rows["label"] == 1).to_numpy(), rows["patient"].to_numpy(dtype=np.str_)
    train, scored = (np.flatnonzero(np.isin(first, index)) for index in (part.train, part.scored))
    model = driver.yardstick(p.model, len(p.leads), 1)
    model.fit(data.read[train], sick[train, None], patients[train], seed)
    score, prior = model.predict_logits(data.read[scored])[:, 0], np.log(sick[train].sum() / (~sick[train]).sum())
    table = _table(data.cohort, part, first[scored]).assign(score=score, log_odds=prior)
    note = {"n_train": len(train), "n_parameters": 0, "n_learning": 0, "transfer": _take(model, p, None)}
    return Fitted(None, None, time.perf_counter() - started, {"scores": table}, note)


def epochs(data: Data, p: InfarctionParameters, seed: int, where: Where) -> Iterator[Epoch]:
    """One for each fold that is scored, with the AUROC of all recordings scored so far: a network's number of epochs is
    fixed beforehand, so nothing is chosen within its training. Folds that were scored before a resumption are not
    repeated."""
    p, scored = p.model_copy(update={"curve": []}), []
    for number, part in enumerate(parts(data, p, seed), 1):
        path = None if where.folder is None else where.folder / f"{part.name}.json"
        found = None if path is None else driver.note(path)
        if found is None or found["key"] != where.key:
            fitted = fit(data, part, p, seed, replace(where, title=f"{where.title}, {part.name}"))
            rows = binary.pooled(fitted.tables["scores"]).to_dict("list")
            last = fitted.run.history[-1].model_dump() if fitted.run else {"train_loss": 0.0, "learning_rate": 0.0}
            found = {"key": where.key, "rows": rows, "epoch": last | {"seconds": fitted.seconds}}
            if path is not None:
                driver.write_note(path, found)
        scored.append(pd.DataFrame(found["rows"]))
        told = {"epoch": number, "val_loss": None, "val_metric": _auroc(pd.concat(scored))}
        yield Epoch(**found["epoch"] | told)


def _auroc(rows: pd.DataFrame) -> float | None:
    """Of recordings, None where they are of one class."""
    one, sick = np.zeros(len(rows), dtype=np.int64), rows["label"].to_numpy() == 1
    auroc, _ = ranking.auroc_auprc(rows["score"].to_numpy(), sick, one, np.ones((1, 1), dtype=np.int64))
    return None if np.isnan(auroc[0]) else float(auroc[0])


def evaluate(data: Data, found: Found, p: InfarctionParameters) -> dict[str, Any]:
    """Metrics of recordings, whose scores are the means of their beats', and of the beats."""
    beats = [table.sort_values("beat") for table in found.tables("scores")]
    recordings = [binary.pooled(table) for table in beats]
    rows, cohort, entry = recordings[0], data.cohort, p.entry
    cut = entry.takes if entry.yardstick else "aligned" if entry.reads_aligned else "kachuee"
    known = bool(rows["patient"].astype(bool).all())
    n_resamples = p.bootstrap if known else 0  # beats of unknown patients aren't independent
    scores = _scores(recordings, n_resamples)
    matrices = np.stack([_matrices(of_seed) for of_seed in recordings])
    curve = {
        str(n): [binary.pooled(table.assign(score=table[f"score_{n}"])) for table in beats]
        for n in p.curve
        if f"score_{n}" in beats[0]
    }
    likelihood = beats[0].groupby("record", sort=True)["likelihood"].first().to_numpy()
    likely = (rows["label"] == 0).to_numpy() | (likelihood >= LIKELY)
    of_likely = {} if np.isnan(likelihood).all() else _scores([each[likely] for each in recordings], n_resamples)
    if entry.yardstick:
        for values in (scores, of_likely):
            values.pop("ece", None)  # no probability follows from its scores
    noted = found.cards[0]["parts"]
    first = next(iter(noted.values()))
    return {
        "task": "binary",
        "data": {
            "n_train": first["n_train"],
            "n_val": 0 if p.test else len(rows),
            "n_test": len(rows) if p.test else 0,
            "test_indices_sha256": hashlib.sha256(data.folds(p.seeds[0]).tobytes()).hexdigest(),
            "left_out": cohort.left_out,
            "records_left_out": cohort.records_left_out,
            **({"repaired": cohort.repaired} if cohort.repaired else {}),
            **({"sampled": data.sampled} if data.sample else {}),
            "class_counts": _class_counts(cohort),
        },
        "parameters": {"cut": cut, "refit": False},
        "scored": "test" if p.test else "val",
        "classes": list(CLASSES),
        "metrics": scores,
        "per_class": _per_class(matrices, scores),
        "intervals": Resampling(unit="patient", n=n_resamples),
        "confusion": matrices.sum(1).tolist(),
        "by_record": {name: matrices[:, i].tolist() for i, name in enumerate(rows["record"])},
        "right": [raw.pack(((each["score"] >= 0) == (each["label"] == 1)).to_numpy()) for each in recordings],
        "n_parameters": first["n_parameters"],
        "input_shape": list(data.read.shape[1:]),
        "infarction": InfarctionCard(
            beat_metrics={} if entry.yardstick else _scores(beats, n_resamples),
            likely=of_likely,
            curve={n: _scores(few, n_resamples)["auroc"] for n, few in curve.items()},
            transfer=first["transfer"] | {"n_learning": first["n_learning"]},
            scores={n: _by_recording(few) for n, few in {"all": recordings, **curve}.items()} if known else {},
            patients={str(name): str(who) for name, who in rows[["record", "patient"]].to_numpy() if who},
            folds=len(noted),
            epochs=first["run"]["epochs_run"] if first["run"] else 0,
        ),
    }


TASK: Final = driver.Task(Data, network, parts, fit, epochs, evaluate)


# --- evaluation -------------------------------------------------------------------------------------------------------


def _per_class(matrices: NDArray[np.int64], scores: dict[str, Interval]) -> dict[str, dict[str, Interval]]:
    """Of healthy ones without intervals; of infarctions they are those of the metrics."""
    healthy = {key: bootstrap.interval(values[:, :1]) for key, values in metrics.per_class(matrices.sum(1)).items()}
    names = {"se": "se", "ppv": "ppv", "f1": "f1", "specificity": "sp"}
    return {CLASSES[0]: healthy, CLASSES[1]: {key: scores[name] for key, name in names.items()}}


def _class_counts(cohort: Cohort) -> dict[str, dict[str, int]]:
    people = cohort.recordings
    return {
        "recordings": driver.counted(CLASSES, np.bincount(people["label"], minlength=2)),
        "patients": {name: len(set(people["patient"][people["label"] == i]) - {""}) for i, name in enumerate(CLASSES)},
        "beats": driver.counted(CLASSES, np.bincount(cohort.labels, minlength=2)),
    }


def _matrices(rows: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.int64]]:
    """One confusion matrix a recording, `(recordings, 2, 2)`."""
    n = len(rows)
    predicted = (rows["score"].to_numpy() >= 0).astype(np.int64)
    return metrics.confusion_by(np.arange(n), n, rows["label"].to_numpy(np.int64), predicted, 2)


def _scores(tables: list[pd.DataFrame], n_resamples: int) -> dict[str, Interval]:
    codes, drawn = bootstrap.patient_weights(tables[0]["patient"], n_resamples)
    return binary.intervals([binary.values(table, codes, drawn) for table in tables])


def _by_recording(recordings: list[pd.DataFrame]) -> dict[str, list[float]]:
    """What a paired comparison with another way needs."""
    columns = np.stack([rows["score"].to_numpy(dtype=np.float64) for rows in recordings], 1).round(4)
    return dict(zip(recordings[0]["record"].tolist(), columns.tolist(), strict=True))
