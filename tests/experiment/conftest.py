"""What tests of experiments share."""

from __future__ import annotations

import pytest
import torch

from ecglib import tracking
from ecglib.experiment import record as results
from ecglib.training import device as devices


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[results.Record]:
    """Runs are not logged but listed here, the processor is not probed, and there is no GPU."""
    records: list[results.Record] = []
    monkeypatch.setattr(tracking, "log", lambda record, folder: records.append(record))
    monkeypatch.setattr(devices, "faster_precision", lambda *_: "float32")
    monkeypatch.setattr(devices, "choose", lambda wish="auto": torch.device("cpu"))
    return records
