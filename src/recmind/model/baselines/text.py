"""Text-only graph model: projected text embeddings, propagated (in the manner of AlphaRec, Sheng et al. 2025)."""

from __future__ import annotations

import torch
from torch import Tensor

from recmind.config import ModelConfig
from recmind.model.graph import BipartiteGraph, NodeSubset
from recmind.model.language_view import LanguageView, TextInputs
from recmind.model.propagation import propagate
from recmind.model.views import GraphModel, Views, score_space, storage_of


class TextGraph(GraphModel):
    """h = 1/(L+1) Σ_l Â^l z^L: every parameter reads text, none belongs to a node."""

    def __init__(self, graph: BipartiteGraph, texts: TextInputs, config: ModelConfig) -> None:
        super().__init__()
        self.graph, self.config = graph, config
        self.n_users, self.n_items = graph.n_users, graph.n_items
        self.language = LanguageView(texts, graph, config)

    def forward(self, generator: torch.Generator | None = None, wanted: NodeSubset | None = None) -> Views:
        """Views of the wanted nodes, or of all."""
        projected = self.language(generator)
        graph, language = propagate(projected, self.graph, self.config.layers, wanted, storage_of(self.config))
        return Views(graph, language, wanted=wanted)

    def final(self, views: Views) -> Tensor:
        """h = z^G, ``(k, d)``."""
        return score_space(views.graph, self.config.score)

    def new_items(self, vectors: Tensor, known: Tensor) -> Tensor:
        """h of items without an edge: the share of their text that the mean over layers leaves."""
        language = self.language.project(vectors, known) / (self.config.layers + 1)
        return score_space(language, self.config.score)
