from __future__ import annotations

import numpy as np
import pytest
import torch

from recmind.config import ModelConfig
from recmind.model.graph import build_graph
from recmind.model.item_item import ItemItem
from recmind.model.language_view import TextInputs
from recmind.model.registry import build_model, needs_text, places_new_items

# User 0 has items 0 and 1, user 1 has item 3, which has no text, user 2 has nothing. Nobody has items 2 and 4.
EDGES = np.array([(0, 0), (0, 1), (1, 3)], dtype=np.int32)
VECTORS = np.array([[2.0, 0.0], [0.0, 1.0], [3.0, 3.0], [0.0, 0.0], [-1.0, 0.0]], dtype=np.float32)
KNOWN = np.array([True, True, True, False, True])


def content_knn() -> ItemItem:
    graph = build_graph(EDGES[:, 0], EDGES[:, 1], 3, 5)
    model = build_model(graph, TextInputs.from_arrays(VECTORS, KNOWN), ModelConfig(name="content-knn"), seed=0)
    assert isinstance(model, ItemItem)
    model.fit()
    return model


def test_scores_are_cosines_with_the_mean_of_the_history():
    half = np.sqrt(0.5)
    scores = content_knn().scores(torch.arange(3)).numpy()
    # The texts of items 0 and 1 are at right angles: their mean points to item 2, which nobody has.
    np.testing.assert_allclose(scores[0], [half, half, 1, 0, -half], atol=1e-6)
    assert scores[1:].tolist() == np.zeros((2, 5)).tolist()


def test_a_longer_vector_does_not_count_more():
    # Item 0 has length 2 and item 1 length 1, and both weigh the same in the mean.
    scores = content_knn().scores(torch.tensor([0]))
    assert float(scores[0, 0]) == pytest.approx(float(scores[0, 1]))


def test_similar_items_are_those_with_like_texts():
    assert content_knn().similar(2).tolist() == pytest.approx([np.sqrt(0.5), np.sqrt(0.5), 1, 0, -np.sqrt(0.5)])


def test_what_a_run_keeps_of_it_restores_it():
    model = content_knn()
    other = content_knn()
    other.restore(model.tensors())
    assert torch.equal(other.scores(torch.arange(3)), model.scores(torch.arange(3)))
    assert needs_text("content-knn")
    assert not places_new_items("content-knn")
