from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from recmind.config import AlphaRecConfig, load_config
from recmind.errors import ConfigError
from recmind.model.graph import NodeSubset
from recmind.model.language_view import TextInputs


def context_of_item_2(items: torch.Tensor) -> torch.Tensor:
    """Users 0 and 4 have it; beside it they have items 0 and 1, and item 4."""
    mean = (items[[0, 1]].mean(0) + items[4]) / 2
    return mean / mean.norm()


def by_hand(dense, model, texts) -> torch.Tensor:
    x = dense.vectors(texts.items)
    x[6 + 2] = context_of_item_2(texts.items)
    given = torch.ones(13, 1, dtype=torch.float64)
    given[3] = 0  # a user without an item
    z = dense.leaky_mlp(x, dict(model.named_parameters())) * given
    return dense.mean_of_layers(z, 2)


@pytest.mark.parametrize("missing", ["free", "fallback"])
def test_values_and_gradients_of_the_papers_loss(dense, built, texts, same_gradients, missing: str):
    """Cosines over τ, a positive against sampled negatives."""
    model = built("alpharec", own={"hidden": 1.4}, score="cosine", missing_text=missing)
    assert model.mlp[0].out_features == 7
    found, expected = model.final(model()), functional.normalize(by_hand(dense, model, texts), dim=1)
    np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), rtol=1e-6, atol=1e-9)
    users, items, negatives = torch.tensor([0, 1, 4]), torch.tensor([1, 3, 4]) + 6, torch.tensor([0, 5, 6]) + 6

    def loss(h: torch.Tensor) -> torch.Tensor:
        positive = torch.exp((h[users] * h[items]).sum(1) / 0.15)
        return -torch.log(positive / (positive + torch.exp(h[users] @ h[negatives].T / 0.15).sum(1))).mean()

    same_gradients(model, loss(found), loss(expected))


def test_wanted_nodes_have_the_views_of_the_whole(built):
    model = built("alpharec")
    wanted = NodeSubset.of(13, torch.tensor([0, 5, 8, 12]))
    torch.testing.assert_close(model(None, wanted).graph, model().graph[wanted.nodes])


def test_a_new_item_gets_what_a_catalogue_item_without_edge_gets(built, texts):
    for score in ("dot", "cosine"):
        model = built("alpharec", score=score)
        new = model.new_items(texts.items[5:6], torch.tensor([True]))
        torch.testing.assert_close(new[0], model.final(model())[6 + 5])
    assert not model.new_items(texts.items[5:6], torch.tensor([False])).any()


def test_where_nothing_is_known_there_is_nothing(example, built):
    blank = TextInputs(torch.zeros(7, 5, dtype=torch.float64), torch.zeros(7, dtype=torch.bool))
    model = built("alpharec", inputs=blank, score="cosine")
    assert not model.final(model()).any()


def test_users_with_texts_of_their_own_are_projected_from_them(built, texts):
    about = torch.eye(6, 5, dtype=torch.float64)
    known = torch.tensor([True, True, True, False, True, True])
    model = built("alpharec", inputs=TextInputs(texts.items, texts.items_known, about, known))
    torch.testing.assert_close(model.language()[1], model.mlp(about[1]))
    assert not model.language()[3].any()


def test_settings_of_the_paper_and_refused_ones():
    assert AlphaRecConfig().hidden == 0.5
    config = load_config("default", model="alpharec")
    assert (config.model.layers, config.model.score, config.training.loss) == (2, "cosine", "softmax")
    assert (config.training.n_negatives, config.training.temperature) == (256, 0.15)
    with pytest.raises(ConfigError, match=r"alpharec\.hidden: got 0"):
        load_config("default", overrides=["model.baselines.alpharec.hidden=0"])
