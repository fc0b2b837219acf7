"""Popularity: the number of training interactions, the same for everybody."""

from __future__ import annotations

import torch
from torch import Tensor

from recmind.model.graph import BipartiteGraph
from recmind.model.item_item import Computed
from recmind.schema import Tensors


class Popularity(Computed):
    """Scores every item by its training degree."""

    def __init__(self, graph: BipartiteGraph) -> None:
        self.n_users, self.n_items = graph.n_users, graph.n_items
        self.item_scores = graph.degrees[graph.n_users :].clone()

    def fit(self) -> None:
        """Nothing is left to compute: the graph has counted."""

    def scores(self, users: Tensor) -> Tensor:
        """Degrees of all items, once per user, ``(b, n_items)``."""
        return self.item_scores.repeat(len(users), 1)

    def vectors(self) -> tuple[Tensor, Tensor]:
        """The same as vectors of size 1: ones for users, degrees for items."""
        return torch.ones(self.n_users, 1), self.item_scores[:, None]

    def tensors(self) -> dict[str, Tensor]:
        """The vectors."""
        users, items = self.vectors()
        return {Tensors.USERS: users, Tensors.ITEMS: items}
