"""Noise that is made up: for training goldens whose numbers are older than the noise in the embedded sample."""

from __future__ import annotations

import numpy as np
import torch

from ecglib.training.augmentation import Noise


def made_up(rate: float) -> Noise:
    """Ten minutes at a rate in Hz, two channels: waves of 0.05 to 0.5 Hz, with amplitudes in inverse proportion to
    their frequency, and of 15 Hz to 45 % of the rate, all alike; random in phase."""
    n = round(600 * rate)
    frequency = np.fft.rfftfreq(n, 1 / rate)
    draw = np.random.default_rng(0)

    def waves(low: float, high: float, power: float) -> torch.Tensor:
        inside = (frequency >= low) & (frequency <= high)
        amplitude = np.where(inside, np.maximum(frequency, low) ** power, 0.0)
        made = np.fft.irfft(amplitude * np.exp(2j * np.pi * draw.random((2, len(frequency)))), n)
        return torch.from_numpy((made / made.std(axis=1, keepdims=True)).astype(np.float32))

    return Noise(waves(0.05, 0.5, -1.0), waves(15.0, 0.45 * rate, 0.0), "made up")
