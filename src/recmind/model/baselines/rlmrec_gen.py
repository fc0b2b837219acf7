"""RLMRec-Gen (Ren et al. 2024, arXiv 2310.15950): LightGCN that gives back the texts of nodes hidden from it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recmind.config import ModelConfig
from recmind.model.alignment import info_nce
from recmind.model.baselines.lightgcn import LightGCN
from recmind.model.baselines.rlmrec_con import between
from recmind.model.graph import BipartiteGraph, NodeSubset
from recmind.model.language_view import TextInputs
from recmind.model.node_texts import node_texts
from recmind.model.propagation import gather_rows, propagate
from recmind.model.subgraph import thinned
from recmind.model.views import Views, storage_of


class RLMRecGen(LightGCN):
    """LightGCN with L = L_BPR + w InfoNCE(MLP(z^G_v) → x_v, v ∈ M), M the masked nodes of the step.

    ===========  ====================================================================
    mask         a share of all nodes, drawn anew in each step: E^(0)_v = t for v ∈ M,
                 t a trained vector, 0 at the start; L_BPR sees the same views
    decoder      MLP: (d + d_lm) / 2 hidden units, LeakyReLU, Xavier weights
    InfoNCE      -log exp(cos(MLP(z^G_v), x_v) / τ) / Σ_{w ∈ M} exp(cos(MLP(z^G_v), x_w) / τ)
    ===========  ====================================================================

    Differences from the authors' code are those of
    :class:`~recmind.model.baselines.rlmrec_con.RLMRecCon`, and that at most
    ``batch_size`` of the masked nodes are given back. A masked node without a
    text is masked, but not given back.
    """

    def __init__(self, graph: BipartiteGraph, texts: TextInputs, config: ModelConfig) -> None:
        super().__init__(graph, config)
        self.settings = config.baselines.rlmrec_gen
        nodes = node_texts(texts, graph)
        self.known, self.text_vectors = nodes.known, nodes.vectors
        self.token = nn.Parameter(torch.zeros(config.dim))
        self.mlp = between(config.dim, texts.items.shape[1])

    def forward(self, generator: torch.Generator | None = None, wanted: NodeSubset | None = None) -> Views:
        """Views of the wanted nodes, or of all; with a generator some nodes' own vectors are hidden."""
        if generator is None:
            return super().forward(None, wanted)
        # Drawn on the CPU, so that a seed means the same on every device.
        n = self.graph.n_nodes
        order = torch.randperm(n, generator=generator).to(self.free.device)
        masked = order[: max(1, int(n * self.settings.mask))]
        hidden = torch.zeros(n, 1, dtype=torch.bool, device=masked.device).index_fill_(0, masked, True)
        told = masked[self.known[masked]][: self.settings.batch_size]
        seen = NodeSubset.of(n, told, wanted.nodes) if wanted is not None else None
        initial = torch.where(hidden, self.token, self.free)
        part = thinned(self.graph, self.settings.edge_dropout, generator)
        graph, _ = propagate(initial, part, self.config.layers, seen, storage_of(self.config))
        pair = (gather_rows(graph, told if seen is None else seen.locate(told)), self.text_vectors[told])
        if wanted is None or seen is None:
            return Views(graph, regularised=self.free, pairs=(pair,))
        graph, free = gather_rows(graph, seen.locate(wanted.nodes)), gather_rows(self.free, wanted.nodes)
        return Views(graph, regularised=free, wanted=wanted, pairs=(pair,))

    def contrast(
        self, views: Views, users: Tensor, items: Tensor, negatives: Tensor, generator: torch.Generator
    ) -> Tensor | None:
        """w InfoNCE of the masked nodes' texts, a scalar."""
        if not views.pairs or not len(views.pairs[0][0]):
            return None
        ((masked, vectors),) = views.pairs
        return self.settings.weight * info_nce(self.mlp(masked), vectors, temperature=self.settings.temperature)
