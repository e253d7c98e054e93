"""Parameters in; a network, transferred or not, or a yardstick, scored out of fold and recorded, out.

What `ecglib.experiment` is to beats this is to infarctions: a run is found again by its key, a half-finished one goes
on at the first fold that is missing, and metrics are computed anew when only their code changed.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file
from torch import nn

from ecglib import aami, config, paths
from ecglib.config import InfarctionParameters
from ecglib.data import aligned_beats, databases, digest, infarction, splits
from ecglib.data.infarction import CLASSES, Cohort
from ecglib.data.splits import Index
from ecglib.errors import UserError
from ecglib.evaluation import binary, bootstrap, metrics
from ecglib.experiment import driver, heartbeat, provenance, raw, recipes
from ecglib.experiment import record as results
from ecglib.experiment.record import DataCard, Epoch, InfarctionCard, Interval, Record, Resampling
from ecglib.models import registry
from ecglib.models.yardstick import Yardstick
from ecglib.training import device as devices
from ecglib.training import folds, joint, out_of_fold, transfer
from ecglib.training.transfer import State, Transferred

RECIPE = 1
"""1: as published."""
NOT_IN_KEY: Final = ("experiment", "title", "profile", "bootstrap", "device", "in_book", "precision", "seeds")
LIKELY: Final = 50.0
"""Percent of likelihood from which an infarction counts in the second line."""


@dataclass(frozen=True)
class _Plan:
    """What is decided before anything is computed."""

    parameters: InfarctionParameters
    source: databases.Source
    device: torch.device
    precision: str
    data_fingerprint: str
    synthetic: bool
    made_of: driver.Parts

    @cached_property
    def key(self) -> str:
        return driver.key(self.made_of)


class Run(driver.Run):
    """A finished run; its folder has for every seed k `scores-seedk.parquet`, and `weights-seedk-foldn.safetensors` of
    every fold's network; a yardstick is fitted in seconds, and its weights are not kept."""

    def scores(self) -> pd.DataFrame:
        """Every beat under every seed: `seed, beat, record, patient, likelihood, sample, label, fold, score,
        log_odds`, and `score_n` after learning from n patients. Of a yardstick a row is a recording."""
        paths_ = {seed: self.folder / f"scores-seed{seed}.parquet" for seed in self.record.seeds}
        return pd.concat([pd.read_parquet(path).assign(seed=seed) for seed, path in paths_.items()])


def run(parameters: InfarctionParameters, *, fresh: bool = False) -> Run:
    """Train and score one way of transfer out of fold, or find the run that did.

    A beat experiment that is to be transferred and was not run yet is run first, in the same profile.

    Raises
    ------
    UserError
        When data, parameters, pretrained weights or disk don't allow it.
    """
    plan = _plan(parameters)
    done = driver.do(
        parameters,
        plan.made_of,
        lambda folder: _train_missing(plan, folder),
        lambda folder: _evaluated(plan, folder),
        _of_other_data,
        fresh=fresh,
    )
    return Run(**vars(done))


def _of_other_data(record: Record) -> str:
    """Why the run rests on other recordings than its reference result, which it must not replace then."""
    there = results.reference(record.experiment)
    same = there is None or there.data.fingerprint == record.data.fingerprint
    return "" if same else f"that of {record.experiment} rests on other data"


def key_of(parameters: InfarctionParameters) -> str:
    """The key of a run with these parameters, on this data, this code and this machine."""
    return _plan(parameters).key


def data_digest(parameters: InfarctionParameters) -> digest.Digest:
    """The digest of the beats of such a run and of their folds under each of its seeds."""
    cohort = _beats(parameters, databases.get(parameters.database))
    people = cohort.recordings
    found = digest.of(
        signals=cohort.signals,
        median_beats=cohort.median_beats,
        labels=cohort.labels,
        sample=cohort.sample,
        record=people["record"].to_numpy()[cohort.recording],
        patient=people["patient"].to_numpy(),
        people=people[["age", "female", "likelihood"]].to_numpy(dtype=np.float64),
        folds=np.stack([assigned(parameters, cohort, seed) for seed in parameters.seeds]),
    )
    return found


def assigned(p: InfarctionParameters, cohort: Cohort, seed: int) -> Index:
    """Number of every beat's fold, `(n,)`; patients stay together where the protocol says so. Errors as for
    `splits.folds`."""
    groups = cohort.patients if p.protocol == "by-patient" else np.arange(len(cohort))
    return splits.folds(cohort.labels, groups, p.folds, seed, CLASSES)


