"""A result record whose metrics follow from its random confusion matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecglib.aami import CLASSES
from ecglib.evaluation import scoring
from ecglib.experiment.record import DataCard, Moved, Record, Resampling
from ecglib.training.history import Epoch, SeedRun

_BEATS = (18_118, 556, 1_447, 161, 1_608)


def example_record(
    experiment: str = "heartbeat/baseline",
    *,
    seeds: Sequence[int] = (0, 1, 2),
    profile: str = "full",
    protocol: str = "intra",
    sample: bool = False,
    epochs: int = 6,
    key: str = "a1b2c3d4e5f6",
    draw: int = 0,
) -> Record:
    """Build a record of `experiment`; `draw` seeds the random confusion matrices and learning curves."""
    rng = np.random.default_rng(draw)
    matrices = np.array([_matrix(rng) for _ in seeds])
    inter = protocol == "inter"
    macro = [k for k, name in enumerate(CLASSES) if not inter or name != "Q"]
    scores = scoring.scores(matrices[:, None], macro, n_resamples=20, nsv=inter)
    record = Record(
        experiment=experiment,
        title=experiment.split("/")[1].replace("-", " ").capitalize(),
        key=key,
        profile=profile,
        task="multiclass",
        data=_data(matrices[0].sum(axis=1).tolist(), sample),
        parameters={"model": "cnet", "protocol": protocol, "cut": "kachuee", "imbalance": "none"}
        | {"refit": False, "learning_rate": 0.001, "ema": None},
        seeds=list(seeds),
        classes=list(CLASSES),
        macro_classes=[CLASSES[k] for k in macro],
        selection="macro_f1",
        **scores,
        without_202=scores if inter else {},
        intervals=Resampling(unit="record", n=1000),
        confusion=matrices.tolist(),
        training=[_training(rng, seed, epochs) for seed in seeds],
        n_parameters=53_957,
        train_seconds=150.0,
        hardware="2 cores",
        versions={"torch": "2.13.0"},
        precision="float32",
        commit="c0ffee" * 6,
        created="2025-01-02T03:04:05+00:00",
    )
    return Record.model_validate_json(record.model_dump_json())  # as a file gives it


def _data(of_class: Sequence[int], sample: bool) -> DataCard:
    counts = dict(zip(CLASSES, of_class, strict=True))
    return DataCard(
        name="mitdb", sample=sample, fingerprint="0123456789abcdef" * 4, n_train=78_778, n_val=8_754,
        n_test=sum(of_class), test_indices_sha256="f" * 64, left_out={"no next beat": 48},
        class_counts={"train": {k: 4 * n for k, n in counts.items()}, "val": counts, "test": counts},
    )  # fmt: skip


def with_moved(record: Record, other: Record, created: str = "2025-01-02T03:04:05+00:00") -> Record:
    """The record with the decision of another in the place of that with moved thresholds."""
    moved = Moved(
        offsets=[[0.0, 1.0, 0.0, 0.5, 0.0]] * len(record.seeds),
        validation=[0.999] * len(record.seeds),
        validation_recall=[0.999] * len(record.seeds),
        created=created,
        **{name: value for name, value in other if name in Moved.model_fields and name != "created"},
    )
    return record.model_copy(update={"moved": moved})


def _matrix(rng: np.random.Generator) -> NDArray[np.int64]:
    """Beats of every class, nine tenths or more of which are taken for what they are."""
    n = len(_BEATS)
    chances = 0.9 * np.eye(n) + 0.1 * rng.dirichlet(np.full(n, 0.6), n)
    return rng.multinomial(_BEATS, chances)


def _training(rng: np.random.Generator, seed: int, epochs: int) -> SeedRun:
    history = [
        Epoch(epoch=k, train_loss=0.6 / k, val_loss=0.7 / k, val_metric=0.9 - 0.4 / k + rng.normal(0, 0.008),
              learning_rate=1e-3, seconds=9.0)
        for k in range(1, epochs + 1)
    ]  # fmt: skip
    best = max(history, key=lambda one: one.val_metric or 0.0)
    return SeedRun(
        seed=seed, best_epoch=best.epoch, epochs_run=epochs, stopped_early=False, examples_per_epoch=78_592,
        validation=best.val_metric, history=history,
    )  # fmt: skip


def _hand(*per_seed: float | None) -> dict[str, Any]:
    defined = [value for value in per_seed if value is not None]
    mean = sum(defined) / len(defined) if defined else None
    low, high = (None, None) if mean is None else (mean - 0.01, mean + 0.01)
    return {"mean": mean, "low": low, "high": high, "per_seed": list(per_seed)}


def hand_counted() -> dict[str, Any]:
    """A result record of two seeds and three classes, the third without a beat; its scores were counted by hand."""
    f1 = {"N": (32 / 37, 6 / 7), "V": (8 / 13, 2 / 3), "Q": (None, 0.0)}
    return {
        "experiment": "heartbeat/baseline", "profile": "full", "task": "multiclass",
        "data": {
            "name": "mitdb", "sample": False, "fingerprint": "0", "n_train": 10, "n_val": 5, "n_test": 25,
            "test_indices_sha256": "0",
        },
        "parameters": {"model": "cnet"}, "seeds": [0, 1], "classes": ["N", "V", "Q"],
        "metrics": {
            "macro_f1": _hand((f1["N"][0] + f1["V"][0]) / 2, (f1["N"][1] + f1["V"][1] + 0.0) / 3),
            "macro_recall": _hand((16 / 20 + 4 / 5) / 2, (15 / 20 + 4 / 5) / 2),
            "accuracy": _hand(20 / 25, 19 / 25),
            "balanced_accuracy": _hand((16 / 20 + 4 / 5) / 2, (15 / 20 + 4 / 5) / 2),
            "mcc": _hand(120 / (200 * 272) ** 0.5, 140 / (200 * 342) ** 0.5),
        },
        "per_class": {
            "N": {
                "se": _hand(16 / 20, 15 / 20), "ppv": _hand(16 / 17, 15 / 15),
                "f1": _hand(*f1["N"]), "specificity": _hand(4 / 5, 5 / 5),
            },
            "V": {
                "se": _hand(4 / 5, 4 / 5), "ppv": _hand(4 / 8, 4 / 7),
                "f1": _hand(*f1["V"]), "specificity": _hand(16 / 20, 17 / 20),
            },
            "Q": {
                "se": _hand(None, None), "ppv": _hand(None, 0.0),
                "f1": _hand(*f1["Q"]), "specificity": _hand(1.0, 22 / 25),
            },
        },
        "intervals": {"unit": "record", "n": 100},
        "confusion": [[[16, 4, 0], [1, 4, 0], [0, 0, 0]], [[15, 3, 2], [0, 4, 1], [0, 0, 0]]],
        "train_seconds": 1.0, "hardware": "", "versions": {}, "precision": "float32", "commit": "", "created": "",
    }  # fmt: skip
