"""Propagation over the graph, differentiable, with  symmetric: one product forward, the same backward."""

from __future__ import annotations

import torch
from torch import Tensor

from recmind.model.graph import BipartiteGraph


def propagate_once(embeddings: Tensor, graph: BipartiteGraph) -> Tensor:
    """One hop: E^(l+1) = Â E^(l).

    Parameters
    ----------
    embeddings:
        E^(l), ``(n_nodes, d)``, users first.

    Returns
    -------
    Tensor
        E^(l+1), ``(n_nodes, d)``; zero rows for nodes without an edge.
    """
    return _Product.apply(embeddings, graph)


def propagate(embeddings: Tensor, graph: BipartiteGraph, layers: int) -> Tensor:
    """LightGCN's graph view: z^G = 1/(L+1) Σ_{l=0..L} E^(l) (He et al. 2020, equations 7 and 8).

    Evaluated as E + Â(E + Â(E + …)), which keeps no layer in memory. The
    polynomial 1/(L+1) Σ Â^l is as symmetric as Â, so the gradient goes through
    the very same product.

    Parameters
    ----------
    embeddings:
        E^(0), ``(n_nodes, d)``.
    layers:
        L; 0 returns the embeddings.
    """
    return _LayerMean.apply(embeddings, graph, layers) if layers else embeddings


def mean_of_items(item_vectors: Tensor, graph: BipartiteGraph) -> Tensor:
    """For each user the mean of the vectors of the user's training items.

    Parameters
    ----------
    item_vectors:
        ``(n_items, d)``.

    Returns
    -------
    Tensor
        ``(n_users, d)``; zero rows for users without an interaction.
    """
    # Â carries 1/√(d_u d_i); multiplying by √d_i before and dividing by √d_u after leaves 1/d_u.
    roots = graph.degrees.sqrt()
    item_roots, user_roots = roots[graph.n_users :, None], roots[: graph.n_users, None]
    return _UserRows.apply(item_vectors * item_roots, graph) / user_roots.clamp_min(1e-12)


def gather_rows(x: Tensor, nodes: Tensor) -> Tensor:
    """``x[nodes]`` with a gradient that is summed row by row, in order: fast and the same bits every time.

    Parameters
    ----------
    x:
        ``(n_nodes, d)``.
    nodes:
        int64 ``(n,)``; repeats are allowed.
    """
    return _Gather.apply(x, nodes)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, nodes: Tensor) -> Tensor:
        ctx.nodes, ctx.n = nodes, len(x)
        return x.index_select(0, nodes)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, None]:
        grad = grads[0]
        return grad.new_zeros(ctx.n, grad.shape[1]).index_add_(0, ctx.nodes, grad.contiguous()), None


class _Product(torch.autograd.Function):
    """Â x; the gradient of a symmetric product is the product of the gradient."""

    @staticmethod
    def forward(ctx, x: Tensor, graph: BipartiteGraph) -> Tensor:
        ctx.graph = graph
        return _multiply(x, graph)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, None]:
        return _multiply(grads[0], ctx.graph), None


class _UserRows(torch.autograd.Function):
    """The users' block of  times item vectors; the gradient goes through the items' block."""

    @staticmethod
    def forward(ctx, x: Tensor, graph: BipartiteGraph) -> Tensor:
        ctx.graph = graph
        return graph.user_rows @ x.contiguous()

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.graph.item_rows @ grads[0].contiguous(), None


class _LayerMean(torch.autograd.Function):
    """1/(L+1) Σ_l Â^l x, its own transpose."""

    @staticmethod
    def forward(ctx, x: Tensor, graph: BipartiteGraph, layers: int) -> Tensor:
        ctx.graph, ctx.layers = graph, layers
        return _layer_mean(x.contiguous(), graph, layers)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, None, None]:
        return _layer_mean(grads[0].contiguous(), ctx.graph, ctx.layers), None, None


def _layer_mean(x: Tensor, graph: BipartiteGraph, layers: int) -> Tensor:
    n, total = graph.n_users, x
    for layer in range(layers):
        scale = 1.0 / (layers + 1) if layer == layers - 1 else 1.0
        total = torch.cat(
            [
                torch.addmm(x[:n], graph.user_rows, total[n:], beta=scale, alpha=scale),
                torch.addmm(x[n:], graph.item_rows, total[:n], beta=scale, alpha=scale),
            ]
        )
    return total


def _multiply(x: Tensor, graph: BipartiteGraph) -> Tensor:
    x = x.contiguous()
    return torch.cat([graph.user_rows @ x[graph.n_users :], graph.item_rows @ x[: graph.n_users]])
