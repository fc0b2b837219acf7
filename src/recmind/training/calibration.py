"""Five numbers that training cannot learn, chosen on the validation part when it is over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

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
FLOORS: Final = (0.0, 3.0, 5.0, 8.0, 12.0, 20.0, 40.0)
"""f that are tried: with fewer interactions an item counts as popular as with so many."""


@torch.no_grad()
def calibrate(model: GraphModel, value: Callable[[], float]) -> dict[str, float]:
    """Set ρ_S, ρ, σ, w and f to what validation prefers.

    The training loss sees a user's items all at once and the items of the
    catalogue among them: what came last, and that a user does not buy the
    bestsellers again, it cannot see. And it cannot weigh what a history says in
    its order against what it says as a whole, each having a loss of its own.
    Where histories are read in order, ρ_S is the best of :data:`SEQUENCE`, the
    smaller one of equals; then ρ of :data:`RECENT` likewise, and where the model
    counts what came next, σ of :data:`TRANSITIONS`. All three say what the
    latest items mean, so ρ_S and ρ are chosen once more, each beside the others.
    Then w takes the best factor of :data:`POPULARITY`, of equals the smaller
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
    before = found = value()
    tried: dict[Weighed, tuple[float, ...]] = {"sequence": SEQUENCE, "recent": RECENT, "transitions": TRANSITIONS}
    # What the recipe leaves out stays out, but for the latest items, which every model can count.
    parts: list[Weighed] = [part for part in tried if part == "recent" or model.weight_of(part)]
    again: list[Weighed] = [part for part in parts if part != "transitions"] if len(parts) > 1 else []
    for part in (*parts, *again):
        found = _best_of(tried[part], model.keep_weight(part), value, found)
    factor, floor = 1.0, {}
    if isinstance(model, RecMind) and model.popularity is not None:
        factor, found = _popularity(model.popularity, value, found)
        found = _best_of(FLOORS, model.popularity_floor, value, found, smaller=False)
        floor = {"popularity_floor": float(model.popularity_floor)}
    in_order = {"sequence_weight": model.weight_of("sequence")} if "sequence" in parts else {}
    return {
        **in_order,
        "recent_weight": model.weight_of("recent"),
        "transition_weight": model.weight_of("transitions"),
        "popularity_factor": factor,
        **floor,
        "before": before,
        "after": found,
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


def _best_of(
    weights: tuple[float, ...], weight: Tensor, value: Callable[[], float], before: float, *, smaller: bool = True
) -> float:
    """Leave the best of ``weights`` in ``weight``, of equals the smaller or the larger one; its value. ``before`` is
    that of the one it has."""
    tried = {float(weight): before}
    for one in weights:
        if one not in tried:
            weight.fill_(one)
            tried[one] = value()
    best = max(sorted(tried, reverse=not smaller), key=lambda one: tried[one])
    weight.fill_(best)
    return tried[best]


def _popularity(popularity: Tensor, value: Callable[[], float], whole: float) -> tuple[float, float]:
    """Leave the best factor times the learnt w in ``popularity``; it and its value. ``whole`` is that of factor 1."""
    learnt, values = popularity.clone(), {1.0: whole}
    for factor in POPULARITY[1:]:
        popularity.copy_(factor * learnt)
        values[factor] = value()
    best = max(sorted(values), key=lambda factor: values[factor])
    popularity.copy_(best * learnt)
    return best, values[best]
