from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from ecglib.errors import RecordError
from ecglib.training import augmentation
from ecglib.training.augmentation import Augmentation, Noise, augment, load_noise

ALL = Augmentation(crop=150, scaling=0.3, wander=0.8, muscle=0.8, lead_dropout=0.3)
_DRAWN = torch.randn(2, 2, 3000, generator=torch.Generator().manual_seed(0))
NOISE = Noise(_DRAWN[0].cumsum(1), _DRAWN[1], "drawn")


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def recordings(lengths: list[int], seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Slow waves and noise around a level of their own; of every other recording some leads are unknown."""
    known = torch.rand(len(lengths), 12, generator=seeded(seed)) < 0.6
    known[::2] = True
    known[:, 4] = True
    n = max(lengths)
    x = torch.randn(len(lengths), 12, n, generator=seeded(seed + 1)) + 0.5 * torch.sin(torch.arange(n) / 9) + 1
    inside = (torch.arange(n) < torch.tensor(lengths)[:, None])[:, None] & known[:, :, None]
    return x.where(inside, 0.0), torch.tensor(lengths), known


def test_strength_zero_is_identity_bit_for_bit() -> None:
    x, lengths, known = recordings([200, 150])
    x[0, 0, 0] = -0.0
    y, same = augment(x, lengths, known, Augmentation(), NOISE, seeded())
    assert y is x and same is lengths
    for how in (Augmentation(crop=200), Augmentation(crop=1000)):
        y, same = augment(x, lengths, known, how, None, seeded())
        assert torch.equal(y.view(torch.int32), x.view(torch.int32)) and torch.equal(same, lengths)


@settings(max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 220), min_size=1, max_size=5),
    how=st.builds(
        Augmentation,
        crop=st.sampled_from([0, 1, 100, 300]),
        scaling=st.sampled_from([0.0, 0.5]),
        wander=st.sampled_from([0.0, 0.5, 1.0]),
        muscle=st.sampled_from([0.0, 1.0]),
        lead_dropout=st.sampled_from([0.0, 0.5, 1.0]),
    ),
    seed=st.integers(0, 99),
)
def test_padding_and_unknown_leads_stay_zero_and_a_seed_fixes_all(
    lengths: list[int], how: Augmentation, seed: int
) -> None:
    x, before, known = recordings(lengths, seed)
    copy = x.clone()
    y, after = augment(x, before, known, how, NOISE, seeded(seed))
    assert torch.equal(x, copy)
    assert y.dtype == x.dtype and y.isfinite().all()
    assert torch.equal(after, before.clamp(max=how.crop) if how.crop else before)
    assert y.shape[2] == min(x.shape[2], how.crop or x.shape[2])
    past = (torch.arange(y.shape[2]) >= after[:, None])[:, None] | ~known[:, :, None]
    assert not y[past.expand_as(y)].any()
    again, _ = augment(x, before, known, how, NOISE, seeded(seed))
    assert torch.equal(again, y)


def test_a_crop_is_a_stretch_of_its_recording_from_anywhere() -> None:
    lengths = torch.tensor([12] * 400 + [5] * 20 + [3] * 20)
    ramp = torch.arange(1.0, 13).expand(440, 12, 12).where(torch.arange(12) < lengths[:, None, None], 0.0)
    y, after = augmentation.crop(ramp, lengths, 5, seeded())
    assert after.tolist() == [5] * 420 + [3] * 20
    assert torch.equal(y[:420] - y[:420, :, :1], torch.arange(5.0).expand(420, 12, 5))
    assert torch.equal(y[400:], ramp[400:, :, :5])
    nowhere, *starts = y[:400, 0, 0].long().bincount().tolist()
    assert (nowhere, len(starts)) == (0, 8) and min(starts) > 25, "each of the eight places, 50 times on average"


def power(x: Tensor, lengths: Tensor, known: Tensor) -> list[float]:
    """Mean variance of the known leads of each recording."""
    return [
        float(one[leads][:, :length].var(1, correction=0).mean())
        for one, length, leads in zip(x, lengths, known, strict=True)
    ]


@pytest.mark.parametrize("kind", ["wander", "muscle"])
@pytest.mark.parametrize("snr", [-3.0, 10.0])
def test_noise_has_the_wished_power(kind: str, snr: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augmentation, "SNR", (snr, snr))
    x, lengths, known = recordings([400, 400, 250, 120])
    y, _ = augment(x, lengths, known, Augmentation(**{kind: 1.0}), NOISE, seeded())
    for signal, noise in zip(power(x, lengths, known), power(y - x, lengths, known), strict=True):
        assert 10 * np.log10(signal / noise) == pytest.approx(snr, abs=0.02)


def test_leads_are_sums_over_electrodes() -> None:
    """Standard leads as in any textbook, from potentials one electrode at a time."""
    ra, la, ll, *chest = torch.randn(9, 20, dtype=torch.double, generator=seeded())
    terminal = (ra + la + ll) / 3
    limbs = [la - ra, ll - ra, ll - la, ra - (la + ll) / 2, la - (ra + ll) / 2, ll - (ra + la) / 2]
    found = augmentation.leads_of(torch.stack([ra, la, ll, *chest])[None])[0]
    torch.testing.assert_close(found, torch.stack([*limbs, *(c - terminal for c in chest)]))


def test_noise_keeps_einthovens_law_and_differs_between_recordings() -> None:
    x, lengths, known = recordings([300, 300, 300])
    known[:] = True
    added = augment(x, lengths, known, Augmentation(muscle=1.0), NOISE, seeded())[0] - x
    torch.testing.assert_close(added[:, 2], added[:, 1] - added[:, 0], rtol=0, atol=1e-5)
    flat = added.flatten(1)
    assert np.abs(np.corrcoef(flat) - np.eye(3)).max() < 0.2


def test_short_noise_begins_anew_and_a_flat_recording_gets_none() -> None:
    x, lengths, known = recordings([500, 500])
    known[1], x[1] = True, 3.0
    noise = Noise(NOISE.wander[:, :70], NOISE.muscle[:, :70], "drawn")
    y, _ = augment(x, lengths, known, Augmentation(muscle=1.0), noise, seeded())
    added = (y - x)[0]
    torch.testing.assert_close(added[:, 70:], added[:, :-70], rtol=0, atol=1e-5)
    assert torch.equal(y[1], x[1])


@pytest.mark.parametrize("share", [0.2, 1.0])
def test_leads_are_lost_whole_and_one_that_is_known_stays(share: float) -> None:
    x, _, known = recordings([20] * 3000)
    y = augmentation.drop_leads(x, known, share, seeded())
    kept = (y != 0).any(2)
    assert torch.equal(y, x * kept[:, :, None])
    assert not (kept & ~known).any()
    assert (kept.sum(1) >= 1).all()
    if share == 1:
        assert (kept.sum(1) == 1).all()
        assert kept[::2].sum(0).min() > 80, "each of the twelve, 125 times on average"
    else:
        assert 1 - float(kept[::2].float().mean()) == pytest.approx(share * (1 - 1 / 12), abs=0.01)


def test_seeds_differ_and_nothing_asks_the_device_for_a_value() -> None:
    """Fake tensors have none, so whoever asked for one would fail."""
    x, lengths, known = recordings([200, 180])
    assert not torch.equal(*(augment(x, lengths, known, ALL, NOISE, seeded(seed))[0] for seed in (0, 1)))
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        x, lengths, known = (mode.from_tensor(value) for value in (x, lengths, known))
        y, after = augment(x, lengths, known, ALL, NOISE, seeded())
        assert (y.shape, after.shape) == ((2, 12, 150), (2,))


def test_noise_that_is_not_there_or_of_other_leads_is_refused() -> None:
    x, lengths, known = recordings([30])
    for leads, noise, said in ((12, None, "no noise"), (2, NOISE, "2 leads; expected the 12")):
        with pytest.raises(ValueError, match=said):
            augment(x[:, :leads], lengths, known[:, :leads], Augmentation(wander=0.1), noise, seeded())


def share_within(noise: Tensor, rate: float, low: float, high: float) -> float:
    spectrum = np.abs(np.fft.rfft(noise - noise.mean(1, keepdim=True))) ** 2
    frequency = np.fft.rfftfreq(noise.shape[1], 1 / rate)
    return float(spectrum[:, (frequency >= low) & (frequency <= high)].sum() / spectrum.sum())


@pytest.fixture
def nstdb(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if not (real_data / "nstdb" / "ma.dat").is_file():
        pytest.skip("nstdb: no real records in ECGLIB_DATA")
    monkeypatch.setenv("ECGLIB_DATA", str(real_data))
    return real_data / "nstdb"


def test_recorded_noise_is_half_an_hour_of_wander_and_of_muscle(nstdb: Path) -> None:
    noise = load_noise(100)
    assert noise.source == "nstdb"
    assert noise.wander.shape == noise.muscle.shape == (2, 180_556), "650 000 samples at 360 Hz"
    assert noise.wander.dtype == torch.float32
    assert share_within(noise.wander, 100, 0, 1) > 0.99
    assert share_within(noise.muscle, 100, 1, 50) > 0.95
    assert share_within(noise.muscle, 100, 10, 50) > 0.5
    torch.testing.assert_close(noise.wander.std(1), torch.tensor([0.466, 0.178]), atol=0.002, rtol=0)
    x, lengths, known = recordings([1000, 900])
    y, _ = augment(x, lengths, known, dataclasses.replace(ALL, crop=0), noise.to(x.device), seeded())
    assert y.isfinite().all() and not torch.equal(y, x)


def test_without_the_noise_database_a_minute_of_it_does_and_half_of_it_is_refused(
    nstdb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECGLIB_DATA", str(tmp_path))
    noise = load_noise(100)
    assert (noise.source, noise.wander.shape) == ("sample", (2, 6000))
    (tmp_path / "nstdb").mkdir()
    for name in ("bw.hea", "bw.dat", "ma.hea"):
        (tmp_path / "nstdb" / name).symlink_to(nstdb / name)
    with pytest.raises(RecordError, match="missing signal"):
        load_noise(100)
