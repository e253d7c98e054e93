"""What the recurrent models share: a beat as a row of patches, two bidirectional layers, pooling over time.

The layers are `nn.LSTM` and `nn.GRU` to their users and to a GPU; on a CPU their steps are computed here, both
directions in one matrix product.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecglib.models.layers import StepDropout, refuse_below_one


def _pair(layer: nn.RNNBase, name: str) -> Tensor:
    """A weight of both directions as `(2, in, out)`, a bias as `(2, 1, out)`, in the precision to compute in."""
    pair = torch.stack([getattr(layer, f"{name}_l0"), getattr(layer, f"{name}_l0_reverse")])
    if torch.is_autocast_enabled("cpu"):
        pair = pair.to(torch.get_autocast_dtype("cpu"))
    return pair.transpose(1, 2) if pair.dim() == 3 else pair.unsqueeze(1)


def _project(layer: nn.RNNBase, x: Tensor, bias: Tensor) -> Tensor:
    """Input part of all gates, `(2, steps, batch, gates · hidden)`, the second direction from the last step on."""
    both = torch.stack([x, x.flip(0)])
    projected = torch.baddbmm(bias, both.flatten(1, 2), _pair(layer, "weight_ih"))
    return projected.view(2, *x.shape[:2], -1)


def _in_time(outputs: list[Tensor]) -> Tensor:
    """Outputs `(2, batch, hidden)` of every step as `(steps, batch, 2 · hidden)`, both directions in time order."""
    forward, backward = torch.stack(outputs, 1)
    return torch.cat([forward, backward.flip(0)], 2)


class LSTM(nn.LSTM):
    """One bidirectional `nn.LSTM` layer from zero states, `(steps, batch, inputs)` to `(steps, batch, 2 · hidden)`."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(inputs, hidden, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        if x.device.type != "cpu":
            return super().forward(x)[0]
        projected = _project(self, x, _pair(self, "bias_ih") + _pair(self, "bias_hh"))
        weight = _pair(self, "weight_hh")
        cell = projected.new_zeros(2, projected.shape[2], self.hidden_size)
        outputs = [cell]
        for step in projected.unbind(1):
            i, f, g, o = torch.baddbmm(step, outputs[-1], weight).chunk(4, 2)
            cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
            outputs.append(torch.sigmoid(o) * torch.tanh(cell))
        return _in_time(outputs[1:])


class GRU(nn.GRU):
    """One bidirectional `nn.GRU` layer from zero states, `(steps, batch, inputs)` to `(steps, batch, 2 · hidden)`."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(inputs, hidden, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        if x.device.type != "cpu":
            return super().forward(x)[0]
        projected = _project(self, x, _pair(self, "bias_ih"))
        weight, bias = _pair(self, "weight_hh"), _pair(self, "bias_hh")
        gates = 2 * self.hidden_size
        outputs = [projected.new_zeros(2, projected.shape[2], self.hidden_size)]
        for step in projected.unbind(1):
            recurrent = torch.baddbmm(bias, outputs[-1], weight)
            r, z = torch.sigmoid(step[..., :gates] + recurrent[..., :gates]).chunk(2, 2)
            n = torch.tanh(step[..., gates:] + r * recurrent[..., gates:])
            outputs.append(n + z * (outputs[-1] - n))
        return _in_time(outputs[1:])


class PatchRNN(nn.Module):
    """Recurrent layers over the patches of a beat, mean and maximum over time, a linear head.

    Time is the beat's own, never the batch: non-overlapping patches of `patch` samples of all leads, the last one
    padded with zeros, 17 steps for 187 samples. Dropout stands between single layers, of the same units at every step,
    and before the head: that of a stacked `nn.LSTM` is not reproducible on a GPU.
    There are so many bidirectional `layers`, one on the other, with `hidden` units in each direction.
    """

    MIN_SAMPLES = 1
    LAYER: type[LSTM] | type[GRU]

    def __init__(
        self,
        n_leads: int,
        n_samples: int,
        n_classes: int,
        *,
        hidden: int = 128,
        layers: int = 2,
        patch: int = 11,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        refuse_below_one(hidden=hidden, layers=layers, patch=patch)
        self.patch, self.padding = patch, -n_samples % patch
        widths = (n_leads * patch, *(2 * hidden for _ in range(layers - 1)))
        self.layers = nn.ModuleList(self.LAYER(width, hidden) for width in widths)
        self.dropout = StepDropout(dropout)
        self.head = nn.Linear(4 * hidden, n_classes)

    def forward(self, x: Tensor, *, features: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        patches = F.pad(x, (0, self.padding)).unflatten(2, (-1, self.patch))
        x = patches.permute(2, 0, 1, 3).flatten(2)
        for i, layer in enumerate(self.layers):
            x = layer(self.dropout(x) if i else x)
        y: Tensor = self.head(self.dropout(torch.cat([x.mean(0), x.amax(0)], 1)))
        return y
