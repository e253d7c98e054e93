"""Augmentation of twelve-lead recordings, a batch at a time: crop, gain, baseline wander, muscle noise, lost leads.

Every draw comes from one generator on the batch's own device, and nothing asks the device for a value, so that a GPU
is never waited for. What is past a recording's end, and a lead that is not known, is zero before and after.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from scipy.signal import butter, sosfiltfilt
from torch import Generator, Tensor

from ecglib.data import databases
from ecglib.data.records import DEFAULT_GAIN, at_rate, read_recording

RECIPE = 1
"""1: as published."""
LEADS: Final = 12
CHEST: Final = 6
DRIFT: Final = 1.0
"""Upper end in Hz of what is baseline wander in the record of muscle noise, most of whose power is that."""
SNR: Final = (6.0, 24.0)
"""Bounds of the signal-to-noise ratio in dB, drawn for each recording and kind of noise."""


@dataclass(frozen=True)
class Augmentation:
    """How much is changed; with every strength at 0 a batch stays as it is, bit for bit."""

    crop: int = 0
    """Samples that are cut out of every longer recording, at a place drawn for each; 0: whole recordings."""
    scaling: float = 0.0
    """A recording is multiplied by a factor, uniform in its logarithm from `-scaling` to `scaling`; 0 or more."""
    wander: float = 0.0
    """Share of the recordings that get baseline wander, from 0 to 1."""
    muscle: float = 0.0
    """Share of the recordings that get muscle noise, from 0 to 1."""
    lead_dropout: float = 0.0
    """Share of the known leads that are zeroed, from 0 to 1; one of a recording always stays."""

    @property
    def needs_noise(self) -> bool:
        """Whether any noise is added."""
        return self.wander > 0 or self.muscle > 0


@dataclass(frozen=True, eq=False)
class Noise:
    """What electrodes record beside the heart: float32 `(channels, samples)`, at the rate of the recordings; of any
    level, as it is scaled."""

    wander: Tensor
    muscle: Tensor
    source: str
    """`nstdb`, or `sample` for the minute of it that the package embeds."""

    def to(self, device: torch.device) -> Noise:
        """The same on another device."""
        return replace(self, wander=self.wander.to(device), muscle=self.muscle.to(device))


def load_noise(rate: float) -> Noise:
    """Baseline wander and muscle noise of the MIT-BIH Noise Stress Test Database (Moody et al. 1984), at a rate in Hz.

    Records `bw` and `ma`, two channels and half an hour each (a minute in the sample). Three quarters of the power of
    `ma` (median over 10 s) lie below 0.7 Hz, and would be baseline wander by another name, so it is high-pass filtered
    at 1 Hz. A `RecordError` where one of the two can't be read.
    """
    source = databases.get("nstdb")
    wander, muscle = (read_recording(source.folder, n, uncalibrated_gain=DEFAULT_GAIN) for n in ("bw", "ma"))
    fast: Any = sosfiltfilt(butter(2, DRIFT, "highpass", fs=muscle.fs, output="sos"), muscle.signals)
    slow, name = torch.from_numpy(at_rate(wander.signals, wander.fs, rate)), "sample" if source.sample else "nstdb"
    return Noise(slow, torch.from_numpy(at_rate(fast, muscle.fs, rate)).float(), name)


def augment(
    x: Tensor, lengths: Tensor, known: Tensor, how: Augmentation, noise: Noise | None, generator: Generator
) -> tuple[Tensor, Tensor]:
    """A batch with crop, gain, noise and lost leads drawn anew; the given one stays as it is.

    `x` is `(batch, 12, samples)`, float32, mV, in the standard order I, II, III, aVR, aVL, aVF, V1-V6; 0 past a
    recording's end and in unknown leads. `lengths`, int64 `(batch,)`, are the samples of each recording, `known`, bool
    `(batch, 12)`, says where a lead was measured. The noise is at the rate of the recordings. All are on one device,
    the generator too. What is returned has at most `how.crop` samples if that is above 0.

    Raises ValueError when `how` asks for noise and there is none, or for noise on other than 12 leads.
    """
    if how.needs_noise and noise is None:
        raise ValueError("no noise; expected that of load_noise")
    if how.crop:
        x, lengths = crop(x, lengths, how.crop, generator)
    if how.scaling:
        drawn = 2 * _uniform(x, len(x), 1, 1, generator=generator) - 1
        x = x * (how.scaling * drawn).exp()
    if noise is not None:
        for kind, share in ((noise.wander, how.wander), (noise.muscle, how.muscle)):
            if share:
                x = add_noise(x, lengths, known, kind, share, generator)
    if how.lead_dropout:
        x = drop_leads(x, known, how.lead_dropout, generator)
    return x, lengths


def crop(x: Tensor, lengths: Tensor, samples: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """That many successive samples of every recording, from a drawn place; a shorter recording stays whole.

    Shapes as for `augment`; the result is `(batch, 12, min(samples, given samples))`.
    """
    if samples >= x.shape[2]:
        return x, lengths
    places = (lengths - samples + 1).clamp(min=1)
    start = (_uniform(x, len(x), generator=generator) * places).long().minimum(places - 1)
    inside = start.unsqueeze(1) + torch.arange(samples, device=x.device)
    return x.gather(2, inside.unsqueeze(1).expand(-1, x.shape[1], -1)), lengths.clamp(max=samples)


def add_noise(x: Tensor, lengths: Tensor, known: Tensor, noise: Tensor, share: float, generator: Generator) -> Tensor:
    """Noise `(channels, samples)` on the known leads of a drawn share of the recordings.

    Each of the nine electrodes gets a stretch of its own, either way up, and the leads their differences, so that noise
    keeps Einthoven's law (III = II - I) as all that electrodes record does. Powers are variances over a recording, mean
    of its known leads; their ratio is drawn uniformly in dB between the bounds `SNR`. Other parameters as for
    `augment`.
    """
    batch, leads, samples = x.shape
    if leads != LEADS:
        raise ValueError(f"{leads} leads; expected the {LEADS} of the standard order")
    channel, start, sign = (_uniform(x, batch, 3 + CHEST, 1, generator=generator) for _ in range(3))
    first = (start * max(noise.shape[1] - samples + 1, 1)).long()
    place = (first + torch.arange(samples, device=x.device)) % noise.shape[1]  # shorter noise begins anew
    made = leads_of(noise[(channel * len(noise)).long(), place] * (2 * sign.round() - 1))
    inside = (torch.arange(samples, device=x.device) < lengths.unsqueeze(1)).unsqueeze(1) & known.unsqueeze(2)
    made = _centred(made, inside)
    low, high = SNR
    ratio = low + (high - low) * _uniform(x, batch, 1, 1, generator=generator)
    wanted = _centred(x, inside).square().sum((1, 2), keepdim=True) / 10 ** (ratio / 10)
    factor = (wanted / made.square().sum((1, 2), keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)).sqrt()
    chosen = _uniform(x, batch, 1, 1, generator=generator) < share
    return torch.where(inside & chosen, x + factor * made, x)


def leads_of(electrodes: Tensor) -> Tensor:
    """The 12 leads `(batch, 12, samples)` of the potentials `(batch, 9, samples)` of RA, LA, LL and C1 to C6."""
    ra, la, ll, chest = electrodes.split((1, 1, 1, CHEST), 1)
    i, ii, iii = la - ra, ll - ra, ll - la
    augmented = (-(i + ii) / 2, (i - iii) / 2, (ii + iii) / 2)
    return torch.cat([i, ii, iii, *augmented, chest - (ra + la + ll) / 3], 1)


def drop_leads(x: Tensor, known: Tensor, share: float, generator: Generator) -> Tensor:
    """Known leads zeroed with probability `share`, but for one of each recording, which is drawn."""
    kept = _uniform(x, *known.shape, generator=generator) >= share
    spared = (_uniform(x, *known.shape, generator=generator) + known).argmax(1, keepdim=True)
    kept = kept.scatter(1, spared, True)
    return torch.where(kept.unsqueeze(2), x, 0.0)


def _uniform(like: Tensor, *shape: int, generator: Generator) -> Tensor:
    """Draws from 0 to below 1, on the device of `like`."""
    return torch.rand(shape, generator=generator, device=like.device)


def _centred(x: Tensor, inside: Tensor) -> Tensor:
    """Every lead less its mean over where `inside` holds, and 0 elsewhere."""
    mean = x.where(inside, 0.0).sum(2, keepdim=True) / inside.sum(2, keepdim=True).clamp(min=1)
    return (x - mean).where(inside, 0.0)
