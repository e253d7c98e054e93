"""Parameters in; several labels of 12-lead recordings, scored fold by fold and recorded, out.

What `ecglib.experiment` is to beats this is to whole recordings: a run is found again by its key, a half-finished one
goes on at the part that is missing, and metrics are computed anew when only their code changed.

A *part* is one division into sets: a fold that is scored by a network which learnt from the others, or a source that
is scored by one which learnt from the other sources.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn

from ecglib import losses
from ecglib.config import TwelveLeadParameters
from ecglib.data import databases, digest, median_beats, splits
from ecglib.data.catalogues import catalogue, ptb_xl, snomed
from ecglib.data.catalogues import challenge as challenge_2021
from ecglib.data.catalogues.catalogue import Records
from ecglib.data.infarction import AFTER, BEFORE
from ecglib.data.recordings import Refused, TwelveLead, survey
from ecglib.data.records import LEADS
from ecglib.data.splits import OFFICIAL, Index, Part
from ecglib.errors import UserError
from ecglib.evaluation import bootstrap, challenge, thresholds
from ecglib.evaluation import labels as label_scores
from ecglib.experiment import driver, provenance, recipes
from ecglib.experiment import record as results
from ecglib.experiment.record import (
    DataCard,
    Epoch,
    Interval,
    Record,
    Resampling,
    SeedRun,
    TwelveLeadCard,
    TwelveLeadRecord,
)
from ecglib.models import registry
from ecglib.models.crnn import CRNN
from ecglib.models.yardstick import Yardstick
from ecglib.training import augmentation, loop, out_of_fold, recordings
from ecglib.training import device as devices
from ecglib.training.augmentation import Augmentation, Noise

RECIPE = 1
"""1: as published."""
NOT_IN_KEY: Final = (
    "experiment",
    "title",
    "profile",
    "bootstrap",
    "device",
    "in_book",
    "precision",
    "seeds",
    "workers",
)
HALF: Final = 0.5
"""Threshold of yardsticks, which weigh recordings with a label as much as those without."""
OF_NETWORKS, OF_YARDSTICKS = 4, 9
"""Digits to which a record keeps probabilities; scores of a regression on a rare label lie all but at 0 and at 1."""

Flags = NDArray[np.bool_]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Plan:
    """What is decided before anything is computed."""

    parameters: TwelveLeadParameters
    source: Records
    few: dict[str, int]
    device: torch.device
    precision: str
    synthetic: bool
    made_of: driver.Parts

    @cached_property
    def key(self) -> str:
        return driver.key(self.made_of)

    @cached_property
    def data(self) -> TwelveLead:
        return TwelveLead(self.source, self.parameters.rate)


class Run(driver.Run):
    """A finished run; its folder has for every seed k `scores-seedk.parquet`, and `weights-seedk-<part>.safetensors` of
    every part's network; a yardstick is fitted in seconds, and its weights are not kept."""

    def scores(self) -> pd.DataFrame:
        """Every scored recording under every seed and part: `seed, part, set, record, source, patient, fold`, and
        `p:<label>`, `y:<label>`, `t:<label>` (probability, truth, threshold) of every label."""
        paths_ = {seed: self.folder / f"scores-seed{seed}.parquet" for seed in self.record.seeds}
        return pd.concat([pd.read_parquet(path).assign(seed=seed) for seed, path in paths_.items()])

    def parts(self) -> list[str]:
        """Names of the parts, those of folds first."""
        return list(dict.fromkeys(self.scores()["part"]))

    def network(self, part: str, seed: int | None = None) -> nn.Module:
        """The network of a part, in eval mode on the CPU."""
        seed = self.record.seeds[0] if seed is None else seed
        model = maker(parameters_of(self.record), len(self.record.classes))()
        model.load_state_dict(load_file(self.folder / f"weights-seed{seed}-{part}.safetensors"))
        return model.eval()

    def data(self) -> TwelveLead:
        """The recordings that it was made of."""
        parameters = parameters_of(self.record)
        return TwelveLead(_source(parameters)[0], parameters.rate)


