"""What came next and nothing else: the sequential rules of Ludewig and Jannach (2018, section 3.1)."""

from __future__ import annotations

from recmind.config import ModelConfig
from recmind.model.graph import BipartiteGraph
from recmind.model.item_item import ItemItem
from recmind.model.transitions import counted, latest_shares


class SequentialRules(ItemItem):
    """s(u, i) = Σ_m ω_m T_{j_m, i}: how often i came after the user's latest items j_m.

    The term of the same name that RecMind adds to its score
    (:mod:`recmind.model.transitions`), as a model of its own; what did not come
    after any of them scores 0. ``model.transitions`` says how T is counted and how
    ω falls; its weight is not read.

    Attributes
    ----------
    interactions:
        ω in place of ones, float32 ``(n_users, n_items)``.
    """

    def __init__(self, graph: BipartiteGraph, config: ModelConfig) -> None:
        super().__init__(graph)
        self.graph, self.config = graph, config
        self.interactions = latest_shares(graph, config)

    def fit(self) -> None:
        """Count T."""
        self.weights = counted(self.graph, self.config)
