"""Where and how precisely a network is trained: device, precision, determinism, and the words for the hardware."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn

from ecglib import files, fingerprint
from ecglib.errors import UserError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
Batch = tuple[tuple[int, ...], int]
"""Shape of a batch of beats, `(batch, leads, samples)` or `(batch, beats, leads, samples)`, and features of each."""
ROUNDS, ROUND_SECONDS = 3, 0.15
"""How often, and how long, each precision is timed."""
FEW, HOPELESS = 8, 0.5
"""Examples of a first look; a lower precision that is slower than this share of the speed is not timed any further."""
GAIN = 1.1
"""A lower precision is taken when it is at least this much faster; less is within the noise of the probe."""


def choose(wish: str = "auto") -> torch.device:
    """The device to train on: `cpu`, `cuda` or `mps`, of which `auto` takes CUDA, else MPS, else the CPU.

    Raises UserError when the wished device isn't there.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wish == "auto":
        wish = next(name for name, there in available.items() if there)
    if not available.get(wish, False):
        have = ", ".join(name for name, there in available.items() if there)
        raise UserError("device", f"{wish} is not available", f"auto or one of {have}")
    return torch.device(wish)


def hardware(device: torch.device) -> str:
    """Name of the processor, with the number of threads on a CPU."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {torch.get_num_threads()} threads"


def choose_precision(
    wish: str, device: torch.device, make_model: Callable[[], nn.Module], batch: Batch, memory: Path
) -> tuple[str, str]:
    """The precision to train in, `float32`, `bfloat16` or `float16`, and why, in words.

    For `auto`, a training step of the model on random input of this shape is probed for about a second. The folder
    `memory` keeps the answer, so that the same network on the same machine always gets the same one. Any other wish is
    returned as it is.
    """
    if wish != "auto":
        return wish, "as the parameters say"
    key = fingerprint.of_values(hardware(device).rsplit(",", 1)[0], torch.__version__, repr(make_model()), batch)
    path = memory / f"{key[:16]}.txt"
    with files.lock(memory / "lock"):
        known, _, why = path.read_text(encoding="utf-8").partition("\n") if path.is_file() else ("", "", "")
        if known not in DTYPES or not why:
            known, why = faster_precision(device, make_model, batch)
            files.write(path, f"{known}\n{why}")
    return known, why


def faster_precision(device: torch.device, make_model: Callable[[], nn.Module], batch: Batch) -> tuple[str, str]:
    """`bfloat16`, or `float16` on a device without it, where a training step takes it and is faster by `GAIN`; else
    `float32`; and why, in words. Parameters as of `choose_precision`."""
    low = "float16" if device.type == "cuda" and not torch.cuda.is_bf16_supported() else "bfloat16"
    (n, *shape), n_features = batch
    speed = 0.0
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            # a processor that must emulate the lower precision takes a minute for a whole batch of some networks
            for size, rounds in ((min(n, FEW), 1), (n, ROUNDS)):
                speed = _speed(device, make_model, ((size, *shape), n_features), low, rounds)
                if speed < HOPELESS:
                    break
    except RuntimeError as error:  # such as an operation without a kernel in the lower precision
        return "float32", f"{low} fails on this {device.type} ({str(error).splitlines()[0][:80]})"
    return low if speed > GAIN else "float32", f"{low} has {speed:.1f} times the speed of float32 on this {device.type}"


def _speed(device: torch.device, make_model: Callable[[], nn.Module], batch: Batch, low: str, rounds: int) -> float:
    """Training steps per second in the lower precision, over those in single precision."""
    best = {"float32": 0.0, low: 0.0}
    steps = {name: _stepper(device, make_model, batch, name) for name in best}
    for _ in range(rounds):  # in turns, as other work on the machine comes and goes
        for name, step in steps.items():
            start, n = time.perf_counter(), 0
            while time.perf_counter() - start < ROUND_SECONDS:
                step()
                n += 1
            best[name] = max(best[name], n / (time.perf_counter() - start))
    return best[low] / best["float32"]


def _stepper(
    device: torch.device, make_model: Callable[[], nn.Module], batch: Batch, precision: str
) -> Callable[[], None]:
    model = make_model().to(device)
    shape, n_features = batch
    x = torch.randn(shape, device=device)
    features = torch.randn(shape[0], n_features, device=device) if n_features else None

    def step() -> None:
        with autocast(device, precision):
            loss = model(x, features=features).float().square().mean()
        loss.backward()
        if device.type == "cuda":
            torch.cuda.synchronize()

    for _ in range(3):
        step()
    return step


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Context in which operations that allow it run in the given precision."""
    return torch.autocast(device.type, DTYPES[precision], enabled=precision != "float32")


@contextlib.contextmanager
def determinism(wanted: bool) -> Iterator[None]:
    """Within, torch uses deterministic algorithms only (if wanted); the former setting comes back afterwards."""
    if not wanted:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]
