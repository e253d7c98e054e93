"""Parameters in; a trained, tested and recorded run out. What every notebook and command calls.

A run is found again, not repeated: its key is made of the parameters that can change the weights, the fingerprint of
the data, the syntax trees of the code, the versions of what trains, the kind of device and the precision (see
`driver.parts`). Metrics are computed anew from the stored predictions when only their code changed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ecglib import aami, files, paths
from ecglib.config import HeartbeatParameters
from ecglib.data import databases, digest
from ecglib.data.beats import Beats
from ecglib.data.splits import Index
from ecglib.errors import UserError
from ecglib.evaluation import metrics, scoring, thresholds
from ecglib.experiment import driver, provenance, raw, recipes
from ecglib.experiment.record import DataCard, Epoch, Moved, Record, Resampling, SeedRun
from ecglib.models import registry
from ecglib.training import adaptation, classifier
from ecglib.training import device as devices

NOT_IN_KEY = ("experiment", "title", "profile", "bootstrap", "device", "max_records", "in_book", "precision")
"""Parameters that can't change the weights of a beat classifier."""
FEWEST = 3
"""Beats of a class that can be divided into three sets."""


class Run(driver.Run):
    """A finished run; its folder has for every seed k `weights-seedk.safetensors`, `predictions-seedk.parquet` and, of
    the validation beats, `validation-seedk.parquet`."""

    def predictions(self) -> pd.DataFrame:
        """Every scored beat of every seed: `seed, index, record, sample, symbol, label, logit_N …`."""
        return pd.concat([pd.read_parquet(path) for path in sorted(self.folder.glob("predictions-seed*.parquet"))])

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
    """Train and test one beat classifier, or find the run that did.

    Parameters
    ----------
    parameters
        What to do.
    fresh
        Throw away an earlier run (or half a run) with this key first.

    Raises
    ------
    UserError
        When data, parameters or disk don't allow it.
    """
    plan = _plan(parameters)
    done = driver.do(
        parameters,
        plan.made_of,
        lambda folder: _train_missing(plan, folder),
        lambda folder: _evaluated(plan, folder),
        lambda record: _part(plan.source, record),
        fresh=fresh,
    )
    return Run(**vars(done))


def data_fingerprint(parameters: HeartbeatParameters) -> str:
    """The fingerprint of the files that such a run rests on here."""
    return databases.get(parameters.database).fingerprint()


def first_epochs(parameters: HeartbeatParameters, n: int, device: torch.device, precision: str) -> list[Epoch]:
    """The first epochs of the first seed's training; nothing is filed."""
    beats = classifier.load_beats(parameters, databases.get(parameters.database))
    return classifier.first_epochs(parameters, beats, parameters.seeds[0], n, device=device, precision=precision)


@dataclass(frozen=True)
class _Plan:
    """What is decided before anything is computed."""

    parameters: HeartbeatParameters
    source: databases.Source
    device: torch.device
    precision: str
    data_fingerprint: str
    made_of: driver.Parts

    @cached_property
    def key(self) -> str:
        return driver.key(self.made_of)


def key_of(parameters: HeartbeatParameters) -> str:
    """The key of a run with these parameters, on this data, this code and this machine."""
    return _plan(parameters).key


def data_digest(parameters: HeartbeatParameters) -> digest.Digest:
    """The digest of the beats of such a run, and of their division into sets under each of its seeds."""
    beats = classifier.load_beats(parameters, databases.get(parameters.database))
    splits = [vars(classifier.divided(parameters, beats, seed)).values() for seed in parameters.seeds]
    return digest.of(
        signals=beats.signals,
        features=beats.features,
        labels=beats.labels,
        record=beats.record,
        sample=beats.sample,
        sets=np.concatenate([np.append(index, -1) for split in splits for index in split]),
    )


def _plan(parameters: HeartbeatParameters) -> _Plan:
    source = databases.get(parameters.database)
    classical = registry.entry(parameters.model).classical
    make = classifier.model_maker(parameters)
    model = make()  # a model that can't take this shape is refused before anything is computed
    if parameters.protocol == "adapted" and parameters.adaptation == "statistics":
        adaptation.refuse_without_statistics(model)
    batch = classifier.batch_of(parameters)
    device, precision = driver.place(parameters, make, batch, probes=not classical)
    data = source.fingerprint()
    idle = {*NOT_IN_KEY, *parameters.idle()}
    made_of = driver.parts(
        parameters, idle, data=data, task="experiment.py", model=model, device=device, precision=precision
    )
    return _Plan(parameters, source, device, precision, data, made_of)


# --- training ---------------------------------------------------------------------------------------------------------


def _train_missing(plan: _Plan, folder: Path) -> bool:
    """Train the seeds that aren't there yet; returns whether there were any."""
    missing = [seed for seed in plan.parameters.seeds if _card(folder, seed) is None]
    if not missing:
        return False
    beats = classifier.load_beats(plan.parameters, plan.source)
    refuse_rare(plan.parameters, beats.labels)
    folder.mkdir(parents=True, exist_ok=True)
    for seed in missing:
        _train_seed(plan, folder, beats, seed)
    return True


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


