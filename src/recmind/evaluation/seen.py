"""The items that are left out of each user's ranking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class Interactions(Protocol):
    """Anything with parallel arrays of user and item codes, such as a part of a split."""

    @property
    def users(self) -> np.ndarray:
        """User codes, ``(n,)``."""
        ...

    @property
    def items(self) -> np.ndarray:
        """Item codes, ``(n,)``."""
        ...


@dataclass(frozen=True)
class Seen:
    """The items to leave out of each user's ranking, as compressed rows.

    Attributes
    ----------
    starts:
        Where each user's items begin, int64 ``(n_users + 1,)``.
    items:
        Item codes, user after user and ascending for each, none twice, int32 ``(n,)``.
    """

    starts: np.ndarray
    items: np.ndarray

    @classmethod
    def from_parts(cls, n_users: int, n_items: int, *parts: Interactions) -> Seen:
        """The union of the parts' interactions.

        Raises
        ------
        ValueError
            If a code lies outside ``[0, n_users)`` or ``[0, n_items)``.
        """
        users = np.concatenate([np.zeros(0, np.int64), *(np.asarray(part.users, dtype=np.int64) for part in parts)])
        items = np.concatenate([np.zeros(0, np.int64), *(np.asarray(part.items, dtype=np.int64) for part in parts)])
        for name, codes, limit in (("user", users, n_users), ("item", items, n_items)):
            if codes.size and (codes.min() < 0 or codes.max() >= limit):
                raise ValueError(f"{name} codes {codes.min()} to {codes.max()}, expected 0 to {limit - 1}")
        pairs = np.unique(users * n_items + items)
        users, items = np.divmod(pairs, max(n_items, 1))
        return cls(_starts(users, n_users), items.astype(np.int32))

    def positions(self, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Row (within ``users``) and item of every left-out pair, int64 and int32 ``(n,)`` each."""
        first = self.starts[users]
        counts = self.starts[users + 1] - first
        rows = np.repeat(np.arange(len(users)), counts)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        return rows, self.items[first[rows] + within]

    def of(self, users: np.ndarray, kept: tuple[np.ndarray, np.ndarray] | None = None) -> Seen:
        """The same for a block: its row r is ``users[r]``; pairs of row and item in ``kept`` are not left out."""
        rows, items = self.positions(users)
        if kept is not None and len(items):
            width = 1 + max(int(items.max()), int(kept[1].max(initial=0)))
            pairs, wanted = rows * width + items, kept[0] * width + kept[1]
            at = np.searchsorted(pairs, wanted).clip(max=len(pairs) - 1)
            gone = at[pairs[at] == wanted]
            rows, items = np.delete(rows, gone), np.delete(items, gone)
        return Seen(_starts(rows, len(users)), items)

    def mask_(self, scores: Tensor, users: np.ndarray | Tensor) -> None:
        """Set the scores ``(b, n_items)`` of what ``users`` ``(b,)`` have seen to -inf, in place."""
        codes = users.cpu().numpy() if isinstance(users, Tensor) else np.asarray(users)
        rows, items = self.positions(codes.astype(np.int64))
        where = torch.from_numpy(rows).to(scores.device), torch.from_numpy(items).long().to(scores.device)
        scores.index_put_(where, scores.new_tensor(-torch.inf))


def _starts(users: np.ndarray, n_users: int) -> np.ndarray:
    starts = np.zeros(n_users + 1, dtype=np.int64)
    np.cumsum(np.bincount(users, minlength=n_users), out=starts[1:])
    return starts
