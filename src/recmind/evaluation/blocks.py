"""A block of users and the whole catalogue, with the scores written down or not.

Inner products in float32 on the CPU are scanned as they are computed
(:mod:`recmind.kernels.scan`); any other scorer, device or precision gives a
block of scores from which torch selects.
"""

from __future__ import annotations

from collections.abc import Iterator
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
        What is added to a few of the scores, csr float32 with b rows and ascending columns.
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
        if self.added is None:
            return products
        return products + torch.from_numpy(np.asarray(self.added[rows.numpy().copy(), items.numpy().copy()]).ravel())

    def best(self, k: int) -> tuple[Tensor, Tensor]:
        """See :class:`Block`."""
        left_out = (self.seen.starts, self.seen.items) if self.seen else None
        return scan.best_products(self.users, self.items, min(k + 1, len(self.items)), left_out, self.added)

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
