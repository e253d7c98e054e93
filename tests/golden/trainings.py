"""Tiny trainings of every kind, on excerpts of real records, and the numbers that they must give.

Networks are narrow, steps few. All is in float64: there, processors differ in the 14th digit, while in float32 they
drift by more than many an edit does. A case covers what a pair of choices does: every network meets every answer to
imbalance that it allows, each under another protocol or another way of transfer in turn.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, Final

import noises
import numpy as np
import pytest
import readers
import torch
from safetensors.torch import load_file, save_file

from ecglib import aami, config, paths, tracking
from ecglib.config import HeartbeatParameters, InfarctionParameters, TwelveLeadParameters
from ecglib.data import databases, detection, digest, records
from ecglib.data.catalogues import snomed
from ecglib.evaluation import challenge, matching, metrics
from ecglib.experiment import comparison, driver, heartbeat, infarction, provenance, tasks, twelve_lead
from ecglib.experiment.record import Record
from ecglib.models import registry
from ecglib.training import augmentation, checkpoint

DATA: Final = Path(__file__).parent / "data"
COMMON: Final[dict[str, Any]] = {"device": "cpu", "precision": "float32", "bootstrap": 5}
NARROW: Final[dict[str, dict[str, Any]]] = {
    "cnet": {"width": 4},
    "bilstm": {"hidden": 4},
    "bigru": {"hidden": 4},
    "seq2seq": {"hidden": 4},
    "hydra": {"groups": 2},
    "strided_cnn": {"channels": 4},
}
"""Options of networks that can be narrower."""
PROTOCOLS: Final = ("intra", "inter")
IMBALANCES: Final = (
    "none", "weighted", "effective-number", "focal", "logit-adjustment", *config.RESAMPLERS,
)  # fmt: skip
YARDSTICKS: Final = ("age_and_sex", "median_beat", "kernel_machine")
WAYS: Final = ("scratch", "frozen", "finetune", "gradual")

Digest = dict[str, Any]


# --- what a training gave ---------------------------------------------------------------------------------------------


def _weights(folder: Path) -> list[float]:
    """Norms of all kept weights, and of each file's in its place."""
    files = sorted(folder.glob("weights-seed*.safetensors"))
    norms = [float(t.double().norm()) for file in files for t in load_file(file).values()]
    return [float(np.linalg.norm(norms)), float(np.dot(norms, np.arange(1, len(norms) + 1)))]


def _walk(value: Any) -> Iterator[Any]:
    """A value of JSON, and all values in it."""
    yield value
    within = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    for each in within:
        yield from _walk(each)


