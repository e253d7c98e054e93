"""The chapter *Tuning*: its tables, sentences and figures are those of a search made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from projects import ROOT

from ecglib import config, paths, tuning
from ecglib.config import TuningParameters
from ecglib.evaluation import metrics
from ecglib.experiment import comparison
from ecglib.experiment import record as results
from ecglib.experiment.record import Record
from ecglib.report import book, names, search_figures, searches, tables, yardsticks
from ecglib.tuning import search
from ecglib.tuning.search import Search, Trial
from ecglib.tuning.space import Space
from ecglib.tuning.trial import Epoch, Place
from tests.report import snapshots

SPACE = {
    "learning_rate": {"log-uniform": [0.001, 0.1]},
    "imbalance": {"choice": ["none", "weighted"]},
    "weight_exponent": {"uniform": [0.25, 1.0], "step": 0.25, "when": {"imbalance": "weighted"}},
    "model_options.width": {"int": [16, 64], "step": 16},
}
FIXED = {"max_epochs": 4, "patience": 4, "beats_per_epoch": 20_000}
ASKED = TuningParameters(
    experiment="tuning/small", base="heartbeat/baseline", space=SPACE, grace=1, reduction=2, fixed=FIXED
)


def trial(number: int, values: list[float], rate: float, width: int, weight: float | None = None, **own: Any) -> Trial:
    answer = {"imbalance": "none"} if weight is None else {"imbalance": "weighted", "weight_exponent": weight}
    curve = [Epoch(epoch, value, max(values[:epoch]), 1.0) for epoch, value in enumerate(values, start=1)]
    state = own.pop("state", "finished" if len(values) == 4 else "stopped")
    return Trial(number, {"learning_rate": rate, **answer, "model_options.width": width}, state, curve, **own)


TRIALS = [
    trial(0, [0.5, 0.6, 0.7, 0.8], 0.003, 32),  # the base
    trial(1, [0.4], 0.1, 16, 0.5),
    trial(2, [0.6, 0.7, 0.905, 0.85], 0.01, 32),
    trial(3, [0.3], 0.05, 16, 0.75),
    trial(4, [0.6, 0.75, 0.85, 0.91], 0.008, 48),
    trial(5, [0.2], 0.09, 64, 1.0),
    trial(6, [], 0.1, 64, state="failed", why="no number"),
    trial(7, [0.5, 0.65], 0.02, 64),
    trial(8, [0.45, 0.6], 0.03, 48, 0.25),
]
SHARES = {"learning_rate": (0.6, 0.4, 0.7), "imbalance": (0.2, 0.1, 0.3), "model_options.width": (0.1, 0.0, 0.45)}


def found(**changed: Any) -> dict[str, Any]:
    values = ASKED.model_dump(exclude={"experiment", "title", "in_book", "quick", "confirm"})
    confirmed = {"base": [0.80, 0.82], "best": [0.83, 0.81]}
    return values | {
        "name": "small",
        "tuned": "heartbeat/small-tuned",
        "states": {"finished": 3, "stopped": 5, "failed": 1},
        "epochs": {"trial": 4, "run": 19, "full": 32},
        "seconds": 600.0,
        "best": {"trial": 4, "value": 0.91, "epochs": 4, "drawn": TRIALS[4].drawn},
        "confirmed": {
            name: [{"seed": seed, "value": value, "epochs": 4} for seed, value in enumerate(of, start=1)]
            for name, of in confirmed.items()
        },
        "importances": {name: dict(zip(("mean", "low", "high"), one, strict=True)) for name, one in SHARES.items()},
        "precision": "float32",
        "hardware": "2 cores",
        **changed,
    }


def put(trials: list[Trial] = TRIALS, **changed: Any) -> searches.Shown:
    """The search, as its files tell it."""
    path = paths.search("small")
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(found(**changed)), encoding="utf-8")
    search.table(trials).to_parquet(path.with_suffix(".parquet"))
    return searches.of(ASKED)


def record(name: str) -> Record:
    return results.load(ROOT / "book" / "results" / "heartbeat" / f"{name}.json")


def between(first: Record, best: Record, monkeypatch: pytest.MonkeyPatch, **changed: Any) -> searches.Shown:
    """The search, with these reference results of its base and its best."""
    shown = put(**changed)
    references = {shown.search.asked.base: first, "heartbeat/small-tuned": best}
    monkeypatch.setattr(results, "reference", references.get)
    return shown


@pytest.fixture(autouse=True)
def in_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECGLIB_ROOT", str(ROOT))
    monkeypatch.setattr(paths, "searches", lambda: tmp_path / "searches")


def cells(table: str) -> dict[str, list[str]]:
    """First cell of a row of a table -> the others."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {first: rest for first, *rest in rows}


