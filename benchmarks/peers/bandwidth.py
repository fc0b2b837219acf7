"""The limit of a training step: the bytes that it has to move over the rate at which this machine moves them."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from peers.workload import Workload


def bandwidth(n_bytes: int, threads: int, seconds: float = 1.0) -> float:
    """Bytes a second read from an array of ``n_bytes`` again and again, the best of two ways of reading it.

    The array has the size of the embedding table, so it lies in the caches as
    far as the table does.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        one, other = torch.ones(n_bytes // 8), torch.ones(n_bytes // 8)
        both = torch.ones(n_bytes // 4)
        return max(_rate(lambda: torch.dot(one, other), n_bytes, seconds), _rate(both.sum, n_bytes, seconds))
    finally:
        torch.set_num_threads(before)


def step_bytes(workload: Workload, dim: int, layers: int, batch: int, negatives: int, size: int = 4) -> int:
    """Bytes that a LightGCN step has to gather and write with everything left out that can be, exactly.

    Every full hop reads for each directed edge a row of ``dim`` numbers and an
    int32 index, and writes a row per node. The last hop forward is needed for the
    rows of the batch alone and the first hop backward leaves from them alone,
    which together read the batch's rows' edges twice; all others are full. The
    optimiser reads and writes the table and its two moments.
    """
    nodes, edges = workload.n_users + workload.n_items, 2 * len(workload)
    row, index = dim * size, 4
    hop = edges * (row + index) + nodes * row
    partial = _batch_edges(workload, batch, negatives) * (row + index)
    adam = nodes * dim * 4 * 6
    return 2 * ((layers - 1) * hop + partial) + adam


def _batch_edges(workload: Workload, batch: int, negatives: int) -> float:
    """Expected number of edges at the distinct nodes of a batch."""
    users = np.bincount(workload.users, minlength=workload.n_users)
    items = np.bincount(workload.items, minlength=workload.n_items)
    share_users, share_items = users / users.sum(), items / items.sum()
    in_users = 1 - (1 - share_users) ** batch
    in_items = 1 - (1 - share_items) ** batch * (1 - 1 / workload.n_items) ** (batch * negatives)
    return float((in_users * users).sum() + (in_items * items).sum())


def _rate(call: Callable[[], object], n_bytes: int, seconds: float) -> float:
    call()
    best, end = float("inf"), time.perf_counter() + seconds / 2
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return n_bytes / best
