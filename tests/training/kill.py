"""Kills a training at random moments and resumes it; shared by the test of a few kills and of twenty."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

EPOCHS = 8
SCRIPT = f"""
from ecglib import config, tracking
from ecglib.experiment import heartbeat
tracking.log = lambda record, folder: ""
p = config.load("heartbeat/baseline", profile="smoke", overrides=dict(
    deterministic=True, device="cpu", max_epochs={EPOCHS}, patience={EPOCHS}, max_beats=None, ema=0.9, batch_size=64))
print("ready", flush=True)
print("run", heartbeat.run(p).folder, flush=True)
"""


@dataclass
class Outcome:
    """What a series of kills gave."""

    killed: int
    """Kills that hit before the run was finished."""
    worst_loss: int
    """Most epochs that were reported as done and had to be trained again."""
    weights: dict[str, torch.Tensor]


def start(root: Path, progress: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "ECGLIB_ROOT": str(root), "ECGLIB_PROGRESS": str(progress), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def finish(process: subprocess.Popen[str]) -> dict[str, torch.Tensor]:
    out, errors = process.communicate()
    assert process.returncode == 0, errors
    return load_file(Path(out.split("run ")[-1].strip()) / "weights-seed0.safetensors")


def epochs_done(progress: Path) -> int:
    found = re.search(r"epoch (\d+)/", progress.read_text()) if progress.is_file() else None
    return int(found.group(1)) if found else 0


def uninterrupted(root: Path) -> tuple[dict[str, torch.Tensor], float]:
    """Weights of the training that nothing disturbs, and the seconds from its start to its end."""
    process = start(root, root / "progress.txt")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    began = time.monotonic()
    weights = finish(process)
    return weights, time.monotonic() - began


def kill_and_resume(root: Path, kills: int, seconds: float, seed: int = 0) -> Outcome:
    """Start the training, `kill -9` it at a random moment, `kills` times, then let it finish."""
    draw, progress = random.Random(seed), root / "progress.txt"
    outcome = Outcome(0, 0, {})
    for _ in range(kills):
        before = epochs_done(progress)
        process = start(root, progress)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(draw.uniform(0, seconds / 3))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            outcome.killed += 1
        process.communicate()
        checkpoints = list(root.glob("runs/*/checkpoint-seed0.pt"))
        kept = torch.load(checkpoints[0], weights_only=True)["epoch"] if checkpoints else 0
        if not list(root.glob("runs/*/training-seed0.json")):
            outcome.worst_loss = max(outcome.worst_loss, max(before, epochs_done(progress)) - kept)
    outcome.weights = finish(start(root, progress))
    return outcome
