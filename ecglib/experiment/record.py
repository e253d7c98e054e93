"""The result record: everything about a run that a page of the book shows, as a JSON and a Parquet file.

The reference results lie in `book/results/<notebook>/<experiment>.json`, their raw material beside them (`raw` says
what it is); a fresh run keeps its own as `runs/<key>/record.json` and `record.parquet`. Both have the same shape,
and pages, tables, MLflow and `ecglib book --check` read nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from ecglib import config, files, paths
from ecglib.errors import UserError
from ecglib.evaluation.bootstrap import Interval
from ecglib.experiment import raw
from ecglib.training.history import SeedRun

WIDTH: Final = 160
"""Characters of a line of the JSON file; only a longer text makes a longer line."""
RAW: Final = "raw_sha256"
"""The JSON file's key for the hash of the Parquet file that belongs to it."""
NAMES: Final = "names.json"
"""The file of a run's folder that tells which experiments it is the run of: name -> what a record says of that. Several
may have the same parameters, and `record.json` bears the name of one."""
KINDS: Final[dict[str, type[config.TrainedParameters]]] = {
    "multiclass": config.HeartbeatParameters,
    "binary": config.InfarctionParameters,
    "multilabel": config.TwelveLeadParameters,
}
"""Task -> what it takes."""


class DataCard(BaseModel):
    """What the run rests on: database, fingerprint of its files, beats per set, and what was left out and why."""

    model_config = ConfigDict(extra="allow")

    name: str
    sample: bool = Field(validation_alias=AliasChoices("sample", "synthetic"))
    """Whether it, or what its pretraining learnt from, is the excerpts that the package embeds. In earlier versions
    made-up records took their place, and the field was `synthetic`."""
    fingerprint: str
    n_train: int
    n_val: int
    n_test: int
    test_indices_sha256: str
    digest: dict[str, str | list[float]] = {}
    """Digest of what was cut and how it was divided (`ecglib.data.digest`)."""
    left_out: dict[str, int] = {}
    """Beats left out, by reason."""
    records_left_out: dict[str, str] = {}
    """Records set aside -> the reason."""
    class_counts: dict[str, dict[str, int]] = {}
    """Set ("train", "val", "test") -> class -> beats, for the first seed."""

    @property
    def of_sample(self) -> list[str]:
        """The databases whose excerpts took their place: `sampled`, where a pretraining has one of its own."""
        return list((self.model_extra or {}).get("sampled", [self.name])) if self.sample else []


class Resampling(BaseModel):
    unit: str
    n: int


class Moved(BaseModel):
    """A second decision of the same networks on the same test beats: their thresholds moved on validation. What a
    record says of its own decision is said of this one under the same names."""

    offsets: list[list[float]]
    """`(seeds, classes)`: added to the logits."""
    validation: list[float]
    """`(seeds,)`: validation macro-F1 with thresholds moved, for this very metric on these very beats."""
    validation_recall: list[float]
    """`(seeds,)`: macro recall on the same beats."""
    created: str
    """When these metrics were computed (UTC)."""
    metrics: dict[str, Interval]
    per_class: dict[str, dict[str, Interval]]
    ec57: dict[str, dict[str, Interval]] = {}
    without_202: dict[str, dict[str, Any]] = {}
    confusion: list[list[list[int]]]
    by_record: dict[str, list[list[list[int]]]] = {}
    right: list[str] = []


class InfarctionCard(BaseModel):
    """A transfer to infarction, or a yardstick of it, scored out of fold."""

    beat_metrics: dict[str, Interval]
    """The record's `metrics` again, of single beats; empty of a yardstick, which reads none."""
    likely: dict[str, Interval]
    """The same without those infarctions whose likelihood is below 50 %; empty where no likelihood is known."""
    curve: dict[str, Interval]
    """Number of labelled patients -> AUROC after learning from them."""
    transfer: dict[str, Any]
    """Names of tensors `loaded`, `skipped` and `frozen`, and how many values learn (`n_learning`)."""
    scores: dict[str, dict[str, list[float]]]
    """Number of labelled patients or `all` -> recording -> its log-odds at even prior odds under each seed, where
    patients are known."""
    patients: dict[str, str]
    """Recording -> patient, likewise."""
    epochs: int
    """Epochs of every fold's network, fixed beforehand; 0 of a yardstick."""
    folds: int
    """Parts that were scored in turn."""


