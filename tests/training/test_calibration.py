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
from recmind.training.calibration import FLOORS, POPULARITY, RECENT, SEQUENCE, TRANSITIONS, calibrate, foreseen


@pytest.fixture
def model() -> RecMind:
    # 100 users have item 1, the first one item 0 too.
    graph = build_graph(np.array([0, *range(100)], np.int32), np.array([0, *[1] * 100], np.int32), 100, 3)
    config = load_config("default", overrides={"model.dim": 4}).model
    made = RecMind(graph, TextInputs(torch.randn(3, 4), torch.ones(3, dtype=torch.bool)), config)
    assert made.popularity is not None
    with torch.no_grad():
        made.popularity.fill_(2.0)
    return made


def metric(model: RecMind, of_recent: Callable[[float], float], of_popularity: Callable[[float], float]):
    assert model.popularity is not None
    popularity = model.popularity
    return lambda: of_recent(float(model.weight_of("recent"))) + of_popularity(popularity.item() / 2.0)


@pytest.mark.parametrize("best", RECENT)
@pytest.mark.parametrize("factor", POPULARITY)
def test_the_best_values_are_found_and_set(model: RecMind, best: float, factor: float):
    value = metric(model, lambda w: 1 - abs(w - best), lambda c: -abs(c - factor))
    found = calibrate(model, value)
    assert found["recent_weight"] == best == pytest.approx(float(model.weight_of("recent")))
    assert found["popularity_factor"] == factor
    assert model.popularity is not None
    assert model.popularity.item() == pytest.approx(2.0 * factor)
    assert found["after"] == pytest.approx(value()) and found["after"] >= found["before"]


@pytest.mark.parametrize("best", TRANSITIONS)
def test_what_came_next_is_weighed_too(model: RecMind, best: float):
    found = calibrate(model, lambda: -abs(model.weight_of("transitions") - best) - abs(model.weight_of("recent") - 0.5))
    assert found["transition_weight"] == best == model.weight_of("transitions")
    assert found["recent_weight"] == 0.5


@pytest.mark.parametrize("best", SEQUENCE)
def test_histories_in_order_are_weighed_too(model: RecMind, best: float):
    found = calibrate(model, lambda: -abs(model.weight_of("sequence") - best) - abs(model.weight_of("recent") - 0.5))
    assert found["sequence_weight"] == best == model.weight_of("sequence") == model.state_dict()["rho_s"]
    assert found["recent_weight"] == 0.5


def test_histories_in_order_are_weighed_again_beside_the_latest_items(model: RecMind):
    # As long as the latest items count as in the recipe the order should count much, and then nothing.
    def value() -> float:
        recent = model.weight_of("recent")
        best = 4.0 if recent == 0.5 else 0.0
        return (recent - 1) * (recent != 0.5) - abs(model.weight_of("sequence") - best) / 2

    found = calibrate(model, value)
    assert (found["sequence_weight"], found["recent_weight"]) == (0.0, RECENT[-1])


def test_a_model_that_does_not_read_in_order_is_not_made_to():
    graph = build_graph(np.array([0, 0, 1], np.int32), np.array([0, 1, 1], np.int32), 2, 3)
    config = load_config("default", overrides={"model.dim": 4, "model.sequence.weight": 0.0}).model
    model = build_model(graph, TextInputs(torch.randn(3, 4), torch.ones(3, dtype=torch.bool)), config, seed=0)
    assert isinstance(model, RecMind)
    assert "sequence_weight" not in calibrate(model, lambda: model.weight_of("sequence"))
    assert "rho_s" not in model.state_dict()


def test_one_pass_serves_all_weights(model: RecMind):
    standing = model.standing()
    model.keep_weight("sequence").fill_(0.5)
    model.keep_weight("recent").fill_(2.0)
    assert model.popularity is not None
    with torch.no_grad():
        model.popularity.fill_(0.3)
    assert torch.equal(model.vectors(standing), model.vectors())
    assert torch.equal(model.scorer(standing).scores(torch.tensor([0, 1])), model.scorer().scores(torch.tensor([0, 1])))


def test_it_goes_round_until_nothing_changes_and_asks_nothing_twice(model: RecMind):
    # What the latest items should count depends on the floor, which is chosen last.
    asked = []

    def value() -> float:
        assert model.popularity is not None
        floor = float(model.popularity_floor)
        asked.append((*map(model.weight_of, model.weighed), model.popularity.item(), floor))
        return min(floor, 20.0) - 3 * max(0.0, floor - 20.0) - abs(model.weight_of("recent") - floor / 10)

    found = calibrate(model, value)
    assert (found["popularity_floor"], found["recent_weight"]) == (20.0, 2.0)
    assert len(asked) == len(set(asked))
    # The best is among them, and it was found by a change of one number at a time.
    assert found["after"] == 20.0 == value()


