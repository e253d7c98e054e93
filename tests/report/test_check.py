"""`ecglib book --check`: each planted fault found in the file where it was planted, and nothing else."""

from __future__ import annotations

import json
import operator
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from projects import ROOT

from ecglib.config import HeartbeatParameters
from ecglib.data import beats, rhythm
from ecglib.data.records import RATE
from ecglib.evaluation import metrics, ranking
from ecglib.experiment import raw
from ecglib.experiment import record as results
from ecglib.experiment.record import Record
from ecglib.report import check_text, recompute
from ecglib.report.check import check
from ecglib.report.check_records import check_records, faults, not_recomputed
from tests.report.example import hand_counted

METHODS, NOTEBOOK, RECORD = (
    "book/methods.qmd", "book/experiments/heartbeat/baseline.ipynb", "book/results/heartbeat/baseline.json",
)  # fmt: skip
LIST = "  chapters:\n    - index"
Plant = Callable[[Path], None]


def add(file: str, text: str) -> Plant:
    def plant(root: Path) -> None:
        with (root / file).open("a", encoding="utf-8") as stream:
            stream.write(f"\n{text}\n")

    return plant


def replace(file: str, old: str, new: str) -> Plant:
    def plant(root: Path) -> None:
        text = (root / file).read_text(encoding="utf-8")
        assert old in text
        (root / file).write_text(text.replace(old, new), encoding="utf-8")

    return plant


def remove(file: str) -> Plant:
    return lambda root: (root / file).unlink()


def edit(file: str, change: Callable[[Any], object]) -> Plant:
    """Change a notebook or a record through its JSON."""

    def plant(root: Path) -> None:
        content = json.loads((root / file).read_text(encoding="utf-8"))
        change(content)
        (root / file).write_text(json.dumps(content), encoding="utf-8")

    return plant


def code_cell(number: int, **values: Any) -> Plant:
    return edit(NOTEBOOK, lambda notebook: notebook["cells"][number].update(values))


ERROR = {"output_type": "error", "ename": "ValueError", "evalue": "no beats", "traceback": []}

OUTPUT = {"output_type": "display_data", "metadata": {}, "data": {"text/markdown": ["See ", "@fig-none."]}}

TEXTS = [
    ("{{< video x.mp4 >}}", "shortcode {{< video >}}"),
    ("A <b>bold</b> word.", "raw HTML <b>"),
    ("```{=html}\n<hr>\n```", "raw block"),
    ("\\newpage", "raw LaTeX \\newpage"),
    ("::: {.column-margin}\nAside.\n:::", "only callouts"),
    ("::: {#fig-two layout-ncol=2}\nAside.\n:::", "only callouts"),
    ('::: {.content-visible when-format="html"}\nx\n:::', "only callouts"),
    ("::: callout-note\nx\n:::", "in braces"),
    ("::: {.callout-note}\nx", "never closed"),
    (":::", "never opened"),
    ("```{python}\n1 + 1\n```", "executable block"),
    ("It is `{python} x` here.", "inline code to run"),
    ("A [word]{.aside} more.", "attributes `{.aside}`"),
    ("$$\nx\n$$ {#eq-x}", "attributes `{#eq-x}`"),
    ("![A beat](beat.svg){#fig-x .column-page}", ".column-page"),
    ('## More {#sec-more data-x="1"}', "data-x"),
    ("# One\n\n# Another title", "second heading"),
    ("The macro-F1 is 0.93 now.", "typed number '0.93'"),
    ("It rose by 5 % in all.", "typed number '5 %'"),
    ("There are 109 494 beats.", "typed number '109 494'"),
    ("There are 1,234 beats.", "typed number '1,234'"),
    ("There are 53957 weights.", "typed number '53957'"),
    ("The macro-F1 is `0.94` now.", "typed number '0.94'"),
    ("It is\n`0.003 [.789, 1]`.", "typed number '.789'"),
    ("It is `94 %` now.", "typed number '94 %'"),
    ("## Reaching 0.93", "typed number '0.93'"),
]

