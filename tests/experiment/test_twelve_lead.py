"""Experiments on whole recordings: sets that share no patient, runs found again, a record that follows from scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report.example import example_record
from safetensors.torch import load_file

from ecglib import finetune
from ecglib.config import TwelveLeadParameters
from ecglib.data import databases, export
from ecglib.data.catalogues import challenge, ptb_xl
from ecglib.data.catalogues.catalogue import Records
from ecglib.errors import UserError
from ecglib.experiment import recipes, tasks, told, twelve_lead, verify
from ecglib.experiment import record as results
from ecglib.report import ecg_figures, recordings, tables, yardsticks

pytestmark = pytest.mark.filterwarnings("ignore")
SMALL = {
    "experiment": "", "seeds": [0, 1], "max_epochs": 1, "bootstrap": 20, "min_positives": 4, "test_folds": [4, 6],
    "fewest_per_epoch": 32, "device": "cpu", "precision": "float32",
}  # fmt: skip


CARD = {name: {} for name in results.TwelveLeadCard.model_fields} | {"recordings": 36, "patients": 36}


def small(**changes: object) -> TwelveLeadParameters:
    return TwelveLeadParameters.model_validate(SMALL | changes)


@pytest.mark.slow
def test_a_run_is_found_again_and_its_record_follows_from_its_scores(lasting: Path, tmp_path: Path) -> None:
    p = small(rate=125.0)
    run = twelve_lead.run(p)
    record = run.record
    assert run.trained and record.task == "multilabel" and record.classes == ["NORM", "MI"]
    again = twelve_lead.run(p)
    assert not again.trained and again.record == record
    table = run.scores()
    assert len(table) == 2 * record.data.n_test
    for seed, cells in zip(record.seeds, record.confusion, strict=True):
        rows = table[table["seed"] == seed]
        for name, (tn, fp, fn, tp) in zip(record.classes, cells, strict=True):
            given, has = rows[f"p:{name}"] >= rows[f"t:{name}"], rows[f"y:{name}"]
            assert (tn, fp, fn, tp) == (
                (~given & ~has).sum(), (given & ~has).sum(), (~given & has).sum(), (given & has).sum()
            )  # fmt: skip
    found = results.card(record)
    assert sum(found.by_source.values()) == found.recordings == 36
    assert found.official == {}, "fold 10 was not scored"
    assert set(found.folds) == {"4", "6"}
    network = run.network("fold4")
    index = next(i for i, entry in enumerate(run.data().entries) if entry.record == table["record"].iloc[0])
    probability = network(run.data()[index].x[None]).sigmoid()[0, 0].item()
    assert probability == pytest.approx(table["p:NORM"].iloc[0], abs=1e-5)
    assert found.patient_of == table.groupby("record")["patient"].first().to_dict()
    for text in (recordings.per_label(record), yardsticks.table(record, []), recordings.folds(record)):
        assert text.count("|") > 10
    assert "36 recordings" in recordings.provenance(record)
    assert tables.support(record) == {
        name: float(np.array(record.confusion)[0, c, 2:].sum()) for c, name in enumerate(record.classes)
    }
    example = twelve_lead.example(run)
    assert example.attention is not None and example.attention.sum() == pytest.approx(1, abs=1e-4)
    ecg_figures.ecg_paper(example.signals, example.rate, attention=example.attention)
    ecg_figures.one_vs_rest(record)
    ecg_figures.label_reliability(record)
    (tmp_path / "copy.json").write_text(record.model_dump_json())
    assert results.card(results.load(tmp_path / "copy.json")) == found


SOURCES_OUT = TwelveLeadParameters(database="challenge-2021", labels="scored", leave_source_out=True)


@pytest.fixture
def joined(real_ptb_xl: Path) -> Records:
    whole = challenge.read(databases.get("challenge-2021"))
    return challenge.joined(whole, ptb_xl.read(databases.get("ptb-xl"), True))


def test_no_patient_is_in_two_sets_of_a_part(joined: Records) -> None:
    source, p = joined, SOURCES_OUT
    divided = twelve_lead.divided(source, p, np.arange(len(source.entries)))
    assert [part.name for part in divided[:10]] == [f"fold{n}" for n in range(1, 11)]
    assert {part.name for part in divided[10:]} == {f"source-{name}" for name in {e.source for e in source.entries}}
    for part in divided:
        who = [{source.entries[i].patient for i in index} for index in (part.train, part.val, part.scored)]
        assert not who[0] & who[1] and not who[0] & who[2] and not who[1] & who[2]
        assert len(part.train) + len(part.val) + len(part.scored) == len(source.entries)
    tested = np.concatenate([part.scored for part in divided[:10]])
    assert sorted(tested) == list(range(len(source.entries)))
    official = divided[9]
    folds = [{source.entries[i].fold for i in index} for index in (official.train, official.val, official.scored)]
    assert folds == [set(range(1, 9)), {9}, {10}]


def test_a_source_that_leaves_nothing_to_learn_from_is_not_left_out(joined: Records) -> None:
    source, p = joined, SOURCES_OUT
    few = np.array([i for i, entry in enumerate(source.entries) if entry.source == "PTB-XL"])
    others = np.array([i for i, entry in enumerate(source.entries) if entry.source == "Georgia"])
    names = [part.name for part in twelve_lead.divided(source, p, few)]
    assert names == [f"fold{n}" for n in range(1, 11)]
    names = [part.name for part in twelve_lead.divided(source, p, np.concatenate([few, others]))]
    assert names[10:] == ["source-Georgia", "source-PTB-XL"]


def test_a_delta_table_gives_the_same_weights_scores_and_digest(lasting: Path, tmp_path: Path) -> None:
    pytest.importorskip("deltalake")
    whole = {"seeds": [0], "test_folds": [4], "deterministic": True, "crop_seconds": 0.0}
    p = small(**whole)
    export.table(twelve_lead.read(p), tmp_path / "table")
    q = small(database=f"delta:{tmp_path / 'table'}@0", **whole)
    a, b = twelve_lead.run(p), twelve_lead.run(q)
    assert b.trained and a.record.key != b.record.key
    mine, its = (load_file(run.folder / "weights-seed0-fold4.safetensors") for run in (a, b))
    assert mine.keys() == its.keys() and all(mine[name].equal(its[name]) for name in mine)
    pd.testing.assert_frame_equal(a.scores(), b.scores())
    assert a.record.metrics == b.record.metrics and a.record.confusion == b.record.confusion
    assert a.record.data.digest == b.record.data.digest
    assert b.record.data.fingerprint.startswith("0-") and b.record.data.name == q.database
    assert told.of_run(b.record) == told.of_run(a.record), "patients are named"
    assert a.record.input_shape == b.record.input_shape == [12, 10 * p.rate], "nothing is cropped"
    export.table(replace(twelve_lead.read(p), sample=True), tmp_path / "of-sample")
    assert twelve_lead.Data(small(database=f"delta:{tmp_path / 'of-sample'}")).sample
    assert not twelve_lead.Data(q).sample


def test_the_key_follows_what_changes_scores_and_nothing_else(lasting: Path) -> None:
    key = tasks.key_of(small())
    assert key == tasks.key_of(small(title="another", bootstrap=7, workers=2))
    changes = {"rate": 125.0, "seeds": [3], "test_folds": [4], "wander": 0.0, "max_epochs": 2}
    for change in [{"imbalance": "none", "weight_exponent": 0.5}, *({name: v} for name, v in changes.items())]:
        assert tasks.key_of(small(**change)) != key, change


def test_the_noise_of_the_sample_makes_no_reference_and_none_stale(lasting: Path) -> None:
    p = small()
    data = twelve_lead.Data(p)
    for noise, why in (("sample", "the noise of its augmentation is the embedded sample's"), ("nstdb", "")):
        card = {"twelve_lead": CARD | {"noise": noise}}
        record = results.Record.model_validate(example_record().model_dump() | card)
        assert data.no_reference(record) == why
    made_up = record.model_copy(update={"twelve_lead": results.card(record).model_copy(update={"noise": "synthetic"})})
    assert "Augmented with made-up noise" in recordings.provenance(made_up), "as in earlier versions"
    changes = {"parameters": p.model_dump(), "recipe": recipes.of(p), "seeds": p.seeds}
    for name, said in (("noise", []), ("labels", ["data: labels moved"])):
        now = {"digest": data.digest() | {name: "other"}, "fingerprint": data.fingerprint}
        moved = record.model_copy(update={**changes, "data": record.data.model_copy(update=now)})
        assert verify.stale(p, moved) == said


def test_beside_the_sample_of_the_challenge_is_that_of_ptb_xl(lasting: Path) -> None:
    assert not databases.get("ptb-xl").sample
    found = twelve_lead.READERS["challenge-2021"](True)
    assert {entry.folder.parent for entry in found.entries} == {databases.SAMPLE}
    assert "PTB-XL" in {entry.source for entry in found.entries}


@pytest.mark.parametrize("model", ["age_and_sex", "median_beat", "kernel_machine"])
def test_a_yardstick_scores_the_same_under_every_seed_and_is_paired(model: str, lasting: Path) -> None:
    own = {} if model == "age_and_sex" else {"rate": 125.0}
    run = twelve_lead.run(small(model=model, fewest_per_epoch=800, test_folds=[3, 5], **own))
    record, table = run.record, run.scores()
    assert record.data.n_val == 0 and record.data.n_train + table["fold"].eq(5).sum() / 2 == 36, "all nine other folds"
    assert len(set(record.metrics["macro_auroc"].per_seed)) == 1
    assert table["part"].unique().tolist() == ["fold3", "fold5"] and len(table) == 2 * record.data.n_test
    found = results.card(record)
    assert (found.thresholds, found.reliability, found.noise, record.training) == ({}, {}, "", [])
    assert "macro_ece" not in record.metrics and "macro_f1" in record.metrics
    assert record.input_shape == ([1, 2] if model == "age_and_sex" else [12, 101])
    gain = yardsticks.gain(record, record)
    assert (gain.mean, gain.low, gain.high) == (0, 0, 0)
    example = twelve_lead.example(run)
    assert example.attention is None and example.signals.shape[0] == 12
    for text in (recordings.provenance(record), recordings.thresholds(record), yardsticks.table(record, [record])):
        assert text
    assert "fitted at once" in recordings.provenance(record) and "Augmented" not in recordings.provenance(record)
    ecg_figures.label_reliability(record)
    assert "fitted at once" in tables.circumstances(record)
    with pytest.raises(UserError, match="fitted at once; expected a network's run"):
        finetune.find(record.key)


def test_macro_auroc_on_validation_is_the_mean_over_labels() -> None:
    logits = np.array([[2, -1], [1, 3], [-1, 0], [-2, 1]], dtype=np.float32)
    y = np.array([[1, 0], [0, 1], [1, 0], [0, 0]], dtype=np.float32)
    # first label: pairs (2>1, 2>-2, -1<1, -1>-2); second: 3 above all
    assert twelve_lead.macro_auroc(logits, y) == pytest.approx((3 / 4 + 1) / 2)
