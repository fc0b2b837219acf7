"""A few more epochs on what has become known: from the measured model, with what validation chose."""

from __future__ import annotations

import pytest
import torch

from recmind.model.graph import build_graph
from recmind.model.recmind import RecMind
from recmind.training.catching_up import SLOWER, catch_up, train_anew
from recmind.training.trainer import Trainer


@pytest.fixture
def made(random_split, text_inputs, settings):
    """A model on all interactions of a split, with settings; the same one each time."""

    def make(name: str = "recmind", **overrides):
        config = settings(**{"model.popularity": True, **overrides})
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
    catch_up(model, known, config, epochs=2)
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
    catch_up(model, known, config, epochs=2, popularity_factor=0.25)
    whole, _, _ = made()
    catch_up(whole, known, config, epochs=2)
    assert model.popularity.item() == 0.125
    for name, value in whole.state_dict().items():
        assert torch.equal(model.state_dict()[name], value) == (name != "popularity"), name


def test_the_loss_does_not_see_how_popular_items_are_at_least_and_lists_do(made):
    model, known, config = made()
    model.popularity_floor.fill_(40.0)
    catch_up(model, known, config, epochs=2)
    whole, _, _ = made()
    catch_up(whole, known, config, epochs=2)
    for name, value in whole.state_dict().items():
        assert torch.equal(model.state_dict()[name], value) == (name != "popularity_floor"), name
    assert model.popularity_floor.item() == 40.0
    assert (model.popularities() == 1).all()


def test_of_several_temperatures_the_first_counts(made):
    found = []
    for temperature in (0.3, [0.3, 0.1], [0.1, 0.3]):
        model, known, config = made(**{"training.temperature": temperature, "training.loss": "softmax"})
        catch_up(model, known, config, epochs=2)
        found.append(model.state_dict())
    assert all(torch.equal(found[0][name], value) for name, value in found[1].items())
    assert any(not torch.equal(found[0][name], value) for name, value in found[2].items())


def test_no_warm_up_and_no_calibration_again(made):
    states = []
    for more in ({}, {"training.warmup_epochs": 3, "training.calibrate": True, "training.max_epochs": 50}):
        model, known, config = made(**more)
        model.keep_weight("recent").fill_(2.0)
        catch_up(model, known, config, epochs=2)
        assert float(model.weight_of("recent")) == 2.0
        states.append(model.state_dict())
    assert all(torch.equal(states[0][name], value) for name, value in states[1].items())


def test_anew_is_the_training_of_a_new_model_with_all_that_is_known(made):
    """Warm-up and step size are the recipe's; what validation chose is taken over when training is over."""
    model, known, config = made(**{"training.warmup_epochs": 1})
    model.keep_weight("recent")
    chosen = {"rho": torch.tensor(2.0), "popularity_floor": torch.tensor(7.0), "free": torch.zeros_like(model.free)}
    assert {"rho", "popularity_floor"} <= {*model.state_dict()} & {*model.chosen}
    train_anew(model, known, config, epochs=3, chosen=chosen, popularity_factor=0.25)
    other, _, _ = made()
    other.keep_weight("recent")
    whole = {"max_epochs": 3, "warmup_epochs": 1, "calibrate": False}
    config = config.model_copy(update={"training": config.training.model_copy(update=whole)})
    Trainer(other, known, config, validate=None, show_progress=False).fit()
    changed = {name for name, value in other.state_dict().items() if not torch.equal(model.state_dict()[name], value)}
    assert changed == {"rho", "popularity_floor", "popularity"}
    assert model.popularity.item() == pytest.approx(0.25 * other.popularity.item())
    assert (float(model.weight_of("recent")), model.popularity_floor.item()) == (2.0, 7.0)