class TwelveLeadCard(BaseModel):
    """What only a record of 12-lead recordings has."""

    recordings: int
    patients: int
    positives: dict[str, int]
    """Label -> recordings that have it."""
    by_source: dict[str, int]
    """Source -> recordings."""
    repaired: dict[str, list[str]]
    """Recording -> what was put right in it."""
    duplicates: dict[str, str]
    """Recording left out because another one is the same -> that one."""
    conflicts: dict[str, str]
    """Recording whose labels contradict others of the same patient -> in what."""
    few: dict[str, int]
    """Labels left out because too few recordings have them -> how many."""
    noise: str
    """Where the noise of the augmentation comes from: `nstdb`, `sample` or empty; in earlier versions `synthetic`."""
    official: dict[str, Interval]
    """The record's `metrics` again, of PTB-XL's own test fold; empty where that was not scored."""
    folds: dict[str, dict[str, list[float | None]]]
    """Fold -> metric -> value under each seed."""
    left_out_source: dict[str, dict[str, Interval]]
    """Source -> metrics of its recordings, from networks that learnt from the other sources alone."""
    known_source: dict[str, dict[str, Interval]]
    """Source -> the same, out of fold: from networks that learnt from other recordings of that source too."""
    thresholds: dict[str, list[list[float]]]
    """Label -> threshold of each seed and fold; empty where none was chosen."""
    reliability: dict[str, dict[str, list[float | None]]]
    """Label -> `n`, `predicted` and `observed` of each bin of probability, over all seeds; empty of a yardstick, from
    whose scores no probability follows."""
    probabilities: dict[str, list[list[float]]]
    """Recording -> probability of every label under each seed; of a yardstick, its scores brought to 0..1."""
    truth: dict[str, list[int]]
    """Recording -> 1 for every label that it has, else 0."""
    patient_of: dict[str, str] = {}
    """Recording -> its patient; empty of results that are older than this field."""


class Record(BaseModel):
    """A run's result. Keys may be added; these stay."""

    model_config = ConfigDict(extra="allow")

    experiment: str
    title: str = ""
    key: str = ""
    profile: str
    task: str
    data: DataCard
    parameters: dict[str, Any]
    overridden: list[str] = []
    """Parameters that the command line changed; such a run is never a reference result."""
    seeds: list[int]
    classes: list[str]
    macro_classes: list[str] = []
    """The classes that `macro_f1` and `macro_recall` average over; empty: all."""
    scored: str = "test"
    """The set that was scored: `test`, or `val` in development."""
    selection: str = ""
    """The validation metric that chose the epoch."""
    metrics: dict[str, Interval]
    per_class: dict[str, dict[str, Interval]]
    ec57: dict[str, dict[str, Interval]] = {}
    without_202: dict[str, dict[str, Any]] = {}
    """Inter-patient: `metrics`, `per_class` and `ec57` again without record 202 (the patient of 201 in DS1)."""
    unadapted: dict[str, dict[str, Any]] = {}
    """Patient-adapted: `metrics`, `per_class`, `ec57` and `by_record` of the network before adaptation, on the same
    beats."""
    intervals: Resampling
    infarction: InfarctionCard | None = None
    """What only a transfer to infarction has."""
    twelve_lead: TwelveLeadCard | None = None
    """What only 12-lead recordings have."""
    confusion: list[list[list[int]]]
    by_record: dict[str, list[list[list[int]]]] = {}
    """Record -> its confusion matrix under each seed; they add up to `confusion`."""
    right: list[str] = []
    """For each seed, which scored beats were classified right, in their order (`raw.unpack` reads it)."""
    predicted: str = ""
    """For the first seed, the place among `classes` of the class that each scored beat was given (`raw.unpack`)."""
    class_scores: dict[str, str] = {}
    """Class -> its probability for each of these beats, in 255ths (`raw.unpack`)."""
    moved: Moved | None = None
    """The decision with thresholds moved on validation; None where it was never made."""
    training: list[SeedRun] = []
    n_parameters: int = 0
    input_shape: list[int] = []
    """Channels and samples of a beat."""
    n_features: int = 0
    """Features of a beat, which only some models read."""
    resampled: dict[str, int] = {}
    """Training beats by class after resampling, for the first seed; empty where nothing was resampled."""
    train_seconds: float
    hardware: str
    device: str = "cpu"
    versions: dict[str, str]
    precision: str
    commit: str
    created: str
    """`versions`, `commit` and `created` (UTC) are those of the first seed's training."""
    evaluated: dict[str, str] = {}
    """`commit` and `created` of the computation of the metrics."""
    recipe: dict[str, int] = {}
    """Stage -> number: the recipe that made the weights (`ecglib.experiment.recipes`)."""
    verified: dict[str, Any] = {}
    """What `ecglib verify` found when it last cut and trained again."""

    def trained_with(self) -> Any:
        """The parameters of the run: an object of its task's kind."""
        names = {name: getattr(self, name) for name in ("experiment", "title", "profile", "seeds")}
        return KINDS[self.task].model_construct(**self.parameters | names)

    def save(self, path: Path) -> None:
        """Write the JSON file and the Parquet file beside it, each whole or not at all, the JSON file last."""
        content = self.model_dump(mode="json")
        file = raw.take(content)
        if file:
            content[RAW] = hashlib.sha256(file).hexdigest()
        text = json.dumps(content, allow_nan=False)  # refuses what is no JSON before anything is written
        if file:
            files.write(path.with_suffix(".parquet"), file)
        files.write(path, "\n".join(json_lines(json.loads(text))) + "\n")
        if not file:
            path.with_suffix(".parquet").unlink(missing_ok=True)


