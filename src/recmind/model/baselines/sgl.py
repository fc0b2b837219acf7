"""SGL (Wu et al. 2021, arXiv 2010.10783): LightGCN and a contrast of its views on two thinned graphs."""

from __future__ import annotations

import torch
from torch import Tensor

from recmind.config import ModelConfig
from recmind.model.contrast import ContrastiveModel
from recmind.model.graph import BipartiteGraph, NodeSubset
from recmind.model.propagation import hop, mean_of_layers, propagate
from recmind.model.subgraph import keep_interactions, keep_nodes, subgraph
from recmind.model.views import Views, storage_of


class SGL(ContrastiveModel):
    """h = LightGCN's on the whole graph; z' and z'' are LightGCN's on two graphs s'(G) and s''(G).

    ========  =========================================================================================
    `edge`    s(G) keeps each interaction with probability 1 - ρ (equation 6)
    `node`    s(G) keeps each node with probability 1 - ρ, and what is between kept nodes (equation 5)
    `walk`    as `edge`, with another graph in each layer (equation 7)
    contrast  InfoNCE(z' → z'') of the users and of the items of a batch (equation 10)
    ========  =========================================================================================

    Â of a thinned graph follows from its own degrees, as in the authors' code.
    The graphs are drawn at the start of an epoch; before the first one they are
    the whole graph. A node that is left out keeps its own vector.
    """

    def __init__(self, graph: BipartiteGraph, config: ModelConfig) -> None:
        super().__init__(graph, config, config.baselines.sgl)
        self.settings = config.baselines.sgl
        self.samples: tuple[tuple[BipartiteGraph, ...], ...] = ((graph,), (graph,))

    def start_epoch(self, generator: torch.Generator) -> None:
        """Draw the graphs of both views: one, or one a layer."""
        n = self.config.layers if self.settings.augmentation == "walk" else 1
        self.samples = tuple(tuple(self._sample(generator) for _ in range(n)) for _ in range(2))

    def forward(self, generator: torch.Generator | None = None, wanted: NodeSubset | None = None) -> Views:
        """Views of the wanted nodes, or of all; with a generator those on the thinned graphs too."""
        graph, free = propagate(self.free, self.graph, self.config.layers, wanted, storage_of(self.config))
        pairs = ()
        if generator is not None:
            one, other = (self._view(graphs, wanted) for graphs in self.samples)
            pairs = ((one, other),)
        return Views(graph, regularised=free, wanted=wanted, pairs=pairs)

    def _sample(self, generator: torch.Generator) -> BipartiteGraph:
        keep = keep_nodes if self.settings.augmentation == "node" else keep_interactions
        return subgraph(self.graph, keep(self.graph, self.settings.ratio, generator))

    def _view(self, graphs: tuple[BipartiteGraph, ...], wanted: NodeSubset | None) -> Tensor:
        """1/(L+1) Σ_l E^(l), E^(l) = Â_l E^(l-1), at the wanted nodes, ``(k, d)``."""
        storage = storage_of(self.config)
        if len(graphs) == 1:
            return propagate(self.free, graphs[0], self.config.layers, wanted, storage)[0]
        layers: list[Tensor] = [self.free]
        for number, graph in enumerate(graphs, start=1):
            layers.append(hop(layers[-1], graph, wanted if number == len(graphs) else None, storage))
        return mean_of_layers(layers, wanted)