def run(parameters: TwelveLeadParameters, *, fresh: bool = False) -> Run:
    """Train and score a network of recordings fold by fold, or find the run that did.

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
        _of_other_data,
        fresh=fresh,
    )
    return Run(**vars(done))


def key_of(parameters: TwelveLeadParameters) -> str:
    """The key of a run with these parameters, on this data, this code and this machine."""
    return _plan(parameters).key


def data_digest(parameters: TwelveLeadParameters) -> digest.Digest:
    """The digest of the recordings of such a run that can be read, and of their division into parts."""
    source, _ = _source(parameters)
    data = TwelveLead(source, parameters.rate)
    read = [found for i in range(len(data)) if not isinstance(found := data[i], Refused)]
    usable = [example.index for example in read]
    entries = [source.entries[i] for i in usable]
    divided = parts(source, parameters, np.array(usable))
    return digest.of(  # of each recording, as all of a large database would not lie in memory at once
        norms=np.array([float(example.x.double().norm()) for example in read]),
        waves=np.array([[digest.projected(lead) for lead in example.x.numpy()] for example in read]),
        labels=catalogue.labels(source)[usable],
        record=np.array([entry.record for entry in entries]),
        patient=np.array([entry.patient for entry in entries]),
        people=np.array([[entry.age, entry.female] for entry in entries]),
        parts=np.concatenate([np.append(index, -1) for part in divided for index in (part.train, part.val, part.test)]),
        noise=_noise_values(parameters),
    )


def data_fingerprint(parameters: TwelveLeadParameters) -> str:
    """The fingerprint of the files that such a run rests on here."""
    return _source(parameters)[0].fingerprint


def _noise_values(p: TwelveLeadParameters) -> Array:
    """The noise that training draws from, one value after the other; none where it needs none."""
    noise = None if registry.entry(p.model).yardstick else noise_of(p)
    return np.zeros(0) if noise is None else torch.cat([noise.wander.ravel(), noise.muscle.ravel()]).double().numpy()


def maker(p: TwelveLeadParameters, n_classes: int) -> Callable[[], nn.Module]:
    """A function that makes the experiment's network, its weights drawn anew."""
    if registry.entry(p.model).yardstick:
        return lambda: _yardstick(p, n_classes)
    leads, samples = _shape(p)
    return lambda: registry.build(p.model, leads, samples, n_classes, **p.model_options)


def _shape(p: TwelveLeadParameters) -> tuple[int, int]:
    """Leads and samples of what the model reads."""
    takes = registry.entry(p.model).takes
    if takes == "age and sex":
        return 1, 2
    samples = BEFORE + AFTER if takes == "median beat" else round((p.crop_seconds or 10.0) * p.rate)
    return len(LEADS), samples


def _yardstick(p: TwelveLeadParameters, n_classes: int) -> Yardstick:
    made = registry.build(p.model, *_shape(p), n_classes)
    assert isinstance(made, Yardstick)
    return made


def _of_other_data(record: Record) -> str:
    """Why the run rests on other recordings than its reference result, which it must not replace then."""
    there = results.reference(record.experiment)
    same = there is None or there.data.fingerprint == record.data.fingerprint
    return "" if same else f"that of {record.experiment} rests on other data"


def parameters_of(record: Record) -> TwelveLeadParameters:
    """The parameters of a run."""
    fields = TwelveLeadParameters.model_fields
    given = {name: value for name, value in record.parameters.items() if name in fields}
    names = {"experiment": record.experiment, "title": record.title, "profile": record.profile, "seeds": record.seeds}
    return TwelveLeadParameters.model_validate(given | names)


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
    classes, part = run.record.classes, [name for name in run.parts() if name.startswith("fold")][-1]
    rows = run.scores().query("seed == @run.record.seeds[0] and part == @part")
    p, y = (rows[[f"{kind}:{name}" for name in classes[1:]]].to_numpy(dtype=np.float64) for kind in ("p", "y"))
    best = int(np.where(y > 0, p, -1.0).max(1).argmax())
    row, data = rows.iloc[best], run.data()
    index = next(i for i, entry in enumerate(data.entries) if entry.record == row["record"])
    found = data[index]
    if isinstance(found, Refused):
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


