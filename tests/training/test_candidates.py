"""What is chosen by training with each: temperatures, and whether there is a sequence encoder."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from recmind.config import Config, load_config
from recmind.training.candidates import (
    Candidate,
    Tried,
    asks_for_order,
    best_of,
    first_candidates,
    fit_best,
    standard_error,
)
from recmind.training.trainer import Fitted

THREE = [Candidate(0.2), Candidate(0.1), Candidate(0.4)]
VALUES = dict(zip(THREE, (0.5, 0.7, 0.7), strict=True))


def config(**changes: Any) -> Config:
    given = {"training.temperature": [0.2, 0.1, 0.4], "model.sequence.optional": False, **changes}
    return load_config("default", model="recmind", overrides=given)


class Fit:
    """Gives each candidate its value, and itself as the model."""

    def __init__(self, calibrated: bool = False, **more: float) -> None:
        self.calibrated, self.asked = calibrated, []
        self.values = VALUES | {Candidate(float(t[1:]) / 10, sequence=False): value for t, value in more.items()}

    def __call__(self, candidate: Candidate) -> tuple[Candidate, Fitted]:
        self.asked.append(candidate)
        value = self.values[candidate]
        after = {"before": 0.0, "after": value} if self.calibrated else None
        return candidate, Fitted(3, 0.1 if self.calibrated else value, 1.5, [], after)

    def of_users(self, candidate: Candidate) -> np.ndarray:
        """Of two users, as far apart from the others' as the temperature is large."""
        return self.values[candidate] + np.array([candidate.temperature, -candidate.temperature])

    def best(self, settings: Config, known: list[Tried], best: np.ndarray | None = None, notes: Any = None) -> Any:
        noted = [] if notes is None else notes
        return fit_best(settings, self, self.of_users, known, best, lambda *both: noted.append(both))


@pytest.mark.parametrize("calibrated", [False, True])
def test_each_is_trained_and_the_first_of_the_best_is_kept(calibrated: bool):
    fit, notes = Fit(calibrated), []
    kept, tried = fit.best(config(), [], notes=notes)
    assert fit.asked == THREE
    assert kept is not None and kept[0] == Candidate(0.1) and kept[1].best_epoch == 3
    assert tried == [Tried(candidate, 3, value, 1.5) for candidate, value in VALUES.items()]
    assert notes == [(tried[:1], None), (tried[:2], None), (tried, None)]  # nothing to compare users for


class Apart(Fit):
    """Users to whom order makes a difference of ``apart`` more or less."""

    def __init__(self, value: float, apart: float) -> None:
        super().__init__(t1=value)
        self.apart = apart

    def of_users(self, candidate: Candidate) -> np.ndarray:
        more = np.array([1, 1, -1, -1]) * (0.0 if candidate.sequence else self.apart)
        return self.values[candidate] + candidate.temperature * np.array([3.0, -3.0, 5.0, -5.0]) + more


@pytest.mark.parametrize(
    ("value", "apart", "best"),
    [
        (0.8, 0.0, False),
        (0.7, 0.0, True),
        (0.6, 0.0, True),
        (0.8, 9.0, False),
        (0.6, 0.17, True),  # of four users ±0.17 has a standard error of 0.098
        (0.6, 0.18, False),  # and ±0.18 one of 0.104
    ],
)
def test_the_best_temperature_is_trained_without_order_too_and_order_goes_where_it_is_not_clearly_better(
    value: float, apart: float, best: bool
):
    fit = Apart(value, apart)
    kept, tried = fit.best(config(**{"model.sequence.optional": True}), [])
    assert tried[-1].noise == pytest.approx(apart / 3**0.5, abs=1e-12)
    assert not any(one.noise for one in tried[:-1])
    assert fit.asked == [*THREE, Candidate(0.1, sequence=False)]
    assert best_of(tried) == Candidate(0.1, sequence=best)
    assert kept is not None and kept[0] == best_of(tried)


