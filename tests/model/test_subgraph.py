from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recmind import kernels
from recmind.model.graph import build_graph
from recmind.model.subgraph import interactions, keep_interactions, keep_nodes, subgraph, thinned

EDGES = st.sets(st.tuples(st.integers(0, 5), st.integers(0, 4)), max_size=20).map(sorted)


def graph_of(edges: list[tuple[int, int]]):
    users, items = (np.array([edge[k] for edge in edges], dtype=np.int32) for k in (0, 1))
    return build_graph(users, items, 6, 5)


@settings(deadline=None)
@given(EDGES, st.data())
def test_is_the_graph_of_what_is_kept(edges, data):
    kept = data.draw(st.lists(st.booleans(), min_size=len(edges), max_size=len(edges)))
    found = subgraph(graph_of(edges), torch.tensor(kept, dtype=torch.bool))
    expected = graph_of([edge for edge, stays in zip(edges, kept, strict=True) if stays])
    for name in ("offsets", "neighbours", "degrees"):
        assert torch.equal(getattr(found, name), getattr(expected, name))
    assert (found.n_users, found.n_items) == (6, 5)


@settings(deadline=None)
@given(EDGES)
def test_interactions_are_in_the_order_of_the_users(edges):
    users, items = interactions(graph_of(edges))
    assert list(zip(users.tolist(), items.tolist(), strict=True)) == edges


def test_keeps_the_precision_of_the_graph(example):
    assert subgraph(example.double(), torch.ones(9, dtype=torch.bool)).degrees.dtype == torch.float64


def test_a_share_of_the_interactions_is_left_out(make):
    graph = make([(u, i) for u in range(60) for i in range(50)], 60, 50).graph
    kept = keep_interactions(graph, 0.3, torch.Generator().manual_seed(0))
    # 3000 draws: five standard deviations are 0.042.
    assert abs(float(kept.float().mean()) - 0.7) < 0.042


def test_an_interaction_stays_with_both_of_its_nodes(example):
    kept = keep_nodes(example.graph, 0.4, torch.Generator().manual_seed(1))
    nodes = torch.rand(13, generator=torch.Generator().manual_seed(1)) >= 0.4
    expected = [bool(nodes[u] and nodes[6 + i]) for u, i in zip(example.users, example.items, strict=True)]
    assert kept.tolist() == expected
    assert 0 < sum(expected) < 9


def test_nothing_is_left_out_at_zero(example):
    for keep in (keep_interactions, keep_nodes):
        assert bool(keep(example.graph, 0.0, torch.Generator()).all())


def test_thinned_leaves_out_entries_of_the_whole_matrix_and_changes_none(example):
    generator = torch.Generator().manual_seed(0)
    graph = thinned(example.double(), 0.4, generator)
    assert 0 < graph.n_interactions < 9
    found = kernels.product(graph, torch.eye(13, dtype=torch.float64)).numpy()
    kept = found != 0
    assert kept.sum() == 2 * graph.n_interactions
    np.testing.assert_allclose(found[kept], example.normalised[kept], rtol=1e-12)


def test_thinned_by_nothing_is_the_graph_itself(example):
    assert thinned(example.graph, 0.0, torch.Generator()) is example.graph
