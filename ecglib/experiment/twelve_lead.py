"""Several labels of whole 12-lead recordings, scored fold by fold: the task.

A part is a fold that is scored by a network which learnt from the others, or a source that is scored by one which
learnt from the other sources.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from sklearn.metrics import multilabel_confusion_matrix
from torch import nn

from ecglib import losses
from ecglib.config import TwelveLeadParameters, table_of
from ecglib.data import beats, databases, digest, median_beats, splits
from ecglib.data import recordings as data_sets
from ecglib.data.catalogues import catalogue, delta, ptb_xl, snomed
from ecglib.data.catalogues import challenge as challenge_2021
from ecglib.data.catalogues.catalogue import Records
from ecglib.data.recordings import TwelveLead
from ecglib.data.records import LEADS
from ecglib.data.splits import OFFICIAL, Index, Part
from ecglib.errors import UserError
from ecglib.evaluation import bootstrap, challenge, metrics, thresholds
from ecglib.evaluation import labels as label_scores
from ecglib.evaluation.bootstrap import Interval
from ecglib.experiment import driver, provenance
from ecglib.experiment.driver import Fitted, Found, Where
from ecglib.experiment.record import Record, Resampling, TwelveLeadCard, card
from ecglib.models import age_and_sex, registry
from ecglib.models.crnn import CRNN
from ecglib.training import augmentation, device, loop, recordings
from ecglib.training.augmentation import Augmentation, Noise
from ecglib.training.history import Epoch

RECIPE = 1
"""1: as published."""
HALF: Final = 0.5
"""Threshold of yardsticks, which weigh recordings with a label as much as those without."""
OF_NETWORKS, OF_YARDSTICKS = 4, 9
"""Digits to which a record keeps probabilities; scores of a regression on a rare label lie all but at 0 and at 1."""
ROWS: Final = ["record", "source", "patient", "fold"]
"""What is told of a scored recording, by the names of an entry's fields."""
Flags = NDArray[np.bool_]
Array = NDArray[np.float64]


class Data(driver.Data):
    """The recordings of an experiment, or others that are given, read when asked for."""

    def __init__(self, p: TwelveLeadParameters, given: Records | None = None) -> None:
        self.catalogue, self.few = catalogue_of(p) if given is None else (given, {})
        self.recordings, self.entries = TwelveLead(self.catalogue, p.rate), self.catalogue.entries
        self._p = p
        self._scores: dict[str, Array] = {}

    @cached_property
    def fingerprint(self) -> str:
        return self.catalogue.fingerprint

    @cached_property
    def sample(self) -> bool:
        return self.catalogue.sample

    @property
    def in_key(self) -> dict[str, Any]:
        """The noise of the augmentation, whose files are another database's."""
        return {"noise": databases.get("nstdb").fingerprint() if augmentation_of(self._p).needs_noise else ""}

    def no_reference(self, record: Record) -> str:
        """Nor is one whose augmentation took the noise of the sample."""
        if card(record).noise == "sample":
            return "the noise of its augmentation is the embedded sample's"
        return super().no_reference(record)

    @cached_property
    def labels(self) -> Flags:
        """`(recordings, labels)`."""
        return catalogue.labels(self.catalogue)

    @cached_property
    def survey(self) -> dict[str, Any]:
        """What was `repaired` in which recording, and which were `refused` for what; kept, as it reads all of them."""
        names = [entry.record for entry in self.entries]
        made_of, said = [self.fingerprint, self.recordings.rate, names, provenance.versions()], ("repaired", "refused")
        return beats.cached("survey", made_of, lambda: dict(zip(said, data_sets.survey(self.recordings), strict=True)))

    @property
    def usable(self) -> Index:
        """Places of the recordings that can be read."""
        refused = self.survey["refused"]
        return np.array([i for i, entry in enumerate(self.entries) if entry.record not in refused], dtype=np.int64)

    @cached_property
    def noise(self) -> Noise | None:
        """That of the augmentation; None where none is needed."""
        return augmentation.load_noise(self._p.rate) if augmentation_of(self._p).needs_noise else None

    @cached_property
    def _read_by_yardstick(self) -> Array:
        """`(recordings, leads, samples)`; UserError where age or sex is wanted and nobody's is known."""
        if self._p.entry.takes == "median beat":
            return median_beats.of_recordings(self.recordings)
        return age_and_sex.as_read(np.array([[entry.age, entry.female] for entry in self.entries]))

    def yardstick(self, part: Part) -> Array:
        """Scores 0..1 of a part's recordings by a yardstick, `(n, labels)`; the same under every seed, as the folds are
        the database's own."""
        if part.name not in self._scores:
            model = driver.yardstick(self._p.model, len(LEADS), self.labels.shape[1])
            patients = np.array([entry.patient for entry in self.entries])
            x, train = self._read_by_yardstick, part.train
            model.fit(x[train], self.labels[train], patients[train], seed=0)
            self._scores[part.name] = recordings.sigmoid(np.nan_to_num(model.predict_logits(x[part.scored])))
        return self._scores[part.name]

    def digest(self) -> digest.Digest:
        """Of the recordings that can be read, and of their division into parts."""
        every = (self.recordings[i] for i in range(len(self.recordings)))
        read = [found for found in every if isinstance(found, data_sets.Example)]
        usable = [example.index for example in read]
        entries = [self.entries[i] for i in usable]
        parts = divided(self.catalogue, self._p, np.array(usable))
        sets = [index for part in parts for index in (part.train, part.val, part.scored)]
        traces = [] if self.noise is None else [self.noise.wander.ravel(), self.noise.muscle.ravel()]
        return digest.of(  # of each recording, as all of a large database would not lie in memory at once
            norms=np.array([float(example.x.double().norm()) for example in read]),
            waves=np.array([[digest.projected(lead) for lead in example.x.numpy()] for example in read]),
            labels=self.labels[usable],
            record=np.array([entry.record for entry in entries]),
            patient=np.array([entry.patient for entry in entries]),
            people=np.array([[entry.age, entry.female] for entry in entries]),
            parts=np.concatenate([np.append(index, -1) for index in sets]),
            noise=torch.cat(traces).double().numpy() if traces else np.zeros(0),
        )


