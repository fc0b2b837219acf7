"""The temperature that short trainings choose."""

from __future__ import annotations

from typing import Any

import pytest

from recmind.config import Config
from recmind.training.pilots import Pilot, chosen, fly
from recmind.training.trainer import Fitted

VALUES = {0.2: 0.5, 0.1: 0.7, 0.4: 0.7}


@pytest.fixture
def config(settings) -> Config:
    return settings(**{"training.temperature": list(VALUES), "training.pilot_epochs": 2, "training.calibrate": True})


class Fit:
    """Notes the settings that it is asked to train, and gives each temperature its value."""

    def __init__(self) -> None:
        self.asked: list[Config] = []

    def __call__(self, config: Config) -> Fitted:
        self.asked.append(config)
        return Fitted(2, VALUES[config.training.temperatures[0]], 1.5, [])


def test_each_temperature_gets_the_same_short_training(config: Config):
    fit, notes = Fit(), []
    pilots = fly(config, fit, [], notes.append)
    assert [pilot.temperature for pilot in pilots] == list(VALUES)
    assert [pilot.value for pilot in pilots] == list(VALUES.values())
    assert [len(rows) for rows in notes] == [1, 2, 3]
    assert notes[-1] == [vars(pilot) for pilot in pilots]
    for asked, temperature in zip(fit.asked, VALUES, strict=True):
        told = {"temperature": temperature, "max_epochs": 2}
        assert asked == config.model_copy(update={"training": config.training.model_copy(update=told)})


def test_a_pilot_is_no_longer_than_the_training(config: Config):
    fit = Fit()
    training = config.training.model_copy(update={"max_epochs": 1})
    fly(config.model_copy(update={"training": training}), fit, [], lambda rows: None)
    assert {asked.training.max_epochs for asked in fit.asked} == {1}


def test_what_was_flown_before_an_interruption_is_not_flown_again(config: Config):
    fit, known = Fit(), [Pilot(0.1, 1, 0.9, 3.0)]
    pilots = fly(config, fit, known, lambda rows: None)
    assert [asked.training.temperature for asked in fit.asked] == [0.2, 0.4]
    assert {pilot.temperature: pilot.value for pilot in pilots} == {0.1: 0.9, 0.2: 0.5, 0.4: 0.7}


def test_the_best_is_chosen_and_of_equals_the_first(config: Config):
    found = chosen(config, fly(config, Fit(), [], lambda rows: None))
    assert found.training.temperature == 0.1
    assert found.model_dump(exclude={"training": {"temperature"}}) == config.model_dump(
        exclude={"training": {"temperature"}}
    )


@pytest.mark.parametrize(("given", "list_of"), [(0.3, (0.3,)), ([0.3, 0.1], (0.3, 0.1))])
def test_one_temperature_is_a_list_of_one(settings, given: Any, list_of: tuple[float, ...]):
    assert settings(**{"training.temperature": given}).training.temperatures == list_of
