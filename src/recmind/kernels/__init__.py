"""The few operations that take nearly all the time of a training step.

Each function here has two bodies: a compiled multi-threaded one for float32 on
the CPU (``cpu/``, C++20) and one in plain torch for everything else
(:mod:`recmind.kernels.reference`), which is also the fallback where no
compiler was at hand and the oracle of the tests. None of them knows autograd:
:mod:`recmind.model.propagation` and :mod:`recmind.model.gating` do.

The environment variable ``RECMIND_KERNELS=0`` turns the compiled ones off.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from recmind.kernels import reference
from recmind.model.graph import BipartiteGraph, NodeSubset

_cpu: Any = None  # by import_module below: `from . import _cpu` would find this None
missing = ""
"""Why there are no compiled kernels; empty where they are."""
try:
    _cpu = import_module("recmind.kernels._cpu")
except ImportError as error:
    missing = f"not built ({error})"
if os.environ.get("RECMIND_KERNELS") == "0":
    _cpu, missing = None, "turned off by RECMIND_KERNELS=0"


def instruction_set() -> str | None:
    """The instruction set that the compiled kernels use, ``None`` without them."""
    return _cpu.instruction_set() if _cpu else None


def product(
    graph: BipartiteGraph,
    x: Tensor,
    *,
    given: NodeSubset | None = None,
    wanted: NodeSubset | None = None,
    base: Tensor | None = None,
    base_at: NodeSubset | None = None,
    alpha: float = 1.0,
    beta: float = 1.0,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """``alpha Â x + beta base``, at some nodes or at all.

    Parameters
    ----------
    x:
        ``(n_nodes, d)``, or ``(k, d)`` for the nodes of ``given``: the others
        are zero, and their edges cost next to nothing.
    wanted:
        Nodes whose rows are computed; ``None`` for all.
    base:
        One row per row of the result, or one per node of ``base_at``, the
        others being zero.
    dtype:
        Of the result; float32 and bfloat16 can be stored and read, sums are
        float32 in either case. ``None`` takes that of ``x``.

    Returns
    -------
    Tensor
        ``(n_nodes, d)``, or ``(len(wanted), d)``.

    Raises
    ------
    ValueError
        If a table has another number of rows than its nodes, or another width.
    """
    dtype = dtype or x.dtype
    _check_rows("x", x, graph.n_nodes if given is None else len(given))
    if base is not None and base_at is not None:
        _check_rows("base", base, len(base_at))
    if not _compiled(x, graph.degrees, base):
        return reference.product(graph, x, given, wanted, base, base_at, alpha, beta).to(dtype)
    out = torch.empty(graph.n_nodes if wanted is None else len(wanted), x.shape[1], dtype=dtype)
    _cpu.gather_sum(
        graph.offsets,
        graph.neighbours,
        _plain(x),
        out,
        rows=None if wanted is None else wanted.nodes,
        x_at=None if given is None else given.positions,
        row_scale=graph.inverse_roots,
        column_scale=graph.inverse_roots,
        base=_plain(base),
        base_at=None if base_at is None else base_at.positions,
        alpha=alpha,
        beta=beta,
        threads=torch.get_num_threads(),
    )
    return out


def mean_of_items(graph: BipartiteGraph, items: Tensor, out: Tensor) -> None:
    """For each user the mean of the user's items' rows: ``(n_items, d)`` into ``out``, contiguous ``(n_users, d)``."""
    _check_rows("items", items, graph.n_items)
    _check_rows("out", out, graph.n_users)
    if not _compiled(items, graph.degrees, out):
        out.copy_(reference.mean_of_items(graph, items))
        return
    _cpu.gather_sum(
        graph.offsets,
        graph.neighbours,
        _plain(items),
        out,
        first_column=graph.n_users,
        row_scale=graph.inverse_degrees,
        threads=torch.get_num_threads(),
    )


def shares_of_users(graph: BipartiteGraph, users: Tensor, base: Tensor) -> Tensor:
    """``base`` plus, for each item, the sum over its users of their rows divided by their degree.

    The transpose of :func:`mean_of_items`: users ``(n_users, d)``, ``base``
    and result ``(n_items, d)``.
    """
    _check_rows("users", users, graph.n_users)
    _check_rows("base", base, graph.n_items)
    if not _compiled(users, graph.degrees, base):
        return base + reference.shares_of_users(graph, users)
    out = torch.empty_like(base, memory_format=torch.contiguous_format)
    _cpu.gather_sum(
        graph.offsets,
        graph.neighbours,
        _plain(users),
        out,
        first_row=graph.n_users,
        column_scale=graph.inverse_degrees,
        base=_plain(base),
        threads=torch.get_num_threads(),
    )
    return out


def mix(
    embeddings: Tensor,
    language: Tensor,
    log_degree: Tensor,
    weight: Tensor,
    bias: Tensor,
    n_users: int,
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    """Ê = γ E + (1 - γ) z^L with γ = σ(wᵀ[E ‖ z^L ‖ d̃] + b), w and b apart for users and items.

    Parameters
    ----------
    embeddings, language:
        E and z^L, ``(n_nodes, d)``.
    log_degree:
        d̃, ``(n_nodes,)``.
    weight, bias:
        ``(2, 2 d + 1)`` and ``(2,)``: users, items.
    dtype:
        Of Ê; ``None`` takes that of ``embeddings``.

    Returns
    -------
    tuple
        Ê ``(n_nodes, d)`` and γ ``(n_nodes,)``.
    """
    dtype = dtype or embeddings.dtype
    if not _compiled(embeddings, embeddings, language, log_degree, weight, bias):
        mixed, gamma = reference.mix(embeddings, language, log_degree, weight, bias, n_users)
        return mixed.to(dtype), gamma
    mixed = torch.empty_like(embeddings, dtype=dtype, memory_format=torch.contiguous_format)
    gamma = torch.empty_like(log_degree, memory_format=torch.contiguous_format)
    tables = (embeddings, language, log_degree, weight, bias)
    _cpu.mix(*map(_plain, tables), n_users, mixed, gamma, threads=torch.get_num_threads())
    return mixed, gamma


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
    """Gradients of :func:`mix` from ``grad``, that of Ê.

    Parameters
    ----------
    grad_language:
        What other layers have sent to z^L so far, overwritten; ``None`` starts anew.
    plus:
        Added to the gradient of E: one row a node, or a node of ``plus_at``.

    Returns
    -------
    tuple
        Gradients of E and z^L ``(n_nodes, d)``, of the weight ``(2, 2 d + 1)`` and of the bias ``(2,)``.
    """
    if plus_at is not None:
        _check_rows("plus", plus, len(plus_at))
    if not _compiled(embeddings, grad, embeddings, language, log_degree, gamma, weight, plus, grad_language):
        return reference.mix_backward(
            grad, embeddings, language, log_degree, gamma, weight, n_users, grad_language, plus, plus_at
        )
    grad_embeddings = torch.empty_like(embeddings, memory_format=torch.contiguous_format)
    goal = torch.empty_like(grad_embeddings) if grad_language is None else grad_language.contiguous()
    sums = torch.empty(2, weight.shape[1] + 1, dtype=torch.float64)
    tables = (grad, embeddings, language, log_degree, gamma, weight, plus)
    at = None if plus_at is None else plus_at.positions
    _cpu.mix_backward(
        *map(_plain, tables),
        at,
        n_users,
        grad_embeddings,
        goal,
        grad_language is not None,
        sums,
        threads=torch.get_num_threads(),
    )
    sums = sums.to(weight.dtype)
    return grad_embeddings, goal, sums[:, :-1], sums[:, -1]


def softmax_rows(logits: Tensor, positive: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Softmax cross-entropy of each row's positive against the row, with its gradients.

    Parameters
    ----------
    logits:
        ``(b, n)``, contiguous and overwritten; -inf leaves an entry out.
    positive:
        Logit of the positive, ``(b,)``.

    Returns
    -------
    tuple
        Loss of each row ``(b,)``, and the gradients of the mean loss by the
        logits ``(b, n)``, in their memory, and by the positives ``(b,)``.
    """
    if not _compiled(logits, positive):
        return reference.softmax_rows(logits, positive)
    loss, grad_positive = torch.empty_like(positive), torch.empty_like(positive)
    _cpu.softmax_rows(logits.detach(), _plain(positive), loss, grad_positive, threads=torch.get_num_threads())
    return loss, logits, grad_positive


def _compiled(x: Tensor, *others: Tensor | None) -> bool:
    """Whether the compiled kernels take these tables: ``x`` may be stored in bfloat16, the others are float32."""
    if _cpu is None or x.device.type != "cpu" or x.dtype not in (torch.float32, torch.bfloat16):
        return False
    return all(other is None or other.dtype == torch.float32 for other in others)


def _check_rows(name: str, x: Tensor, n: int) -> None:
    # The compiled kernels follow the graph into the table: a row too few would be somebody else's memory.
    if len(x) != n:
        raise ValueError(f"{name} has {len(x)} rows, not {n}")


def _plain(x: Tensor | None) -> Tensor | None:
    """As the compiled kernels take it: contiguous, and without a claim on a gradient."""
    return None if x is None else x.detach().contiguous()