ALONE: list[tuple[Plant, str, str]] = [
    (replace("book/data.qmd", 'title: "', 'title: ["'), "book/data.qmd", "not readable as YAML"),
    (remove("book/notes.qmd"), "_quarto.yml", "missing chapter book/notes.qmd"),
    (remove(NOTEBOOK), "_quarto.yml", f"missing chapter {NOTEBOOK}"),
    (replace("_quarto.yml", LIST, "  pages:\n    - index"), "_quarto.yml", "chapters"),
    (replace(NOTEBOOK, '"cells"', "cells"), NOTEBOOK, "not readable as a notebook"),
    (edit(RECORD, lambda r: r["data"].update(sample=True)), RECORD, "data.sample"),
    (replace(RECORD, '"seeds"', '"seed"'), RECORD, "seeds"),
]
TOGETHER: list[tuple[Plant, str, *tuple[str, ...]]] = [
    # Syntax that only one renderer has
    (replace("book/data.qmd", "title:", "toc: false\ntitle:"), "book/data.qmd", "front matter `toc`"),
    (add("notebooks/heartbeat.py", "# %% [markdown]\n# A <b>word</b>."), "notebooks/heartbeat.py", "raw HTML <b>",
     "raw HTML </b>"),
    # References
    (add(METHODS, "See @fig-nothing."), METHODS, "dangling reference @fig-nothing"),
    (add(METHODS, "See [@tbl-nothing]."), METHODS, "dangling reference @tbl-nothing"),
    (add(METHODS, "See -@sec-nothing."), METHODS, "dangling reference @sec-nothing"),
    (add(METHODS, "## X {#sec-x .unnumbered}\n\nSee @sec-x."), METHODS, "dangling reference @sec-x"),
    (add(METHODS, "![A beat](beat.svg){#fig-beat}"), METHODS, "duplicate label fig-beat"),
    (code_cell(7, source="#| label: tbl-classes\nx"), NOTEBOOK, "duplicate label tbl-classes"),
    (add(METHODS, "As shown [@nobody1999]."), METHODS, "citation @nobody1999"),
    (add(METHODS, "It is {{< var no.such >}}."), METHODS, "missing variable no.such"),
    (add(METHODS, "{{< include _none.md >}}"), METHODS, "missing include _none.md"),
    # Chapters
    (add("_quarto.yml", "metadata-files: [book/more.yml]"), "_quarto.yml", "book/more.yml is missing"),
    (replace("_quarto.yml", 'part: "Methods"', "part: book/m.qmd"), "_quarto.yml", "part book/m.qmd"),
    (replace("_quarto.yml", LIST, f"  appendices: [x.qmd]\n{LIST}"), "_quarto.yml", "appendices"),
    (add("params/heartbeat/smote.yaml", "model: cnet"), "params/heartbeat/smote.yaml", "no chapter for this"),
    (remove("params/heartbeat/weighted.yaml"), "_quarto.yml", "no params/heartbeat/weighted"),
    # Notebooks
    (edit(NOTEBOOK, lambda n: n["metadata"]["papermill"].update(exception=True)), NOTEBOOK, "papermill met"),
    (code_cell(5, outputs=[ERROR, OUTPUT]), NOTEBOOK, "raised ValueError: no beats", "dangling reference @fig-none"),
    (code_cell(5, execution_count=None), NOTEBOOK, "cell 6 was not executed"),
    (code_cell(2, metadata={"tags": ["injected-parameters"]}), NOTEBOOK, "remove-cell"),
    (code_cell(4, source="*Not run yet.*"), NOTEBOOK, "says 'Not run', but there is a reference result"),
    # Typed numbers
    (add("notebooks/heartbeat.py", "# %% [markdown]\n# It is 0.91."), "notebooks/heartbeat.py", "typed number '0.91'"),
    (add("notebooks/heartbeat.py", '# %%\n#| fig-cap: "At 0.92"\nplot()'), "notebooks/heartbeat.py",
     "typed number '0.92'"),
    (add("book/_headline.md", "It is 0.93."), "book/_headline.md", "typed number '0.93'"),
    # Rendered pages
    (replace("_book/index.html", ">Table\u00a01<",
             '><strong>?@tbl-headline</strong><span class="quarto-unresolved-ref">?sec-x</span><'),
     "_book/index.html", "unresolved ?@tbl-headline", "unresolved ?sec-x"),
    (replace("_book/book/data.html", "</main>", """<a href="gone.html">x</a><img src="gone.svg">
         <a href="methods.html#gone">x</a><p>: Metrics {#tbl-x}</p>
         Beat {#fig-x width=50%} <code>{.a}</code> so{.class}</main>"""),
     "_book/book/data.html", "dead link gone.html", "dead link gone.svg", "has no such id",
     "attributes {#tbl-x} in the text", "attributes {#fig-x width=50%} in the text", "attributes {.class} in the text"),
]  # fmt: skip


