"""Several labels of whole 12-lead recordings, scored fold by fold: the task.

A part is a fold that is scored by a network which learnt from the others, or a source that is scored by one which
learnt from the other sources.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn

from ecglib import fingerprint, losses, paths
from ecglib.config import TwelveLeadParameters
from ecglib.data import databases, digest, median_beats, splits
from ecglib.data import recordings as data_sets
from ecglib.data.catalogues import catalogue, ptb_xl, snomed
from ecglib.data.catalogues import challenge as challenge_2021
from ecglib.data.catalogues.catalogue import Records
from ecglib.data.infarction import AFTER, BEFORE
from ecglib.data.recordings import TwelveLead
from ecglib.data.records import LEADS
from ecglib.data.splits import OFFICIAL, Index, Part
from ecglib.errors import UserError
from ecglib.evaluation import bootstrap, challenge, metrics, thresholds
from ecglib.evaluation import labels as label_scores
from ecglib.evaluation.bootstrap import Interval
from ecglib.experiment import driver, provenance
from ecglib.experiment.driver import Fitted, Found, Where
from ecglib.experiment.record import DataCard, Record, Resampling, TwelveLeadCard
from ecglib.models import age_and_sex, registry
from ecglib.models.crnn import CRNN
from ecglib.models.yardstick import Yardstick
from ecglib.training import augmentation, device, loop, recordings
from ecglib.training.augmentation import Augmentation, Noise

RECIPE = 1
"""1: as published."""
HALF: Final = 0.5
"""Threshold of yardsticks, which weigh recordings with a label as much as those without."""
OF_NETWORKS, OF_YARDSTICKS = 4, 9
"""Digits to which a record keeps probabilities; scores of a regression on a rare label lie all but at 0 and at 1."""
Flags = NDArray[np.bool_]
Array = NDArray[np.float64]


class Data:
    """The recordings of an experiment, or others that are given, read when asked for."""

    synthetic = False

    def __init__(self, p: TwelveLeadParameters, source: Records | None = None) -> None:
        self.source, self.few = source_of(p) if source is None else (source, {})
        self.recordings, self.fingerprint = TwelveLead(self.source, p.rate), self.source.fingerprint
        self._p = p
        self._scores: dict[str, NDArray[np.float64]] = {}

    @property
    def in_key(self) -> dict[str, Any]:
        """The noise of the augmentation, whose files are another database's."""
        noise = databases.find("nstdb") if augmentation_of(self._p).needs_noise else None
        return {"noise": "" if noise is None else noise.fingerprint()}

    @cached_property
    def labels(self) -> Flags:
        """`(recordings, labels)`."""
        return catalogue.labels(self.source)

    @cached_property
    def survey(self) -> dict[str, Any]:
        """What was `repaired` in which recording, and which were `refused` for what; kept, as it reads all of them."""
        names = [entry.record for entry in self.source.entries]
        made_of = (self.fingerprint, self.recordings.rate, names, fingerprint.of_code(["data"]), provenance.versions())
        path = paths.cache() / "surveys" / f"{fingerprint.of_values(*made_of)[:20]}.json"
        found: dict[str, Any] | None = driver.note(path)
        if found is None:
            repaired, refused = data_sets.survey(self.recordings)
            found = {"repaired": {name: list(said) for name, said in repaired.items()}, "refused": refused}
            path.parent.mkdir(parents=True, exist_ok=True)
            driver.write_note(path, found)
        return found

    @property
    def usable(self) -> Index:
        """Places of the recordings that can be read."""
        entries = enumerate(self.source.entries)
        return np.array([i for i, entry in entries if entry.record not in self.survey["refused"]], dtype=np.int64)

    @cached_property
    def noise(self) -> Noise | None:
        """That of the augmentation: of `nstdb` where it is here, else synthetic; None where none is needed."""
        if not augmentation_of(self._p).needs_noise:
            return None
        return augmentation.load_noise(self._p.rate) or augmentation.synthetic_noise(self._p.rate)

    @cached_property
    def read_by_yardstick(self) -> Array:
        """What a yardstick reads of every recording, `(recordings, leads, samples)`.

        Raises
        ------
        UserError
            When age or sex is wanted and nobody's is known.
        """
        if registry.entry(self._p.model).takes == "median beat":
            return median_beats.of_recordings(self.recordings)
        known = np.array([[entry.age, entry.female] for entry in self.source.entries])
        return age_and_sex.as_read(known)

    def yardstick(self, part: Part) -> Array:
        """Scores 0..1 of a part's recordings by a yardstick, `(n, labels)`; the same under every seed, as the folds are
        the database's own."""
        if part.name not in self._scores:
            model = _yardstick(self._p, self.labels.shape[1])
            patients = np.array([entry.patient for entry in self.source.entries])
            x, train = self.read_by_yardstick, part.train
            model.fit(x[train], self.labels[train], patients[train], seed=0)
            found = model.predict_logits(x[part.scored])
            self._scores[part.name] = recordings.sigmoid(np.nan_to_num(found))
        return self._scores[part.name]

    def digest(self) -> digest.Digest:
        """Of the recordings that can be read, and of their division into parts."""
        every = (self.recordings[i] for i in range(len(self.recordings)))
        read = [found for found in every if isinstance(found, data_sets.Example)]
        usable = [example.index for example in read]
        entries = [self.source.entries[i] for i in usable]
        divided = parts(self.source, self._p, np.array(usable))
        noise = self.noise
        return digest.of(  # of each recording, as all of a large database would not lie in memory at once
            norms=np.array([float(example.x.double().norm()) for example in read]),
            waves=np.array([[digest.projected(lead) for lead in example.x.numpy()] for example in read]),
            labels=self.labels[usable],
            record=np.array([entry.record for entry in entries]),
            patient=np.array([entry.patient for entry in entries]),
            people=np.array([[entry.age, entry.female] for entry in entries]),
            parts=np.concatenate(
                [np.append(index, -1) for part in divided for index in (part.train, part.val, part.scored)]
            ),
            noise=np.zeros(0)
            if noise is None
            else torch.cat([noise.wander.ravel(), noise.muscle.ravel()]).double().numpy(),
        )

    def no_reference(self, record: Record) -> str:
        """Other recordings than those of its reference result must not replace it."""
        return driver.of_other_data(record)


