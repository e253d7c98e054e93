"""The parameters of every experiment: one field, one sentence; cross-checked; unknown keys refused.

A parameters file is flat YAML, `params/<notebook>/<experiment>.yaml`, and works alone with papermill. Profiles
(`params/profiles/<profile>.yaml`) hold only `OF_PROFILES` and are laid over any experiment that has them.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ecglib import paths
from ecglib.errors import UserError, nearest

if TYPE_CHECKING:
    from ecglib.models.registry import Entry

ProfileName = Literal["smoke", "quick", "full"]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What NumPy, scikit-learn and torch all take."""
AtLeastZero = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Within = Annotated[float, Field(gt=0, lt=1)]
"""Between 0 and 1, and neither of them."""
BatchSize = Annotated[int, Field(ge=2)]

Resampler = Literal["smote", "smote-tomek", "borderline-smote", "adasyn", "random-over", "random-under"]
RESAMPLERS: tuple[str, ...] = get_args(Resampler)
"""Answers to imbalance that change the training set; the others change the loss."""
ONLY_WITH: dict[str, tuple[str, tuple[str, ...]]] = {
    "adaptation": ("protocol", ("adapted",)),
    "adaptation_minutes": ("protocol", ("adapted",)),
    "adaptation_steps": ("protocol", ("adapted",)),
    "adaptation_rate": ("protocol", ("adapted",)),
    "weight_exponent": ("imbalance", ("weighted",)),
    "effective_beta": ("imbalance", ("effective-number",)),
    "focal_gamma": ("imbalance", ("focal",)),
    "adjustment_strength": ("imbalance", ("logit-adjustment",)),
    "smote_neighbours": ("imbalance", ("smote", "smote-tomek", "borderline-smote", "adasyn")),
}
"""Fields that mean something only with these values of another field."""
OF_NETWORKS = ("batch_size", "learning_rate", "schedule", "weight_decay", "label_smoothing", "gradient_clip", "ema")
"""Fields that mean nothing to what is fitted at once."""
REMOVED: dict[str, str] = {
    "imbalance: thresholds": "the record of every run of beats holds the decision with moved thresholds under `moved`",
    "model: gated_ecgnet": "take ecgnet",
    "cut: sustained": "take relative",
    "model_options: heart_rate": "name the features that are read in the parameter features",
    "database: heartbeat": "take kaggle, as the Kaggle set is called now; its folder is heartbeat as before",
    "heartbeat/gated-ecgnet-inter": "take heartbeat/ecgnet-inter",
    "heartbeat/gated-ecgnet-adapted": "take heartbeat/ecgnet-adapted",
}
"""What was removed -> what replaces it: a parameter (`name`), a value of one (`name: value`; a model is `model: …`), an
experiment."""
FROM_DATA = ("n_leads", "n_samples", "n_classes", "n_features")
"""Arguments of models that follow from the beats."""


class SharedParameters(BaseModel):
    """What every experiment has."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    experiment: str = ""
    """`<notebook>/<experiment>`, the name of parameters, record and page; empty in free exploration."""
    title: str = ""
    """The page's title in the book."""
    profile: ProfileName = "quick"
    """How much is run: `smoke` (seconds), `quick` (minutes), `full` (the reference results)."""
    in_book: bool = True
    """Whether `make book` runs it; else its page is of the reference result alone."""

    @property
    def databases(self) -> list[str]:
        """Those that it rests on, by name or folder."""
        return [name for name in (getattr(self, "database", ""),) if name]


class ExploreParameters(SharedParameters):
    """`notebooks/explore.py`: looks at the data, trains nothing."""

    database: Literal["mitdb"] = "mitdb"
    """The database to look at."""


class ChapterParameters(SharedParameters):
    """A notebook that compares: it reads the reference results and trains nothing."""


class ModelChapterParameters(ChapterParameters):
    """The same, of one model above all."""

    model: str = "cnet"
    """The model whose results are compared."""