@pytest.fixture
def book(fixture_book: Path, rendered_book: Path) -> Path:
    """A sound book with its pages."""
    shutil.copytree(rendered_book, fixture_book / "_book")
    return fixture_book


@pytest.mark.parametrize(("plant", "file", "message"), ALONE)
def test_a_planted_fault_is_found_in_its_file(book: Path, plant: Plant, file: str, message: str) -> None:
    plant(book)
    found = check(book, book / "_book")
    assert [problem for problem in found if problem.file == file and message in problem.message], found


def test_every_planted_fault_is_found_in_its_file_and_no_other(book: Path) -> None:
    for plant, *_ in TOGETHER:
        plant(book)
    found = check(book, book / "_book")
    for _, file, *messages in TOGETHER:
        for message in messages:
            said = [one for one in found if one.file == file and message in one.message]
            assert said, message
            found.remove(said[0])
    assert found == []


@pytest.mark.parametrize(("text", "message"), TEXTS)
def test_foreign_syntax_and_typed_numbers_are_found(text: str, message: str) -> None:
    found = [*check_text.foreign_syntax(text), *check_text.typed_numbers(text)]
    assert [one for one in found if message in one.message], found


def test_a_problem_names_its_line(book: Path) -> None:
    lines = (book / METHODS).read_text(encoding="utf-8").count("\n")
    add(METHODS, "It is 0.93.\n\n<br>")(book)
    assert [(p.line, str(p).split(":")[1]) for p in check(book)] == [
        (lines + 2, str(lines + 2)), (lines + 4, str(lines + 4)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "The rate `0.003` and ``1 234`` are constants.", "`ema: 0.998`, `0..1`, `v0.3`, `1.0.85` and `1.5`.",
        "In 2018, 5 networks; the 1990s.", "Records 100, 103 and 201.",
        "EC57:1998, V5, `~~~` and 5-fold.", "$p = 0.05$ and\n\n$$\nx = 0.5\n$$\n", "```python\nx = 0.5\n```\n",
        "~~~~\n```\n0.5\n```\n~~~~\n", "[site](https://x.org/1.0.0/12345)", "<https://x.org/1.0.0>",
        "[@moody2001, p. 1234]", "@moody2001 [p. 12.5]", "![x](a-0.5.svg){#fig-x width=50%}", "{{< var a.b-0.5 >}}",
        "<!-- 0.93 -->", "1. one\n2. two\n", "https://doi.org/10.1109/51.932724 here",
    ],
)  # fmt: skip
def test_what_is_no_result_may_be_typed(text: str) -> None:
    assert list(check_text.typed_numbers(text)) == []


