"""What came next: counted by hand, against a plain loop, and as a term of the score."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recmind.config import load_config
from recmind.model import transitions as module
from recmind.model.baselines.lightgcn import LightGCN
from recmind.model.graph import BipartiteGraph, build_graph
from recmind.model.registry import build_model
from recmind.model.transitions import ComesNext, transitions
from recmind.model.views import VectorScorer


def graph_of(histories: list[list[int]], n_items: int) -> BipartiteGraph:
    users = np.repeat(np.arange(len(histories), dtype=np.int32), [len(history) for history in histories])
    items = np.array([item for history in histories for item in history], dtype=np.int32)
    return build_graph(users, items, len(histories), n_items)


HISTORIES = [[4, 1, 3], [], [0], [4, 1], [1, 4, 0]]


@pytest.fixture
def graph() -> BipartiteGraph:
    return graph_of(HISTORIES, 6)


def test_a_step_by_hand(graph: BipartiteGraph):
    found = transitions(graph, window=2, decay=0.5, shrink=1.0, keep=9).toarray()
    expected = np.zeros((6, 6))
    # After 4: 1 twice at once, 3 once one later, 0 once at once. After 1: 3 and 4 at once, 0 one later.
    expected[4, [1, 3, 0]] = np.array([2.0, 0.5, 1.0]) / (3.5 + 1)
    expected[1, [3, 4, 0]] = np.array([1.0, 1.0, 0.5]) / (2.5 + 1)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_nothing_follows_across_users_nor_the_last_item(graph: BipartiteGraph):
    found = transitions(graph, window=99, decay=1.0, shrink=0.0, keep=9)
    assert not found[[0, 2, 3, 5]].nnz
    np.testing.assert_allclose(found.sum(axis=1)[[1, 4]], 1.0, rtol=1e-6)


def test_without_decay_the_very_next_alone(graph: BipartiteGraph):
    far = transitions(graph, window=5, decay=0.0, shrink=0.0, keep=9)
    near = transitions(graph, window=1, decay=0.7, shrink=0.0, keep=9)
    np.testing.assert_allclose(far.toarray(), near.toarray())
    assert far.nnz == near.nnz == 4


def test_the_largest_are_kept_with_the_share_they_had(graph: BipartiteGraph):
    whole = transitions(graph, window=2, decay=0.5, shrink=1.0, keep=9).toarray()
    found = transitions(graph, window=2, decay=0.5, shrink=1.0, keep=1).toarray()
    assert np.flatnonzero(found[4]).tolist() == [1] and np.flatnonzero(found[1]).tolist() == [3]  # 3 before 4: equal
    assert found[4, 1] == whole[4, 1] and found[1, 3] == whole[1, 3]


@given(
    histories=st.lists(st.permutations(list(range(7))).flatmap(lambda p: st.integers(0, 7).map(lambda n: p[:n]))),
    window=st.integers(1, 8),
    decay=st.sampled_from([0.0, 0.5, 1.0]),
    shrink=st.sampled_from([0.0, 3.0]),
    pairs=st.sampled_from([1, 5, 2**22]),
)
def test_whatever_is_counted_at_once(histories, window: int, decay: float, shrink: float, pairs: int):
    counts = np.zeros((7, 7))
    for history in histories:
        for p, before in enumerate(history):
            for q in range(p + 1, min(p + window + 1, len(history))):
                counts[before, history[q]] += decay ** (q - p - 1)
    expected = counts / np.maximum(counts.sum(1, keepdims=True) + shrink, 1e-12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_PAIRS", pairs)
        found = transitions(graph_of(histories, 7), window=window, decay=decay, shrink=shrink, keep=7)
    np.testing.assert_allclose(found.toarray(), expected, rtol=1e-5, atol=1e-7)
    assert found.dtype == np.float32 and found.has_sorted_indices


@pytest.fixture
def following(graph: BipartiteGraph) -> ComesNext:
    settings = {"model.transitions.shrink": 1.0, "model.transitions.window": 2, "model.transitions.decay": 0.5}
    ages = {"model.transitions.recency": 0.5, "model.transitions.items": 2}
    config = load_config("default", overrides={**settings, **ages}).model
    return ComesNext.of(graph, config, 3.0)


def test_a_score_by_hand(following: ComesNext):
    table = following.table.toarray()
    found = following.scores(np.array([3, 1, 0])).toarray()
    # User 3 has 4 and then 1: the latest counts 2/3, the one before 1/3.
    np.testing.assert_allclose(found[0], 3 * (2 / 3 * table[1] + 1 / 3 * table[4]), rtol=1e-6)
    np.testing.assert_allclose(found[1], 0)
    np.testing.assert_allclose(found[2], 3 * (2 / 3 * table[3] + 1 / 3 * table[1]), rtol=1e-6)  # 4 is too long ago


def test_one_item_is_a_column(following: ComesNext):
    everything = following.scores(np.arange(5)).toarray()
    for item in range(6):
        np.testing.assert_allclose(following.of_item(item), everything[:, item], rtol=1e-6)


def test_some_items_are_some_columns(following: ComesNext):
    users, some = np.arange(5), np.array([0, 3, 4])
    np.testing.assert_allclose(
        following.among(some).scores(users).toarray(), following.scores(users).toarray()[:, some]
    )


def test_new_items_are_raised_as_those_with_texts_like_theirs_are(following: ComesNext):
    users, before = np.arange(5), following.scores(np.arange(5)).toarray()
    # 5 was never bought and stands in the catalogue, 6 and 7 come behind it; 7 is like nothing.
    near, shares = np.array([[0, 3], [3, 1], [0, 1]]), np.array([[0.25, 0.75], [0.5, 0.5], [0.0, 0.0]])
    found = following.with_new(np.array([5, 6, 7]), near, shares).scores(users).toarray()
    np.testing.assert_allclose(found[:, :5], before[:, :5], rtol=1e-6)
    np.testing.assert_allclose(found[:, 5], 0.25 * before[:, 0] + 0.75 * before[:, 3], rtol=1e-6)
    np.testing.assert_allclose(found[:, 6], 0.5 * before[:, 3] + 0.5 * before[:, 1], rtol=1e-6)
    assert found[:, 5].any() and found[:, 6].any() and not found[:, 7].any()


def test_a_scorer_adds_it(following: ComesNext):
    users, items = torch.randn(5, 3), torch.randn(6, 3)
    scorer = VectorScorer(users, items, following)
    some = torch.tensor([3, 0])
    expected = (users @ items.T)[some] + torch.from_numpy(following.scores(some.numpy()).toarray())
    torch.testing.assert_close(scorer.scores(some), expected)
    torch.testing.assert_close(scorer.among(torch.tensor([5, 1])).scores(some), expected[:, [5, 1]])
    more = VectorScorer(users, torch.cat([items, torch.ones(1, 3)]), following)
    torch.testing.assert_close(more.scores(some)[:, :6], expected)


def test_the_weight_is_part_of_the_model(graph: BipartiteGraph):
    config = load_config("default", model="lightgcn", overrides={"model.transitions.weight": 2.0}).model
    model = build_model(graph, None, config, seed=0)
    assert isinstance(model, LightGCN)
    assert model.state_dict()["sigma"] == 2.0
    comes_next = model.scorer().comes_next
    assert comes_next is not None and comes_next.weight == 2.0
    model.keep_weight("transitions").fill_(0.0)
    assert model.scorer().comes_next is None
    # A run of before has none, and keeps what the settings say.
    model.keep_weight("transitions").fill_(2.0)
    model.load_state_dict({name: value for name, value in model.state_dict().items() if name != "sigma"})
    assert model.weight_of("transitions") == 2.0
    off = build_model(graph, None, load_config("default", model="lightgcn").model, seed=0)
    assert isinstance(off, LightGCN) and off.scorer().comes_next is None