class TuningParameters(ChapterParameters):
    """`notebooks/tuning.py`: a search for better parameters of an experiment, which `ecglib tune` runs; its page shows
    what was found."""

    base: str = ""
    """The experiment whose other parameters stay as they are."""
    space: dict[str, Any] = {}
    """Parameter -> how it is drawn (see `ecglib.tuning.space`)."""
    fixed: dict[str, Any] = {}
    """Parameters that are as here in every trial, over those of the base."""
    metric: Literal["macro_f1", "macro_recall", "abnormal_recall", "macro_auroc", "auroc"] = "macro_f1"
    """What is to be high on validation; `abnormal_recall`: the recall in which the normal class counts half."""
    searcher: Literal["tpe", "gp", "random", "grid", "hyperopt"] = "tpe"
    """Who proposes parameters: a tree-structured Parzen estimator, a Gaussian process ("bayes"), chance, all of a grid,
    or HyperOpt's own estimator, which Ray has."""
    scheduler: Literal["asha", "hyperband", "median", "none"] = "asha"
    """Who ends a trial early: asynchronous successive halving, HyperBand, the median of the others, nobody."""
    grace: int = Field(1, ge=1)
    """Epochs that every trial gets."""
    reduction: int = Field(4, ge=2)
    """`asha`, `hyperband`: one of so many goes on at each step, for so many times as many epochs."""
    trials: int = Field(150, ge=1)
    """How many sets of parameters are tried."""
    concurrency: int = Field(2, ge=1)
    """Trials at once; at most as many as the machine, or the cluster, has resources for."""
    cpus: int = Field(1, ge=1)
    """Processors of a trial."""
    gpus: float = Field(0, ge=0, le=8)
    """Share of a GPU, or GPUs, of a trial."""
    budget: str = ""
    """Time after which no trial begins and those that run end with their epoch, such as `40m`; empty: none."""
    seed: Seed = 0
    """Of the searcher, and of the split and the first weights of every trial."""
    confirm: list[Seed] = Field([1, 2], min_length=1)
    """Seeds that the search did not see, under which base and best parameters are compared on validation."""
    quick: dict[str, Any] = {}
    """Parameters of this file that are otherwise in the quick profile."""

    @model_validator(mode="after")
    def _can_be_read(self) -> Self:
        if not re.fullmatch(r"(\d+[smh])?", self.budget):
            raise ValueError(f"budget: {self.budget} is no time; write 40m, 90s or 2h")
        if not isinstance(self.quick.get("fixed", {}), dict):
            raise ValueError(f"quick: fixed: {self.quick['fixed']!r} is no mapping of parameters to values")
        return self


@dataclass(frozen=True)
class Rule:
    """What does not go together in the parameters of a training."""

    when: Callable[[Any, Entry], bool]
    """Of the parameters and the registry's entry of their model, whether the rule holds."""
    says: str = ""
    """The refusal, `field: why`; `{p}` and `{e}` stand for these two, `{name}` for the field that it is about. Without
    one, that the field means nothing."""
    fields: tuple[str, ...] = ()
    """Those that mean nothing where the rule holds: they must be as by default. Of a rule without any, the parameters
    are refused as they are."""


def _only_with(name: str, switch: str, values: tuple[str, ...]) -> Rule:
    said = f"{{name}}: only means something with {switch}: {' or '.join(values)}"
    return Rule(lambda p, e: getattr(p, switch) not in values, said, (name,))


def _of_beats_alone(name: str, only: object) -> Rule:
    said = f"{name}: {{p.{name}}} needs records, and kaggle has beats alone; take {only}"
    return Rule(lambda p, e: p.database == "kaggle" and getattr(p, name) != only, said)


def _follows(name: str) -> Rule:
    return Rule(
        lambda p, e: name in p.model_options, f"model_options: {name} can't be chosen: it follows from the data"
    )


RULES_OF_ALL = (
    Rule(lambda p, e: len(set(p.seeds)) != len(p.seeds), "seeds: {p.seeds} names a seed twice"),
    Rule(lambda p, e: p.deterministic and p.precision not in ("auto", "float32"),
         "precision: {p.precision} can't be deterministic; use float32 or auto"),
    Rule(lambda p, e: len(set(leads := getattr(p, "leads", []))) != len(leads),
         "leads: {p.leads} names a lead twice"),
    *map(_follows, FROM_DATA),
)  # fmt: skip
"""What is refused of every training."""


