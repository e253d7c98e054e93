"""Checkpoints: the whole state of a training, written so that a kill at any moment leaves the last one whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from ecglib import files
from ecglib.errors import UserError


def save(path: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors, numbers, texts, lists, mappings) to `path` in one step.

    Raises UserError when the disk is full or the folder can't be written; the checkpoint before stays.
    """
    try:
        with files.writing(path) as temporary, temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:  # torch's zip writer turns a full disk into a RuntimeError
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        what = f"checkpoint not written: {reason}"
        raise UserError(path, what, do="free space or rights, then run it again") from None


def load(path: Path, fingerprint: str) -> dict[str, Any] | None:
    """Read a checkpoint, or None where there is none or its `fingerprint` is that of other parameters or data.

    Only tensors and plain values are read (`weights_only`), never code; what can't be read raises UserError.
    """
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged or foreign file
        what = f"unreadable checkpoint ({type(error).__name__})"
        raise UserError(path, what, do="delete it, or run with --fresh") from None
    return state if state.get("fingerprint") == fingerprint else None


def rng_state(device: torch.device) -> dict[str, torch.Tensor]:
    """State of torch's generators on the CPU and the device."""
    state = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        state[device.type] = torch.get_device_module(device).get_rng_state(device)
    return state


def restore_rng(state: dict[str, torch.Tensor], device: torch.device) -> None:
    """Put torch's generators back into a state from `rng_state`."""
    torch.set_rng_state(state["cpu"])
    if device.type != "cpu":
        torch.get_device_module(device).set_rng_state(state[device.type], device)
