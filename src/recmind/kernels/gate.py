"""The gate: what a node sends on, and the gradients of that."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recmind.kernels import binding, reference
from recmind.kernels.binding import check_rows, plain, takes
from recmind.kernels.products import Operand
from recmind.kernels.tiles import rows_of, tiled_shape
from recmind.model.graph import BipartiteGraph, NodeSubset


def mix(
    graph: BipartiteGraph,
    embeddings: Tensor,
    language: Tensor,
    log_degree: Tensor,
    weight: Tensor,
    bias: Tensor,
    dtype: torch.dtype | None = None,
) -> tuple[Operand, Tensor]:
    """Ê = γ E + (1 - γ) z^L with γ = σ(wᵀ[E ‖ z^L ‖ d̃] + b), w and b apart for users and items.

    Parameters
    ----------
    embeddings:
        E, rows ``(n_nodes, d)`` or tiles (:func:`~recmind.kernels.products.product`).
    language:
        z^L, ``(n_nodes, d)``.
    log_degree:
        d̃, ``(n_nodes,)``.
    weight, bias:
        ``(2, 2 d + 1)`` and ``(2,)``: users, items.
    dtype:
        In which products read Ê; ``None`` takes that of ``language``.

    Returns
    -------
    tuple
        Ê as an operand of products with the graph, and γ ``(n_nodes,)``.
    """
    dtype = dtype or language.dtype
    check_rows("language", language, graph.n_nodes)
    if not takes(graph.degrees, embeddings, language, log_degree, weight, bias):
        mixed, gamma = reference.mix(_as_rows(embeddings), language, log_degree, weight, bias, graph.n_users)
        return Operand(mixed.to(dtype)[None]), gamma
    mixed = torch.empty(tiled_shape(graph, graph.n_nodes, language.shape[1], dtype), dtype=dtype)
    gamma = torch.empty_like(log_degree, memory_format=torch.contiguous_format)
    tables = (embeddings, language, log_degree, weight, bias, graph.inverse_roots)
    binding.cpu.mix(*map(plain, tables), graph.n_users, mixed, gamma, threads=torch.get_num_threads())
    return Operand(mixed, scaled=True), gamma


def mix_backward(
    graph: BipartiteGraph,
    grad: Tensor,
    embeddings: Tensor,
    language: Tensor,
    log_degree: Tensor,
    gamma: Tensor,
    weight: Tensor,
    grad_language: Tensor | None,
    plus: Tensor,
    plus_at: NodeSubset | None,
    *,
    further: bool,
    dtype: torch.dtype | None = None,
) -> tuple[Any, Tensor, Tensor, Tensor]:
    """Gradients of :func:`mix` from ``grad``, that of Ê.

    Parameters
    ----------
    grad, embeddings:
        Rows ``(n_nodes, d)`` or tiles.
    grad_language:
        What other layers have sent to z^L so far, overwritten; ``None`` starts anew.
    plus:
        Added to the gradient of E: one row a node, or a node of ``plus_at``.
    further:
        Whether the gradient of E goes on through a product with the graph.
    dtype:
        In which that product reads it; ``None`` takes that of ``language``.

    Returns
    -------
    tuple
        Gradients of E (an operand if it goes ``further``, else rows ``(n_nodes, d)``), of z^L ``(n_nodes, d)``, of
        the weight ``(2, 2 d + 1)`` and of the bias ``(2,)``.
    """
    dtype = dtype or language.dtype
    check_rows("language", language, graph.n_nodes)
    if plus_at is not None:
        check_rows("plus", plus, len(plus_at))
    tables = (grad, embeddings, language, log_degree, gamma, weight, plus)
    if not takes(graph.degrees, *tables, grad_language):
        read = (_as_rows(grad), _as_rows(embeddings), language, log_degree, gamma, weight, graph.n_users)
        to_embeddings, *others = reference.mix_backward(*read, grad_language, plus, plus_at)
        to_language, to_weight, to_bias = others
        goal = Operand(to_embeddings.to(dtype)[None]) if further else to_embeddings
        return goal, to_language, to_weight, to_bias
    shape = tiled_shape(graph, graph.n_nodes, language.shape[1], dtype) if further else language.shape
    to_embeddings = torch.empty(shape, dtype=dtype if further else torch.float32)
    to_language = torch.empty(language.shape) if grad_language is None else grad_language.contiguous()
    sums = torch.empty(2, weight.shape[1] + 1, dtype=torch.float64)
    binding.cpu.mix_backward(
        *map(plain, tables),
        None if plus_at is None else plus_at.positions,
        graph.inverse_roots if further else None,
        graph.n_users,
        to_embeddings,
        to_language,
        grad_language is not None,
        sums,
        threads=torch.get_num_threads(),
    )
    sums = sums.to(weight.dtype)
    return Operand(to_embeddings, scaled=True) if further else to_embeddings, to_language, sums[:, :-1], sums[:, -1]


def _as_rows(x: Tensor) -> Tensor:
    return rows_of(x) if x.dim() == 3 else x