def test_code_spans_may_hold_the_defaults_of_parameters_and_two_constants() -> None:
    defaults = [field.default for field in HeartbeatParameters.model_fields.values()]
    small = {str(value) for value in defaults if isinstance(value, float) and 0 < value < 1}
    assert small | {str(beats.AFTER / RATE), str(rhythm.PREMATURE)} >= check_text.CONSTANTS


@given(
    st.floats(0.001, 999).map(lambda x: f"{x:.3f}"), st.sampled_from(["is {}", "({})", "≥{},", "±{}", "**{}**", "{}"])
)
def test_every_decimal_in_prose_is_found(number: str, form: str) -> None:
    text = f"A line.\n\nThe value {form.format(number)} stands here, `1.5` does not count."
    assert [text[found.offset :].startswith(number) for found in check_text.typed_numbers(text)] == [True]


REFERENCES = ROOT / "book" / "results"


def test_the_committed_references_are_sound() -> None:
    assert len(list(REFERENCES.glob("*/*.json"))) >= 5
    assert [str(problem) for problem in check_records(ROOT)] == []


def test_a_multi_label_record_without_a_card_is_checked_for_its_intervals_alone() -> None:
    record = hand_counted() | {"task": "multilabel"}
    assert faults(Record.model_validate(record)) == []
    record["metrics"]["accuracy"].update(mean=0.5, low=0.4, high=0.6)
    assert len(faults(Record.model_validate(record))) == 1


# --- what the raw material gives --------------------------------------------------------------------------------------

HAND = ""
"""The result that was counted by hand."""
INTER, ADAPTED, BINARY, LABELS = (
    "heartbeat/inter-patient", "heartbeat/ecgnet-adapted", "infarction/gradual-12-lead", "twelve-lead/crnn",
)  # fmt: skip


@cache
def loaded(name: str) -> Record:
    return results.load(REFERENCES / f"{name}.json")


def reference(name: str) -> Any:
    """A committed result as one mapping, raw material and all, or `HAND`."""
    return loaded(name).model_dump(mode="json") if name else hand_counted()


def at(record: Any, *path: Any) -> Any:
    """A part of a record; `*` in its path stands for the first key."""
    for key in path:
        record = record[next(iter(record)) if key == "*" else key]
    return record


def nudge(*path: Any, by: float = 1e-6) -> Callable[[Any], object]:
    """Add to one number of a record."""
    return lambda record: operator.setitem(at(record, *path[:-1]), path[-1], at(record, *path) + by)


def nudged_seed(*path: str) -> Callable[[Any], object]:
    """Change a metric under one seed, and its mean with it."""
    return lambda record: (nudge(*path, "per_seed", 1, by=3e-6)(record), nudge(*path, "mean")(record))


def scored(*path: str, **values: Any) -> Callable[[Any], object]:
    """Change a metric."""
    return lambda record: at(record, *path).update(values)


def swapped(record: Any) -> None:
    """Change the scores of the first two recordings of different classes for one another."""
    scores = record["infarction"]["scores"]["all"]
    names = [
        next(name for name, one in record["by_record"].items() if one[0][1][1] == ill and one[0][0][0] != ill)
        for ill in (0, 1)
    ]
    scores[names[0]][0], scores[names[1]][0] = scores[names[1]][0], scores[names[0]][0]


