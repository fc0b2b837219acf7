"""Products with the graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recmind.kernels import binding, reference
from recmind.kernels.binding import check_rows, plain, takes
from recmind.kernels.tiles import arrange, rows_of, tiled_shape
from recmind.model.graph import BipartiteGraph, NodeSubset


@dataclass(frozen=True)
class Operand:
    """A table as products with the graph read it: prepared once, read once an edge.

    In the compiled kernels it stands in tiles (:mod:`recmind.kernels.tiles`)
    and is multiplied with D^-1/2 beforehand, so that an edge is nothing but an
    addition.

    Attributes
    ----------
    tiles:
        ``(t, n, d / t)``: column c of row r stands at ``[c // (d / t), r, c % (d / t)]``.
    at:
        The nodes of the rows, or ``None`` for all; the others are zero.
    scaled:
        Whether rows are multiplied with D^-1/2: in the compiled kernels.
    """

    tiles: Tensor
    at: NodeSubset | None = None
    scaled: bool = False


def operand(
    graph: BipartiteGraph, x: Tensor, *, at: NodeSubset | None = None, dtype: torch.dtype | None = None
) -> Operand:
    """``x``, rows ``(n_nodes, d)`` or those of the nodes ``at``, for products with the graph.

    ``dtype`` is the precision in which products read it; ``None`` takes that
    of ``x``. Sums are float32 or better in any case.

    Raises
    ------
    ValueError
        If the table has another number of rows than its nodes.
    """
    dtype = dtype or x.dtype
    check_rows("x", x, graph.n_nodes if at is None else len(at))
    if not takes(graph.degrees) or x.device.type != "cpu" or x.dtype not in (torch.float32, torch.bfloat16):
        return Operand(x.to(dtype)[None], at)
    scale = graph.inverse_roots if at is None else graph.inverse_roots[at.nodes]
    n, d = x.shape
    shape = tiled_shape(graph, n, d, dtype) if at is None else (1, n, d)
    return Operand(arrange(x.float(), torch.empty(shape, dtype=dtype), scale), at, scaled=True)


def product(
    graph: BipartiteGraph,
    x: Operand | Tensor,
    *,
    wanted: NodeSubset | None = None,
    base: Tensor | None = None,
    base_at: NodeSubset | None = None,
    alpha: float = 1.0,
    beta: float = 1.0,
    tiled: bool = False,
) -> Tensor:
    """``alpha Â x + beta base``, at some nodes or at all.

    Parameters
    ----------
    x:
        An :func:`operand`, or rows ``(n_nodes, d)`` that become one here. The
        edges of nodes that it leaves out cost next to nothing.
    wanted:
        Nodes whose rows are computed; ``None`` for all.
    base:
        One row per row of the result, or one per node of ``base_at``, the
        others being zero.
    tiled:
        Leave the result of all nodes in tiles, as :func:`~recmind.kernels.gate.mix` reads them.

    Returns
    -------
    Tensor
        ``(n_nodes, d)``, ``(len(wanted), d)`` or tiles ``(t, n_nodes, d / t)``, in float32, or in float64 for a
        graph in float64.

    Raises
    ------
    ValueError
        If a table has another number of rows than its nodes.
    """
    x = operand(graph, x) if isinstance(x, Tensor) else x
    n = graph.n_nodes if wanted is None else len(wanted)
    if base is not None:
        check_rows("base", base, n if base_at is None else len(base_at))
    if not x.scaled or not takes(base):
        found = reference.product(graph, _unscaled(graph, x), x.at, wanted, base, base_at, alpha, beta)
        return found[None] if tiled else found
    t, _, width = x.tiles.shape
    out = None if tiled else torch.empty(n, t * width)
    # A few rows stay in the cache until all of their tiles are there; a whole table would be written in bits.
    goal = out if out is not None and wanted is not None else _empty_tiles(graph, n, t * width)
    _gather(
        graph,
        x.tiles,
        goal,
        rows=None if wanted is None else wanted.nodes,
        x_at=None if x.at is None else x.at.positions,
        row_scale=graph.inverse_roots,
        base=base,
        base_at=None if base_at is None else base_at.positions,
        alpha=alpha,
        beta=beta,
    )
    return goal if out is None or goal is out else arrange(goal, out)


def hop(graph: BipartiteGraph, x: Operand, base: Operand | None = None, *, dtype: torch.dtype | None = None) -> Operand:
    """``Â x + base`` at all nodes, as the operand of the next product.

    Parameters
    ----------
    base:
        An operand in float32 or better.
    dtype:
        As in :func:`operand`; ``None`` takes that of ``x``.
    """
    dtype = dtype or x.tiles.dtype
    if not x.scaled:
        given = (None, None) if base is None else (rows_of(base.tiles), base.at)
        return Operand(reference.product(graph, rows_of(x.tiles), x.at, None, *given, 1.0, 1.0).to(dtype)[None])
    t, _, width = x.tiles.shape
    out = _empty_tiles(graph, graph.n_nodes, t * width, dtype)
    _gather(
        graph,
        x.tiles,
        out,
        x_at=None if x.at is None else x.at.positions,
        row_scale=graph.inverse_degrees,
        base=None if base is None else base.tiles,
        base_at=None if base is None or base.at is None else base.at.positions,
    )
    return Operand(out, scaled=True)


def mean_of_items(graph: BipartiteGraph, items: Tensor, out: Tensor) -> None:
    """For each user the mean of the user's items' rows: ``(n_items, d)`` into ``out``, contiguous ``(n_users, d)``."""
    check_rows("items", items, graph.n_items)
    check_rows("out", out, graph.n_users)
    if not takes(graph.degrees, items, out):
        out.copy_(reference.mean_of_items(graph, items))
        return
    d = items.shape[1]
    tiles = arrange(items, _empty_tiles(graph, graph.n_items, d))
    means = _empty_tiles(graph, graph.n_users, out.shape[1])
    arrange(_gather(graph, tiles, means, first_column=graph.n_users, row_scale=graph.inverse_degrees), out)


def shares_of_users(graph: BipartiteGraph, users: Tensor, base: Tensor) -> Tensor:
    """``base`` plus, for each item, the sum over its users of their rows divided by their degree.

    The transpose of :func:`mean_of_items`: users ``(n_users, d)``, ``base``
    and result ``(n_items, d)``.
    """
    check_rows("users", users, graph.n_users)
    check_rows("base", base, graph.n_items)
    if not takes(graph.degrees, users, base):
        return base + reference.shares_of_users(graph, users)
    tiles = arrange(users, _empty_tiles(graph, graph.n_users, users.shape[1]), graph.inverse_degrees[: graph.n_users])
    sums = _empty_tiles(graph, graph.n_items, base.shape[1])
    _gather(graph, tiles, sums, first_row=graph.n_users, base=base)
    return arrange(sums, torch.empty_like(base, memory_format=torch.contiguous_format))


def _empty_tiles(graph: BipartiteGraph, n: int, d: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(tiled_shape(graph, n, d, dtype), dtype=dtype)


def _gather(graph: BipartiteGraph, x: Tensor, out: Tensor, *, base: Tensor | None = None, **options: Any) -> Tensor:
    """Sums of rows of ``x`` over each node's neighbours, into ``out``; see ``GatherSum`` in ``cpu/kernels.hpp``."""
    threads = torch.get_num_threads()
    binding.cpu.gather_sum(graph.offsets, graph.neighbours, x, out, base=plain(base), threads=threads, **options)
    return out


def _unscaled(graph: BipartiteGraph, x: Operand) -> Tensor:
    rows = rows_of(x.tiles)
    if not x.scaled:
        return rows
    # A node without an edge has lost its row, but nobody reads it either.
    roots = graph.degrees.sqrt() if x.at is None else graph.degrees[x.at.nodes].sqrt()
    return rows * roots[:, None]
