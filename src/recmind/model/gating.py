"""The gate: how much of the graph and how much of the language a node sends on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recmind.model.graph import BipartiteGraph
from recmind.model.propagation import propagate_once


def gate_values(embeddings: Tensor, language: Tensor, log_degree: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """γ_v = σ(wᵀ[E_v ‖ z^L_v ‖ d̃_v] + b).

    Parameters
    ----------
    embeddings, language:
        E^(l) and z^L of n nodes, ``(n, d)``.
    log_degree:
        d̃, ``(n,)``.
    weight:
        w, ``(2d + 1,)``.
    bias:
        b, a scalar.

    Returns
    -------
    Tensor
        γ in (0, 1), ``(n,)``; 1 lets only the graph through, 0 only the language.
    """
    d = embeddings.shape[1]
    logit = embeddings @ weight[:d] + language @ weight[d : 2 * d] + log_degree * weight[2 * d] + bias
    return torch.sigmoid(logit)


def mix(embeddings: Tensor, language: Tensor, gamma: Tensor) -> Tensor:
    """Ê_v = γ_v E_v + (1 - γ_v) z^L_v, ``(n, d)``."""
    return torch.lerp(language, embeddings, gamma[:, None])


class Gate(nn.Module):
    """Gate parameters: w and b for every layer, apart for users and items."""

    def __init__(self, layers: int, dim: int, init_bias: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(layers, 2, 2 * dim + 1))
        self.bias = nn.Parameter(torch.full((layers, 2), float(init_bias)))

    def forward(self, layer: int, embeddings: Tensor, language: Tensor, log_degree: Tensor, n_users: int) -> Tensor:
        """γ of all nodes in one layer, ``(n_nodes,)``."""
        sides = (slice(0, n_users), slice(n_users, None))
        return torch.cat(
            [
                gate_values(embeddings[s], language[s], log_degree[s], self.weight[layer, i], self.bias[layer, i])
                for i, s in enumerate(sides)
            ]
        )


def propagate_gated(
    embeddings: Tensor, language: Tensor, log_degree: Tensor, graph: BipartiteGraph, gate: Gate
) -> tuple[Tensor, list[Tensor]]:
    """Gated propagation: E^(l+1) = Â(γ^(l) E^(l) + (1-γ^(l)) z^L), z^G the mean of all layers.

    Parameters
    ----------
    embeddings:
        E^(0), ``(n_nodes, d)``.
    language:
        z^L, ``(n_nodes, d)``.
    log_degree:
        d̃, ``(n_nodes,)``.

    Returns
    -------
    tuple
        z^G ``(n_nodes, d)`` and γ of each layer, ``(n_nodes,)`` each.
    """
    layers = gate.bias.shape[0]
    total, current, gammas = embeddings, embeddings, []
    for layer in range(layers):
        gamma = gate(layer, current, language, log_degree, graph.n_users)
        current = propagate_once(mix(current, language, gamma), graph)
        total = total + current
        gammas.append(gamma)
    return total / (layers + 1), gammas
