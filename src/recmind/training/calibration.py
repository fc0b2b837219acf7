"""Two numbers that training cannot learn, chosen on the validation part when it is over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch

from recmind.model.recmind import RecMind
from recmind.model.views import GraphModel

RECENT: Final = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
"""ρ that are tried: how much a user's latest items count (`model.recent.weight`)."""
POPULARITY: Final = (1.0, 0.85, 0.7, 0.55)
"""Factors of w that are tried: how much of the learnt popularity counts."""
COST: Final = 0.005
"""Share of the metric that may be given up for a smaller popularity term."""


@torch.no_grad()
def calibrate(model: GraphModel, value: Callable[[], float]) -> dict[str, float]:
    """Set ρ and w to what validation prefers.

    The training loss sees a user's items all at once and the items of the
    catalogue among them: what came last, and that a user does not buy the
    bestsellers again, it cannot see. First ρ is the best of :data:`RECENT`, the
    smaller one of equals. Then w takes the smallest factor of
    :data:`POPULARITY` that costs at most :data:`COST` of the metric: popularity
    is what keeps rare items out of the lists, so no more of it than pays.

    Parameters
    ----------
    value:
        The validation metric of the model as it stands; higher is better.

    Returns
    -------
    dict
        ``recent_weight``, ``popularity_factor``, and the metric ``before`` and ``after``.
    """
    before = value()
    rho = model.keep_recent_weight()
    tried = {float(rho): before}
    for weight in RECENT:
        if weight not in tried:
            rho.fill_(weight)
            tried[weight] = value()
    best = max(sorted(tried), key=lambda weight: tried[weight])
    rho.fill_(best)
    found, factor = tried[best], 1.0
    if isinstance(model, RecMind) and model.popularity is not None:
        learnt = model.popularity.clone()
        values = {1.0: found}
        for candidate in POPULARITY[1:]:
            model.popularity.copy_(candidate * learnt)
            values[candidate] = value()
        enough = max(values.values()) * (1 - COST)
        factor = min(candidate for candidate, got in values.items() if got >= enough)
        model.popularity.copy_(factor * learnt)
        found = values[factor]
    return {"recent_weight": best, "popularity_factor": factor, "before": before, "after": found}