class Run(driver.Run):
    """A finished run, with `scores-seedk.parquet` of every seed."""

    def scores(self) -> pd.DataFrame:
        """Every scored recording under every seed and part: `seed, part, record, source, patient, fold`, and
        `p:<label>`, `y:<label>`, `t:<label>` (probability, truth, threshold) of every label."""
        return self.table("scores")

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
        return Data(parameters_of(self.record)).recordings


def run(parameters: TwelveLeadParameters, *, fresh: bool = False) -> Run:
    """Train and score a model of recordings fold by fold, or find the run that did (see `driver.run`)."""
    return Run(**vars(driver.run(TASK, parameters, fresh=fresh)))


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


def source_of(p: TwelveLeadParameters) -> tuple[Records, dict[str, int]]:
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


@dataclass(frozen=True)
class Trained:
    """A network trained on one division into sets.

    Attributes
    ----------
    network
        With the weights of the best epoch, in eval mode, on the CPU.
    done
        How it was trained.
    val, scored
        Probabilities of the validation and of the scored recordings in their order, `(n, labels)`.
    thresholds
        Chosen on validation.
    """

    network: nn.Module
    done: loop.Fitted
    val: Array
    scored: Array
    thresholds: Array


def train(
    make: Callable[[], nn.Module], data: Data, part: Part, p: TwelveLeadParameters, seed: int, where: Where
) -> Trained:
    """Train a network, the epoch chosen by macro AUROC on validation, and score.

    Parameters
    ----------
    make
        Makes the network of recordings.
    data, part, p, seed, where
        As for `driver.Task.fit`.
    """
    how: dict[str, Any] = {"workers": p.workers}
    learnt = recordings.Recordings(
        data.recordings, part.train, how=augmentation_of(p), noise=data.noise, seed=seed, **how
    )
    fitted = loop.fit(
        make,
        learnt,
        recordings.Recordings(data.recordings, part.val, **how),
        loss_of(p, data.labels[part.train]),
        macro_auroc,
        driver.recipe(p, max(len(part.train), p.fewest_per_epoch), where),
        seed=seed,
        **where.training(f"checkpoint-seed{seed}-{part.name}"),
    )
    given: dict[str, Any] = {"device": where.device, "precision": where.precision, **how}
    val, scored = (
        recordings.sigmoid(recordings.predict(fitted.model, data.recordings, index, **given))
        for index in (part.val, part.scored)
    )
    return Trained(fitted.model.cpu(), fitted, val, scored, thresholds.choose(data.labels[part.val], val))


