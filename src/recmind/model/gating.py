"""The gate: how much of the graph and how much of the language a node sends on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from recmind import kernels
from recmind.model.graph import BipartiteGraph, NodeSubset


class Gate(nn.Module):
    """Gate parameters: w ``(layers, 2, 2 d + 1)`` and b ``(layers, 2)``, for every layer, apart for users and items."""

    def __init__(self, layers: int, dim: int, init_bias: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(layers, 2, 2 * dim + 1))
        self.bias = nn.Parameter(torch.full((layers, 2), float(init_bias)))


def late_gate(graph: Tensor, language: Tensor, log_degree: Tensor, gate: Gate, items: Tensor) -> Tensor:
    """γ_v = σ(wᵀ[z^G_v ‖ z^L_v ‖ d̃_v] + b) of the final views: late fusion h = γ z^G + (1-γ) z^L.

    The form of the gate within the layers, looked through once at the end.

    Parameters
    ----------
    graph, language:
        z^G and z^L, ``(k, d)``.
    log_degree:
        d̃, ``(k,)``.
    gate:
        Of one layer.
    items:
        Which rows are items, bool ``(k,)``.

    Returns
    -------
    Tensor
        γ, ``(k, 1)``.
    """
    inputs = torch.cat([graph, language, log_degree[:, None].to(graph.dtype)], dim=1)
    logits = inputs @ gate.weight[0].T + gate.bias[0]  # (k, 2): as a user, as an item
    return torch.sigmoid(logits.gather(1, items.long()[:, None]))


def propagate_gated(
    embeddings: Tensor,
    language: Tensor,
    log_degree: Tensor,
    graph: BipartiteGraph,
    gate: Gate,
    wanted: NodeSubset | None = None,
    storage: torch.dtype | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gated propagation: E^(l+1) = Â(γ^(l) E^(l) + (1-γ^(l)) z^L), z^G the mean of all layers.

    γ_v^(l) = σ(wᵀ[E_v^(l) ‖ z^L_v ‖ d̃_v] + b) lies in (0, 1): 1 lets only the
    graph through, 0 only the language. w and b belong to a layer and a side.

    The gradient is written out by hand, so that a layer is three passes over
    the nodes and one over the edges, forward and backward each, and the edges
    of the last layer are those of the wanted nodes.

    Parameters
    ----------
    embeddings:
        E^(0), ``(n_nodes, d)``.
    language:
        z^L, ``(n_nodes, d)``.
    log_degree:
        d̃, ``(n_nodes,)``.
    wanted:
        Nodes whose views are needed; ``None`` for all.
    storage:
        Precision in which Ê is stored for the product; ``None`` takes that of the embeddings.

    Returns
    -------
    tuple of Tensor
        z^G and z^L of the wanted nodes, ``(k, d)`` each, and γ, ``(layers,
        n_nodes)``, without gradient.
    """
    return _Gated.apply(embeddings, language, gate.weight, gate.bias, log_degree, graph, wanted, storage)


class _Gated(Function):
    @staticmethod
    def forward(
        ctx,
        embeddings: Tensor,
        language: Tensor,
        weight: Tensor,
        bias: Tensor,
        log_degree: Tensor,
        graph: BipartiteGraph,
        wanted: NodeSubset | None,
        storage: torch.dtype | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        layers = len(weight)
        current, kept, gammas = embeddings, [], []
        total = _rows(embeddings, wanted).clone()
        share = 1 / (layers + 1)
        for layer in range(layers):
            mixed, gamma = kernels.mix(graph, current, language, log_degree, weight[layer], bias[layer], dtype=storage)
            kept.append(current)
            gammas.append(gamma)
            if layer == layers - 1:
                total = kernels.product(graph, mixed, wanted=wanted, base=total, alpha=share, beta=share)
            else:
                current = kernels.product(graph, mixed, tiled=True)
                total += kernels.rows_of(current if wanted is None else current.index_select(1, wanted.nodes))
        gates = torch.stack(gammas)
        ctx.save_for_backward(language, weight, log_degree, gates, *kept)
        ctx.graph, ctx.wanted, ctx.storage = graph, wanted, storage
        ctx.mark_non_differentiable(gates)
        return total, _rows(language, wanted).view_as(total), gates

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        language, weight, log_degree, gates, *kept = ctx.saved_tensors
        graph, wanted, layers = ctx.graph, ctx.wanted, len(weight)
        of_layer = grads[0] / (layers + 1)
        # Nothing comes from layers above the last; below it, each layer also has its own share in the mean.
        grad: Any = kernels.operand(graph, of_layer, at=wanted)
        of_language, of_weight, of_bias = None, torch.empty_like(weight), weight.new_empty(layers, 2)
        for layer in reversed(range(layers)):
            of_mixed = kernels.product(graph, grad, tiled=True)
            grad, of_language, of_weight[layer], of_bias[layer] = kernels.mix_backward(
                graph,
                of_mixed,
                kept[layer],
                language,
                log_degree,
                gates[layer],
                weight[layer],
                of_language,
                of_layer,
                wanted,
                further=layer > 0,
            )
        assert of_language is not None
        if wanted is None:
            of_language += grads[1]
        else:
            of_language.index_add_(0, wanted.nodes, grads[1])
        return grad, of_language, of_weight, of_bias, None, None, None, None


def _rows(x: Tensor, wanted: NodeSubset | None) -> Tensor:
    return x if wanted is None else x.index_select(0, wanted.nodes)