def data_fingerprint(parameters: InfarctionParameters) -> str:
    """The fingerprint of the files that such a run rests on here, those of its pretraining aside."""
    return databases.get(parameters.database).fingerprint()


def pretraining(parameters: InfarctionParameters) -> config.HeartbeatParameters | None:
    """The beat experiment that is transferred; None where nothing is, or a file."""
    return _pretraining(parameters) if _learns_beats(parameters) else None


def first_epochs(parameters: InfarctionParameters, n: int, device: torch.device, precision: str) -> list[Epoch]:
    """The epochs of the first fold's network under the first seed; nothing is filed. Of a transfer, those of a network
    that starts from weights as they are drawn, and the first epochs of the pretraining."""
    p, seed = parameters, parameters.seeds[0]
    if registry.entry(p.model).yardstick:
        return []
    cohort = _beats(p, databases.get(p.database))
    index = splits.held_out(assigned(p, cohort, seed), 0)
    how: dict[str, Any] = {"device": device, "precision": precision, "title": f"{p.experiment} first fold"}
    if _aligned(p):
        return joint.train(p, cohort, seed, *index, **how).run.history
    torch.manual_seed(seed)
    drawn = registry.build(p.model, 1, infarction.N_SAMPLES, len(aami.CLASSES), **p.model_options).state_dict()
    found = folds.train(p, cohort, None if p.way == "scratch" else drawn, seed, *index, **how).run.history
    return found + (heartbeat.first_epochs(_pretraining(p), n, device, precision) if _learns_beats(p) else [])


def _plan(p: InfarctionParameters) -> _Plan:
    source = databases.get(p.database)
    make = _maker(p)
    n_samples = aligned_beats.N_SAMPLES if _aligned(p) else infarction.N_SAMPLES
    yardstick = registry.entry(p.model).yardstick
    device, precision = driver.place(p, make, ((p.batch_size, len(p.leads), n_samples), 0), probes=not yardstick)
    model = make()
    data = source.fingerprint()
    made_of = driver.parts(
        p,
        {*NOT_IN_KEY, *p.idle()},
        data=data,
        task="infarction.py",
        model=model,
        device=device,
        precision=precision,
        pretrained=_pretrained_key(p),
    )
    synthetic = source.synthetic or (_learns_beats(p) and databases.get(_pretraining(p).database).synthetic)
    return _Plan(p, source, device, precision, data, synthetic, made_of)


def _aligned(p: InfarctionParameters) -> bool:
    """Whether the network reads aligned beats, all leads together."""
    return registry.entry(p.model).reads_aligned


def _maker(p: InfarctionParameters) -> Callable[[], nn.Module]:
    if registry.entry(p.model).yardstick:
        return lambda: _yardstick(p)
    return joint.maker(p) if _aligned(p) else folds.maker(p, infarction.N_SAMPLES)


def _yardstick(p: InfarctionParameters) -> Yardstick:
    shape = (len(p.leads), infarction.BEFORE + infarction.AFTER)
    made = registry.build(p.model, *(shape if registry.entry(p.model).takes == "median beat" else (1, 2)), 1)
    assert isinstance(made, Yardstick)
    return made


# --- what is transferred ----------------------------------------------------------------------------------------------


def _pretrained_key(p: InfarctionParameters) -> str:
    """What the pretrained weights follow from: the key of their run, or the contents of their file."""
    if p.way == "scratch":
        return ""
    if not _learns_beats(p):
        return hashlib.sha256((paths.root() / p.pretrained).read_bytes()).hexdigest()
    return heartbeat.key_of(_pretraining(p))


def _learns_beats(p: InfarctionParameters) -> bool:
    """Whether what is transferred is a beat experiment, and not a file."""
    return p.way != "scratch" and not (paths.root() / p.pretrained).is_file()


def _pretraining(p: InfarctionParameters) -> config.HeartbeatParameters:
    """Parameters of the beat experiment that is transferred.

    Raises
    ------
    UserError
        When it is neither a file nor such an experiment, or its network is another one.
    """
    if p.pretrained.partition("/")[0] != "heartbeat":
        raise UserError(f"pretrained: {p.pretrained}", "no such file", "a weights file, or heartbeat/<experiment>")
    found = config.load(p.pretrained, profile=p.profile, overrides={"seeds": p.seeds})
    assert isinstance(found, config.HeartbeatParameters)
    if (found.model, found.model_options) != (p.model, p.model_options):
        raise UserError(
            f"pretrained: {p.pretrained}", f"a {found.model} {found.model_options or ''}".strip(),
            f"a {p.model} {p.model_options or ''}".strip(),
        )  # fmt: skip
    return found