class Run(driver.Run):
    """A finished run, with `scores-seedk.parquet` of every seed."""

    def scores(self) -> pd.DataFrame:
        """Every scored recording under every seed and part: `seed, part, record, source, patient, fold`, and
        `p:<label>`, `y:<label>`, `t:<label>` (probability, truth, threshold) of every label."""
        return self.table("scores")

    def network(self, part: str) -> nn.Module:
        """The network of a part under the first seed, in eval mode on the CPU."""
        model = maker(self.record.trained_with(), len(self.record.classes))()
        model.load_state_dict(load_file(self.folder / f"weights-seed{self.record.seeds[0]}-{part}.safetensors"))
        return model.eval()

    def data(self) -> TwelveLead:
        """The recordings that it was made of."""
        return Data(self.record.trained_with()).recordings


def run(parameters: TwelveLeadParameters, *, fresh: bool = False) -> Run:
    """Train and score a model of recordings fold by fold, or find the run that did (see `driver.run`)."""
    return Run(**vars(driver.run(TASK, parameters, fresh=fresh)))


def maker(p: TwelveLeadParameters, n_classes: int) -> Callable[[], nn.Module]:
    """A function that makes the experiment's network, its weights drawn anew."""
    if p.entry.yardstick:
        return lambda: driver.yardstick(p.model, len(LEADS), n_classes)
    leads, samples = _shape(p)
    return lambda: registry.build(p.model, leads, samples, n_classes, **p.model_options)


def _shape(p: TwelveLeadParameters) -> tuple[int, int]:
    """Leads and samples of what the model reads."""
    if p.entry.yardstick:
        return driver.shape_for_yardstick(p.model, len(LEADS))
    return len(LEADS), round((p.crop_seconds or 10.0) * p.rate)


@dataclass(frozen=True)
class Example:
    """A recording to look at: `signals` `(12, samples)` in mV at `rate` Hz, `attention` `(samples,)` or None, and a
    `title` that says what it has and what it was given."""

    signals: NDArray[np.float32]
    rate: float
    attention: NDArray[np.float32] | None
    title: str


