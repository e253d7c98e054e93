"""No search reads a test set: what it finds does not depend on one, whatever that holds, or whether it is there."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from projects import make_project
from sklearn.metrics import roc_auc_score

from ecglib import aami, config, paths, tracking
from ecglib.config import HeartbeatParameters, InfarctionParameters, TwelveLeadParameters
from ecglib.data import databases, infarction, splits
from ecglib.errors import UserError
from ecglib.evaluation import binary
from ecglib.experiment import infarction as of_infarctions
from ecglib.experiment import tasks, twelve_lead
from ecglib.experiment.driver import Where
from ecglib.experiment.recipes import Trained
from ecglib.training.history import Epoch
from ecglib.tuning import trial
from ecglib.tuning.trial import Place

pytestmark = pytest.mark.filterwarnings("ignore")
HERE = Place("cpu", "float32")
SHORT: dict[str, Any] = {
    "max_epochs": 1,
    "bootstrap": 0,
    "device": "cpu",
    "precision": "float32",
    "deterministic": True,
}
BASES: dict[str, tuple[Trained, str]] = {
    "heartbeat": (HeartbeatParameters(protocol="inter", max_beats=400, **SHORT), "macro_f1"),
    "infarction": (InfarctionParameters(way="scratch", protocol="held-out", folds=3, epochs=1, **SHORT), "auroc"),
    "twelve-lead": (
        TwelveLeadParameters(test_folds=[10], min_positives=4, fewest_per_epoch=16, **SHORT), "macro_auroc"
    ),
}  # fmt: skip
"""Task -> an experiment, and what its trials are judged by."""


def noise(path: Path) -> None:
    size = path.stat().st_size
    path.write_bytes(np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8).tobytes())


POISONS: dict[str, tuple[Callable[[Path], object], bool]] = {
    "other signals": (noise, False),
    "other labels": (lambda path: None, True),
    "no signals": (Path.unlink, True),
}
"""What happens to a test set: to each file of its signals, and whether its labels change."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, small_mitdb: Path) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracking, "log", lambda record, folder: None)
        patch.setattr(infarction, "held_out", held_out)
        patch.setattr(of_infarctions, "FEWEST", 100)
        yield make_project(tmp_path_factory.mktemp("untested") / "project", small_mitdb, patch)


drawn = infarction.held_out
held: dict[str, frozenset[str]] = {}


def held_out(source: databases.Source) -> frozenset[str]:
    """As it is drawn from the tables that are not poisoned: the draw is by diagnosis."""
    if not held:
        held["patients"] = drawn(source)
    return held["patients"]