EDITS = [
    (HAND, scored("metrics", "accuracy", per_seed=[0.9, 0.76], mean=0.83), "accuracy: 0.9 for"),
    (HAND, scored("metrics", "accuracy", low=0.9, high=0.95), "low 0.9 lies above"),
    (HAND, scored("metrics", "accuracy", low=0.1, high=0.2), "high 0.2 lies below"),
    (HAND, scored("per_class", "Q", "se", per_seed=[0.0, 0.0], mean=0.0), "Q.se: 0.0"),
    (HAND, lambda r: r["confusion"].pop(), "ask for 2 matrices"),
    (HAND, lambda r: r["confusion"][0][0].pop(), "matrices of 3 x 3"),
    (HAND, lambda r: r["data"].update(n_test=26), "25 beats for seed 0"),
    (HAND, lambda r: r.update(macro_classes=["N", "X"]), "classes: X missing"),
    (HAND, lambda r: r.update(seeds=[], confusion=[]), "seeds: none"),
    (HAND, lambda r: r.update(profile="quick"), "profile: quick"),
    (HAND, lambda r: r.update(overridden=["ema"]), "overridden: ema"),
    (HAND, lambda r: r.update(scored="val"), "scored: val"),
    (HAND, scored("metrics", "accuracy", per_seed=[0.8], mean=0.8), "1 values, but 2 seeds"),
    (INTER, nudge("by_record", "*", 1, 0, 0, by=1), "by_record: does not add up"),
    (INTER, lambda r: (nudge("by_record", "100", 0, 0, 0, by=-9)(r), nudge("by_record", "103", 0, 0, 0, by=9)(r)),
     "low"),
    (INTER, nudge("intervals", "n", by=1), "metrics.macro_f1: low"),
    (INTER, lambda r: (r["moved"].update(by_record={}), nudged_seed("moved", "per_class", "V", "se")(r)),
     "moved.per_class.V.se: "),
    (INTER, lambda r: r["moved"]["confusion"].pop(), "moved.confusion: 3 seeds and 5 classes ask for"),
    (ADAPTED, nudge("unadapted", "by_record", "*", 0, 0, 1, by=1), "unadapted."),
    (BINARY, swapped, "infarction.scores"),
    (BINARY, lambda r: r["infarction"]["patients"].update(
        dict.fromkeys(list(r["infarction"]["patients"])[:9], "one")), "metrics.se: low"),
    (BINARY, lambda r: r["by_record"].update({"*": r["by_record"].pop(next(iter(r["by_record"])))}),
     "raw material: its parts don't fit"),
    (LABELS, nudge("confusion", 0, 0, 0, by=1), "per_class."),
    (LABELS, nudge("twelve_lead", "truth", "*", 0, by=1), "twelve_lead.truth"),
    (LABELS, lambda r: r["twelve_lead"]["probabilities"].update(
        {name: [[1.0] * 5] * 3 for name in list(r["twelve_lead"]["probabilities"])[:30]}), "macro_au"),
]  # fmt: skip
EDITS_AT_ONCE = [
    (INTER, nudge("metrics", "mcc", "low"), "metrics.mcc: low"),
    (INTER, nudge("ec57", "VEB", "fpr", "high", by=1e-8), "ec57.VEB.fpr: high"),
    (INTER, nudged_seed("metrics", "accuracy"), "metrics.accuracy: "),
    (INTER, nudge("metrics", "macro_f1", "mean"), "metrics.macro_f1: mean"),
    (INTER, nudge("per_class", "S", "f1", "high"), "per_class.S.f1: high"),
    (INTER, nudge("without_202", "ec57", "SVEB", "se", "low"), "without_202.ec57.SVEB.se: low"),
    (INTER, lambda r: r["ec57"]["SVEB"].pop("se"), "ec57.SVEB.se: missing"),
    (INTER, lambda r: r["metrics"].pop("macro_f1_nsv"), "metrics.macro_f1_nsv: missing"),
    (INTER, lambda r: r["without_202"].pop("per_class"), "without_202.per_class.F.ppv: missing"),
    (INTER, lambda r: r["without_202"]["metrics"].pop("macro_auroc"), "without_202.metrics.macro_auroc: missing"),
    (INTER, lambda r: r["right"].reverse(), "right: "),
    (INTER, scored("moved", "per_class", "S", "f1", mean=0.5, per_seed=[0.5] * 3),
     "moved.per_class.S.f1: 0.5 for seed 0, but the raw material gives"),
    (INTER, nudge("moved", "ec57", "SVEB", "f1", "high"), "moved.ec57.SVEB.f1: high"),
    (INTER, nudge("moved", "without_202", "per_class", "F", "se", "low"), "moved.without_202.per_class.F"),
    (INTER, lambda r: r["moved"]["ec57"].pop("VEB"), "moved.ec57.VEB.se: missing"),
    (INTER, lambda r: r["moved"]["without_202"]["metrics"].pop("mcc"), "moved.without_202.metrics.mcc: missing"),
    (INTER, nudge("moved", "by_record", "100", 0, 0, 0, by=1), "moved.by_record: does not add up to confusion"),
    (INTER, lambda r: r["moved"]["right"].reverse(), "moved.right: "),
    (INTER, lambda r: r["moved"]["metrics"]["macro_auroc"].update(mean=2.0), "moved.metrics.macro_auroc"),
    (ADAPTED, nudged_seed("unadapted", "per_class", "S", "se"), "unadapted.per_class.S.se"),
    (ADAPTED, nudge("unadapted", "metrics", "mcc", "low"), "unadapted.metrics.mcc: low"),
    (BINARY, nudged_seed("metrics", "sp"), "metrics.sp"),
    (BINARY, nudge("metrics", "accuracy", "high"), "metrics.accuracy: high"),
    (BINARY, nudge("per_class", "infarction", "f1", "low"), "per_class.infarction.f1: low"),
    (BINARY, nudged_seed("per_class", "healthy", "se"), "per_class.healthy.se"),
    (BINARY, nudge("metrics", "auroc", "high", by=1e-3), "metrics.auroc: high"),
    (BINARY, nudge("metrics", "auprc", "low", by=1e-3), "metrics.auprc: low"),
    ("infarction/scratch", nudge("infarction", "curve", "5", "low", by=1e-3), "infarction.curve.5: low"),
    (LABELS, nudged_seed("per_class", "NORM", "f1"), "per_class.NORM.f1: "),
    (LABELS, nudged_seed("metrics", "macro_se"), "metrics.macro_se: "),
    (LABELS, scored("metrics", "macro_auroc", per_seed=[0.5] * 3, mean=0.5, low=0.4), "metrics.macro_auroc: 0.5 for"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "change", "message"), EDITS)
