"""Recipes: what holds a result, and why one does not hold any more."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ecglib import config, fingerprint, paths
from ecglib.config import HeartbeatParameters
from ecglib.errors import UserError
from ecglib.experiment import heartbeat, recipes, verify
from ecglib.experiment import record as results
from ecglib.training import loop

Reference = tuple[HeartbeatParameters, results.Record]

pytestmark = pytest.mark.usefixtures("logged")


@pytest.fixture(scope="module")
def trained(lasting: Path) -> Reference:
    """A tiny reference result and its parameters."""
    p = config.load("heartbeat/baseline", profile="full")
    assert isinstance(p, HeartbeatParameters)
    heartbeat.run(p)
    record = results.reference(p.experiment)
    assert record is not None
    return p, record


@pytest.fixture
def reference(trained: Reference) -> Reference:
    """The same, for a test to change."""
    p, record = trained
    record.save(paths.reference(p.experiment))
    return p, record.model_copy(deep=True)


@pytest.mark.parametrize("stage", {**recipes.STAGES, **recipes.networks()})
def test_every_stage_tells_what_each_number_of_its_recipe_stands_for(stage: str) -> None:
    assert recipes.history(stage)[1] == "as published"


def test_a_number_without_a_sentence_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "RECIPE", 2)
    recipes.history.cache_clear()
    with pytest.raises(UserError, match=r"loop\.py: RECIPE = 2, told are \[1\]"):
        recipes.history("training")


def test_the_difference_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {1: "as published", 2: "the average ramps up", 3: "the rate is halved"}
    monkeypatch.setattr(recipes, "history", lambda stage: told)
    assert recipes.why({"training": 1, "losses": 1}, {"training": 3, "losses": 1}) == [
        "training 1 → 3: the average ramps up; the rate is halved"
    ]
    assert recipes.why({"sampling": 1}, {"losses": 1}) == [
        "sampling has no part in it now",
        "losses has a part in it now",
    ]


def test_a_result_holds_until_parameters_recipe_or_data_differ(reference: Reference) -> None:
    p, record = reference
    assert set(record.recipe) == {"heartbeat", "training", "losses", "cnet"}
    assert verify.stale(p, record) == []
    circumstances = {"title": "another", "device": "cpu", "precision": "float32"}
    assert verify.stale(p.model_copy(update=circumstances), record) == []
    assert verify.stale(p.model_copy(update={"ema": None}), record) == ["ema 0.998 → None"]
    assert verify.stale(p.model_copy(update={"seeds": [1]}), record)[0] == "seeds [0] → [1]"
    older = record.model_copy(update={"recipe": record.recipe | {"losses": 0}})
    assert verify.stale(p, older) == ["losses 0 → 1: as published"]
    digest = {**record.data.digest, "labels": "other"}
    moved = record.model_copy(update={"data": record.data.model_copy(update={"digest": digest})})
    assert verify.stale(p, moved) == ["data: labels moved"]


def test_what_reads_some_features_of_a_cut_holds_too(trained: Reference) -> None:
    forest = {"experiment": "", "model": "random_forest", "cut": "relative", "features": ["*_to_mean"]}
    p = trained[0].model_copy(update=forest)
    record = heartbeat.run(p).record
    assert record.n_features == 3
    assert verify.stale(p, record) == []
    assert "features" in "; ".join(verify.stale(p.model_copy(update={"features": ["*"]}), record))


def test_a_transfer_follows_its_pretraining_too() -> None:
    p = config.InfarctionParameters(way="finetune", pretrained="heartbeat/baseline")
    assert {"heartbeat", "transfer", "infarction", "cnet"} <= set(recipes.of(p))
    assert "heartbeat" not in recipes.of(p.model_copy(update={"way": "scratch"}))


def test_verify_trains_the_first_epochs_again(reference: Reference) -> None:
    p, record = reference
    found = verify.verify(p.experiment)
    assert found["holds"] and found["moved"] == [] and found["epochs"] == 2
    assert found["train_loss"] < 1e-6 and found["val_loss"] < 1e-6
    after = results.reference(p.experiment)
    assert after is not None and after.verified == found and after.metrics == record.metrics


@pytest.mark.parametrize("field", ["train_loss", "val_loss"])
def test_verify_names_what_does_not_come_out(reference: Reference, field: str) -> None:
    p, record = reference
    epoch = record.training[0].history[1]
    setattr(epoch, field, getattr(epoch, field) * 1.01)
    record.data.digest["sample"] = "other"
    record.save(paths.reference(p.experiment))
    found = verify.verify(p.experiment)
    assert not found["holds"] and found["moved"] == ["sample"]
    assert found[field] == pytest.approx(0.01 / 1.01, rel=1e-3)


def _git(root: Path, *arguments: str) -> None:
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *author, *arguments], cwd=root, check=True, capture_output=True)


@pytest.mark.slow
def test_renew_takes_over_a_recipe_where_old_and_new_code_train_alike(
    reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recipe of losses that rose for the focal loss alone; where the epochs differ it is refused."""
    p, record = reference
    root, run, said = paths.root(), subprocess.run, {}

    def once(command: list[str], **given: Any) -> Any:
        """Code is asked once: it says the same again."""
        if command[0] != sys.executable:
            return run(command, **given)
        key = ("old" if given["cwd"] != root else "new", *command[3:])
        said[key] = said.get(key) or run(command, **given)
        return said[key]

    monkeypatch.setattr(subprocess, "run", once)
    shutil.copytree(fingerprint.PACKAGE, root / "ecglib", ignore=shutil.ignore_patterns("__pycache__"))
    _git(root, "init", "-q")
    _git(root, "add", "ecglib", "params", "_quarto.yml")
    _git(root, "commit", "-qm", "before")
    path = root / "ecglib" / "losses.py"
    raised = path.read_text(encoding="utf-8").replace("RECIPE = 1", "RECIPE = 2").replace("lished.", "lished. 2: more.")
    assert "self.gamma * nll" in raised
    path.write_text(raised.replace("self.gamma * nll", "self.gamma * nll * 1.0"), encoding="utf-8")
    _git(root, "commit", "-qam", "after")
    now = dict(record.recipe, losses=2)
    monkeypatch.setattr(recipes, "of", lambda p: now)
    monkeypatch.setattr(recipes, "why", lambda before, after: ["losses 1 → 2: more"] if before != after else [])
    assert verify.renew(p.experiment) == ["losses 1 → 2: more"]
    after = results.reference(p.experiment)
    assert after is not None and after.recipe == now
    proof: dict[str, Any] = after.verified["renewed"]
    assert proof["from"] == record.recipe and len(proof["losses"]) == verify.EPOCHS
    assert verify.renew(p.experiment) == []
    record.save(paths.reference(p.experiment))
    said["new", "losses", p.experiment].stdout = json.dumps([[0.5, 0.5]] * verify.EPOCHS)
    with pytest.raises(UserError, match=r"epoch 1: .* before, \[0\.5, 0\.5\] today; expected equal losses"):
        verify.renew(p.experiment)
