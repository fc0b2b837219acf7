"""The operations of :mod:`recmind.kernels` in plain torch: for GPUs, for other precisions, and as their oracle."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from recmind.model.graph import BipartiteGraph, NodeSubset


def product(
    graph: BipartiteGraph,
    x: Tensor,
    given: NodeSubset | None,
    wanted: NodeSubset | None,
    base: Tensor | None,
    base_at: NodeSubset | None,
    alpha: float,
    beta: float,
) -> Tensor:
    """``alpha Â x + beta base`` through two sparse blocks; see :func:`recmind.kernels.product`."""
    x = _spread(x.to(graph.degrees.dtype), given)
    base = None if base is None else base.to(x.dtype)
    users, items = x[: graph.n_users], x[graph.n_users :]
    if base is None or wanted is not None:
        result = torch.cat([graph.user_rows @ items, graph.item_rows @ users]) * alpha
        if wanted is not None:
            result = result[wanted.nodes]
        if base is None:
            return result
        rows = base if base_at is None else _spread(base, base_at)[wanted.nodes]  # type: ignore[union-attr]
        return result + beta * rows
    base = _spread(base, base_at)
    blocks = ((base[: graph.n_users], graph.user_rows, items), (base[graph.n_users :], graph.item_rows, users))
    return torch.cat([torch.addmm(b, block, y, beta=beta, alpha=alpha) for b, block, y in blocks])


def mean_of_items(graph: BipartiteGraph, items: Tensor) -> Tensor:
    """See :func:`recmind.kernels.mean_of_items`."""
    # Â carries 1/√(d_u d_i); multiplying by √d_i before and by 1/√d_u after leaves 1/d_u.
    roots = graph.degrees.sqrt()[graph.n_users :, None]
    return (graph.user_rows @ (items * roots)) * graph.inverse_roots[: graph.n_users, None]


def shares_of_users(graph: BipartiteGraph, users: Tensor) -> Tensor:
    """See :func:`recmind.kernels.shares_of_users`, without ``base``."""
    roots = graph.degrees.sqrt()[graph.n_users :, None]
    return (graph.item_rows @ (users * graph.inverse_roots[: graph.n_users, None])) * roots


def mix(
    embeddings: Tensor, language: Tensor, log_degree: Tensor, weight: Tensor, bias: Tensor, n_users: int
) -> tuple[Tensor, Tensor]:
    """See :func:`recmind.kernels.mix`."""
    d = embeddings.shape[1]
    logits = [
        embeddings[side] @ w[:d] + language[side] @ w[d : 2 * d] + log_degree[side] * w[2 * d] + b
        for side, w, b in zip(_sides(n_users), weight, bias, strict=True)
    ]
    gamma = torch.sigmoid(torch.cat(logits))
    return torch.lerp(language, embeddings, gamma[:, None]), gamma


def mix_backward(
    grad: Tensor,
    embeddings: Tensor,
    language: Tensor,
    log_degree: Tensor,
    gamma: Tensor,
    weight: Tensor,
    n_users: int,
    grad_language: Tensor | None,
    plus: Tensor,
    plus_at: NodeSubset | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See :func:`recmind.kernels.mix_backward`."""
    d = embeddings.shape[1]
    logit = (grad * (embeddings - language)).sum(1) * gamma * (1 - gamma)  # of the sigmoid's argument
    sides = _sides(n_users)
    weights = torch.cat([w.expand(len(logit[side]), -1) for side, w in zip(sides, weight, strict=True)])
    to_embeddings = grad * gamma[:, None] + logit[:, None] * weights[:, :d]
    to_language = grad * (1 - gamma)[:, None] + logit[:, None] * weights[:, d : 2 * d]
    if grad_language is not None:
        to_language = to_language + grad_language
    read = torch.cat([embeddings, language, log_degree[:, None]], dim=1)
    to_weight = torch.stack([logit[side] @ read[side] for side in sides])
    to_bias = torch.stack([logit[side].sum() for side in sides])
    if plus_at is None:
        to_embeddings = to_embeddings + plus
    else:
        to_embeddings.index_add_(0, plus_at.nodes, plus)
    return to_embeddings, to_language, to_weight, to_bias


def softmax_rows(logits: Tensor, positive: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See :func:`recmind.kernels.softmax_rows`."""
    total = torch.logaddexp(torch.logsumexp(logits, dim=1), positive)
    share = 1 / max(1, len(logits))
    return total - positive, logits.sub_(total[:, None]).exp_().mul_(share), torch.expm1(positive - total) * share


def attend(mixed: Tensor, starts: Tensor, heads: int) -> Tensor:
    """See :func:`recmind.kernels.attend`: pieces of nearly the same length side by side, filled up with zeros."""
    out = mixed.new_empty(len(mixed), mixed.shape[1] // 3)
    lengths = starts.diff()
    for at in alike(lengths):
        steps = torch.arange(int(lengths[at].max()), device=mixed.device)
        inside = steps < lengths[at][:, None]
        rows = (starts[at][:, None] + steps)[inside]
        padded = mixed.new_zeros(*inside.shape, mixed.shape[1])
        padded[inside] = mixed[rows]
        query, key, value = padded.unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)  # (g, heads, n, d / heads) each
        attended = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        out[rows] = attended.transpose(1, 2).flatten(2)[inside]
    return out


def attend_backward(mixed: Tensor, starts: Tensor, heads: int, grad: Tensor) -> Tensor:
    """See :func:`recmind.kernels.attend_backward`."""
    if not len(mixed):
        return torch.zeros_like(mixed)
    with torch.enable_grad():
        given = mixed.detach().requires_grad_()
        return torch.autograd.grad(attend(given, starts, heads), given, grad.to(mixed.dtype))[0]


def alike(lengths: Tensor, places: int = 2**16) -> Iterator[Tensor]:
    """Groups of nearly the same length above 0, a quarter apart at most, of about so many places: int64 indices."""
    order = torch.argsort(lengths, stable=True)
    order = order[lengths[order] > 0]
    size = torch.ceil(3 * torch.log2(lengths[order].double())).long()
    for group in order.split(torch.unique_consecutive(size, return_counts=True)[1].tolist()):
        if len(group):
            yield from group.split(max(1, places // int(lengths[group[-1]])))


def _sides(n_users: int) -> tuple[slice, slice]:
    return slice(0, n_users), slice(n_users, None)


def _spread(x: Tensor, subset: NodeSubset | None) -> Tensor:
    """All rows, zero where the subset has none."""
    if subset is None:
        return x
    return x.new_zeros(len(subset.positions), x.shape[1]).index_copy_(0, subset.nodes, x)
