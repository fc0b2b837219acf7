"""The compiled kernels, where they are, and which tables they take."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

cpu: Any = None
"""The compiled module, or ``None``."""
missing = ""
"""Why there are no compiled kernels; empty where they are."""
try:
    cpu = import_module("recmind.kernels._cpu")
except ImportError as error:
    missing = f"not built ({error})"
if os.environ.get("RECMIND_KERNELS") == "0":
    cpu, missing = None, "turned off by RECMIND_KERNELS=0"


def instruction_set() -> str | None:
    """The instruction set that the compiled kernels use, ``None`` without them."""
    return cpu.instruction_set() if cpu else None


def keep_memory() -> None:
    """Have the C library keep up to 1 GB of freed memory for the next tables, for the rest of the process.

    A training step makes and drops tables of tens of megabytes; handed back to
    the system each time, their memory is mapped and zeroed anew. Without the
    compiled kernels, and elsewhere than on glibc, nothing changes.
    """
    if cpu is not None:
        cpu.keep_memory()


def takes(*tables: Tensor | None) -> bool:
    """Whether the compiled kernels are there and take these tables: float32 on the CPU."""
    return cpu is not None and all(x is None or (x.device.type == "cpu" and x.dtype == torch.float32) for x in tables)


def plain(x: Tensor | None) -> Tensor | None:
    """As the compiled kernels take it: contiguous, and without a claim on a gradient."""
    return None if x is None else x.detach().contiguous()


def check_rows(name: str, x: Tensor, n: int) -> None:
    """Raise a ``ValueError`` where a table has another number of rows than ``n``."""
    # The compiled kernels follow the graph into the table: a row too few would be somebody else's memory.
    if len(x) != n:
        raise ValueError(f"{name} has {len(x)} rows, not {n}")
