"""Graphs of awkward shapes, the operations in dense float64, and a switch between the bodies of the kernels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array, diags_array

from recmind.kernels import binding, tiles
from recmind.model.graph import BipartiteGraph, NodeSubset, build_graph

NO_KERNELS = pytest.mark.skip(reason=f"no compiled kernels: {binding.missing}")
SETS = binding.cpu.instruction_sets() if binding.cpu else []
COMPILED = [f"{name}, tiles" for name in SETS] + [f"{name}, whole" for name in SETS[:1]]
"""Tables of the tests are small, so the kernels would not cut them into tiles by themselves."""


def narrowest(rows: int, d: int, dtype: torch.dtype, cache: int) -> int:
    """Tiles as they are for large tables: of one cache line."""
    return d if d % 32 else 64 // dtype.itemsize


@contextmanager
def switched(body: str) -> Iterator[str]:
    """One body of the kernels: plain torch, or an instruction set with a layout."""
    name, _, layout = body.partition(", ")
    with pytest.MonkeyPatch.context() as patch:
        if name == "reference":
            patch.setattr(binding, "cpu", None)
            yield name
            return
        if layout == "tiles":
            patch.setattr(tiles, "tile_width", narrowest)
        before = binding.cpu.instruction_set()
        binding.cpu.use(name)
        yield name
        binding.cpu.use(before)


@pytest.fixture(params=COMPILED or [pytest.param("compiled", marks=NO_KERNELS)])
def compiled(request) -> Iterator[str]:
    """The compiled kernels of one instruction set after the other, with and without tiles."""
    with switched(request.param) as name:
        yield name


@pytest.fixture(params=[*COMPILED, "reference"])
def body(request) -> Iterator[str]:
    """Every body of the operations: each instruction set, and plain torch."""
    with switched(request.param) as name:
        yield name


@pytest.fixture
def with_threads() -> Iterator:
    """``torch.set_num_threads``, undone after the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def graph_of(pairs: Sequence[tuple[int, int]], n_users: int, n_items: int) -> BipartiteGraph:
    users, items = np.array(pairs, dtype=np.int32).reshape(-1, 2).T
    return build_graph(users, items, n_users, n_items)


def random_graph(n_users: int, n_items: int, n: int, seed: int = 0) -> BipartiteGraph:
    cells = np.random.default_rng(seed).choice(n_users * n_items, size=n, replace=False)
    return graph_of(list(zip(cells // n_items, cells % n_items, strict=True)), n_users, n_items)


def hub_graph() -> BipartiteGraph:
    """User 0 has every item, item 0 every user but the last, who has nothing; large enough for several chunks."""
    n_users, n_items = 300, 1200
    pairs = {(0, i) for i in range(n_items)} | {(u, 0) for u in range(n_users - 1)}
    rng = np.random.default_rng(3)
    pairs |= set(zip(rng.integers(1, n_users - 1, 2000).tolist(), rng.integers(1, n_items, 2000).tolist(), strict=True))
    return graph_of(sorted(pairs), n_users, n_items)


GRAPHS = {
    "random": lambda: random_graph(9, 14, 40),  # some nodes without an edge
    "hub": hub_graph,
    "empty": lambda: graph_of([], 5, 4),
    "one a side": lambda: graph_of([(0, 0)], 1, 1),
    "one user": lambda: graph_of([(0, 0), (0, 2), (0, 4)], 1, 6),
}


@pytest.fixture(scope="session", params=GRAPHS.values(), ids=GRAPHS.keys())
def graph(request) -> BipartiteGraph:
    return request.param()


@pytest.fixture(scope="session")
def hub() -> BipartiteGraph:
    return hub_graph()


@pytest.fixture(scope="session")
def make():
    """Builds a graph from pairs and sizes."""
    return graph_of


@pytest.fixture(scope="session")
def adjacency():
    """A of a graph, ``(n_nodes, n_nodes)`` float64, scipy's."""

    def sparse(graph: BipartiteGraph) -> csr_array:
        columns, n = graph.neighbours.numpy(), graph.n_nodes
        return csr_array((np.ones(len(columns)), columns, graph.offsets.numpy()), shape=(n, n))

    return sparse


@pytest.fixture(scope="session")
def normalised(adjacency):
    """Â of a graph, ``(n_nodes, n_nodes)`` float64, from the definition, scipy's."""

    def sparse(graph: BipartiteGraph) -> csr_array:
        whole = adjacency(graph)
        degrees = whole.sum(1)
        roots = np.divide(1, np.sqrt(degrees), out=np.zeros_like(degrees), where=degrees > 0)
        return (diags_array(roots) @ whole @ diags_array(roots)).tocsr()

    return sparse


@pytest.fixture(scope="session")
def subset():
    """No subset, or one of some, all, one or none of the nodes."""

    def draw(graph: BipartiteGraph, kind: str | None, seed: int = 0) -> NodeSubset | None:
        if kind is None:
            return None
        n = graph.n_nodes
        count = {"some": (n + 1) // 2, "all": n, "one": 1, "none": 0}[kind]
        return NodeSubset.of(n, torch.from_numpy(np.random.default_rng(seed).permutation(n)[:count]))

    return draw


@pytest.fixture(scope="session")
def normal():
    """Normal float32 numbers from a seed."""

    def draw(*shape: int, seed: int = 0) -> torch.Tensor:
        return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))

    return draw
