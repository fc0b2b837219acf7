"""A block of users and the whole catalogue, with the scores written down or not.

Inner products in float32 on the CPU are scanned as they are computed
(:mod:`recmind.kernels.scan`); any other scorer, device or precision gives a
block of scores from which torch selects.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from recmind.evaluation.seen import Seen
from recmind.evaluation.selection import top_values
from recmind.kernels import scan
from recmind.model.scorer import Scorer
from recmind.model.views import VectorScorer

_SCANNED_ROWS = 4096
"""Users of one scan: enough to keep the threads busy, few enough for the progress bar."""
_CACHE_BYTES = 2**23
"""Scores of one block on a CPU."""
_MIN_ROWS = 32
"""Fewer rows than this make the product itself slow."""


class Block(Protocol):
    """A block of b users."""

    @property
    def device(self) -> torch.device:
        """Where the results are."""
        ...

    def leave_out(self, seen: Seen) -> None:
        """From now on, what row r of ``seen`` names scores -inf in row r; at most once."""
        ...

    def pairs(self, rows: Tensor, items: Tensor) -> Tensor:
        """Scores of single pairs, ``(n,)``."""
        ...

    def best(self, k: int) -> tuple[Tensor, Tensor]:
        """The ``k + 1`` largest scores of each row and their items, as :func:`.selection.top_values` has them."""
        ...

    def rows(self, rows: Tensor) -> Tensor:
        """All scores of some rows, ``(len(rows), n_items)``."""
        ...


class Scores:
    """A block whose scores are there, float32 ``(b, n_items)``; they are overwritten."""

    def __init__(self, scores: Tensor) -> None:
        self.scores = scores

    @property
    def device(self) -> torch.device:
        """See :class:`Block`."""
        return self.scores.device

    def leave_out(self, seen: Seen) -> None:
        """See :class:`Block`."""
        seen.mask_(self.scores, np.arange(len(self.scores)))

    def pairs(self, rows: Tensor, items: Tensor) -> Tensor:
        """See :class:`Block`."""
        return self.scores[rows, items]

    def best(self, k: int) -> tuple[Tensor, Tensor]:
        """See :class:`Block`."""
        return top_values(self.scores, k)

    def rows(self, rows: Tensor) -> Tensor:
        """See :class:`Block`."""
        return self.scores[rows]


class Vectors:
    """A block whose scores are the inner products of ``(b, d)`` and ``(n_items, d)``, computed when asked for.

    Parameters
    ----------
    users, items:
        The vectors.
    added:
        What is added to a few of the scores, none of it below zero, csr with b rows and ascending columns.
    """

    device = torch.device("cpu")

    def __init__(self, users: Tensor, items: Tensor, added: csr_array | None = None) -> None:
        self.users, self.items, self.added = users, items, added
        self.seen: Seen | None = None

    def leave_out(self, seen: Seen) -> None:
        """See :class:`Block`."""
        self.seen = seen

    def pairs(self, rows: Tensor, items: Tensor) -> Tensor:
        """See :class:`Block`; as if nothing were left out."""
        products = scan.pair_products(self.users, self.items, rows, items)
        if self.added is None or not self.added.nnz:
            return products
        at, there = self._find_raised(rows.numpy() * len(self.items) + items.numpy())
        return products + torch.from_numpy(np.where(there, self.added.data[at], np.float32(0)))

    def best(self, k: int) -> tuple[Tensor, Tensor]:
        """See :class:`Block`."""
        left_out = (self.seen.starts, self.seen.items) if self.seen else None
        wanted = min(k + 1, len(self.items))
        values, columns = scan.best_products(self.users, self.items, wanted, left_out)
        return (values, columns) if self.added is None else self._with_raised(values, columns)

    def _with_raised(self, values: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """The best when some scores are raised: they are among the best as they were and those that were raised."""
        assert self.added is not None
        pairs, n, width = self._raised, len(self.users), len(self.items)
        rows, raised = np.divmod(pairs, width)
        scores = scan.pair_products(self.users, self.items, torch.from_numpy(rows), torch.from_numpy(raised))
        scores += torch.from_numpy(self.added.data)
        if self.seen:
            at, there = self._find_raised(np.repeat(np.arange(n), np.diff(self.seen.starts)) * width + self.seen.items)
            scores[torch.from_numpy(at[there])] = -torch.inf
        # Few reach the list; what stands in it and was raised does. Each row's stand side by side, and its list behind
        # them without what was raised.
        reaching = scores >= values[torch.from_numpy(rows), -1]
        scores, (rows, raised) = scores[reaching], (codes[reaching.numpy()] for codes in (rows, raised))
        counts = np.bincount(rows, minlength=n)
        places = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        most = int(counts.max(initial=0))
        both = torch.full((n, most + values.shape[1]), -torch.inf)
        which = torch.full(both.shape, -1, dtype=torch.int64)
        where = torch.from_numpy(rows), torch.from_numpy(places)
        both[where], which[where] = scores, torch.from_numpy(raised)
        listed = np.arange(n)[:, None] * width + columns.numpy()
        twice = torch.from_numpy(self._find_raised(listed)[1]) & (columns >= 0)
        both[:, most:] = values.masked_fill(twice, -torch.inf)
        which[:, most:] = columns
        best, at = torch.topk(both, values.shape[1], dim=1)
        found = which.gather(1, at).masked_fill(best == -torch.inf, -1)
        undefined = values.isnan().any(1)  # such a row stays as it is
        return torch.where(undefined[:, None], values, best), torch.where(undefined[:, None], columns, found)

    @cached_property
    def _raised(self) -> np.ndarray:
        """What is added to, as row x n_items + item, int64 and ascending."""
        assert self.added is not None
        rows = np.repeat(np.arange(len(self.users), dtype=np.int64), np.diff(self.added.indptr))
        return rows * len(self.items) + self.added.indices

    def _find_raised(self, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where pairs stand in :attr:`_raised`, and whether they do; there are few of them, and many raised ones."""
        if not len(self._raised):
            return np.zeros(pairs.shape, dtype=np.int64), np.zeros(pairs.shape, dtype=bool)
        at = np.searchsorted(self._raised, pairs).clip(max=len(self._raised) - 1)
        return at, self._raised[at] == pairs

    def rows(self, rows: Tensor) -> Tensor:
        """See :class:`Block`."""
        scores = scan.all_products(self.users[rows], self.items)
        if self.added is not None:
            some = self.added[rows.numpy()].tocoo()
            at = tuple(torch.from_numpy(codes.astype(np.int64)) for codes in some.coords)
            scores[at] += torch.from_numpy(some.data)
        if self.seen:
            self.seen.mask_(scores, rows)
        return scores


