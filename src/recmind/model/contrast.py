"""What models with a contrast of their own have in common."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from recmind.config import ModelConfig
from recmind.errors import ConfigError
from recmind.model.alignment import info_nce
from recmind.model.graph import BipartiteGraph
from recmind.model.propagation import gather_rows
from recmind.model.views import GraphModel, Views, score_space


class ContrastSettings(Protocol):
    """λ and τ of a contrast."""

    @property
    def weight(self) -> float:
        """λ."""
        ...

    @property
    def temperature(self) -> float:
        """τ."""
        ...


class ContrastiveModel(GraphModel):
    """Free embeddings, h = z^G, and a contrast of pairs of views (p, q) of the same nodes.

    λ Σ_(p,q) [ InfoNCE(p_U → q_U) + InfoNCE(p_I → q_I) ]

    over the distinct users U and the distinct positive items I of a batch,
    means over the nodes. Papers that sum over all nodes of a side, with all of
    them as negatives, are read the same way: a batch stands for all.
    """

    def __init__(self, graph: BipartiteGraph, config: ModelConfig, contrast: ContrastSettings) -> None:
        super().__init__()
        if not config.layers:
            raise ConfigError(
                f"{config.name} contrasts layers, and there are none", where="model.layers", got=0, accepted="1 to 8"
            )
        self.graph, self.config = graph, config
        self.weight, self.temperature = contrast.weight, contrast.temperature
        self.n_users, self.n_items = graph.n_users, graph.n_items
        self.free = nn.Parameter(torch.randn(graph.n_nodes, config.dim) * config.init_std)

    def final(self, views: Views) -> Tensor:
        """h = z^G, ``(k, d)``."""
        return score_space(views.graph, self.config.score)

    def contrast(
        self, views: Views, users: Tensor, items: Tensor, negatives: Tensor, generator: torch.Generator
    ) -> Tensor:
        """The equation above, a scalar; negatives are none of the nodes that are contrasted."""
        total = views.graph.new_zeros(())
        for nodes in (torch.unique(users), torch.unique(items) + self.n_users):
            rows = nodes if views.wanted is None else views.wanted.locate(nodes)
            for one, other in views.pairs:
                total = total + info_nce(gather_rows(one, rows), gather_rows(other, rows), temperature=self.temperature)
        return self.weight * total
