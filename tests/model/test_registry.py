from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch

from recmind.config import ModelConfig, ModelName
from recmind.errors import ConfigError
from recmind.model.language_view import TextInputs
from recmind.model.propagation import propagate
from recmind.model.registry import build_model, model_names, needs_text
from recmind.model.scorer import Scorer
from recmind.model.views import VectorScorer


@pytest.fixture
def texts() -> TextInputs:
    vectors = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
    return TextInputs.from_arrays(vectors, np.array([True] * 6 + [False]))


def test_names_are_those_of_the_settings():
    assert sorted(model_names()) == sorted(get_args(ModelName))


@pytest.mark.parametrize("name", get_args(ModelName))
def test_texts_are_asked_for_where_they_are_read(example, texts, name: str):
    config = ModelConfig(name=name, dim=4)
    if needs_text(name):
        with pytest.raises(ConfigError, match=f"reads texts.*\n.*{name}"):
            build_model(example.graph, None, config, seed=0)
    else:
        assert build_model(example.graph, None, config, seed=0) is not None
    assert build_model(example.graph, texts, config, seed=0).n_items == 7


def test_parameters_depend_on_the_seed_alone(example, texts):
    config = ModelConfig(dim=4)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = build_model(example.graph, texts, config, seed=5).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    second = build_model(example.graph, texts, config, seed=5).state_dict()
    other = build_model(example.graph, texts, config, seed=6).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["free"], other["free"])


class TestPopularity:
    def test_scores_are_training_degrees(self, example):
        model = build_model(example.graph, None, ModelConfig(name="popularity"), seed=0)
        assert isinstance(model, Scorer)
        assert model.scores(torch.tensor([3, 0])).tolist() == [[2, 2, 2, 1, 1, 0, 1]] * 2

    def test_vectors_give_the_same_scores(self, example):
        model = build_model(example.graph, None, ModelConfig(name="popularity"), seed=0)
        users, items = model.vectors()
        assert torch.equal((users @ items.T)[:2], model.scores(torch.tensor([0, 1])))

    def test_the_caller_may_overwrite_scores(self, example):
        model = build_model(example.graph, None, ModelConfig(name="popularity"), seed=0)
        model.scores(torch.tensor([0, 1])).fill_(-1)
        assert model.scores(torch.tensor([0]))[0, 0] == 2


class TestText:
    def test_is_the_propagated_language_view(self, example, texts):
        model = build_model(
            example.graph, texts, ModelConfig(name="text", dim=4, layers=3, precision="float32"), seed=0
        )
        views = model()
        assert torch.equal(model.final(views), propagate(model.language(), example.graph, 3)[0])
        assert views.regularised is None

    def test_a_new_item_gets_what_a_catalogue_item_without_edge_gets(self, example, texts):
        model = build_model(example.graph, texts, ModelConfig(name="text", dim=4, precision="float32"), seed=0)
        new = model.new_items(texts.items[5:6], torch.tensor([True]))
        np.testing.assert_allclose(new[0].detach().numpy(), model().graph[6 + 5].detach().numpy(), rtol=1e-6)


def test_lightgcn_takes_no_new_items(example):
    model = build_model(example.graph, None, ModelConfig(name="lightgcn", dim=4), seed=0)
    with pytest.raises(NotImplementedError):
        model.new_items(torch.zeros(1, 4), torch.tensor([True]))


class TestVectorScorer:
    def test_inner_products(self):
        users = torch.tensor([[1.0, 2.0], [0.5, 0.0]])
        items = torch.tensor([[3.0, 1.0], [0.0, 4.0], [2.0, 2.0]])
        scorer = VectorScorer(users, items)
        assert isinstance(scorer, Scorer)
        assert (scorer.n_users, scorer.n_items) == (2, 3)
        assert scorer.scores(torch.tensor([1, 0, 1])).tolist() == [[1.5, 0, 1], [5, 8, 6], [1.5, 0, 1]]
