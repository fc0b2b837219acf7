"""The largest values of each row of a block of scores, without sorting the row."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

_DEPTH = 8
"""Columns behind one maximum in :func:`top_values`; the fastest of 4 to 64 (benchmarks/ranking.py)."""
_TIED_ROWS = 64
"""Rows whose ties are broken at once: bounds the memory of the keys."""

RowsOf = Callable[[Tensor], Tensor]
"""All scores of the rows that are asked for: ``(m,)`` to float32 ``(m, n)``."""


def top_values(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The ``k + 1`` largest values of each row and their columns, largest first.

    The row is cut into strided groups of 8 or 9 columns. Only the ``k + 1``
    groups with the largest maxima can hold one of the ``k + 1`` largest values,
    and they are found among the maxima in the same way: one pass over the row,
    then a selection among few. Exact in values; which of several equal columns
    is named is left open. NaN counts as larger than anything.

    Parameters
    ----------
    scores:
        float32 ``(b, n)``.
    k:
        At least 1 and at most n; with ``k = n`` all n values come back.

    Returns
    -------
    tuple of Tensor
        Values float32 and columns int64, each ``(b, min(k + 1, n))``.
    """
    return _largest(scores, min(k + 1, scores.shape[1]), ordered=True)


def _largest(scores: Tensor, wanted: int, *, ordered: bool) -> tuple[Tensor, Tensor]:
    """The ``wanted`` largest values of each row and their columns; whole numbers must be at least -1."""
    n = scores.shape[1]
    n_groups = n // _DEPTH
    if n_groups < max(2 * wanted, _DEPTH):
        return torch.topk(scores, wanted, dim=1, sorted=ordered)
    full = n_groups * _DEPTH
    # Column c belongs to group c mod n_groups, so the maximum runs over contiguous memory.
    maxima = scores[:, :full].unflatten(1, (_DEPTH, n_groups)).amax(dim=1)  # (b, n_groups)
    rest = n - full
    if rest:
        torch.maximum(maxima[:, :rest], scores[:, full:], out=maxima[:, :rest])
    groups = _largest(maxima, wanted, ordered=False)[1]  # (b, wanted)
    steps = torch.arange(_DEPTH + bool(rest), device=scores.device) * n_groups
    columns = (groups[:, :, None] + steps).flatten(1)  # (b, wanted * depth)
    candidates = scores.gather(1, columns.clamp(max=n - 1))
    if rest:
        candidates.masked_fill_(columns >= n, -torch.inf if scores.is_floating_point() else -1)
    values, place = torch.topk(candidates, wanted, dim=1, sorted=ordered)
    return values, columns.gather(1, place).clamp_(max=n - 1)


def count_ties(rows_of: RowsOf, values: Tensor, rows: Tensor, targets: Tensor, k: int) -> Tensor:
    """How many columns of a row equal a target's score, the target included.

    Exact for targets among the ``k`` largest values, which is where it matters;
    1 for the others.

    Parameters
    ----------
    rows_of:
        Reads whole rows; only called for ties that go on beyond the list.
    values:
        From :func:`top_values`, ``(b, k + 1)``, or ``(b, n)`` where k = n.
    rows, targets:
        Row and score of each target, ``(t,)``.

    Returns
    -------
    Tensor
        int64 ``(t,)``.
    """
    tied = (values[rows, :k] == targets[:, None]).sum(1).clamp_(min=1)
    crossing = values.shape[1] > k
    if crossing:
        # The ties go on beyond the list: only then the whole row is read.
        last = values[:, k - 1]
        beyond = (last == values[:, k]) & (last > -torch.inf)
        at_edge = beyond[rows] & (targets == last[rows])
        if bool(at_edge.any()):
            edge_rows, back = torch.unique(rows[at_edge], return_inverse=True)
            counts = [
                torch.count_nonzero(rows_of(part) == last[part, None], dim=1) for part in edge_rows.split(_TIED_ROWS)
            ]
            tied[at_edge] = torch.cat(counts)[back]
    return tied


def break_ties(
    rows_of: RowsOf, values: Tensor, columns: Tensor, users: np.ndarray, k: int, seed: int
) -> tuple[Tensor, Tensor]:
    """The first ``k`` of each row, equal values in an order drawn for each user and seed.

    Parameters
    ----------
    rows_of:
        Reads whole rows; only called for ties that go on beyond the list.
    values, columns:
        From :func:`top_values`.
    users:
        User codes of the rows, ``(b,)``.

    Returns
    -------
    tuple of Tensor
        Values float32 and columns int64, ``(b, k)``.
    """
    values, columns = values.clone(), columns.clone()
    equal = (values[:, 1:] == values[:, :-1]) & (values[:, 1:] > -torch.inf)
    rows = torch.nonzero(equal.any(1)).squeeze(1)
    if rows.numel() == 0:
        return values[:, :k], columns[:, :k]
    codes = torch.from_numpy(np.asarray(users, dtype=np.int64)).to(values.device)
    if values.shape[1] > k:
        for part in rows[equal[rows, k - 1]].split(_TIED_ROWS):
            columns[part, :k] = _draw_at_edge(rows_of(part), values[part, :k], columns[part, :k], codes[part], seed)
    values, columns = values[:, :k].contiguous(), columns[:, :k].contiguous()
    keys = _mix(codes[rows, None], 2 * seed) ^ _mix(columns[rows], 2 * seed + 1)
    order = _scramble_(keys).argsort(dim=1, descending=True)
    # Stable, so that within equal values the order of the keys stays.
    order = order.gather(1, values[rows].gather(1, order).argsort(dim=1, descending=True, stable=True))
    columns[rows] = columns[rows].gather(1, order)
    return values, columns


def _draw_at_edge(scores: Tensor, values: Tensor, columns: Tensor, users: Tensor, seed: int) -> Tensor:
    """Replace the columns that hold a row's last value by a draw among all columns that hold it."""
    k = values.shape[1]
    last = values[:, -1:]
    every = _mix(torch.arange(scores.shape[1], device=scores.device), 2 * seed + 1)
    keys = _scramble_(_mix(users[:, None], 2 * seed) ^ every).masked_fill_(scores != last, -1)
    drawn = _largest(keys, k, ordered=True)[1]  # the tied columns first, largest key first
    n_above = (values > last).sum(1, keepdim=True)
    place = torch.arange(k, device=scores.device)[None, :]
    return torch.where(place < n_above, columns, drawn.gather(1, (place - n_above).clamp(min=0)))


_ODD = 0x2545F4914F6CDD1D
_NO_SIGN = torch.iinfo(torch.int64).max


def _mix(codes: Tensor, seed: int) -> Tensor:
    """A pseudo-random int64 for each code: the finaliser of SplitMix64 (Steele, Lea and Flood 2014).

    Products wrap around; the masks make the arithmetic shifts logical.
    """
    key = (codes + (seed % 2**30 << 32)) * _ODD + 1
    key = (key ^ (key >> 30 & 0x3FFFFFFFF)) * -0x40A7B892E31B1A47
    key = (key ^ (key >> 27 & 0x1FFFFFFFFF)) * -0x6B2FB644ECCEEE15
    return key ^ (key >> 31 & 0x1FFFFFFFF)


def _scramble_(keys: Tensor) -> Tensor:
    """Mix two mixed codes that were joined by xor, and clear the sign; in place, cheap enough for a whole row."""
    keys.mul_(_ODD)
    keys ^= keys >> 32
    return keys.mul_(_ODD).bitwise_and_(_NO_SIGN)
