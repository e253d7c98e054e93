"""A network of 12-lead recordings, taught on with a user's own recordings and labels.

Everything but the head is loaded; the head, a linear layer, is made anew for the user's labels. All layers then learn
at a low rate. The user's patients are dealt out to ten folds: as in the book, the last is tested, the one before
chooses epoch and thresholds, and the others are learnt from.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError
from torch import nn

from ecglib import config, files, serving
from ecglib.config import HeartbeatParameters, TwelveLeadParameters
from ecglib.data.catalogues import delta
from ecglib.data.catalogues import folder as own
from ecglib.data.records import LEADS
from ecglib.data.splits import OFFICIAL, Part
from ecglib.errors import UserError
from ecglib.evaluation.bootstrap import Interval
from ecglib.experiment import driver, heartbeat, provenance, recipes, told, twelve_lead
from ecglib.experiment import record as results
from ecglib.experiment.driver import Where
from ecglib.experiment.record import Record
from ecglib.experiment.twelve_lead import Run, Scored
from ecglib.models import registry
from ecglib.serving import export
from ecglib.serving.model import CARD, Card, Model
from ecglib.training import transfer
from ecglib.training.history import SeedRun

SHARE_OF_RATE: Final = 0.3
"""Learning rate as a share of the recorded run's, where none is asked for."""
HEAD: Final = "head."
"""How the names of the head's tensors begin."""
RESULT, WEIGHTS, SCORES = "finetuned.json", "weights.safetensors", "scores.csv"
"""The files of a fine-tuned network."""
SETS: Final = ("training", "validation", "test")
"""What the sets are called."""


class Finetuned(BaseModel):
    """`finetuned.json`: all that is needed to use `weights.safetensors`, and how it came about."""

    started_from: str
    """Key of the recorded run."""
    data: str = ""
    """Fingerprint of recordings and labels; that of a Delta table begins with its version."""
    model: str
    model_options: dict[str, int | float | bool | str]
    rate: float
    """Hz that recordings are brought to."""
    seconds: float
    """Length of the recordings that it learnt from; it reads any."""
    classes: list[str]
    thresholds: list[float]
    """A recording has a label whose probability is at least this; one for each."""
    loaded: list[str]
    """Tensors taken from the recorded run."""
    anew: list[str]
    """Tensors drawn anew."""
    sets: dict[str, dict[str, int]]
    """Training, validation and test -> recordings, patients, and recordings with each label."""
    refused: dict[str, str]
    """Recordings that could not be used -> why."""
    repaired: dict[str, list[str]]
    """Recordings in which something was put right -> what."""
    assumed: list[str] = []
    """What the table leaves open and was assumed."""
    training: SeedRun
    metrics: dict[str, Interval]
    """Of the test recordings; intervals resample patients."""
    per_class: dict[str, dict[str, Interval]]
    learning_rate: float
    seed: int
    versions: dict[str, str]
    created: str


@dataclass(frozen=True, eq=False)
class Network:
    """A fine-tuned network to use: `network(x, lengths=…)` gives logits `(batch, classes)` of recordings
    `(batch, 12, samples)` in mV, leads in standard order, at `note.rate` Hz."""

    network: nn.Module
    note: Finetuned


def find(run: str) -> Run:
    """A run on this machine, as of `record.find`. A `UserError` when it is no network of 12-lead recordings."""
    record, folder = results.find(run, "multilabel")
    if record.task != "multilabel":
        raise UserError(run, f"a run of {record.experiment or record.task}", "one of 12-lead recordings")
    if registry.entry(record.parameters["model"]).yardstick:
        raise UserError(run, f"a run of {record.parameters['model']}, which is fitted at once", "a network's run")
    return Run(record, folder, trained=False)


