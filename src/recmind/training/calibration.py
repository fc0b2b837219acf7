"""Five numbers that training cannot learn, chosen on the validation part when it is over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch

from recmind.model.recmind import RecMind
from recmind.model.views import GraphModel, Weighed

SEQUENCE: Final = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
"""ρ_S that are tried, where the model reads histories in order (`model.sequence.weight`)."""
RECENT: Final = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
"""ρ that are tried: how much a user's latest items count (`model.recent.weight`)."""
TRANSITIONS: Final = (0.0, 4.0, 8.0, 16.0, 32.0, 64.0)
"""σ that are tried, where the model counts what came next (`model.transitions.weight`)."""
POPULARITY: Final = (1.0, 0.85, 0.7, 0.55, 0.4, 0.25)
"""Factors of w that are tried: how much of the learnt popularity counts."""
FLOORS: Final = (0.0, 3.0, 5.0, 8.0, 12.0, 20.0, 40.0, 80.0)
"""f that are tried, up to the most that an item has: with fewer interactions an item counts as popular as with so
many."""
_ROUNDS: Final = 3
"""How often each is chosen at most, beside the others as they have become."""
_WEIGHTS: Final[dict[Weighed, tuple[str, tuple[float, ...]]]] = {
    "sequence": ("sequence_weight", SEQUENCE),
    "recent": ("recent_weight", RECENT),
    "transitions": ("transition_weight", TRANSITIONS),
}


@dataclass
class _Number:
    """One of the numbers: what is tried, and what it is."""

    name: str
    values: tuple[float, ...]
    put: Callable[[float], object]
    now: float
    larger: bool = False
    """Of equals the larger one is taken, else the smaller."""

    def set(self, value: float) -> None:
        """Let it be ``value``."""
        self.put(value)
        self.now = value


@torch.no_grad()
def calibrate(model: GraphModel, value: Callable[[], float]) -> dict[str, float]:
    """Set ρ_S, ρ, σ, w and f to what validation prefers.

    The training loss sees a user's items all at once and the items of the
    catalogue among them: what came last, and that a user does not buy the
    bestsellers again, it cannot see. And it cannot weigh what a history says in
    its order against what it says as a whole, each having a loss of its own.

    One after the other, each beside the others as they are, and again until
    nothing changes or three rounds are over: where histories are read in order
    ρ_S is the best of :data:`SEQUENCE`, then ρ of :data:`RECENT`, and where the
    model counts what came next σ of :data:`TRANSITIONS`, of equals the smaller
    one. Then w takes the best factor of :data:`POPULARITY`, of equals the smaller
    one: popularity is what keeps rare items out of the lists, so no more of it
    than pays. Last f, the best of :data:`FLOORS`, of equals the larger one:
    few interactions say little about how many are to come. Where an item has
    at most a handful of them, w d̃_i would take a wrong estimate for a fact, and
    lists would hardly ever have it.

    How fast the weight of the latest items falls is not chosen here: validation
    would put nearly all of it on the very last one, which stands right before
    the validation item, but not right before what is tested or bought next.

    Parameters
    ----------
    value:
        The validation metric of the model as it stands; higher is better.

    Returns
    -------
    dict
        ``sequence_weight`` where histories are read in order, ``recent_weight``, ``transition_weight``,
        ``popularity_factor``, where there is a popularity term ``popularity_floor``, and the metric ``before`` and
        ``after``.
    """
    numbers, known = _numbers(model), dict[tuple[float, ...], float]()

    def measured() -> float:
        now = tuple(number.now for number in numbers)
        if now not in known:
            known[now] = value()
        return known[now]

    before = measured()
    for _ in range(_ROUNDS):
        stood = [number.now for number in numbers]
        for number in numbers:
            _choose(number, measured)
        if [number.now for number in numbers] == stood:
            break
    return {
        "recent_weight": model.weight_of("recent"),
        "transition_weight": model.weight_of("transitions"),
        "popularity_factor": 1.0,
        **{number.name: number.now for number in numbers},
        "before": before,
        "after": measured(),
    }


@torch.no_grad()
def foreseen(model: GraphModel, value: Callable[[], float]) -> float:
    """The metric that calibration is likely to come to: the best with ρ and w as they are, with half of w, and with
    half of w and the largest ρ.

    For early stopping. As training goes on, w grows and the vectors get better;
    watched with the whole w, training would stop where the first outweighs the
    second, though calibration is about to take much of w away again. Where the
    latest items count most, it is the items' vectors that matter and not the
    users', and these are best at another epoch.
    """
    found, rho = value(), model.keep_weight("recent")
    weight = rho.clone()
    if isinstance(model, RecMind) and model.popularity is not None:
        learnt = model.popularity.clone()
        model.popularity.copy_(0.5 * learnt)
        found = max(found, value())
        rho.fill_(RECENT[-1])
        found = max(found, value())
        model.popularity.copy_(learnt)
    else:
        rho.fill_(RECENT[-1])
        found = max(found, value())
    rho.copy_(weight)
    return found


def _numbers(model: GraphModel) -> list[_Number]:
    """Those of a model, in the order in which they are chosen."""
    numbers = []
    for part, (name, values) in _WEIGHTS.items():
        # What the recipe leaves out stays out, but for the latest items, which every model can count.
        if part == "recent" or model.weight_of(part):
            numbers.append(_Number(name, values, model.keep_weight(part).fill_, model.weight_of(part)))
    if isinstance(model, RecMind) and model.popularity is not None:
        popularity, floor = model.popularity, model.popularity_floor
        learnt = popularity.clone()
        numbers.append(_Number("popularity_factor", POPULARITY, lambda factor: popularity.copy_(factor * learnt), 1.0))
        # Were all items below f, popularity would tell none apart, and somebody unknown would get any of them.
        floors = tuple(f for f in FLOORS if not f or f < float(model.graph.degrees[model.n_users :].max()))
        numbers.append(_Number("popularity_floor", floors, floor.fill_, float(floor), larger=True))
    return numbers


def _choose(number: _Number, value: Callable[[], float]) -> None:
    """Let it be the best of what is tried and of what it was."""
    values = {}
    for one in sorted({*number.values, number.now}, reverse=number.larger):
        number.set(one)
        values[one] = value()
    number.set(max(values, key=lambda one: values[one]))  # the first of equals
