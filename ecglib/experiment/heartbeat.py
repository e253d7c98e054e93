"""One beat classifier, under one protocol and with one answer to the class imbalance: the task."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from ecglib import aami, fingerprint, losses, paths
from ecglib.config import RESAMPLERS, HeartbeatParameters
from ecglib.data import beats as beats_module
from ecglib.data import databases, digest, splits
from ecglib.data.beats import Beats
from ecglib.data.catalogues import annotated, kaggle_csv
from ecglib.data.databases import Source
from ecglib.data.resampling import resample
from ecglib.data.splits import Index, Part, Split
from ecglib.errors import UserError
from ecglib.evaluation import metrics, scoring, thresholds
from ecglib.experiment import driver, provenance, raw
from ecglib.experiment import record as results
from ecglib.experiment.driver import Fitted, Found, Where
from ecglib.experiment.record import Moved, Record, Resampling
from ecglib.models import registry
from ecglib.models.classical import Classical
from ecglib.models.ecgnet import ECGNet
from ecglib.training import adaptation, device, loop, sequences, transfer
from ecglib.training.history import Epoch, SeedRun
from ecglib.training.sampling import ByRecord

RECIPE = 1
"""1: as published."""
N_CLASSES: Final = len(aami.CLASSES)
TESTED: Final = 0.2
"""Share of the beats that test where patients are shared, or of the patients where no list of records says who."""
FEWEST: Final = 3
"""Beats of a class that can be divided into three sets."""
SAMPLE_MINUTES: Final = 1.0
"""Of the five minutes of a record in the sample, those that a patient-adapted network may learn from."""
Arguments = dict[str, Any]
Sample = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Signals `(n, channels, samples)` and labels `(n,)` that are trained on, maybe resampled."""


def macro_classes(protocol: str) -> list[int]:
    """The classes that macro means, and every choice, are over: Q has a handful of beats in DS1 and DS2. Of other
    databases than `mitdb`, those of them that have beats (`Data.classes`)."""
    return [i for i, name in enumerate(aami.CLASSES) if protocol == "intra" or name != "Q"]


