"""Alignment of the graph view and the language view of the same nodes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from recmind import kernels


def info_nce(
    anchors: Tensor,
    positives: Tensor,
    *,
    temperature: float,
    nodes: Tensor | None = None,
    queue: Tensor | None = None,
    queue_nodes: Tensor | None = None,
    hard_negatives: int = 0,
) -> Tensor:
    """InfoNCE in one direction (van den Oord et al. 2018, equation 4).

    For each anchor the positive in the same row competes with the positives of
    all other rows and with the queue:

    ℓ_v = -log( exp(s_vv) / Σ_{w ∈ batch ∪ queue} exp(s_vw) ),  s_vw = cos(a_v, p_w) / τ

    Parameters
    ----------
    anchors, positives:
        The two views of the same n nodes, ``(n, d)``; they are normalised here.
    temperature:
        τ > 0.
    nodes:
        Node of each row, int64 ``(n,)``. Other rows and queue entries of the
        same node are no negatives and are left out. Without it all rows are
        taken to be different nodes.
    queue:
        Further negatives, normalised, without gradient, ``(q, d)``.
    queue_nodes:
        Node of each queue entry, int64 ``(q,)``; -1 marks an empty one.
    hard_negatives:
        The k most similar negatives of each row enter the sum twice, so that
        they weigh more. 0 is the equation above.

    Returns
    -------
    Tensor
        Mean over the rows, a scalar. 0 for a single row without a queue.
    """
    a, p = functional.normalize(anchors, dim=1), functional.normalize(positives, dim=1)
    a = a / temperature
    if nodes is None and queue is None and not hard_negatives:
        return _OneDirection.apply(a, p)
    logits = a @ p.T
    target = torch.arange(len(a), device=a.device)
    if nodes is not None:
        same = nodes[:, None] == nodes[None, :]
        same.fill_diagonal_(False)
        logits = logits.masked_fill(same, -torch.inf)
    if queue is not None and len(queue):
        extra = a @ queue.T
        if queue_nodes is not None:
            blocked = (queue_nodes < 0)[None, :]
            if nodes is not None:
                blocked = blocked | (nodes[:, None] == queue_nodes[None, :])
            extra = extra.masked_fill(blocked, -torch.inf)
        logits = torch.cat([logits, extra], dim=1)
    k = min(hard_negatives, logits.shape[1] - 1)
    if k > 0:
        off_positive = logits.scatter(1, target[:, None], -torch.inf)
        logits = torch.cat([logits, off_positive.topk(k, dim=1).values], dim=1)
    return functional.cross_entropy(logits, target)


def symmetric_info_nce(
    graph: Tensor,
    language: Tensor,
    *,
    temperature: float,
    nodes: Tensor | None = None,
    graph_queue: Tensor | None = None,
    language_queue: Tensor | None = None,
    queue_nodes: Tensor | None = None,
    hard_negatives: int = 0,
) -> Tensor:
    """L_align = ½ (InfoNCE(z^G → z^L) + InfoNCE(z^L → z^G)) over the same nodes.

    Parameters
    ----------
    graph, language:
        z^G and z^L of n nodes, ``(n, d)``.
    graph_queue, language_queue:
        Earlier views as negatives, ``(q, d)``; see :func:`info_nce` for the rest.
    """
    if nodes is None and not hard_negatives and graph_queue is None and language_queue is None:
        logits = functional.normalize(graph, dim=1) / temperature @ functional.normalize(language, dim=1).T
        return _BothDirections.apply(logits)
    forward = info_nce(
        graph,
        language,
        temperature=temperature,
        nodes=nodes,
        queue=language_queue,
        queue_nodes=queue_nodes,
        hard_negatives=hard_negatives,
    )
    backward = info_nce(
        language,
        graph,
        temperature=temperature,
        nodes=nodes,
        queue=graph_queue,
        queue_nodes=queue_nodes,
        hard_negatives=hard_negatives,
    )
    return 0.5 * (forward + backward)


def _against_diagonal(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each row against its diagonal, and the gradient of the mean, in the memory of the logits."""
    own = logits.diagonal().clone()
    logits.fill_diagonal_(-torch.inf)
    loss, grad, grad_own = kernels.softmax_rows(logits, own)
    grad.diagonal().copy_(grad_own)
    return loss, grad


class _OneDirection(Function):
    """Cross-entropy of a pᵀ against the diagonal; its gradient stands where the similarities stood."""

    @staticmethod
    def forward(ctx, a: Tensor, p: Tensor) -> Tensor:
        loss, grad = _against_diagonal(a @ p.T)
        ctx.save_for_backward(a, p, grad)
        return loss.mean()

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        a, p, grad = ctx.saved_tensors
        of_a, of_p = ctx.needs_input_grad
        return grad @ p * grads[0] if of_a else None, grad.T @ a * grads[0] if of_p else None


class _BothDirections(Function):
    """½ (cross-entropy of the rows + of the columns) against the diagonal; the gradient is made together with it."""

    @staticmethod
    def forward(ctx, logits: Tensor) -> Tensor:
        # Copies in any case: what was given may be needed elsewhere.
        rows, grad = _against_diagonal(logits.detach().clone())
        columns, turned = _against_diagonal(logits.detach().T.clone(memory_format=torch.contiguous_format))
        grad += turned.T
        ctx.save_for_backward(grad.mul_(0.5))
        return 0.5 * (rows + columns).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return ctx.saved_tensors[0] * grads[0]


def distinct(codes: Tensor, limit: int, generator: torch.Generator) -> Tensor:
    """The distinct codes; a random choice of ``limit`` of them if there are more."""
    nodes = torch.unique(codes)
    if len(nodes) <= limit:
        return nodes
    return nodes[torch.randperm(len(nodes), generator=generator)[:limit].to(nodes.device)]


class ViewQueue:
    """A first-in first-out queue of normalised graph and language views (He et al. 2020, MoCo).

    It is a plain holder of tensors and part of a checkpoint through
    :meth:`state`. Empty places carry the node -1.
    """

    def __init__(
        self, size: int, dim: int, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> None:
        self.graph = torch.zeros(size, dim, device=device, dtype=dtype)
        self.language = torch.zeros(size, dim, device=device, dtype=dtype)
        self.nodes = torch.full((size,), -1, dtype=torch.int64, device=device)
        self.head = torch.zeros((), dtype=torch.int64)

    @torch.no_grad()
    def push(self, graph: Tensor, language: Tensor, nodes: Tensor) -> None:
        """Overwrite the oldest entries with the views of ``nodes``; of too many, the last stay."""
        size = len(self.nodes)
        graph, language, nodes = graph[-size:], language[-size:], nodes[-size:]
        head = int(self.head)
        at = (torch.arange(len(nodes), device=nodes.device) + head) % size
        self.graph[at] = functional.normalize(graph.detach(), dim=1)
        self.language[at] = functional.normalize(language.detach(), dim=1)
        self.nodes[at] = nodes
        self.head.fill_((head + len(nodes)) % size)

    def state(self) -> dict[str, Tensor]:
        """The tensors of the queue, to save or to restore in place."""
        return {"graph": self.graph, "language": self.language, "nodes": self.nodes, "head": self.head}