def test_the_latest_items_are_weighed_again_beside_what_came_next(model: RecMind):
    # Alone the latest items should count much, with what came next little.
    def value() -> float:
        best = 4.0 if model.weight_of("transitions") < 16 else 0.25
        return model.weight_of("transitions") - abs(model.weight_of("recent") - best)

    found = calibrate(model, value)
    assert (found["recent_weight"], found["transition_weight"]) == (0.25, TRANSITIONS[-1])


def test_a_model_that_does_not_count_is_not_made_to(model: RecMind):
    model.keep_weight("transitions").fill_(0.0)
    found = calibrate(model, lambda: model.weight_of("transitions"))
    assert found["transition_weight"] == 0.0 == model.weight_of("transitions")


@pytest.mark.parametrize("best", FLOORS)
def test_how_popular_an_item_is_at_least(model: RecMind, best: float):
    found = calibrate(model, lambda: -abs(float(model.popularity_floor) - best))
    assert found["popularity_floor"] == best == float(model.popularity_floor) == model.state_dict()["popularity_floor"]


@pytest.mark.parametrize(("most", "largest"), [(20, 12.0), (3, 0.0)])
def test_popularity_still_tells_the_most_popular_items_from_the_rest(most: int, largest: float):
    users = np.array([0, *range(most)], np.int32)
    graph = build_graph(users, np.array([0, *[1] * most], np.int32), most, 3)
    config = load_config("default", overrides={"model.dim": 4}).model
    made = RecMind(graph, TextInputs(torch.randn(3, 4), torch.ones(3, dtype=torch.bool)), config)
    assert calibrate(made, lambda: float(made.popularity_floor))["popularity_floor"] == largest
    assert made.popularities()[1] > made.popularities()[0]


def test_of_equals_the_smaller_weight_and_less_popularity(model: RecMind):
    found = calibrate(model, metric(model, lambda w: 1.0, lambda c: 0.5))
    assert (found["recent_weight"], found["popularity_factor"]) == (0.0, POPULARITY[-1])
    assert found["popularity_floor"] == FLOORS[-1]


def test_without_a_popularity_term(model: RecMind):
    model.popularity = None
    found = calibrate(model, lambda: float(model.weight_of("recent")))
    assert (found["recent_weight"], found["popularity_factor"]) == (RECENT[-1], 1.0)
    assert "popularity_floor" not in found


def test_a_model_of_the_graph_alone_is_calibrated_too():
    graph = build_graph(np.array([0, 0, 1], np.int32), np.array([0, 1, 1], np.int32), 2, 3)
    model = build_model(graph, None, load_config("default", model="lightgcn").model, seed=0)
    assert isinstance(model, LightGCN)
    found = calibrate(model, lambda: -abs(model.weight_of("recent") - 0.5))
    assert (found["recent_weight"], found["popularity_factor"]) == (0.5, 1.0)
    assert model.state_dict()["rho"] == 0.5


def test_parameters_of_before_there_was_a_weight_can_be_read():
    graph = build_graph(np.array([0, 0, 1], np.int32), np.array([0, 1, 1], np.int32), 2, 3)
    config = load_config("default", model="lightgcn", overrides={"model.recent.weight": 0.25}).model
    model = build_model(graph, None, config, seed=0)
    assert isinstance(model, LightGCN)
    model.load_state_dict({name: value for name, value in model.state_dict().items() if name != "rho"})
    assert model.weight_of("recent") == 0.25


@pytest.mark.parametrize(("weight", "factor"), [(0.5, 1.0), (0.5, 0.5), (4.0, 0.5)])
def test_training_watches_the_best_of_what_calibration_may_come_to(model: RecMind, weight: float, factor: float):
    assert model.popularity is not None
    value = metric(model, lambda w: -abs(w - weight), lambda c: -abs(c - factor))
    assert foreseen(model, value) == pytest.approx(0.0)
    assert (model.weight_of("recent"), model.popularity.item()) == (0.5, 2.0)


@pytest.mark.parametrize("weight", [0.5, 4.0])
def test_without_popularity_training_watches_the_latest_items_alone(model: RecMind, weight: float):
    model.popularity, asked = None, []

    def value() -> float:
        asked.append(model.weight_of("recent"))
        return -abs(model.weight_of("recent") - weight)

    assert foreseen(model, value) == 0.0
    assert (asked, model.weight_of("recent")) == ([0.5, 4.0], 0.5)