class Data(driver.Data):
    """The beats of an experiment, read when asked for."""

    def __init__(self, p: HeartbeatParameters) -> None:
        self._p = p
        self.split = cache(self._split)

    @cached_property
    def sources(self) -> list[Source]:
        """Where the records are, of every database."""
        if _beats_alone(self._p):
            return [databases.get(self._p.database)]
        return [databases.annotated(name, self._p.annotator) for name in self._p.databases]

    @cached_property
    def source(self) -> Source:
        """The first of them."""
        return self.sources[0]

    @cached_property
    def sample(self) -> bool:
        return any(source.sample for source in self.sources)

    @cached_property
    def fingerprint(self) -> str:
        each = [source.fingerprint() for source in self.sources]
        return each[0] if len(each) == 1 else fingerprint.of_values(each)

    @property
    def in_key(self) -> dict[str, Any]:
        """The weights that training goes on from."""
        if not self._p.start_from:
            return {}
        path = paths.root() / self._p.start_from
        if not path.is_file():
            raise UserError(f"start_from: {path}", "no such file", "a weights file")
        return {"start_from": hashlib.sha256(path.read_bytes()).hexdigest()}

    @property
    def name(self) -> str:
        """That of the database, or of those to train on and those to test on."""
        p = self._p
        return " → ".join(map(", ".join, (p.train_on, p.test_on))) if p.train_on else p.database

    @cached_property
    def apart(self) -> dict[str, str]:
        """Records of several databases that are left out so that patients are apart -> the reason."""
        n = len(self._p.train_on)
        left = annotated.not_apart(self.sources[:n], self.sources[n:]) if n else {}
        return {"/".join(record): why for record, why in left.items()}

    @cached_property
    def beats(self) -> Beats:
        """All that are divided; in development no record of DS2 is read, nor one of what is tested on."""
        p, source, columns = self._p, self.source, _columns(self._p).values()
        if _beats_alone(p):
            beats = kaggle_csv.load(source)
        elif p.train_on:
            beats = self._joined()
        else:
            if p.of_mitdb:
                wanted = aami.DS1 + (aami.DS2 if p.test else ())
                source = replace(source, records=tuple(name for name in source.records if name in wanted))
            beats = beats_module.load(source, p.cut, p.leads)
        beats = beats.with_features(columns)
        return beats if p.max_beats is None else beats_module.limit(beats, p.max_beats)

    def _joined(self) -> Beats:
        """The beats of several databases, patients apart."""
        p, parts = self._p, {}
        for source in self.sources:
            kept = tuple(name for name in source.records if f"{source.name}/{name}" not in self.apart)
            if kept and (p.test or source.name in p.train_on):
                parts[source.name] = beats_module.load(replace(source, records=kept), p.cut, p.leads)
        if not parts.keys() & set(p.train_on):
            found = "no patient who is not tested on"
            raise UserError(f"train_on: {', '.join(p.train_on)}", found, do="train on other databases")
        return beats_module.joined(parts)

    @cached_property
    def classes(self) -> list[int]:
        """The classes that macro means, and every choice, are over: of other databases than `mitdb` and `kaggle`, those
        with enough beats for every set where patients are shared, and where other databases test, with some on either
        side. A `UserError` where there are fewer than two."""
        p, y = self._p, self.beats.labels
        if self.name == "mitdb" or _beats_alone(p):
            return macro_classes(p.protocol)
        sets = [y[self._tested], y[~self._tested]] if p.train_on and p.test else [y]
        fewest = math.ceil(1 / ((1 - TESTED) * p.validation_fraction)) if p.protocol == "intra" else 1
        found = [i for i in macro_classes(p.protocol) if all((part == i).sum() >= fewest for part in sets)]
        if len(found) < 2:
            names = ", ".join(aami.CLASSES[i] for i in found) or "none"
            raise UserError(self.name, f"beats of too few classes ({names})", "two or more in training and test")
        return found

    @cached_property
    def _tested(self) -> NDArray[np.bool_]:
        """Whether a beat is of a database that is tested on, `(n,)`."""
        database = pd.Series(self.beats.record).str.rpartition("/")[0]
        return database.isin(self._p.test_on).to_numpy()

    @cached_property
    def early(self) -> NDArray[np.bool_]:
        """The beats of each record that a patient-adapted network may learn from, `(n,)`."""
        minutes = min(self._p.adaptation_minutes, SAMPLE_MINUTES if self.source.sample else np.inf)
        return adaptation.within(self.beats, self.source, minutes)

    def _split(self, seed: int) -> Split:
        """The sets under a seed; a patient-adapted network validates and tests on the whole of them before."""
        p, y = self._p, self.beats.labels
        if _beats_alone(p):
            return splits.as_published(y, self.beats.record == kaggle_csv.TEST, seed, p.validation_fraction)
        if p.protocol == "intra":
            split = splits.intra(y, seed, p.validation_fraction)
            return split if p.test else replace(split, test=split.test[:0])
        if p.of_mitdb:
            return splits.inter(self.beats.record, with_test=p.test)
        kept = np.flatnonzero(~self._tested)
        split = splits.by_patient(
            y[kept],
            self.beats.patient[kept],
            seed,
            test=0.0 if p.train_on else TESTED,
            validation=p.validation_fraction,
            classes=self.classes,
        )
        test = np.flatnonzero(self._tested) if p.train_on else kept[split.test]
        return Split(kept[split.train], kept[split.val], test if p.test else test[:0])

    def digest(self) -> digest.Digest:
        """Of the beats, and of their division into sets under each seed."""
        sets = [index for seed in self._p.seeds for index in vars(self.split(seed)).values()]
        return digest.of(
            signals=self.beats.signals,
            features=self.beats.features,
            labels=self.beats.labels,
            record=self.beats.record,
            sample=self.beats.sample,
            sets=np.concatenate([np.append(index, -1) for index in sets]),
        )

    def no_reference(self, record: Record) -> str:
        """A run on fewer records than the database has must not replace the reference result, nor one on files that
        were made after those of a published set."""
        if _beats_alone(self._p):
            n = record.data.n_train + record.data.n_val, record.data.n_test
            return "" if n == kaggle_csv.ROWS else "the files are not of the published size"
        known = databases.DATABASES
        if unknown := [source.name for source in self.sources if source.name not in known]:
            return f"{unknown[0]} is no public database"
        whole = not record.data.records_left_out.keys() - self.apart.keys()
        whole &= all(len(source.records) == known[source.name].expected for source in self.sources)
        return "" if whole else "the run rests on a part of the database"