def json_lines(value: Any, start: str = "", depth: int = 0) -> list[str]:
    """JSON with one metric, class or seed a line. What fits stands on one line. Of what doesn't, each mapping or list
    begins a line of its own, and plain values share lines, as rows of numbers in a list do."""
    whole = " " * depth + start + json.dumps(value, ensure_ascii=False)
    room = WIDTH - 8  # for a comma and the brackets that close
    if len(whole) <= room or not isinstance(value, dict | list):
        return [whole]
    named = isinstance(value, dict)
    opening, closing = "{}" if named else "[]"
    lines, goes_on = [" " * depth + start + opening], True
    for key in value if named else range(len(value)):
        entry = value[key]
        added = json_lines(entry, f"{json.dumps(key, ensure_ascii=False)}: " if named else "", depth + 1)
        row = not named and isinstance(entry, list) and not any(isinstance(one, dict | list) for one in entry)
        shares = row or not entry or not isinstance(entry, dict | list)
        joined = f"{lines[-1]}{'' if lines[-1].endswith(opening) else ' '}{added[0].strip()}"
        if shares and goes_on and len(added) == 1 and len(joined) <= room:
            lines[-1] = f"{joined},"
        else:
            lines += [*added[:-1], f"{added[-1]},"]
        goes_on = shares
    lines[-1] = lines[-1].removesuffix(",") + closing
    return lines


def from_ds1(parameters: Mapping[str, Any]) -> bool:
    """Whether a result with these parameters was learnt on DS1 and is one on DS2."""
    return parameters.get("protocol") in ("inter", "adapted") and parameters.get("database", "mitdb") == "mitdb"


def on_ds2(parameters: Mapping[str, Any]) -> bool:
    """Whether a result with these parameters is one on DS2, maybe among others; every scoring of it is logged."""
    return from_ds1(parameters) or "mitdb" in parameters.get("test_on", ())


MOVED = "thresholds"
"""What stands in the place of `imbalance` where a record is shown with its thresholds moved."""


