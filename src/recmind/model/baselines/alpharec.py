"""AlphaRec (Sheng et al. 2025, arXiv 2407.05441): an MLP over frozen text vectors, propagated."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recmind.config import ModelConfig
from recmind.model.graph import BipartiteGraph, NodeSubset
from recmind.model.language_view import TextInputs
from recmind.model.node_texts import in_precision, node_texts
from recmind.model.propagation import propagate
from recmind.model.views import GraphModel, Views, score_space, storage_of


class AlphaRec(GraphModel):
    """h = 1/(L+1) Σ_l Â^l z.

    =============  ==================================================================
    projection     z_v = W_2 LeakyReLU(W_1 x_v + b_1) + b_2
    text vectors   x_i the item's, frozen; x_u = 1/|N_u| Σ_{i ∈ N_u} x_i
    graph          LightGCN's propagation, the mean over L = 2 layers and z itself
    loss           the trainer's sampled softmax over cosines, temperature τ
    =============  ==================================================================

    The model ``text`` differs in this: there a user is the mean of the
    *projected* items instead of the projected mean, GELU stands for LeakyReLU,
    and a small network that is trained along guesses what a missing text would
    say. Here that is the neighbours' mean text vector, without parameters,
    whatever ``model.missing_text`` says, since no node has a free vector.

    The authors draw 256 negatives for each row of a batch among what the user
    has not got, here a batch shares its negatives; they draw users alike and
    one of each one's items, here an epoch has every interaction once.
    """

    def __init__(self, graph: BipartiteGraph, texts: TextInputs, config: ModelConfig) -> None:
        super().__init__()
        self.graph, self.config = graph, config
        self.n_users, self.n_items = graph.n_users, graph.n_items
        self.texts = node_texts(texts, graph, missing="fallback")
        d_lm = texts.items.shape[1]
        hidden = max(1, round(config.baselines.alpharec.hidden * d_lm))
        self.mlp = nn.Sequential(nn.Linear(d_lm, hidden), nn.LeakyReLU(), nn.Linear(hidden, config.dim))

    def language(self) -> Tensor:
        """z of all nodes, ``(n_nodes, d)``; 0 where nothing is known."""
        return self._projected(self.texts.vectors, self.texts.known)

    def forward(self, generator: torch.Generator | None = None, wanted: NodeSubset | None = None) -> Views:
        """Views of the wanted nodes, or of all."""
        graph, language = propagate(self.language(), self.graph, self.config.layers, wanted, storage_of(self.config))
        return Views(graph, language, wanted=wanted)

    def final(self, views: Views) -> Tensor:
        """h = z^G, ``(k, d)``."""
        return score_space(views.graph, self.config.score)

    def new_items(self, vectors: Tensor, known: Tensor) -> Tensor:
        """h of items without an edge: the share of their text that the mean over layers leaves."""
        return score_space(self._projected(vectors, known) / (self.config.layers + 1), self.config.score)

    def _projected(self, vectors: Tensor, known: Tensor) -> Tensor:
        with in_precision(self.config.precision, vectors):
            projected = self.mlp(vectors).to(vectors.dtype)
        return projected * known[:, None]