class Run(driver.Run):
    """A finished run, with `predictions-seedk.parquet` and, of the validation beats, `validation-seedk.parquet`."""

    def predictions(self) -> pd.DataFrame:
        """Every scored beat of every seed: `seed, index, record, sample, symbol, label, logit_N …`."""
        return self.table("predictions")

    def model(self, seed: int, *, moved: bool = False) -> nn.Module:
        """The network of one of the record's seeds with its trained weights, on the CPU, in eval mode; `moved` decides
        with the thresholds moved on validation, by offsets that come to the logits.

        Of a patient-adapted run it is the network before it was adapted, once for each record. A `UserError` when
        `moved` is asked of a run whose thresholds were never moved.
        """
        record = self.record
        model = model_maker(record.trained_with())()
        model.load_state_dict(load_file(self.folder / f"weights-seed{seed}.safetensors"))
        if moved:
            if record.moved is None:
                raise UserError(record.experiment or record.key, "its thresholds were never moved")
            offsets = torch.tensor(record.moved.offsets[record.seeds.index(seed)])
            model.register_forward_hook(lambda _, __, logits: logits + offsets.to(logits))
        return model.eval()


def run(parameters: HeartbeatParameters, *, fresh: bool = False) -> Run:
    """Train and test one beat classifier, or find the run that did (see `driver.run`)."""
    return Run(**vars(driver.run(TASK, parameters, fresh=fresh)))


# --- training ---------------------------------------------------------------------------------------------------------


def _shape(p: HeartbeatParameters) -> tuple[int, int]:
    """Channels and samples of a beat."""
    return beats_module.shape(p.cut, len(p.leads))


def _columns(p: HeartbeatParameters) -> dict[str, int]:
    """Name of a feature that is read -> its column in the cut."""
    return beats_module.features_of(p.cut, len(p.leads), p.features)


def model_maker(p: HeartbeatParameters) -> Callable[[], nn.Module]:
    """A function that makes the experiment's network, its weights drawn anew."""
    options: dict[str, Any] = dict(p.model_options)
    if p.entry.reads_features:
        options["n_features"] = len(_columns(p))
    return lambda: registry.build(p.model, *_shape(p), N_CLASSES, **options)


def _beats_alone(p: HeartbeatParameters) -> bool:
    """Whether nobody knows the records of the beats, so that they divide as their files do and have no intervals."""
    return p.database == "kaggle"


