"""R peaks of whole recordings: how many are found, at which rate and in which noise, how fast, in how much memory."""

from __future__ import annotations

import os
import time
import tracemalloc
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch
from excerpts import FS, RECORDS, SAMPLE
from scipy.stats import trim_mean

from ecglib import aami
from ecglib.data import beats, detection, records
from ecglib.evaluation import matching
from ecglib.training import device


def circumstances() -> str:
    return f"{device.hardware(torch.device('cpu'))}, load {os.getloadavg()[0]:.1f}, numpy {np.__version__}"


@cache
def read(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """MLII, or the first lead, and the other one, `(2, samples)` in mV at 360 Hz, and the places of all beats."""
    whole = records.read_recording(folder, name)
    first = beats.choose_leads(folder, whole.leads, ["MLII"])[0]
    annotations = records.read_annotations(folder, name)
    return whole.signals[[first, 1 - first]], annotations.samples[np.isin(annotations.symbols, list(aami.SYMBOLS))]


def with_noise(folder: Path, kind: str, snr: float, by_second: bool, leads: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Two leads with the two channels of noise of `nstdb` all along, each of a signal-to-noise ratio in dB as `nst` of
    WFDB defines it.

    Signal power is an eighth of the square of the QRS complexes' peak-to-peak amplitude, mean of its middle 90 %. Noise
    power is the mean square about the mean of the whole, or, `by_second`, as `nst` measures it, the square of the
    standard deviation within a second, mean of its middle 90 %: most of the noise's power is slower, so that there is
    more of it then.
    """
    noise = records.read_recording(folder, kind, uncalibrated_gain=records.DEFAULT_GAIN).signals[:, : leads.shape[1]]
    inside = true[(true > FS) & (true < leads.shape[1] - FS)]
    complexes = leads[:, inside[:, None] + np.arange(-FS // 20, FS // 10)]
    seconds = noise[:, : noise.shape[1] // FS * FS].reshape(2, -1, FS)
    power = trim_mean(seconds.std(2), 0.05, axis=1) ** 2 if by_second else noise.var(1)
    factor = np.sqrt(trim_mean(np.ptp(complexes, axis=2), 0.05, axis=1) ** 2 / 8 / power / 10 ** (snr / 10))
    return np.asarray(leads + factor[:, None] * (noise - noise.mean(1, keepdims=True)), dtype=np.float32)


def score(folder: Path, rate: float, change: Callable[..., np.ndarray], n_leads: int) -> tuple[float, float, float]:
    """Se and +P in % over all 48 records, and how many seconds of them a second of one core takes."""
    matrix, spent, length = np.zeros((2, 2), np.int64), 0.0, 0.0
    for name in RECORDS:
        leads, true = read(folder, name)
        lead, *others = records.at_rate(change(leads, true)[:n_leads], FS, rate)
        start = time.process_time()
        found = detection.unsw(lead, rate, name, *others)
        spent, length = spent + time.process_time() - start, length + leads.shape[1] / FS
        matched = matching.match(np.round(true * rate / FS).astype(np.int64), found, rate)
        matrix += matching.confusion(matched, np.zeros_like(true), np.zeros_like(found), 1)
    rates = matching.detection(matrix)
    return 100 * float(rates["se"]), 100 * float(rates["ppv"]), length / spent


@pytest.mark.real
@pytest.mark.parametrize("n_leads", [1, 2])
def test_r_peaks_of_mitdb(n_leads: int, real_data: Path) -> None:
    """All beats of all 48 records. No bar holds muscle artefact as `nst` measures it; `em` of `nstdb` isn't here."""
    rows = [(f"{rate} Hz", rate, lambda leads, true: leads, bar) for rate, bar in
            ((FS, 99.7), (125, 99.4), (250, 99.4), (500, 99.4), (1000, 99.4))]  # fmt: skip
    for kind in ("bw", "ma"):
        for snr, bar in ((12, 99.5), (6, 99.0)):
            for by_second in (False, True):
                noisy = partial(with_noise, real_data / "nstdb", kind, snr, by_second)
                what = f"{kind}, {snr} dB{' within seconds' if by_second else ''}"
                rows.append((what, FS, noisy, 0.0 if by_second else bar))
    print(f"\n{f'leads: {n_leads}':25}  Se %    +P %    x real time (n = 1; {circumstances()})")
    scores = {what: score(real_data / "mitdb", rate, change, n_leads) for what, rate, change, _ in rows}
    for what, (se, ppv, speed) in scores.items():
        print(f"{what:25}  {se:.2f}   {ppv:.2f}   {speed:.0f}")
    assert {what: scores[what][:2] for what, _, _, bar in rows if min(scores[what][:2]) < bar} == {}
    assert scores[f"{FS} Hz"][2] >= 3000


def test_memory_of_two_days() -> None:
    """48 hours at 360 Hz, two leads of 250 MB of samples, take no more memory beside them than one hour of them."""
    leads, _ = read(SAMPLE, "100")
    peak = {}
    for hours in (1, 48):
        lead, other = np.tile(leads, 12 * hours)
        tracemalloc.start()
        start = time.perf_counter()
        found = detection.unsw(lead, FS, "lead", other)
        seconds, peak[hours] = time.perf_counter() - start, tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
    print(f"\n{len(found)} R peaks in {seconds:.0f} s, peak memory {peak} MB by hours (n = 1; {circumstances()})")
    assert peak[48] < peak[1] + 10


def test_matching_speed() -> None:
    draw = np.random.default_rng(0)
    true = np.cumsum(draw.integers(60, 500, 100_000))
    found = np.unique(true + draw.integers(-80, 80, len(true)))
    start = time.perf_counter()
    pairs = matching.match(true, found, FS).pairs
    seconds = time.perf_counter() - start
    print(f"\n{len(pairs)} pairs of {len(true)} beats in {seconds:.2f} s (n = 1; {circumstances()})")
    assert seconds < 1
