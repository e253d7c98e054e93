from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

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
    monkeypatch.setattr(device, "ROUND_SECONDS", 0.01)
    cpu, make = torch.device("cpu"), lambda: CNet(1, 187, 5, width=4)
    torch.manual_seed(0)
    first = device.choose_precision("auto", cpu, make, ((16, 1, 187), 0), tmp_path)
    drawn = torch.rand(1)
    torch.manual_seed(0)
    make()  # the key is made from the network's description, which draws weights
    assert first[0] in device.DTYPES and first[1].startswith("bfloat16 has ")
    assert torch.equal(torch.rand(1), drawn)
    monkeypatch.setattr(device, "faster_precision", lambda *_: pytest.fail("probed"))
    for wish, found in (("auto", first), ("float32", ("float32", "as the parameters say"))):
        assert device.choose_precision(wish, cpu, make, ((16, 1, 187), 0), tmp_path) == found


def test_features_and_sequences_are_probed_in_their_own_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "ROUND_SECONDS", 0.01)
    seen: set[tuple[tuple[int, ...], tuple[int, ...] | None]] = set()

    class Watched(nn.Linear):
        def forward(self, x: torch.Tensor, features: torch.Tensor | None = None) -> torch.Tensor:
            seen.add((tuple(x.shape), None if features is None else tuple(features.shape)))
            return super().forward(x)

    for batch in (((8, 2, 50), 7), ((4, 3, 1, 50), 0)):
        assert device.faster_precision(torch.device("cpu"), lambda: Watched(50, 5), batch)[0] in device.DTYPES
    assert seen == {((8, 2, 50), (8, 7)), ((4, 3, 1, 50), None)}


def test_determinism_is_put_back() -> None:
    with device.determinism(True):
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