def finetune(
    start: Run | Model,
    folder: Path,
    table: Path | None,
    out: Path,
    *,
    epochs: int = 20,
    learning_rate: float | None = None,
    seed: int = 0,
    device: str = "auto",
) -> Finetuned:
    """Teach a network on, score it, and write weights, note and scores to `out`, and there the network to use, as of
    `ecglib.serving`.

    Of a run, the network of PTB-XL's own split, or else of its last fold, is taken. `folder` and `table` are the user's
    recordings and labels (see `catalogues.folder`), or without `table` a Delta table of both, `PATH` or `PATH@VERSION`
    (see `catalogues.delta`): any number of labels, any of the twelve leads, at any rate from 100 to 1000 Hz. `out` is a
    folder that is not there yet, or empty. The rate's default is `SHARE_OF_RATE` of the run's. A `UserError` when
    something can't be read or written, no label can be learnt, or the network can't take the recordings.
    """
    export.refuse(out)
    before, n_classes, file, key = _started(start)
    p = _parameters(before, epochs, learning_rate, seed, device)
    data = twelve_lead.Data(p, delta.read(str(folder)) if table is None else own.read(folder, table))
    source, part = data.catalogue, _divided(data, p, table or folder)

    def make() -> nn.Module:
        network = twelve_lead.maker(p, n_classes)()
        transfer.fill(network, file)
        return _with_head(network, len(source.classes))

    with files.writing_folder(out, new=True) as made:  # from now on, so that no other process trains for it
        place, precision, _ = driver.place(p, make, twelve_lead.TASK.network(data, p)[1])
        trained = twelve_lead.train(make, data, part, p, seed, Where(place, precision, "fine-tuning"))
        tested = twelve_lead.score_table(source, "test", part.scored, trained.scored, trained.thresholds)
        validated = twelve_lead.score_table(source, "validation", part.val, trained.val, trained.thresholds)
        metrics, per_class = twelve_lead.measured(Scored.of([tested], source.classes), (), p.bootstrap)
        weights, sets = trained.fitted.model.state_dict(), (part.train, part.val, part.scored)
        note = Finetuned(
            **p.model_dump(include={"model", "model_options", "rate", "learning_rate"}),
            started_from=key,
            data=data.fingerprint,
            seconds=p.crop_seconds,
            classes=list(source.classes),
            thresholds=trained.thresholds.tolist(),
            loaded=[name for name in weights if not name.startswith(HEAD)],
            anew=[name for name in weights if name.startswith(HEAD)],
            sets={name: _counted(data, index) for name, index in zip(SETS, sets, strict=True)},
            refused=source.refused | data.survey["refused"],
            repaired=data.survey["repaired"],
            assumed=list(source.assumed),
            training=trained.fitted.run,
            metrics=metrics,
            per_class=per_class,
            seed=seed,
            versions=provenance.versions(),
            created=provenance.now(),
        )
        _write(trained.fitted.model, note, pd.concat([validated, tested]), p, folder, made)
    return note


def beats(
    model: Model,
    records: str,
    out: Path,
    *,
    annotator: str = "",
    protocol: Literal["inter", "intra"] = "inter",
    epochs: int = 20,
    learning_rate: float | None = None,
    seed: int = 0,
    device: str = "auto",
) -> tuple[Card, Record]:
    """Teach a network of beats on with annotated records, score it, and export it to `out`, a folder that is not there
    yet, or empty; the record tells how it is on the beats that are tested.

    `records` is a folder of WFDB records, or a database by name; its patients are divided into three sets under the
    seed, or with `intra` its beats. The rate's default is `SHARE_OF_RATE` of that of a network drawn anew. A
    `UserError` when a file can't be read or written, or the records don't suffice for three sets.
    """
    model.expect("beats")
    export.refuse(out)
    card, default = model.card, HeartbeatParameters.model_fields["learning_rate"].default
    sequences = {"beats_per_sequence": card.beats_per_sequence} if card.beats_per_sequence > 1 else {}
    p = config.check("heartbeat", {
        **card.model_dump(include={"model", "model_options", "cut", "leads"}), **sequences,
        "features": card.features or ["*"],
        "database": str(Path(records).resolve()) if Path(records).exists() else records,
        "annotator": annotator, "protocol": protocol, "start_from": str((model.folder / WEIGHTS).resolve()),
        "max_epochs": epochs, "patience": epochs, "seeds": [seed], "bootstrap": 1000, "device": device,
        "learning_rate": learning_rate or SHARE_OF_RATE * default,
    }, "ecglib finetune")  # fmt: skip
    assert isinstance(p, HeartbeatParameters)
    run = heartbeat.run(p)
    start = f"{card.name} ({card.version[:12]})"
    card = export.export(run.record, run.folder, out, name=f"{card.model} fine-tuned", started_from=start)
    return card, run.record


def start(name: str) -> Run | Model:
    """What training goes on from: a model as of `serving.load`, or a run of 12-lead recordings as of `find`."""
    if ":" not in name and not (Path(name) / CARD).is_file():
        with contextlib.suppress(UserError):  # which serving.load tells better
            if results.find(name)[0].task == "multilabel":
                return find(name)
    return serving.load(name)