def example(run: Run) -> Example:
    """The recording that the last fold's model is surest of in any label but the first, which it has."""
    classes, table = run.record.classes, run.scores()
    part = table["part"][table["part"].str.startswith("fold")].iloc[-1]
    rows = table.query("seed == @run.record.seeds[0] and part == @part")
    p, y = (rows[[f"{kind}:{name}" for name in classes[1:]]].to_numpy(dtype=np.float64) for kind in ("p", "y"))
    best = int(np.where(y > 0, p, -1.0).max(1).argmax())
    row, data = rows.iloc[best], run.data()
    index = next(i for i, entry in enumerate(data.entries) if entry.record == row["record"])
    found = data[index]
    if isinstance(found, data_sets.Refused):
        raise UserError(found.record, f"can't be read any more ({found.reason})")
    weights = None
    if registry.entry(run.record.parameters["model"]).build is CRNN:
        network = run.network(part)
        assert isinstance(network, CRNN)
        with torch.inference_mode():
            weights = network.attention(found.x[None])[0].numpy()
    has = ", ".join(name for name in classes if row[f"y:{name}"]) or "no label"
    given = ", ".join(name for name in classes if row[f"p:{name}"] >= row[f"t:{name}"]) or "no label"
    return Example(found.x.numpy(), data.rate, weights, f"{row['record']}: {has}; given {given}")


# --- what is learnt from ----------------------------------------------------------------------------------------------


def catalogue_of(p: TwelveLeadParameters) -> tuple[Records, dict[str, int]]:
    """The recordings, and the labels that too few of them have; in development no recording that is tested counts."""
    whole = read(p)
    if not p.test:
        whole = replace(whole, entries=tuple(entry for entry in whole.entries if entry.fold not in p.test_folds))
    enough = catalogue.with_enough(whole, p.min_positives)
    counts = driver.counted(whole.classes, catalogue.labels(whole).sum(0))
    few = {name: n for name, n in counts.items() if name not in enough.classes}
    return _limited(enough, p.max_records), few


def read(p: TwelveLeadParameters) -> Records:
    """All recordings of the database."""
    table = table_of(p.database)
    return delta.read(table) if table else READERS[p.database](p.labels == "scored")


def _challenge(scored: bool) -> Records:
    """The Challenge's recordings, and PTB-XL's beside them where they are here."""
    source = databases.get("challenge-2021")
    whole = challenge_2021.read(source)
    # the sample of one beside the whole of the other would be no sample
    beside = databases.sample("ptb-xl") if source.sample else databases.find("ptb-xl")
    return whole if beside is None else challenge_2021.joined(whole, ptb_xl.read(beside, scored))


READERS: Final = {"ptb-xl": lambda scored: ptb_xl.read(databases.get("ptb-xl"), scored), "challenge-2021": _challenge}
"""Database -> its recordings, with the labels that the Challenge scores or with PTB-XL's own."""


def _limited(source: Records, most: int | None) -> Records:
    """So many recordings, the first of every fold in turn."""
    if most is None or most >= len(source.entries):
        return source
    fold = pd.Series([entry.fold for entry in source.entries])
    kept = np.sort(np.lexsort((fold, fold.groupby(fold).cumcount()))[:most])
    return replace(source, entries=tuple(source.entries[i] for i in kept))


def augmentation_of(p: TwelveLeadParameters) -> Augmentation:
    """What is done to recordings that are learnt from; nothing for a yardstick."""
    if p.entry.yardstick:
        return Augmentation()
    given = {name: getattr(p, name) for name in ("scaling", "wander", "muscle", "lead_dropout")}
    return Augmentation(crop=round(p.crop_seconds * p.rate), **given)


def divided(source: Records, p: TwelveLeadParameters, usable: Index) -> list[Part]:
    """The divisions of an experiment; `usable` are the places of the recordings that can be read. In development what
    is validated is what is scored, so far as it isn't tested itself."""
    fold, name = (np.array([getattr(source.entries[i], each) for i in usable]) for each in ("fold", "source"))
    validates = not p.entry.yardstick  # chooses its epoch and thresholds
    if p.test:
        given: dict[str, Any] = {"leave_source_out": p.leave_source_out, "validates": validates}
        return splits.parts(usable, fold, name, scored=p.test_folds, **given)
    before = {(number - 2) % splits.FOLDS + 1 for number in p.test_folds} - set(p.test_folds)
    parts = splits.parts(usable, fold, name, scored=sorted(before), leave_source_out=False, validates=False)
    return [replace(part, val=part.scored) for part in parts] if validates else parts


# --- training ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trained:
    """A network trained on one division into sets."""

    fitted: loop.Fitted
    """Its model has the weights of the best epoch, in eval mode, on the CPU."""
    val: Array
    """Probabilities of the validation recordings in their order, `(n, labels)`."""
    scored: Array
    """Likewise of the scored ones."""
    thresholds: Array
    """Chosen on validation, `(labels,)`."""


