"""The chapter *In use*: what was measured agrees with its raw material, and what is shown says so."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from excerpts import SAMPLE
from projects import ROOT

from ecglib import aami, serving
from ecglib.evaluation import matching, metrics
from ecglib.report import in_use
from ecglib.serving import annotate


@pytest.fixture(autouse=True)
def in_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECGLIB_ROOT", str(ROOT))


@pytest.mark.parametrize("kind", ["given", "detected"])
def test_what_was_measured_follows_from_the_matrices_of_the_records(kind: str) -> None:
    found = in_use.measured()[kind]
    assert sorted(found.by_record) == sorted(aami.DS2) and not found.passed_over and not found.sample
    whole = np.sum([np.array(matrix) for matrix in found.by_record.values()], 0)
    for i, name in enumerate(aami.CLASSES):
        assert found.counts[name] == whole[i].sum()
        for metric, values in metrics.per_class(whole).items():
            assert found.per_class[name][metric].mean == pytest.approx(values[i], nan_ok=True) or np.isnan(values[i])
    for name, of_kind in metrics.ec57(whole, list(aami.CLASSES)).items():
        assert found.ec57[name]["f1"].mean == pytest.approx(float(of_kind["f1"]))
    if kind == "detected":
        detected = matching.detection(whole)
        assert {name: value.mean for name, value in found.detection.items()} == pytest.approx(
            {name: float(value) for name, value in detected.items()}
        )


def test_the_table_leaves_the_record_out_that_holds_most_of_s() -> None:
    found = in_use.measured()
    lines = {line.split("|")[1].strip(): line for line in in_use.peaks(found).splitlines()[2:]}
    assert list(lines)[:4] == ["N F1", "S F1", "S F1 without 232", "V F1"]
    for kind in ("given", "detected"):
        kept = np.sum([np.array(m) for name, m in found[kind].by_record.items() if name != "232"], 0)
        assert f"{metrics.per_class(kept)['f1'][1]:.3f}" in lines["S F1 without 232"]


def test_the_verdict_names_what_is_beyond_the_bar() -> None:
    found = in_use.measured()
    for name in "VS":
        lost = found["given"].per_class[name]["f1"].mean - found["detected"].per_class[name]["f1"].mean
        within = "within" if lost <= in_use.BAR else "beyond"
        assert f"{name} F1 goes from {found['given'].per_class[name]['f1'].mean:.3f}" in in_use.verdict(found)
        assert f"{found['detected'].per_class[name]['f1'].mean:.3f}, {within}" in in_use.verdict(found)
    assert "not run" in in_use.peaks({}).lower() and not in_use.verdict({})


def test_a_recording_is_told_and_its_busiest_strip_found() -> None:
    model = serving.load("ecglib:ecgnet")
    annotated = annotate.annotate(model, SAMPLE / "208")
    text = in_use.summary(annotated.summary)
    assert f"{annotated.summary['counts']['V']} V" in text and "MLII" in text
    strip = in_use.busiest_strip(annotated, model.card.classes)
    assert strip["signals_mv"].shape == (2, 3600)
    inside = (strip["samples"] >= strip["start"]) & (strip["samples"] < strip["start"] + 3600)
    assert {"N", "V"} <= set(np.array(strip["symbols"])[inside])


def test_rows_are_cut_short() -> None:
    row = {
        "record": "100",
        "sample": 5,
        "class": "N",
        "p_N": 0.98765,
        "version": "0123456789abcdef",
        "time": pd.Timestamp(0),
    }
    text = in_use.rows(pd.DataFrame([row] * 7))
    assert len(text.splitlines()) == 7 and "01234567…" in text and "0.988" in text


def test_every_embedded_model_stands_in_the_table() -> None:
    assert all(f"`ecglib:{name}`" in in_use.embedded() for name in ("cnet", "ecgnet", "xresnet"))
