"""A run's network as a folder to use (see `ecglib.serving.model`): ONNX, weights, description and model card."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save
from tabulate import tabulate
from torch import Tensor, nn

from ecglib import files, paths
from ecglib.data import beats, records
from ecglib.data.beats import STAND_INS
from ecglib.data.splits import OFFICIAL
from ecglib.errors import RecordError, UserError
from ecglib.evaluation import calibration, metrics, scoring
from ecglib.evaluation.bootstrap import Interval
from ecglib.experiment import heartbeat, infarction, twelve_lead
from ecglib.experiment.record import Record
from ecglib.models.layers import Vote
from ecglib.serving import model as serving
from ecglib.serving.model import CARD, ONNX, README, WEIGHTS, Card, Model
from ecglib.training.transfer import fill

TOLERANCE: Final = 1e-4
"""How far the exported network's logits may be from the trained one's on made-up input."""
TASKS: Final = {"multiclass": "beats", "binary": "infarction", "multilabel": "recordings"}
"""Task of a record -> that of the card."""
PERCENTILES: Final = (5, 50, 95)
"""Of `Card.training`."""
MOST: Final = 0.5
"""Share of a class's beats from which one record is named that has them."""
DESCRIBED: Final = 200
"""Records at most that they are taken over."""
TELLS: Final = {
    "beats": "the AAMI class of each heartbeat, from a recording and the positions of its R peaks",
    "infarction": "whether a recording shows a myocardial infarction",
    "recordings": "labels of a whole recording",
}
APART: Final = {
    "intra": "**Patients of the training set are in the test set too**: on other patients it is worse than this.",
    "inter": "No patient of the training set is in the test set.",
    "cross-database": "It was tested on other databases than it was trained on.",
}
"""Protocol -> what it means for the results."""
SAMPLE: Final = "It was trained on the excerpts that the package embeds, and no result of it counts."
UNCALIBRATED: Final = "Its probabilities are the network's own; nothing was fitted to make them mean what they say."
FITTED: Final = (
    "Its probabilities fit the validation data, by a temperature of {card.temperature:.2f}; where classes are "
    "otherwise distributed, they do not."
)
TEMPLATE: Final = """\
# {card.name}

`{card.model}` tells {tells}. **It is no medical device**, and nobody has tested it for clinical use.

- Classes: {classes}. Leads that it reads: {leads}.
- Trained on `{card.database}`: {results.n_train} examples, {results.n_val} to choose on, {results.n_test} tested.
  {apart}{started}{sample}
- Profile `{card.profile}`; the network of seed {card.seed}{part}; run `{card.key}`, commit `{card.commit}`.
- What lies between a recording and a probability stands in `{file}`, and `ecglib.serving.load` does it.

## Results

Means over the run's seeds ({seeds}); in brackets 95 % intervals over resampled {results.unit}s, where it has them.

{metrics}

{per_class}

## Limits

- It knows the leads, machines and patients of `{card.database}`. Elsewhere, compare it with annotated recordings first:
  `ecglib evaluate`.
- Rare classes rest on few patients, as the intervals show.{limits}
- {calibrated}

## Licence

The weights are under the project's licence (MIT). The recordings are under those of their databases.
"""


def export(
    record: Record,
    run: Path,
    out: Path,
    *,
    name: str = "",
    seed: int | None = None,
    moved: bool = False,
    started_from: str = "",
) -> Card:
    """Export the network of one of a run's seeds, by default the best on validation, to a folder that is not there yet.

    Of folds the network of the official one is taken, or else of the last; `moved` decides with the thresholds that
    were moved on validation; `name` is what the model is called in place of its experiment, `started_from` the
    model that it was taught on from. A `UserError` as of `refuse`, or when the run keeps no network.
    """
    refuse(out)
    p = record.trained_with()
    if getattr(p, "protocol", "") == "adapted":
        do = f"export {record.experiment.replace('-adapted', '-inter')}, which it starts from"
        raise UserError(record.experiment, "a network for each record, of which none is kept", do=do)
    if moved and record.moved is None:
        raise UserError(record.experiment or record.key, "its thresholds were never moved")
    seed = _best(record) if seed is None else seed
    if seed not in record.seeds:
        raise UserError(f"--seed {seed}", "not of this run", f"one of {', '.join(map(str, record.seeds))}")
    weights = weights_of(run, seed)
    if weights is None:
        what = "its weights are gone" if record.training else "what is fitted in seconds keeps none"
        raise UserError(record.experiment or record.key, f"no weights to export ({what})")
    network = _network(record)
    fill(network, weights)
    part = weights.stem.partition(f"seed{seed}")[2].lstrip("-")
    fields = _described(record, seed) | _decision(record, run, seed, part, moved)
    fields |= {"name": name or fields["name"], "started_from": started_from, "part": part}
    n = record.data
    results = Results(
        n.n_train, n.n_val, n.n_test, record.seeds, record.intervals.unit, record.metrics, record.per_class,
        _of_one_record(record),
    )  # fmt: skip
    with files.writing_folder(out, new=True) as folder:
        card = write(folder, network, _example(record), fields, results, lambda model: _training(record, model))
    return card