def training(
    make: Callable[[], nn.Module], data: Data, part: Part, p: TwelveLeadParameters, seed: int, where: Where
) -> dict[str, Any]:
    """The arguments of `loop.fit` that train on a part, the epoch chosen by macro AUROC on validation."""
    how: dict[str, Any] = {"how": augmentation_of(p), "noise": data.noise, "seed": seed, "workers": p.workers}
    return {
        "make_model": make,
        "train": recordings.Recordings(data.recordings, part.train, **how),
        "val": recordings.Recordings(data.recordings, part.val, workers=p.workers),
        "loss": loss_of(p, data.labels[part.train]),
        "metric": macro_auroc,
        "recipe": driver.recipe(p, max(len(part.train), p.fewest_per_epoch), where),
        "seed": seed,
        **where.training(f"checkpoint-seed{seed}-{part.name}"),
    }


def train(
    make: Callable[[], nn.Module], data: Data, part: Part, p: TwelveLeadParameters, seed: int, where: Where
) -> Trained:
    """Train a network that `make` makes, the epoch chosen by macro AUROC on validation, and score; the rest as for
    `driver.Task.fit`."""
    fitted = loop.fit(**training(make, data, part, p, seed, where))
    given: dict[str, Any] = {"device": where.device, "precision": where.precision, "workers": p.workers}
    val, scored = (
        recordings.sigmoid(recordings.predict(fitted.model, data.recordings, index, **given))
        for index in (part.val, part.scored)
    )
    fitted.model.cpu()
    return Trained(fitted, val, scored, thresholds.choose(data.labels[part.val], val))


def macro_auroc(logits: NDArray[np.float32], labels: NDArray[Any]) -> float:
    """Mean AUROC over the labels that have a positive and a negative; NaN where none has."""
    y = labels > 0.5
    auroc, _ = label_scores.areas(y, recordings.sigmoid(logits), np.ones((1, len(y)), dtype=np.int64))
    return float(metrics.macro(auroc)[0])


def loss_of(p: TwelveLeadParameters, y: Flags) -> nn.Module:
    """The loss, weighed after the labels `(n, classes)` of the training part."""
    if p.imbalance == "none":
        return losses.binary_cross_entropy()
    weights = losses.positive_weights(y.sum(0), (~y).sum(0), p.weight_exponent)
    if p.imbalance == "weighted":
        return losses.binary_cross_entropy(weights)
    return losses.FocalLoss(p.focal_gamma, losses.balance(weights))


def score_table(source: Records, part: str, index: Index, p: Array, chosen: Array) -> pd.DataFrame:
    """The rows of `Run.scores` of the recordings at these places `(n,)`, but for the seed, from probabilities
    `(n, classes)` and thresholds `(classes,)`."""
    entries, y = [source.entries[i] for i in index], catalogue.labels(source)[index]
    columns: dict[str, Any] = {"part": part}
    columns |= {name: [getattr(entry, name) for entry in entries] for name in ROWS}
    for c, name in enumerate(source.classes):
        columns |= {f"p:{name}": p[:, c], f"y:{name}": y[:, c], f"t:{name}": chosen[c]}
    return pd.DataFrame(columns)


# --- evaluation -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scored:
    """Recordings with their scores under every seed."""

    classes: Sequence[str]
    rows: pd.DataFrame
    """`ROWS` of each."""
    y: Flags
    """Labels `(n, classes)`."""
    p: Array
    """Probabilities `(seeds, n, classes)`."""
    t: Array
    """Thresholds, likewise."""

    @classmethod
    def of(cls, tables: Sequence[pd.DataFrame], classes: Sequence[str]) -> Scored:
        """From one table a seed (see `score_table`)."""

        def each(kind: str) -> NDArray[Any]:
            return np.stack([table[[f"{kind}:{name}" for name in classes]].to_numpy() for table in tables])

        y, p, t = each("y")[0].astype(bool), each("p").astype(np.float64), each("t").astype(np.float64)
        return cls(classes, tables[0][ROWS].reset_index(drop=True), y, p, t)

    def some(self, which: pd.Series) -> Scored:
        """Those recordings alone."""
        mask = which.to_numpy()
        rows = self.rows[mask].reset_index(drop=True)
        return Scored(self.classes, rows, self.y[mask], self.p[:, mask], self.t[:, mask])

    @property
    def decided(self) -> Flags:
        """Labels given, `(seeds, n, classes)`."""
        found: Flags = self.p >= self.t
        return found