@pytest.fixture(autouse=True)
def data(root: Path, small_mitdb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the small databases, which a test may change."""
    copy = shutil.copytree(small_mitdb, tmp_path / "data")
    monkeypatch.setenv("ECGLIB_DATA", str(copy))
    monkeypatch.setattr(trial, "PREPARED", {})
    return copy


def developed(task: str, **changes: Any) -> Trained:
    base, metric = BASES[task]
    return trial.in_development(base.model_copy(update=changes), {}, metric, 0)


def found(p: Trained) -> list[dict[str, Any]]:
    """The epochs of a trial: losses too, as the metric of a few recordings hardly moves."""
    task, epochs = tasks.of(p), []

    def noted(*given: Any) -> Iterator[Epoch]:
        for epoch in task.epochs(*given):
            epochs.append(epoch.model_dump(exclude={"seconds"}))
            yield epoch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "of", lambda p: replace(task, epochs=noted))
        assert [epoch.value for epoch in trial.epochs(p, HERE)] == [one["val_metric"] for one in epochs]
    return epochs


def poison(task: str, data: Path, what: str) -> None:
    """Change the signals, and maybe the labels, of all that is tested."""
    change, labels = POISONS[what]
    if task == "heartbeat":
        for name in aami.DS2:
            change(data / "mitdb" / f"{name}.dat")
            if labels:
                shutil.copy(data / "mitdb" / "208.atr", data / "mitdb" / f"{name}.atr")
        return
    table = pd.read_csv(data / "ptb-xl" / "ptbxl_database.csv")
    tested = table["strat_fold"] == 10
    if task == "infarction":
        tested = table["patient_id"].astype(int).astype(str).isin(held_out(databases.get("ptb-xl")))
    assert 0 < tested.sum() < len(table) / 2
    for file in table["filename_hr"][tested]:
        change(data / "ptb-xl" / f"{file}.dat")
    if labels:
        sick = table["scp_codes"].str.contains("IMI")
        table.loc[tested, "scp_codes"] = np.where(sick[tested], "{'NORM': 100.0}", "{'IMI': 100.0}")
        table.to_csv(data / "ptb-xl" / "ptbxl_database.csv", index=False)


@pytest.fixture(scope="module")
def clean() -> dict[str, list[dict[str, Any]]]:
    """Task -> what its trial gives with the test set as it is."""
    return {}


@pytest.mark.parametrize("what", POISONS)
@pytest.mark.parametrize("task", BASES)
def test_a_trial_is_the_same_whatever_the_test_set_holds(
    task: str, what: str, data: Path, clean: dict[str, list[dict[str, Any]]]
) -> None:
    p = developed(task)
    if task not in clean:
        clean[task] = found(p)
        trial.PREPARED.clear()
    poison(task, data, what)
    assert found(p) == clean[task]
    assert not paths.test_reads().exists()


@pytest.mark.parametrize("task", BASES)
def test_the_same_with_test_true_would_not_be_and_a_trial_of_it_is_refused(task: str, data: Path) -> None:
    """Nothing of the test set is there any more, and who asks for it fails."""
    p = developed(task).model_copy(update={"test": True})
    with pytest.raises(ValueError, match="a trial with test: true would read what is tested"):
        found(p)
    poison(task, data, "no signals")
    with pytest.raises(UserError):
        list(tasks.of(p).epochs(tasks.of(p).data(p), p, 0, Where(torch.device("cpu"), "float32", "it")))


def test_where_patients_are_shared_the_test_beats_have_no_part_in_it() -> None:
    p = developed("heartbeat", protocol="intra", max_beats=600)
    before, beats = found(p), trial.data_of(p).beats
    test = splits.intra(beats.labels, 0).test
    beats.signals[test], beats.labels[test] = np.nan, (beats.labels[test] + 1) % len(aami.CLASSES)
    assert found(p) == before


def test_a_pretraining_scores_no_ds2_and_does_not_reach_a_trial_from_scratch() -> None:
    """Trials that differ in how they start share their data."""
    found(developed("infarction", way="finetune", profile="smoke"))
    shared = found(developed("infarction", profile="smoke"))
    trial.PREPARED.clear()
    assert found(developed("infarction", profile="smoke")) == shared
    assert not paths.test_reads().exists()


# --- what is validated instead ----------------------------------------------------------------------------------------


def test_folds_are_scored_together_and_those_that_were_are_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    p, tables = developed("infarction"), []
    fit = of_infarctions.fit
    monkeypatch.setattr(of_infarctions, "fit", lambda *given: tables.append(fit(*given)) or tables[-1])
    epochs = trial.epochs(p, HERE, tmp_path)
    first = [next(epochs), next(epochs)]
    epochs.close()
    found = list(trial.epochs(p, HERE, tmp_path))
    assert found[:2] == first and len(tables) == len(found) == trial.n_epochs(p) == 3
    for n, one in enumerate(found, 1):
        rows = pd.concat([binary.pooled(each.tables["scores"]) for each in tables[:n]])
        assert one.value == one.best == pytest.approx(roc_auc_score(rows["label"], rows["score"]))
    everyone = set(trial.data_of(p).cohort.recordings["record"])
    assert set(rows["record"]) == everyone and len(rows) == len(everyone)
    list(trial.epochs(p.model_copy(update={"learning_rate": 0.1}), HERE, tmp_path))
    assert len(tables) == 6, "those of other parameters are no one's"


def test_the_same_patients_are_held_out_whatever_the_seed_and_the_folds() -> None:
    source = databases.get("ptb-xl")
    for seed, folds in ((0, 3), (5, 4)):
        p = developed("infarction", folds=folds).model_copy(update={"seeds": [seed]})
        whole = p.model_copy(update={"test": True})
        for q, parts in ((p, folds), (whole, 1)):
            data = of_infarctions.Data(q)
            patients = data.cohort.recordings["patient"].to_numpy()[data.cohort.recording]
            made = of_infarctions.parts(data, q, seed)
            assert len(made) == parts
            scored = [set(patients[part.scored]) for part in made]
            assert all(set(patients[part.train]).isdisjoint(mine) for part, mine in zip(made, scored, strict=True))
            tested = set().union(*scored)
            assert tested.isdisjoint(drawn(source)) if parts > 1 else tested == drawn(source)


@pytest.mark.parametrize(
    ("tested", "model", "validates", "learns"),
    [([10], "crnn", [9], 8), ([9, 10], "crnn", [8], 7), ([1, 4], "crnn", [3, 10], 7), ([10], "age_and_sex", [9], 8)],
)
def test_the_folds_before_the_tested_ones_are_scored_by_what_learnt_from_the_others(
    tested: list[int], model: str, validates: list[int], learns: int
) -> None:
    p = TwelveLeadParameters(test=False, test_folds=tested, model=model, min_positives=4)
    catalogue, _ = twelve_lead.catalogue_of(p)
    fold = np.array([entry.fold for entry in catalogue.entries])
    made = twelve_lead.divided(catalogue, p, np.arange(len(fold)))
    assert [set(fold[part.scored]) for part in made] == [{n} for n in validates]
    for part in made:
        assert len(set(fold[part.train])) == learns and set(part.train).isdisjoint(part.scored)
        assert len(part.val) == 0 if model == "age_and_sex" else (part.val == part.scored).all()


@pytest.mark.parametrize("task", ["infarction", "twelve-lead"])
def test_a_record_of_development_says_so(task: str) -> None:
    record = tasks.run(developed(task)).record
    assert (record.scored, record.data.n_test) == ("val", 0)
    assert record.data.n_val > 0 and not record.parameters["test"]


@pytest.mark.parametrize(
    ("task", "values", "said"),
    [
        ("infarction", {"protocol": "by-patient"}, "by-patient tests all in turn; take protocol: held-out"),
        ("infarction", {"protocol": "by-beat"}, "by-beat tests all in turn"),
        ("twelve-lead", {"test_folds": list(range(1, 11))}, "test: false needs a fold that is not tested"),
        (
            "twelve-lead",
            {"database": "challenge-2021", "labels": "scored", "test_folds": [10], "leave_source_out": True},
            "sources are tested",
        ),
    ],
)
def test_where_nothing_would_be_left_development_is_refused(task: str, values: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        config.check(task, {"test": False, **values}, "here")
    assert "\n" not in str(caught.value)