def test_a_search_that_was_not_run_says_so_and_shows_its_space() -> None:
    shown = searches.of(ASKED)
    assert "Not run yet" in searches.told(shown) and "`ecglib tune tuning/small`" in searches.told(shown)
    assert list(cells(searches.space(shown))) == ["`learning_rate`", "`imbalance`", "`width`", "`weight_exponent`"]
    for table in (searches.confirmed, searches.tested, searches.gains):
        assert table(shown) == "Not run."
    for sentence in (searches.history, searches.curves, searches.in_common, searches.importance, searches.saved,
                     searches.replayed, searches.confirmation, searches.verdict):  # fmt: skip
        assert sentence(shown) == ""
    for figure in (search_figures.history, search_figures.curves, search_figures.parallel):
        assert any('"not run"' in line for line in snapshots.figure_lines(figure(shown)))


def test_without_a_space_it_is_that_of_its_name_and_without_a_name_the_first_one() -> None:
    named = searches.of(TuningParameters(experiment="tuning/rnn")).search
    assert named.asked.base == "heartbeat/bigru"
    assert named.epochs == tuning.load("tuning/rnn").fixed["max_epochs"]
    assert searches.of(TuningParameters()).search.asked.experiment == "tuning/cnn"


def test_what_it_was_run_with_wins_over_what_its_file_says_now() -> None:
    shown = put(fixed={"max_epochs": 12}, profile="quick")
    assert shown.search.epochs == 12 and shown.search.asked.experiment == "tuning/small"


def test_the_space_has_base_and_best_and_a_dash_for_what_means_nothing() -> None:
    rows = cells(searches.space(put()))
    assert rows["`learning_rate`"] == ["0.001 to 0.1, log-uniform", "0.003", "0.008"]
    assert rows["`imbalance`"] == ["none, weighted", "none", "none"]
    assert rows["`weight_exponent`"] == ["0.25 to 1 by 0.25, with `imbalance` weighted", "–", "–"]
    assert rows["`width`"] == ["16 to 64 by 16", "32", "48"]
    assert "`max_epochs` 4, `patience` 4 and `beats_per_epoch` 20\N{NARROW NO-BREAK SPACE}000" in searches.fixed(put())


def test_the_summary_counts_trials_and_says_how_the_base_fared() -> None:
    text = searches.told(put())
    assert "tried 9 sets of parameters over [CNet, intra-patient](../heartbeat/baseline.ipynb)" in text
    assert "3 were run in full, 5 were stopped early and 1 failed" in text
    assert "10 min 0 s, at most 2 trials at once, on 2 cores" in text
    assert "trial 4, reached 0.910 in macro-F1 on validation after epoch 4" in text
    assert "own parameters reached 0.800." in text and "sample" not in text
    early = [trial(0, [0.5], 0.003, 32), *TRIALS[1:]]
    assert "reached 0.500, stopped early after epoch 1." in searches.told(put(early))
    assert "embedded sample" in searches.told(put(sample=True))


def test_history_and_curves_tell_how_near_others_came_and_when_trials_peaked() -> None:
    shown = put()
    assert searches.history(shown).endswith("0.910, and 1 other trial came within 0.01 of it, trial 2.")
    alone = put([one for one in TRIALS if one.number != 2])
    assert "No other came within 0.01" in searches.history(alone)
    assert "Of 3 trials run in full, 2 were highest after the last epoch of 4: more" in searches.curves(shown)


def test_the_best_quarter_is_told_from_the_others() -> None:
    good, others = searches.quarters(put())
    assert [one.number for one in good] == [4, 2] and len(others) == 6, "one has no value"
    text = searches.in_common(put())
    assert "`imbalance` is none in 2 of 2 (of the others: 2 of 6)" in text
    assert "`learning_rate` is 0.0085 to 0.0095 (of the others: 0.022 to 0.08)" in text