def _evaluation(record: Record) -> dict[str, Any]:
    """Means of the metrics, and a norm over every number in the record."""
    parts = (
        "metrics", "per_class", "ec57", "without_202", "unadapted", "confusion", "moved", "infarction", "twelve_lead",
    )  # fmt: skip
    content = record.model_dump(mode="json")
    values = _walk([content.get(part) or {} for part in parts])
    numbers = [float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    means = {name: value.mean for name, value in record.metrics.items()}
    return {"all": [float(np.linalg.norm(numbers)), len(numbers)], **means}


def _history(run: driver.Run) -> list[dict[str, Any]]:
    """Every epoch of every network of the first seed, as the run noted it."""
    noted = json.loads((run.folder / "training-seed0.json").read_text(encoding="utf-8"))
    return [epoch for value in _walk(noted) if isinstance(value, dict) for epoch in value.get("history", [])]


# --- the cases --------------------------------------------------------------------------------------------------------


def _pretrained(p: InfarctionParameters) -> None:
    """The weights file that is transferred: a network of beats as it is drawn, in either of both forms."""
    torch.manual_seed(7)
    state = registry.build(p.model, 1, 187, len(aami.CLASSES), **p.model_options).state_dict()
    path = paths.root() / p.pretrained
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({f"module.{name}": tensor for name, tensor in state.items()}, path)


def _heartbeats() -> Iterator[tuple[str, HeartbeatParameters]]:
    for (i, entry), (j, imbalance) in product(enumerate(registry.OF_BEATS.values()), enumerate(IMBALANCES)):
        forms: dict[str, dict[str, Any]] = {"": {}}
        if entry.takes == "sequence":
            forms["-one-beat"] = {"beats_per_sequence": 1}
        for form, more in forms.items():
            protocol = PROTOCOLS[(i + j + entry.classical) % 2]
            given = _common(entry.name) | more | {"imbalance": imbalance, "protocol": protocol}
            given |= {"beats_per_epoch": 200} if entry.classical else {"max_epochs": 1, "batch_size": 64}
            if entry.reads_features:
                given["cut"] = "relative"
            with contextlib.suppress(ValueError):  # these don't go together
                p = HeartbeatParameters(**given)
                yield f"heartbeat/{entry.name}{form}-{imbalance}-{p.protocol}", p
    one = {"max_epochs": 2, "batch_size": 64, "model": "cnet", "model_options": NARROW["cnet"]}
    rhythm = {**one, "model": "ecgnet", "model_options": {"waveform": False, "feature_noise": 0.05}, "cut": "relative"}
    early = {"protocol": "adapted", "adaptation_minutes": 0.15, "adaptation_steps": 2}
    statistics = {"adaptation": "statistics", "protocol": "adapted", "adaptation_minutes": 0.15}
    for name, given in {
        "by-record": {**rhythm, "protocol": "inter", "sampling": "by-record", "label_smoothing": 0.05, "ema": None},
        "cosine": {**one, "schedule": "cosine", "gradient_clip": None, "weight_decay": 0.1, "batch_size": 256},
        "refit": {**one, "refit": True, "beats_per_epoch": 200},
        "stopped": {**one, "max_epochs": 8, "patience": 1, "learning_rate": 0.1, "max_beats": 200},
        "development": {**one, "protocol": "inter", "test": False},
        "features": {**rhythm, "features": ["*_relative", "rr+0_to_mean"], "max_epochs": 1},
        "centred": {**one, "cut": "centred", "leads": ["MLII", "V1"]},
        "adapted-head": {**one, **early, "adaptation": "head"},
        "adapted-all": {**rhythm, **early, "adaptation": "all", "sampling": "by-record"},
        "adapted-statistics": {**one, **statistics, "model": "enhanced_cnn", "model_options": {}},
    }.items():
        yield f"heartbeat/{name}", HeartbeatParameters(**{**COMMON, **given})


def _infarctions() -> Iterator[tuple[str, InfarctionParameters]]:
    given: dict[str, Any] = {"folds": 3, "max_epochs": 1, "batch_size": 250, "hidden": 4}
    answers = ("weighted", "smote", "smote-tomek", "random-over", "random-under")
    for (i, model), (j, imbalance) in product(enumerate(("cnet", "bilstm", "bigru", "seq2seq")), enumerate(answers)):
        way = WAYS[(i + j) % len(WAYS)]
        more = {"pretrained": f"{model}.safetensors"} if way != "scratch" else {}
        p = InfarctionParameters(**_common(model), **given, imbalance=imbalance, way=way, **more)
        yield f"infarction/{model}-{imbalance}-{way}", p
    aligned = _common("strided_cnn") | {"folds": 3, "max_epochs": 1, "batch_size": 250, "networks": 2, "way": "scratch"}
    for imbalance in answers:
        yield f"infarction/aligned-{imbalance}", InfarctionParameters(**aligned, imbalance=imbalance)
    two = _common("cnet") | given | {"way": "finetune", "pretrained": "cnet.safetensors"}
    for name, more in {
        "leads": {"leads": ["II", "V2", "AVR"], "ema": 0.9, "label_smoothing": 0.1, "pretrained": "cnet.pt"},
        "curve": {"curve": [4, 6], "max_records": 14},
        "by-beat": {"protocol": "by-beat", "noise": 0.0},
    }.items():
        yield f"infarction/{name}", InfarctionParameters(**{**two, **more})
    for model in YARDSTICKS:
        yield f"infarction/{model}", InfarctionParameters(**_common(model), folds=3, way="scratch")
    yield "infarction/aligned-leads", InfarctionParameters(**aligned, leads=["I", "V6"])


def _twelve_leads() -> Iterator[tuple[str, TwelveLeadParameters]]:
    given: dict[str, Any] = {"max_epochs": 2, "min_positives": 3, "fewest_per_epoch": 16, "batch_size": 8}
    answers = ("none", "weighted", "focal")
    for (i, model), (j, imbalance) in product(enumerate(("crnn", "xresnet1d")), enumerate(answers)):
        own = {"imbalance": imbalance, "test_folds": [9 + (i + j) % 2], "crop_seconds": 2.0}
        p = TwelveLeadParameters(**_common(model), **given, **own)
        yield f"twelve-lead/{model}-{imbalance}", p
    challenge = {"database": "challenge-2021", "labels": "scored", "rate": 125.0, "crop_seconds": 0.0}
    quiet = {"test_folds": [10], "wander": 0.0, "muscle": 0.0, "max_epochs": 1, "min_positives": 1}
    folds = {"test_folds": [1, 4, 5, 8], "max_epochs": 1}
    yield "twelve-lead/folds", TwelveLeadParameters(**_common("xresnet1d"), **{**given, **folds})
    for model in YARDSTICKS:
        yield f"twelve-lead/{model}", TwelveLeadParameters(**_common(model), min_positives=3, test_folds=[1, 5])
    yield "twelve-lead/padded", TwelveLeadParameters(**_common("xresnet1d"), **{**given, **challenge, **quiet})


def _cuts() -> Iterator[tuple[str, Any]]:
    """What is only cut and divided."""
    seeds = {"seeds": [0, 1]}
    for cut in ("kachuee", "centred", "relative"):
        leads = {"leads": ["MLII"] if cut == "kachuee" else ["V1", "MLII"]}
        for protocol in PROTOCOLS:
            p = HeartbeatParameters(model="baseline_cnn", cut=cut, protocol=protocol, **leads, **seeds)
            yield f"data/{cut}-{protocol}", p
    yield "data/few-beats", HeartbeatParameters(max_beats=200, **seeds)
    for leads in (["II"], ["AVR", "V3"]):
        yield f"data/infarction-{len(leads)}", InfarctionParameters(way="scratch", folds=4, leads=leads, **seeds)
        aligned = {"way": "scratch", "model": "strided_cnn", "folds": 4}
        yield f"data/aligned-{len(leads)}", InfarctionParameters(**aligned, leads=leads, **seeds)
    yield "data/by-beat", InfarctionParameters(way="scratch", protocol="by-beat", max_records=12)
    for rate in (100.0, 250.0):
        yield f"data/twelve-lead-{rate:g}", TwelveLeadParameters(rate=rate, min_positives=3, test_folds=[1, 9, 10])
    challenge = {"database": "challenge-2021", "labels": "scored", "min_positives": 1, "test_folds": [10]}
    yield "data/challenge", TwelveLeadParameters(**challenge)


def _functions() -> dict[str, Callable[[], Digest]]:
    """What no training needs, but pages and users do; and readers of files as they are in the wild."""

    def drawn() -> np.random.Generator:  # for each case its own, so that one gives the same alone
        return np.random.default_rng(3)

    def comparison_() -> Digest:
        names = ("heartbeat/nearest_neighbour-smote-inter", "heartbeat/hydra-smote-tomek-inter")
        two = [heartbeat.run(parameters()[name]).record for name in names]
        tested = comparison.mcnemar(*two)
        gained = comparison.difference(*two, lambda matrices: metrics.summary(matrices, [0, 1, 2])["macro_f1"], 20)
        return {"mcnemar": tested, "difference": gained.model_dump()}

    def rewards() -> Digest:
        codes = [each.code for each in snomed.CLASSES]
        y, given = drawn().random((2, 40, len(codes))) < 0.2
        (score,) = challenge.scores(y, given, np.ones((1, len(y)), dtype=np.int64), codes).tolist()
        return {"rewards": digest.of(r=challenge.rewards(codes))["r"], "score": score}

    def attention() -> Digest:
        torch.manual_seed(5)
        network = registry.build("crnn", 12, 300, 2).eval()
        x = torch.from_numpy(drawn().normal(size=(2, 12, 300)))
        with torch.no_grad():
            given = [network.attention(x), network.attention(x, torch.tensor([300, 180]))]
        return dict(digest.of(whole=given[0].numpy(), padded=given[1].numpy()))

    def loaded() -> Digest:
        run = heartbeat.run(parameters()["heartbeat/nearest_neighbour-none-intra"])
        x = torch.from_numpy(drawn().random((30, 1, 187)))
        return dict(digest.of(logits=run.model(0).predict_logits(x)))

    def detection_() -> Digest:
        """R peaks of each record beside the annotated ones: where, and the classes if these took turns."""
        given: Digest = {}
        for name in (source := databases.get("mitdb")).records:
            recording = records.read_recording(source.folder, name)  # of two leads
            marks = records.read_annotations(source.folder, name)
            known = [(at, aami.index_of(mark)) for at, mark in zip(marks.samples, marks.symbols, strict=True)]
            true, labels = np.array([beat for beat in known if beat[1] is not None]).T
            found = detection.of_recording(recording, recording)
            matched = matching.match(true, found, recording.fs)
            matrix = matching.confusion(matched, labels, np.arange(len(found)) % 5, 5)
            veb = metrics.ec57(matrix, list(aami.CLASSES))["VEB"]
            rates = [float(value) for value in (*matching.detection(matrix).values(), veb["fpr"])]
            given[name] = [int(found.sum()), matrix.tolist(), rates]
        return given

    return {
        "evaluation/comparison": comparison_,
        "evaluation/detection": detection_,
        "evaluation/rewards": rewards,
        "evaluation/attention": attention,
        "evaluation/loaded": loaded,
        "data/readers": readers.numbers,
    }


def _common(model: str) -> dict[str, Any]:
    return COMMON | {"model": model, "model_options": NARROW.get(model, {})}


@cache
def parameters() -> dict[str, Any]:
    """Name of every case -> its parameters, or the function that gives its numbers."""
    return _functions() | dict([*_cuts(), *_heartbeats(), *_infarctions(), *_twelve_leads()])


def numbers(name: str) -> Digest:
    """The numbers that a case gives."""
    p = parameters()[name]
    if callable(p):
        found: Digest = p()
        return found
    if name.startswith("data/"):
        return dict(tasks.of(p).data(p).digest())
    if p.database == "ptb-xl" and isinstance(p, InfarctionParameters) and p.way != "scratch":
        _pretrained(p)
    run: driver.Run
    if isinstance(p, HeartbeatParameters):
        run = heartbeat.run(p)
        scores = run.predictions()
    else:
        run = infarction.run(p) if isinstance(p, InfarctionParameters) else twelve_lead.run(p)
        scores = run.scores()
    columns = [name for name in scores if str(name).startswith(("logit_", "score", "p:", "t:"))]
    history = _history(run)
    return {
        "train_loss": [epoch["train_loss"] for epoch in history],
        "val_loss": [epoch["val_loss"] for epoch in history],
        "weights": _weights(run.folder),
        "scores": digest.of(scores=scores[columns].to_numpy())["scores"],
        "offsets": [] if run.record.moved is None else run.record.moved.offsets,
        "evaluation": _evaluation(run.record),
    }


@contextlib.contextmanager
def place() -> Iterator[None]:
    """Within, torch makes float64, one thread works, and the project is an empty folder with the excerpts as data.

    What is the same of every case is asked once, and nothing is kept to be resumed.
    """
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        (Path(folder) / "_quarto.yml").touch()
        patch.setenv("ECGLIB_ROOT", folder)
        patch.setenv("ECGLIB_DATA", str(DATA))
        patch.setattr(tracking, "log", lambda record, folder: "")
        patch.setattr(checkpoint, "save", lambda path, state: None)
        patch.setattr(augmentation, "load_noise", noises.made_up)
        for owner, name in ((databases, "get"), (databases.Source, "fingerprint"), (provenance, "versions")):
            patch.setattr(owner, name, cache(getattr(owner, name)))
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_default_dtype(torch.float32)
            torch.set_num_threads(threads)