@dataclass(frozen=True)
class Results:
    """What the model card tells of a network's results."""

    n_train: int
    n_val: int
    n_test: int
    seeds: list[int]
    unit: str
    """Of which its intervals resample."""
    metrics: dict[str, Interval]
    per_class: dict[str, dict[str, Interval]]
    limits: Sequence[str] = ()
    """What else must be known of them."""


def write(
    folder: Path,
    network: nn.Module,
    given: list[Tensor],
    fields: dict[str, Any],
    results: Results,
    training: Callable[[Model], dict[str, list[float]]] = lambda model: {},
) -> Card:
    """Write a network to a folder that is there.

    `given` are made-up inputs `(3, …)`, the first of recordings of any length where the task is `recordings`; `fields`
    are those of the card but for files, version and `training`, which is asked of the model as it is then. A
    `UserError` when the exporter is not installed, or what it writes gives other logits.
    """
    content = _onnx(network.eval(), given, fields["task"] == "recordings")
    kept = save({name: t.detach().contiguous() for name, t in network.state_dict().items()})
    hashes = {name: hashlib.sha256(each).hexdigest() for name, each in ((ONNX, content), (WEIGHTS, kept))}
    (folder / ONNX).write_bytes(content)
    (folder / WEIGHTS).write_bytes(kept)
    card = Card(**fields, files=hashes)
    _agree(network, Model(card, folder), given)
    card = card.model_copy(update={"training": training(Model(card, folder))})
    card = card.model_copy(update={"version": card.sha256()})
    (folder / CARD).write_text(json.dumps(card.model_dump(), indent=1) + "\n", encoding="utf-8")
    (folder / README).write_text(readme(card, results), encoding="utf-8")
    return card


def refuse(out: Path) -> None:
    """A `UserError` as of `files.refuse_taken`, where the folder can't be made, and where the exporter is not
    installed."""
    files.refuse_taken(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent):
            pass
    except OSError as error:
        raise UserError(out.parent, f"can't be written ({error.strerror})", do="--out names another") from None
    if find_spec("onnxscript") is None:
        raise UserError("the exporter", "not installed", do="pip install ecglib-book[serve]")


def cached(record: Record, run: Path) -> Path:
    """The folder of a run's network, exported before or, where it is not there or damaged, now."""
    folder = paths.cache() / "exported" / record.key / (record.experiment.replace("/", "-") or "run")
    with files.lock(folder.with_suffix(".lock")):
        try:
            serving.checked(folder)
        except UserError:
            shutil.rmtree(folder, ignore_errors=True)
            export(record, run, folder)
    return folder


# --- the network ------------------------------------------------------------------------------------------------------


def _network(record: Record) -> nn.Module:
    """A run's network, its weights drawn anew."""
    p = record.trained_with()
    if record.task == "multiclass":
        return heartbeat.model_maker(p)()
    if record.task == "multilabel":
        return twelve_lead.maker(p, len(record.classes))()
    make = infarction.maker(p)
    return Vote([make() for _ in range(p.networks)]) if p.entry.reads_aligned else make()


def _best(record: Record) -> int:
    """The seed of the best validation metric, or the first where nothing was chosen."""
    scores = {run.seed: run.validation for run in record.training if run.validation is not None}
    return max(scores, key=lambda seed: scores[seed], default=record.seeds[0])


def weights_of(run: Path, seed: int) -> Path | None:
    """The file of a seed's network: of the official fold, of the last one, or the only one; None where it is gone."""
    found = [*run.glob(f"weights-seed{seed}.safetensors"), *run.glob(f"weights-seed{seed}-fold*.safetensors")]
    return max(found, key=lambda path: (f"fold{OFFICIAL}" in path.stem, len(path.stem), path.stem), default=None)