def measured(
    found: Scored, codes: Sequence[str], n_resamples: int, *, calibrated: bool = True
) -> tuple[dict[str, Interval], dict[str, dict[str, Interval]]]:
    """Macro metrics, and those of every class, with intervals over resampled patients.

    `codes` are the SNOMED codes of the classes, for the Challenge's score; none gives no such score. Where `p` are no
    probabilities, and so not `calibrated`, there is no calibration error.
    """
    weights = label_scores.recording_weights(found.rows["patient"], n_resamples)
    seeds = [label_scores.values(found.y, p, given, weights) for p, given in zip(found.p, found.decided, strict=True)]
    if not calibrated:
        for one in seeds:
            del one["ece"]
    whole, per_class = label_scores.intervals(seeds, found.classes)
    if codes:
        earned = [challenge.scores(found.y, given, weights, codes) for given in found.decided]
        whole["challenge_score"] = bootstrap.interval(np.stack(earned))
    return whole, per_class


def network(data: Data, p: TwelveLeadParameters) -> tuple[Callable[[], nn.Module], device.Batch]:
    """Makes the model, which is timed on a batch of recordings."""
    return maker(p, len(data.catalogue.classes)), ((p.batch_size, *_shape(p)), 0)


def parts(data: Data, p: TwelveLeadParameters, seed: int) -> list[Part]:
    """Folds, then sources that are left out; the same under every seed."""
    return divided(data.catalogue, p, data.usable)


def fit(data: Data, part: Part, p: TwelveLeadParameters, seed: int, where: Where) -> Fitted:
    """Train a network, or fit a yardstick at once, and score."""
    started, n_classes = time.perf_counter(), data.labels.shape[1]
    if p.entry.yardstick:
        table = score_table(data.catalogue, part.name, part.scored, data.yardstick(part), np.full(n_classes, HALF))
        return Fitted(None, None, time.perf_counter() - started, {"scores": table}, {"n_parameters": 0})
    trained = train(maker(p, n_classes), data, part, p, seed, where)
    table = score_table(data.catalogue, part.name, part.scored, trained.scored, trained.thresholds)
    fitted = trained.fitted
    note = {"thresholds": trained.thresholds.tolist(), "n_parameters": registry.n_parameters(fitted.model)}
    return Fitted(fitted.model, fitted.run, fitted.seconds, {"scores": table}, note)


def epochs(data: Data, p: TwelveLeadParameters, seed: int, where: Where) -> Iterator[Epoch]:
    """The epochs of the first part's training as they come."""
    part = parts(data, p, seed)[0]
    yield from loop.epochs(**training(maker(p, data.labels.shape[1]), data, part, p, seed, where))


def evaluate(data: Data, found: Found, p: TwelveLeadParameters) -> dict[str, Any]:
    """Metrics over all folds together."""
    classes, entry = data.catalogue.classes, p.entry
    yardstick = entry.yardstick
    tables, every = found.tables("scores"), parts(data, p, p.seeds[0])
    code = {each.abbreviation: each.code for each in snomed.CLASSES}
    codes = [code[name] for name in classes] if "NSR" in classes and code.keys() >= set(classes) else []
    folds = Scored.of([table[table["part"].str.startswith("fold")] for table in tables], classes)
    whole, per_class = measured(folds, codes, p.bootstrap, calibrated=not yardstick)
    matrices = np.stack([multilabel_confusion_matrix(folds.y, given) for given in folds.decided])
    last = driver.told_of(every)
    noted = found.parts(last.name)
    patients = [int(folds.rows["patient"][has].nunique()) for has in folds.y.T]
    return {
        "task": "multilabel",
        "data": {
            "n_train": len(last.train),
            "n_val": len(last.val),
            "n_test": len(folds.rows) if p.test else 0,
            "test_indices_sha256": hashlib.sha256(b"".join(part.scored.tobytes() for part in every)).hexdigest(),
            "records_left_out": data.catalogue.refused | data.survey["refused"],
            **({"assumed": list(data.catalogue.assumed)} if data.catalogue.assumed else {}),
            "class_counts": {
                "recordings": driver.counted(classes, folds.y.sum(0)),
                "patients": dict(zip(classes, patients, strict=True)),
            },
        },
        "parameters": {"cut": entry.takes if yardstick else "whole recordings", "refit": False},
        "scored": "test" if p.test else "val",
        "classes": list(classes),
        "metrics": whole,
        "per_class": per_class,
        "selection": "" if yardstick else "macro_auroc",
        "intervals": Resampling(unit="patient", n=p.bootstrap),
        "confusion": matrices.reshape(len(p.seeds), len(classes), 4).tolist(),
        "training": [] if yardstick else [part["run"] for part in noted],
        "n_parameters": noted[0]["n_parameters"],
        "input_shape": list(_shape(p)),
        "twelve_lead": _card(data, found, p, every, folds, codes),
    }