class TrainedParameters(SharedParameters):
    """What every experiment has that trains; a task has defaults of its own, and rules."""

    seeds: list[Seed] = Field([0], min_length=1)
    """Seed k fixes split k, initialisation k and order k."""
    max_epochs: int = Field(6, ge=1)
    """Upper bound of epochs; the learning-rate schedule spans it."""
    patience: int = Field(10, ge=1)
    """Epochs without a better validation metric after which training stops."""
    beats_per_epoch: int | None = Field(None, ge=200)
    """At most this many training beats in an epoch, the next ones in the next; None: all of them. What is fitted at
    once gets so many in all; `sampling: by-record` has a bound of its own."""
    max_beats: int | None = Field(None, ge=200)
    """At most this many beats, drawn by class; None: all of them."""
    max_records: int | None = Field(None, ge=1)
    """At most this many records of a recording-wise data set; None: all of them."""
    bootstrap: int = Field(200, ge=0)
    """Resamples of records behind every interval; 0 gives no intervals."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where it trains; `auto` takes CUDA, then MPS, then the CPU."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto` probes whether bfloat16 (or float16 on a GPU without it) is faster here, and uses it if so."""
    deterministic: bool = False
    """Same machine, same versions, same seed, same bits; float32 only."""

    # model
    model: str = "cnet"
    """Name in the registry of models, of one that reads what the task is about."""
    model_options: dict[str, int | float | bool | str] = {}
    """Keyword arguments of the model's own, such as its width."""

    # training
    batch_size: BatchSize = 256
    """Beats or recordings per step."""
    learning_rate: Positive = 0.003
    """Peak of the schedule; of what is transferred, of the head."""
    schedule: Literal["one-cycle", "cosine"] = "one-cycle"
    """Course of the learning rate over `max_epochs`."""
    weight_decay: AtLeastZero = 0.01
    """Decoupled weight decay of AdamW."""
    gradient_clip: Positive | None = 1.0
    """Upper bound of the gradient's norm; None: unbounded."""
    ema: Within | None = 0.998
    """Decay per step of a moving average of the weights, which is then what is validated and kept; None: off."""

    RULES: ClassVar[tuple[Rule, ...]] = ()
    """What is refused after `RULES_OF_ALL`, in this order."""
    READ: ClassVar[tuple[str, ...]] = ()
    """Of experiments on recordings: the fields that say which are read, as what, and how they are divided."""
    OF_SIGNALS: ClassVar[tuple[str, ...]] = ("leads", "rate")
    """Those of them that mean nothing where no signal is read."""
    OF_YARDSTICKS: ClassVar[tuple[str, ...]] = (
        "experiment", "title", "profile", "seeds", "bootstrap", "in_book", "model", "way", "device", "precision",
        "deterministic",
    )  # fmt: skip
    """The fields that mean something to a yardstick, beside what it reads."""

    @property
    def entry(self) -> Entry:
        """What the registry says of the model."""
        from ecglib.models import registry

        return registry.entry(self.model)

    @classmethod
    def read_by(cls, model: str) -> set[str]:
        """Those of `READ` that mean something to a model: what its result must share with another to be paired."""
        from ecglib.models import registry

        return set(cls.READ) - (set(cls.OF_SIGNALS) if registry.entry(model).takes == "age and sex" else set())

    def idle(self) -> set[str]:
        """The fields that mean nothing with the others as they are."""
        idle = {name for rule in self.RULES if rule.fields and rule.when(self, self.entry) for name in rule.fields}
        if self.entry.yardstick:
            idle |= type(self).model_fields.keys() - self.OF_YARDSTICKS - self.read_by(self.model)
        return idle

    @model_validator(mode="after")
    def _rules_are_kept(self) -> Self:
        """Fields that profiles set, or that name what is transferred, may mean nothing."""
        entry, fields = self.entry, type(self).model_fields
        changed = {name for name in fields if getattr(self, name) != fields[name].default}
        changed -= {"pretrained", "folds", *SharedParameters.model_fields, *HOW_MUCH}
        for rule in (*RULES_OF_ALL, *self.RULES):
            named = [name for name in rule.fields if name in changed] or [""]
            if rule.says and (named[0] or not rule.fields) and rule.when(self, entry):
                raise ValueError(rule.says.format(p=self, e=entry, name=named[0]))
        for name in sorted(changed & self.idle()):
            raise ValueError(f"{name}: means nothing with the other parameters as they are")
        return self


