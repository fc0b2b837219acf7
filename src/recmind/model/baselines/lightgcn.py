"""LightGCN (He et al. 2020): free embeddings, propagated and averaged."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recmind.config import ModelConfig
from recmind.model.graph import BipartiteGraph
from recmind.model.propagation import propagate
from recmind.model.views import GraphModel, Views, rows_of, score_space


class LightGCN(GraphModel):
    """h = 1/(L+1) Σ_l Â^l E^(0) (equations 7 and 8 of the paper)."""

    def __init__(self, graph: BipartiteGraph, config: ModelConfig) -> None:
        super().__init__()
        self.graph, self.config = graph, config
        self.n_users, self.n_items = graph.n_users, graph.n_items
        self.free = nn.Parameter(torch.randn(graph.n_nodes, config.dim) * config.init_std)

    def forward(self, generator: torch.Generator | None = None) -> Views:
        """Views of all nodes."""
        graph = propagate(self.free, self.graph, self.config.layers)
        return Views(graph, regularised=self.free)

    def final(self, views: Views, nodes: Tensor | None = None) -> Tensor:
        """h = z^G of ``nodes``, ``(n, d)``."""
        return score_space(rows_of(views.graph, nodes), self.config.score)
