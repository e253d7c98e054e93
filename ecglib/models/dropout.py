"""Dropout for rows of steps."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class StepDropout(nn.Dropout):
    """Dropout that drops the same units at every step, as Gal & Ghahramani (2016) do between recurrent layers.

    Of `(steps, batch, units)` one mask `(batch, units)` is drawn and holds for all steps; anything of two dimensions
    is dropped as by `nn.Dropout`. Drawing a mask is what dropout spends its time on, and a CPU draws it in one thread.

    References
    ----------
    Y. Gal, Z. Ghahramani: A Theoretically Grounded Application of Dropout in Recurrent Neural Networks. NeurIPS 2016,
    section 4.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() < 3 or not self.training:
            return super().forward(x)
        return x * F.dropout(x.new_ones(x.shape[1:]), self.p)
