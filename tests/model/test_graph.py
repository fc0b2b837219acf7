from __future__ import annotations

import numpy as np
import torch


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
    graph = make([(0, 0)], 1, 1).graph
    lonely = type(graph)(graph.user_rows, graph.item_rows, torch.zeros(2))
    assert lonely.normalised_log_degree().tolist() == [0, 0]


def test_to_changes_the_precision_of_everything(example):
    graph = example.graph.to("cpu", torch.float64)
    assert {graph.user_rows.dtype, graph.item_rows.dtype, graph.degrees.dtype} == {torch.float64}
    assert torch.equal(graph.user_rows.to_dense().float(), example.graph.user_rows.to_dense())


def test_more_items_than_interactions(make):
    graph = make([(0, 3)], 2, 50).graph
    dense = graph.user_rows.to_dense()
    assert dense[0, 3] == 1
    assert dense.sum() == 1