def _source(p: TwelveLeadParameters) -> tuple[Records, dict[str, int]]:
    """The recordings, and the labels that too few of them have."""
    scored = p.labels == "scored"
    if p.database == "ptb-xl":
        whole = ptb_xl.read(databases.get("ptb-xl"), scored)
    else:
        whole = challenge_2021.read(databases.get("challenge-2021"))
        beside = databases.find("ptb-xl")
        if beside is not None:
            whole = challenge_2021.joined(whole, ptb_xl.read(beside, scored))
    enough = catalogue.with_enough(whole, p.min_positives)
    counts = dict(zip(whole.classes, catalogue.labels(whole).sum(0).tolist(), strict=True))
    few = {name: n for name, n in counts.items() if name not in enough.classes}
    return _limited(enough, p.max_records), few


def _limited(source: Records, most: int | None) -> Records:
    """So many recordings, the first of every fold in turn."""
    if most is None or most >= len(source.entries):
        return source
    seen: dict[int, int] = {}
    ranked = []
    for entry in source.entries:
        ranked.append((seen.get(entry.fold, 0), entry.fold))
        seen[entry.fold] = seen.get(entry.fold, 0) + 1
    kept = sorted(sorted(range(len(ranked)), key=lambda i: ranked[i])[:most])
    return replace(source, entries=tuple(source.entries[i] for i in kept))


def first_epochs(parameters: TwelveLeadParameters, n: int, device: torch.device, precision: str) -> list[Epoch]:
    """The first epochs of the last fold's network under the first seed, none of a yardstick's; nothing is filed."""
    p, (source, _) = parameters, _source(parameters)
    if registry.entry(p.model).yardstick:
        return []
    data, y = TwelveLead(source, p.rate), catalogue.labels(source)
    _, refused = survey(data)
    usable = np.array([i for i, entry in enumerate(source.entries) if entry.record not in refused])
    part = [one for one in parts(source, p, usable) if one.name.startswith("fold")][-1]
    trained = recordings.train(
        maker(p, y.shape[1]),
        data,
        (part.train, part.val, part.test),
        loss_of(p, y[part.train]),
        augmentation_of(p),
        noise_of(p),
        replace(recipe_of(p, len(part.train), precision), stop_after=n),
        seed=p.seeds[0],
        device=device,
        title=f"{p.experiment or p.model} first epochs",
    )
    return list(trained.run.history)


def _plan(p: TwelveLeadParameters) -> _Plan:
    source, few = _source(p)
    make = maker(p, len(source.classes))
    device, precision = placed(p, make)
    noise = databases.find("nstdb") if augmentation_of(p).needs_noise else None
    made_of = driver.parts(
        p,
        {*NOT_IN_KEY, *p.idle()},
        data=source.fingerprint,
        task="twelve_lead.py",
        model=make(),
        device=device,
        precision=precision,
        noise="" if noise is None else noise.fingerprint(),
    )
    return _Plan(p, source, few, device, precision, synthetic=False, made_of=made_of)


def placed(p: TwelveLeadParameters, make: Callable[[], nn.Module]) -> tuple[torch.device, str]:
    """Device and precision of training such a network (see `driver.place`)."""
    shape = (p.batch_size, *_shape(p))
    probes = not registry.entry(p.model).yardstick
    return driver.place(p, make, (shape, 0), probes=probes)


def augmentation_of(p: TwelveLeadParameters) -> Augmentation:
    """What is done to recordings that are learnt from; nothing for a yardstick."""
    if registry.entry(p.model).yardstick:
        return Augmentation()
    return Augmentation(
        crop=round(p.crop_seconds * p.rate),
        scaling=p.scaling,
        wander=p.wander,
        muscle=p.muscle,
        lead_dropout=p.lead_dropout,
    )


def noise_of(p: TwelveLeadParameters) -> Noise | None:
    """The noise for it, if any: that of `nstdb` where it is here, else synthetic."""
    if not augmentation_of(p).needs_noise:
        return None
    return augmentation.load_noise(p.rate) or augmentation.synthetic_noise(p.rate)


def parts(source: Records, p: TwelveLeadParameters, usable: Index) -> list[Part]:
    """The divisions of an experiment.

    Parameters
    ----------
    source
        All recordings.
    p
        Which folds are scored, and whether sources are left out.
    usable
        Places of the recordings that can be read.
    """
    return splits.parts(
        usable,
        np.array([source.entries[i].fold for i in usable]),
        np.array([source.entries[i].source for i in usable]),
        scored=p.test_folds,
        leave_source_out=p.leave_source_out,
        validates=not registry.entry(p.model).yardstick,  # chooses its epoch and thresholds
    )