def macro_auroc(logits: NDArray[np.float32], labels: NDArray[Any]) -> float:
    """Mean AUROC over the labels that have a positive and a negative; NaN where none has."""
    y = labels > 0.5
    auroc, _ = label_scores.areas(y, recordings.sigmoid(logits), np.ones((1, len(y)), dtype=np.int64))
    return float(metrics.macro(auroc)[0])


def loss_of(p: TwelveLeadParameters, y: Flags) -> nn.Module:
    """The loss, weighed after the labels `(n, classes)` of the training part."""
    if p.imbalance == "none":
        return losses.WeightedBCE()
    weights = losses.positive_weights(y.sum(0), (~y).sum(0), p.weight_exponent)
    if p.imbalance == "weighted":
        return losses.WeightedBCE(weights)
    return losses.FocalLoss(p.focal_gamma, losses.balance(weights))


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


class Task(driver.Task[TwelveLeadParameters, Data]):
    """Several labels of whole recordings."""

    def data(self, p: TwelveLeadParameters) -> Data:
        return Data(p)

    def network(self, data: Data, p: TwelveLeadParameters) -> tuple[Callable[[], nn.Module], device.Batch]:
        return maker(p, len(data.source.classes)), ((p.batch_size, *_shape(p)), 0)

    def parts(self, data: Data, p: TwelveLeadParameters, seed: int) -> list[Part]:
        return parts(data.source, p, data.usable)

    def fit(self, data: Data, part: Part, p: TwelveLeadParameters, seed: int, where: Where) -> Fitted:
        if registry.entry(p.model).yardstick:
            return self._fit_yardstick(data, part, p)
        trained = train(maker(p, data.labels.shape[1]), data, part, p, seed, where)
        chosen = trained.thresholds
        table = score_table(data.source, part.name, part.scored, trained.scored, chosen)
        note = {"thresholds": chosen.tolist(), "n_parameters": registry.n_parameters(trained.network)}
        return Fitted(trained.network, trained.done.run, trained.done.seconds, {"scores": table}, note)

    def _fit_yardstick(self, data: Data, part: Part, p: TwelveLeadParameters) -> Fitted:
        started = time.perf_counter()
        found, half = data.yardstick(part), np.full(data.labels.shape[1], HALF)
        table = score_table(data.source, part.name, part.scored, found, half)
        return Fitted(None, None, time.perf_counter() - started, {"scores": table}, {"n_parameters": 0})

    def evaluate(self, data: Data, found: Found, p: TwelveLeadParameters) -> dict[str, Any]:
        classes, yardstick = data.source.classes, registry.entry(p.model).yardstick
        tables, divided = found.tables("scores"), self.parts(data, p, p.seeds[0])
        codes = _codes(classes) if p.labels == "scored" and "NSR" in classes else []
        folds = Scored.of([table[table["part"].str.startswith("fold")] for table in tables], classes)
        whole, per_class, _ = measured(folds, classes, codes, p.bootstrap, calibrated=not yardstick)
        matrices = np.stack([label_scores.matrices(folds.y, given) for given in folds.decided])
        last = driver.told_of(divided)
        official: dict[str, Interval] = {}
        if OFFICIAL in p.test_folds:
            own = folds.some((folds.rows["fold"] == OFFICIAL).to_numpy())
            official = measured(own, classes, codes, p.bootstrap, calibrated=not yardstick)[0]
        of_folds = [part.name for part in divided if part.name.startswith("fold")]
        return {
            "task": "multilabel",
            "data": DataCard(
                name=p.database,
                synthetic=False,
                fingerprint=data.fingerprint,
                n_train=len(last.train),
                n_val=len(last.val),
                n_test=len(folds.rows),
                digest=data.digest(),
                test_indices_sha256=hashlib.sha256(b"".join(part.scored.tobytes() for part in divided)).hexdigest(),
                records_left_out=data.source.refused | data.survey["refused"],
                class_counts=_class_counts(folds, classes),
            ),
            "parameters": {
                "test": True,
                "cut": registry.entry(p.model).takes if yardstick else "whole recordings",
                "refit": False,
            },
            "classes": list(classes),
            "metrics": whole,
            "per_class": per_class,
            "selection": "" if yardstick else "macro_auroc",
            "intervals": Resampling(unit="patient", n=p.bootstrap),
            "confusion": matrices.reshape(len(p.seeds), len(classes), 4).tolist(),
            "training": [] if yardstick else [part["run"] for part in found.parts(last.name)],
            "n_parameters": found.parts(last.name)[0]["n_parameters"],
            "input_shape": list(_shape(p)) if yardstick else [len(LEADS), round(p.crop_seconds * p.rate)],
            "twelve_lead": _card(data, found, p, folds, codes, of_folds, official),
        }


