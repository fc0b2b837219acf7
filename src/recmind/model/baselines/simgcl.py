"""SimGCL (Yu et al. 2022, arXiv 2112.08679): LightGCN and a contrast of two views with noise between the layers."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from recmind.config import ModelConfig
from recmind.model.contrast import ContrastiveModel
from recmind.model.graph import BipartiteGraph, NodeSubset
from recmind.model.propagation import hop, mean_of_layers, propagate, rows_at
from recmind.model.views import Views, storage_of


class SimGCL(ContrastiveModel):
    """h = 1/L Σ_{l=1..L} Â^l E^(0), contrasted are two such means with noise of their own.

    ========  ======================================================================================
    views     z' = 1/L Σ_l E'^(l), E'^(l) = Â E'^(l-1) + Δ'^(l), and z'' with Δ'' (equation 7)
    noise     Δ_v = ε sign(E_v) ⊙ ū_v, ū_v a direction with positive entries (equations 5 and 6)
    contrast  InfoNCE(z' → z'') of the users and of the items of a batch (equation 2)
    ========  ======================================================================================

    E^(0) is left out of the means, as the paper does after section 4.1. The
    recommendation loss sees h without noise. Ω looks at E^(0), as for the other
    models here, and not at the propagated vectors of the authors' code.
    """

    def __init__(self, graph: BipartiteGraph, config: ModelConfig) -> None:
        super().__init__(graph, config, config.baselines.simgcl)
        self.settings = config.baselines.simgcl

    def forward(self, generator: torch.Generator | None = None, wanted: NodeSubset | None = None) -> Views:
        """Views of the wanted nodes, or of all; with a generator the noisy ones too."""
        layers, storage = self.config.layers, storage_of(self.config)
        graph = mean_after_first(self.free, self.graph, layers, wanted, storage)
        free = rows_at(self.free, wanted)
        if generator is None:
            return Views(graph, regularised=free, wanted=wanted)
        one, other = (self._noisy(generator, wanted) for _ in range(2))
        return Views(graph, regularised=free, wanted=wanted, pairs=((one, other),))

    def _noisy(self, generator: torch.Generator, wanted: NodeSubset | None) -> Tensor:
        """1/L Σ_l E'^(l) at the wanted nodes, ``(k, d)``."""
        layers, storage = self.config.layers, storage_of(self.config)
        found = noisy_layers(self.free, self.graph, layers, self.settings.noise, generator, wanted, storage)
        return mean_of_layers(found, wanted)


def mean_after_first(
    free: Tensor,
    graph: BipartiteGraph,
    layers: int,
    wanted: NodeSubset | None = None,
    storage: torch.dtype | None = None,
) -> Tensor:
    """1/L Σ_{l=1..L} Â^l E^(0) at the wanted nodes, ``(k, d)``: Â times the mean of the layers 0 to L-1."""
    return hop(propagate(free, graph, layers - 1, storage=storage)[0], graph, wanted, storage)


def noisy_layers(
    free: Tensor,
    graph: BipartiteGraph,
    layers: int,
    noise: float,
    generator: torch.Generator,
    wanted: NodeSubset | None = None,
    storage: torch.dtype | None = None,
) -> list[Tensor]:
    """E^(1) to E^(L) with E^(l) = Â E^(l-1) + Δ^(l).

    Returns
    -------
    list of Tensor
        ``(n_nodes, d)`` each, the last one ``(k, d)`` at the wanted nodes.
    """
    found, current = [], free
    for layer in range(1, layers + 1):
        current = hop(current, graph, wanted if layer == layers else None, storage)
        current = current + noise_like(current, noise, generator)
        found.append(current)
    return found


def noise_like(x: Tensor, length: float, generator: torch.Generator) -> Tensor:
    """Δ with the signs of ``x``, ``(n, d)``, of the given length in every row without a zero; without gradient."""
    # Drawn on the CPU, so that a seed means the same on every device.
    drawn = torch.rand(x.shape, generator=generator).to(x.device, x.dtype)
    return functional.normalize(drawn, dim=1).mul_(x.detach().sign()).mul_(length)
