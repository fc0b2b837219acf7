from __future__ import annotations

import itertools

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from recmind.model.graph import NodeSubset, build_graph


def test_blocks_are_the_normalised_adjacency_and_its_transpose(example):
    expected = example.normalised[:6, 6:]
    np.testing.assert_allclose(example.graph.user_rows.to_dense().numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(example.graph.item_rows.to_dense().numpy(), expected.T, rtol=1e-6)


def test_sizes_and_degrees(example):
    graph = example.graph
    assert (graph.n_users, graph.n_items, graph.n_nodes) == (6, 7, 13)
    assert graph.degrees.tolist() == [3, 2, 1, 0, 2, 1, 2, 2, 2, 1, 1, 0, 1]


def test_normalised_log_degree_by_hand(example):
    # The largest degree is 3 among users and 2 among items.
    users = [np.log(1 + d) / np.log(4) for d in (3, 2, 1, 0, 2, 1)]
    items = [np.log(1 + d) / np.log(3) for d in (2, 2, 2, 1, 1, 0, 1)]
    np.testing.assert_allclose(example.double().normalised_log_degree().numpy(), users + items, rtol=1e-12)


def test_log_degree_of_a_side_without_an_edge_is_zero(make):
    assert make([], 1, 1).graph.normalised_log_degree().tolist() == [0, 0]


def test_inverses_by_hand(example):
    degrees = [3, 2, 1, 0, 2, 1, 2, 2, 2, 1, 1, 0, 1]
    roots, inverses = [d**-0.5 if d else 0 for d in degrees], [1 / d if d else 0 for d in degrees]
    np.testing.assert_allclose(example.double().inverse_roots.numpy(), roots, rtol=1e-15)
    np.testing.assert_allclose(example.double().inverse_degrees.numpy(), inverses, rtol=1e-15)


def test_lists_of_neighbours(example):
    graph = example.graph
    by_hand = [[6, 7, 8], [7, 9], [6], [], [8, 10], [12], [0, 2], [0, 1], [0, 4], [1], [4], [], [5]]
    offsets = graph.offsets.tolist()
    found = [graph.neighbours[a:b].tolist() for a, b in itertools.pairwise(offsets)]
    assert found == by_hand
    assert (graph.n_interactions, len(offsets)) == (9, 14)
    assert (graph.offsets.dtype, graph.neighbours.dtype, graph.degrees.dtype) == (
        torch.int64,
        torch.int32,
        torch.float32,
    )


def test_lists_are_ascending_whatever_the_order_of_interactions(make):
    pairs = [(2, 1), (0, 4), (2, 0), (1, 4), (0, 2), (2, 3), (0, 0)]
    first, second = make(pairs, 3, 5).graph, make(sorted(pairs), 3, 5).graph
    assert torch.equal(first.offsets, second.offsets)
    assert torch.equal(first.neighbours, second.neighbours)
    assert first.neighbours[: first.offsets[3]].tolist() == [3, 5, 7, 7, 3, 4, 6]


def test_to_changes_the_precision_of_everything(example):
    graph = example.graph.to("cpu", torch.float64)
    derived = graph.degrees, graph.inverse_roots, graph.inverse_degrees, graph.user_rows, graph.item_rows
    assert {tensor.dtype for tensor in derived} == {torch.float64}
    np.testing.assert_allclose(graph.user_rows.to_dense().numpy(), example.normalised[:6, 6:], rtol=1e-15)
    np.testing.assert_allclose(graph.user_rows.to_dense(), example.graph.user_rows.to_dense(), rtol=2e-7)
    assert torch.equal(graph.neighbours, example.graph.neighbours)


def test_more_items_than_interactions(make):
    graph = make([(0, 3)], 2, 50).graph
    dense = graph.user_rows.to_dense()
    assert dense[0, 3] == 1
    assert dense.sum() == 1


class TestNodeSubset:
    def test_distinct_and_ascending(self):
        subset = NodeSubset.of(6, torch.tensor([4, 1, 4]), torch.tensor([1, 0]), torch.tensor([], dtype=torch.int64))
        assert subset.nodes.tolist() == [0, 1, 4]
        assert subset.positions.tolist() == [0, 1, -1, -1, 2, -1]
        assert len(subset) == 3
        assert (subset.nodes.dtype, subset.positions.dtype) == (torch.int64, torch.int32)

    def test_locate(self):
        subset = NodeSubset.of(6, torch.tensor([5, 2, 3]))
        assert subset.locate(torch.tensor([3, 3, 5, 2])).tolist() == [1, 1, 2, 0]
        assert subset.locate(torch.tensor([3])).dtype == torch.int64

    def test_none_and_all(self):
        nothing = NodeSubset.of(3, torch.tensor([], dtype=torch.int64))
        assert (len(nothing), nothing.positions.tolist()) == (0, [-1, -1, -1])
        assert NodeSubset.of(3, torch.arange(3)).positions.tolist() == [0, 1, 2]


@given(st.sets(st.tuples(st.integers(0, 5), st.integers(0, 6)), min_size=1), st.randoms(), st.booleans())
def test_lists_ascend_and_do_not_depend_on_the_order_of_the_pairs(pairs, random, by_user: bool) -> None:
    pairs = sorted(pairs, key=lambda pair: (by_user and pair[0], random.random()))
    users, items = np.array(pairs, dtype=np.int32).T
    graph = build_graph(users, items, 7, 8)
    lists = graph.neighbours.tensor_split(graph.offsets[1:-1])
    expected = [sorted(item + 7 for user, item in pairs if user == u) for u in range(7)]
    expected += [sorted(user for user, item in pairs if item == i) for i in range(8)]
    assert [nodes.tolist() for nodes in lists] == expected
    assert graph.degrees.tolist() == [len(nodes) for nodes in expected]
    assert (graph.offsets.dtype, graph.neighbours.dtype) == (torch.int64, torch.int32)
