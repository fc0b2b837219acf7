"""KAR's mixture of experts (Xi et al. 2024, arXiv 2306.10933) beside LightGCN: free vectors and texts, fused late."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recmind.config import ModelConfig
from recmind.config.text_baselines import KarConfig
from recmind.model.baselines.lightgcn import LightGCN
from recmind.model.graph import BipartiteGraph, NodeSubset
from recmind.model.language_view import TextInputs
from recmind.model.node_texts import in_precision, node_texts
from recmind.model.views import GraphModel, Views, score_space


class Kar(GraphModel):
    """h_v = [z^G_v ‖ a_v], so s(u, i) = ⟨z^G_u, z^G_i⟩ + ⟨a_u, a_i⟩.

    =========  =======================================================================
    graph      z^G, LightGCN's over free vectors
    text       a_v = Σ_k g_k(x_v) F_k(x_v), the hybrid-expert adaptor: F_k are experts
               that both sides share and experts of v's own side, g = softmax(W_s x_v)
    =========  =======================================================================

    The paper puts the adapted vectors beside the other features of a network
    that predicts clicks. The recommender is LightGCN here, whose scores are
    inner products, so the last layer of an expert has no ReLU, after which no
    two texts could disagree. The paper's two kinds of knowledge, about a user's
    taste and about an item, are the texts of users and items. The texts do not
    flow through the graph: that is the difference from RecMind and AlphaRec.

    A node without a text has a_v = 0, or with ``model.missing_text =
    "fallback"`` the adapted mean text vector of its neighbours.
    """

    def __init__(self, graph: BipartiteGraph, texts: TextInputs, config: ModelConfig) -> None:
        super().__init__()
        self.graph, self.config = graph, config
        self.n_users, self.n_items = graph.n_users, graph.n_items
        self.texts = node_texts(texts, graph, missing=config.missing_text)
        self.backbone = LightGCN(graph, config)
        self.adaptor = HybridExperts(texts.items.shape[1], config.baselines.kar)

    def forward(self, generator: torch.Generator | None = None, wanted: NodeSubset | None = None) -> Views:
        """Views of the wanted nodes, or of all."""
        views = self.backbone(generator, wanted)
        vectors, known, n_users = self.texts.vectors, self.texts.known, self.n_users
        if wanted is not None:
            vectors, known = vectors[wanted.nodes], known[wanted.nodes]
            n_users = int((wanted.nodes < n_users).sum())
        with in_precision(self.config.precision, vectors):
            adapted = [self.adaptor(part, side) for side, part in enumerate((vectors[:n_users], vectors[n_users:]))]
        text = torch.cat(adapted).to(vectors.dtype) * known[:, None]
        return Views(torch.cat([views.graph, text], dim=1), regularised=views.regularised, wanted=wanted)

    def final(self, views: Views) -> Tensor:
        """h = [z^G ‖ a], ``(k, d + size)``."""
        return score_space(views.graph, self.config.score)


class HybridExperts(nn.Module):
    """Experts that both sides share, and of each side its own; a gate of each side mixes them."""

    def __init__(self, d_lm: int, settings: KarConfig) -> None:
        super().__init__()

        def experts(n: int) -> nn.ModuleList:
            return nn.ModuleList(
                nn.Sequential(nn.Linear(d_lm, settings.hidden), nn.ReLU(), nn.Linear(settings.hidden, settings.size))
                for _ in range(n)
            )

        self.shared = experts(settings.shared_experts)
        self.own = nn.ModuleList(experts(settings.own_experts) for _ in range(2))
        n = settings.shared_experts + settings.own_experts
        self.gates = nn.ModuleList(nn.Linear(d_lm, n) for _ in range(2))

    def forward(self, vectors: Tensor, side: int) -> Tensor:
        """a of users (``side`` 0) or items (1), ``(n, size)``, from text vectors ``(n, d_lm)``."""
        own = self.own[side]
        assert isinstance(own, nn.ModuleList)
        gates = self.gates[side](vectors).softmax(dim=1)  # (n, experts)
        opinions = torch.stack([expert(vectors) for expert in [*self.shared, *own]], dim=1)  # (n, experts, size)
        return torch.einsum("ne,nes->ns", gates, opinions)
