"""LightGCN (He et al. 2020): free embeddings, propagated and averaged."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recmind.config import ModelConfig
from recmind.model.graph import BipartiteGraph, NodeSubset
from recmind.model.propagation import propagate
from recmind.model.views import GraphModel, Views, score_space, storage_of


class LightGCN(GraphModel):
    """h = 1/(L+1) Σ_l Â^l E^(0) (equations 7 and 8 of the paper)."""

    def __init__(self, graph: BipartiteGraph, config: ModelConfig) -> None:
        super().__init__()
        self.graph, self.config = graph, config
        self.n_users, self.n_items = graph.n_users, graph.n_items
        self.free = nn.Parameter(torch.randn(graph.n_nodes, config.dim) * config.init_std)

    def forward(self, generator: torch.Generator | None = None, wanted: NodeSubset | None = None) -> Views:
        """Views of the wanted nodes, or of all."""
        graph, free = propagate(self.free, self.graph, self.config.layers, wanted, storage_of(self.config))
        return Views(graph, regularised=free, wanted=wanted)

    def final(self, views: Views) -> Tensor:
        """h = z^G, ``(k, d)``."""
        return score_space(views.graph, self.config.score)
