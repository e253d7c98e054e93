"""One beat classifier, under one protocol and with one answer to the class imbalance: the task."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from ecglib import aami, files, losses, paths
from ecglib.config import RESAMPLERS, HeartbeatParameters
from ecglib.data import beats as beats_module
from ecglib.data import databases, digest, splits
from ecglib.data.beats import Beats
from ecglib.data.resampling import resample
from ecglib.data.splits import Index, Part, Split
from ecglib.errors import UserError
from ecglib.evaluation import metrics, scoring, thresholds
from ecglib.experiment import driver, provenance, raw
from ecglib.experiment.driver import Fitted, Found, Where
from ecglib.experiment.record import DataCard, Moved, Record, Resampling
from ecglib.models import registry
from ecglib.models.classical import Classical
from ecglib.models.ecgnet import ECGNet
from ecglib.training import adaptation, device, loop, sequences
from ecglib.training.history import SeedRun
from ecglib.training.sampling import ByRecord

RECIPE = 1
"""1: as published."""
N_CLASSES: Final = len(aami.CLASSES)
FEWEST: Final = 3
"""Beats of a class that can be divided into three sets."""


def macro_classes(protocol: str) -> list[int]:
    """The classes that macro means, and every choice, are over: Q has a handful of beats in DS1 and DS2."""
    return [i for i, name in enumerate(aami.CLASSES) if protocol == "intra" or name != "Q"]


class Data(driver.OfDatabase):
    """The beats of an experiment, read when asked for."""

    in_key: Final[dict[str, Any]] = {}

    def __init__(self, p: HeartbeatParameters) -> None:
        super().__init__(p.database)
        self._p = p
        self.split = cache(self._split)

    @cached_property
    def synthetic(self) -> bool:
        """Whether it is made up."""
        return self.source.synthetic

    @cached_property
    def beats(self) -> Beats:
        """All that are divided; in development no record of DS2 is read."""
        p, source = self._p, self.source
        if p.protocol != "intra":
            wanted = aami.DS1 + (aami.DS2 if p.test else ())
            source = replace(source, records=tuple(name for name in source.records if name in wanted))
        beats = beats_module.load(source, p.cut, p.leads)
        return beats if p.max_beats is None else beats_module.limit(beats, p.max_beats)

    @cached_property
    def early(self) -> NDArray[np.bool_]:
        """The beats of each record that a patient-adapted network may learn from, `(n,)`."""
        return adaptation.within(self.beats, self.source, self._p.adaptation_minutes)

    def _split(self, seed: int) -> Split:
        """The sets under a seed; a patient-adapted network validates and tests on the whole of them before."""
        if self._p.protocol != "intra":
            return splits.inter(self.beats.record, with_test=self._p.test)
        return splits.intra(self.beats.labels, seed, self._p.validation_fraction)

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
        """A run on fewer records than the database has must not replace the reference result."""
        whole = not record.data.records_left_out
        whole &= len(self.source.records) == databases.database(self.source.name).expected
        return "" if whole else "the run rests on a part of the database"


class Run(driver.Run):
    """A finished run, with `predictions-seedk.parquet` and, of the validation beats, `validation-seedk.parquet`."""

    def predictions(self) -> pd.DataFrame:
        """Every scored beat of every seed: `seed, index, record, sample, symbol, label, logit_N …`."""
        return self.table("predictions")

    def model(self, seed: int, *, moved: bool = False) -> nn.Module:
        """The network of one seed with its trained weights, on the CPU, in eval mode.

        Of a patient-adapted run it is the network before it was adapted, once for each record.

        Parameters
        ----------
        seed
            One of the record's seeds.
        moved
            Decide with the thresholds moved on validation: the offsets come to the logits.

        Raises
        ------
        UserError
            When `moved` is asked of a run whose thresholds were never moved.
        """
        parameters = self.record.parameters
        shape = self.record.input_shape
        options = dict(parameters["model_options"])
        if registry.entry(parameters["model"]).reads_features:
            options["n_features"] = self.record.n_features
        model = registry.build(parameters["model"], shape[0], shape[1], len(self.record.classes), **options)
        model.load_state_dict(load_file(self.folder / f"weights-seed{seed}.safetensors"))
        if not moved:
            return model.eval()
        if self.record.moved is None:
            raise UserError(self.record.experiment or self.record.key, "its thresholds were never moved")
        return Shifted(model, self.record.moved.offsets[self.record.seeds.index(seed)]).eval()


class Shifted(nn.Module):
    """A network with offsets added to its logits: its moved thresholds.

    Parameters
    ----------
    model
        The network.
    offsets
        `(classes,)`.
    """

    def __init__(self, model: nn.Module, offsets: Sequence[float]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("offsets", torch.tensor(offsets))

    def forward(self, x: Tensor, *, features: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        logits: Tensor = self.model(x, features=features, lengths=lengths) + self.offsets
        return logits


def run(parameters: HeartbeatParameters, *, fresh: bool = False) -> Run:
    """Train and test one beat classifier, or find the run that did (see `driver.run`)."""
    return Run(**vars(driver.run(TASK, parameters, fresh=fresh)))


# --- training ---------------------------------------------------------------------------------------------------------


def model_maker(p: HeartbeatParameters) -> Callable[[], nn.Module]:
    """A function that makes the experiment's network, its weights drawn anew."""
    cut, n_leads = p.cut, len(p.leads)
    options: dict[str, Any] = dict(p.model_options)
    if registry.entry(p.model).reads_features:
        options["n_features"] = beats_module.n_features(cut, n_leads)
    shape = beats_module.n_channels(cut, n_leads), beats_module.n_samples(cut)
    return lambda: registry.build(p.model, *shape, N_CLASSES, **options)