class _Positional(nn.Module):
    """A network whose inputs are told apart by their place, as the exporter wants them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, features: Tensor | None = None) -> Tensor:
        logits: Tensor = self.network(x, features=features)
        return logits


def _example(record: Record) -> list[Tensor]:
    """Made-up inputs of a batch of three; one of one would be frozen."""
    draw = torch.Generator().manual_seed(0)
    shape = list(record.input_shape)
    p = record.trained_with()
    if record.task == "multiclass" and p.reads_sequences:
        shape = [p.beats_per_sequence, *shape]
    given = [torch.randn(3, *shape, generator=draw)]
    if p.entry.reads_features:
        given.append(torch.randn(3, record.n_features, generator=draw))
    return given


def _onnx(network: nn.Module, given: list[Tensor], any_length: bool) -> bytes:
    batch = torch.export.Dim("batch", min=1, max=2**20)
    shapes: list[dict[int, Any]] = [{0: batch} for _ in given]
    if any_length:
        shapes[0][2] = torch.export.Dim("samples", min=100, max=2**24)
    names = ["x", "features"][: len(given)]
    with _quietly():
        program = torch.onnx.export(
            _Positional(network), tuple(given), input_names=names, output_names=["logits"],
            dynamic_shapes=tuple(shapes), dynamo=True, external_data=False, verbose=False,
        )  # fmt: skip
    assert program is not None
    content: bytes = _bare(program.model_proto).SerializeToString(deterministic=True)
    return content


def _bare(model: Any) -> Any:
    """The ONNX model without the exporter's notes, which name files of this machine."""
    for part in (model, model.graph, *model.functions):
        del part.metadata_props[:]
        part.doc_string = ""
        for name in ("node", "input", "output", "value_info", "initializer"):
            for each in getattr(part, name, ()):
                if hasattr(each, "metadata_props"):  # of a function, inputs are plain names
                    del each.metadata_props[:]
                    each.doc_string = ""
    return model


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the exporter's own remarks, which are about its inside."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _agree(network: nn.Module, model: Model, given: list[Tensor]) -> None:
    """A `UserError` where the exported network gives other logits, of these and of twice as many."""
    for inputs in (given, [torch.cat([x, x.flip(0)]) for x in given]):
        with torch.no_grad():
            trained = _Positional(network)(*inputs).numpy()
        off = float(np.abs(model.run(*(x.numpy() for x in inputs)) - trained).max())
        if not off <= TOLERANCE * max(1.0, float(np.abs(trained).max())):
            raise UserError(model.card.name, f"the exported network is {off:.1e} off the trained one")


# --- the card ---------------------------------------------------------------------------------------------------------


def _described(record: Record, seed: int) -> dict[str, Any]:
    p = record.trained_with()
    task = TASKS[record.task]
    leads = list(records.LEADS) if task == "recordings" else list(p.leads)
    reads_features = p.entry.reads_features
    return {
        "name": record.experiment or p.model,
        "task": task,
        "model": p.model,
        "model_options": p.model_options,
        "classes": record.classes,
        "leads": leads,
        "stand_ins": {lead: list(STAND_INS[lead]) for lead in leads if lead in STAND_INS} if task == "beats" else {},
        "rate": p.rate if task == "recordings" else float(records.RATE),
        "cut": "" if task == "recordings" else record.parameters["cut"],
        "features": list(beats.features_of(p.cut, len(p.leads), p.features)) if reads_features else [],
        "beats_per_sequence": p.beats_per_sequence if task == "beats" and p.reads_sequences else 1,
        "input_shape": record.input_shape,
        "database": record.data.name,
        "sample": record.data.sample,
        "protocol": str(record.parameters.get("protocol", "")),
        "profile": record.profile,
        "seed": seed,
        "key": record.key,
        "recipe": record.recipe,
        "commit": record.commit,
        "created": record.created,
        "examples": record.data.n_train,
    }