def _weights(p: InfarctionParameters, seed: int) -> State | None:
    if p.way == "scratch":
        return None
    file = paths.root() / p.pretrained
    if _learns_beats(p):
        file = heartbeat.run(_pretraining(p)).folder / f"weights-seed{seed}.safetensors"
    return transfer.read_weights(file)


# --- training ---------------------------------------------------------------------------------------------------------


def _train_missing(plan: _Plan, folder: Path) -> bool:
    p = plan.parameters
    missing = [seed for seed in p.seeds if not (folder / f"training-seed{seed}.json").is_file()]
    if not missing:
        return False
    cohort = _beats(p, plan.source)
    folder.mkdir(parents=True, exist_ok=True)
    for seed in missing:
        _train_seed(plan, folder, cohort, seed)
    return True


def _cohort(p: InfarctionParameters, source: databases.Source) -> Cohort:
    return infarction.limited(infarction.load(source, p.leads), p.max_records)


def _beats(p: InfarctionParameters, source: databases.Source) -> Cohort:
    """The cohort as the experiment's network reads it."""
    cohort = _cohort(p, source)
    return aligned_beats.aligned(cohort, source, p.leads) if _aligned(p) else cohort


def _train_seed(plan: _Plan, folder: Path, cohort: Cohort, seed: int) -> None:
    p, commit = plan.parameters, provenance.commit()
    state = _weights(p, seed)
    fold = assigned(p, cohort, seed)
    if registry.entry(p.model).yardstick:
        made = _fitted(plan, folder, cohort, seed, fold)
    else:
        made = _trained(plan, folder, cohort, state, seed, fold)
    model = joint.Vote([_maker(p)() for _ in range(p.networks)]) if _aligned(p) else _maker(p)()
    loaded, skipped, frozen = _transferred(model, p, state)
    y = cohort.recordings["label"].to_numpy()
    card = {
        "seed": seed,
        "folds": made,
        "seconds": sum(one["seconds"] for one in made),
        "folds_sha256": hashlib.sha256(fold.tobytes()).hexdigest(),
        "recordings": dict(zip(CLASSES, np.bincount(y, minlength=2).tolist(), strict=True)),
        "patients": {name: int(cohort.recordings["patient"][y == i].nunique()) for i, name in enumerate(CLASSES)},
        "beats": dict(zip(CLASSES, np.bincount(cohort.labels, minlength=2).tolist(), strict=True)),
        "n_train": made[0]["n_train"],
        "left_out": cohort.left_out,
        "records_left_out": cohort.records_left_out,
        "transfer": {"loaded": loaded, "skipped": skipped, "frozen": frozen},
        "n_parameters": sum(t.numel() for t in model.parameters()),
        "n_learning": sum(t.numel() for t in model.parameters() if t.requires_grad),
        "input_shape": list(_read(p, cohort).shape[1:]),
        "hardware": devices.hardware(plan.device),
        "versions": provenance.versions(),
        "commit": commit,
        "created": provenance.now(),
    }
    driver.write_note(folder / f"training-seed{seed}.json", card)  # last: its presence says that the seed is done
    for table in folder.glob(f"scores-seed{seed}-fold*.parquet"):
        table.unlink()
    for note in folder.glob(f"fold-seed{seed}-*.json"):
        note.unlink()


def _trained(
    plan: _Plan, folder: Path, cohort: Cohort, state: State | None, seed: int, fold: Index
) -> list[dict[str, Any]]:
    """Score every beat by a network of its fold; returns how each fold went."""
    made = [_fold(plan, folder, cohort, state, seed, fold, number) for number in range(int(fold.max()) + 1)]
    tables = [pd.read_parquet(folder / f"scores-seed{seed}-fold{number}.parquet") for number in range(len(made))]
    pd.concat(tables).sort_values("beat").to_parquet(folder / f"scores-seed{seed}.parquet", index=False)
    return made


