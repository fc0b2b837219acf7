"""Rank correlation with its bootstrap interval."""

from __future__ import annotations

import numpy as np


def spearman(x: np.ndarray, y: np.ndarray, *, n: int = 1000, seed: int = 0) -> dict[str, float | None]:
    r"""Spearman's ρ of ``x`` and ``y`` ``(n_nodes,)`` with its 95% percentile bootstrap interval.

    .. math:: \rho = corr(rank(x), rank(y))

    with the mean rank where values are equal. Pairs are drawn with replacement and
    ranked anew in every resample (Efron and Tibshirani, "An Introduction to the
    Bootstrap", 1993, ch. 13). How often a pair is drawn is its weight, and the
    order of the distinct values does not change, so a resample costs no sort.

    Returns
    -------
    dict
        ``spearman``, ``low`` and ``high``; ``None`` where ``x`` or ``y`` is constant.

    Examples
    --------
    >>> spearman(np.array([1.0, 2.0, 9.0]), np.array([5, 6, 7]), n=0)["spearman"]
    1.0
    """
    nothing: dict[str, float | None] = {"spearman": None, "low": None, "high": None}
    if len(x) < 2:
        return nothing
    of_x, of_y = (np.unique(values, return_inverse=True)[1] for values in (x, y))
    found = _weighted(of_x, of_y, np.ones(len(x)))
    if found is None:
        return nothing
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(n):
        times = np.bincount(rng.integers(0, len(x), len(x)), minlength=len(x)).astype(np.float64)
        again = _weighted(of_x, of_y, times)
        if again is not None:
            drawn.append(again)
    low, high = np.quantile(drawn, [0.025, 0.975]) if drawn else (None, None)
    return {
        "spearman": found,
        "low": None if low is None else float(low),
        "high": None if high is None else float(high),
    }


def _weighted(x: np.ndarray, y: np.ndarray, times: np.ndarray) -> float | None:
    """ρ of pairs of levels, each counted ``times``; ``None`` where either side has no spread."""
    ranks = []
    for levels in (x, y):
        there = np.bincount(levels, weights=times)
        # Mean rank of a level: after those below it, in the middle of its own.
        middle = np.cumsum(there) - (there - 1) / 2
        rank = middle[levels]
        ranks.append(rank - np.average(rank, weights=times))
    one, other = ranks
    spread = np.sqrt((times * one * one).sum() * (times * other * other).sum())
    return float((times * one * other).sum() / spread) if spread > 1e-9 else None