def test_of_folds_only_trials_in_full_are_compared() -> None:
    """The first folds may be easy ones: what a trial that was stopped had of them is no value of it."""
    asked = tuning.load("tuning/infarction")
    of_folds = Search(asked, search.base_of(asked), Space(()), Place("cpu", "float32"), Path())
    stopped = Trial(1, {}, "stopped", [Epoch(1, 0.95, 0.95, 1.0)])
    whole = Trial(0, {}, "finished", [Epoch(n, value, value, 1.0) for n, value in enumerate([0.9, 0.7, 0.8], 1)])
    assert of_folds.comparable([whole, stopped]) == [whole] and whole.value == 0.8
    assert put().search.comparable([whole, stopped]) == [whole, stopped], "of epochs, the highest is as good as reached"


def test_importances_are_in_order_and_say_what_is_sure() -> None:
    shown = put()
    assert list(cells(searches.importances(shown))) == ["`learning_rate`", "`imbalance`", "`width`"]
    assert cells(searches.importances(shown))["`imbalance`"] == ["0.20 [0.10,\N{NO-BREAK SPACE}0.30]", "8"]
    text = searches.importance(shown)
    assert "`learning_rate` explains most; its range lies above that of 1 of the 2 others" in text
    assert "Too few trials have `weight_exponent`" in text
    without = put(importances={})
    assert searches.importances(without) == "Not computed." and searches.importance(without) == ""


def test_what_early_stopping_saved_and_would_have_saved() -> None:
    shown = put()
    saved = searches.saved(shown)
    assert "ran 19 epochs" in saved and "32: it took 59\N{NARROW NO-BREAK SPACE}%" in saved
    assert searches.replayed(shown) == ""
    table = search.table([one for one in TRIALS if one.state == "finished"])
    table.to_parquet(paths.search("curves").with_suffix(".parquet"))
    assert "3 trials of the same parameters" in searches.replayed(shown)
    assert searches.replayed(put(scheduler="median")) == ""
    other = table.assign(drawn=json.dumps({"batch_size": 64}))
    other.to_parquet(paths.search("curves").with_suffix(".parquet"))
    assert searches.replayed(shown) == "", "trials of another space"


def test_seeds_that_were_not_seen_and_what_the_test_set_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = put()
    assert cells(searches.confirmed(shown)) == {"1": ["0.800", "0.830", "+0.030"], "2": ["0.820", "0.810", "−0.010"]}
    text = searches.confirmation(shown)
    assert "Under 1 of 2 seeds" in text and "mean gain is +0.010" in text and "own seed it was +0.110" in text
    assert searches.tested(shown) == "Not run." and "`ecglib run heartbeat/small-tuned" in searches.verdict(shown)

    base, other = record("bigru"), record("baseline")
    shown = between(base, other, monkeypatch)
    gain = comparison.difference(other, base, lambda m: metrics.summary(m, list(range(5)))["macro_f1"])
    row = cells(searches.tested(shown))["macro-F1"]
    assert row[0] == f"{base.metrics['macro_f1'].mean:.3f}" and row[2].startswith(f"{gain.mean:+.3f} [")
    after = cells(searches.gains(shown))
    assert after["validation, as searched"] == ["0", "0.800", "0.910", "+0.110"]
    assert after["validation, not seen"] == ["1, 2", "0.810", "0.820", "+0.010"]
    assert after["test"] == ["0, 1, 2", row[0], row[1], f"{gain.mean:+.3f}"]
    text = searches.verdict(shown)
    assert f"kept {gain.mean / 0.01:.0%}".replace("%", "\N{NARROW NO-BREAK SPACE}%") in text
    assert "of at most 20 epochs of 60\N{NARROW NO-BREAK SPACE}000 beats (trials: at most 4 epochs of 20" in text

    assert "kept none of it" in searches.verdict(between(other, base, monkeypatch))


def test_a_split_of_each_seed_is_told_and_the_gain_under_the_searchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    base, other = record("bigru"), record("baseline")
    shown = between(base, other, monkeypatch)
    a, b = (one.metrics["macro_f1"].per_seed[0] for one in (base, other))
    assert a and b and f"| test | 0 | {a:.3f} | {b:.3f} | {b - a:+.3f} |" in snapshots.compact(searches.gains(shown))
    text = searches.verdict(shown)
    assert "beats tested under 1 and 2 were in the training or validation part" in text
    assert f"Under its own seed alone, 0, the gain on the test set is {b - a:+.3f}." in text
    fewer = between(base, other, monkeypatch, fixed=FIXED | {"max_beats": 2000})
    assert "tested under 1 and 2" in searches.verdict(fewer) and "its own seed" not in searches.verdict(fewer)
    apart = between(record("bigru-inter"), record("inter-patient"), monkeypatch, base="heartbeat/inter-patient")
    assert "On the test set the gain" in searches.verdict(apart) and "its own seed" not in searches.verdict(apart)


