"""How the compiled kernels lay out a table that the edges of a graph read.

An edge reads one row, anywhere in the table, and waits for it if it is not in
the core's own cache. A table of 40,000 rows of 64 numbers is five times as
large as that cache; 16 of its columns are about as large. So the columns are
cut into tiles that stand one behind the other, and a hop goes over all edges
once a tile. It reads the edges more often, which is in order and cheap, and
finds most of the rows at hand; ``benchmarks/hop.py`` measures it.
Tables that fit anyway stay whole, and so do those of which not even tiles of
one cache line would: there it is better to read a row in one piece.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recmind.kernels import binding
from recmind.kernels.binding import plain
from recmind.model.graph import BipartiteGraph

_LINE = 64  # bytes of a cache line, the least that memory hands over


def tile_width(rows: int, d: int, dtype: torch.dtype, cache: int) -> int:
    """Columns of a tile: the most for which the rows that edges read fit into the cache, else all.

    Tiles of one cache line still pay where they are twice as large as the
    cache, because a few popular rows are read most of the time.

    Parameters
    ----------
    rows:
        Rows that are read in random order.
    d, dtype:
        Columns of the table, and its numbers.
    cache:
        Bytes of the cache that a core has to itself.
    """
    if d % 32:
        return d
    line = _LINE // dtype.itemsize
    fitting = [w for w in range(line, d + 1, line) if d % w == 0 and rows * w * dtype.itemsize <= 0.8 * cache]
    if fitting:
        return fitting[-1]
    return line if rows * _LINE <= 2 * cache else d


def tiled_shape(graph: BipartiteGraph, n: int, d: int, dtype: torch.dtype) -> tuple[int, int, int]:
    """Shape ``(tiles, n, columns)`` in which ``(n, d)`` serves the compiled kernels best."""
    width = tile_width(max(graph.n_users, graph.n_items), d, dtype, binding.cpu.cache_size())
    return d // max(1, width), n, width


def arrange(x: Tensor, out: Tensor, scale: Tensor | None = None) -> Tensor:
    """Copy rows ``(n, d)`` or tiles into ``out`` in its own layout and precision, times ``scale`` ``(n,)``."""
    binding.cpu.arrange(plain(x), plain(scale), out, threads=torch.get_num_threads())
    return out


def rows_of(tiles: Tensor) -> Tensor:
    """Tiles ``(t, n, w)`` as rows ``(n, t w)``."""
    t, n, width = tiles.shape
    return tiles[0] if t == 1 else tiles.transpose(0, 1).reshape(n, t * width)