@dataclass(frozen=True)
class Fitting:
    """What the first fit and the refit share."""

    p: HeartbeatParameters
    beats: Beats
    seed: int
    where: Where
    classes: list[int]
    """Those that every choice is over."""

    def sample(self, index: Index) -> Sample:
        """The beats at these positions as they are trained on."""
        x, y = self.beats.signals[index], self.beats.labels[index]
        if self.p.imbalance in RESAMPLERS:
            near, scored = self.p.smote_neighbours, self.classes
            x, y = resample(x, y, self.p.imbalance, seed=self.seed, neighbours=near, classes=scored)
        return x, y

    def fit(self, index: Index, part: Sample, name: str, *, val: Index | None = None, **changes: Any) -> loop.Fitted:
        """Train on the beats at these positions, whose `sample` is the part."""
        if self.p.entry.classical:
            return self._fit_at_once(index, part, val)
        fitted = loop.fit(**self.training(index, part, name, val=val, **changes))
        if self.p.reads_sequences:
            fitted.run.examples_per_epoch *= self.p.beats_per_sequence
        return fitted

    def training(self, index: Index, part: Sample, name: str, *, val: Index | None = None, **changes: Any) -> Arguments:
        """The arguments of `loop.fit` for that."""
        p = self.p
        x, y = part
        training: loop.InMemory
        if p.reads_sequences:
            training = sequences.Sequences(self.beats, self._windows, index, told=index)
            n, beats_each = len(training), p.beats_per_sequence
            changes["batch_size"] = max(1, p.batch_size // beats_each)
        else:
            training = loop.InMemory(x, y, self._features(index))
            n, beats_each = len(index), 1
        if p.beats_per_epoch is not None:
            n = min(n, max(1, p.beats_per_epoch // beats_each))
        if p.sampling == "by-record":
            changes["sampler"] = ByRecord(self.beats.record[index], y)
        return {
            "make_model": lambda: self._made(index),
            "train": training,
            "val": None if val is None else self.examples(val),
            "loss": self.loss(index),
            "metric": self.metric,
            "recipe": driver.recipe(p, n, self.where, **changes),
            "seed": self.seed,
            **self.where.training(f"{name}-seed{self.seed}"),
        }

    def predict(self, model: nn.Module, index: Index) -> NDArray[np.float32]:
        """Logits `(n, classes)` of the beats at these increasing positions."""
        if isinstance(model, Classical):
            return model.predict_logits(loop.as_tensor(self.beats.signals[index]), self._tensor(index))
        examples, where = self.examples(index), self.where
        given: dict[str, Any] = {"precision": where.precision, "deterministic": self.p.deterministic}
        logits = loop.predict(model, examples, device=where.device, **given)
        return examples.in_order(logits) if isinstance(examples, sequences.Sequences) else logits

    def _fit_at_once(self, index: Index, part: Sample, val: Index | None) -> loop.Fitted:
        start = time.perf_counter()
        x, y = part
        torch.manual_seed(self.seed)
        model = model_maker(self.p)()
        assert isinstance(model, Classical) and val is not None  # config refuses to refit one
        x_val, labels = loop.as_tensor(self.beats.signals[val]), self.beats.labels[val]
        n = len(y)
        order = loop.epoch_order(0, n, min(n, self.p.beats_per_epoch or n), self.seed).sort().values.numpy()
        features = self._tensor(index)
        strength = model.fit(
            loop.as_tensor(x[order]),
            torch.from_numpy(y[order]),
            x_val,
            lambda logits: self.metric(logits, labels),
            features=None if features is None else features[order],
        )
        run = SeedRun(seed=self.seed, best_epoch=0, epochs_run=0, stopped_early=False, strength=strength, history=[])
        return loop.Fitted(model.eval(), run, time.perf_counter() - start)

    def _made(self, index: Index) -> nn.Module:
        """The network, its weights drawn anew, and features standardised after those of these beats; or both as they
        are where training goes on from."""
        model, features = model_maker(self.p)(), self._tensor(index)
        if self.p.start_from:
            transfer.fill(model, paths.root() / self.p.start_from)
        elif features is not None:
            assert isinstance(model, ECGNet)
            model.standardise(features)
        return model

    def examples(self, index: Index) -> loop.InMemory:
        """The beats at these positions, to be scored."""
        if self.p.reads_sequences:
            return sequences.Sequences(self.beats, self._windows, index)
        return loop.InMemory(self.beats.signals[index], self.beats.labels[index], self._features(index))

    @property
    def _windows(self) -> beats_module.Windows:
        return beats_module.windows(self.beats.record, self.p.beats_per_sequence)

    def _features(self, index: Index) -> NDArray[np.float32] | None:
        """Those of beats that the model reads; none of one that takes resampled beats does."""
        return self.beats.features[index] if self.p.entry.reads_features else None

    def _tensor(self, index: Index) -> Tensor | None:
        features = self._features(index)
        return None if features is None else loop.as_tensor(features)

    def loss(self, index: Index) -> nn.Module:
        """That of learning from these beats. Classes are balanced that the protocol scores; the beats of another weigh
        like the average one."""
        p = self.p
        scored = np.isin(np.arange(N_CLASSES), self.classes)
        counts = np.where(scored, np.bincount(self.beats.labels[index], minlength=N_CLASSES), 0)
        if p.imbalance == "focal":
            return losses.FocalLoss(p.focal_gamma)
        if p.imbalance == "logit-adjustment":
            return losses.LogitAdjusted(counts, p.adjustment_strength, p.label_smoothing)
        weights = None
        if p.imbalance == "weighted":
            weights = losses.inverse_frequency(counts, p.weight_exponent)
        elif p.imbalance == "effective-number":
            weights = losses.effective_number(counts, p.effective_beta)
        weights = None if weights is None else np.where(scored, weights, 1.0)
        return losses.cross_entropy(weights, p.label_smoothing)

    def metric(self, logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
        """The metric that the epoch is chosen by; beats of a sequence that do not count are left out."""
        counted = labels != losses.IGNORED
        matrix = metrics.confusion(labels[counted], logits[counted].argmax(1), N_CLASSES)
        return metrics.chosen_by(self.p.selection, matrix, self.classes)


def refuse_rare(p: HeartbeatParameters, labels: NDArray[np.int64]) -> None:
    """Raise UserError, with the names of the classes, when an intra-patient split would leave a set without a beat of
    some class."""
    if p.protocol != "intra":
        return
    counts = _counted(labels)
    few = [f"{count} of class {name}" for name, count in counts.items() if 0 < count < FEWEST]
    if few:
        raise UserError("protocol intra", ", ".join(few), f"{FEWEST} beats or more of every class")
    present = sum(count > 0 for count in counts.values())
    held_out = math.ceil(p.validation_fraction * math.floor(0.8 * len(labels)))
    if held_out < present:
        found, expected = f"{held_out} of {len(labels)} beats", f"{present} or more, one of every class"
        raise UserError(f"validation_fraction: {p.validation_fraction:g}", found, expected)


def network(data: Data, p: HeartbeatParameters) -> tuple[Callable[[], nn.Module], device.Batch]:
    """Makes the network, which is timed on some 1024 beats at most."""
    make = model_maker(p)
    if p.protocol == "adapted" and p.adaptation == "statistics":
        adaptation.refuse_without_statistics(make())
    size = min(p.batch_size, 1024)
    if p.reads_sequences:
        return make, ((max(1, size // p.beats_per_sequence), p.beats_per_sequence, *_shape(p)), 0)
    return make, ((size, *_shape(p)), len(_columns(p)) if p.entry.reads_features else 0)


def parts(data: Data, p: HeartbeatParameters, seed: int) -> list[Part]:
    """One division; in development what is validated is what is scored. A `UserError` when a set has no beat of a class
    that the metric averages over."""
    refuse_rare(p, data.beats.labels)
    split = data.split(seed)
    for name, index in vars(split).items() if p.max_beats is None else ():  # of a handful, a set may miss a rare class
        counts = np.bincount(data.beats.labels[index], minlength=N_CLASSES)
        missing = [aami.CLASSES[i] for i in data.classes if len(index) and not counts[i]]
        if missing:
            raise UserError(f"the {name} set", f"no beat of class {', '.join(missing)}", "beats of every class scored")
    val, scored = split.val, split.test if p.test else split.val
    if p.protocol == "adapted":
        val, scored = (index[~data.early[index]] for index in (val, scored))
        if not len(val) or not len(scored):
            raise UserError("protocol adapted", f"no beat after minute {p.adaptation_minutes:g}", "longer records")
    return [Part("", split.train, val, scored)]


def fit(data: Data, part: Part, p: HeartbeatParameters, seed: int, where: Where) -> Fitted:
    """Train, maybe again on both sets or for each record, and score; move thresholds on validation."""
    beats, split, classes = data.beats, data.split(seed), data.classes
    fitting = Fitting(p, beats, seed, where, classes)
    sample = fitting.sample(split.train)
    fitted = fitting.fit(split.train, sample, "checkpoint", val=split.val)
    run, seconds = fitted.run, fitted.seconds
    if where.epochs is not None:
        return Fitted(None, run, seconds, {})
    if p.refit:
        both = np.sort(np.concatenate([split.train, split.val]))
        fitted = fitting.fit(both, fitting.sample(both), "refit", stop_after=run.best_epoch)
        seconds += fitted.seconds
    tables = {}
    if p.protocol == "adapted":
        started = time.perf_counter()
        before, val_logits = _adapted(fitting, fitted.model, data, part, part.val)
        logits = val_logits
        if p.test:
            before, logits = _adapted(fitting, fitted.model, data, part, part.scored)
        tables["unadapted"] = _predictions(beats, part.scored, before)
        seconds += time.perf_counter() - started
    else:
        val_logits = fitting.predict(fitted.model, part.val)
        logits = fitting.predict(fitted.model, part.scored) if p.test else val_logits
    tables["predictions"] = _predictions(beats, part.scored, logits)
    tables["validation"] = _predictions(beats, part.val, val_logits)
    decided, offsets = {"plain": logits}, None
    if _moves_thresholds(p):
        offsets = thresholds.class_offsets(val_logits, beats.labels[part.val], classes)
        decided["moved"] = logits + offsets
    reads = decided if results.on_ds2(p.model_dump()) and p.test else {}
    labels = beats.labels[part.scored]
    note = {
        "offsets": None if offsets is None else offsets.tolist(),
        "resampled": _counted(sample[1]) if p.imbalance in RESAMPLERS else {},
        "n_parameters": registry.n_parameters(fitted.model),
    }
    test_reads = {
        name: metrics.summary(metrics.confusion(labels, each.argmax(1), N_CLASSES), classes)
        for name, each in reads.items()
    }
    return Fitted(fitted.model, run, seconds, tables, note, test_reads)


def epochs(data: Data, p: HeartbeatParameters, seed: int, where: Where) -> Iterator[Epoch]:
    """The epochs of a training as they come; of what is fitted at once, one."""
    (part,), fitting = parts(data, p, seed), Fitting(p, data.beats, seed, where, data.classes)
    if p.entry.classical:
        done = fitting.fit(part.train, fitting.sample(part.train), "checkpoint", val=part.val)
        value = fitting.metric(fitting.predict(done.model, part.val), data.beats.labels[part.val])
        none: dict[str, Any] = {"train_loss": math.nan, "val_loss": None, "learning_rate": 0.0}
        yield Epoch(epoch=1, val_metric=value, seconds=done.seconds, **none)
        return
    yield from loop.epochs(**fitting.training(part.train, fitting.sample(part.train), "checkpoint", val=part.val))


def _adapted(
    fitting: Fitting, model: nn.Module, data: Data, part: Part, index: Index
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits of these beats before and after the network is adapted to the first minutes of each one's record."""
    p, beats, model, place = fitting.p, data.beats, model.cpu(), fitting.where.device
    how = adaptation.How(p.adaptation, p.adaptation_rate, p.adaptation_steps, p.label_smoothing)
    places, before, after = [], [], []
    for name in np.unique(beats.record[index]):
        places.append(np.flatnonzero(beats.record[index] == name))
        own = np.flatnonzero((beats.record == name) & data.early)
        with device.determinism(p.deterministic):
            network = adaptation.adapted(model, how, beats, own, part.train, fitting.examples, fitting.seed, place)
        before.append(fitting.predict(model, index[places[-1]]))
        after.append(fitting.predict(network, index[places[-1]]))
    order = np.argsort(np.concatenate(places))
    return np.concatenate(before)[order], np.concatenate(after)[order]


def evaluate(data: Data, found: Found, p: HeartbeatParameters) -> dict[str, Any]:
    """The decisions of every seed, on test beats or in development on those of validation."""
    tables, beats, (part,) = found.tables("predictions"), data.beats, parts(data, p, p.seeds[0])
    split = Split(part.train, part.val, part.scored if p.test else np.zeros(0, dtype=np.int64))
    first = found.parts(part.name)[0]
    scores = zip(aami.CLASSES, scoring.levels(tables[0]).T, strict=True)
    return {
        "task": "multiclass",
        "data": {
            "name": data.name,
            **({"sampled": [source.name for source in data.sources if source.sample]} if p.train_on else {}),
            **{f"n_{name}": len(index) for name, index in vars(split).items()},
            "test_indices_sha256": split.test_sha256(),
            "left_out": beats.left_out,
            "records_left_out": beats.records_left_out | data.apart,
            **({"repaired": beats.repaired} if beats.repaired else {}),
            "class_counts": {name: _counted(beats.labels[index]) for name, index in vars(split).items()},
        },
        "classes": list(aami.CLASSES),
        "macro_classes": [aami.CLASSES[i] for i in data.classes],
        "scored": "test" if p.test else "val",
        "selection": p.selection,
        **_decision(p, data.classes, tables),
        "moved": _moved(p, data.classes, found, tables),
        "predicted": raw.pack(scoring.predicted(tables[0])),
        "class_scores": {name: raw.pack(of_class) for name, of_class in scores},
        "unadapted": _unadapted(p, found) if p.protocol == "adapted" else {},
        "intervals": Resampling(unit="record", n=_resamples(p)),
        "training": _training(p, data.classes, found),
        "n_features": beats.features.shape[1],
        "input_shape": list(beats.signals.shape[1:]),
        "n_parameters": first["n_parameters"],
        "resampled": first["resampled"],
    }


TASK: Final = driver.Task(Data, network, parts, fit, epochs, evaluate, frozenset({"max_records"}))


def _moves_thresholds(p: HeartbeatParameters) -> bool:
    """Whether a network's second decision is made, by offsets chosen on its validation beats: not where a refit has
    learnt those, in development where they are what is scored, of votes, which have no thresholds, and after
    adaptation, which makes a network for each record, of which none is kept."""
    return p.test and not p.refit and p.protocol != "adapted" and not p.entry.votes


def _counted(labels: NDArray[np.int64]) -> dict[str, int]:
    return driver.counted(aami.CLASSES, np.bincount(labels, minlength=N_CLASSES))


def _predictions(beats: Beats, index: Index, logits: NDArray[np.float32]) -> pd.DataFrame:
    columns = {name: getattr(beats, name)[index] for name in ("record", "sample", "symbol")}
    of_classes = dict(zip(scoring.LOGITS, logits.T, strict=True))
    return pd.DataFrame({"index": index, **columns, "label": beats.labels[index], **of_classes})


# --- evaluation -------------------------------------------------------------------------------------------------------


def _matrices(tables: list[pd.DataFrame]) -> tuple[NDArray[np.int64], list[str]]:
    """Confusion matrices `(seeds, records, classes, classes)`, and names of the records."""
    names = sorted(set().union(*(table["record"] for table in tables)))
    return np.stack([scoring.by_record(table, names) for table in tables]), names


def _resamples(p: HeartbeatParameters) -> int:
    return 0 if _beats_alone(p) else p.bootstrap  # beats of a record aren't independent


def _decision(p: HeartbeatParameters, classes: list[int], tables: list[pd.DataFrame]) -> dict[str, Any]:
    """The fields of a record that follow from the predictions of every seed."""
    matrices, names = _matrices(tables)
    across = p.protocol != "intra"

    def scores(of: list[str]) -> dict[str, Any]:
        found = scoring.scores(matrices[:, [names.index(name) for name in of]], classes, _resamples(p), nsv=across)
        ranked = scoring.ranked(tables, of, classes, _resamples(p))
        found["metrics"] |= ranked["metrics"]
        for name, values in ranked["per_class"].items():
            found["per_class"][name] |= values
        return found

    apart = p.of_mitdb and "202" in names and len(names) > 1
    return {
        **scores(names),
        "without_202": scores([name for name in names if name != "202"]) if apart else {},
        "confusion": matrices.sum(1).tolist(),
        "by_record": {} if _beats_alone(p) else {name: matrices[:, i].tolist() for i, name in enumerate(names)},
        "right": [raw.pack(scoring.right(table)) for table in tables],
    }


def _moved(p: HeartbeatParameters, classes: list[int], found: Found, tables: list[pd.DataFrame]) -> Moved | None:
    """The decision with thresholds moved; None where it was not made."""
    if not _moves_thresholds(p):
        return None
    offsets: list[list[float]] = [note["offsets"] for note in found.parts("")]
    validation = [_shifted(table, own) for table, own in zip(found.tables("validation"), offsets, strict=True)]
    scores = pd.DataFrame([_validated(classes, table) for table in validation])
    return Moved(
        offsets=offsets,
        validation=scores["validation"].tolist(),
        validation_recall=scores["validation_recall"].tolist(),
        created=provenance.now(),
        **_decision(p, classes, [_shifted(table, own) for table, own in zip(tables, offsets, strict=True)]),
    )


def _unadapted(p: HeartbeatParameters, found: Found) -> dict[str, Any]:
    """The scores of the networks before they were adapted."""
    matrices, names = _matrices(found.tables("unadapted"))
    by_record = {name: matrices[:, i].tolist() for i, name in enumerate(names)}
    return scoring.scores(matrices, macro_classes(p.protocol), p.bootstrap, nsv=True) | {"by_record": by_record}


def _shifted(table: pd.DataFrame, offsets: list[float]) -> pd.DataFrame:
    """Predictions with offsets added to their logits."""
    return table.assign(**(table[scoring.LOGITS] + np.array(offsets, dtype=np.float32)))


def _training(p: HeartbeatParameters, classes: list[int], found: Found) -> list[SeedRun]:
    runs: list[dict[str, Any]] = [note["run"] for note in found.parts("")]
    if not p.refit:  # which has learnt the validation beats
        validated = [_validated(classes, table) for table in found.tables("validation")]
        runs = [run | scores for run, scores in zip(runs, validated, strict=True)]
    return [SeedRun(**run) for run in runs]


def _validated(classes: list[int], table: pd.DataFrame) -> dict[str, float]:
    """Macro-F1 and macro recall of predictions of validation beats."""
    matrix = metrics.confusion(table["label"].to_numpy(), table[scoring.LOGITS].to_numpy().argmax(1), N_CLASSES)
    summary = metrics.summary(matrix, classes)
    return {"validation": float(summary["macro_f1"]), "validation_recall": float(summary["macro_recall"])}
