"""How fast it is, with hardware, versions and n; every figure beside another of the same run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import excerpts
import numpy as np
import pytest
import torch
from projects import EXPERIMENTS, ROOT, make_project, tracked

from ecglib import config
from ecglib.data import beats
from ecglib.experiment import heartbeat
from ecglib.models.cnet import CNet
from ecglib.training import device, loop

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def every_core() -> Iterator[None]:
    """Nothing else runs beside a benchmark, unlike beside the tests, which have one thread each."""
    before = torch.get_num_threads()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    yield
    torch.set_num_threads(before)


def circumstances() -> str:
    return f"{device.hardware(CPU)}, torch {torch.__version__}"


def test_training_speed() -> None:
    x = np.random.default_rng(0).random((20_480, 1, 187), dtype=np.float32)
    examples = loop.InMemory(x, np.arange(len(x)) % 5)
    speed = {}
    for precision in ("float32", "bfloat16"):
        recipe = loop.Recipe(4, 4, batch_size=256, learning_rate=1e-3, precision=precision, stop_after=4)
        loss = torch.nn.CrossEntropyLoss()
        fitted = loop.fit(lambda: CNet(1, 187, 5), examples, None, loss, None, recipe, seed=0, device=CPU)
        seconds = [epoch.seconds for epoch in fitted.run.history[1:]]  # the first epoch warms up
        speed[precision] = len(x) / float(np.median(seconds))
    ratio = speed["bfloat16"] / speed["float32"]
    print(f"\nCNet, batch 256: {speed} beats/s, ratio {ratio:.2f} (n = 3 epochs of {len(x)}; {circumstances()})")


@pytest.mark.real
def test_cutting_speed(real_mitdb: Path) -> None:
    seconds = {}
    for cut in ("kachuee", "centred"):
        start = time.perf_counter()
        found = beats.cut_records(excerpts.source(real_mitdb), cut, ["MLII"])
        seconds[cut] = round(time.perf_counter() - start, 2)
    print(f"\n48 records, {len(found)} beats: {seconds} s ({circumstances()})")
    assert max(seconds.values()) < 10


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "minutes"),
    [
        ("baseline", 6), ("baseline-cnn", 6), ("enhanced-cnn", 6), ("dual-path", 6), ("ecgnet", 6),
        ("bilstm", 8), ("bigru", 8), ("seq2seq", 8),
    ],
)  # fmt: skip
def test_a_seed_in_full(
    name: str, minutes: float, tmp_path: Path, real_mitdb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of two epochs, times as many as a seed has at most."""
    make_project(tmp_path / "project", real_mitdb.parent, monkeypatch)
    source = (ROOT / "params" / "heartbeat" / f"{name}.yaml").read_text(encoding="utf-8")
    (tmp_path / "project" / "params" / "heartbeat" / f"{name}.yaml").write_text(source, encoding="utf-8")
    p = config.load(f"heartbeat/{name}", profile="full", overrides={"test": False, "seeds": [0]})
    assert isinstance(p, config.HeartbeatParameters)
    (run,) = heartbeat.run(p.model_copy(update={"max_epochs": 2, "bootstrap": 0})).record.training
    seconds = run.history[1].seconds * p.max_epochs
    print(f"\n{name}: {p.max_epochs} epochs in {seconds:.0f} s (n = 1; {circumstances()})")
    assert seconds < 60 * minutes


@pytest.mark.parametrize("attempt", range(5))
def test_four_notebooks_at_once_on_an_empty_store(attempt: int, project: Path) -> None:
    start = time.perf_counter()
    command = [sys.executable, "-m", "ecglib", "run", "--all", "-j", "4", "--profile", "smoke"]
    done = subprocess.run(command, cwd=project, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    trained = sum(map(len, EXPERIMENTS.values()))
    assert len(tracked(project)) == trained
    print(f"\n{trained} runs in MLflow after {time.perf_counter() - start:.0f} s")
