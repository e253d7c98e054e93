"""Recordings of twelve leads: how fast they come from the cache, and that memory doesn't grow with their number."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import clinics
import pytest
import torch

from ecglib.data import databases, recordings, records
from ecglib.data.catalogues import challenge
from ecglib.data.records import LEADS
from ecglib.training import device

WALK = """
import re, resource, sys
from pathlib import Path
from ecglib.data import databases, records, recordings
from ecglib.data.catalogues import challenge

folder, workers = Path(sys.argv[1]), int(sys.argv[2])
source = databases.Source("challenge-2021", folder, False, tuple(records.list_records(folder)))
data = recordings.TwelveLead(challenge.read(source))
made = recordings.buckets(list(range(len(data))), data.lengths(), 32)
seen = sum(len(batch.x) for batch in recordings.batches(data, made, workers=workers))
own = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
print(seen, max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
"""
"""Goes through all recordings of a folder once; says how many there were, and the peak memory of one process in kB."""


def circumstances() -> str:
    return f"{device.hardware(torch.device('cpu'))}, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}"


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "_quarto.yml").touch()
    monkeypatch.setenv("ECGLIB_ROOT", str(tmp_path))
    return tmp_path


def write(folder: Path, n: int, *, fs: int) -> Path:
    """One recording of ten seconds under many names; the signal is on disk once."""
    clinics.mat(folder, "A00000", clinics.units(10 * fs, fs=fs), fs=fs)
    for name in (f"A{i:05d}" for i in range(1, n)):
        clinics.header(folder, name, 10 * fs, LEADS, file=f"{name}.mat", fs=fs)
        (folder / f"{name}.mat").hardlink_to(folder / "A00000.mat")
    return folder


def data_of(folder: Path, rate: float) -> recordings.TwelveLead:
    source = databases.Source("challenge-2021", folder, False, tuple(records.list_records(folder)))
    return recordings.TwelveLead(challenge.read(source), rate)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("rate", [100.0, 500.0])
def test_reading_speed(tmp_path: Path, rate: float, workers: int) -> None:
    """Twelve leads of ten seconds, recorded at 500 Hz and kept at this rate, in an order of chance."""
    n = 1000
    data = data_of(write(tmp_path / "clinic", n, fs=500), rate)
    start = time.perf_counter()
    data.lengths()
    first = n / (time.perf_counter() - start)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0)).tolist()
    made = recordings.buckets(order, data.lengths(), 32)
    speed = []
    for _ in range(3):
        start = time.perf_counter()
        seen = sum(len(batch.x) for batch in recordings.batches(data, made, workers=workers))
        speed.append(n / (time.perf_counter() - start))
        assert seen == n
    median = sorted(speed)[1]
    print(
        f"\ncache at {rate:g} Hz, {workers} workers: {median:.0f} recordings/s, first reading {first:.0f}, "
        f"ratio {median / first:.1f} (n = 3 times {n}; {circumstances()})"
    )
    assert median >= 400


@pytest.mark.parametrize("workers", [0, 1])
def test_memory_of_many_recordings(tmp_path: Path, workers: int) -> None:
    """All of them would be 480 MB."""
    peak = {}
    for n in (100, 10_000):
        folder = write(tmp_path / f"clinic-{n}", n, fs=100)
        command = [sys.executable, "-c", WALK, str(folder), str(workers)]
        start = time.perf_counter()
        done = subprocess.run(command, env=os.environ, cwd=tmp_path, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - start
        assert done.returncode == 0, done.stderr
        seen, kilobytes = map(int, done.stdout.split())
        assert seen == n
        peak[n] = kilobytes / 1024
    growth = peak[10_000] - peak[100]
    print(
        f"\npeak memory, {workers} workers: {peak[100]:.0f} and {peak[10_000]:.0f} MB, growth {growth:.0f} MB "
        f"(n = 1; 10 000 recordings in {seconds:.0f} s; {circumstances()})"
    )
    assert growth < 100
