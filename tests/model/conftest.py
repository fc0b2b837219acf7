"""A bipartite graph small enough to write down, and its matrices in plain numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from recmind.model.graph import BipartiteGraph, build_graph

EDGES = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 3), (2, 0), (4, 2), (4, 4), (5, 6)]
"""Users 0-5, items 0-6. User 3 and item 5 have no edge; user 5 and item 6 have only each other."""


@dataclass(frozen=True)
class Example:
    """The same graph three ways: edges, dense adjacency ``(n_users, n_items)``, and the code's own."""

    users: np.ndarray
    items: np.ndarray
    adjacency: np.ndarray
    graph: BipartiteGraph

    @property
    def normalised(self) -> np.ndarray:
        """Â of all nodes, users first, float64, straight from the definition."""
        n_users, n_items = self.adjacency.shape
        whole = np.zeros((n_users + n_items, n_users + n_items))
        whole[:n_users, n_users:] = self.adjacency
        whole[n_users:, :n_users] = self.adjacency.T
        degree = whole.sum(1)
        scale = np.array([1 / np.sqrt(d) if d else 0.0 for d in degree])
        return scale[:, None] * whole * scale[None, :]

    def double(self) -> BipartiteGraph:
        return self.graph.to("cpu", torch.float64)


def make_example(edges: list[tuple[int, int]], n_users: int, n_items: int) -> Example:
    users, items = (np.array([edge[k] for edge in edges], dtype=np.int32) for k in (0, 1))
    adjacency = np.zeros((n_users, n_items))
    adjacency[users, items] = 1
    return Example(users, items, adjacency, build_graph(users, items, n_users, n_items))


@pytest.fixture(scope="session")
def example() -> Example:
    return make_example(EDGES, 6, 7)


@pytest.fixture(scope="session")
def make():
    """Builds an :class:`Example` from edges and sizes."""
    return make_example


@pytest.fixture
def randn():
    """Normal random numbers in float64 from a fixed seed."""
    generator = torch.Generator().manual_seed(7)

    def draw(*shape: int, grad: bool = False) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=grad)

    return draw
