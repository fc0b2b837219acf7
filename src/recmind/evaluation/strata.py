"""Accuracy by training degree: of the target item, and of the user.

``items_degree_*`` counts targets: each is a ranking task of its own, with
Recall@K = P(rank <= K) and NDCG@K = E[1 / log2(rank + 1), rank <= K]; with one
target per user, weighting the strata by ``n`` gives the overall metric.
``users_degree_*`` counts users and averages their own metrics, so that weighting
by ``n`` always gives the overall metric.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recmind.evaluation.metrics import discounted_gain, hit_probability, ndcg, recall
from recmind.evaluation.ranking import Ranked

Stratum = dict[str, float | int | None]
"""``n`` and the metrics, which are ``None`` where ``n`` is 0."""

BINS: dict[str, tuple[int, float]] = {
    "degree_0": (0, 0),
    "degree_1_3": (1, 3),
    "degree_4_10": (4, 10),
    "degree_11_50": (11, 50),
    "degree_over_50": (51, np.inf),
}
"""Lowest and highest training degree of each stratum."""


def item_strata(ranked: Ranked, degrees: np.ndarray, cutoffs: Sequence[int]) -> dict[str, Stratum]:
    """Targets grouped by the training degree of the item, ``degrees`` ``(n_items,)``; always all five."""
    values = {f"recall@{k}": hit_probability(ranked.ranks, k) for k in cutoffs}
    values |= {f"ndcg@{k}": discounted_gain(ranked.ranks, k) for k in cutoffs}
    return _group("items", degrees[ranked.targets], values)


def user_strata(ranked: Ranked, degrees: np.ndarray, cutoffs: Sequence[int]) -> dict[str, Stratum]:
    """Users grouped by their training degree, ``degrees`` ``(n_users,)``.

    ``users_degree_0`` is there only if it holds somebody: no split of ours tests
    users without training.
    """
    values = {f"recall@{k}": recall(ranked.ranks, k) for k in cutoffs}
    values |= {f"ndcg@{k}": ndcg(ranked.ranks, k) for k in cutoffs}
    strata = _group("users", degrees[ranked.users], values)
    if strata["users_degree_0"]["n"] == 0:
        del strata["users_degree_0"]
    return strata


def _group(prefix: str, degrees: np.ndarray, values: dict[str, np.ndarray]) -> dict[str, Stratum]:
    strata: dict[str, Stratum] = {}
    for name, (low, high) in BINS.items():
        inside = (degrees >= low) & (degrees <= high)
        n = int(inside.sum())
        stratum: Stratum = {"n": n}
        stratum |= {metric: float(column[inside].mean()) if n else None for metric, column in values.items()}
        strata[f"{prefix}_{name}"] = stratum
    return strata