def load(folder: str | Path) -> Network:
    """A fine-tuned network of 12-lead recordings from its folder, in eval mode on the CPU. A `UserError` when a file of
    it is missing, damaged or does not fit the other."""
    folder = Path(folder)
    try:
        note = Finetuned.model_validate_json((folder / RESULT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        do = "ecglib.serving.load opens networks of beats" if (folder / CARD).is_file() else ""
        raise UserError(folder, f"no {RESULT}", "a folder that ecglib finetune wrote of 12 leads", do) from None
    except (ValidationError, UnicodeDecodeError) as error:
        raise UserError(folder / RESULT, f"damaged ({str(error).splitlines()[0]})") from None
    given = {"model": note.model, "model_options": note.model_options, "rate": note.rate, "crop_seconds": note.seconds}
    p = TwelveLeadParameters.model_validate(given)
    network = _with_head(twelve_lead.maker(p, 2)(), len(note.classes))
    transfer.fill(network, folder / WEIGHTS)
    return Network(network.eval(), note)


# --- the steps --------------------------------------------------------------------------------------------------------


def _started(start: Run | Model) -> tuple[TwelveLeadParameters, int, Path, str]:
    """Of what is started from: parameters, number of labels, weights and key."""
    if isinstance(start, Run):
        record, weights = start.record, export.weights_of(start.folder, start.record.seeds[0])
        if weights is None:
            do = "run its experiment again with --fresh"
            raise UserError(start.folder, "no weights", "those of a finished run", do)
        return record.trained_with(), len(record.classes), weights, record.key
    start.expect("recordings")
    card = start.card
    own = {"model": card.model, "model_options": card.model_options, "rate": card.rate}
    own["crop_seconds"] = card.input_shape[1] / card.rate
    return TwelveLeadParameters.model_validate(own), len(card.classes), start.folder / WEIGHTS, card.version


def _write(
    network: nn.Module, note: Finetuned, scores: pd.DataFrame, p: TwelveLeadParameters, where: Path, out: Path
) -> None:
    """The network to use, its note and its scores; `where` is where its recordings are."""
    name, (train, val, tested) = f"{note.model} fine-tuned", (note.sets[each]["recordings"] for each in SETS)
    fields = {
        **note.model_dump(include={"model", "model_options", "classes", "thresholds", "rate", "seed", "created"}),
        "name": name, "task": "recordings", "leads": list(LEADS), "cut": "",
        "input_shape": [len(LEADS), round(note.seconds * note.rate)],
        "database": str(where.resolve() if where.exists() else where), "sample": False,
        "protocol": "by-patient", "profile": "",
        "key": "", "started_from": note.started_from, "examples": train,
        "recipe": recipes.of(p), "commit": provenance.commit(),
    }  # fmt: skip
    results = export.Results(train, val, tested, [note.seed], "patient", note.metrics, note.per_class)
    export.write(out, network, [torch.randn(3, *fields["input_shape"])], fields, results)
    scores.to_csv(out / SCORES, index=False)
    (out / RESULT).write_text(json.dumps(note.model_dump(mode="json"), indent=1) + "\n", encoding="utf-8")


def _parameters(
    own: TwelveLeadParameters, epochs: int, learning_rate: float | None, seed: int, device: str
) -> TwelveLeadParameters:
    changed = {
        "experiment": "",
        "title": "",
        "seeds": [seed],
        "max_epochs": epochs,
        "patience": epochs,
        "learning_rate": learning_rate or SHARE_OF_RATE * own.learning_rate,
        "device": device,
        "max_records": None,
        "test_folds": [OFFICIAL],
        "leave_source_out": False,
        "bootstrap": 1000,
    }
    p = config.check("twelve-lead", own.model_dump() | changed, "ecglib finetune")
    assert isinstance(p, TwelveLeadParameters)
    return p


def _divided(data: twelve_lead.Data, p: TwelveLeadParameters, table: Path) -> Part:
    """The sets; UserError where one is empty or there is no label to learn."""
    usable, refused = data.usable, data.survey["refused"]
    if not len(usable):
        first = next(iter(refused.items()))
        raise UserError(table, f"no recording of it can be read; {first[0]}: {first[1]}")
    try:
        (part,) = twelve_lead.divided(data.catalogue, p, usable)
    except UserError:
        patients = len({data.entries[i].patient for i in usable})
        found, wanted = f"{patients} patients with a readable recording", "at least one in each of ten folds"
        said = told.of_own(data.catalogue.refused | refused, {}, data.catalogue.assumed)
        raise UserError(table, found, wanted, "; ".join(said)) from None
    for name, index in zip(SETS, (part.train, part.val), strict=False):
        y = data.labels[index]
        if not (y.any(0) & ~y.all(0)).any():
            expected = "one at least that some recordings have and others have not"
            raise UserError(table, f"no label to learn: {name} has {len(index)} recordings", expected, "label more")
    return part


def _with_head(network: nn.Module, n_classes: int) -> nn.Module:
    """The network with a new last layer."""
    assert isinstance(network.head, nn.Linear)
    network.head = nn.Linear(network.head.in_features, n_classes)
    return network


def _counted(data: twelve_lead.Data, index: NDArray[np.int64]) -> dict[str, int]:
    patients = {data.entries[i].patient for i in index}
    positives = driver.counted(data.catalogue.classes, data.labels[index].sum(0))
    return {"recordings": len(index), "patients": len(patients), **positives}
