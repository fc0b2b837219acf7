"""RLMRec-Con (Ren et al. 2024, arXiv 2310.15950): LightGCN whose views are drawn to projected texts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recmind.config import ModelConfig
from recmind.model.alignment import distinct, info_nce
from recmind.model.baselines.lightgcn import LightGCN
from recmind.model.graph import BipartiteGraph, NodeSubset
from recmind.model.language_view import TextInputs
from recmind.model.node_texts import node_texts
from recmind.model.propagation import gather_rows, propagate
from recmind.model.subgraph import thinned
from recmind.model.views import Views, storage_of


class RLMRecCon(LightGCN):
    """LightGCN with L = L_BPR + w Σ_P InfoNCE(z^G_v → MLP(x_v), v ∈ P), P the users, items and negatives of a batch.

    ===========  ====================================================================
    text         x_v frozen, of length 1; the MLP is one for both sides: (d_lm + d) / 2
                 hidden units, LeakyReLU, Xavier weights
    InfoNCE      -log exp(cos(z^G_v, MLP(x_v)) / τ) / Σ_{w ∈ P} exp(cos(z^G_v, MLP(x_w)) / τ)
    ===========  ====================================================================

    At the authors' a user's text is a chat model's profile; here it is the same
    as for the other models. Their negatives of a user are all users, in the
    paper a batch, as here. A node counts once in a batch here, there as often
    as it occurs, also as its own negative. In training their code leaves out a
    fifth of the edges, without changing the degrees, and so does this. It adds
    up the layers instead of taking the mean and regularises all parameters;
    here both are as in the LightGCN that stands beside it. A node without a
    text is left out of the alignment.
    """

    def __init__(self, graph: BipartiteGraph, texts: TextInputs, config: ModelConfig) -> None:
        super().__init__(graph, config)
        self.settings = config.baselines.rlmrec_con
        nodes = node_texts(texts, graph)
        self.known, self.text_vectors = nodes.known, nn.functional.normalize(nodes.vectors, dim=1)
        d_lm = texts.items.shape[1]
        self.mlp = between(d_lm, config.dim)

    def forward(self, generator: torch.Generator | None = None, wanted: NodeSubset | None = None) -> Views:
        """Views of the wanted nodes, or of all; with a generator without some of the edges."""
        graph = self.graph if generator is None else thinned(self.graph, self.settings.edge_dropout, generator)
        view, free = propagate(self.free, graph, self.config.layers, wanted, storage_of(self.config))
        return Views(view, regularised=free, wanted=wanted)

    def contrast(
        self, views: Views, users: Tensor, items: Tensor, negatives: Tensor, generator: torch.Generator
    ) -> Tensor:
        """w (InfoNCE of the users + of the bought items + of the negatives), a scalar."""
        total = views.graph.new_zeros(())
        for codes, offset in ((users, 0), (items, self.n_users), (negatives, self.n_users)):
            nodes = codes.flatten() + offset
            nodes = distinct(nodes[self.known[nodes]], self.settings.batch_size, generator)
            if not len(nodes):
                continue
            rows = nodes if views.wanted is None else views.wanted.locate(nodes)
            told = self.mlp(self.text_vectors[nodes])
            total = total + info_nce(gather_rows(views.graph, rows), told, temperature=self.settings.temperature)
        return self.settings.weight * total


def between(n_in: int, n_out: int) -> nn.Sequential:
    """The authors' MLP from one space into the other: half of both sizes hidden, LeakyReLU, Xavier weights."""
    hidden = (n_in + n_out) // 2
    mlp = nn.Sequential(nn.Linear(n_in, hidden), nn.LeakyReLU(), nn.Linear(hidden, n_out))
    for layer in mlp:
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
    return mlp
