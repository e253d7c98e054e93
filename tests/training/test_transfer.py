"""What is taken over from a pretrained network, what learns on, and how fast."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from ecglib.errors import UserError
from ecglib.models import registry
from ecglib.training import transfer
from ecglib.training.transfer import Transferred

MODELS = ["cnet", "baseline_cnn", "enhanced_cnn", "dual_path", "bilstm", "bigru", "seq2seq"]


def public_cnet(state: dict[str, Tensor], x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The public CNet's formula, from plain functions: `(batch, 1, 187)` to logits, and what each stage puts out."""
    stages = []

    def conv(x: Tensor, name: str, padding: int) -> Tensor:
        return F.conv1d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=padding)

    x = conv(x, "c1", 0)
    for i in range(5):
        y = conv(F.relu(conv(x, f"cresids.{i}.c1", 2)), f"cresids.{i}.c2", 2)
        x = F.max_pool1d(F.relu(x + y), 5, 2)
        stages.append(x)
    x = F.relu(F.linear(x.flatten(1), state["fc1.weight"], state["fc1.bias"]))
    return F.linear(x, state["fc2.weight"], state["fc2.bias"]), stages


@pytest.fixture
def pretrained() -> dict[str, Tensor]:
    torch.manual_seed(5)
    return registry.build("cnet", 1, 187, 5).state_dict()


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_public_state_dict_gives_that_networks_logits_and_stages(
    pretrained: dict[str, Tensor], prefix: str, suffix: str, tmp_path: Path
) -> None:
    path, named = tmp_path / f"cnet{suffix}", {prefix + name: t for name, t in pretrained.items()}
    torch.save(named, path) if suffix == ".pt" else save_file(named, path)
    state = transfer.read_weights(path)
    model = registry.build("cnet", 1, 187, 5).eval()
    model.load_state_dict(state)
    x = torch.rand(7, 1, 187)
    logits, stages = public_cnet(state, x)
    torch.testing.assert_close(model(x), logits)
    new = Transferred("cnet", 1, 187, 2)
    loaded, skipped = new.take(state, path)
    assert skipped == ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]
    assert len(loaded) == len(state) - 4
    torch.testing.assert_close(new.eval()(x), new.head(torch.cat([y.amax(2) for y in stages[-3:]], 1)))


class _Code:
    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('code ran')",)


UNSAFE, NONE = "can't be loaded safely", "no plain state dict"


def test_files_that_are_no_weights_are_refused(tmp_path: Path, pretrained: dict[str, Tensor]) -> None:
    path, safe = tmp_path / "weights.pt", tmp_path / "a.safetensors"
    with pytest.raises(UserError, match="no such file"):
        transfer.read_weights(path)
    code = pickle.dumps({"c1.weight": _Code()})
    for place, raw, said in ((path, code, UNSAFE), (path, b"", UNSAFE), (safe, b"12345678", "damaged")):
        place.write_bytes(raw)
        with pytest.raises(UserError, match=said):
            transfer.read_weights(place)
    bias = {
        "not finite real": torch.zeros(32, dtype=torch.complex64),
        "not finite": torch.full((32,), torch.nan),
        "no dense tensor": torch.zeros(32).to_sparse(),
    }
    for content, said in (
        ({"c1.weight": _Code()}, UNSAFE),
        (registry.build("cnet", 1, 187, 5), UNSAFE),
        ({}, NONE),
        ([torch.zeros(1)], NONE),
        ({"epoch": 3, "state_dict": pretrained}, rf"{NONE} \(one may be in it, under 'state_dict'\)"),
        ({**pretrained, "module.c1.weight": pretrained["c1.weight"]}, "two tensors of one name"),
        *(({**pretrained, "c1.bias": bad}, rf"c1\.bias .*{said}") for said, bad in bias.items()),
    ):
        torch.save(content, path)
        with pytest.raises(UserError, match=said):
            transfer.read_weights(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("cresids.3.c1.bias"), r"missing: cresids\.3\.c1\.bias"),
        (lambda s: s.update(attention=torch.zeros(2)), "unknown: attention"),
        (lambda s: s.update({"c1.weight": torch.zeros(16, 1, 5)}), r"of another shape: c1\.weight"),
    ],
)
def test_another_network_is_refused_by_the_names_of_its_layers(
    pretrained: dict[str, Tensor], change: Any, said: str
) -> None:
    state = dict(pretrained)
    change(state)
    with pytest.raises(UserError, match=said):
        Transferred("cnet", 1, 187, 2).take(state, "file")


