"""A part of the catalogue as if there were nothing else, and a part of the targets among all items."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from recmind.data.splitting import Part, Split
from recmind.model.scorer import Scorer
from recmind.model.views import VectorScorer


def only_items(scorer: Scorer, split: Split, items: np.ndarray) -> tuple[Scorer, Split]:
    """Model and split on a smaller catalogue: what is ranked, what is left out and what is hit are these items alone.

    Parameters
    ----------
    items:
        Which items stay, bool ``(n_items,)``; they are numbered anew in their order.

    Returns
    -------
    tuple
        A scorer of ``items.sum()`` items, and the split of the interactions with them.
    """
    chosen = np.flatnonzero(items)
    codes = np.cumsum(items, dtype=np.int64).astype(np.int32) - 1
    parts = {name: of_rows(split.part(name), items[split.part(name).items]) for name in ("train", "valid", "test")}
    coded = {name: replace(part, items=codes[part.items]) for name, part in parts.items()}
    smaller = replace(split, n_items=len(chosen), **coded)
    rows = torch.from_numpy(chosen)
    if isinstance(scorer, VectorScorer):
        return scorer.among(rows), smaller
    return _Columns(scorer, rows), smaller


def only_targets(split: Split, items: np.ndarray) -> Split:
    """The split with those validation and test interactions alone whose item is chosen; the catalogue stays.

    Parameters
    ----------
    items:
        bool ``(n_items,)``.
    """
    kept = {name: of_rows(split.part(name), items[split.part(name).items]) for name in ("valid", "test")}
    return replace(split, **kept)


def of_rows(part: Part, rows: np.ndarray) -> Part:
    """Some interactions of a part, bool ``(n,)``."""
    return Part(part.users[rows], part.items[rows], part.rows[rows])


class Unplaced:
    """A model that knows nothing of some items: they all score alike, below every other."""

    def __init__(self, scorer: Scorer, items: np.ndarray) -> None:
        self.scorer, self.items = scorer, torch.from_numpy(items)
        self.n_users, self.n_items = scorer.n_users, scorer.n_items

    def scores(self, users: Tensor) -> Tensor:
        """Scores ``(b, n_items)``; of the unknown items one less than the smallest of the others."""
        scores = self.scorer.scores(users)
        unknown = self.items.to(scores.device)
        if bool(unknown.any()) and not bool(unknown.all()):
            lowest = scores[:, ~unknown].amin(1, keepdim=True)
            # As a step in float32 that is seen at any size of the scores.
            return torch.where(unknown, lowest - lowest.abs().clamp_min(1.0), scores)
        return torch.zeros_like(scores) if bool(unknown.all()) else scores


class _Columns:
    """Some items of a scorer."""

    def __init__(self, scorer: Scorer, items: Tensor) -> None:
        self.scorer, self.items = scorer, items
        self.n_users, self.n_items = scorer.n_users, len(items)

    def scores(self, users: Tensor) -> Tensor:
        scores = self.scorer.scores(users)
        return scores[:, self.items.to(scores.device)]