TASK: Final = Task()


def _card(
    data: Data,
    found: Found,
    p: TwelveLeadParameters,
    folds: Scored,
    codes: Sequence[str],
    of_folds: Sequence[str],
    official: dict[str, Interval],
) -> TwelveLeadCard:
    """The 12-lead part of the record."""
    classes, noise, tables = data.source.classes, data.noise, found.tables("scores")
    yardstick = registry.entry(p.model).yardstick
    chosen = [] if yardstick else [[part["thresholds"] for part in found.parts(name)] for name in of_folds]
    return TwelveLeadCard(
        recordings=len(data.source.entries),
        patients=len({entry.patient for entry in data.source.entries}),
        positives=dict(zip(classes, data.labels.sum(0).tolist(), strict=True)),
        by_source=_counted([entry.source for entry in data.source.entries]),
        repaired=data.survey["repaired"],
        duplicates=data.source.duplicates,
        conflicts=catalogue.conflicts(data.source),
        few=data.few,
        noise="" if noise is None else "synthetic" if noise.synthetic else "nstdb",
        official=official,
        folds=_by_fold(folds, classes, codes),
        **_by_source(tables, folds, classes, codes, p.bootstrap),
        thresholds={
            name: [[of_fold[k][c] for of_fold in chosen] for k in range(len(p.seeds))]
            for c, name in enumerate(classes)
            if chosen
        },
        reliability={} if yardstick else _reliability(folds, classes),
        probabilities=_by_recording(folds, OF_YARDSTICKS if yardstick else OF_NETWORKS),
        truth=dict(zip(folds.rows["record"], folds.y.astype(int).tolist(), strict=True)),
        patient_of=dict(zip(folds.rows["record"], folds.rows["patient"], strict=True)),
    )


def _class_counts(folds: Scored, classes: Sequence[str]) -> dict[str, dict[str, int]]:
    patients = {name: int(folds.rows["patient"][folds.y[:, c]].nunique()) for c, name in enumerate(classes)}
    return {"recordings": dict(zip(classes, folds.y.sum(0).tolist(), strict=True)), "patients": patients}


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
    return {name: {column: _listed(values[c]) for column, values in found.items()} for c, name in enumerate(classes)}


def _listed(values: Array) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]


def _by_recording(folds: Scored, digits: int) -> dict[str, list[list[float]]]:
    """What a paired comparison with another model needs."""
    rounded = folds.p.round(digits)
    return {record: rounded[:, i].tolist() for i, record in enumerate(folds.rows["record"])}
