from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ecglib import aami, config
from ecglib.errors import UserError
from ecglib.evaluation.scoring import LOGITS
from ecglib.experiment import heartbeat, tasks
from ecglib.experiment.driver import Where
from ecglib.training import adaptation

SMALL = {
    "model": "ecgnet", "model_options": {"waveform": False, "hidden": 8}, "protocol": "adapted", "cut": "relative",
    "max_epochs": 1, "bootstrap": 0, "deterministic": True, "adaptation_minutes": 0.5, "adaptation_steps": 3,
    "max_beats": 3000,
}  # fmt: skip
HOW = adaptation.How("head", 0.001, 3, 0.0)
HERE = Where(torch.device("cpu"), "float32", "test")


def parameters(**changes: object) -> config.HeartbeatParameters:
    given = SMALL | changes
    if given.get("adaptation") == "statistics":
        del given["adaptation_steps"]
    return config.HeartbeatParameters.model_validate(given)


class Done:
    """What training and adapting gave, with these labels if any."""

    def __init__(self, p: config.HeartbeatParameters, labels: np.ndarray | None = None, **data: object) -> None:
        self.data = heartbeat.Data(p)
        vars(self.data).update(data)
        if labels is not None:
            vars(self.data)["beats"] = self.data.beats.take(np.arange(len(self.data.beats)))
            self.data.beats.labels[:] = labels
        (self.part,) = heartbeat.TASK.parts(self.data, p, 0)
        fitted = heartbeat.TASK.fit(self.data, self.part, p, 0, HERE)
        tables = {kind: table[LOGITS] for kind, table in fitted.tables.items()}
        self.logits, self.unadapted = (tables[kind].to_numpy() for kind in ("predictions", "unadapted"))


@pytest.fixture(scope="module")
def first(lasting: Path) -> Done:
    """Adapted as most tests want it; they only look at it."""
    return Done(parameters())


def test_only_the_rest_of_each_test_record_is_scored(first: Done) -> None:
    scored, early, beats = first.part.scored, first.data.early, first.data.beats
    assert len(scored) and not early[scored].any()
    assert (np.diff(scored) > 0).all()
    everything = first.data.split(0).test
    assert set(everything.tolist()) == set(scored.tolist()) | set(everything[early[everything]].tolist())
    assert (beats.sample[scored] / 360).min() >= 60 * SMALL["adaptation_minutes"]


def test_the_labels_that_are_scored_change_nothing_and_those_of_training_do(first: Done) -> None:
    def changed(index: np.ndarray) -> np.ndarray:
        """All labels, those of these beats dealt out anew."""
        labels = first.data.beats.labels.copy()
        labels[index] = np.random.default_rng(1).permutation(labels[index])
        return labels

    assert np.array_equal(first.logits, Done(parameters(), changed(first.part.scored)).logits)
    assert not np.array_equal(first.unadapted, Done(parameters(), changed(first.part.train)).unadapted)


def test_the_network_before_is_that_of_patients_apart(first: Done) -> None:
    p = parameters()
    record = heartbeat.run(p).record
    inter = heartbeat.run(p.model_copy(update={"protocol": "inter", "adaptation_minutes": 5.0, "adaptation_steps": 50}))
    predicted = inter.predictions().set_index("index").loc[first.part.scored]
    logits = predicted[LOGITS].to_numpy()
    np.testing.assert_allclose(first.unadapted, logits, atol=1e-5)
    right = (logits.argmax(1) == predicted["label"]).mean()
    assert record.unadapted["metrics"]["accuracy"]["mean"] == pytest.approx(right)
    assert record.unadapted["by_record"].keys() == record.by_record.keys()
    assert record.moved is None, "of networks adapted to each record, none has thresholds to move"


def test_the_labels_of_the_first_minutes_do_count(lasting: Path) -> None:
    p = parameters(adaptation="all", adaptation_rate=0.01)
    done = Done(p)
    test, labels = done.data.split(0).test, done.data.beats.labels.copy()
    shown = test[done.data.early[test]]
    labels[shown] = (labels[shown] + 1) % 4
    assert not np.array_equal(done.logits, Done(p, labels).logits)


def test_in_development_the_validation_records_stand_in(lasting: Path) -> None:
    done, record = Done(parameters(test=False)), heartbeat.run(parameters(test=False)).record
    names = done.data.beats.record
    assert set(names.tolist()) <= set(aami.DS1)
    assert set(names[done.part.scored].tolist()) <= set(aami.DS1_VALIDATION)
    assert record.scored == "val"
    assert sum(map(sum, record.confusion[0])) == record.data.n_val


def test_statistics_need_batch_normalisation(lasting: Path) -> None:
    with pytest.raises(UserError, match="no batch normalisation"):
        tasks.key_of(parameters(adaptation="statistics"))  # before anything is trained


def adapted(p: config.HeartbeatParameters, how: adaptation.How, own: np.ndarray, others: np.ndarray) -> set[str]:
    """Names of the tensors that adapting to these beats moves."""
    beats = heartbeat.Data(p).beats
    model = heartbeat.model_maker(p)().eval()
    examples = heartbeat.Fitting(p, beats, 0, HERE, heartbeat.macro_classes(p.protocol)).examples
    found = adaptation.adapted(model, how, beats, own, others, examples, 0, HERE.device)
    return {name for name, v in found.state_dict().items() if not torch.equal(v, model.state_dict()[name])}


def test_statistics_move_batch_normalisation_alone(lasting: Path) -> None:
    p = parameters(model_options={"hidden": 8, "width": 4}, adaptation="statistics", leads=["MLII"])
    moved = adapted(p, replace(HOW, what="statistics"), np.arange(40), np.arange(40))
    assert moved
    assert all(name.rsplit(".", 1)[1] in ("running_mean", "running_var", "num_batches_tracked") for name in moved)


def test_the_head_is_the_last_layer_and_no_beats_change_nothing(lasting: Path) -> None:
    assert adapted(parameters(), HOW, np.arange(30), np.arange(100, 200)) == {"head.3.weight", "head.3.bias"}
    assert adapted(parameters(), HOW, np.arange(0), np.arange(30)) == set()


def test_a_record_that_is_over_before_the_rest_begins_is_left_out(first: Done) -> None:
    data = first.data
    name = data.beats.record[data.split(0).test[0]]
    done = Done(parameters(), early=data.early | (data.beats.record == name))
    assert name not in data.beats.record[done.part.scored]
    with pytest.raises(UserError, match="no beat after minute"):
        Done(parameters(), early=np.ones(len(data.beats), dtype=bool))
