"""Checkpoints: everything that the rest of training depends on, in one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from recmind.errors import RunError
from recmind.files import write_atomic


@dataclass
class Progress:
    """Where training stands. Random numbers need no place here: each epoch has its own seed."""

    phase: str = "warmup"
    epoch: int = 0
    """Finished epochs of the phase."""
    best_epoch: int = 0
    best_value: float = -1.0
    misses: int = 0
    """Validations since the best one."""
    stopped: bool = False
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)


def save_checkpoint(path: Path, progress: Progress, tensors: Mapping[str, Tensor], fingerprint: str) -> None:
    """Write a checkpoint whole or not at all.

    Parameters
    ----------
    fingerprint:
        What the run depends on (settings and data); a resume compares it.
    """
    metadata = {"progress": json.dumps(asdict(progress)), "fingerprint": fingerprint}
    owned = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_atomic(path, lambda target: save_file(owned, target, metadata=metadata))


def load_checkpoint(path: Path, fingerprint: str) -> tuple[Progress, dict[str, Tensor]]:
    """Read a checkpoint.

    Raises
    ------
    RunError
        If the file is damaged, or was written with other settings or data.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        progress = Progress(**json.loads(metadata["progress"]))
    except (SafetensorError, KeyError, ValueError, TypeError, OSError) as error:
        raise RunError(
            f"the checkpoint cannot be read: {error}",
            where=path,
            hint="delete the run folder or train with --overwrite",
        ) from error
    if metadata["fingerprint"] != fingerprint:
        raise RunError(
            "the checkpoint was written with other settings or other data",
            where=path,
            hint="resume with the settings and data of the run, or train with --overwrite",
        )
    return progress, tensors


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """State of the optimiser by parameter number and name."""
    return {
        f"optimizer.{number}.{name}": value
        for number, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Inverse of :func:`optimizer_tensors`."""
    states: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, number, name = key.split(".", 2)
            states.setdefault(int(number), {})[name] = value
    whole = optimizer.state_dict()
    optimizer.load_state_dict({**whole, "state": states})
