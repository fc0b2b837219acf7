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
from recmind.model.text_links import text_links


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
    model.replace_texts(inputs(torch.randn(6, 8)))
    assert not torch.equal(before, model.links.rows.to_dense())