class HeartbeatParameters(TrainedParameters):
    """`notebooks/heartbeat.py`: one beat classifier, trained and tested under one protocol."""

    # data
    database: str = Field("mitdb", min_length=1)
    """Where the beats come from: `mitdb`, `svdb`, `incartdb`, `ltdb`, `qtdb`, a folder of annotated WFDB records, or
    `kaggle`, a set of beats without records and with a division of its own."""
    annotator: str = Field("", pattern=r"^\w*$")
    """Suffix of the annotation files; empty: the database's own, or in a folder the only one that there is."""
    protocol: Literal["intra", "inter", "adapted", "cross-database"] = "intra"
    """`intra`: 80/20 of all beats, or as `kaggle` comes divided, patients shared; `inter`: patients apart, in `mitdb`
    train on DS1 and test on DS2; `adapted`: the same, and learn on from each test record's first minutes;
    `cross-database`: other databases test."""
    train_on: list[str] = []
    """`cross-database`: the databases to learn from and to choose on, each a value of `database`."""
    test_on: list[str] = []
    """`cross-database`: the databases to test on, likewise."""
    cut: Literal["kachuee", "centred", "relative"] = "kachuee"
    """How a beat is cut from the record (see `ecglib.data.beats`)."""
    features: list[str] = Field(["*"], min_length=1)
    """Features of the cut to read, by name or pattern (`*_relative`), of a model that reads features."""
    leads: list[Literal["MLII", "ECG1", "ECG2", "I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5",
                        "V6"]] = Field(["MLII"], min_length=1)  # fmt: skip
    """Leads by name; where a record lacks one, its first lead not yet taken stands in, for MLII lead II or ECG1."""
    validation_fraction: float = Field(0.1, gt=0, lt=0.5)
    """Share of the training part held out for every choice, of its beats (intra) or patients; DS1 has fixed records."""
    test: bool = True
    """False in development: the test set is not loaded, the validation set is scored in its place."""
    beats_per_sequence: int = Field(10, ge=1)
    """Sequence models: consecutive beats of a record that are read together; 1: single beats."""

    # adaptation to a patient
    adaptation: Literal["head", "all", "statistics"] = "head"
    """What is adapted to a record: the last layer, all layers, or only the statistics of batch normalisation."""
    adaptation_minutes: float = Field(5.0, gt=0, le=5)
    """Minutes from a test record's start whose labelled beats may be learnt from; they are not scored."""
    adaptation_steps: int = Field(50, ge=1)
    """Steps of `head` and `all`, each on all beats of those minutes and on training beats of DS1."""
    adaptation_rate: float = Field(0.001, gt=0)
    """Learning rate of these steps."""

    # imbalance
    imbalance: Literal["none", "weighted", "effective-number", "focal", "logit-adjustment", Resampler] = "none"
    """The answer to class imbalance, in the loss or in the training part."""
    weight_exponent: float = Field(1.0, ge=0, le=1)
    """`weighted`: weights are class frequencies to the power of minus this."""
    effective_beta: float = Field(0.999, gt=0, lt=1)
    """`effective-number`: share of a further beat that is new; the nearer to 1, the more rare classes weigh."""
    focal_gamma: float = Field(2.0, ge=0)
    """`focal`: how much less a beat counts that is classified well."""
    adjustment_strength: float = Field(1.0, gt=0)
    """`logit-adjustment`: share of the log class frequencies that is added to the logits in training."""
    smote_neighbours: int = Field(5, ge=1)
    """SMOTE and its kin: neighbours between which new beats are drawn."""
    sampling: Literal["all", "by-record"] = "all"
    """Beats of an epoch: all, or drawn anew from each record, at most so many of a class (see `training.sampling`)."""

    # training
    selection: Literal["macro_f1", "macro_recall", "abnormal_recall"] = "macro_f1"
    """What the epoch is chosen by, on validation (see `ecglib.evaluation.metrics.chosen_by`)."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of the target spread evenly over the classes."""
    refit: bool = False
    """After the epoch is chosen, train anew on training + validation for that many epochs."""
    start_from: str = ""
    """Weights of the same network (a `.safetensors` file, from the root) to go on from; empty: drawn anew."""

    RULES = (
        Rule(lambda p, e: not e.reads_beats,
             "model: {p.model} takes {e.takes}s and is not for the classes of heartbeats"),
        _of_beats_alone("protocol", "intra"), _of_beats_alone("cut", "kachuee"), _of_beats_alone("leads", ["MLII"]),
        Rule(lambda p, e: p.database == "kaggle" and p.reads_sequences,
             "beats_per_sequence: {p.model} would read neighbours, and kaggle has beats without records; take 1"),
        Rule(lambda p, e: p.protocol == "cross-database" and not (p.train_on and p.test_on),
             "protocol: cross-database takes train_on and test_on, a list of databases each"),
        Rule(lambda p, e: len({*p.train_on, *p.test_on}) < len(p.train_on) + len(p.test_on),
             "test_on: {p.train_on} and {p.test_on} name a database twice"),
        Rule(lambda p, e: p.protocol == "cross-database",
             "{name}: cross-database has train_on and test_on in its place", ("database",)),
        Rule(lambda p, e: p.protocol != "cross-database",
             "{name}: only means something with protocol: cross-database", ("train_on", "test_on")),
        Rule(lambda p, e: p.protocol == "adapted" and not p.of_mitdb,
             "protocol: adapted is for mitdb's DS1 and DS2; take inter"),
        Rule(lambda p, e: p.of_mitdb,
             "{name}: DS1 has fixed validation records, so it means nothing with {p.protocol}",
             ("validation_fraction",)),
        *(_only_with(name, switch, values) for name, (switch, values) in ONLY_WITH.items()),
        Rule(lambda p, e: p.imbalance in RESAMPLERS and p.reads_sequences,
             "imbalance: {p.imbalance} makes single beats, and {p.model} takes sequence; "
             "beats_per_sequence: 1 makes it read single ones"),
        Rule(lambda p, e: p.imbalance in RESAMPLERS and e.takes != "beat" and p.beats_per_sequence > 1,
             "imbalance: {p.imbalance} makes single beats, and {p.model} takes {e.takes}"),
        Rule(lambda p, e: p.start_from and e.classical,
             "start_from: {p.model} is fitted at once, from nothing"),
        Rule(lambda p, e: p.imbalance == "focal" and p.label_smoothing,
             "label_smoothing: the focal loss has none"),
        Rule(lambda p, e: p.sampling != "all" and (p.imbalance in RESAMPLERS or p.reads_sequences),
             "sampling: by-record draws single beats of records, not resampled ones and no sequences"),
        Rule(lambda p, e: e.votes and p.imbalance == "random-over",
             "imbalance: random-over changes no vote of {p.model}; take SMOTE or its kin"),
        Rule(lambda p, e: p.model == "random_forest" and p.imbalance not in ("none", *RESAMPLERS),
             "imbalance: random_forest is fitted without this loss; it weighs classes with balanced: true in "
             "model_options, or resample"),
        Rule(lambda p, e: e.classical and p.imbalance not in ("none", *RESAMPLERS),
             "imbalance: {p.model} is fitted without this loss; resample, or see its model_options"),
        Rule(lambda p, e: e.classical,
             "{name}: {p.model} is fitted at once, and has no steps or epochs",
             (*OF_NETWORKS, "refit", "sampling", "max_epochs", "patience")),
        Rule(lambda p, e: p.protocol == "adapted" and (e.classical or e.takes == "sequence"),
             "protocol: {p.model} can't learn on from single beats of a record, as adapted asks"),
        Rule(lambda p, e: p.adaptation == "statistics",
             "{name}: statistics are taken over without steps", ("adaptation_steps", "adaptation_rate")),
        Rule(lambda p, e: p.protocol == "adapted" and p.imbalance != "none",
             "imbalance: {p.imbalance} would be undone by the adaptation, which has no such answer"),
        Rule(lambda p, e: p.refit and not p.test,
             "refit: in development it would be scored on the validation beats that it has learnt"),
        Rule(lambda p, e: p.sampling == "by-record" and p.protocol == "intra",
             "sampling: by-record is for patients apart; it draws no beat of class Q, which intra scores"),
        Rule(lambda p, e: p.sampling == "by-record" and p.imbalance not in ("none", "focal"),
             "imbalance: {p.imbalance} counts all beats, and by-record shows others in an epoch"),
        Rule(lambda p, e: e.takes != "sequence",
             "beats_per_sequence: {p.model} takes {e.takes}, not sequences", ("beats_per_sequence",)),
        Rule(lambda p, e: p.cut == "kachuee" and len(p.leads) > 1,
             "leads: the kachuee cut is of one lead"),
        Rule(lambda p, e: p.cut == "kachuee" and e.reads_features,
             "cut: kachuee has no features, and {p.model} needs them; take relative or centred"),
        Rule(lambda p, e: not e.reads_features, "{name}: {p.model} reads none", ("features",)),
        Rule(lambda p, e: p.beats_per_epoch is None or p.sampling == "by-record", fields=("beats_per_epoch",)),
        Rule(lambda p, e: p.database == "kaggle", fields=("annotator", "bootstrap")),
    )  # fmt: skip

    @property
    def of_mitdb(self) -> bool:
        """Whether the sets are those of DS1 and DS2."""
        return self.protocol in ("inter", "adapted") and self.database == "mitdb"

    @property
    def reads_sequences(self) -> bool:
        """Whether the model is given consecutive beats, and not single ones."""
        return self.entry.takes == "sequence" and self.beats_per_sequence > 1

    @property
    def databases(self) -> list[str]:
        return [*self.train_on, *self.test_on] if self.protocol == "cross-database" else [self.database]


