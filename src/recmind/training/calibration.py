"""Three numbers that training cannot learn, chosen on the validation part when it is over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from recmind.model.recmind import RecMind
from recmind.model.views import GraphModel

RECENT: Final = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
"""ρ that are tried: how much a user's latest items count (`model.recent.weight`)."""
DECAY: Final = (0.2, 0.4, 0.6)
"""How an item's share falls with each one after it (`model.recent.decay`), tried where ρ is above 0."""
POPULARITY: Final = (1.0, 0.85, 0.7, 0.55, 0.4, 0.25)
"""Factors of w that are tried: how much of the learnt popularity counts."""


@torch.no_grad()
def calibrate(model: GraphModel, value: Callable[[], float]) -> dict[str, float]:
    """Set ρ, the decay of the latest items and w to what validation prefers.

    The training loss sees a user's items all at once and the items of the
    catalogue among them: what came last, and that a user does not buy the
    bestsellers again, it cannot see. First ρ is the best of :data:`RECENT`, the
    smaller one of equals, and with it the decay of :data:`DECAY`, that of the
    settings if it is as good. Then w takes the best factor of
    :data:`POPULARITY`, of equals the smaller one: popularity is what keeps rare
    items out of the lists, so no more of it than pays.

    Parameters
    ----------
    value:
        The validation metric of the model as it stands; higher is better.

    Returns
    -------
    dict
        ``recent_weight``, ``recent_decay``, ``popularity_factor``, and the metric ``before`` and ``after``.
    """
    before = value()
    rho, decay = model.keep_recent()
    weight, found = _best(rho, sorted({*RECENT, model.recent_weight}), value, {model.recent_weight: before})
    fall = model.recent_decay
    if weight:
        fall, found = _best(decay, [fall, *DECAY], value, {fall: found})
    factor = 1.0
    if isinstance(model, RecMind) and model.popularity is not None:
        factor, found = _popularity(model.popularity, value, found)
    return {
        "recent_weight": weight,
        "recent_decay": fall,
        "popularity_factor": factor,
        "before": before,
        "after": found,
    }


@torch.no_grad()
def foreseen(model: GraphModel, value: Callable[[], float]) -> float:
    """The metric that calibration is likely to come to: the better one with all and with half of the popularity term.

    For early stopping. As training goes on, w grows and the vectors get better;
    watched with the whole w, training would stop where the first outweighs the
    second, though calibration is about to take much of w away again.
    """
    found = value()
    if not isinstance(model, RecMind) or model.popularity is None:
        return found
    learnt = model.popularity.clone()
    model.popularity.copy_(0.5 * learnt)
    found = max(found, value())
    model.popularity.copy_(learnt)
    return found


def _best(
    buffer: Tensor, candidates: list[float], value: Callable[[], float], tried: dict[float, float]
) -> tuple[float, float]:
    """Leave the best candidate in ``buffer``, of equals the first; it and its value. ``tried`` holds known values."""
    for candidate in candidates:
        if candidate not in tried:
            buffer.fill_(candidate)
            tried[candidate] = value()
    best = max(candidates, key=lambda candidate: tried[candidate])
    buffer.fill_(best)
    return best, tried[best]


def _popularity(popularity: Tensor, value: Callable[[], float], whole: float) -> tuple[float, float]:
    """Leave the best factor times the learnt w in ``popularity``; it and its value. ``whole`` is that of factor 1."""
    learnt, values = popularity.clone(), {1.0: whole}
    for factor in POPULARITY[1:]:
        popularity.copy_(factor * learnt)
        values[factor] = value()
    best = max(sorted(values), key=lambda factor: values[factor])
    popularity.copy_(best * learnt)
    return best, values[best]
