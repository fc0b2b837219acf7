"""Inner products of users with the whole catalogue, compiled for float32 on the CPU.

:func:`best_products` is a matrix product whose result is never written down:
a tile of it stays in registers, is compared with the smallest score that each
user's list still admits, and only what passes is kept. A pair has the same
score, bit for bit, in all three functions, with any block of users and any
number of threads. Everywhere else the caller multiplies and selects in torch
(:mod:`recmind.evaluation.blocks`), so there is no second body here.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from recmind.kernels import binding
from recmind.kernels.binding import takes


def available(*tables: Tensor) -> bool:
    """Whether the compiled kernels can take these tables."""
    return takes(*tables)


def best_products(
    users: Tensor,
    items: Tensor,
    wanted: int,
    left_out: tuple[np.ndarray, np.ndarray] | None = None,
    raised: csr_array | None = None,
    *,
    threads: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The ``wanted`` largest scores of each user and their items, largest first.

    Parameters
    ----------
    users, items:
        ``(b, d)`` and ``(n_items, d)``, contiguous.
    wanted:
        1 to n_items.
    left_out:
        Where each user's left-out items begin, int64 ``(b + 1,)``, and the items, int32 and ascending for each user.
    raised:
        What is added to some of the inner products, csr float32 ``(b, n_items)``, columns ascending.
    threads:
        ``None`` takes torch's number.

    Returns
    -------
    tuple of Tensor
        Values float32 and items int64, each ``(b, wanted)``. Which of several
        equal items is named at the edge is left open. Where nothing is left,
        and in place of -inf, -inf and item -1; a row with a NaN is all NaN.
    """
    values = torch.empty(len(users), wanted)
    columns = torch.empty(len(users), wanted, dtype=torch.int64)
    starts, codes = left_out if left_out else (None, None)
    added = (None, None, None)
    if raised is not None:
        added = raised.indptr.astype(np.int64, copy=False), raised.indices.astype(np.int32, copy=False), raised.data
    threads = threads or torch.get_num_threads()
    _compiled().best_products(users, items, starts, codes, *added, values, columns, threads=threads)
    return values, columns


def all_products(users: Tensor, items: Tensor) -> Tensor:
    """Every inner product, ``(b, n_items)``."""
    out = torch.empty(len(users), len(items))
    _compiled().all_products(users, items, out, threads=torch.get_num_threads())
    return out


def pair_products(users: Tensor, items: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Those of ``users[rows]`` with ``items[columns]``, ``(n,)``; rows and columns int64."""
    out = torch.empty(len(rows))
    _compiled().pair_products(users, items, rows, columns, out)
    return out


def _compiled():
    assert binding.cpu is not None, "ask available() first"
    return binding.cpu
