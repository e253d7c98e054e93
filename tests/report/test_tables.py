"""Tables and sentences: one format of numbers, Markdown that Pandoc takes for tables, and the sample apart."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pypandoc
import pytest

from ecglib import aami, files
from ecglib.data.beats import Beats
from ecglib.errors import UserError
from ecglib.evaluation.bootstrap import Interval
from ecglib.experiment import record as results
from ecglib.experiment.record import Record
from ecglib.report import tables, words
from tests.report.example import example_record, with_moved

FULL = example_record()
QUICK = example_record(profile="quick", seeds=[0], draw=1)
INTER = example_record("heartbeat/inter-patient", protocol="inter")
OTHER = example_record(draw=2)
MOVED = with_moved(FULL, OTHER)
SAMPLE = example_record(profile="quick", seeds=[0], sample=True)


def blocks(markdown: str) -> list[Any]:
    """The Markdown's blocks as Pandoc reads them, under the extensions of both renderers."""
    found: list[Any] = json.loads(pypandoc.convert_text(markdown, "json", format="markdown+citations"))["blocks"]
    return found


def kinds(markdown: str) -> list[str]:
    return [block["t"] for block in blocks(markdown)]


def cells(markdown: str) -> list[list[str]]:
    """Rows of the only table, the head first."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert set(lines[1]) <= set("|:-")
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in [lines[0], *lines[2:]]]


def test_one_format_of_numbers() -> None:
    assert tables.interval(Interval(mean=0.93749, low=0.921, high=0.95)) == "0.937 [0.921,\N{NO-BREAK SPACE}0.950]"
    assert tables.interval(Interval(mean=0.5)) == "0.500"
    assert tables.interval({"mean": 1, "low": None, "high": 1}) == "1.000"
    assert tables.interval(Interval()) == tables.interval(None) == tables.number(math.nan) == "–"
    assert tables.count(72_470) == "72\N{NARROW NO-BREAK SPACE}470"
    assert tables.count(556.4) == "556"


def test_headline_says_profile_and_seeds_of_all_results() -> None:
    both = tables.headline({"heartbeat/baseline": FULL, "heartbeat/weighted": QUICK})
    assert both.startswith("All results: profile *full*, seeds 0, 1, 2; or profile *quick*, seeds 0.")


def test_headline_of_two_results_takes_the_better_validated_one_whatever_their_order() -> None:
    worse = example_record("heartbeat/worse", draw=3)
    for run in worse.training:
        run.validation = 0.1
    for records in ({"a/b": FULL, "c/d": worse}, {"c/d": worse, "a/b": FULL}):
        assert "(book/experiments/a/b.ipynb)" in cells(tables.headline(records))[1][2]


def test_moved_thresholds_are_no_better_validated_for_having_been_moved() -> None:
    """They were moved for this metric on these beats, and would win by it over the same network every time."""
    plain, moved = results.decisions(MOVED)
    assert tables.validated(moved) == tables.validated(plain) == tables.validated(FULL)
    assert MOVED.moved is not None and min(MOVED.moved.validation) > (tables.validated(plain) or 1)
    runs = [run.model_copy(update={"validation": None}) for run in FULL.training]
    refitted = FULL.model_copy(update={"training": runs})
    assert tables.validated(refitted) is None
    assert "|" not in tables.ec57(FULL.model_copy(update={"ec57": {}}))


def test_a_run_made_here_is_one_row_beside_a_reference_and_stands_in_a_box_without_one() -> None:
    fresh = QUICK.model_copy(update={"overridden": ["cut"], "scored": "val"})
    alone, both = (cells(tables.circumstances(FULL, one)) for one in (None, fresh))
    score = tables.interval(QUICK.metrics["macro_f1"])
    told = f"quick, one seed, `cut` changed, on the validation set, macro-F1 {score}"
    assert both == [*alone, ["repeated here", told]]
    assert cells(tables.circumstances(FULL, FULL)) == alone, "the reference result itself"
    assert tables.box(FULL, FULL) == ""
    assert kinds(tables.box(None, QUICK)) == ["Div"] and f"quick, one seed, macro-F1 {score}" in tables.box(None, QUICK)
    shown = tables.circumstances(FULL, SAMPLE)
    assert kinds(shown) == ["Table", "Div"] and cells(shown) == alone, "the sample has a box of its own"
    assert f"quick, one seed, the {tables.SAMPLE}, macro-F1 " in shown


def test_the_sample_shares_no_table() -> None:
    with pytest.raises(ValueError, match="sample"):
        tables.headline({"heartbeat/baseline": FULL, "heartbeat/weighted": SAMPLE})


def test_a_run_scored_on_validation_says_so() -> None:
    val = QUICK.model_copy(update={"scored": "val"})
    for table in (tables.metrics, tables.per_class, tables.ec57):
        assert "validation" in table(val)
        assert "validation" not in table(QUICK)


def test_numbers_of_the_sample_are_marked() -> None:
    for markdown in (
        tables.headline({"a/b": SAMPLE}),
        tables.box(None, SAMPLE),
        tables.metrics(SAMPLE),
        tables.per_class(SAMPLE),
        tables.circumstances(SAMPLE),
    ):
        assert '"sample"' in json.dumps(blocks(markdown)), "a span with the class"
    assert tables.SAMPLE not in tables.circumstances(FULL)


def test_counts_by_set() -> None:
    assert cells(tables.counts({"DS1": {"N": 45_866, "S": 944}, "DS2": {"N": 44_259, "S": 1_837}})) == [
        ["set", "N", "S"],
        ["DS1", tables.count(45_866), "944"],
        ["DS2", tables.count(44_259), tables.count(1_837)],
    ]


def test_overridden_and_idle_parameters_are_marked() -> None:
    record = FULL.model_copy(
        update={"overridden": ["learning_rate"], "parameters": {"annotator": "", **FULL.parameters}}
    )
    rows = dict(row for row in cells(tables.parameters(record, {"refit", "unknown"}))[1:])
    assert "`unknown`" not in rows
    assert rows["`learning_rate`"] == "`0.001` **(overridden)**"
    assert rows["`cut`"] == "`kachuee`"
    assert rows["`refit`"] == "`false` *(of no effect)*"
    assert rows["`ema`"] == rows["`annotator`"] == "–"


def test_free_text_stays_text() -> None:
    told = FULL.model_copy(update={"hardware": "CPU | 2*cores_[x](y) $5 @site <b>"})
    markdown = tables.circumstances(told)
    assert kinds(markdown) == ["Table"]
    parsed = json.dumps(blocks(markdown))
    assert not [kind for kind in ("Link", "Cite", "Math", "Emph", "RawInline") if f'"{kind}"' in parsed]
    wide = ["--columns=300"]
    plain = pypandoc.convert_text(markdown, "plain", format="markdown+citations", extra_args=wide)
    assert told.hardware in plain


def test_circumstances_count_the_readings_of_ds2_until_a_decision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def readings(record: Record) -> str | None:
        return dict(cells(tables.circumstances(record))[1:]).get("readings of the test set")

    (tmp_path / "_quarto.yml").touch()
    monkeypatch.setenv("ECGLIB_ROOT", str(tmp_path))
    assert str(readings(INTER)).startswith("0 until then,")
    log = tmp_path / "book" / "results" / "test-reads.jsonl"
    read = [("2020-01-01", "cnet"), ("2020-01-01", "other"), ("2020-01-01", "cnet"), ("2025-06-01", "cnet")]
    files.write(log, "".join(f'{{"time": "{day}T00:00:00Z", "model": "{model}"}}\n' for day, model in read))
    assert readings(INTER) == "3 until then, of them 2 by this model"
    assert readings(FULL) is None
    assert "By 2025-01-02 DS2 had been scored 3 times" in tables.scorings([INTER])
    moved = with_moved(INTER, OTHER, created="2025-07-01T00:00:00Z")
    assert "By 2025-07-01 DS2 had been scored 4 times" in tables.scorings([moved])
    log.write_text("torn")
    with pytest.raises(UserError, match=r"test-reads\.jsonl"):
        tables.circumstances(INTER)


# --- sentences --------------------------------------------------------------------------------------------------------


def test_the_set_that_was_scored_is_named_and_the_sample_too() -> None:
    assert tables.SAMPLE in words.provenance(SAMPLE) and tables.SAMPLE not in words.provenance(FULL)
    assert words.result(FULL).startswith("On the test set, over N, S, V, F, Q, macro-F1 is")
    val = FULL.model_copy(update={"scored": "val"})
    assert words.result(val).startswith("On the validation set, over")
    assert "none to test on" in words.provenance(val)


def test_the_concentration_of_rare_beats() -> None:
    table = pd.DataFrame(0, index=["100", "213", "232", "101"], columns=list(aami.CLASSES))
    table.loc[["100", "232", "101"], "S"] = [25, 75, 1000]
    table.loc["213", "F"] = 4
    assert words.concentration(table) == (
        "In DS2, record 232 alone holds 75\N{NARROW NO-BREAK SPACE}% of the S beats "
        "and record 213 alone holds 100\N{NARROW NO-BREAK SPACE}% of the F beats."
    )
    assert words.concentration(table.loc[["101"]]) == "DS2 holds no S or F beats here."


def test_the_cut_stands_beside_the_published_counts() -> None:
    empty = np.zeros(0, dtype=np.str_)
    beats = Beats(
        np.zeros((3, 1, 4), np.float32), np.zeros((3, 0), np.float32), np.array([0, 0, 2]), empty, empty, empty,
        np.zeros(0, np.int64), {"no next beat": 1}, {},
    )  # fmt: skip
    rows = cells(tables.cut_counts(beats, {"N": 2, "S": 0, "V": 1, "F": 0, "Q": 0}))[1:]
    assert rows[0] == ["N", "2", "2"]
    assert rows[5] == ["all", "3", "3"]
    assert rows[6][:2] == ["left out: no next beat", "1"]