def with_thresholds_moved(record: Record) -> Record | None:
    """The record as it would be if its networks decided with their thresholds moved; None where they never did.

    Training and validation values stay those of the networks as they were trained, so that no result counts as better
    validated for having its thresholds moved on those beats.
    """
    if record.moved is None:
        return None
    decision = {name: value for name, value in record.moved if name in Record.model_fields and name != "created"}
    name, comma, rest = record.title.partition(",")
    named = {"title": f"{name} with moved thresholds{comma}{rest}", "moved": None}
    return record.model_copy(update={**decision, **named, "parameters": record.parameters | {"imbalance": MOVED}})


def decisions(record: Record) -> list[Record]:
    """The record, and the same with thresholds moved where that was all that was done about the imbalance."""
    moved = with_thresholds_moved(record) if record.parameters.get("imbalance") == "none" else None
    return [record] if moved is None else [record, moved]


def infarction(record: Record) -> InfarctionCard:
    """The infarction part of a record; ValueError where it is one of another task."""
    if record.infarction is None:
        raise ValueError(f"{record.experiment}: no infarction experiment")
    return record.infarction


def card(record: Record) -> TwelveLeadCard:
    """The 12-lead part of a record; ValueError where it is one of another task."""
    if record.twelve_lead is None:
        raise ValueError(f"{record.experiment}: no 12-lead experiment")
    return record.twelve_lead


def load(path: Path) -> Record:
    """Read a record, and the raw material beside it; a JSON file from before there was any has everything in itself. A
    `UserError` when the file is missing, no JSON, or lacks a field, when its Parquet file is missing or another one, or
    when its model was removed."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
        if isinstance(content, dict) and (digest := content.pop(RAW, None)) is not None:
            _put_raw(content, path.with_suffix(".parquet"), str(digest))
        record = Record.model_validate(content)
    except FileNotFoundError:
        raise UserError(path, "no such result record", do="run the experiment: ecglib run …") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(path, f"{field}: {first['msg']}", "a result record") from None
    except ValueError as error:
        raise UserError(path, f"the file: Invalid JSON: {error}", "a result record") from None
    if (model := f"model: {record.parameters.get('model')}") in config.REMOVED:
        raise UserError(path, f"a result with {model}, which was removed", do=f"{config.REMOVED[model]}, or delete it")
    return record


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _put_raw(content: dict[str, Any], path: Path, digest: str) -> None:
    """Put a Parquet file's content into that of its JSON file."""
    do = "take both files of the result, or make it anew: ecglib run --fresh"
    try:
        file = path.read_bytes()
    except FileNotFoundError:
        raise UserError(path, "missing", f"the raw material of {path.stem}.json beside it", do) from None
    if hashlib.sha256(file).hexdigest() != digest:
        raise UserError(path, "damaged, or of another run", f"the file that {path.stem}.json was written with", do)
    raw.put(content, file)


def find(run: str, task: str = "") -> tuple[Record, Path]:
    """A run on this machine, and its folder: by the name of an experiment (its newest run, one of the full profile
    before any other), whose name the record then bears, the key of a run or its beginning, or a run's folder. A
    `UserError` when there is none; it names runs of that task alone, where one is asked for."""
    folders = sorted(path.parent for path in paths.runs().glob("*/record.json"))
    fitting = [folder for folder in folders if len(run) >= 6 and folder.name.startswith(run)]
    if (Path(run) / "record.json").is_file():
        fitting = [Path(run)]
    if len(fitting) > 1:
        raise UserError(run, f"{len(fitting)} runs begin so", "more of the key")
    if fitting:
        return load(fitting[0] / "record.json"), fitting[0]
    named: dict[str, list[tuple[Record, Path]]] = {}
    for folder in folders:
        with contextlib.suppress(UserError):  # a damaged one is nobody's
            for record in _as_named(folder):
                named.setdefault(record.experiment, []).append((record, folder))
    if not run or run not in named:
        names = sorted(name for name, ran in named.items() if name and any(task in ("", one.task) for one, _ in ran))
        kind = "12-lead run" if task == "multilabel" else "run"
        known = f"an experiment, key or folder of a {kind} ({', '.join(names) or 'none yet'})"
        there = (paths.root() / "params").is_dir() and run in config.experiments()
        do = f"ecglib run {run} --profile full makes one" if there else ""
        raise UserError(run, "no such run here", known, do)
    whole = [one for one in named[run] if one[0].profile == "full" and not one[0].overridden]
    return max(whole or named[run], key=lambda one: one[0].created)