TASK: Final = driver.Task(Data, network, parts, fit, epochs, evaluate)


def _card(
    data: Data, found: Found, p: TwelveLeadParameters, every: list[Part], folds: Scored, codes: Sequence[str]
) -> TwelveLeadCard:
    """The 12-lead part of the record."""
    noise, classes, records = data.noise, folds.classes, folds.rows["record"]
    yardstick = p.entry.yardstick
    names = [part.name for part in every if part.name.startswith("fold")]
    thresholds_of = [[part.get("thresholds") for part in found.parts(name)] for name in names]
    official: dict[str, Interval] = {}
    if p.test and OFFICIAL in p.test_folds:
        own = folds.some(folds.rows["fold"] == OFFICIAL)
        official = measured(own, codes, p.bootstrap, calibrated=not yardstick)[0]
    digits = OF_YARDSTICKS if yardstick else OF_NETWORKS
    return TwelveLeadCard(
        recordings=len(data.entries),
        patients=len({entry.patient for entry in data.entries}),
        positives=driver.counted(classes, data.labels.sum(0)),
        by_source=dict(sorted(Counter(entry.source for entry in data.entries).items())),
        repaired=data.survey["repaired"],
        duplicates=data.catalogue.duplicates,
        conflicts=catalogue.conflicts(data.catalogue),
        few=data.few,
        noise="" if noise is None else noise.source,
        official=official,
        folds=_by_fold(folds, codes),
        **_by_source(found.tables("scores"), folds, codes, p.bootstrap),
        thresholds={} if yardstick else dict(zip(classes, np.array(thresholds_of).T.tolist(), strict=True)),
        reliability={} if yardstick else _reliability(folds),
        probabilities=dict(zip(records, folds.p.round(digits).swapaxes(0, 1).tolist(), strict=True)),
        truth=dict(zip(records, folds.y.astype(int).tolist(), strict=True)),
        patient_of=dict(zip(records, folds.rows["patient"], strict=True)),
    )


def _by_fold(folds: Scored, codes: Sequence[str]) -> dict[str, dict[str, list[float | None]]]:
    wanted = ("macro_auroc", "macro_auprc", "macro_f1", *(["challenge_score"] if codes else []))
    shown = {}
    for number in sorted(set(folds.rows["fold"])):
        whole = measured(folds.some(folds.rows["fold"] == number), codes, 0)[0]
        shown[str(number)] = {name: whole[name].per_seed for name in wanted}
    return shown


def _by_source(
    tables: Sequence[pd.DataFrame], folds: Scored, codes: Sequence[str], n_resamples: int
) -> dict[str, dict[str, dict[str, Interval]]]:
    """Metrics of every source that was left out, and of the same recordings out of fold."""
    unknown, known = {}, {}
    for part in [name for name in dict.fromkeys(tables[0]["part"]) if name.startswith("source-")]:
        mine = Scored.of([table[table["part"] == part] for table in tables], folds.classes)
        source = part.removeprefix("source-")
        unknown[source] = measured(mine, codes, n_resamples)[0]
        same = folds.rows["record"].isin(mine.rows["record"])
        if same.sum() == len(mine.rows):
            known[source] = measured(folds.some(same), codes, n_resamples)[0]
    return {"left_out_source": unknown, "known_source": known}


def _reliability(folds: Scored) -> dict[str, dict[str, list[float | None]]]:
    y, p = np.concatenate([folds.y] * len(folds.p)), np.concatenate(list(folds.p))
    columns = label_scores.reliability(y, p)
    return {
        label: {name: [None if np.isnan(v) else float(v) for v in values[c]] for name, values in columns.items()}
        for c, label in enumerate(folds.classes)
    }
