"""SASRec (Kang and McAuley 2018, arXiv 1808.09781): histories read in order, and nothing else."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recmind.config import ModelConfig
from recmind.model.graph import BipartiteGraph, NodeSubset
from recmind.model.propagation import gather_rows
from recmind.model.sequence import SequenceEncoder, checked_heads
from recmind.model.views import GraphModel, Reading, Views, score_space


class SASRec(GraphModel):
    """h_i = m_i, free, and h_u the state after the user's history of h_i (:mod:`recmind.model.sequence`).

    Every interaction of the training part is looked for, from what the user
    had before it; in use it is the next one, from everything. The paper has one
    negative for each and a binary cross-entropy; with the softmax over many
    negatives that the recipe takes the model is far stronger (Klenitskiy and
    Vasilev 2023, arXiv 2309.07602).
    """

    def __init__(self, graph: BipartiteGraph, config: ModelConfig) -> None:
        super().__init__()
        settings = config.baselines.sasrec
        self.graph, self.config = graph, config
        self.n_users, self.n_items = graph.n_users, graph.n_items
        self.items = nn.Parameter(torch.randn(graph.n_items, config.dim) * config.init_std)
        self.sequence = SequenceEncoder(
            graph,
            dim=config.dim,
            blocks=config.layers,
            heads=checked_heads(settings.heads, config.dim, "model.baselines.sasrec.heads"),
            length=settings.length,
            dropout=settings.dropout,
            init_std=config.init_std,
            precision=config.precision,
            from_end=settings.places == "end",
        )

    @property
    def reads_order(self) -> bool:
        """Yes."""
        return True

    def forward(self, generator: torch.Generator | None = None, wanted: NodeSubset | None = None) -> Views:
        """Views of the wanted nodes, or of all; in training those of users are zero, and :meth:`readings` stand for
        them, in use the states after the whole history."""
        nodes = torch.arange(self.graph.n_nodes, device=self.items.device) if wanted is None else wanted.nodes
        users, items = nodes[nodes < self.n_users], gather_rows(self.items, nodes[nodes >= self.n_users] - self.n_users)
        if generator is not None:
            states = items.new_zeros(len(users), items.shape[1])
        else:
            states = self.sequence.after(users, lambda codes: score_space(self.items[codes], self.config.score))
        return Views(torch.cat([states, items]), wanted=wanted)

    def readings(self, h: Tensor, wanted: NodeSubset, users: Tensor, generator: torch.Generator) -> list[Reading]:
        """The states of users right before each of their interactions."""
        states = self.sequence.before(
            users, lambda codes: gather_rows(h, wanted.locate(codes + self.n_users)), generator
        )
        return [Reading(score_space(states, self.config.score), h)]

    def final(self, views: Views) -> Tensor:
        """h, ``(k, d)``."""
        return score_space(views.graph, self.config.score)