def batch_of(p: HeartbeatParameters) -> device.Batch:
    """Shape of a batch, and features of each beat in it, that the experiment's network is timed on."""
    cut, n_leads = p.cut, len(p.leads)
    beat = beats_module.n_channels(cut, n_leads), beats_module.n_samples(cut)
    size = min(p.batch_size, 1024)
    if reads_sequences(p):
        return (max(1, size // p.beats_per_sequence), p.beats_per_sequence, *beat), 0
    features = beats_module.n_features(cut, n_leads) if registry.entry(p.model).reads_features else 0
    return (size, *beat), features


def reads_sequences(p: HeartbeatParameters) -> bool:
    """Whether the model is given consecutive beats, and not single ones."""
    return registry.entry(p.model).takes == "sequence" and p.beats_per_sequence > 1


@dataclass(frozen=True)
class Sample:
    """What is trained on: positions, signals and labels, maybe resampled, and the class counts before that."""

    index: Index
    x: NDArray[np.float32]
    y: NDArray[np.int64]
    features: NDArray[np.float32] | None
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class Fitting:
    """What the first fit and the refit share."""

    p: HeartbeatParameters
    beats: Beats
    seed: int
    where: Where

    def sample(self, index: Index) -> Sample:
        """The beats at these positions as they are trained on."""
        x, y = self.beats.signals[index], self.beats.labels[index]
        counts = np.bincount(y, minlength=N_CLASSES)
        if self.p.imbalance not in RESAMPLERS:
            return Sample(index, x, y, self.beats.features[index], counts)
        scored = macro_classes(self.p.protocol)
        x, y = resample(x, y, self.p.imbalance, seed=self.seed, neighbours=self.p.smote_neighbours, classes=scored)
        return Sample(index, x, y, None, counts)

    def fit(self, part: Sample, name: str, *, val: Index | None = None, **changes: Any) -> loop.Fitted:
        p = self.p
        if registry.entry(p.model).classical:
            return self._fit_at_once(part, val)
        training = self._training(part)
        n = self._examples_per_epoch(len(training) if reads_sequences(p) else int(part.counts.sum()))
        if reads_sequences(p):
            changes["batch_size"] = max(1, p.batch_size // p.beats_per_sequence)
        if p.sampling == "by-record":
            changes["sampler"] = ByRecord(self.beats.record[part.index], part.y)
        fitted = loop.fit(
            self._maker(part),
            training,
            None if val is None else self.examples(val),
            self.loss(part.counts),
            self.macro_f1,
            driver.recipe(p, n, self.where, **changes),
            seed=self.seed,
            **self.where.training(f"{name}-seed{self.seed}"),
        )
        if reads_sequences(p):
            fitted.run.examples_per_epoch *= p.beats_per_sequence
        return fitted

    def _examples_per_epoch(self, n: int) -> int:
        if self.p.beats_per_epoch is None:
            return n
        beats_each = self.p.beats_per_sequence if reads_sequences(self.p) else 1
        return min(n, max(1, self.p.beats_per_epoch // beats_each))

    def predict(self, model: nn.Module, index: Index) -> NDArray[np.float32]:
        """Logits `(n, classes)` of the beats at these increasing positions."""
        if isinstance(model, Classical):
            return model.predict_logits(loop.as_tensor(self.beats.signals[index]))
        examples = self.examples(index)
        logits = loop.predict(
            model,
            examples,
            device=self.where.device,
            precision=self.where.precision,
            deterministic=self.p.deterministic,
        )
        return examples.in_order(logits) if isinstance(examples, sequences.Sequences) else logits

    def _fit_at_once(self, part: Sample, val: Index | None) -> loop.Fitted:
        start = time.perf_counter()
        torch.manual_seed(self.seed)
        model = model_maker(self.p)()
        assert isinstance(model, Classical) and val is not None  # config refuses to refit one
        labels = self.beats.labels[val]
        x_val = loop.as_tensor(self.beats.signals[val])
        n = len(part.y)
        order = loop.epoch_order(0, n, min(n, self.p.beats_per_epoch or n), self.seed).sort().values.numpy()
        strength = model.fit(
            loop.as_tensor(part.x[order]),
            torch.from_numpy(part.y[order]),
            x_val,
            lambda logits: self.macro_f1(logits, labels),
        )
        run = SeedRun(seed=self.seed, best_epoch=0, epochs_run=0, stopped_early=False, strength=strength, history=[])
        return loop.Fitted(model.eval(), run, time.perf_counter() - start)

    def _maker(self, part: Sample) -> Callable[[], nn.Module]:
        make = model_maker(self.p)
        if not registry.entry(self.p.model).reads_features:
            return make
        features = loop.as_tensor(self.beats.features[part.index])

        def standardised() -> nn.Module:
            model = make()
            assert isinstance(model, ECGNet)
            model.standardise(features)
            return model

        return standardised

    def _training(self, part: Sample) -> loop.InMemory:
        if reads_sequences(self.p):
            windows = sequences.windows(self.beats.record, self.p.beats_per_sequence)
            return sequences.Sequences(self.beats, windows, part.index, told=part.index)
        return loop.InMemory(part.x, part.y, self._features(part.features))

    def examples(self, index: Index) -> loop.InMemory:
        if reads_sequences(self.p):
            windows = sequences.windows(self.beats.record, self.p.beats_per_sequence)
            return sequences.Sequences(self.beats, windows, index)
        return loop.InMemory(
            self.beats.signals[index], self.beats.labels[index], self._features(self.beats.features[index])
        )

    def _features(self, features: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
        return features if registry.entry(self.p.model).reads_features else None

    def loss(self, counts: NDArray[np.int64]) -> nn.Module:
        """Classes are balanced that the protocol scores; the beats of another weigh like the average one."""
        p = self.p
        scored = np.isin(np.arange(N_CLASSES), macro_classes(p.protocol))
        counts = np.where(scored, counts, 0)
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

    def macro_f1(self, logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
        """The metric that every choice is made on; beats of a sequence that do not count are left out."""
        counted = labels != losses.IGNORED
        matrix = metrics.confusion(labels[counted], logits[counted].argmax(1), N_CLASSES)
        return float(metrics.summary(matrix, macro_classes(self.p.protocol))["macro_f1"])


def _check_classes(split: Split, beats: Beats, classes: list[int]) -> None:
    """Refuse sets without a beat of a class that the metric averages over."""
    for name, index in vars(split).items():
        counts = np.bincount(beats.labels[index], minlength=N_CLASSES)
        missing = [aami.CLASSES[i] for i in classes if len(index) and not counts[i]]
        if missing:
            raise UserError(f"the {name} set", f"no beat of class {', '.join(missing)}", "beats of every class scored")


def refuse_rare(p: HeartbeatParameters, labels: NDArray[np.int64]) -> None:
    """Refuse beats that can't be divided by class, with the names of the classes.

    Raises
    ------
    UserError
        When an intra-patient split would leave a set without a beat of some class.
    """
    if p.protocol != "intra":
        return
    counts = _named(np.bincount(labels, minlength=len(aami.CLASSES)))
    few = [f"{count} of class {name}" for name, count in counts.items() if 0 < count < FEWEST]
    if few:
        raise UserError("protocol intra", f"{', '.join(few)}", f"{FEWEST} beats or more of every class")
    present = sum(count > 0 for count in counts.values())
    held_out = math.ceil(p.validation_fraction * math.floor(0.8 * len(labels)))
    if held_out < present:
        raise UserError(
            f"validation_fraction: {p.validation_fraction:g}", f"{held_out} of {len(labels)} beats",
            f"{present} or more, one of every class",
        )  # fmt: skip


class Task(driver.Task[HeartbeatParameters, Data]):
    """A beat classifier."""

    not_in_key = frozenset({"max_records"})

    def data(self, p: HeartbeatParameters) -> Data:
        return Data(p)

    def network(self, data: Data, p: HeartbeatParameters) -> tuple[Callable[[], nn.Module], device.Batch]:
        make = model_maker(p)
        if p.protocol == "adapted" and p.adaptation == "statistics":
            adaptation.refuse_without_statistics(make())
        return make, batch_of(p)

    def parts(self, data: Data, p: HeartbeatParameters, seed: int) -> list[Part]:
        refuse_rare(p, data.beats.labels)
        split = data.split(seed)
        if p.max_beats is None:  # of a handful of beats, a set may miss a rare class
            _check_classes(split, data.beats, macro_classes(p.protocol))
        val, scored = split.val, split.test if p.test else split.val
        if p.protocol == "adapted":
            val, scored = (index[~data.early[index]] for index in (val, scored))
            if not len(val) or not len(scored):
                raise UserError("protocol adapted", f"no beat after minute {p.adaptation_minutes:g}", "longer records")
        return [Part("", split.train, val, scored)]

    def fit(self, data: Data, part: Part, p: HeartbeatParameters, seed: int, where: Where) -> Fitted:
        beats, split = data.beats, data.split(seed)
        fitting = Fitting(p, beats, seed, where)
        sample = fitting.sample(split.train)
        fitted = fitting.fit(sample, "checkpoint", val=split.val)
        run, seconds = fitted.run, fitted.seconds
        if where.epochs is not None:
            return Fitted(None, run, seconds, {})
        if p.refit:
            both = np.sort(np.concatenate([split.train, split.val]))
            fitted = fitting.fit(fitting.sample(both), "refit", stop_after=run.best_epoch)
            seconds += fitted.seconds
        started, tables = time.perf_counter(), {}
        if p.protocol == "adapted":
            before, val_logits = self._adapted(fitting, fitted.model, data, part, part.val)
            logits = val_logits
            if p.test:
                before, logits = self._adapted(fitting, fitted.model, data, part, part.scored)
            tables["unadapted"] = _predictions(beats, part.scored, before)
            seconds += time.perf_counter() - started
        else:
            val_logits = fitting.predict(fitted.model, part.val)
            logits = fitting.predict(fitted.model, part.scored) if p.test else val_logits
        tables |= {
            "predictions": _predictions(beats, part.scored, logits),
            "validation": _predictions(beats, part.val, val_logits),
        }
        _note_test_read(data, p, where.key, beats.labels[part.scored], logits, seed)
        offsets = None
        if _moves_thresholds(p):
            offsets = thresholds.class_offsets(val_logits, beats.labels[part.val], macro_classes(p.protocol))
            _note_test_read(data, p, where.key, beats.labels[part.scored], logits + offsets, seed, decision="moved")
        resampled = np.bincount(sample.y, minlength=N_CLASSES) if p.imbalance in RESAMPLERS else None
        note = {
            "offsets": None if offsets is None else offsets.tolist(),
            "resampled": {} if resampled is None else _named(resampled),
            "n_parameters": registry.n_parameters(fitted.model),
        }
        return Fitted(fitted.model, run, seconds, tables, note)

    def _adapted(
        self, fitting: Fitting, model: nn.Module, data: Data, part: Part, index: Index
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Logits of these beats before and after the network is adapted to the first minutes of each one's record."""
        p, beats, model = fitting.p, data.beats, model.cpu()
        how = adaptation.How(p.adaptation, p.adaptation_rate, p.adaptation_steps, p.label_smoothing)
        places, before, after = [], [], []
        for name in np.unique(beats.record[index]):
            places.append(np.flatnonzero(beats.record[index] == name))
            own = np.flatnonzero((beats.record == name) & data.early)
            with device.determinism(p.deterministic):
                network = adaptation.adapted(
                    model, how, beats, own, part.train, fitting.examples, fitting.seed, fitting.where.device
                )
            before.append(fitting.predict(model, index[places[-1]]))
            after.append(fitting.predict(network, index[places[-1]]))
        order = np.argsort(np.concatenate(places))
        return np.concatenate(before)[order], np.concatenate(after)[order]

    def evaluate(self, data: Data, found: Found, p: HeartbeatParameters) -> dict[str, Any]:
        tables, classes, (part,) = (
            found.tables("predictions"),
            macro_classes(p.protocol),
            self.parts(data, p, p.seeds[0]),
        )
        test = part.scored if p.test else np.zeros(0, dtype=np.int64)
        split = Split(part.train, part.val, test)
        counts = {
            name: _named(np.bincount(data.beats.labels[index], minlength=N_CLASSES))
            for name, index in vars(split).items()
        }
        notes = found.parts(part.name)
        return {
            "task": "multiclass",
            "data": DataCard(
                name=p.database,
                synthetic=data.synthetic,
                fingerprint=data.fingerprint,
                n_train=len(split.train),
                n_val=len(split.val),
                n_test=len(split.test),
                digest=data.digest(),
                test_indices_sha256=split.test_sha256(),
                left_out=data.beats.left_out,
                records_left_out=data.beats.records_left_out,
                class_counts=counts,
            ),
            "classes": list(aami.CLASSES),
            "macro_classes": [aami.CLASSES[i] for i in classes],
            "scored": "test" if p.test else "val",
            "selection": "macro_f1",
            **_decision(p, tables),
            "moved": _moved(p, found, tables),
            "predicted": raw.pack(scoring.predicted(tables[0])),
            "class_scores": {
                name: raw.pack(of_class)
                for name, of_class in zip(aami.CLASSES, scoring.levels(tables[0]).T, strict=True)
            },
            "unadapted": _unadapted(p, found) if p.protocol == "adapted" else {},
            "intervals": Resampling(unit="record", n=p.bootstrap),
            "training": _training(p, found),
            "n_features": data.beats.features.shape[1],
            "input_shape": list(data.beats.signals.shape[1:]),
            "n_parameters": notes[0]["n_parameters"],
            "resampled": notes[0]["resampled"],
        }


TASK: Final = Task()


def _moves_thresholds(p: HeartbeatParameters) -> bool:
    """Whether a network's second decision is made, by offsets chosen on its validation beats.

    None is made where a refit has learnt those beats, in development where they are what is scored, of votes, which
    have no thresholds, and after adaptation, which makes a network for each record, of which none is kept.
    """
    return p.test and not p.refit and p.protocol != "adapted" and not registry.entry(p.model).votes


def _named(counts: NDArray[np.int64]) -> dict[str, int]:
    return dict(zip(aami.CLASSES, counts.tolist(), strict=True))


def _predictions(beats: Beats, index: Index, logits: NDArray[np.float32]) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "index": index,
            "record": beats.record[index],
            "sample": beats.sample[index],
            "symbol": beats.symbol[index],
            "label": beats.labels[index],
        }
    )
    for column, name in enumerate(aami.CLASSES):
        table[f"logit_{name}"] = logits[:, column]
    return table


def _note_test_read(
    data: Data,
    p: HeartbeatParameters,
    key: str,
    labels: NDArray[np.int64],
    logits: NDArray[np.float32],
    seed: int,
    decision: str = "plain",
) -> None:
    """Add a line to the log of DS2 scorings; the book prints their number beside every result on DS2.

    Each decision is a scoring of its own: two numbers come from it, and either could be picked.
    """
    if p.protocol == "intra" or not p.test or data.synthetic:
        return
    matrix = metrics.confusion(labels, logits.argmax(1), N_CLASSES)
    values = metrics.summary(matrix, macro_classes(p.protocol))
    line = {
        "time": provenance.now(),
        "key": key,
        "experiment": p.experiment,
        "profile": p.profile,
        "model": p.model,
        "seed": seed,
        "decision": decision,
        "metrics": {name: None if np.isnan(value) else round(float(value), 6) for name, value in values.items()},
    }
    path = paths.test_reads()
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.lock(paths.runs() / "test-reads.lock"), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


# --- evaluation -------------------------------------------------------------------------------------------------------


def _records(tables: list[pd.DataFrame]) -> list[str]:
    return sorted(set().union(*(table["record"] for table in tables)))


def _decision(p: HeartbeatParameters, tables: list[pd.DataFrame]) -> dict[str, Any]:
    """The fields of a record that follow from the predictions of every seed."""
    names = _records(tables)
    matrices = np.stack([scoring.by_record(table, names) for table in tables])
    classes = macro_classes(p.protocol)
    across = p.protocol != "intra"

    def scores(of: list[str]) -> dict[str, Any]:
        found = scoring.scores(matrices[:, [names.index(name) for name in of]], classes, p.bootstrap, nsv=across)
        ranked = scoring.ranked(tables, of, classes, p.bootstrap)
        found["metrics"] |= ranked["metrics"]
        for name, values in ranked["per_class"].items():
            found["per_class"][name] |= values
        return found

    apart = across and "202" in names and len(names) > 1
    return {
        **scores(names),
        "without_202": scores([name for name in names if name != "202"]) if apart else {},
        "confusion": matrices.sum(1).tolist(),
        "by_record": {name: matrices[:, i].tolist() for i, name in enumerate(names)},
        "right": [raw.pack(scoring.right(table)) for table in tables],
    }


def _moved(p: HeartbeatParameters, found: Found, tables: list[pd.DataFrame]) -> Moved | None:
    """The decision with thresholds moved; None where it was not made."""
    if not _moves_thresholds(p):
        return None
    offsets: list[list[float]] = [note["offsets"] for note in found.parts("")]
    validation = zip(found.tables("validation"), offsets, strict=True)
    validated = [_validated(p, _shifted(table, own)) for table, own in validation]
    return Moved(
        offsets=offsets,
        validation=[f1 for f1, _ in validated],
        validation_recall=[recall for _, recall in validated],
        created=provenance.now(),
        **_decision(p, [_shifted(table, own) for table, own in zip(tables, offsets, strict=True)]),
    )


def _unadapted(p: HeartbeatParameters, found: Found) -> dict[str, Any]:
    """The scores of the networks before they were adapted."""
    tables = found.tables("unadapted")
    names = _records(tables)
    parts = np.stack([scoring.by_record(table, names) for table in tables])
    by_record = {name: parts[:, i].tolist() for i, name in enumerate(names)}
    return scoring.scores(parts, macro_classes(p.protocol), p.bootstrap, nsv=True) | {"by_record": by_record}


def _shifted(table: pd.DataFrame, offsets: list[float]) -> pd.DataFrame:
    """Predictions with offsets added to their logits."""
    columns = [f"logit_{name}" for name in aami.CLASSES]
    return table.assign(**(table[columns] + np.array(offsets, dtype=np.float32)))


def _training(p: HeartbeatParameters, found: Found) -> list[SeedRun]:
    runs = [SeedRun(**note["run"]) for note in found.parts("")]
    if not p.refit:  # which has learnt the validation beats
        for run, table in zip(runs, found.tables("validation"), strict=True):
            run.validation, run.validation_recall = _validated(p, table)
    return runs


def _validated(p: HeartbeatParameters, table: pd.DataFrame) -> tuple[float, float]:
    """Macro-F1 and macro recall of predictions."""
    matrix = scoring.by_record(table, sorted(table["record"].unique())).sum(0)
    summary = metrics.summary(matrix, macro_classes(p.protocol))
    return float(summary["macro_f1"]), float(summary["macro_recall"])
