"""What is chosen on the validation part when training is over."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from recmind.config import load_config
from recmind.model.baselines.lightgcn import LightGCN
from recmind.model.graph import build_graph
from recmind.model.language_view import TextInputs
from recmind.model.recmind import RecMind
from recmind.model.registry import build_model
from recmind.training.calibration import POPULARITY, RECENT, TRANSITIONS, calibrate, foreseen


@pytest.fixture
def model() -> RecMind:
    graph = build_graph(np.array([0, 0, 1], np.int32), np.array([0, 1, 1], np.int32), 2, 3)
    config = load_config("default", overrides={"model.dim": 4}).model
    made = RecMind(graph, TextInputs(torch.randn(3, 4), torch.ones(3, dtype=torch.bool)), config)
    assert made.popularity is not None
    with torch.no_grad():
        made.popularity.fill_(2.0)
    return made


def metric(model: RecMind, of_recent: Callable[[float], float], of_popularity: Callable[[float], float]):
    assert model.popularity is not None
    popularity = model.popularity
    return lambda: of_recent(float(model.recent_weight)) + of_popularity(popularity.item() / 2.0)


@pytest.mark.parametrize("best", RECENT)
@pytest.mark.parametrize("factor", POPULARITY)
def test_the_best_values_are_found_and_set(model: RecMind, best: float, factor: float):
    value = metric(model, lambda w: 1 - abs(w - best), lambda c: -abs(c - factor))
    found = calibrate(model, value)
    assert found["recent_weight"] == best == pytest.approx(float(model.recent_weight))
    assert found["popularity_factor"] == factor
    assert model.popularity is not None
    assert model.popularity.item() == pytest.approx(2.0 * factor)
    assert found["after"] == pytest.approx(value()) and found["after"] >= found["before"]


@pytest.mark.parametrize("best", TRANSITIONS)
def test_what_came_next_is_weighed_too(model: RecMind, best: float):
    found = calibrate(model, lambda: -abs(model.transition_weight - best) - abs(model.recent_weight - 0.5))
    assert found["transition_weight"] == best == model.transition_weight
    assert found["recent_weight"] == 0.5


def test_the_latest_items_are_weighed_again_beside_what_came_next(model: RecMind):
    # Alone the latest items should count much, with what came next little.
    def value() -> float:
        best = 4.0 if model.transition_weight < 16 else 0.25
        return model.transition_weight - abs(model.recent_weight - best)

    found = calibrate(model, value)
    assert (found["recent_weight"], found["transition_weight"]) == (0.25, TRANSITIONS[-1])


def test_a_model_that_does_not_count_is_not_made_to(model: RecMind):
    model.keep_transition_weight().fill_(0.0)
    found = calibrate(model, lambda: model.transition_weight)
    assert found["transition_weight"] == 0.0 == model.transition_weight


def test_of_equals_the_smaller_weight_and_less_popularity(model: RecMind):
    found = calibrate(model, metric(model, lambda w: 1.0, lambda c: 0.5))
    assert (found["recent_weight"], found["popularity_factor"]) == (0.0, POPULARITY[-1])


def test_without_a_popularity_term(model: RecMind):
    model.popularity = None
    found = calibrate(model, lambda: float(model.recent_weight))
    assert (found["recent_weight"], found["popularity_factor"]) == (RECENT[-1], 1.0)


def test_a_model_of_the_graph_alone_is_calibrated_too():
    graph = build_graph(np.array([0, 0, 1], np.int32), np.array([0, 1, 1], np.int32), 2, 3)
    model = build_model(graph, None, load_config("default", model="lightgcn").model, seed=0)
    assert isinstance(model, LightGCN)
    found = calibrate(model, lambda: -abs(model.recent_weight - 0.5))
    assert (found["recent_weight"], found["popularity_factor"]) == (0.5, 1.0)
    assert model.state_dict()["rho"] == 0.5


def test_parameters_of_before_there_was_a_weight_can_be_read():
    graph = build_graph(np.array([0, 0, 1], np.int32), np.array([0, 1, 1], np.int32), 2, 3)
    config = load_config("default", model="lightgcn", overrides={"model.recent.weight": 0.25}).model
    model = build_model(graph, None, config, seed=0)
    assert isinstance(model, LightGCN)
    model.load_state_dict({name: value for name, value in model.state_dict().items() if name != "rho"})
    assert model.recent_weight == 0.25


@pytest.mark.parametrize(("weight", "factor"), [(0.5, 1.0), (0.5, 0.5), (4.0, 0.5)])
def test_training_watches_the_best_of_what_calibration_may_come_to(model: RecMind, weight: float, factor: float):
    assert model.popularity is not None
    value = metric(model, lambda w: -abs(w - weight), lambda c: -abs(c - factor))
    assert foreseen(model, value) == pytest.approx(0.0)
    assert (model.recent_weight, model.popularity.item()) == (0.5, 2.0)


@pytest.mark.parametrize("weight", [0.5, 4.0])
def test_without_popularity_training_watches_the_latest_items_alone(model: RecMind, weight: float):
    model.popularity, asked = None, []

    def value() -> float:
        asked.append(model.recent_weight)
        return -abs(model.recent_weight - weight)

    assert foreseen(model, value) == 0.0
    assert (asked, model.recent_weight) == ([0.5, 4.0], 0.5)
