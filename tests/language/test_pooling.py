from __future__ import annotations

import pytest
import torch

from recmind.language.pooling import POOLINGS, cls_pool, last_pool, mean_pool

RIGHT = torch.tensor([[1, 1, 0], [1, 1, 1]])
LEFT = torch.tensor([[0, 1, 1], [1, 1, 1]])


def hidden():
    return torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 9.0]], [[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]]])


def test_the_mean_leaves_padding_out():
    assert mean_pool(hidden(), RIGHT).tolist() == [[(1 + 3) / 2, (2 + 4) / 2], [(1 + 0 + 2) / 3, (0 + 1 + 2) / 3]]
    assert mean_pool(hidden(), LEFT)[0].tolist() == [(3 + 5) / 2, (4 + 9) / 2]


def test_cls_is_the_first_token_that_is_no_padding():
    assert cls_pool(hidden(), RIGHT).tolist() == [[1, 2], [1, 0]]
    assert cls_pool(hidden(), LEFT).tolist() == [[3, 4], [1, 0]]


def test_last_is_the_last_token_that_is_no_padding():
    assert last_pool(hidden(), RIGHT).tolist() == [[3, 4], [2, 2]]
    assert last_pool(hidden(), LEFT).tolist() == [[5, 9], [2, 2]]


@pytest.mark.parametrize("name", list(POOLINGS))
def test_what_stands_in_the_padding_does_not_matter(name):
    other = hidden()
    other[0, 2] = 1e6
    assert torch.equal(POOLINGS[name](hidden(), RIGHT), POOLINGS[name](other, RIGHT))