# --- training ---------------------------------------------------------------------------------------------------------


def _train_missing(plan: _Plan, folder: Path) -> bool:
    p = plan.parameters
    missing = [seed for seed in p.seeds if not (folder / f"training-seed{seed}.json").is_file()]
    if not missing:
        return False
    folder.mkdir(parents=True, exist_ok=True)
    surveyed = driver.note(folder / "survey.json")
    if surveyed is None:
        repaired, refused = survey(plan.data)
        surveyed = {"repaired": {name: list(said) for name, said in repaired.items()}, "refused": refused}
        driver.write_note(folder / "survey.json", surveyed)
    usable = np.array([i for i, entry in enumerate(plan.source.entries) if entry.record not in surveyed["refused"]])
    divided = parts(plan.source, p, usable)
    yardstick = _fitted(plan, divided) if registry.entry(p.model).yardstick else None
    for seed in missing:
        _train_seed(plan, folder, divided, surveyed, seed, yardstick)
    return True


def _fitted(plan: _Plan, divided: Sequence[Part]) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Scores of a yardstick, each fold's from all others, and how it went; the same under every seed, as the folds are
    the database's own."""
    p, source, started = plan.parameters, plan.source, time.perf_counter()
    y, entries = catalogue.labels(source), source.entries
    patients = np.array([entry.patient for entry in entries])
    if registry.entry(p.model).takes == "median beat":
        x = median_beats.of_recordings(plan.data)
    else:
        x = out_of_fold.people(np.array([[entry.age, entry.female] for entry in entries]), p.model)
    sets = [(part.train, part.test) for part in divided]
    found = out_of_fold.logits(lambda: _yardstick(p, y.shape[1]), x, y, patients, sets, seed=0)
    squashed = recordings.sigmoid(np.nan_to_num(found))
    half = np.full(y.shape[1], HALF)
    tables = [score_table(source, part.name, part.test, squashed[part.test], half) for part in divided]
    seconds = (time.perf_counter() - started) / (len(divided) * len(p.seeds))
    return pd.concat(tables), [{"seconds": seconds} for _ in divided]


def _train_seed(
    plan: _Plan,
    folder: Path,
    divided: Sequence[Part],
    surveyed: dict[str, Any],
    seed: int,
    yardstick: tuple[pd.DataFrame, list[dict[str, Any]]] | None,
) -> None:
    p, commit, noise = plan.parameters, provenance.commit(), noise_of(plan.parameters)
    files = [folder / f"scores-seed{seed}-{part.name}.parquet" for part in divided]
    if yardstick is None:
        made = [_part(plan, folder, part, noise, seed) for part in divided]
        table = pd.concat([pd.read_parquet(file) for file in files])
    else:
        table, made = yardstick
    table.to_parquet(folder / f"scores-seed{seed}.parquet", index=False)
    network = maker(p, len(plan.source.classes))()
    card = {
        "seed": seed,
        "parts": {part.name: one for part, one in zip(divided, made, strict=True)},
        "seconds": sum(one["seconds"] for one in made),
        "sets": {part.name: [len(part.train), len(part.val), len(part.test)] for part in divided},
        "tests_sha256": hashlib.sha256(b"".join(part.test.tobytes() for part in divided)).hexdigest(),
        "repaired": surveyed["repaired"],
        "records_left_out": plan.source.refused | surveyed["refused"],
        "noise": "" if noise is None else "synthetic" if noise.synthetic else "nstdb",
        "n_parameters": registry.n_parameters(network),
        "input_shape": list(_shape(p)) if yardstick else [len(LEADS), round(p.crop_seconds * p.rate)],
        "hardware": devices.hardware(plan.device),
        "versions": provenance.versions(),
        "commit": commit,
        "created": provenance.now(),
    }
    driver.write_note(folder / f"training-seed{seed}.json", card)  # last: its presence says that the seed is done
    for left in (*files, *folder.glob(f"part-seed{seed}-*.json"), *folder.glob(f"checkpoint-seed{seed}-*")):
        left.unlink(missing_ok=True)


