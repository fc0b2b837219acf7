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

    Evaluated as E + Â(E + Â(E + …)), which keeps no layer in memory.

    Parameters
    ----------
    embeddings:
        E^(0), ``(n_nodes, d)``.
    layers:
        L; 0 returns the embeddings.
    """
    total = embeddings
    for _ in range(layers):
        total = embeddings + propagate_once(total, graph)
    return total / (layers + 1)


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


def _multiply(x: Tensor, graph: BipartiteGraph) -> Tensor:
    x = x.contiguous()
    return torch.cat([graph.user_rows @ x[graph.n_users :], graph.item_rows @ x[: graph.n_users]])