class InfarctionParameters(TrainedParameters):
    """`notebooks/infarction.py`: infarction or not, from a network of beats, pretrained or not, out of fold."""

    READ = ("database", "max_records", "leads", "protocol", "folds", "test")

    # data
    database: Literal["ptb-xl", "ptbdb", "kaggle"] = "ptb-xl"
    """Where the recordings come from; `kaggle` has beats alone, of which a stratified fifth is scored."""
    leads: list[Literal["I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6"]] = Field(
        ["II"], min_length=1
    )
    """Leads by name; of several, a network of aligned beats reads all together, and any other is shared by them."""
    protocol: Literal["by-patient", "by-beat", "held-out"] = "by-patient"
    """`by-patient`: a patient is in one fold; `by-beat`: beats of a patient are in several, as in the Kaggle set;
    `held-out`: a fifth of the patients, the same under every seed, is scored once by what learnt from the others."""
    folds: int = Field(10, ge=3)
    """Parts that are scored in turn by a network that learnt from the others; of `held-out`, those of development."""
    test: bool = True
    """False in development, of `held-out`: its fifth is not read, folds of the other patients are scored in turn."""

    # model
    way: Literal["scratch", "frozen", "finetune", "gradual"] = "finetune"
    """What learns, and how fast (see `ecglib.training.transfer`)."""
    epochs: int = Field(5, ge=1)
    """Epochs of every fold's network, or as many as the profile allows if these are fewer."""
    pretrained: str = "heartbeat/baseline"
    """What is transferred: a beat experiment, of the same profile, or a weights file; not read from scratch."""
    layer_decay: float = Field(0.85, gt=0, le=1)
    """`finetune`, `gradual`: the learning rate of a layer as a share of that of the layer above it."""
    hidden: int = Field(64, ge=1)
    """Units of the first of the head's two layers."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Share dropped in training before each of the head's two layers."""
    noise: float = Field(0.02, ge=0)
    """Standard deviation of the noise put on beats (of 0..1) in training."""
    networks: int = Field(1, ge=1)
    """Of aligned beats: how many networks of a fold vote."""
    curve: list[Annotated[int, Field(ge=4)]] = []
    """Numbers of labelled patients to learn from, for the learning curve."""

    # imbalance
    imbalance: Literal["weighted", "smote", "smote-tomek", "random-over", "random-under"] = "weighted"
    """How both classes come to count the same: by weights in the loss, or by resampling the beats."""
    smote_neighbours: int = Field(5, ge=1)
    """SMOTE and its kin: neighbours between which new beats are drawn."""

    # training
    batch_size: BatchSize = 64
    weight_decay: AtLeastZero = 0.05
    ema: Within | None = None
    head_decay: float = Field(5.0, ge=0)
    """Weight decay of the head's two layers; `weight_decay` is that of all others."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of the target spread evenly over the classes."""

    RULES = (
        Rule(lambda p, e: (e.classical and not e.yardstick) or e.reads_features or e.reads_recordings,
             "model: {p.model} is not trained on single beats alone, so nothing can be transferred"),
        Rule(lambda p, e: e.yardstick and (p.way != "scratch" or p.protocol == "by-beat"),
             "model: {p.model} is fitted at once; take way: scratch and protocol: by-patient"),
        Rule(lambda p, e: e.reads_aligned and (p.way != "scratch" or p.protocol == "by-beat"),
             "model: {p.model} takes aligned beats; take way: scratch and protocol: by-patient"),
        Rule(lambda p, e: e.yardstick and p.database == "kaggle",
             "database: kaggle has beats alone, and {p.model} reads a recording's {e.takes}"),
        Rule(lambda p, e: p.database == "kaggle" and (p.protocol != "by-beat" or p.leads != ["II"]),
             "database: kaggle has no patients and lead II alone; take protocol: by-beat and leads: [II]"),
        Rule(lambda p, e: p.database == "kaggle", fields=("folds", "bootstrap")),
        Rule(lambda p, e: p.protocol == "held-out" and p.test, fields=("folds",)),
        Rule(lambda p, e: not p.test and p.protocol != "held-out",
             "test: false needs patients who are not tested, and {p.protocol} tests all in turn; take protocol: "
             "held-out"),
        Rule(lambda p, e: p.protocol == "by-beat" and p.curve,
             "curve: counts patients, and by-beat does not hold them apart"),
        Rule(lambda p, e: True, fields=("patience", "max_beats", "beats_per_epoch")),
        Rule(lambda p, e: e.reads_aligned, fields=("hidden", "dropout", "noise", "head_decay")),
        Rule(lambda p, e: not e.reads_aligned, fields=("networks",)),
        Rule(lambda p, e: p.way in ("scratch", "frozen"), fields=("layer_decay",)),
        Rule(lambda p, e: p.way == "scratch", fields=("pretrained",)),
        Rule(lambda p, e: not p.imbalance.startswith("smote"), fields=("smote_neighbours",)),
    )  # fmt: skip


