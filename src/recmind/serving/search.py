"""The largest inner products of a query with the catalogue: what a search is, and the one that compares everything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from recmind.kernels import scan
from recmind.kernels.bytes import ByteTable, available

Array = np.ndarray

GATHERED = 20_000
"""Up to so many admitted items are compared one by one, whatever the index."""
_WORTH_GATHERING = 50
"""A part of the items that is this many times smaller is gathered rather than looked for in the table of bytes."""
_TILED = 4
"""Queries from which on the kernel of evaluation beats a plain product for each."""
_SCORES = 2**22
"""Scores that are written down at once."""


class Search(Protocol):
    """Finds the best items of queries."""

    def __call__(
        self, queries: Array, k: int, left_out: Sequence[Array], admitted: Array | None = None
    ) -> tuple[Array, Array]:
        """The ``k`` best of each query.

        Parameters
        ----------
        queries:
            float32 ``(b, d)``.
        left_out:
            Ascending codes that each query must not get, ``b`` arrays, int32.
        admitted:
            Which items may be listed, bool ``(n,)``; ``None`` for all.

        Returns
        -------
        tuple of ndarray
            Scores float32 and codes int64, ``(b, k)`` each, largest first; -inf and -1 where nothing is left.
        """
        ...


class ExactSearch:
    """Compares everything, or what is admitted if that is little.

    A few queries look through a table of a byte per number first
    (:mod:`recmind.kernels.bytes`), many at once go through the kernel of
    evaluation, and without compiled kernels torch multiplies.
    """

    def __init__(self, vectors: Array, threads: int = 1) -> None:
        self.vectors, self.threads = vectors, threads
        self._table = torch.from_numpy(vectors)
        self._bytes = ByteTable.of(vectors) if available() and len(vectors) else None

    def __call__(
        self, queries: Array, k: int, left_out: Sequence[Array], admitted: Array | None = None
    ) -> tuple[Array, Array]:
        """See :class:`Search`."""
        in_bytes = self._bytes if len(queries) < _TILED else None
        if admitted is not None:
            few = np.flatnonzero(admitted)
            if len(few) <= (GATHERED if in_bytes is None else len(admitted) // _WORTH_GATHERING):
                return among(self.vectors, few, queries, k, left_out)
        wanted = min(k, len(self.vectors))
        if not wanted or not len(queries):
            return nothing(len(queries), k)
        if in_bytes is not None:
            rows = [
                in_bytes.best(query, wanted, codes, admitted) for query, codes in zip(queries, left_out, strict=True)
            ]
            return _stacked(rows, k)
        users = torch.from_numpy(np.ascontiguousarray(queries))
        # The kernel computes tiles of users: with few of them, or with most of the catalogue left out, a plain product
        # is faster. Few come here without compiled kernels alone.
        if admitted is None and len(queries) >= _TILED and scan.available(users, self._table):
            starts = np.zeros(len(queries) + 1, dtype=np.int64)
            np.cumsum([len(codes) for codes in left_out], out=starts[1:])
            named = np.concatenate(left_out).astype(np.int32, copy=False)
            values, columns = scan.best_products(users, self._table, wanted, (starts, named), threads=self.threads)
            return padded(values.numpy(), columns.numpy(), k)
        gone = None if admitted is None else torch.from_numpy(~admitted)
        size = max(1, _SCORES // len(self.vectors))
        parts = [
            self._multiplied(users[first : first + size], left_out[first : first + size], gone, wanted)
            for first in range(0, len(users), size)
        ]
        values, columns = (np.concatenate(tables) for tables in zip(*parts, strict=True))
        return padded(values, columns, k)

    def _multiplied(
        self, users: torch.Tensor, left_out: Sequence[Array], gone: torch.Tensor | None, k: int
    ) -> tuple[Array, Array]:
        """The k best of a few queries by way of all their scores."""
        scores = torch.mv(self._table, users[0])[None] if len(users) == 1 else users @ self._table.T
        if gone is not None:
            scores.masked_fill_(gone, -torch.inf)
        for row, codes in enumerate(left_out):
            if len(codes):
                scores[row, torch.from_numpy(codes).long()] = -torch.inf
        values, columns = torch.topk(scores, k, dim=1)
        return values.numpy(), columns.numpy()


def among(vectors: Array, few: Array, queries: Array, k: int, left_out: Sequence[Array]) -> tuple[Array, Array]:
    """The best of some items, compared one by one."""
    if not len(few):
        return nothing(len(queries), k)
    scores = queries @ vectors[few].T
    for row, gone in enumerate(left_out):
        if len(gone):
            scores[row, np.isin(few, gone)] = -np.inf
    return padded(*largest(scores, few, min(k, len(few))), k)


def largest(scores: Array, codes: Array, k: int) -> tuple[Array, Array]:
    """The k largest of each row, largest first, equal ones in the order of their codes."""
    codes = np.broadcast_to(codes, scores.shape)
    if k < scores.shape[1]:
        part = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        scores, codes = np.take_along_axis(scores, part, 1), np.take_along_axis(codes, part, 1)
    order = np.lexsort((codes, -scores), axis=1)
    return np.take_along_axis(scores, order, 1), np.take_along_axis(codes, order, 1)


def _stacked(rows: Sequence[tuple[Array, Array]], k: int) -> tuple[Array, Array]:
    scores, codes = nothing(len(rows), k)
    for row, (found, of) in enumerate(rows):
        scores[row, : len(found)], codes[row, : len(of)] = found, of
    return scores, codes


def padded(scores: Array, codes: Array, k: int) -> tuple[Array, Array]:
    """Exactly k columns, with -1 where the score is -inf."""
    codes = np.where(scores == -np.inf, -1, codes)
    missing = k - scores.shape[1]
    if missing <= 0:
        return scores, codes
    width = ((0, 0), (0, missing))
    return np.pad(scores, width, constant_values=-np.inf), np.pad(codes, width, constant_values=-1)


def nothing(b: int, k: int) -> tuple[Array, Array]:
    """k columns of what is not there."""
    return np.full((b, k), -np.inf, dtype=np.float32), np.full((b, k), -1, dtype=np.int64)