def _fitted(plan: _Plan, folder: Path, cohort: Cohort, seed: int, fold: Index) -> list[dict[str, Any]]:
    """Score every recording by a yardstick fitted to the other folds; returns how it went."""
    p, rows, started = plan.parameters, cohort.recordings, time.perf_counter()
    _, first = np.unique(cohort.recording, return_index=True)
    sick, patients = (rows["label"] == 1).to_numpy(), rows["patient"].to_numpy(dtype=np.str_)
    parts = [splits.held_out(fold[first], number) for number in range(int(fold.max()) + 1)]
    table = _table(cohort, first)
    found = out_of_fold.logits(lambda: _yardstick(p), _read(p, cohort), sick[:, None], patients, parts, seed)
    table["fold"], table["score"] = fold[first], found[:, 0]
    for train, test in parts:
        table.loc[test, "log_odds"] = np.log(sick[train].sum() / (~sick[train]).sum())
    table.to_parquet(folder / f"scores-seed{seed}.parquet", index=False)
    seconds = (time.perf_counter() - started) / len(parts)
    return [
        {"fold": number, "n_train": len(train), "epochs": 0, "history": [], "seconds": seconds}
        for number, (train, _) in enumerate(parts)
    ]


def _read(p: InfarctionParameters, cohort: Cohort) -> np.ndarray[Any, np.dtype[np.floating[Any]]]:
    """What the model reads, `(n, leads, samples)`: beats, or of every recording the median beat or age and sex.

    Raises
    ------
    UserError
        When age or sex is wanted and nobody's is known.
    """
    takes = registry.entry(p.model).takes
    if takes == "median beat":
        return cohort.median_beats
    if takes == "age and sex":
        return out_of_fold.people(cohort.recordings[["age", "female"]].to_numpy(np.float64), p.model)
    return cohort.signals


def _transferred(
    model: nn.Module, p: InfarctionParameters, state: State | None
) -> tuple[list[str], list[str], list[str]]:
    """Names of the tensors that are loaded, left behind and frozen."""
    if not isinstance(model, Transferred):
        return [], [], []
    loaded, skipped = model.take(state, p.pretrained) if state is not None else ([], [])
    return loaded, skipped, model.freeze() if p.way == "frozen" else []


def _fold(
    plan: _Plan, folder: Path, cohort: Cohort, state: State | None, seed: int, fold: Index, number: int
) -> dict[str, Any]:
    """Train the networks of one fold, unless they are there; returns how it went."""
    note = folder / f"fold-seed{seed}-{number}.json"
    found: dict[str, Any] | None = driver.note(note)
    if found is not None:
        return found
    p = plan.parameters
    train, test = splits.held_out(fold, number)
    title = f"{p.experiment or p.model} seed {seed} fold {number + 1}/{int(fold.max()) + 1}"

    def learnt(index: Index, title: str) -> folds.Fold:
        how: dict[str, Any] = {"device": plan.device, "precision": plan.precision, "title": title}
        if _aligned(p):
            return joint.train(p, cohort, seed, index, test, **how)
        return folds.train(p, cohort, state, seed, index, test, **how)

    whole = learnt(train, title)
    table = _table(cohort, test)
    table["fold"], table["score"], table["log_odds"] = number, whole.scores, whole.log_odds
    seconds = sum(epoch.seconds for epoch in whole.run.history)
    for n in splits.curve_sizes(p.curve, cohort.patients, fold):
        one = learnt(splits.some_patients(cohort.labels, cohort.patients, train, n, seed), f"{title}, {n} patients")
        table[f"score_{n}"] = one.scores
        seconds += sum(epoch.seconds for epoch in one.run.history)
    save_file(
        {name: t.detach().cpu().contiguous() for name, t in whole.model.state_dict().items()},
        folder / f"weights-seed{seed}-fold{number}.safetensors",
    )
    table.to_parquet(folder / f"scores-seed{seed}-fold{number}.parquet", index=False)
    done = {
        "fold": number,
        "n_train": len(np.unique(cohort.recording[train])),
        "epochs": whole.run.epochs_run,
        "history": [epoch.model_dump() for epoch in whole.run.history],
        "seconds": seconds,
    }
    driver.write_note(note, done)
    return done


def _table(cohort: Cohort, index: Index) -> pd.DataFrame:
    rows = cohort.recordings.iloc[cohort.recording[index]]
    return pd.DataFrame(
        {
            "beat": index,
            "record": rows["record"].to_numpy(),
            "patient": rows["patient"].to_numpy(),
            "likelihood": rows["likelihood"].to_numpy(),
            "sample": cohort.sample[index],
            "label": cohort.labels[index],
        }
    )


