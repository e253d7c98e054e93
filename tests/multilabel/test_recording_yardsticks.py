"""Yardsticks of whole recordings, on real ones: they know the label, and nothing of the fold that they score."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from ecglib.data import record_sources, sources
from ecglib.data.twelve_lead import TwelveLead
from ecglib.multilabel import yardsticks

TEST = 10


def test_they_know_normal_recordings_and_not_the_labels_of_their_fold(real_ptb_xl: Path) -> None:
    whole = record_sources.ptb_xl(sources.get("ptb-xl"))
    source = replace(whole, entries=whole.entries[:200])
    data = TwelveLead(source, rate=100.0)
    fold = np.array([entry.fold for entry in source.entries])
    y = record_sources.labels(source)[:, [source.classes.index("NORM")]]
    scored = fold == TEST
    found = yardsticks.scores(data, y, fold, [TEST])
    assert list(found) == list(yardsticks.NAMES)
    for name, values in found.items():
        assert np.isnan(values[~scored]).all(), name
        assert roc_auc_score(y[scored, 0], values[scored, 0]) > 0.6, name
    other = np.where(scored[:, None], ~y, y)
    for name, values in yardsticks.scores(data, other, fold, [TEST]).items():
        np.testing.assert_array_equal(values, found[name], err_msg=name)
