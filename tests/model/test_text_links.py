"""Links between items whose texts are alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recmind.config import load_config
from recmind.model.graph import BipartiteGraph, build_graph
from recmind.model.language_view import TextInputs
from recmind.model.recmind import RecMind
from recmind.model.text_links import TextLinks, near_by_text, text_links


def bought(n_items: int, *without: int) -> BipartiteGraph:
    """One user who has every item but those."""
    items = np.array([i for i in range(n_items) if i not in without], np.int32)
    return build_graph(np.zeros(len(items), np.int32), items, 1, n_items)


def inputs(vectors: torch.Tensor, *without: int) -> TextInputs:
    known = torch.tensor([i not in without for i in range(len(vectors))])
    return TextInputs(vectors * known[:, None], known)


def test_a_table_by_hand():
    # Items 0 and 1 are alike (cosine .8), 2 is at .6 of 0 and at 0 of... its own direction; 3 has no text, 4 no buyer.
    vectors = torch.tensor([[2.0, 0.0], [0.8, 0.6], [0.6, -0.8], [0.0, 0.0], [1.0, 0.0]])
    links = text_links(inputs(vectors, 3), bought(5, 4), 2)
    expected = torch.zeros(5, 5)
    expected[0, 1], expected[0, 2] = 0.8 / 1.4, 0.6 / 1.4
    expected[1, 0], expected[1, 2] = 1.0, 0.0  # ⟨1, 2⟩ = 0
    expected[2, 0] = 1.0
    torch.testing.assert_close(links.rows.to_dense(), expected)
    torch.testing.assert_close(links.columns.to_dense(), expected.T)


@given(st.integers(2, 40), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_rows_are_the_nearest_others_with_sum_one(n: int, k: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(n, 5, generator=generator).abs()
    table = text_links(inputs(vectors), bought(n), k).rows.to_dense()
    unit = torch.nn.functional.normalize(vectors, dim=1)
    cosines = (unit @ unit.T).fill_diagonal_(-torch.inf)
    best = cosines.topk(min(k, n - 1), dim=1)
    expected = torch.zeros(n, n).scatter(1, best.indices, best.values / best.values.sum(1, keepdim=True))
    torch.testing.assert_close(table, expected, atol=1e-5, rtol=1e-4)


@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_what_was_found_makes_the_same_links_again(n: int, k: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(n, 5, generator=generator)
    without = (torch.rand(n, generator=generator) < 0.3).nonzero()[:, 0].tolist()
    found = text_links(inputs(vectors, *without[::2]), bought(n, *without[1::2]), k)
    again = TextLinks.of(found.near, found.shares)
    for one, other in ((found.rows, again.rows), (found.columns, again.columns)):
        assert torch.equal(one.to_dense(), other.to_dense())
    dense = torch.zeros(n, n)
    for item in range(n):
        for near, share in zip(found.near[item].tolist(), found.shares[item].tolist(), strict=True):
            assert (near >= 0) == (item not in without)
            dense[item, near] += share if near >= 0 else 0.0
    assert torch.equal(dense, found.rows.to_dense())


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_to_link(n: int):
    vectors = torch.ones(3, 2)
    graph = bought(3, *range(n, 3))
    assert text_links(inputs(vectors), graph, 10).rows.to_dense().abs().sum() == 0


def test_the_gradient_is_that_of_the_dense_product():
    vectors, x = torch.randn(9, 4, dtype=torch.float64), torch.randn(11, 3, dtype=torch.float64, requires_grad=True)
    links = text_links(inputs(vectors), bought(9).to("cpu", torch.float64), 3)
    assert torch.autograd.gradcheck(lambda x: links.spread(x, 2), (x,))
    expected = torch.cat([x[:2], x[2:] + links.rows.to_dense() @ x[2:]])
    torch.testing.assert_close(links.spread(x, 2), expected)
    plus = torch.randn(11, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, plus: links.spread(x, 2, plus), (x, plus))
    torch.testing.assert_close(links.spread(x, 2, plus), expected + plus)


def test_they_are_part_of_the_start_and_follow_the_texts():
    graph, config = bought(6, 5), load_config("default", overrides={"model.dim": 4, "model.text_links": 2}).model
    torch.manual_seed(0)
    model = RecMind(graph, inputs(torch.randn(6, 8)), config)
    language = torch.randn(7, 4)
    assert model.links is not None
    free = model.free.detach()
    expected = free + language
    expected[1:] += model.links.rows.to_dense() @ free[1:]
    torch.testing.assert_close(model.start(language).detach(), expected)
    torch.testing.assert_close(model.start(language)[6].detach(), language[6])  # no buyer: its text alone
    before = model.links.rows.to_dense()
    texts = inputs(torch.randn(6, 8))
    model.replace_texts(texts)
    after = model.links.rows.to_dense()
    assert not torch.equal(before, after)
    # A model of a graph with more edges that is told of the links keeps them.
    told = RecMind(bought(6), model.with_links(texts), config)
    assert told.links is not None
    assert torch.equal(told.links.rows.to_dense(), after)


def test_other_texts_are_linked_to_the_nearest_that_were_bought():
    vectors = torch.tensor([[2.0, 0.0], [0.8, 0.6], [0.6, -0.8], [0.0, 0.0], [1.0, 0.0]])
    asked = torch.tensor([[3.0, 0.0], [-1.0, 0.0], [0.0, 5.0]])
    codes, shares = near_by_text(inputs(vectors, 3), bought(5, 4), asked, 2)
    # (1, 0) is at 1 of item 0 and at .8 of 1; the second is like none; the third at .6 of 1 and at 0 of 0.
    assert codes[0].tolist() == [0, 1]
    torch.testing.assert_close(shares[0], torch.tensor([1.0, 0.8]) / 1.8)
    assert shares[1].tolist() == [0.0, 0.0]
    assert (codes[2, 0].item(), shares[2].tolist()) == (1, [1.0, 0.0])


def test_there_may_be_fewer_to_link_to_than_asked_for():
    codes, shares = near_by_text(inputs(torch.ones(3, 2)), bought(3, 0, 1), torch.ones(2, 2), 10)
    assert codes.tolist() == [[2], [2]] and shares.tolist() == [[1.0], [1.0]]
    codes, shares = near_by_text(inputs(torch.ones(3, 2)), bought(3, 0, 1, 2), torch.ones(2, 2), 10)
    assert codes.shape == shares.shape == (2, 0)


def test_a_new_item_hears_what_the_graph_says_of_the_items_like_it():
    torch.manual_seed(0)
    graph = build_graph(np.array([0, 0, 1, 1], np.int32), np.array([0, 1, 1, 2], np.int32), 2, 4)
    texts = TextInputs(torch.randn(4, 6).abs(), torch.tensor([True, True, True, True]))
    config = load_config(
        "default", overrides={"model.dim": 4, "model.precision": "float32", "model.text_links": 2}
    ).model
    model = RecMind(graph, texts, config)
    asked, known = torch.randn(3, 6).abs(), torch.tensor([True, True, False])
    new = model.new_items(asked, known)
    codes, shares = near_by_text(texts, graph, asked, 2)
    language, views = model.language.project(asked, known), model()
    for row in (0, 1):
        heard = sum(share * views.graph[2 + code] for code, share in zip(codes[row], shares[row], strict=True))
        expected = torch.nn.functional.normalize(0.5 * heard + 0.5 * language[row], dim=0)
        torch.testing.assert_close(new[row, :4], expected)
    assert new.shape == (3, 9) and new[:, 4:8].abs().sum() == 0  # the encoder reads nothing else of them
    assert new[2, :-1].abs().sum() == 0  # neither text nor edge
    assert not new.requires_grad
