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

EPOCHS = 8
SERVER = f"""
import os, signal, sys, time
import torch._dynamo  # which a training's optimiser imports
from ecglib import config, tracking
from ecglib.experiment import heartbeat
tracking.log = lambda record, folder: ""
print("ready", flush=True)
for line in sys.stdin:
    root, seconds = line.split()
    if not (process := os.fork()):
        os.environ.update(ECGLIB_ROOT=root, ECGLIB_PROGRESS=root + "/progress.txt")
        heartbeat.run(config.load("heartbeat/baseline", profile="smoke", overrides=dict(deterministic=True, ema=0.9,
            device="cpu", max_epochs={EPOCHS}, patience={EPOCHS}, max_beats=2000, batch_size=64,
            model_options=dict(width=8))))
        os._exit(0)
    if float(seconds):
        time.sleep(float(seconds))
        os.kill(process, signal.SIGKILL)
    print(os.waitpid(process, 0)[1], flush=True)
"""
"""Trains in a project, a process for each, and kills it after so many seconds, 0 for never; says how each ended."""


def epochs_done(root: Path) -> int:
    progress = root / "progress.txt"
    found = re.search(r"epoch (\d+)/", progress.read_text()) if progress.is_file() else None
    return int(found.group(1)) if found else 0


def weights(root: Path) -> dict[str, torch.Tensor]:
    (file,) = root.glob("runs/*/weights-seed0.safetensors")
    return load_file(file)


def kill(make: Callable[[str], Path], kills: int) -> str:
    """Kill trainings until so many kills have hit one, each of which must end with the weights that nothing disturbs,
    none losing more than the epoch that it hits; says what was done. `make` makes a project of that name."""
    whole, draw, killed, attempts = make("whole"), random.Random(0), 0, 0
    command = {"args": [sys.executable, "-c", SERVER], "env": {**os.environ, "OMP_NUM_THREADS": "1"}, "text": True}
    with subprocess.Popen(**command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:

        def train(root: Path, seconds: float = 0.0) -> bool:
            """Whether it was killed."""
            print(root, seconds, file=server.stdin, flush=True)
            status = int(server.stdout.readline())
            assert status in (0, signal.SIGKILL), "it failed of itself"
            return status != 0

        assert server.stdout.readline() == "ready\n"
        began = time.monotonic()
        train(whole)
        seconds = time.monotonic() - began
        while killed < kills:  # a training ends after some kills, and the next begins anew
            assert attempts < 10, "most kills came after the end"
            root = make(f"killed-{attempts}")
            attempts += 1
            for _ in range(min(4, kills - killed)):
                before = epochs_done(root)
                killed += train(root, draw.uniform(0, seconds / 3))
                checkpoints = list(root.glob("runs/*/checkpoint-seed0.pt"))
                kept = torch.load(checkpoints[0], weights_only=True)["epoch"] if checkpoints else 0
                if not list(root.glob("runs/*/training-seed0.json")):
                    assert max(before, epochs_done(root)) - kept <= 1
            train(root)
            assert all(torch.equal(weights(root)[name], tensor) for name, tensor in weights(whole).items())
    return f"{killed} kills in {attempts} trainings of {seconds:.1f} s; all weights are bit-equal"
