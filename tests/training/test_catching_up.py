"""A few more epochs on what has become known: from the measured model, with what validation chose."""

from __future__ import annotations

import pytest
import torch

from recmind.model.graph import build_graph
from recmind.model.recmind import RecMind
from recmind.training.catching_up import SLOWER, catch_up
from recmind.training.trainer import Trainer


@pytest.fixture
def made(random_split, text_inputs, settings):
    """A model on all interactions of a split, with settings; the same one each time."""

    def make(name: str = "recmind", **overrides):
        config = settings(**{"model.popularity": True, "training.catch_up_epochs": 2, **overrides})
        known = random_split.knowing("valid")
        graph = build_graph(known.train.users, known.train.items, known.n_users, known.n_items)
        torch.manual_seed(5)
        model = RecMind(graph, text_inputs, config.model)
        assert model.popularity is not None
        with torch.no_grad():
            model.popularity.fill_(0.5)
        return model, known, config

    return make


def test_it_is_training_with_smaller_steps_from_where_the_model_is(made):
    model, known, config = made()
    catch_up(model, known, config)
    other, _, _ = made()
    few = {"max_epochs": 2, "learning_rate": config.training.learning_rate * SLOWER}
    config = config.model_copy(update={"training": config.training.model_copy(update=few)})
    Trainer(other, known, config, validate=None, show_progress=False).fit()
    for name, value in other.state_dict().items():
        assert torch.equal(model.state_dict()[name], value) == (name != "popularity"), name
    assert model.popularity.item() == 0.5


def test_the_loss_sees_all_of_the_popularity_and_lists_the_share_that_was_chosen(made):
    model, known, config = made()
    with torch.no_grad():
        model.popularity *= 0.25  # what calibration left of 0.5
    catch_up(model, known, config, popularity_factor=0.25)
    whole, _, _ = made()
    catch_up(whole, known, config)
    assert model.popularity.item() == 0.125
    for name, value in whole.state_dict().items():
        assert torch.equal(model.state_dict()[name], value) == (name != "popularity"), name


def test_the_loss_does_not_see_how_popular_items_are_at_least_and_lists_do(made):
    model, known, config = made()
    model.popularity_floor.fill_(40.0)
    catch_up(model, known, config)
    whole, _, _ = made()
    catch_up(whole, known, config)
    for name, value in whole.state_dict().items():
        assert torch.equal(model.state_dict()[name], value) == (name != "popularity_floor"), name
    assert model.popularity_floor.item() == 40.0
    assert (model.popularities() == 1).all()


def test_of_several_temperatures_the_first_counts(made):
    found = []
    for temperature in (0.3, [0.3, 0.1], [0.1, 0.3]):
        model, known, config = made(**{"training.temperature": temperature, "training.loss": "softmax"})
        catch_up(model, known, config)
        found.append(model.state_dict())
    assert all(torch.equal(found[0][name], value) for name, value in found[1].items())
    assert any(not torch.equal(found[0][name], value) for name, value in found[2].items())


def test_no_warm_up_and_no_calibration_again(made):
    states = []
    for more in ({}, {"training.warmup_epochs": 3, "training.calibrate": True, "training.max_epochs": 50}):
        model, known, config = made(**more)
        model.keep_weight("recent").fill_(2.0)
        catch_up(model, known, config)
        assert float(model.weight_of("recent")) == 2.0
        states.append(model.state_dict())
    assert all(torch.equal(states[0][name], value) for name, value in states[1].items())
