"""Links between items whose texts are alike: what an item learns, its neighbours by text learn in part."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from recmind.kernels import scan
from recmind.model.graph import BipartiteGraph
from recmind.model.language_view import TextInputs

_BLOCK = 2048  # items whose likeness to all others is computed at once


@dataclass(frozen=True)
class TextLinks:
    """S and its transpose as torch's sparse CSR, ``(n_items, n_items)``.

    Row i holds the k items nearest to i by the cosine of their text vectors,
    weighted by it, with sum 1. Only items with a text and a training
    interaction have a row and are in others' rows: of the others there is
    nothing to learn, and nothing to learn it with.

    Attributes
    ----------
    rows, columns:
        S and its transpose.
    near:
        Codes of the items in each row, int32 ``(n_items, k)``, -1 for none.
    shares:
        Their weights, ``(n_items, k)``.
    """

    rows: Tensor
    columns: Tensor
    near: Tensor
    shares: Tensor

    @classmethod
    def of(cls, near: Tensor, shares: Tensor) -> TextLinks:
        """S of the items in each row and their weights."""
        n, k = near.shape
        there = near >= 0
        i = torch.arange(n, device=near.device)[:, None].expand(n, k)[there]
        j, values = near[there].long(), shares[there]
        return cls(_csr(i, j, values, n), _csr(j, i, values, n), near, shares)

    def spread(self, nodes: Tensor, n_users: int, plus: Tensor | None = None) -> Tensor:
        """x + S x for items and x for users, and ``plus``; differentiable.

        Parameters
        ----------
        nodes, plus:
            ``(n_users + n_items, d)``, users first.
        """
        return _Spread.apply(nodes, plus, self.rows, self.columns, n_users)


def text_links(texts: TextInputs, graph: BipartiteGraph, k: int) -> TextLinks:
    """Links to the ``k`` nearest items each; fewer where fewer have a text and an interaction.

    Exact, so the work grows with the square of the items: seconds for 20,000,
    a minute for 100,000 on two cores. Memory is that of a block of rows.
    """
    device = graph.degrees.device
    linked = torch.nonzero((graph.degrees[graph.n_users :] > 0) & texts.items_known).squeeze(1)
    k = max(0, min(k, len(linked) - 1))
    vectors = functional.normalize(texts.items[linked].float(), dim=1)
    near = torch.full((graph.n_items, k), -1, dtype=torch.int32, device=device)
    shares = torch.zeros((graph.n_items, k), dtype=graph.degrees.dtype, device=device)
    for block in torch.arange(len(linked), device=device).split(_BLOCK):
        if not k:
            break
        cosines, places = _nearest(vectors, block, k)
        near[linked[block]] = linked[places].int()
        shares[linked[block]] = _shares(cosines).to(shares.dtype)
    return TextLinks.of(near, shares)


def near_by_text(texts: TextInputs, graph: BipartiteGraph, vectors: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """What other texts would be linked to, were they items of the graph.

    Parameters
    ----------
    vectors:
        Text vectors ``(n, d_lm)``.

    Returns
    -------
    tuple of Tensor
        Codes of the ``k`` nearest items with a text and an interaction, int64 ``(n, k)``, and their shares ``(n, k)``
        with sum 1, or 0 where no text is like this one. Fewer columns where there are fewer such items.
    """
    linked = torch.nonzero((graph.degrees[graph.n_users :] > 0) & texts.items_known).squeeze(1)
    k = min(k, len(linked))
    targets = functional.normalize(texts.items[linked].float(), dim=1)
    codes, shares = [linked.new_empty(0, k)], [vectors.new_empty(0, k)]
    for block in functional.normalize(vectors.float(), dim=1).split(_BLOCK):
        best = (block @ targets.T).topk(k, dim=1)
        codes.append(linked[best.indices])
        shares.append(_shares(best.values).to(vectors.dtype))
    return torch.cat(codes), torch.cat(shares)


def _shares(cosines: Tensor) -> Tensor:
    """Weights with sum 1, ∝ the cosines; 0 for those below 0."""
    cosines = cosines.clamp_min(0)
    return cosines / cosines.sum(1, keepdim=True).clamp_min(1e-12)


def _nearest(vectors: Tensor, block: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Cosines and places of the k rows nearest to each row of the block, itself left out, ``(b, k)`` each."""
    anchors = vectors[block]
    if scan.available(vectors):
        itself = torch.arange(len(block) + 1).numpy(), block.to(torch.int32).numpy()
        return scan.best_products(anchors, vectors, k, itself)
    scores = anchors @ vectors.T
    scores[torch.arange(len(block)), block] = -torch.inf
    best = scores.topk(k, dim=1)
    return best.values, best.indices


def _csr(rows: Tensor, columns: Tensor, values: Tensor, n: int) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return (
            torch.sparse_coo_tensor(torch.stack([rows, columns]), values, (n, n), check_invariants=False)
            .coalesce()
            .to_sparse_csr()
        )


class _Spread(Function):
    @staticmethod
    def forward(ctx, nodes: Tensor, plus: Tensor | None, rows: Tensor, columns: Tensor, n_users: int) -> Tensor:
        ctx.columns, ctx.n_users, ctx.plus = columns, n_users, plus is not None
        return _add_product(nodes.clone() if plus is None else nodes + plus, rows, nodes, n_users)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        # S is a constant: its own gradient, which autograd would prepare, is never wanted.
        grad = grads[0].contiguous()
        of_nodes = _add_product(grad.clone(), ctx.columns, grad, ctx.n_users)
        return of_nodes, grad if ctx.plus else None, None, None, None


def _add_product(out: Tensor, table: Tensor, nodes: Tensor, n_users: int) -> Tensor:
    """``out`` with the product of the table and the items' rows added to its items' rows, in place."""
    items = out[n_users:]
    torch.addmm(items, table, nodes[n_users:].contiguous(), out=items)
    return out