def _card(folder: Path, seed: int) -> dict[str, Any] | None:
    """What `_train_seed` noted of a seed when it was done."""
    found: dict[str, Any] | None = driver.note(folder / f"training-seed{seed}.json")
    return found


def _train_seed(plan: _Plan, folder: Path, beats: Beats, seed: int) -> None:
    commit = provenance.commit()
    how: dict[str, Any] = {"device": plan.device, "precision": plan.precision, "folder": folder, "key": plan.key}
    if plan.parameters.protocol == "adapted":
        early = adaptation.within(beats, plan.source, plan.parameters.adaptation_minutes)
        done: classifier.Trained = adaptation.train(plan.parameters, beats, early, seed, **how)
    else:
        done = classifier.train(plan.parameters, beats, seed, **how)
    _save_predictions(folder / f"predictions-seed{seed}.parquet", beats, done.scored, done.logits, seed)
    _save_predictions(folder / f"validation-seed{seed}.parquet", beats, done.split.val, done.val_logits, seed)
    if isinstance(done, adaptation.Adapted):
        _save_predictions(folder / f"unadapted-seed{seed}.parquet", beats, done.scored, done.unadapted, seed)
    weights = {name: t.detach().cpu().contiguous() for name, t in done.model.state_dict().items()}
    save_file(weights, folder / f"weights-seed{seed}.safetensors")
    _note_test_read(plan, beats.labels[done.scored], done.logits, seed)
    offsets = _moved_thresholds(plan.parameters, beats, done)
    if offsets is not None:
        _note_test_read(plan, beats.labels[done.scored], done.logits + offsets, seed, decision="moved")
    card = {
        "run": done.run.model_dump(),
        "offsets": None if offsets is None else offsets.tolist(),
        "seconds": done.seconds,
        "test_indices_sha256": done.split.test_sha256(),
        "class_counts": {
            name: _named(np.bincount(beats.labels[index], minlength=len(aami.CLASSES)))
            for name, index in vars(done.split).items()
        },
        "resampled": {} if done.resampled is None else _named(done.resampled),
        "left_out": beats.left_out,
        "records_left_out": beats.records_left_out,
        "n_parameters": registry.n_parameters(done.model),
        "input_shape": list(beats.signals.shape[1:]),
        "n_features": beats.features.shape[1],
        "hardware": devices.hardware(plan.device),
        "versions": provenance.versions(),
        "commit": commit,
        "created": provenance.now(),
    }
    driver.write_note(folder / f"training-seed{seed}.json", card)  # last: its presence says that the seed is done
    for name in ("checkpoint", "refit"):
        (folder / f"{name}-seed{seed}.pt").unlink(missing_ok=True)


def _moved_thresholds(p: HeartbeatParameters, beats: Beats, done: classifier.Trained) -> NDArray[np.float32] | None:
    """Offsets `(classes,)` of a network's second decision, chosen on its validation beats.

    None where there is none to make: a refit has learnt those beats, in development they are what is scored, votes have
    no thresholds, and adaptation makes a network for each record, of which none is kept.
    """
    if p.refit or not p.test or p.protocol == "adapted" or registry.entry(p.model).votes:
        return None
    return thresholds.class_offsets(done.val_logits, beats.labels[done.split.val], classifier.macro_classes(p.protocol))


def _named(counts: NDArray[np.int64]) -> dict[str, int]:
    return dict(zip(aami.CLASSES, counts.tolist(), strict=True))


def _save_predictions(path: Path, beats: Beats, index: Index, logits: NDArray[np.float32], seed: int) -> None:
    table = pd.DataFrame(
        {
            "seed": seed,
            "index": index,
            "record": beats.record[index],
            "sample": beats.sample[index],
            "symbol": beats.symbol[index],
            "label": beats.labels[index],
        }
    )
    for column, name in enumerate(aami.CLASSES):
        table[f"logit_{name}"] = logits[:, column]
    table.to_parquet(path, index=False)


