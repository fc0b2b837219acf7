"""RecMind: a gated LightGCN and a language view, mixed per node (Xue et al. 2025, arXiv 2509.06286)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recmind.config import ModelConfig
from recmind.model.gating import Gate, propagate_gated
from recmind.model.graph import BipartiteGraph
from recmind.model.language_view import LanguageView, TextInputs
from recmind.model.propagation import propagate
from recmind.model.views import GraphModel, Views, rows_of, score_space


class RecMind(GraphModel):
    """h_v = α z^G_v + (1-α) z^L_v with gated propagation.

    ====================  =====================================================
    graph view            z^G = mean over l of E^(l), E^(l+1) = Â Ê^(l)
    gate                  Ê^(l) = γ^(l) E^(l) + (1-γ^(l)) z^L
    language view         z^L = W_proj z̃^L, a trained fallback without text
    final                 h = α z^G + (1-α) z^L
    score                 ⟨h_u, h_i⟩, or their cosine; + w d̃_i if so set
    ====================  =====================================================

    Switches of the configuration turn each part back to the paper or off:
    ``model.initial`` (E^(0) free, or free plus z^L), ``model.gate.kind``,
    ``model.score``, ``model.popularity``, ``model.projection``, ``model.alpha``.
    """

    def __init__(self, graph: BipartiteGraph, texts: TextInputs, config: ModelConfig) -> None:
        super().__init__()
        self.graph, self.config = graph, config
        self.n_users, self.n_items = graph.n_users, graph.n_items
        free = torch.randn(graph.n_nodes, config.dim) * config.init_std
        if config.initial == "free+text":
            # Nothing is known of a node without an edge but its text: its free part is zero and stays so.
            free[graph.degrees.cpu() == 0] = 0
        self.free = nn.Parameter(free)
        lonely = torch.nonzero(graph.degrees == 0).squeeze(1)
        if config.initial == "free+text" and len(lonely):
            self.free.register_hook(lambda grad: grad.index_fill(0, lonely, 0))
        self.language = LanguageView(texts, graph, config)
        gated = config.gate.kind == "node-layer" and config.layers > 0
        self.gate = Gate(config.layers, config.dim, config.gate.init_bias) if gated else None
        self.log_degree = graph.normalised_log_degree()
        self.popularity = nn.Parameter(torch.zeros(())) if config.popularity else None
        self.ones = torch.ones(self.n_users, device=self.log_degree.device)

    def forward(self, generator: torch.Generator | None = None) -> Views:
        """Views of all nodes."""
        language = self.language(generator)
        initial = self.free + language if self.config.initial == "free+text" else self.free
        gates: list[Tensor] = []
        if self.gate is None:
            graph = propagate(initial, self.graph, self.config.layers)
        else:
            graph, gates = propagate_gated(initial, language, self.log_degree, self.graph, self.gate)
        return Views(graph, language, self.free, gates)

    def new_items(self, vectors: Tensor, known: Tensor) -> Tensor:
        """h of items without an edge: their free part is zero and nothing flows to them.

        For the popularity term they count as the average item that has been
        bought: it is unknown how popular they will be, which is another thing
        than being known to be unpopular.
        """
        language = self.language.project(vectors, known)
        initial = language if self.config.initial == "free+text" else torch.zeros_like(language)
        h = self._mix(initial / (self.config.layers + 1), language)
        if self.popularity is None:
            return h
        bought = self.log_degree[self.n_users :]
        expected = self.popularity * bought.sum() / (bought > 0).sum().clamp_min(1)
        return torch.cat([h, expected.expand(len(h), 1)], dim=1)

    def final(self, views: Views, nodes: Tensor | None = None) -> Tensor:
        """h = α z^G + (1-α) z^L of ``nodes``, ``(n, d)``, one column more with a popularity term."""
        assert views.language is not None
        h = self._mix(rows_of(views.graph, nodes), rows_of(views.language, nodes))
        if self.popularity is None:
            return h
        column = torch.cat([self.ones, self.popularity * self.log_degree[self.n_users :]])
        return torch.cat([h, rows_of(column[:, None], nodes)], dim=1)

    def _mix(self, graph: Tensor, language: Tensor) -> Tensor:
        return score_space(torch.lerp(language, graph, self.config.alpha), self.config.score)
