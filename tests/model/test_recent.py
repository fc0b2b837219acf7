"""What a user's latest items add."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recmind.config import load_config
from recmind.model.baselines.lightgcn import LightGCN
from recmind.model.graph import BipartiteGraph, build_graph
from recmind.model.recent import add_recent, latest_items, weights_of


@pytest.fixture
def graph() -> BipartiteGraph:
    """User 0: items 4, 1, 3 in this order; user 1: none; user 2: item 0."""
    return build_graph(np.array([0, 0, 0, 2], np.int32), np.array([4, 1, 3, 0], np.int32), 3, 5)


def test_the_latest_items_come_first_and_nobody_elses(graph: BipartiteGraph):
    items, there = latest_items(graph, torch.arange(3), 2)
    assert items[0].tolist() == [3, 1]
    assert there.tolist() == [[True, True], [False, False], [True, False]]
    assert items[2, 0] == 0


def test_the_order_of_time_survives_unsorted_rows():
    users, items = np.array([1, 0, 1, 0], np.int32), np.array([2, 1, 0, 2], np.int32)
    graph = build_graph(users, items, 2, 3)
    assert graph.in_time.tolist() == [1, 2, 2, 0]


@pytest.mark.parametrize(
    ("decay", "expected"), [(0.5, [4 / 7, 2 / 7, 1 / 7]), (0.0, [1.0, 0.0, 0.0]), (1.0, [1 / 3] * 3)]
)
def test_weights_fall_and_sum_to_one(decay: float, expected: list[float]):
    torch.testing.assert_close(weights_of(torch.ones(1, 3, dtype=torch.bool), decay)[0], torch.tensor(expected))
    assert weights_of(torch.zeros(1, 3, dtype=torch.bool), decay).sum() == 0


def test_a_step_by_hand(graph: BipartiteGraph):
    users = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    items = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    found = add_recent(users, items, graph, 3.0, 0.5, 2)
    # User 0: (1, 0) + 3 (2/3 (0, 1) + 1/3 (1, 0)); item 4 is too long ago.
    torch.testing.assert_close(found, torch.tensor([[2.0, 2.0], [0.0, 1.0], [0.6, 3.8]]))


def test_any_model_of_the_graph_can_have_it(graph: BipartiteGraph):
    def vectors(weight: float) -> torch.Tensor:
        settings = {"model.recent.weight": weight, "model.recent.items": 1, "model.dim": 4}
        torch.manual_seed(0)
        return LightGCN(graph, load_config("default", model="lightgcn", overrides=settings).model).vectors()

    plain, moved = vectors(0.0), vectors(2.0)
    torch.testing.assert_close(moved[3:], plain[3:])
    torch.testing.assert_close(moved[0], plain[0] + 2 * plain[3 + 3])
    torch.testing.assert_close(moved[1], plain[1])