def _note_test_read(
    plan: _Plan, labels: NDArray[np.int64], logits: NDArray[np.float32], seed: int, decision: str = "plain"
) -> None:
    """Add a line to the log of DS2 scorings; the book prints their number beside every result on DS2.

    Each decision is a scoring of its own: two numbers come from it, and either could be picked.
    """
    p = plan.parameters
    if p.protocol == "intra" or not p.test or plan.source.synthetic:
        return
    matrix = metrics.confusion(labels, logits.argmax(1), len(aami.CLASSES))
    values = metrics.summary(matrix, classifier.macro_classes(p.protocol))
    line = {
        "time": provenance.now(),
        "key": plan.key,
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


def _evaluated(plan: _Plan, folder: Path) -> Record:
    """The run's record, computed from its predictions unless it is there and up to date."""
    return driver.saved(folder, plan.parameters, lambda: _evaluate(plan, folder))


def _evaluate(plan: _Plan, folder: Path) -> Record:
    p = plan.parameters
    cards = [card for seed in p.seeds if (card := _card(folder, seed)) is not None]
    tables = [pd.read_parquet(folder / f"predictions-seed{seed}.parquet") for seed in p.seeds]
    classes = classifier.macro_classes(p.protocol)
    unadapted = {}
    if p.protocol == "adapted":
        before = [pd.read_parquet(folder / f"unadapted-seed{seed}.parquet") for seed in p.seeds]
        names = _records(before)
        parts = np.stack([scoring.by_record(table, names) for table in before])
        unadapted = scoring.scores(parts, classes, p.bootstrap, nsv=True)
        unadapted["by_record"] = {name: parts[:, i].tolist() for i, name in enumerate(names)}
    first = cards[0]
    counts = first["class_counts"]
    return Record(
        **driver.named(p),
        key=plan.key,
        task="multiclass",
        data=DataCard(
            name=p.database,
            synthetic=plan.source.synthetic,
            fingerprint=plan.data_fingerprint,
            n_train=sum(counts["train"].values()),
            n_val=sum(counts["val"].values()),
            n_test=sum(counts["test"].values()),
            digest=data_digest(p),
            test_indices_sha256=first["test_indices_sha256"],
            left_out=first["left_out"],
            records_left_out=first["records_left_out"],
            class_counts=counts,
        ),
        parameters=p.model_dump(exclude={"experiment", "title", "profile", "seeds"}),
        seeds=p.seeds,
        classes=list(aami.CLASSES),
        macro_classes=[aami.CLASSES[i] for i in classes],
        scored="test" if p.test else "val",
        selection="macro_f1",
        **_decision(p, tables),
        moved=_moved(p, folder, cards, tables),
        predicted=raw.pack(scoring.predicted(tables[0])),
        class_scores={
            name: raw.pack(of_class) for name, of_class in zip(aami.CLASSES, scoring.levels(tables[0]).T, strict=True)
        },
        unadapted=unadapted,
        intervals=Resampling(unit="record", n=p.bootstrap),
        training=[_training(p, folder, card["run"]) for card in cards],
        n_features=first["n_features"],
        resampled=first["resampled"],
        recipe=recipes.of(p),
        **driver.provenance_of(cards, plan.device, plan.precision),
    )


def _records(tables: list[pd.DataFrame]) -> list[str]:
    return sorted(set().union(*(table["record"] for table in tables)))


def _decision(p: HeartbeatParameters, tables: list[pd.DataFrame]) -> dict[str, Any]:
    """The fields of a record that follow from the predictions of every seed."""
    names = _records(tables)
    matrices = np.stack([scoring.by_record(table, names) for table in tables])
    classes = classifier.macro_classes(p.protocol)
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


def _moved(
    p: HeartbeatParameters, folder: Path, cards: list[dict[str, Any]], tables: list[pd.DataFrame]
) -> Moved | None:
    """The decision with thresholds moved; None unless every seed's were."""
    offsets: list[list[float]] = [
        own for card in cards if (own := card.get("offsets"))
    ]  # notes of earlier code lack it
    if len(offsets) < len(cards):
        return None
    validation = [pd.read_parquet(folder / f"validation-seed{seed}.parquet") for seed in p.seeds]
    validated = [_validated(p, _shifted(table, own)) for table, own in zip(validation, offsets, strict=True)]
    return Moved(
        offsets=offsets,
        validation=[f1 for f1, _ in validated],
        validation_recall=[recall for _, recall in validated],
        created=provenance.now(),
        **_decision(p, [_shifted(table, own) for table, own in zip(tables, offsets, strict=True)]),
    )


def _shifted(table: pd.DataFrame, offsets: list[float]) -> pd.DataFrame:
    """Predictions with offsets added to their logits."""
    columns = [f"logit_{name}" for name in aami.CLASSES]
    return table.assign(**(table[columns] + np.array(offsets, dtype=np.float32)))


def _training(p: HeartbeatParameters, folder: Path, card: dict[str, Any]) -> SeedRun:
    run = SeedRun(**card)
    if not p.refit:  # which has learnt the validation beats
        table = pd.read_parquet(folder / f"validation-seed{run.seed}.parquet")
        run.validation, run.validation_recall = _validated(p, table)
    return run


def _validated(p: HeartbeatParameters, table: pd.DataFrame) -> tuple[float, float]:
    """Macro-F1 and macro recall of predictions."""
    matrix = scoring.by_record(table, sorted(table["record"].unique())).sum(0)
    summary = metrics.summary(matrix, classifier.macro_classes(p.protocol))
    return float(summary["macro_f1"]), float(summary["macro_recall"])


def _part(source: databases.Source, record: Record) -> str:
    """Why the run does not rest on every record of its database; one on fewer must not replace the reference result."""
    whole = not record.data.records_left_out and len(source.records) == databases.database(source.name).expected
    return "" if whole else "the run rests on a part of the database"