class TwelveLeadParameters(TrainedParameters):
    """`notebooks/twelve-lead.py`: several labels of whole 12-lead recordings, scored fold by fold."""

    READ = ("database", "max_records", "labels", "min_positives", "rate", "protocol", "test_folds", "test")

    # data
    database: str = "ptb-xl"
    """Where the recordings come from: `ptb-xl`; `challenge-2021`, with PTB-XL's beside the Challenge's where they are
    here; or `delta:PATH[@VERSION]`, a Delta table."""
    labels: Literal["superclasses", "scored"] = "superclasses"
    """PTB-XL's five diagnostic superclasses, or the diagnoses that the Challenge scores; a Delta table has its own."""
    min_positives: int = Field(10, ge=1)
    """Labels that fewer recordings have are left out."""
    rate: float = Field(100.0, ge=50, le=1000)
    """Hz that recordings are brought to."""
    protocol: Literal["by-patient"] = "by-patient"
    """A patient is in one fold; PTB-XL's folds are its own."""
    test_folds: list[Annotated[int, Field(ge=1, le=10)]] = Field(list(range(1, 11)), min_length=1)
    """Folds that are scored in turn; the one before each is its validation set. `[10]` is PTB-XL's own split."""
    test: bool = True
    """False in development: `test_folds` are not loaded, the validation folds are scored in their place."""
    leave_source_out: bool = False
    """Whether every database that recordings come from is also scored by a network that learnt from the others."""

    # model
    model: str = "crnn"

    # imbalance
    imbalance: Literal["none", "weighted", "focal"] = "weighted"
    """Loss: binary cross-entropy, the same with positives weighted up, or the focal loss with α after those weights."""
    weight_exponent: float = Field(0.5, ge=0, le=1)
    """A positive weighs (negatives / positives) to the power of this."""
    focal_gamma: float = Field(2.0, ge=0)
    """`focal`: how much less a target counts that is predicted well."""

    # augmentation
    crop_seconds: float = Field(10.0, ge=0)
    """Seconds cut out of a longer recording, at another place every time; 0: whole recordings."""
    scaling: float = Field(0.2, ge=0)
    """Amplitudes are multiplied by a factor from exp(-scaling) to exp(scaling)."""
    wander: float = Field(0.3, ge=0, le=1)
    """Share of recordings that get baseline wander."""
    muscle: float = Field(0.3, ge=0, le=1)
    """Share of recordings that get muscle noise."""
    lead_dropout: float = Field(0.1, ge=0, le=1)
    """Share of leads that are zeroed."""

    # training
    fewest_per_epoch: int = Field(800, ge=1)
    """Recordings that an epoch shows at least: of a small set each comes up several times."""
    workers: int = Field(0, ge=0)
    """Processes that read recordings ahead; 0 reads in the training's own."""
    batch_size: BatchSize = 32
    weight_decay: AtLeastZero = 0.05
    ema: Within | None = 0.99

    RULES = (
        Rule(lambda p, e: not (e.reads_recordings or e.yardstick),
             "model: {p.model} reads beats, not recordings; take one of {p.fitting}"),
        Rule(lambda p, e: len(set(p.test_folds)) != len(p.test_folds),
             "test_folds: {p.test_folds} names a fold twice"),
        Rule(lambda p, e: p.database not in ("ptb-xl", "challenge-2021") and not table_of(p.database),
             "database: {p.database} is none of ptb-xl, challenge-2021 and delta:PATH[@VERSION]"),
        Rule(lambda p, e: bool(table_of(p.database)),
             "{name}: a Delta table has labels of its own; take superclasses, the default", ("labels",)),
        Rule(lambda p, e: p.database == "challenge-2021" and p.labels != "scored",
             "labels: Challenge records have no superclasses; take scored"),
        Rule(lambda p, e: not p.test and len(p.test_folds) > 8,
             "test_folds: test: false needs a fold that is not tested to learn from, and another to choose on"),
        Rule(lambda p, e: not p.test and p.leave_source_out,
             "leave_source_out: its sources are tested, and test: false has nobody to score then"),
        Rule(lambda p, e: p.leave_source_out and p.database == "ptb-xl",
             "leave_source_out: ptb-xl is one source"),
        Rule(lambda p, e: True, fields=("max_beats", "beats_per_epoch")),
        Rule(lambda p, e: p.imbalance != "focal", fields=("focal_gamma",)),
        Rule(lambda p, e: p.imbalance == "none", fields=("weight_exponent",)),
    )  # fmt: skip

    @property
    def fitting(self) -> str:
        """The models that read recordings, and the yardsticks, by name."""
        from ecglib.models import registry

        return ", ".join(n for n, entry in registry.ENTRIES.items() if entry.reads_recordings or entry.yardstick)