def _part(plan: _Plan, folder: Path, part: Part, noise: Noise | None, seed: int) -> dict[str, Any]:
    """Train the network of one part, unless it is there; returns how it went."""
    note = folder / f"part-seed{seed}-{part.name}.json"
    found: dict[str, Any] | None = driver.note(note)
    if found is not None:
        return found
    p, y = plan.parameters, catalogue.labels(plan.source)
    trained = recordings.train(
        maker(p, y.shape[1]),
        plan.data,
        (part.train, part.val, part.test),
        loss_of(p, y[part.train]),
        augmentation_of(p),
        noise,
        recipe_of(p, len(part.train), plan.precision),
        seed=seed,
        device=plan.device,
        workers=p.workers,
        title=f"{p.experiment or p.model} seed {seed} {part.name}",
        checkpoint_path=folder / f"checkpoint-seed{seed}-{part.name}.pt",
        fingerprint=plan.key,
    )
    chosen = thresholds.choose(y[part.val], recordings.sigmoid(trained.val_logits))
    tested = recordings.sigmoid(trained.test_logits)
    table = score_table(plan.source, part.name, part.test, tested, chosen.values)
    weights = {name: t.detach().contiguous() for name, t in trained.network.state_dict().items()}
    save_file(weights, folder / f"weights-seed{seed}-{part.name}.safetensors")
    table.to_parquet(folder / f"scores-seed{seed}-{part.name}.parquet", index=False)
    done = {
        "run": trained.run.model_dump(),
        "seconds": trained.seconds,
        "thresholds": chosen.values.tolist(),
        "chosen": chosen.chosen.tolist(),
    }
    driver.write_note(note, done)
    return done


def loss_of(p: TwelveLeadParameters, y: Flags) -> nn.Module:
    """The loss, weighed after the labels `(n, classes)` of the training part."""
    if p.imbalance == "none":
        return losses.WeightedBCE()
    weights = losses.positive_weights(y.sum(0), (~y).sum(0), p.weight_exponent)
    if p.imbalance == "weighted":
        return losses.WeightedBCE(weights)
    return losses.FocalLoss(p.focal_gamma, losses.balance(weights))


def recipe_of(p: TwelveLeadParameters, n_train: int, precision: str) -> loop.Recipe:
    """How to train on so many recordings."""
    return loop.Recipe(
        max_epochs=p.max_epochs,
        patience=p.patience,
        batch_size=p.batch_size,
        learning_rate=p.learning_rate,
        schedule=p.schedule,
        weight_decay=p.weight_decay,
        gradient_clip=p.gradient_clip,
        ema=p.ema,
        precision=precision,
        deterministic=p.deterministic,
        examples_per_epoch=max(n_train, p.fewest_per_epoch),
    )


def score_table(
    source: Records, part: str, index: Index, p: NDArray[np.float64], chosen: NDArray[np.float64]
) -> pd.DataFrame:
    """The rows of `Run.scores` of the recordings at these places, but for the seed.

    Parameters
    ----------
    source, index
        The recordings; `index` `(n,)`.
    part
        Name of the part.
    p, chosen
        Probabilities `(n, classes)` and thresholds `(classes,)`.
    """
    entries = [source.entries[i] for i in index]
    y = catalogue.labels(source)[index]
    columns: dict[str, Any] = {
        "part": part,
        "record": [entry.record for entry in entries],
        "source": [entry.source for entry in entries],
        "patient": [entry.patient for entry in entries],
        "fold": [entry.fold for entry in entries],
    }
    for c, name in enumerate(source.classes):
        columns |= {f"p:{name}": p[:, c], f"y:{name}": y[:, c], f"t:{name}": chosen[c]}
    return pd.DataFrame(columns)


