"""Propagation over the graph, differentiable. Â is symmetric, so the gradient goes through the product itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from recmind import kernels
from recmind.model.graph import BipartiteGraph, NodeSubset


def propagate(
    embeddings: Tensor,
    graph: BipartiteGraph,
    layers: int,
    wanted: NodeSubset | None = None,
    storage: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    """LightGCN's graph view: z^G = 1/(L+1) Σ_{l=0..L} Â^l E^(0) (He et al. 2020, equations 7 and 8).

    Evaluated as E + Â(E + Â(E + …)), which keeps no layer in memory. The
    polynomial is as symmetric as Â, so the gradient takes the same way back.
    The last hop forward visits the wanted rows alone, the first hop backward
    the edges of nodes that have a gradient.

    Parameters
    ----------
    embeddings:
        E^(0), ``(n_nodes, d)``.
    layers:
        L; 0 returns the embeddings.
    wanted:
        Nodes whose views are needed; ``None`` for all.
    storage:
        Precision in which a hop leaves its result to the next one; ``None``
        takes that of the embeddings.

    Returns
    -------
    tuple of Tensor
        z^G and E^(0) of the wanted nodes, ``(k, d)`` each. Gradients of both are
        gathered into one table.
    """
    return _LayerMean.apply(embeddings, graph, layers, wanted, storage)


def hop(
    x: Tensor, graph: BipartiteGraph, wanted: NodeSubset | None = None, storage: torch.dtype | None = None
) -> Tensor:
    """Â x, for models that do more between their layers than sum them.

    Parameters
    ----------
    x:
        ``(n_nodes, d)``.
    wanted, storage:
        As in :func:`propagate`; the gradient is read in the precision of ``storage`` too.

    Returns
    -------
    Tensor
        Rows of the wanted nodes, ``(k, d)``.
    """
    return _Hop.apply(x, graph, wanted, storage)


def mean_of_layers(layers: Sequence[Tensor], wanted: NodeSubset | None = None) -> Tensor:
    """The mean at the wanted nodes, ``(k, d)``, of layers ``(n_nodes, d)`` of which the last has these rows alone."""
    *lower, last = layers
    if not lower:
        return last
    below = sum(lower[1:], start=lower[0])
    return (rows_at(below, wanted) + last) / len(layers)


def rows_at(x: Tensor, wanted: NodeSubset | None) -> Tensor:
    """Rows of the wanted nodes, ``(k, d)``; all of them without any."""
    return x if wanted is None else gather_rows(x, wanted.nodes)


def with_means_of_items(items: Tensor, graph: BipartiteGraph) -> Tensor:
    """Vectors of all nodes from those of the items: a user's is the mean over the user's training items.

    Parameters
    ----------
    items:
        ``(n_items, d)``.

    Returns
    -------
    Tensor
        ``(n_nodes, d)``, users first; zero rows for users without an interaction.
    """
    return _WithMeans.apply(items, graph)


def gather_rows(x: Tensor, rows: Tensor) -> Tensor:
    """``x[rows]`` with a gradient that is summed row by row, in order: fast and the same bits every time.

    Parameters
    ----------
    x:
        ``(n, d)``.
    rows:
        int64 ``(k,)``; repeats are allowed.
    """
    return _Gather.apply(x, rows)


class _Gather(Function):
    @staticmethod
    def forward(ctx, x: Tensor, rows: Tensor) -> Tensor:
        ctx.rows, ctx.n = rows, len(x)
        return x.index_select(0, rows)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, None]:
        grad = grads[0]
        return grad.new_zeros(ctx.n, grad.shape[1]).index_add_(0, ctx.rows, grad.contiguous()), None


class _Hop(Function):
    @staticmethod
    def forward(
        ctx, x: Tensor, graph: BipartiteGraph, wanted: NodeSubset | None, storage: torch.dtype | None
    ) -> Tensor:
        ctx.graph, ctx.wanted, ctx.storage = graph, wanted, storage
        return kernels.product(graph, kernels.operand(graph, x, dtype=storage), wanted=wanted)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        read = kernels.operand(ctx.graph, grads[0], at=ctx.wanted, dtype=ctx.storage)
        return kernels.product(ctx.graph, read), None, None, None


class _WithMeans(Function):
    @staticmethod
    def forward(ctx, items: Tensor, graph: BipartiteGraph) -> Tensor:
        ctx.graph = graph
        everyone = items.new_empty(graph.n_nodes, items.shape[1])
        everyone[graph.n_users :] = items
        kernels.mean_of_items(graph, items, everyone[: graph.n_users])
        return everyone

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        users, items = grads[0].split([ctx.graph.n_users, ctx.graph.n_items])
        return kernels.shares_of_users(ctx.graph, users, items), None


class _LayerMean(Function):
    """1/(L+1) Σ_l Â^l x at the wanted nodes, and x there."""

    @staticmethod
    def forward(
        ctx, x: Tensor, graph: BipartiteGraph, layers: int, wanted: NodeSubset | None, storage: torch.dtype | None
    ) -> tuple[Tensor, Tensor]:
        ctx.graph, ctx.layers, ctx.wanted, ctx.storage = graph, layers, wanted, storage
        rows = x if wanted is None else x.index_select(0, wanted.nodes)
        if layers == 0:
            return rows.clone(), rows.view_as(rows)
        share = 1 / (layers + 1)
        start = kernels.operand(graph, x)
        sums = start if storage is None else kernels.operand(graph, x, dtype=storage)
        for _ in range(layers - 1):
            sums = kernels.hop(graph, sums, start)
        view = kernels.product(graph, sums, wanted=wanted, base=rows, alpha=share, beta=share)
        return view, rows.view_as(rows)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        of_view, of_rows = grads
        graph, layers, wanted = ctx.graph, ctx.layers, ctx.wanted
        share = 1 / (layers + 1)
        if layers:
            start = sums = kernels.operand(graph, of_view, at=wanted)
            for _ in range(layers - 1):
                sums = kernels.hop(graph, sums, start, dtype=ctx.storage)
            sums = kernels.product(graph, sums, base=of_view, base_at=wanted, alpha=share, beta=share)
        elif wanted is not None:
            sums = of_view.new_zeros(graph.n_nodes, of_view.shape[1]).index_copy_(0, wanted.nodes, of_view)
        else:
            sums = of_view.clone()
        total = sums.add_(of_rows) if wanted is None else sums.index_add_(0, wanted.nodes, of_rows)
        return total, None, None, None, None