def table_of(database: str) -> str:
    """Path, and maybe version, of the Delta table that a `database` names, from the project's root; else empty."""
    path = database.removeprefix("delta:").strip()
    return str(paths.root() / Path(path).expanduser()) if path != database and path else ""


MODELS: dict[str, type[SharedParameters]] = {
    "explore": ExploreParameters,
    "heartbeat": HeartbeatParameters,
    "infarction": InfarctionParameters,
    "twelve-lead": TwelveLeadParameters,
    "architectures": ChapterParameters,
    "imbalance": ModelChapterParameters,
    "splits": ModelChapterParameters,
    "published": ChapterParameters,
    "transfer": ModelChapterParameters,
    "tuning": TuningParameters,
    "in-use": ChapterParameters,
}
"""Notebook name -> model of its parameters. Those that compare come after those that they read."""


def check(notebook: str, values: Mapping[str, Any], where: str | Path) -> SharedParameters:
    """Validate parameters of a notebook. A `UserError` names the first field that was removed, is unknown, ill-typed or
    in conflict with another."""
    model = MODELS[notebook]
    options = values.get("model_options")
    chosen = [("model_options", name) for name in options] if isinstance(options, dict) else []
    for name, value in (*values.items(), *chosen):
        for what in (name, f"{name}: {value}"):
            if what in REMOVED:
                raise UserError(where, f"{what} was removed", do=REMOVED[what])
    for name in values:
        if name not in model.model_fields:
            do = nearest(name, model.model_fields)
            expected = "" if do else f"one of {', '.join(model.model_fields)}"
            raise UserError(where, f"unknown parameter {name}", expected, do)
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        found = f" (found {first['input']!r})" if field else ""
        try:  # a text such as "1e-3", which YAML 1.1 does not take for a number
            number = float(first["input"]) if isinstance(first["input"], str) else math.nan
        except ValueError:
            number = math.nan
        do = f"write {number:g}" if math.isfinite(number) else ""
        raise UserError(where, f"{field}: {message}{found}" if field else message, do=do) from None
    except UserError as error:
        raise UserError(where, str(error)) from None


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a flat YAML mapping. A `UserError` when the file is missing, no YAML, or no mapping."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(path, "no such file", "a parameters file") from None
    except yaml.YAMLError as error:
        raise UserError(path, f"no YAML: {str(error).splitlines()[0]}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(path, f"holds a {type(values).__name__}", "lines of the form name: value")
    return {str(name): value for name, value in values.items()}


HOW_MUCH = ("seeds", "max_epochs", "patience", "beats_per_epoch", "max_beats", "max_records", "bootstrap")
"""How much of an experiment that trains is done; a profile sets these where they mean nothing too."""
TUNED = "-tuned"
"""What the name of an experiment ends with that a search found."""
NOT_SEARCHED = frozenset({
    *SharedParameters.model_fields, *HOW_MUCH, "device", "precision", "deterministic", "database", "annotator",
    "protocol", "train_on", "test_on", "test", "validation_fraction", "selection", "refit", "start_from",
    "model_options", "folds", "test_folds", "curve", "pretrained", "labels", "min_positives", "leave_source_out",
    "workers",
})  # fmt: skip
"""Parameters that say what is computed, on what and how much, so that trials which differ in them can't be compared."""
OF_PROFILES = ("profile", *HOW_MUCH, "curve", "folds", "test_folds")
"""What a profile may set: how much is done, never what."""


def experiments() -> list[str]:
    """Every experiment with a parameters file, as `<notebook>/<experiment>`, those that compare last."""
    folder = paths.params()
    return [
        f"{path.parent.name}/{path.stem}" for notebook in MODELS for path in sorted((folder / notebook).glob("*.yaml"))
    ]


def load(
    experiment: str, *, profile: str | None = None, overrides: Mapping[str, Any] | None = None
) -> SharedParameters:
    """Parameters of an experiment: its file, then the profile's that its notebook has, then the overrides, each over
    the one before. A `UserError` when the experiment or profile is unknown or a parameter is wrong."""
    notebook, _, name = experiment.partition("/")
    path = paths.params() / notebook / f"{name}.yaml"
    if experiment in REMOVED:
        raise UserError(experiment, "this experiment was removed", do=REMOVED[experiment])
    if notebook not in MODELS or not name or not path.is_file():
        do = nearest(experiment, experiments(), 0.4) or "ecglib run --list prints the names"
        raise UserError(experiment, "no such experiment", do=do)
    values = load_yaml(path)
    check(notebook, values, path)
    if values.get("experiment") != experiment:
        found = values.get("experiment", "nothing")
        raise UserError(path, f"experiment: {found}", experiment, "a parameters file says its own name")
    if profile is not None:
        own = MODELS[notebook].model_fields
        values |= {name: value for name, value in load_profile(profile).items() if name in own}
    overrides = overrides or {}
    for field in ("experiment", "title", "profile"):
        if field in overrides:
            do = "see --profile" if field == "profile" else ""
            raise UserError(f"-p {field}", "is no parameter to change", do=do)
    values |= overrides
    return check(notebook, values, "-p" if overrides else path)


def load_profile(profile: str) -> dict[str, Any]:
    """The fields that a profile sets, of every notebook. A `UserError` when there is no such profile, or it sets what
    is not of `OF_PROFILES`."""
    path = paths.params() / "profiles" / f"{profile}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml")))
        raise UserError("--profile", f"no profile {profile}", f"one of {known}")
    values = load_yaml(path)
    for name in values:
        if name not in OF_PROFILES:
            raise UserError(path, f"a profile can't set {name}", f"one of {', '.join(sorted(OF_PROFILES))}")
    return values