def test_a_changed_number_of_a_reference_is_found(name: str, change: Callable[[Any], object], message: str) -> None:
    record = reference(name)
    change(record)
    found = faults(Record.model_validate(record))
    assert [one for one in found if message in one], found


@pytest.mark.parametrize("name", dict.fromkeys(name for name, _, _ in EDITS_AT_ONCE))
def test_every_changed_number_of_a_reference_is_found(name: str) -> None:
    record, mine = reference(name), [row for row in EDITS_AT_ONCE if row[0] == name]
    for _, change, _ in mine:
        change(record)
    found = "\n".join(["", *faults(Record.model_validate(record))])
    assert [message for _, _, message in mine if f"\n{message}" not in found] == []


@pytest.mark.parametrize("name", [INTER, BINARY])
def test_a_metric_that_came_later_may_be_missing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    per_class = metrics.per_class
    added = {"novel": lambda m: per_class(m)["se"] / 2}
    monkeypatch.setattr(metrics, "per_class", lambda m: per_class(m) | {key: one(m) for key, one in added.items()})
    assert any(field.endswith(".novel") for field in recompute.again(loaded(name)))
    assert not list(faults(loaded(name)))


def test_a_scoring_of_ds2_without_its_line_in_the_log_is_found(tmp_path: Path) -> None:
    record = loaded(INTER)
    record.save(tmp_path / "book" / "results" / f"{INTER}.json")
    lines = (REFERENCES / "test-reads.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    log = tmp_path / "book" / "results" / "test-reads.jsonl"
    log.write_text("".join(line for line in lines if not (record.key in line and '"seed": 1' in line)))
    (problem,) = check_records(tmp_path)
    assert problem.message.startswith("seed 1: scored on DS2, but test-reads.jsonl has no line of it")
    log.write_text("no JSON", encoding="utf-8")
    assert len(list(check_records(tmp_path))) == 3


def test_a_parquet_file_changed_by_itself_is_found(tmp_path: Path) -> None:
    file = tmp_path / "book" / "results" / f"{BINARY}.json"
    loaded(BINARY).save(file)
    assert list(check_records(tmp_path)) == []
    table = pd.read_parquet(file.with_suffix(".parquet"))
    table.loc[table["table"] == "infarction.scores", "score"] += 0.001
    table.to_parquet(file.with_suffix(".parquet"))
    (problem,) = check_records(tmp_path)
    assert problem.message.startswith("damaged, or of another run")


def test_classes_and_scores_of_beats_must_fit_the_confusion_matrix() -> None:
    record = reference("heartbeat/baseline")
    predicted = np.repeat(np.arange(5), np.sum(record["confusion"][0], axis=0)).astype(np.uint8)
    levels = np.full((5, len(predicted)), 10, dtype=np.uint8)
    levels[predicted, np.arange(len(predicted))] = 215

    def messages(predicted: NDArray[np.uint8]) -> list[str]:
        scores = {name: raw.pack(one) for name, one in zip("NSVFQ", levels, strict=True)}
        found = faults(Record.model_validate(record | {"predicted": raw.pack(predicted), "class_scores": scores}))
        return [message.split(":")[0] for message in found]

    assert messages(predicted) == []
    assert messages(np.roll(predicted, 1)) == ["class_scores"]
    assert messages(np.append(predicted[1:], np.uint8(4))) == ["predicted"]


def test_rounded_scores_bound_an_area_closely() -> None:
    for field, one in recompute.again(loaded(BINARY)).items():
        for least, most in ((one.least.mean, one.most.mean), (one.least.low, one.most.low)):
            assert least is most is None or (least is not None and most is not None and 0 <= most - least < 1e-3), field


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4), st.integers(0, 3)), min_size=2, max_size=9))
def test_an_area_lies_between_those_of_the_worst_and_the_best_order(rows: list[tuple[bool, int, int]]) -> None:
    positive = np.array([one[0] for one in rows])
    fine = np.array([one[1] + one[2] / 8 for one in rows])  # the scores, of which only the first part was recorded
    drawn = np.random.default_rng(0).integers(0, 4, (20, len(rows)))
    limits = recompute.areas_of(positive, np.floor(fine)[None] / 10_000, drawn, digits=4)
    values_of = ranking.auroc_auprc(fine, positive, np.arange(len(rows)), drawn)
    for name, values in zip(("auroc", "auprc"), values_of, strict=True):
        least, most = limits[name]
        undefined = np.isnan(values)
        assert (np.isnan(least[0]) == undefined).all()
        assert (np.isnan(most[0]) == undefined).all()
        assert (least[0][~undefined] <= values[~undefined] + 1e-12).all()
        assert (values[~undefined] <= most[0][~undefined] + 1e-12).all()


def test_what_can_not_be_computed_again_is_named_by_kind() -> None:
    records = list(map(loaded, (INTER, ADAPTED, BINARY, LABELS)))
    beats, binary, labels, bounds = not_recomputed(records)
    assert beats.startswith("multiclass: not computed again, for want of raw material: metrics.macro_auprc (2), ")
    assert "per_class.*.auroc (2)" in beats
    assert "f1" not in beats
    assert "infarction.beat_metrics (1)" in binary
    assert "metrics.ece (1)" in binary
    assert "metrics.auroc" not in binary
    assert "per_class.*.ece (1)" in labels
    assert "macro_f1" not in labels
    assert bounds.startswith("multilabel, low and high: ")
    assert "metrics.macro_f1 (1)" in bounds
    assert not_recomputed([]) == []
