from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from recmind.model.graph import build_graph
from recmind.model.subgraph import interactions, keep_interactions, keep_nodes, subgraph

EDGES = st.sets(st.tuples(st.integers(0, 5), st.integers(0, 4)), max_size=20).map(sorted)


def graph_of(edges: list[tuple[int, int]]):
    users, items = (np.array([edge[k] for edge in edges], dtype=np.int32) for k in (0, 1))
    return build_graph(users, items, 6, 5)


@given(EDGES, st.data())
def test_is_the_graph_of_what_is_kept(edges, data):
    kept = data.draw(st.lists(st.booleans(), min_size=len(edges), max_size=len(edges)))
    found = subgraph(graph_of(edges), torch.tensor(kept, dtype=torch.bool))
    expected = graph_of([edge for edge, stays in zip(edges, kept, strict=True) if stays])
    for name in ("offsets", "neighbours", "degrees"):
        assert torch.equal(getattr(found, name), getattr(expected, name))
    assert (found.n_users, found.n_items) == (6, 5)


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
