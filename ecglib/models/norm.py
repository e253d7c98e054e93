"""Batch normalisation that keeps the `channels_last` order of `ecglib.models.layers`."""

from __future__ import annotations

from torch import Tensor, nn

from ecglib.models.layers import channels_last


class BatchNorm1d(nn.BatchNorm2d):
    """`nn.BatchNorm1d` of `(batch, channels, samples)`, computed in 2-D; its state dict is the same.

    The 1-D kind returns its output with the samples side by side, and each layer after it would take the slow path. A
    convolution of one lead does so too, and is put in order here.
    """

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(channels_last(x).unsqueeze(2)).squeeze(2)