# --- evaluation -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scored:
    """Recordings with their scores under every seed.

    Attributes
    ----------
    rows
        `record`, `source`, `patient` and `fold` of each.
    y
        Labels `(n, classes)`.
    p, t
        Probabilities and thresholds `(seeds, n, classes)`.
    """

    rows: pd.DataFrame
    y: Flags
    p: Array
    t: Array

    @classmethod
    def of(cls, tables: Sequence[pd.DataFrame], classes: Sequence[str]) -> Scored:
        def each(kind: str) -> NDArray[Any]:
            return np.stack([table[[f"{kind}:{name}" for name in classes]].to_numpy() for table in tables])

        rows = tables[0][["record", "source", "patient", "fold"]].reset_index(drop=True)
        return cls(rows, each("y")[0].astype(bool), each("p").astype(np.float64), each("t").astype(np.float64))

    def some(self, which: Flags) -> Scored:
        """Those recordings alone."""
        return Scored(self.rows[which].reset_index(drop=True), self.y[which], self.p[:, which], self.t[:, which])

    @property
    def decided(self) -> Flags:
        """Labels given, `(seeds, n, classes)`."""
        found: Flags = self.p >= self.t
        return found


def measured(
    found: Scored, classes: Sequence[str], codes: Sequence[str], n_resamples: int, *, calibrated: bool = True
) -> tuple[dict[str, Interval], dict[str, dict[str, Interval]], list[label_scores.Values]]:
    """Macro metrics, those of every class, and the values of every seed on the set and its resamples.

    Parameters
    ----------
    found
        The recordings.
    classes
        Names of the labels.
    codes
        Their SNOMED codes, for the Challenge's score; none gives no such score.
    n_resamples
        Of patients.
    calibrated
        Whether `p` are probabilities, so that their calibration error means something.
    """
    weights = label_scores.recording_weights(found.rows["patient"], n_resamples)
    seeds = [label_scores.values(found.y, p, given, weights) for p, given in zip(found.p, found.decided, strict=True)]
    if not calibrated:
        for one in seeds:
            del one["ece"]
    whole, per_class = label_scores.intervals(seeds, classes)
    if codes:
        earned = [challenge.scores(found.y, given, weights, codes) for given in found.decided]
        whole["challenge_score"] = bootstrap.interval(np.stack(earned))
    return whole, per_class, seeds


def _evaluated(plan: _Plan, folder: Path) -> Record:
    """The run's record, computed from its scores unless it is there and up to date."""
    return driver.saved(folder, plan.parameters, lambda: _evaluate(plan, folder))


def _evaluate(plan: _Plan, folder: Path) -> Record:
    p, classes = plan.parameters, plan.source.classes
    cards = [json.loads((folder / f"training-seed{seed}.json").read_text(encoding="utf-8")) for seed in p.seeds]
    tables = [pd.read_parquet(folder / f"scores-seed{seed}.parquet") for seed in p.seeds]
    codes = _codes(classes) if p.labels == "scored" and "NSR" in classes else []
    folds = Scored.of([table[table["part"].str.startswith("fold")] for table in tables], classes)
    yardstick = registry.entry(p.model).yardstick
    whole, per_class, _ = measured(folds, classes, codes, p.bootstrap, calibrated=not yardstick)
    matrices = np.stack([label_scores.matrices(folds.y, given) for given in folds.decided])
    first, names = cards[0], list(cards[0]["parts"])
    of_folds = [name for name in names if name.startswith("fold")]
    last = of_folds[-1]
    n_train, n_val, _ = first["sets"][last]
    official: dict[str, Interval] = {}
    if OFFICIAL in p.test_folds:
        own = folds.some((folds.rows["fold"] == OFFICIAL).to_numpy())
        official = measured(own, classes, codes, p.bootstrap, calibrated=not yardstick)[0]
    counts = {
        "recordings": dict(zip(classes, folds.y.sum(0).tolist(), strict=True)),
        "patients": {
            name: int(folds.rows["patient"][folds.y[:, c]].nunique()) for c, name in enumerate(classes)
        },
    }  # fmt: skip
    return TwelveLeadRecord(
        **driver.named(p),
        key=plan.key,
        task="multilabel",
        data=DataCard(
            name=p.database,
            synthetic=plan.synthetic,
            fingerprint=plan.source.fingerprint,
            n_train=n_train,
            n_val=n_val,
            n_test=len(folds.rows),
            digest=data_digest(p),
            test_indices_sha256=first["tests_sha256"],
            records_left_out=first["records_left_out"],
            class_counts=counts,
        ),
        parameters=p.model_dump(exclude={"experiment", "title", "profile", "seeds"})
        | {"test": True, "cut": registry.entry(p.model).takes if yardstick else "whole recordings", "refit": False},
        seeds=p.seeds,
        classes=list(classes),
        metrics=whole,
        per_class=per_class,
        selection="" if yardstick else "macro_auroc",
        intervals=Resampling(unit="patient", n=p.bootstrap),
        confusion=matrices.reshape(len(p.seeds), len(classes), 4).tolist(),
        training=[] if yardstick else [SeedRun.model_validate(one["parts"][last]["run"]) for one in cards],
        recipe=recipes.of(p),
        **driver.provenance_of(cards, plan.device, plan.precision),
        twelve_lead=TwelveLeadCard(
            recordings=len(plan.source.entries),
            patients=len({entry.patient for entry in plan.source.entries}),
            positives=dict(zip(classes, catalogue.labels(plan.source).sum(0).tolist(), strict=True)),
            by_source=_counted([entry.source for entry in plan.source.entries]),
            repaired=first["repaired"],
            duplicates=plan.source.duplicates,
            conflicts=catalogue.conflicts(plan.source),
            few=plan.few,
            noise=first["noise"],
            official=official,
            folds=_by_fold(folds, classes, codes),
            **_by_source(tables, folds, classes, codes, p.bootstrap),
            thresholds={}
            if yardstick
            else {
                name: [[one["parts"][part]["thresholds"][c] for part in of_folds] for one in cards]
                for c, name in enumerate(classes)
            },
            reliability={} if yardstick else _reliability(folds, classes),
            probabilities=_by_recording(folds, OF_YARDSTICKS if yardstick else OF_NETWORKS),
            truth=dict(zip(folds.rows["record"], folds.y.astype(int).tolist(), strict=True)),
            patient_of=dict(zip(folds.rows["record"], folds.rows["patient"], strict=True)),
        ),
    )


