"""The layers that networks share: faster on a CPU than torch's own, and for recordings of unequal length.

On a CPU, PyTorch's 1-D convolutions take a slow path; the same numbers as a 2-D convolution of height 1 in
`channels_last` order train about three times faster in bfloat16 (CNet, batch 256, two cores). Weights keep the shape
of their 1-D kin, so a state dict is that of `nn.Conv1d`.

A batch `(batch, channels, steps)` of recordings is padded at its end to the longest; a mask `(batch, 1, steps)` is 1
within a recording and 0 past its end, or None where all are of full length. One rule makes a padded recording equal to
the bare one: **past its end a recording is zero**, as `masked` and every layer here leave it. Then

- a convolution of odd length with half of it as padding sees past the end what its own padding would show it,
- so does a maximum of what is nowhere negative (after ReLU), where zero is as good as minus infinity,
- adding, ReLU and a factor for each channel keep the rule,
- and a layer of stride s leaves a step where its recording has sample s·i: its mask is every s-th of the mask before.

Normalisation, means and the softmax count steps that are there alone, and the backward pass through time begins at
each recording's own last step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan_op
from torch.nn import functional as F

Mask = Tensor | None
"""Float `(batch, 1, steps)`: 1 within a recording, 0 past its end; None: all are of full length."""


def channels_last(x: Tensor) -> Tensor:
    """Store `(batch, channels, samples)` with the channels of one sample side by side, if on a CPU; same values."""
    if x.device.type != "cpu":
        return x
    return x.unsqueeze(2).contiguous(memory_format=torch.channels_last).squeeze(2)


def refuse_below_one(**sizes: int) -> None:
    """Raise ValueError with the first of these options that is below 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} = {size}; expected 1 or more")


