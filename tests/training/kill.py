"""Kills a training at random moments and resumes it; shared by the test of a few kills and of twenty."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file

EPOCHS = 4
SCRIPT = f"""
from ecglib import config, tracking
from ecglib.experiment import heartbeat
tracking.log = lambda record, folder: ""
p = config.load("heartbeat/baseline", profile="smoke", overrides=dict(
    deterministic=True, device="cpu", max_epochs={EPOCHS}, patience={EPOCHS}, max_beats=2000, ema=0.9, batch_size=64))
print("ready", flush=True)
print("run", heartbeat.run(p).folder, flush=True)
"""


def start(root: Path, progress: Path) -> subprocess.Popen[str]:
    """The training in a process of its own, which is about to begin."""
    environment = {**os.environ, "ECGLIB_ROOT": str(root), "ECGLIB_PROGRESS": str(progress), "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], env=environment, text=True, **pipes)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


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
    began = time.monotonic()
    weights = finish(process)
    return weights, time.monotonic() - began


def kill_and_resume(root: Path, whole: dict[str, torch.Tensor], kills: int, seconds: float, seed: int = 0) -> int:
    """Start the training, `kill -9` it at a random moment, `kills` times, then let it finish to the weights `whole`.

    Returns how many kills hit before the run was finished. None may lose more than the epoch that it hits.
    """
    draw, progress, killed = random.Random(seed), root / "progress.txt", 0
    for _ in range(kills):
        before = epochs_done(progress)
        process = start(root, progress)
        time.sleep(draw.uniform(0, seconds / 3))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.communicate()
        checkpoints = list(root.glob("runs/*/checkpoint-seed0.pt"))
        kept = torch.load(checkpoints[0], weights_only=True)["epoch"] if checkpoints else 0
        if not list(root.glob("runs/*/training-seed0.json")):
            assert max(before, epochs_done(progress)) - kept <= 1
    weights = finish(start(root, progress))
    assert all(torch.equal(weights[name], tensor) for name, tensor in whole.items())
    return killed


def kill(make: Callable[[str], Path], kills: int) -> str:
    """Kill trainings until so many kills have hit one, each of which must end with the weights that nothing disturbs;
    says what was done. `make` makes a project of that name."""
    whole, seconds = uninterrupted(make("whole"))
    killed = attempt = 0
    while killed < kills:  # a training ends after some kills, and the next begins anew
        assert attempt < 10, "most kills came after the end"
        killed += kill_and_resume(make(f"killed-{attempt}"), whole, min(4, kills - killed), seconds, seed=attempt)
        attempt += 1
    return f"{killed} kills in {attempt} trainings of {seconds:.1f} s; all weights are bit-equal"
