from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from ecglib import config, paths
from ecglib.data import databases
from ecglib.errors import UserError
from ecglib.experiment import heartbeat, tasks
from ecglib.training import adaptation, classifier

SMALL = {
    "model": "ecgnet",
    "model_options": {"waveform": False, "hidden": 8},
    "protocol": "adapted",
    "cut": "relative",
    "max_epochs": 1,
    "bootstrap": 0,
    "deterministic": True,
    "adaptation_minutes": 0.5,
    "adaptation_steps": 3,
    "max_beats": 3000,
}


FOLDERS = itertools.count()


def parameters(**changes: object) -> config.HeartbeatParameters:
    given = SMALL | changes
    if given.get("adaptation") == "statistics":
        del given["adaptation_steps"]
    return config.HeartbeatParameters.model_validate(given)


def trained(
    p: config.HeartbeatParameters, *, labels: np.ndarray | None = None
) -> tuple[adaptation.Adapted, np.ndarray]:
    source = databases.get("mitdb")
    beats = classifier.load_beats(p, source)
    early = adaptation.within(beats, source, p.adaptation_minutes)
    if labels is not None:
        beats = beats.take(np.arange(len(beats)))
        beats.labels[:] = labels
    folder = paths.runs() / f"{next(FOLDERS)}"  # of its own, so that no training goes on from another's checkpoint
    how = {"device": torch.device("cpu"), "precision": "float32", "folder": folder, "key": "k"}
    return adaptation.train(p, beats, early, 0, **how), early


def test_only_the_rest_of_each_test_record_is_scored(project: Path) -> None:
    p = parameters()
    done, early = trained(p)
    beats = classifier.load_beats(p, databases.get("mitdb"))
    assert len(done.scored) and not early[done.scored].any()
    assert (np.diff(done.scored) > 0).all()
    everything = classifier.divided(p, beats, 0).test
    assert set(everything.tolist()) == set(done.scored.tolist()) | set(everything[early[everything]].tolist())
    assert np.array_equal(done.split.test, done.scored)
    seconds = beats.sample[done.scored] / 360
    assert seconds.min() >= 60 * p.adaptation_minutes


def test_the_labels_that_are_scored_change_nothing(project: Path) -> None:
    p = parameters()
    first, _ = trained(p)
    labels = classifier.load_beats(p, databases.get("mitdb")).labels.copy()
    labels[first.scored] = np.random.default_rng(1).permutation(labels[first.scored])
    again, _ = trained(p, labels=labels)
    assert np.array_equal(first.logits, again.logits)


def test_training_labels_do_count(project: Path) -> None:
    """Else the test before this one would pass on networks that were never trained."""
    p = parameters()
    first, _ = trained(p)
    labels = classifier.load_beats(p, databases.get("mitdb")).labels.copy()
    labels[first.split.train] = np.random.default_rng(1).permutation(labels[first.split.train])
    again, _ = trained(p, labels=labels)
    assert not np.array_equal(first.unadapted, again.unadapted)


def test_the_network_before_is_that_of_patients_apart(project: Path) -> None:
    p = parameters()
    done, _ = trained(p)
    record = heartbeat.run(p).record
    inter = heartbeat.run(p.model_copy(update={"protocol": "inter", "adaptation_minutes": 5.0, "adaptation_steps": 50}))
    predicted = inter.predictions().set_index("index").loc[done.scored]
    logits = predicted[[column for column in predicted if column.startswith("logit_")]].to_numpy()
    np.testing.assert_allclose(done.unadapted, logits, atol=1e-5)
    right = (logits.argmax(1) == predicted["label"]).mean()
    assert record.unadapted["metrics"]["accuracy"]["mean"] == pytest.approx(right)
    assert record.unadapted["by_record"].keys() == record.by_record.keys()