def blocks(scorer: Scorer, users: np.ndarray, k: int, limit: int) -> Iterator[tuple[slice, Block]]:
    """Slices of ``users`` with their blocks, for lists of ``k``.

    None takes more memory than ``limit`` rows of scores.
    """
    if isinstance(scorer, VectorScorer) and scan.available(scorer.users, scorer.items):
        return _scanned(scorer, users, k, limit)
    return _scored(scorer, users, limit)


def _scanned(scorer: VectorScorer, users: np.ndarray, k: int, limit: int) -> Iterator[tuple[slice, Block]]:
    # A place in a list takes 12 bytes, a score would take 4.
    size = min(_SCANNED_ROWS, max(1, limit * scorer.n_items // (3 * (k + 1))))
    items = scorer.items.detach().contiguous()
    following = scorer.comes_next
    for start in range(0, len(users), size):
        rows = slice(start, min(start + size, len(users)))
        added = None if following is None else following.scores(users[rows])
        yield rows, Vectors(scorer.users.detach()[torch.from_numpy(users[rows])], items, added)


def _scored(scorer: Scorer, users: np.ndarray, limit: int) -> Iterator[tuple[slice, Block]]:
    """At most ``limit`` rows; on a CPU so few that the scores stay in the cache between product and selection."""
    size = min(limit, max(_MIN_ROWS, _CACHE_BYTES // (4 * scorer.n_items)))
    start = 0
    while start < len(users):
        rows = slice(start, min(start + size, len(users)))
        scores = scorer.scores(torch.from_numpy(users[rows])).float()
        yield rows, Scores(scores)
        start = rows.stop
        size = size if scores.device.type == "cpu" else limit
