"""The chapter *In use*: what was measured agrees with its raw material. What it shows is in its snapshot."""

from __future__ import annotations

import numpy as np
import pytest
from projects import ROOT

from ecglib import aami
from ecglib.evaluation import matching, metrics
from ecglib.report import in_use


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


def test_what_was_not_measured_says_so() -> None:
    assert in_use.peaks({}) == in_use.speed({}) == "Not run." and not in_use.verdict({})
