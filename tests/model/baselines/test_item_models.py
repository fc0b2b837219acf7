"""Item neighbours, their mix with texts, and EASE, against dense numpy and arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recmind.config import BaselinesConfig, EaseConfig, KnnConfig, ModelConfig, TransitionsConfig
from recmind.errors import ConfigError, RunError
from recmind.model.baselines import ease, item_knn
from recmind.model.baselines.item_knn_text import z_scores
from recmind.model.baselines.sequential_rules import SequentialRules
from recmind.model.graph import build_graph
from recmind.model.item_item import ItemItem, interaction_matrix
from recmind.model.language_view import TextInputs
from recmind.model.registry import build_model
from recmind.model.scorer import Scorer

N_USERS, N_ITEMS = 30, 12
NAMES = ["item-knn", "item-knn-text", "sequential-rules", "ease"]


def settings(name: str, *, k: int = 100, shrink: float = 0.0, weight: float = 0.5, ridge: float = 100.0) -> ModelConfig:
    knn = KnnConfig(neighbours=k, shrink=shrink, text_weight=weight)
    return ModelConfig(name=name, baselines=BaselinesConfig(knn=knn, ease=EaseConfig(regularisation=ridge)))


def fitted(x: np.ndarray, config: ModelConfig, texts: TextInputs | None = None) -> ItemItem:
    users, items = (codes.astype(np.int32) for codes in np.nonzero(x))
    model = build_model(build_graph(users, items, *x.shape), texts, config, seed=0)
    assert isinstance(model, ItemItem)
    model.fit()
    return model


def everybody(model: ItemItem) -> np.ndarray:
    return model.scores(torch.arange(model.n_users)).numpy()


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    """A random table of interactions; the last user and the last item have none."""
    found = (np.random.default_rng(0).random((N_USERS, N_ITEMS)) < 0.3).astype(float)
    found[np.arange(N_USERS), np.arange(N_USERS) % (N_ITEMS - 1)] = 1
    found[-1], found[:, -1] = 0, 0
    return found


@pytest.fixture(scope="module")
def texts() -> TextInputs:
    vectors = np.random.default_rng(1).normal(size=(N_ITEMS, 5)).astype(np.float32)
    known = np.arange(N_ITEMS) % 4 != 2
    return TextInputs.from_arrays(vectors * known[:, None], known)


def dense_knn(x: np.ndarray, k: int, shrink: float) -> np.ndarray:
    """Scores of item-kNN from the definition, one item at a time."""
    degrees = x.sum(0)
    scores = np.zeros(x.shape)
    for i in range(x.shape[1]):
        similarity = np.zeros(x.shape[1])
        for j in range(x.shape[1]):
            if i != j and degrees[i] and degrees[j]:
                similarity[j] = (x[:, i] * x[:, j]).sum() / (np.sqrt(degrees[i] * degrees[j]) + shrink)
        nearest = sorted(range(x.shape[1]), key=lambda j: (-similarity[j], j))[:k]
        scores[:, i] = x[:, nearest] @ similarity[nearest]
    return scores


class TestItemKNN:
    def test_by_hand(self):
        # Users have {0, 1}, {0, 1}, {0, 2}, {2}.
        x = np.array([[1, 1, 0], [1, 1, 0], [1, 0, 1], [0, 0, 1]], dtype=float)
        near, far = 2 / np.sqrt(3 * 2), 1 / np.sqrt(3 * 2)
        expected = [[near, near, far], [near, near, far], [far, near, far], [far, 0, 0]]
        np.testing.assert_allclose(everybody(fitted(x, settings("item-knn"))), expected, rtol=1e-6)
        # With one neighbour item 0 keeps item 1 alone, item 1 and item 2 keep item 0.
        expected = [[near, near, far], [near, near, far], [0, near, far], [0, 0, 0]]
        np.testing.assert_allclose(everybody(fitted(x, settings("item-knn", k=1))), expected, rtol=1e-6)
        shrunk = 2 / (np.sqrt(3 * 2) + 4)
        assert everybody(fitted(x, settings("item-knn", k=1, shrink=4)))[0, 0] == pytest.approx(shrunk)

    @pytest.mark.parametrize(("k", "shrink"), [(1, 0.0), (3, 0.0), (3, 7.0), (100, 2.5)])
    @pytest.mark.parametrize("products", [1, 40, 2**22])
    def test_the_same_as_dense_arithmetic_in_blocks_of_any_size(self, x, monkeypatch, k, shrink, products):
        monkeypatch.setattr(item_knn, "_BLOCK_PRODUCTS", products)
        model = fitted(x, settings("item-knn", k=k, shrink=shrink))
        np.testing.assert_allclose(everybody(model), dense_knn(x, k, shrink), rtol=1e-5, atol=1e-7)

    def test_no_more_than_k_neighbours_are_kept(self, x):
        model = fitted(x, settings("item-knn", k=2))
        assert np.diff(model.weights.tocsc().indptr).max() == 2


class TestSequentialRules:
    def test_by_hand(self):
        # Users have 0, 1, 2; 0, 1; 1, 2; 0. With a window of 1 and no shrinkage 1 always follows 0, and 2 always 1.
        users, items = np.array([0, 0, 0, 1, 1, 2, 2, 3], np.int32), np.array([0, 1, 2, 0, 1, 1, 2, 0], np.int32)
        config = settings("sequential-rules").model_copy(
            update={"transitions": TransitionsConfig(window=1, shrink=0.0, recency=0.5, items=2)}
        )
        model = build_model(build_graph(users, items, 4, 3), None, config, seed=0)
        assert isinstance(model, SequentialRules)
        model.fit()
        expected = [[0, 0, 1 / 3], [0, 1 / 3, 2 / 3], [0, 0, 1 / 3], [0, 1, 0]]
        np.testing.assert_allclose(everybody(model), expected, rtol=1e-6)
        assert model.similar(0).tolist() == [0, 1, 0]


class TestItemKNNText:
    def test_is_the_sum_of_two_z_scores(self, x, texts):
        model = fitted(x, settings("item-knn-text", k=3, weight=0.7), texts)
        vectors, known = texts.items.double().numpy(), texts.items_known.numpy()
        unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        neighbours = dense_knn(x, 3, 0.0)
        for user in range(N_USERS - 1):
            own = np.flatnonzero(x[user] * known)
            likeness = unit[own].mean(0) @ unit.T if len(own) else np.zeros(N_ITEMS)
            deviation = neighbours[user].std()
            expected = (neighbours[user] - neighbours[user].mean()) / deviation if deviation else np.zeros(N_ITEMS)
            if len(own):
                z = (likeness - likeness[known].mean()) / likeness[known].std()
                expected = expected + 0.7 * np.where(known, z, 0.0)
            np.testing.assert_allclose(everybody(model)[user], expected, rtol=1e-4, atol=1e-5)
        assert not everybody(model)[-1].any(), "a user without interactions has no scores"

    def test_without_weight_the_order_is_that_of_the_neighbours(self, x, texts):
        with_texts = everybody(fitted(x, settings("item-knn-text", weight=0.0), texts))
        plain = everybody(fitted(x, settings("item-knn")))
        for mixed, own in zip(with_texts[:-1], plain[:-1], strict=True):
            assert np.corrcoef(mixed, own)[0, 1] == pytest.approx(1, abs=1e-6)

    def test_an_item_without_interaction_is_placed_by_its_text(self, x, texts):
        scores = everybody(fitted(x, settings("item-knn-text"), texts))[:-1, -1]
        assert bool(texts.items_known[-1])
        assert scores.std() > 0.1

    def test_z_scores_of_equal_values_are_zero(self):
        values = np.full((2, 3), 0.1, dtype=np.float32)
        assert not z_scores(values, np.array([True, True, False])).any()
        assert not z_scores(values, np.zeros(3, dtype=bool)).any()


class TestEase:
    @pytest.mark.parametrize("ridge", [0.5, 100.0])
    def test_is_the_closed_form_of_the_paper(self, x, ridge):
        p = np.linalg.inv(x.T @ x + ridge * np.eye(N_ITEMS))
        expected = np.eye(N_ITEMS) - p @ np.diag(1 / np.diag(p))
        model = fitted(x, settings("ease", ridge=ridge))
        np.testing.assert_allclose(model.weights, expected, rtol=1e-5, atol=1e-7)
        assert not np.diag(model.weights).any()
        assert model.weights.flags.c_contiguous, "else every block of users copies the whole table"
        np.testing.assert_allclose(everybody(model), x @ expected, rtol=1e-5, atol=1e-6)

    def test_is_the_minimum_of_the_papers_objective(self, x):
        """Its gradient XᵀXB - XᵀX + λB vanishes off the diagonal, where B is free."""
        b = fitted(x, settings("ease", ridge=2.0)).weights.astype(float)
        gradient = x.T @ x @ b - x.T @ x + 2.0 * b
        assert np.abs(gradient - np.diag(np.diag(gradient))).max() < 1e-5

    def test_a_catalogue_that_does_not_fit_is_refused(self):
        ease.refuse_too_many(1000, 24 * 1000**2)
        ease.refuse_too_many(10**7, 0)
        message = r"200,000 items take 894\.1 GiB(.|\n)*16\.0 GiB of memory, enough for 26,754 items(.|\n)*item-knn"
        with pytest.raises(ConfigError, match=message):
            ease.refuse_too_many(200_000, 2**34)


@pytest.mark.parametrize("name", NAMES)
class TestAll:
    def test_is_a_scorer_whose_scores_may_be_overwritten(self, x, texts, name):
        model = fitted(x, settings(name), texts)
        assert isinstance(model, Scorer)
        before = everybody(model)
        model.scores(torch.arange(3)).fill_(-7)
        assert np.array_equal(everybody(model), before)

    def test_permuted_users_and_items_permute_the_scores(self, x, texts, name):
        # All neighbours are kept: at the end of a shorter list equal similarities are told apart by code.
        rng = np.random.default_rng(2)
        users, items = rng.permutation(N_USERS), rng.permutation(N_ITEMS)
        if name == "sequential-rules":
            items = np.sort(items)  # histories are in the order of codes here, and that counts
        moved = TextInputs(texts.items[items], texts.items_known[items])
        config = settings(name, ridge=3.0)
        expected = everybody(fitted(x, config, texts))[np.ix_(users, items)]
        found = everybody(fitted(x[np.ix_(users, items)], config, moved))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        assert found.std() > 1e-3

    def test_restored_from_its_tensors_it_scores_the_same(self, x, texts, name):
        model = fitted(x, settings(name, k=3), texts)
        users, items = (codes.astype(np.int32) for codes in np.nonzero(x))
        other = build_model(build_graph(users, items, *x.shape), texts, settings(name, k=3), seed=0)
        other.restore(model.tensors())
        assert np.array_equal(everybody(other), everybody(model))
        assert torch.equal(other.similar(4), model.similar(4))
        assert np.array_equal(other.of_item(4, block=7).numpy(), everybody(model)[:, 4])

    def test_tensors_of_another_catalogue_are_refused(self, x, texts, name):
        model = fitted(x, settings(name), texts)
        smaller = fitted(x[:, :-1], settings(name), TextInputs(texts.items[:-1], texts.items_known[:-1]))
        for tensors in (smaller.tensors(), {}):
            with pytest.raises(RunError, match=r"do not belong together(.|\n)*12 items"):
                model.restore(tensors)


def test_the_interaction_matrix_is_the_graphs(example):
    assert np.array_equal(interaction_matrix(example.graph).toarray(), example.adjacency)