# --- evaluation -------------------------------------------------------------------------------------------------------


def _evaluated(plan: _Plan, folder: Path) -> Record:
    """The run's record, computed from its scores unless it is there and up to date."""
    return driver.saved(folder, plan.parameters, lambda: _evaluate(plan, folder))


def _evaluate(plan: _Plan, folder: Path) -> Record:
    p = plan.parameters
    cards = [json.loads((folder / f"training-seed{seed}.json").read_text(encoding="utf-8")) for seed in p.seeds]
    beats = [pd.read_parquet(folder / f"scores-seed{seed}.parquet") for seed in p.seeds]
    recordings = [binary.pooled(table) for table in beats]
    known = bool(recordings[0]["patient"].astype(bool).all())
    n_resamples = (
        p.bootstrap if known else 0
    )  # beats of unknown patients can't be resampled as if they were independent
    codes, drawn = bootstrap.patient_weights(recordings[0]["patient"], n_resamples)
    found = [binary.values(rows, codes, drawn) for rows in recordings]
    matrices = np.stack([_matrices(rows) for rows in recordings])
    first = cards[0]
    curve = {
        str(n): [binary.pooled(table.assign(score=table[f"score_{n}"])) for table in beats]
        for n in p.curve
        if f"score_{n}" in beats[0]
    }
    likelihood = beats[0].groupby("record", sort=True)["likelihood"].first().to_numpy()
    likely = (recordings[0]["label"] == 0).to_numpy() | (likelihood >= LIKELY)
    one = metrics.per_class(matrices.sum(1))
    yardstick = registry.entry(p.model).yardstick
    record_scores = binary.intervals(found)
    of_likely = {} if np.isnan(likelihood).all() else _scores([rows[likely] for rows in recordings], n_resamples)
    if yardstick:
        for values in (record_scores, of_likely):
            values.pop("ece", None)  # no probability follows from its scores
    names = {"se": "se", "ppv": "ppv", "f1": "f1", "specificity": "sp"}
    per_class = {
        CLASSES[0]: {key: bootstrap.interval(values[:, :1]) for key, values in one.items()},
        CLASSES[1]: {key: record_scores[name] for key, name in names.items()},
    }
    return Record(
        **driver.named(p),
        key=plan.key,
        task="binary",
        data=DataCard(
            name=p.database,
            synthetic=plan.synthetic,
            fingerprint=plan.data_fingerprint,
            n_train=first["n_train"],
            n_val=0,
            n_test=len(recordings[0]),
            digest=data_digest(p),
            test_indices_sha256=first["folds_sha256"],
            left_out=first["left_out"],
            records_left_out=first["records_left_out"],
            class_counts={"recordings": first["recordings"], "patients": first["patients"], "beats": first["beats"]},
        ),
        parameters=p.model_dump(exclude={"experiment", "title", "profile", "seeds"})
        | {"test": True, "cut": _cut(p), "refit": False},
        seeds=p.seeds,
        classes=list(CLASSES),
        metrics=record_scores,
        per_class=per_class,
        intervals=Resampling(unit="patient", n=n_resamples),
        confusion=matrices.sum(1).tolist(),
        by_record={name: matrices[:, i].tolist() for i, name in enumerate(recordings[0]["record"])},
        right=[raw.pack(((rows["score"] >= 0) == (rows["label"] == 1)).to_numpy()) for rows in recordings],
        recipe=recipes.of(p),
        **driver.provenance_of(cards, plan.device, plan.precision),
        infarction=InfarctionCard(
            beat_metrics={} if yardstick else _scores(beats, n_resamples),
            likely=of_likely,
            curve={n: _scores(few, n_resamples)["auroc"] for n, few in curve.items()},
            transfer=first["transfer"] | {"n_learning": first["n_learning"]},
            scores={n: _by_recording(few) for n, few in {"all": recordings, **curve}.items()} if known else {},
            patients={str(name): str(who) for name, who in recordings[0][["record", "patient"]].to_numpy() if who},
            folds=len(first["folds"]),
            epochs=first["folds"][0]["epochs"],
        ),
    )


def _cut(p: InfarctionParameters) -> str:
    entry = registry.entry(p.model)
    return entry.takes if entry.yardstick else "aligned" if entry.reads_aligned else "kachuee"


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
