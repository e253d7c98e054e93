"""Yardsticks beside networks: which belong to a result, by one rule."""

from __future__ import annotations

from typing import Any

import pytest
from test_infarctions import example, yardstick

from ecglib.report.yardsticks import beside


def test_a_yardstick_belongs_to_what_read_the_same_and_is_divided_alike() -> None:
    one = yardstick("median_beat", cut="median beat")
    assert beside(example("finetune"), [one]) == {"median beat": one}
    assert beside(one, [one]) == {}, "a yardstick has none beside it"
    apart: list[dict[str, Any]] = [
        {"leads": ["V1"]}, {"protocol": "by-beat"}, {"folds": 4}, {"database": "ptbdb"}, {"max_records": 20}
    ]  # fmt: skip
    for other in apart:
        assert beside(example("finetune", **other), [one]) == {}, other
    people = yardstick()
    assert beside(example("finetune", leads=["V1"]), [people, one]) == {"age and sex": people}, "it reads no lead"
    assert beside(example("finetune", folds=4), [people]) == {}


@pytest.mark.parametrize("changed", ["seeds", "classes", "fingerprint", "task"])
def test_what_rests_on_something_else_is_not_paired(changed: str) -> None:
    record, one = example("finetune"), yardstick()
    if changed == "fingerprint":
        record.data.fingerprint = "other"
    else:
        record = record.model_copy(
            update={changed: {"seeds": [0], "classes": ["a", "b"], "task": "multilabel"}[changed]}
        )
    assert beside(record, [one]) == {}