def _as_named(folder: Path) -> list[Record]:
    """The record of a run under the name of every experiment that it is the run of."""
    record, names = load(folder / "record.json"), dict[str, dict[str, Any]]()
    with contextlib.suppress(FileNotFoundError, TypeError, ValueError):  # of an earlier version, or damaged
        names = dict(json.loads((folder / NAMES).read_text(encoding="utf-8")))
    copies = {name: record.model_copy(update=own) for name, own in names.items()}
    return list(({record.experiment: record} | copies).values())


def log_test_read(line: Mapping[str, Any]) -> None:
    """Add a line to the log of test scorings; nothing where there is no clone, whose log it is."""
    if (paths.root() / "_quarto.yml").is_file():
        path = paths.test_reads()
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.lock(paths.runs() / "test-reads.lock"), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def reference(experiment: str) -> Record | None:
    """The committed reference result of an experiment, or None where there is none yet."""
    path = paths.reference(experiment)
    return load(path) if path.is_file() else None


def references(folder: Path | None = None, notebook: str = "*") -> dict[str, Record]:
    """All reference results, or those of one notebook, by experiment name; `folder` stands in for `book/results`."""
    folder = folder or paths.results()
    files = {str(path.relative_to(folder).with_suffix("")): path for path in folder.glob(f"{notebook}/*.json")}
    return {name: load(files[name]) for name in sorted(files)}


_SUMMARY: Final = ("mean", "low", "high")
COLUMNS: Final = [
    "experiment", "task", "model", "protocol", "imbalance", "profile", "variant", "class", "metric", "seed", "value",
    *_SUMMARY,
]  # fmt: skip
"""Columns of `frame`."""
_VARIANTS: Final = ("", "without_202", "unadapted", "moved", "moved.without_202")
"""The record's own scores, and where others of the same shape lie in it."""


def frame(records: Mapping[str, Record] | None = None) -> pd.DataFrame:
    """Results by experiment name, or all reference results, as one tidy table, to be filtered, pivoted and drawn.

    One row per experiment, variant, class, metric and seed:

    - `experiment`, `task` (`multiclass`, `binary` or `multilabel`), `model`, `protocol`, `imbalance`, `profile`;
    - `variant`: empty for the result itself; `without_202` without that record, `unadapted` before the network was
      adapted to each record, `moved` with thresholds moved on validation, `moved.without_202` both;
    - `class`: empty for a metric of all classes; `VEB` and `SVEB` for EC57's detections;
    - `metric`, such as `macro_f1`, `auroc` or `se`;
    - `seed` and `value`, the metric's under that seed, NaN where undefined;
    - `mean` over the seeds, and `low` and `high`, the 95 % interval of that mean.

    `frame().pivot_table("value", "model", "metric")` is then the mean of every metric for every network.
    """
    rows = [
        {
            "experiment": name,
            "task": record.task,
            **{key: str(record.parameters.get(key) or "") for key in ("model", "protocol", "imbalance")},
            "profile": record.profile,
            "variant": variant,
            "class": of_class,
            "metric": metric,
            "seed": seed,
            "value": value,
            **{key: interval[key] for key in _SUMMARY},
        }
        for name, record in (references() if records is None else records).items()
        for variant, of_class, metric, interval in _scores(record)
        for seed, value in zip(record.seeds, interval["per_seed"], strict=False)
    ]
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.astype(dict.fromkeys(("value", *_SUMMARY), "float64"))


def _scores(record: Record) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Variant, class and name of every metric of a record, with its interval."""
    content = record.model_dump(include={"metrics", "per_class", "ec57", "without_202", "unadapted", "moved"})
    for variant in _VARIANTS:
        part = content
        for name in filter(None, variant.split(".")):
            part = part.get(name) or {}
        groups = {"": part.get("metrics") or {}, **(part.get("per_class") or {}), **(part.get("ec57") or {})}
        for of_class, metrics in groups.items():
            for metric, interval in metrics.items():
                yield variant, of_class, metric, interval
