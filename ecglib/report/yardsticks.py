"""Which yardsticks belong beside a network's result: records of their own, paired when a page is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ecglib import config
from ecglib.experiment import record as results
from ecglib.experiment.record import Record
from ecglib.models import registry


def is_yardstick(record: Record) -> bool:
    """Whether a result is of a yardstick and not of a network."""
    model = str(record.parameters.get("model"))
    return model in registry.ENTRIES and registry.entry(model).yardstick


def yardstick_results(notebook: str, every: Mapping[str, Record] | None = None) -> list[Record]:
    """The reference results of a notebook's yardsticks, or those of `every`, in order of the registry."""
    if every is None:
        own = [name for name in config.experiments() if name.partition("/")[0] == notebook]
        named = [name for name in own if registry.entry(getattr(config.load(name), "model", "")).yardstick]
        every = {name: record for name in named if (record := results.reference(name)) is not None}
    found = [record for name, record in every.items() if name.partition("/")[0] == notebook and is_yardstick(record)]
    order = list(registry.ENTRIES)
    return sorted(found, key=lambda record: order.index(record.parameters["model"]))


def beside(record: Record, yardsticks: Sequence[Record]) -> dict[str, Record]:
    """The yardsticks that a network's result is paired with, by their names.

    They read the same data and scored the same parts of it: the database's fingerprint, the labels and the seeds are
    the same, and so is every parameter that says what such a yardstick reads and how it is divided (`read_by`).
    """
    return {
        str(one.parameters["model"]).replace("_", " "): one
        for one in yardsticks
        if not is_yardstick(record) and _like(one, record)
    }


def _like(yardstick: Record, record: Record) -> bool:
    a, b = yardstick, record
    if (a.task, a.data.fingerprint, a.classes, a.seeds) != (b.task, b.data.fingerprint, b.classes, b.seeds):
        return False
    shared = _model(a).read_by(a.parameters["model"])
    return all(a.parameters.get(name) == b.parameters.get(name) for name in shared)


def _model(record: Record) -> type[config.TrainedParameters]:
    return config.TwelveLeadParameters if record.task == "multilabel" else config.InfarctionParameters