@pytest.mark.parametrize("name", MODELS)
def test_every_network_can_be_transferred(name: str) -> None:
    torch.manual_seed(0)
    old = registry.build(name, 1, 187, 5)
    new = Transferred(name, 1, 187, 2)
    assert not any(t for each, t in new.state_dict().items() if each.endswith("num_batches_tracked")), "it saw nothing"
    loaded, skipped = new.take(old.state_dict(), "old")
    now = new.trunk.state_dict()
    assert set(loaded) == set(now) and set(skipped) == set(old.state_dict()) - set(now)
    assert all(torch.equal(now[each], old.state_dict()[each]) for each in loaded)
    assert new(torch.rand(3, 1, 187)).shape == (3, 2)
    frozen = new.freeze()
    learning = [p for p in new.parameters() if p.requires_grad]
    assert len(frozen) + len(learning) == len(list(new.parameters()))
    assert len(learning) == len(list(new.head.parameters())) == 4
    assert not new.train().trunk.training


def test_the_networks_own_options_are_not_the_heads() -> None:
    new = Transferred("bilstm", 1, 187, 2, hidden=16, dropout=0.5, options={"hidden": 8, "dropout": 0.1})
    assert new.head.state_dict()["2.weight"].shape == (16, 4 * 8)
    assert new.trunk.get_submodule("dropout").p == 0.1


@pytest.mark.parametrize("name", ["cnet", "bilstm", "seq2seq"])
def test_twelve_leads_share_the_network(name: str) -> None:
    """Each lead is read as a lead alone would be, and the head reads what all gave, in their order."""
    torch.manual_seed(0)
    twelve = Transferred(name, 12, 187, 2).eval()
    x = torch.rand(4, 12, 187)
    alone = torch.cat([twelve.read(x[:, i : i + 1]) for i in range(12)], 1)
    torch.testing.assert_close(twelve(x), twelve.head(alone), rtol=1e-4, atol=1e-5)
    one = Transferred(name, 1, 187, 2)
    assert sum(p.numel() for p in twelve.trunk.parameters()) == sum(p.numel() for p in one.trunk.parameters())


def test_the_heads_weights_have_a_decay_of_their_own_its_biases_none_and_frozen_layers_learn_nothing() -> None:
    model = Transferred("cnet", 1, 187, 2)
    found = transfer.groups("finetune", 0.5, 7.0, 0.01)(model)
    assert [group.weight_decay for group in found] == [7.0, 0.0] + [0.01] * 11
    assert [group.share(1.0) for group in found] == [1.0, 1.0, *(0.5**depth for depth in range(1, 12))]
    assert found[-1].parameters[0] is model.trunk.get_submodule("c1").weight, "the deepest layer is the slowest"
    sizes = [sum(p.numel() for p in group.parameters) for group in found]
    assert sum(sizes) == sum(p.numel() for p in model.parameters())
    model.freeze()
    assert len(transfer.groups("frozen", 0.5, 7.0, 0.01)(model)) == 2


@pytest.mark.parametrize("way", ["scratch", "frozen", "finetune", "gradual"])
def test_shares_of_the_rate(way: transfer.Way) -> None:
    for depth in range(12):
        shares = [transfer.share_of_rate(way, depth, 12, done, 0.8) for done in np.linspace(0, 1, 41)]
        assert shares == sorted(shares)
        assert shares[20] == shares[-1] == (1.0 if way in ("scratch", "frozen") else pytest.approx(0.8**depth))
        assert (shares[0] == 0) == (way == "gradual" and depth > 0)
