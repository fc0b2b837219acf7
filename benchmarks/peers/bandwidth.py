"""The limit of a training step: the bytes that it has to move over the rates at which this machine moves them.

A step gathers rows, and how fast depends on where they lie. Power laws mean
that a few rows are read most of the time: as many of the most read ones as fit
into a core's own cache are counted as being there; the others, and everything
that streams, come from beyond it. All bytes pass at most at the rate of reading
an array that fits into that cache, those from beyond at the rate of reading an
array of the table's size, and the slower of the two is the limit (a roofline).
Rates are measured on one core and taken times the threads, as if the cores
never stood in each other's way.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from peers.workload import Workload

_OWN_CACHE = Path("/sys/devices/system/cpu/cpu0/cache/index2/size")


@dataclass(frozen=True)
class Limit:
    """Bytes and rates (bytes a second, one core) of a step, and the seconds that follow for ``threads``."""

    near_bytes: float
    far_bytes: float
    near_rate: float
    far_rate: float
    threads: int

    @property
    def seconds(self) -> float:
        """The limit itself."""
        through = (self.near_bytes + self.far_bytes) / self.near_rate
        return max(through, self.far_bytes / self.far_rate) / self.threads

    def __str__(self) -> str:
        return (
            f"{(self.near_bytes + self.far_bytes) / 1e9:.2f} GB at {self.near_rate / 1e9:.0f} GB/s a core, of them "
            f"{self.far_bytes / 1e9:.2f} GB from beyond its own cache at {self.far_rate / 1e9:.0f} GB/s: "
            f"{self.seconds * 1e3:.1f} ms with {self.threads} threads"
        )


def step_limit(
    workload: Workload, dim: int, layers: int, batch: int, negatives: int, threads: int, size: int = 4, tiles: int = 1
) -> Limit:
    """The limit of a LightGCN step with everything left out that can be left out exactly.

    A full hop reads a row of ``dim`` numbers of ``size`` bytes and an int32 index
    for each directed edge, and writes a row per node. The last hop forward is
    needed for the rows of the batch alone, the first hop backward leaves from
    them alone; all others are full. Adam reads and writes the table and its two
    moments. Where the columns are cut into ``tiles`` that are gone over one by
    one, more rows of one fit into the cache, and the indices are read once a tile.
    """
    nodes, row, cache = workload.n_users + workload.n_items, dim * size, own_cache()
    near = far = 0.0
    for degrees, in_batch in _sides(workload, batch, negatives):
        edges = 2 * ((layers - 1) * degrees.sum() + in_batch @ degrees)
        share = _near_share(degrees, tiles * cache // row)
        near += edges * row * share
        far += edges * (row * (1 - share) + 4 * tiles)
    far += 2 * (layers - 1) * nodes * row + nodes * dim * 4 * 6
    return Limit(near, far, _read_rate(cache // 2), _read_rate(nodes * row), threads)


def _sides(workload: Workload, batch: int, negatives: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of users and of items: the degrees and the probabilities of being in a batch, ``(n,)`` each."""
    users = np.bincount(workload.users, minlength=workload.n_users).astype(float)
    items = np.bincount(workload.items, minlength=workload.n_items).astype(float)
    drawn = (1 - 1 / workload.n_items) ** (batch * negatives)
    return [
        (users, 1 - (1 - users / users.sum()) ** batch),
        (items, 1 - (1 - items / items.sum()) ** batch * drawn),
    ]


def _near_share(degrees: np.ndarray, rows: int) -> float:
    """Share of the reads that go to the ``rows`` most read rows."""
    return float(np.sort(degrees)[::-1][:rows].sum() / degrees.sum())


def own_cache() -> int:
    """Bytes of a core's second-level cache."""
    try:
        return int(_OWN_CACHE.read_text().strip().removesuffix("K")) * 1024
    except (OSError, ValueError):
        return 2**20


def _read_rate(n_bytes: int, seconds: float = 0.5) -> float:
    """Bytes a second that one core reads from ``n_bytes`` again and again, the best of two ways of reading."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        one, other, whole = torch.ones(n_bytes // 8), torch.ones(n_bytes // 8), torch.ones(n_bytes // 4)
        return n_bytes / min(_best(lambda: torch.dot(one, other), seconds), _best(whole.sum, seconds))
    finally:
        torch.set_num_threads(before)


def _best(call: Callable[[], object], seconds: float) -> float:
    call()
    best, end = float("inf"), time.perf_counter() + seconds / 2
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best
