from __future__ import annotations

import numpy as np
import pytest
import torch

from recmind.model.language_view import TextInputs, neighbour_context
from recmind.model.node_texts import node_texts

KNOWN_ITEMS = np.array([True, True, False, True, True, True, False])
"""Item 2 (two users) and item 6 (all that user 5 has) have no text; item 5 has one and no user."""


def texts_of(*, users: bool = False) -> TextInputs:
    rng = np.random.default_rng(0)
    about = (rng.normal(size=(6, 5)), np.array([True, False, False, False, True, False])) if users else (None, None)
    items = rng.normal(size=(7, 5))
    # The rows of what is not known hold numbers here, which nobody may read.
    return TextInputs.from_arrays(items, KNOWN_ITEMS, *about).to("cpu", torch.float64)


@pytest.mark.parametrize("users", [False, True])
def test_items_own_texts_and_means_of_those_that_are_known(example, users: bool):
    texts = texts_of(users=users)
    nodes = node_texts(texts, example.double())
    for user in range(6):
        own = [i for i in range(7) if example.adjacency[user, i] and KNOWN_ITEMS[i]]
        if texts.users is not None and texts.users_known is not None and texts.users_known[user]:
            expected = texts.users[user].numpy()
        else:
            expected = texts.items[own].numpy().mean(0) if own else np.zeros(5)
        np.testing.assert_allclose(nodes.vectors[user].numpy(), expected, rtol=1e-6, atol=1e-12)
    known_users = [True, True, True, False, True, False]
    assert nodes.known.tolist() == [*known_users, *KNOWN_ITEMS.tolist()]
    assert torch.equal(nodes.vectors[6:], texts.items * torch.from_numpy(KNOWN_ITEMS)[:, None])


def test_a_missing_text_is_replaced_by_the_neighbours_mean(example):
    blank = texts_of()
    texts = TextInputs(blank.items * blank.items_known[:, None], blank.items_known)
    nodes, plain = node_texts(texts, example.double(), missing="fallback"), node_texts(texts, example.double())
    context = neighbour_context(texts, example.double())
    assert torch.equal(nodes.vectors[6 + 2], context[6 + 2])
    assert nodes.vectors[6 + 2].norm() == pytest.approx(1)
    assert torch.equal(nodes.vectors[plain.known], plain.vectors[plain.known])
    # Of user 3, who has nothing, and of user 5 and item 6, who have each other alone, nothing is known.
    assert torch.nonzero(~nodes.known).flatten().tolist() == [3, 5, 6 + 6]
    assert not nodes.vectors[~nodes.known].any()
