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

    Raises
    ------
    UserError
        When the disk is full or the folder can't be written; the checkpoint before stays.
    """
    try:
        with files.writing(path) as temporary, temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:  # torch's zip writer turns a full disk into a RuntimeError
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
        raise UserError(
            path, f"checkpoint not written: {reason}", do="free space or rights, then run it again"
        ) from None


def load(path: Path, fingerprint: str) -> dict[str, Any] | None:
    """Read a checkpoint, or None where there is none or it belongs to other parameters or data.

    Only tensors and plain values are read (`weights_only`), never code.

    Parameters
    ----------
    path
        The file.
    fingerprint
        Of parameters and data; must equal the `fingerprint` in the state.
    """
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged or foreign file
        raise UserError(
            path, f"unreadable checkpoint ({type(error).__name__})", do="delete it, or run with --fresh"
        ) from None
    return state if state.get("fingerprint") == fingerprint else None


def rng_state(device: torch.device) -> dict[str, torch.Tensor]:
    """State of torch's generators on the CPU and the device."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        state["mps"] = torch.mps.get_rng_state()
    return state


def restore_rng(state: dict[str, torch.Tensor], device: torch.device) -> None:
    """Put torch's generators back into a state from `rng_state`."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
    elif device.type == "mps":
        torch.mps.set_rng_state(state["mps"])
