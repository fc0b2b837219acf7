"""XSimGCL (Yu et al. 2023, arXiv 2209.02544): LightGCN with noise between its layers and a contrast of two of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from recmind.config import ModelConfig
from recmind.errors import ConfigError
from recmind.model.alignment import info_nce
from recmind.model.graph import BipartiteGraph, NodeSubset
from recmind.model.propagation import gather_rows, propagate
from recmind.model.views import GraphModel, Views, score_space


class XSimGCL(GraphModel):
    """h = 1/L Σ_{l=1..L} E^(l), E^(l) = Â E^(l-1) + Δ^(l), with Δ in training alone.

    ========  =====================================================================
    noise     Δ_v = ε sign(E_v) ⊙ ū_v, ū_v a direction with positive entries (equations 5 and 6)
    contrast  InfoNCE between h_v and E_v^(l*) over the users and the items of a batch (equation 9)
    ========  =====================================================================

    E^(0) is left out of the mean, as in SimGCL. Ω looks at E^(0), as for the
    other models here, and not at the propagated vectors of the authors' code.
    """

    def __init__(self, graph: BipartiteGraph, config: ModelConfig) -> None:
        super().__init__()
        self.graph, self.config, self.settings = graph, config, config.baselines.xsimgcl
        self.n_users, self.n_items = graph.n_users, graph.n_items
        if not 1 <= self.settings.layer <= config.layers:
            raise ConfigError(
                "the layer that is contrasted is none of the model's",
                where="model.baselines.xsimgcl.layer",
                got=self.settings.layer,
                accepted=f"1 to model.layers = {config.layers}" if config.layers else "model.layers must be at least 1",
            )
        self.free = nn.Parameter(torch.randn(graph.n_nodes, config.dim) * config.init_std)

    def forward(self, generator: torch.Generator | None = None, wanted: NodeSubset | None = None) -> Views:
        """Views of the wanted nodes, or of all; with a generator the layers are perturbed."""
        current, layers = self.free, []
        for _ in range(self.config.layers):
            # One layer of the mean is (x + Âx) / 2.
            current = 2 * propagate(current, self.graph, 1)[0] - current
            if generator is not None:
                current = current + self._noise(current, generator)
            layers.append(current)
        mean = torch.stack(layers).mean(0)
        parts = (mean, layers[self.settings.layer - 1], self.free)
        graph, layer, free = parts if wanted is None else (gather_rows(part, wanted.nodes) for part in parts)
        return Views(graph, regularised=free, wanted=wanted, layer=layer)

    def final(self, views: Views) -> Tensor:
        """h = z^G, ``(k, d)``."""
        return score_space(views.graph, self.config.score)

    def contrast(
        self, views: Views, users: Tensor, items: Tensor, negatives: Tensor, generator: torch.Generator
    ) -> Tensor:
        """λ (InfoNCE of the distinct users + InfoNCE of the distinct items), a scalar."""
        assert views.layer is not None
        total = views.graph.new_zeros(())
        for nodes in (torch.unique(users), torch.unique(items) + self.n_users):
            rows = nodes if views.wanted is None else views.wanted.locate(nodes)
            total = total + info_nce(
                gather_rows(views.graph, rows), gather_rows(views.layer, rows), temperature=self.settings.temperature
            )
        return self.settings.weight * total

    def _noise(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Δ, of length ε in every row where no entry of ``x`` is 0, ``(n_nodes, d)``; without gradient."""
        # Drawn on the CPU, so that a seed means the same on every device.
        drawn = torch.rand(x.shape, generator=generator).to(x.device, x.dtype)
        return self.settings.noise * x.detach().sign() * functional.normalize(drawn, dim=1)
