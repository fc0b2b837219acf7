"""The temperature that is chosen by training with each."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from recmind.training.temperatures import Tried, fit_best, with_temperature
from recmind.training.trainer import Fitted

VALUES = {0.2: 0.5, 0.1: 0.7, 0.4: 0.7}


class Fit:
    """Moves the model to the temperature, from zero, and gives each temperature its value."""

    def __init__(self, model: torch.nn.Linear, calibrated: bool = False) -> None:
        self.model, self.calibrated, self.asked = model, calibrated, []

    @torch.no_grad()
    def __call__(self, temperature: float) -> Fitted:
        assert self.model.weight.item() == 0.0, "not from the same start"
        self.asked.append(temperature)
        self.model.weight.fill_(temperature)
        after = {"before": 0.0, "after": VALUES[temperature]} if self.calibrated else None
        return Fitted(3, 0.1 if self.calibrated else VALUES[temperature], 1.5, [], after)


@pytest.fixture
def model() -> torch.nn.Linear:
    made = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(made.weight)
    return made


@pytest.mark.parametrize("calibrated", [False, True])
def test_each_is_trained_from_the_same_start_and_the_first_of_the_best_is_kept(
    model: torch.nn.Linear, calibrated: bool
):
    fit, notes = Fit(model, calibrated), []
    best, fitted, tried = fit_best(model, list(VALUES), fit, [], lambda rows: notes.append(list(rows)))
    assert fit.asked == list(VALUES)
    assert best == 0.1 and model.weight.item() == pytest.approx(0.1)
    assert fitted is not None and fitted.best_epoch == 3
    assert tried == [Tried(temperature, 3, value, 1.5) for temperature, value in VALUES.items()]
    assert notes == [tried[:1], tried[:2], tried]


def test_what_was_tried_before_an_interruption_is_not_tried_again(model: torch.nn.Linear):
    fit = Fit(model)
    best, fitted, tried = fit_best(model, list(VALUES), fit, [Tried(0.2, 1, 0.6, 3.0)], lambda rows: None)
    assert fit.asked == [0.1, 0.4]
    assert best == 0.1 and fitted is not None and model.weight.item() == pytest.approx(0.1)
    assert {one.temperature: one.value for one in tried} == {0.2: 0.6, 0.1: 0.7, 0.4: 0.7}


@pytest.mark.parametrize("known", [[0.1], [0.1, 0.2], [0.1, 0.2, 0.4]])
def test_of_a_best_one_that_was_lost_the_start_is_left(model: torch.nn.Linear, known: list[float]):
    before = [Tried(temperature, 3, 0.9 if temperature == 0.1 else 0.5, 1.0) for temperature in known]
    best, fitted, _ = fit_best(model, list(VALUES), Fit(model), before, lambda rows: None)
    assert (best, fitted, model.weight.item()) == (0.1, None, 0.0)


@pytest.mark.parametrize(("given", "list_of"), [(0.3, (0.3,)), ([0.3, 0.1], (0.3, 0.1))])
def test_one_temperature_is_a_list_of_one(settings, given: Any, list_of: tuple[float, ...]):
    config = settings(**{"training.temperature": given})
    assert config.training.temperatures == list_of
    assert with_temperature(config, 0.7) == settings(**{"training.temperature": 0.7})