@pytest.mark.parametrize(
    ("base", "best", "metric"),
    [("twelve-lead/crnn-fold-10", "twelve-lead/crnn-tuned", "macro_auroc"),
     ("infarction/frozen", "infarction/finetune", "auroc")],
)  # fmt: skip
def test_the_gain_of_an_area_has_an_interval_over_patients(
    base: str, best: str, metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other = (results.load(ROOT / "book" / "results" / f"{name}.json") for name in (base, best))
    of_each = [one.metrics[metric] for one in (first, other)]
    gain = yardsticks.gain(other, first)
    assert gain.mean is not None and gain.low is not None and gain.high is not None
    assert gain.mean == pytest.approx(np.subtract(of_each[1].mean, of_each[0].mean), abs=1e-4), "of four digits"
    wide = [np.subtract(one.high, one.low) for one in of_each]
    assert gain.low < gain.mean < gain.high and gain.high - gain.low < min(wide), "paired"
    name = names.metric_name(metric)
    assert cells(searches.tested(between(first, other, monkeypatch)))[name][-1] == tables.signed(gain)
    nobody: dict[str, Any] = {}
    if first.twelve_lead is not None:
        nobody["twelve_lead"] = first.twelve_lead.model_copy(update={"patient_of": {}})
    if first.infarction is not None:
        nobody["infarction"] = first.infarction.model_copy(update={"patients": {}, "scores": {}})
    row = cells(searches.tested(between(first.model_copy(update=nobody), other, monkeypatch)))[name]
    assert row[-1] and "[" not in row[-1], "where patients are not known"


def test_nothing_is_gained_where_others_were_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    base = record("baseline")
    for changed in (
        {"seeds": [0]},
        *({"data": base.data.model_copy(update=one)} for one in (
            {"n_test": 1}, {"test_indices_sha256": "other"}, {"fingerprint": "other"},
        )),
    ):  # fmt: skip
        shown = between(base, base.model_copy(update=changed), monkeypatch)
        assert cells(searches.tested(shown))["macro-F1"][-1] == "–" and "test" not in cells(searches.gains(shown))
        assert "were not scored on the same recordings." in searches.verdict(shown)


def test_a_search_that_was_confirmed_under_no_seed_shows_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    base = record("baseline")
    shown = between(base, base, monkeypatch, confirmed={})
    assert searches.confirmed(shown) == "Not run." and searches.confirmation(shown) == ""
    assert list(cells(searches.gains(shown))) == ["validation, as searched", "validation, reference", "test"]
    assert "On the test set the gain" in searches.verdict(shown) and "promised" not in searches.verdict(shown)


def test_figures_show_every_trial_and_can_be_compared() -> None:
    shown = put()
    assert {"run in full", "stopped early", "failed"} <= labels(search_figures.history(shown))
    assert "the best, trial 4" in labels(search_figures.curves(shown))
    figure = search_figures.parallel(shown)
    best = next(line for line in figure.axes[0].lines if line.get_label() == "the best, trial 4")
    assert best.get_ydata()[:5].tolist() == [0, 1, 2, 3, 4]
    assert [i for i, x in enumerate(best.get_xdata()[:5]) if x != x] == [4], "it has no weight_exponent"
    for one in (search_figures.history(shown), search_figures.curves(shown), figure):
        assert snapshots.figure_lines(one)


def labels(figure: Any) -> set[str]:
    return {str(line.get_label()) for line in figure.axes[0].lines}


def test_a_search_of_equal_trials_is_drawn_and_told() -> None:
    equal = [trial(i, [0.7] * 4, 0.01, 32) for i in range(5)]
    shown = put(equal, best={"trial": 0, "value": 0.7, "epochs": 4, "drawn": equal[0].drawn})
    for figure in (search_figures.history, search_figures.curves, search_figures.parallel):
        figure(shown)._repr_png_()  # type: ignore[attr-defined]
    assert "4 other trials came within" in searches.history(shown)


def test_a_page_is_made_anew_when_its_search_was_run() -> None:
    parameters = config.load("tuning/cnn")
    before = book.inputs_key(parameters)
    put()
    after = book.inputs_key(parameters)
    assert before != after
    put(seconds=1.0)
    assert book.inputs_key(parameters) not in (before, after)
