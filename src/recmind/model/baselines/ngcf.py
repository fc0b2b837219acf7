"""NGCF (Wang et al. 2019, arXiv 1905.08108): messages with weights, and with the likeness of both ends."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from recmind.config import ModelConfig
from recmind.model.graph import BipartiteGraph, NodeSubset
from recmind.model.propagation import hop, rows_at
from recmind.model.views import GraphModel, Views, score_space, storage_of


class NGCF(GraphModel):
    """h = E^(0) ‖ E^(1) ‖ … ‖ E^(L), ``(n_nodes, (L + 1) d)`` (equation 9).

    ========  ===================================================================================
    messages  m_{u←i} = 1/√(|N_u||N_i|) (W1 e_i + W2 (e_i ⊙ e_u)), m_{u←u} = W1 e_u (equation 3)
    layer     E^(l) = LeakyReLU((Â + 1) E^(l-1) W1 + (Â E^(l-1) ⊙ E^(l-1)) W2) (equation 7)
    dropout   entries of E^(l), l ≥ 1, in training
    ========  ===================================================================================

    The equations are followed where the authors' code departs from them: there
    the two terms have a bias and a LeakyReLU each, and Â counts a node as its
    own neighbour. The code also normalises what it concatenates, which is
    ``normalise`` here. Node dropout is left out; the paper's own results are
    without it. Ω looks at E^(0) alone, as for the other models here.
    """

    def __init__(self, graph: BipartiteGraph, config: ModelConfig) -> None:
        super().__init__()
        self.graph, self.config, self.settings = graph, config, config.baselines.ngcf
        self.n_users, self.n_items = graph.n_users, graph.n_items
        self.free = nn.Parameter(torch.randn(graph.n_nodes, config.dim) * config.init_std)
        self.sums, self.products = _weights(config), _weights(config)

    def forward(self, generator: torch.Generator | None = None, wanted: NodeSubset | None = None) -> Views:
        """Views of the wanted nodes, or of all; with a generator messages are dropped."""
        current, free = self.free, rows_at(self.free, wanted)
        parts = [free]
        for layer, (by_sum, by_product) in enumerate(zip(self.sums, self.products, strict=True), start=1):
            last = layer == self.config.layers
            around = hop(current, self.graph, wanted if last else None, storage_of(self.config))
            own = rows_at(current, wanted) if last else current
            current = functional.leaky_relu((own + around) @ by_sum + (own * around) @ by_product, self.settings.slope)
            if generator is not None:
                current = _dropped(current, self.settings.dropout, generator)
            part = current if last else rows_at(current, wanted)
            parts.append(functional.normalize(part, dim=1) if self.settings.normalise else part)
        return Views(torch.cat(parts, dim=1), regularised=free, wanted=wanted)

    def final(self, views: Views) -> Tensor:
        """h = z^G, ``(k, (L + 1) d)``."""
        return score_space(views.graph, self.config.score)


def _weights(config: ModelConfig) -> nn.ParameterList:
    """A matrix ``(d, d)`` a layer, uniform as Glorot & Bengio (2010) have it."""
    return nn.ParameterList(
        nn.Parameter(nn.init.xavier_uniform_(torch.empty(config.dim, config.dim))) for _ in range(config.layers)
    )


def _dropped(x: Tensor, ratio: float, generator: torch.Generator) -> Tensor:
    """``x`` with each entry 0 with probability ``ratio``, the others grown to the same expectation."""
    if not ratio:
        return x
    # Drawn on the CPU, so that a seed means the same on every device.
    kept = torch.empty(x.shape).bernoulli_(1 - ratio, generator=generator)
    return x * kept.div_(1 - ratio).to(x.device, x.dtype)