def test_the_labels_of_the_first_minutes_do_count(project: Path) -> None:
    p = parameters(adaptation="all", adaptation_rate=0.01)
    first, early = trained(p)
    beats = classifier.load_beats(p, databases.get("mitdb"))
    test = classifier.divided(p, beats, 0).test
    labels = beats.labels.copy()
    shown = test[early[test]]
    labels[shown] = (labels[shown] + 1) % 4
    again, _ = trained(p, labels=labels)
    assert not np.array_equal(first.logits, again.logits)


def test_in_development_the_validation_records_stand_in(project: Path) -> None:
    from ecglib import aami

    p = parameters(test=False)
    done, _ = trained(p)
    beats = classifier.load_beats(p, databases.get("mitdb"))
    assert set(beats.record.tolist()) <= set(aami.DS1)
    assert set(beats.record[done.scored].tolist()) <= set(aami.DS1_VALIDATION)


def test_a_development_run_is_recorded(project: Path) -> None:
    record = heartbeat.run(parameters(test=False)).record
    assert record.scored == "val"
    assert sum(map(sum, record.confusion[0])) == record.data.n_val


def test_statistics_need_batch_normalisation(project: Path) -> None:
    with pytest.raises(UserError, match="no batch normalisation"):
        tasks.key_of(parameters(adaptation="statistics"))  # before anything is trained


def test_statistics_move_batch_normalisation_alone(project: Path) -> None:
    p = parameters(model_options={"hidden": 8, "width": 4}, adaptation="statistics", leads=["MLII"])
    source = databases.get("mitdb")
    beats = classifier.load_beats(p, source)
    model = classifier.model_maker(p)().eval()
    own = np.arange(40)
    adapted = adaptation.adapted_to(model, p, beats, own, own, 0, torch.device("cpu"))
    moved = {n for n, v in adapted.state_dict().items() if not torch.equal(v, model.state_dict()[n])}
    assert moved
    assert all(name.rsplit(".", 1)[1] in ("running_mean", "running_var", "num_batches_tracked") for name in moved)


def test_the_head_is_the_last_layer_and_no_beats_change_nothing(project: Path) -> None:
    p = parameters()
    beats = classifier.load_beats(p, databases.get("mitdb"))
    model = classifier.model_maker(p)().eval()
    own = np.arange(30)
    adapted = adaptation.adapted_to(model, p, beats, own, np.arange(100, 200), 0, torch.device("cpu"))
    moved = {n for n, v in adapted.state_dict().items() if not torch.equal(v, model.state_dict()[n])}
    assert moved == {"head.3.weight", "head.3.bias"}
    same = adaptation.adapted_to(model, p, beats, own[:0], own, 0, torch.device("cpu"))
    assert all(torch.equal(v, model.state_dict()[n]) for n, v in same.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"model": "seq2seq", "model_options": {}, "cut": "kachuee"}, "seq2seq can't learn on"),
        ({"model": "hydra", "model_options": {}, "cut": "kachuee"}, "hydra can't learn on"),
        ({"imbalance": "focal"}, "focal would be undone by the adaptation"),
        ({"protocol": "inter"}, "adaptation_minutes: only means something with protocol: adapted"),
        ({"adaptation_minutes": 6.0}, "adaptation_minutes"),
    ],
)
def test_what_means_nothing_is_refused(changes: dict[str, object], word: str) -> None:
    with pytest.raises(UserError, match=word):
        config.check("heartbeat", SMALL | changes, "here")


def test_a_record_that_is_over_before_the_rest_begins_is_left_out(project: Path) -> None:
    p = parameters()
    source = databases.get("mitdb")
    beats = classifier.load_beats(p, source)
    early = adaptation.within(beats, source, p.adaptation_minutes)
    test = classifier.divided(p, beats, 0).test
    name = beats.record[test[0]]
    early = early | (beats.record == name)
    how = {"device": torch.device("cpu"), "precision": "float32", "folder": paths.runs() / "x", "key": "k"}
    done = adaptation.train(p, beats, early, 0, **how)
    assert name not in beats.record[done.scored]
    with pytest.raises(UserError, match="no beat after minute"):
        adaptation.train(p, beats, np.ones(len(beats), dtype=bool), 0, **{**how, "key": "l"})
