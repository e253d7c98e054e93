from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ecglib.errors import UserError
from ecglib.models.cnet import CNet
from ecglib.training import device


def test_the_cpu_is_always_there_and_a_missing_device_is_refused() -> None:
    assert device.choose("cpu").type == "cpu"
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="cuda is not available"):
            device.choose("cuda")


def test_the_probe_leaves_the_generator_alone_and_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu, make = torch.device("cpu"), lambda: CNet(1, 187, 5, width=4)
    torch.manual_seed(0)
    first = device.choose_precision("auto", cpu, make, (16, 1, 187), tmp_path)
    drawn = torch.rand(1)
    torch.manual_seed(0)
    make()  # the key is made from the network's description, which draws weights
    assert first in device.DTYPES
    monkeypatch.setattr(device, "_probe", lambda *_: "float64")
    assert device.choose_precision("auto", cpu, make, (16, 1, 187), tmp_path) == first
    assert 0 <= float(drawn) <= 1


def test_a_stated_precision_is_not_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_probe", lambda *_: pytest.fail("probed"))
    assert device.choose_precision("float32", torch.device("cpu"), lambda: CNet(1, 187, 5), (4, 1, 187)) == "float32"


def test_determinism_is_put_back() -> None:
    with device.determinism(True):
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
