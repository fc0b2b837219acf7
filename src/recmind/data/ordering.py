"""Orders of interactions by counting: time linear in the rows, positions in 32 bits while they fit.

Sorting by comparison and hash sets of pairs were most of a load's time and
memory. Everything here is passes of a stable counting sort, which scipy has
compiled as the conversion from coordinates to compressed rows.
"""

from __future__ import annotations

import numpy as np
import polars as pl

_DIGIT = 16
_BLOCK = 2**22


def counts_of(codes: np.ndarray, n_codes: int) -> np.ndarray:
    """How often each code below ``n_codes`` occurs, int64 ``(n_codes,)``.

    ``np.bincount`` on parts: on the whole it would copy the codes to int64.
    """
    counts = np.zeros(n_codes, dtype=np.int64)
    block = max(n_codes, _BLOCK)
    for begin in range(0, len(codes), block):
        counts += np.bincount(codes[begin : begin + block], minlength=n_codes)
    return counts


def index_type(n: int) -> type[np.int32] | type[np.int64]:
    """The smallest signed type for positions among ``n`` rows."""
    return np.int32 if n < 2**31 else np.int64


def counting_order(keys: np.ndarray, n_keys: int, order: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """One stable counting sort.

    Parameters
    ----------
    keys:
        Whole numbers below ``n_keys``, ``(n,)``; in the given order if there is one.
    n_keys:
        Number of possible keys.
    order:
        Positions that the keys stand for, ``(n,)``; 0 to n - 1 if not given.

    Returns
    -------
    tuple
        Where each key begins, ``(n_keys + 1,)``, and the positions ordered by key, ``(n,)``.
    """
    from scipy.sparse import coo_array

    n = len(keys)
    if order is None:
        order = np.arange(n, dtype=index_type(n))
    # Row k of the matrix collects the positions whose key is k, in the order in which they come.
    entries = coo_array((np.zeros(n, dtype=bool), (keys, order)), shape=(n_keys, max(n, 1)))
    entries.has_canonical_format = True  # nothing to sum, nothing to sort
    rows = entries.tocsr()
    return rows.indptr, rows.indices


def by_user_and_time(users: np.ndarray, times: pl.Series | None, n_users: int) -> np.ndarray | None:
    """Positions ordered by user, then by time, then as they come; ``None`` if the rows are so already.

    Parameters
    ----------
    users:
        Codes, int32 ``(n,)``.
    times:
        Numbers or dates of the same length, without nulls and NaNs.
    """
    clock = None if times is None else _clock(times)
    if _is_sorted(users, clock):
        return None
    order = None
    # A log in order of time needs no passes over its times.
    if clock is not None and (clock[1:] < clock[:-1]).any():
        order = _by_digits(clock)
    return counting_order(users if order is None else take(users, order), n_users, order)[1]


def later_repeats(users: np.ndarray, items: np.ndarray, n_items: int) -> np.ndarray:
    """Positions of the pairs that occur before, for rows sorted by user.

    In the order by item, in which the users of an item ascend, equal pairs
    stand beside each other, the first of them first.
    """
    starts, order = counting_order(items, n_items)
    sorted_users = take(users, order)
    same = np.zeros(len(users), dtype=bool)
    np.equal(sorted_users[1:], sorted_users[:-1], out=same[1:])
    first_of_item = starts[:-1][starts[:-1] < len(users)]
    same[first_of_item] = False
    return order[same]


def take(values: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """``values[positions]``; numpy would first copy int32 positions to int64."""
    return pl.Series(values).gather(pl.Series(positions)).to_numpy()


def _by_digits(clock: np.ndarray) -> np.ndarray:
    """Positions in ascending order of unsigned numbers: one counting sort for every 16 bits of their range."""
    order = None
    for shift in range(0, int(clock.max()).bit_length(), _DIGIT):
        digits = (clock >> clock.dtype.type(shift)).astype(np.uint16)
        order = counting_order(digits if order is None else take(digits, order), 2**_DIGIT, order)[1]
    return np.arange(len(clock), dtype=index_type(len(clock))) if order is None else order


def _clock(times: pl.Series) -> np.ndarray:
    """Unsigned numbers from 0 on in the order of the times, uint32 or uint64."""
    if times.dtype.is_temporal():
        times = times.to_physical()
    if times.dtype.is_float():
        # Bits of an IEEE number, the negative ones turned round, ascend as the numbers do; -0.0 + 0.0 is 0.0.
        bits = (times.cast(pl.Float64).to_numpy() + 0.0).view(np.int64)
        values = bits ^ ((bits >> 63) & np.int64(2**63 - 1))
    elif times.dtype.is_integer() and times.dtype not in (pl.UInt64, pl.Int128, pl.UInt128):
        values = times.cast(pl.Int64).to_numpy()
    else:
        values = times.rank("dense").cast(pl.Int64).to_numpy()
    lowest = values.min() if len(values) else np.int64(0)
    # The difference of two int64 may pass int64 but not uint64.
    clock = values.view(np.uint64) - lowest.view(np.uint64)
    return clock.astype(np.uint32) if len(clock) and clock.max() < 2**32 else clock


def _is_sorted(users: np.ndarray, clock: np.ndarray | None) -> bool:
    if (users[1:] < users[:-1]).any():
        return False
    return clock is None or not ((users[1:] == users[:-1]) & (clock[1:] < clock[:-1])).any()