def test_what_was_tried_before_an_interruption_is_not_tried_again():
    fit = Fit()
    kept, tried = fit.best(config(), [Tried(THREE[0], 1, 0.6, 3.0)])
    assert fit.asked == THREE[1:]
    assert kept is not None and kept[0] == Candidate(0.1)
    assert {one.candidate: one.value for one in tried} == {**VALUES, THREE[0]: 0.6}


@pytest.mark.parametrize("known", [[1], [1, 0], [1, 0, 2]])
def test_of_a_best_one_that_was_lost_nothing_is_kept(known: list[int]):
    before = [Tried(THREE[at], 3, 0.9 if at == 1 else 0.5, 1.0) for at in known]
    kept, tried = Fit().best(config(), before)
    assert kept is None and best_of(tried) == Candidate(0.1)


@pytest.mark.parametrize("value", [0.8, 0.6])
def test_interrupted_before_order_was_asked_about(value: float):
    known = [Tried(candidate, 3, value, 1.5) for candidate, value in VALUES.items()]
    fit = Fit(t1=value)
    kept, tried = fit.best(config(**{"model.sequence.optional": True}), known)
    assert fit.asked == [Candidate(0.1, sequence=False)]
    assert (kept is not None) == (value == 0.8) and len(tried) == 4


@pytest.mark.parametrize("done", [0, 1, 2, 3])
@pytest.mark.parametrize("apart", [0.17, 0.18])
def test_an_interruption_changes_no_decision(done: int, apart: float):
    settings, notes = config(**{"model.sequence.optional": True}), []
    _, whole = Apart(0.6, apart).best(settings, [], notes=notes)
    known, best = notes[done - 1] if done else ([], None)
    fit = Apart(0.6, apart)
    _, tried = fit.best(settings, list(known), best)
    assert len(fit.asked) == 4 - done and tried == whole


def test_standard_error_by_hand():
    assert standard_error(np.array([1.0, 2.0, 4.0, 5.0])) == pytest.approx((10 / 3) ** 0.5 / 2)
    assert standard_error(np.array([3.0])) == standard_error(np.empty(0)) == 0.0


@pytest.mark.parametrize(("given", "first"), [(0.3, [0.3]), ([0.3, 0.1], [0.3, 0.1])])
def test_one_temperature_is_a_list_of_one(given: Any, first: list[float]):
    assert first_candidates(config(**{"training.temperature": given})) == [Candidate(t) for t in first]


def test_settings_of_a_candidate_leave_nothing_to_choose():
    open_ones = {"training.temperature": [0.3, 0.1], "model.sequence.optional": True}
    with_it = config(**{"training.temperature": 0.7})
    without = config(**{"training.temperature": 0.7, "model.sequence.weight": 0.0})
    assert Candidate(0.7).applied(config(**open_ones)) == with_it
    assert Candidate(0.7, sequence=False).applied(config(**open_ones)) == without
    assert not asks_for_order(with_it) and not asks_for_order(without)


@pytest.mark.parametrize(
    ("changes", "asks"),
    [({}, True), ({"model.sequence.weight": 0.0}, False), ({"model.sequence.optional": False}, False)],
)
def test_when_order_is_asked_about(changes: dict[str, Any], asks: bool):
    assert asks_for_order(load_config("default", model="recmind", overrides=changes)) == asks
    assert not asks_for_order(load_config("default", model="lightgcn", overrides=changes))
    assert not asks_for_order(load_config("paper", model="recmind", overrides=changes))


@pytest.mark.parametrize("sequence", [True, False])
def test_a_row_of_json_says_it_all(sequence: bool):
    tried = Tried(Candidate(0.15, sequence), 8, 0.123, 4.5, 0.0 if sequence else 0.002)
    assert Tried.of(json.loads(json.dumps(tried.to_json()))) == tried


def test_in_words():
    assert [str(Candidate(0.15)), str(Candidate(0.2, sequence=False))] == [
        "temperature 0.15",
        "temperature 0.2, without order",
    ]
