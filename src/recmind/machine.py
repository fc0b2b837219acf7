"""The machine that a run is made on: device, threads, memory, clock, and what is noted of it.

torch is imported where it is used: `recmind doctor` asks here even where torch is broken.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recmind.errors import ConfigError

if TYPE_CHECKING:
    import torch


def resolve_device(name: str) -> torch.device:
    """``auto`` as the best device that is there, any other name as that device.

    Raises
    ------
    ConfigError
        If there is no such device.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"the device cannot be used: {error}", where="device", got=name, accepted="auto, cpu, cuda"
        ) from error
    return device


def environment(device: torch.device) -> dict[str, Any]:
    """What a result depends on beside settings and data."""
    import torch

    packages = ("recmind", "torch", "numpy", "polars", "transformers")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "packages": {name: version(name) for name in packages},
    }


class Clock:
    """Wall seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Count the seconds of what is done meanwhile as those of ``stage``."""
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - start, 3)


def fitting_threads(n_interactions: int, dim: int) -> int:
    """One for a small graph, 0 (all) for others.

    At 36,000 interactions of size 64 a second thread saves a tenth on an idle
    machine and triples the time on a busy one.
    """
    return 1 if n_interactions * dim < _SMALL_GRAPH else 0


_SMALL_GRAPH = 2**22


@contextmanager
def threads(n: int) -> Iterator[None]:
    """torch with ``n`` threads for a while; 0 leaves them as they are."""
    import torch

    before = torch.get_num_threads()
    if n:
        torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def usable_memory() -> int:
    """Bytes of memory: the machine's, or the container's limit where that is lower; 0 if unknown."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 0
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            total = min(total, int(Path(limit).read_text()))
        except (OSError, ValueError):
            continue  # no such limit here, or "max"
    return total


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"