def _decision(record: Record, run: Path, seed: int, part: str, moved: bool) -> dict[str, Any]:
    """What turns logits into probabilities and these into labels, all of it chosen on validation."""
    p = record.trained_with()
    if record.task == "multiclass":
        path, given = run / f"validation-seed{seed}.parquet", dict[str, Any]()
        if path.is_file() and not p.refit and not p.entry.votes:  # a refit has learnt them
            table = pd.read_parquet(path)
            logits = table[scoring.LOGITS].to_numpy()
            given["temperature"] = calibration.temperature(logits, table["label"].to_numpy())
        if moved and record.moved is not None:
            given["offsets"] = record.moved.offsets[record.seeds.index(seed)]
        return given
    if record.task == "binary":
        return {}
    table = pd.read_parquet(run / f"scores-seed{seed}.parquet")
    rows = table[table["part"] == part]
    return {"thresholds": [float(rows[f"t:{name}"].iloc[0]) for name in record.classes]}


def _training(record: Record, model: Model) -> dict[str, list[float]]:
    """`Card.training`, over the records of the training part, where they are here."""
    p, found = record.trained_with(), list[dict[str, float]]()
    if record.task != "multiclass" or p.database == "kaggle":
        return {}
    with suppress(UserError):
        data = heartbeat.Data(p)
        index = data.split(model.card.seed).train
        names = np.unique(data.beats.record[index]).tolist()[:DESCRIBED]
        sources = {source.name: source for source in data.sources}
        for name in names:
            database, _, own = name.rpartition("/") if p.train_on else ("", "", name)
            source = sources.get(database, data.source)
            with suppress(RecordError):
                recording = model.read(source.folder, own)
                annotations = records.read_annotations(source.folder, own, source.annotator)
                r_peaks = annotations.samples[annotations.is_beat]
                found.append(serving.described(recording, model.classify(recording, r_peaks)))
    return percentiles(found)


def percentiles(found: list[dict[str, float]]) -> dict[str, list[float]]:
    """`PERCENTILES` of each number over the records that have it."""
    table = pd.DataFrame(found)
    return {str(name): np.percentile(table[name].dropna(), PERCENTILES).round(4).tolist() for name in table}


def readme(card: Card, results: Results) -> str:
    """The model card for a reader, in Markdown."""
    columns = list(dict.fromkeys(name for own in results.per_class.values() for name in own))
    per_class = [[name, *(_told(own.get(each)) for each in columns)] for name, own in results.per_class.items()]
    return TEMPLATE.format(
        card=card,
        results=results,
        classes=", ".join(card.classes),
        leads=", ".join(card.leads),
        tells=TELLS[card.task],
        apart=APART.get(card.protocol, "Patients of the test set are in no other set."),
        started=f" It started from {card.started_from}, which may have learnt from them." if card.started_from else "",
        part=f", `{card.part}`" if card.part else "",
        sample=f"\n- {SAMPLE}" if card.sample else "",
        seeds=", ".join(map(str, results.seeds)),
        metrics=tabulate([[name, _told(value)] for name, value in results.metrics.items()], ["metric", ""], "github"),
        per_class=tabulate(per_class, ["class", *columns], "github"),
        calibrated=UNCALIBRATED if card.temperature == 1 else FITTED.format(card=card),
        file=CARD,
        limits="".join(f"\n- {limit}" for limit in results.limits),
    )


def _of_one_record(record: Record) -> list[str]:
    """Where most beats of a class that were tested are of one record: its F1 without that one."""
    if record.task != "multiclass" or not record.by_record:
        return []
    names, matrices = list(record.by_record), np.array(list(record.by_record.values()))  # (records, seeds, true, given)
    never = [name for name in record.classes if record.per_class[name]["se"].mean == 0]
    said = [f"It finds no beat of class {', '.join(never)}."] if never else []
    for i, name in enumerate(record.classes):
        share = matrices[:, 0, i].sum(1) / max(1, matrices[:, 0, i].sum())
        largest = int(share.argmax())
        if share[largest] > MOST:
            f1 = metrics.per_class(np.delete(matrices, largest, 0).sum(0))["f1"][:, i].mean()
            told = "undefined" if np.isnan(f1) else f"{f1:.3f}"
            said.append(
                f"{share[largest]:.0%} of the beats {name} are of record {names[largest]}; without it, F1 is {told}."
            )
    return said


def _told(value: Interval | None) -> str:
    if value is None or value.mean is None:
        return "–"
    bounds = "" if value.low is None or value.high is None else f" [{value.low:.3f}, {value.high:.3f}]"
    return f"{value.mean:.3f}{bounds}"
