"""How sure a number, or a difference between two models, is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def bootstrap_intervals(
    per_user: Mapping[str, np.ndarray], *, n: int, seed: int, level: float = 0.95
) -> dict[str, list[float]]:
    """Percentile bootstrap intervals of the means over users.

    Users are drawn with replacement, all metrics with the same draws (Efron and
    Tibshirani, "An Introduction to the Bootstrap", 1993, ch. 13).

    Parameters
    ----------
    per_user:
        Values of each metric, ``(n_users,)``.
    n:
        Resamples; 0 gives no intervals.
    seed:
        Of the draws.
    level:
        Coverage of the interval.

    Returns
    -------
    dict
        ``[low, high]`` by metric.
    """
    if n == 0 or not per_user:
        return {}
    values = np.stack(list(per_user.values()), axis=1)  # (n_users, n_metrics)
    means = _resampled_means(values, n, seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return {name: [float(low[i]), float(high[i])] for i, name in enumerate(per_user)}


def _resampled_means(values: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Means of ``n`` resamples of the rows of ``values`` ``(n_users, n_metrics)``: ``(n, n_metrics)``."""
    rng = np.random.default_rng(seed)
    n_users = len(values)
    means = np.empty((n, values.shape[1]))
    for i in range(n):
        # How often each user is drawn, instead of the draws: one small matrix product per resample.
        times = np.bincount(rng.integers(0, n_users, n_users), minlength=n_users)
        means[i] = times @ values / n_users
    return means
