"""XSimGCL (Yu et al. 2023, arXiv 2209.02544): LightGCN with noise between its layers and a contrast of two of them."""

from __future__ import annotations

import torch

from recmind.config import ModelConfig
from recmind.errors import ConfigError
from recmind.model.baselines.simgcl import mean_after_first, noisy_layers
from recmind.model.contrast import ContrastiveModel
from recmind.model.graph import BipartiteGraph, NodeSubset
from recmind.model.propagation import mean_of_layers, rows_at
from recmind.model.views import Views, storage_of


class XSimGCL(ContrastiveModel):
    """h = 1/L Σ_{l=1..L} E^(l), E^(l) = Â E^(l-1) + Δ^(l), with the noise Δ of SimGCL in training alone.

    The contrast is InfoNCE between h_v and E_v^(l*) over the users and the
    items of a batch (equation 9): SimGCL with the recommendation and both views
    out of one pass. Ω looks at E^(0), as for the other models here, and not at
    the propagated vectors of the authors' code.
    """

    def __init__(self, graph: BipartiteGraph, config: ModelConfig) -> None:
        super().__init__(graph, config, config.baselines.xsimgcl)
        self.settings = config.baselines.xsimgcl
        if not 1 <= self.settings.layer <= config.layers:
            raise ConfigError(
                "the layer that is contrasted is none of the model's",
                where="model.baselines.xsimgcl.layer",
                got=self.settings.layer,
                accepted=f"1 to model.layers = {config.layers}",
            )

    def forward(self, generator: torch.Generator | None = None, wanted: NodeSubset | None = None) -> Views:
        """Views of the wanted nodes, or of all; with a generator the layers are perturbed."""
        depth, storage = self.config.layers, storage_of(self.config)
        free = rows_at(self.free, wanted)
        if generator is None:
            graph = mean_after_first(self.free, self.graph, depth, wanted, storage)
            return Views(graph, regularised=free, wanted=wanted)
        layers = noisy_layers(self.free, self.graph, depth, self.settings.noise, generator, wanted, storage)
        graph = mean_of_layers(layers, wanted)
        contrasted = layers[self.settings.layer - 1]
        if self.settings.layer < depth:
            contrasted = rows_at(contrasted, wanted)
        return Views(graph, regularised=free, wanted=wanted, pairs=((graph, contrasted),))