def _codes(classes: Sequence[str]) -> list[str]:
    code = {each.abbreviation: each.code for each in snomed.CLASSES}
    return [code[name] for name in classes]


def _counted(names: Sequence[str]) -> dict[str, int]:
    return {name: names.count(name) for name in sorted(set(names))}


def _by_fold(folds: Scored, classes: Sequence[str], codes: Sequence[str]) -> dict[str, dict[str, list[float | None]]]:
    wanted = ("macro_auroc", "macro_auprc", "macro_f1", *(["challenge_score"] if codes else []))
    shown = {}
    for number in sorted(set(folds.rows["fold"])):
        whole, _, _ = measured(folds.some((folds.rows["fold"] == number).to_numpy()), classes, codes, 0)
        shown[str(number)] = {name: whole[name].per_seed for name in wanted}
    return shown


def _by_source(
    tables: Sequence[pd.DataFrame], folds: Scored, classes: Sequence[str], codes: Sequence[str], n_resamples: int
) -> dict[str, dict[str, dict[str, Interval]]]:
    """Metrics of every source that was left out, and of the same recordings out of fold."""
    names = [name for name in dict.fromkeys(tables[0]["part"]) if name.startswith("source-")]
    unknown, known = {}, {}
    for part in names:
        mine = Scored.of([table[table["part"] == part] for table in tables], classes)
        source = part.removeprefix("source-")
        unknown[source] = measured(mine, classes, codes, n_resamples)[0]
        same = folds.rows["record"].isin(mine.rows["record"]).to_numpy()
        if same.sum() == len(mine.rows):
            known[source] = measured(folds.some(same), classes, codes, n_resamples)[0]
    return {"left_out_source": unknown, "known_source": known}


def _reliability(folds: Scored, classes: Sequence[str]) -> dict[str, dict[str, list[float | None]]]:
    y, p = np.concatenate([folds.y] * len(folds.p)), np.concatenate(list(folds.p))
    found = label_scores.reliability(y, p)
    return {
        name: {
            "n": found.n[c].astype(float).tolist(),
            "predicted": _listed(found.predicted[c]),
            "observed": _listed(found.observed[c]),
        }
        for c, name in enumerate(classes)
    }


def _listed(values: Array) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]


def _by_recording(folds: Scored, digits: int) -> dict[str, list[list[float]]]:
    """What a paired comparison with another model needs."""
    rounded = folds.p.round(digits)
    return {record: rounded[:, i].tolist() for i, record in enumerate(folds.rows["record"])}
