from __future__ import annotations

import numpy as np
import pandas as pd
from report.example import example_record

from ecglib import aami
from ecglib.data.beats import Beats
from ecglib.report import tables, words


def full(record):
    record.parameters |= {"model": "cnet", "imbalance": "smote"}
    record.n_parameters = 53_957
    return record


def test_synthetic_data_is_said_in_red() -> None:
    assert tables.SYNTHETIC in words.provenance(full(example_record(synthetic=True)))


def test_the_set_that_was_scored_is_named() -> None:
    record = full(example_record())
    assert words.result(record).startswith("On the test set, over N, S, V, F, Q, macro-F1 is")
    record.scored = "val"
    assert words.result(record).startswith("On the validation set, over")
    assert "none to test on" in words.provenance(record)


def test_the_concentration_of_rare_beats() -> None:
    table = pd.DataFrame(0, index=["100", "213", "232", "101"], columns=list(aami.CLASSES))
    table.loc[["100", "232", "101"], "S"] = [25, 75, 1000]
    table.loc["213", "F"] = 4
    text = words.concentration(table)
    assert text == (
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
    lines = tables.cut_counts(beats, {"N": 2, "S": 0, "V": 1, "F": 0, "Q": 0}).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert rows[0] == ["N", "2", "2"]
    assert rows[5] == ["all", "3", "3"]
    assert rows[6][:2] == ["left out: no next beat", "1"]