def full_precision(x: Tensor) -> Tensor:
    """The tensor in single precision where it is of half precision, as under autocast; any other as it is."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def masked(x: Tensor, lengths: Tensor | None, least: int) -> tuple[Tensor, Mask]:
    """The batch with zeros past every recording's end, whatever stood there, and its mask.

    The batch is float32 `(batch, leads, samples)`; `lengths`, int64 `(batch,)`, are the samples of each recording, or
    None where all are of full length, which is faster in training. On a CPU (elsewhere the device would have to be
    waited for) they are compared with `least`, the shortest recording that the model reads.

    Raises ValueError when the batch is of another shape, or a length is below `least` or above the batch's.
    """
    if x.dim() != 3:
        raise ValueError(f"a batch of shape {tuple(x.shape)}; expected (batch, leads, samples)")
    if x.shape[2] < least:
        raise ValueError(f"{x.shape[2]} samples; expected {least} or more")
    if lengths is None:
        return channels_last(x), None
    if lengths.shape != x.shape[:1]:
        raise ValueError(f"lengths of shape {tuple(lengths.shape)}; expected one for each of {x.shape[0]} recordings")
    if lengths.device.type == "cpu" and not torch.compiler.is_compiling():
        low, high = (int(end) for end in lengths.aminmax())
        if low < least or high > x.shape[2]:
            raise ValueError(f"lengths from {low} to {high}; expected {least} to {x.shape[2]} samples")
    inside = (torch.arange(x.shape[2], device=x.device) < lengths.to(x.device).unsqueeze(1)).unsqueeze(1)
    return channels_last(x.where(inside, 0.0)), inside.to(x.dtype)


def strided_mask(mask: Mask, stride: int) -> Mask:
    """The mask after a layer of that stride."""
    # every stride-th one; a slice would do, but export can't prove its length to be that of the layer's output
    return None if mask is None else F.max_pool2d(mask.unsqueeze(2), 1, (1, stride)).squeeze(2)


def masked_mean(x: Tensor, mask: Mask) -> Tensor:
    """Mean over the steps that are there, `(batch, channels, steps)` → `(batch, channels)`."""
    return x.mean(2) if mask is None else x.sum(2) / mask.sum(2)


class Conv1d(nn.Conv1d):
    """`nn.Conv1d`, computed in 2-D on a CPU. Input `(batch, channels, samples)`; padding is a number of zeros."""

    padding: tuple[int, ...]

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return super().forward(x)
        shape = (1, *self.stride), (0, *self.padding), (1, *self.dilation)
        return F.conv2d(x.unsqueeze(2), self.weight.unsqueeze(2), self.bias, *shape, self.groups).squeeze(2)


class BatchNorm1d(nn.BatchNorm2d):
    """`nn.BatchNorm1d` of `(batch, channels, steps)`, computed in 2-D; its state dict is the same.

    The 1-D kind returns its output with the steps side by side, and each layer after it would take the slow path. A
    convolution of one lead does so too, and is put in order here.

    With a mask, mean and variance in training are those of all steps within recordings, as if the recordings stood one
    after the other, and the output is zero past the end.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def forward(self, x: Tensor, mask: Mask = None) -> Tensor:
        if mask is not None and self.training:
            return self._of_steps_there(full_precision(channels_last(x)), mask)
        y = super().forward(channels_last(x).unsqueeze(2)).squeeze(2)
        return y if mask is None else y * mask

    def _of_steps_there(self, x: Tensor, mask: Tensor) -> Tensor:
        n = mask.sum()
        centre = (x * mask).sum((0, 2)) / n
        x = (x - centre[:, None]) * mask
        variance = x.square().sum((0, 2)) / n
        unbiased = variance.detach() * n / (n - 1).clamp(min=1)
        self.running_mean.lerp_(centre.detach().to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        self.num_batches_tracked.add_(1)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (x * scale[:, None] + self.bias[:, None]) * mask


class MaxPool1d(nn.MaxPool2d):
    """`nn.MaxPool1d`, computed in 2-D, which keeps the `channels_last` order.

    With a mask, that of the output, the input must nowhere be negative.
    """

    def __init__(self, kernel_size: int, stride: int, padding: int = 0) -> None:
        super().__init__((1, kernel_size), (1, stride), (0, padding))

    def forward(self, x: Tensor, mask: Mask = None) -> Tensor:
        y: Tensor = super().forward(x.unsqueeze(2)).squeeze(2)
        return y if mask is None else y * mask


class StepDropout(nn.Dropout):
    """Dropout that drops the same units at every step, as Gal & Ghahramani (2016, section 4) between recurrent layers.

    Of `(steps, batch, units)` one mask `(batch, units)` is drawn and holds for all steps; anything of two dimensions
    is dropped as by `nn.Dropout`. Drawing a mask is what dropout spends its time on, and a CPU draws it in one thread.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() < 3 or not self.training:
            return super().forward(x)
        return x * F.dropout(x.new_ones(x.shape[1:]), self.p)


class AvgPool1d(nn.Module):
    """Mean of every two steps: `ceil(steps / 2)` are left, the last one alone where its neighbour is past the end."""

    def forward(self, x: Tensor, mask: Mask = None) -> Tensor:
        """`mask` is that of the input."""
        total = self._pairs(x)
        if mask is None:
            mask = x.new_ones(1, 1, x.shape[2])
        return total / self._pairs(mask).clamp(min=0.5)

    @staticmethod
    def _pairs(x: Tensor) -> Tensor:
        """Half the sum of every two steps, a missing one being zero."""
        return F.avg_pool2d(F.pad(x, (0, 1)).unsqueeze(2), (1, 2)).squeeze(2)


class SqueezeExcitation(nn.Module):
    """A factor between 0 and 1 for each channel, from all channels' means over time by a layer an eighth as wide
    (Hu et al. 2018, equations 2-4).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        between = max(1, width // 8)
        self.excite = nn.Sequential(nn.Linear(width, between), nn.ReLU(), nn.Linear(between, width), nn.Sigmoid())

    def forward(self, x: Tensor, mask: Mask = None) -> Tensor:
        factors: Tensor = self.excite(masked_mean(x, mask))
        return x * factors.unsqueeze(2)


class LSTM(nn.Module):
    """One bidirectional LSTM layer, `(steps, batch, inputs)` to `(steps, batch, 2 · hidden)`, from zero states.

    The direction back in time is a layer of its own that reads each recording in reverse, its own last step first:
    packed sequences, which would do the same, can't be exported.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.ahead, self.back = nn.LSTM(inputs, hidden), nn.LSTM(inputs, hidden)

    def forward(self, x: Tensor, mask: Mask = None) -> Tensor:
        back = reverse(_run(self.back, reverse(x, mask)), mask)
        return torch.cat([_run(self.ahead, x), back], 2)


def _run(layer: nn.LSTM, x: Tensor) -> Tensor:
    """`layer(x)[0]`, while exporting step by step: `nn.LSTM` is exported for one number of steps only.

    The operator stands below `scan`, which would compile the step anew and mix up the shapes of several exports.
    """
    y: Tensor
    if not torch.compiler.is_exporting():
        y = layer(x)[0]
        return y
    of_input, of_hidden, *biases = layer.all_weights[0]

    def step(hidden: Tensor, cell: Tensor, projected: Tensor, of_hidden: Tensor) -> list[Tensor]:
        i, f, g, o = (projected + F.linear(hidden, of_hidden)).chunk(4, 1)
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
        hidden = torch.sigmoid(o) * torch.tanh(cell)
        return [hidden, cell, hidden.clone()]  # an output must not be the state itself

    projected = F.linear(x, of_input, biases[0] + biases[1])
    zero = projected.new_zeros(x.shape[1], layer.hidden_size)
    y = scan_op(step, [zero, zero.clone()], [projected], additional_inputs=(of_hidden,))[2]
    return y


def reverse(x: Tensor, mask: Mask) -> Tensor:
    """Every recording's steps in reverse, `(steps, batch, units)`; past the end they stay where they are, reversed."""
    if mask is None:
        return x.flip(0)
    steps = torch.arange(x.shape[0], device=x.device).unsqueeze(1)
    order = (mask.sum((1, 2)).long() - 1 - steps).remainder(x.shape[0])
    return x.gather(0, order.unsqueeze(2).expand_as(x))


class Vote(nn.Module):
    """The mean of the logits of several networks of one task."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Tensor, *, features: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        return torch.stack([network(x) for network in self.networks]).mean(0)
