"""What came next, for a server: :mod:`recmind.model.transitions` on a bundle's tables, one history at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recmind.schema import BundleTensors
from recmind.serving.neighbours import Near
from recmind.serving.tastes import Equations

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class Raised:
    """What is added to some items' scores.

    Attributes
    ----------
    codes:
        Items, ascending, int64 ``(n,)``.
    values:
        σ Σ_m ω_m T_{j_m, i}, none below zero, float32 ``(n,)``.
    """

    codes: Array
    values: Array

    def of(self, codes: Array) -> Array:
        """What is added to the scores of some items, of the shape of their codes."""
        if not len(self.codes):
            return np.zeros(codes.shape, dtype=np.float32)
        at = np.searchsorted(self.codes, codes).clip(max=len(self.codes) - 1)
        return np.where(self.codes[at] == codes, self.values[at], np.float32(0))

    def of_new(self, near: Near) -> Array:
        """What is added to new items: what is to the items with texts like theirs, ``(n,)``."""
        return (near.shares * self.of(near.codes)).sum(axis=1)


_NOTHING = Raised(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))


class Following:
    """T of a bundle.

    Parameters
    ----------
    tables:
        T in compressed rows; items from their number on came after nothing.
    """

    def __init__(self, equations: Equations, tables: Mapping[str, Array]) -> None:
        self.weight, self.decay = equations.transition_weight, equations.transition_recency
        self.n = equations.transition_items
        self.offsets, self.codes = tables[BundleTensors.OFFSETS], tables[BundleTensors.CODES]
        self.shares = tables[BundleTensors.SHARES]

    def weights(self, m: int) -> Array:
        """σ ω of m latest items, oldest first, float32."""
        shares = np.float32(self.decay) ** np.arange(m - 1, -1, -1, dtype=np.float32)
        return (self.weight * shares / shares.sum()).astype(np.float32) if m else shares

    def raised(self, history: Array) -> Raised:
        """What is added for somebody with these items, oldest first."""
        latest = history[-self.n :]
        found, values = [], []
        for item, weight in zip(latest.tolist(), self.weights(len(latest)).tolist(), strict=True):
            if weight and item < len(self.offsets) - 1:
                row = slice(self.offsets[item], self.offsets[item + 1])
                found.append(self.codes[row])
                values.append(np.float32(weight) * self.shares[row])
        if not found:
            return _NOTHING
        codes, parts = np.concatenate(found), np.concatenate(values)
        order = codes.argsort(kind="stable")
        codes, parts = codes[order], parts[order]
        if not len(codes):
            return _NOTHING
        firsts = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]]))
        return Raised(codes[firsts].astype(np.int64), np.add.reduceat(parts, firsts))

    def parts(self, history: Array, near: Near) -> Array:
        """What each item of a history adds to the score of one item, ``(n,)``; the older ones nothing.

        ``near`` has one row: the item itself, or what a new one is linked to.
        """
        found = np.zeros(len(history))
        first = max(len(history) - self.n, 0)
        for place, weight in enumerate(self.weights(len(history) - first).tolist(), start=first):
            row = self._row(int(history[place]))
            found[place] = weight * float(row.of_new(near)[0])
        return found

    def for_users(self, near: Near, offsets: Array, histories: Array, lengths: Array) -> Array:
        """What is added to the score of one item for every user, float32 ``(n_users,)``.

        Parameters
        ----------
        near:
            One row, as above.
        offsets, histories, lengths:
            Where each user's items begin, the items, oldest first, and how many of each user's, the first ones, count.
        """
        shares = np.zeros(max(len(self.offsets) - 1, int(histories.max(initial=-1)) + 1), dtype=np.float32)
        for item, share in zip(near.codes[0].tolist(), near.shares[0], strict=True):
            holds = np.flatnonzero(self.codes == item)
            shares[np.searchsorted(self.offsets, holds, side="right") - 1] += share * self.shares[holds]
        found, total = np.zeros(len(lengths), dtype=np.float32), np.zeros(len(lengths), dtype=np.float32)
        for back in range(self.n if len(histories) else 0):
            omega = np.float32(self.decay) ** np.float32(back)
            there = lengths > back
            places = np.where(there, offsets[:-1] + lengths - 1 - back, 0)
            found += omega * there * shares[histories[places]]
            total += omega * there
        return (self.weight * found / np.maximum(total, np.float32(1e-12))).astype(np.float32)

    def _row(self, item: int) -> Raised:
        """T of what came after one item."""
        if item >= len(self.offsets) - 1:
            return _NOTHING
        row = slice(self.offsets[item], self.offsets[item + 1])
        return Raised(self.codes[row], self.shares[row])


def with_raised(
    scores: Array,
    codes: Array,
    queries: Array,
    vectors: Array,
    raised: Sequence[Raised | None],
    banned: Sequence[Array],
    admitted: Array | None,
) -> tuple[Array, Array]:
    """The best when some scores are raised: they are among the best as they were and those that were raised.

    Parameters
    ----------
    scores, codes:
        The best of each query without what is raised, ``(b, k)``, largest first; changed in place.
    queries, vectors:
        ``(b, d)`` and those of the bundle's items ``(n_items, d)``.
    banned, admitted:
        Ascending codes that must not stand in each list, and which items may at all.
    """
    k = scores.shape[1]
    for row, (more, gone) in enumerate(zip(raised, banned, strict=True)):
        if more is None:
            continue
        fine = ~_in_ascending(more.codes, gone)
        if admitted is not None:
            fine &= admitted[more.codes]
        some = more.codes[fine]
        values = vectors[some] @ queries[row] + more.values[fine]
        reaching = values >= scores[row, -1]  # few; what stands in the list and was raised does
        some, values = some[reaching], values[reaching]
        kept = ~_in_ascending(codes[row], some)
        both, which = np.concatenate([scores[row, kept], values]), np.concatenate([codes[row, kept], some])
        order = np.lexsort((which, -both))[:k]
        scores[row], codes[row] = both[order], which[order]
    return scores, codes


def _in_ascending(values: Array, among: Array) -> Array:
    """Which values are among ascending ones, bool."""
    if not len(among):
        return np.zeros(len(values), dtype=bool)
    return among[np.searchsorted(among, values).clip(max=len(among) - 1)] == values