def from_notebook(namespace: Mapping[str, Any], notebook: str) -> Any:
    """Parameters from a notebook's `globals()`: those that its cell tagged `parameters` names, in the file or as it was
    run, and those that papermill injected. Papermill only warns of an unknown name; here it is a UserError."""
    text = (paths.notebooks() / f"{notebook}.py").read_text(encoding="utf-8")
    tagged = re.search(r'^# %% tags=\["parameters"\]\n(.*?)(?=^# %%|\Z)', text, re.MULTILINE | re.DOTALL)
    cells = namespace.get("In", [])
    run = [cell for cell in cells if cell.startswith("# Parameters\n") or "experiment" in _assigned(cell)]
    names = [name for source in ([tagged[1]] if tagged else []) + run for name in _assigned(source)]
    values = {name: namespace[name] for name in names if name in namespace}
    parameters = check(notebook, values, f"notebooks/{notebook}")
    check_device(parameters)
    return parameters


def check_device(parameters: SharedParameters) -> None:
    """UserError where it would train on a device that is not here; what is fitted at once always takes the CPU."""
    if isinstance(parameters, TrainedParameters) and parameters.device != "auto" and not parameters.entry.classical:
        from ecglib.training import device

        device.choose(parameters.device)


def _assigned(source: str) -> list[str]:
    """The names to which a cell of plain assignments gives values; none of a cell that is no plain Python."""
    try:
        body = ast.parse(source).body
    except SyntaxError:  # magics
        return []
    return [target.id for one in body if isinstance(one, ast.Assign)
            for target in one.targets if isinstance(target, ast.Name)]  # fmt: skip
