"""How sure a mean, or a difference between two models, is.

Users are the unit: everything here resamples or ranks users, with the metrics
per user that :class:`~recmind.evaluation.evaluate.Evaluation` holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from recmind.errors import DataError
from recmind.schema import Columns


@dataclass(frozen=True)
class Comparison:
    """One metric of two models on the same users.

    Attributes
    ----------
    metric:
        Name, such as ``ndcg@20``.
    mean, baseline:
        Means of the model and of what it is compared with.
    relative_gain:
        (mean - baseline) / baseline; ``None`` where the baseline is 0.
    interval:
        95% percentile bootstrap interval of the mean difference per user.
    p_bootstrap:
        Two-sided p-value of the paired bootstrap.
    p_wilcoxon:
        Two-sided p-value of the Wilcoxon signed-rank test.
    wins, losses:
        Users for whom the model scores more, or less.
    n_users:
        Users compared.
    """

    metric: str
    mean: float
    baseline: float
    relative_gain: float | None
    interval: tuple[float, float]
    p_bootstrap: float
    p_wilcoxon: float
    wins: int
    losses: int
    n_users: int


def compare(
    model: pl.DataFrame, baseline: pl.DataFrame, *, metrics: Sequence[str] | None = None, n: int = 1000, seed: int = 0
) -> list[Comparison]:
    """Compare two models user by user.

    Parameters
    ----------
    model, baseline:
        ``per_user`` of two evaluations of the same part of the same split.
    metrics:
        Columns to compare; by default all that both have.
    n:
        Bootstrap resamples.
    seed:
        Of the resamples.

    Returns
    -------
    list of Comparison
        One per metric. With several metrics or models, correct the p-values
        with :func:`holm`.

    Raises
    ------
    DataError
        If the users differ, or a metric is missing from either.
    """
    shared = [name for name in model.columns if name in baseline.columns and name != Columns.USER_CODE]
    wanted = list(metrics) if metrics is not None else shared
    unknown = [name for name in wanted if name not in shared]
    if unknown or not wanted:
        raise DataError("a metric is not in both evaluations", got=unknown or None, accepted=shared or "none in common")
    left, right = model.sort(Columns.USER_CODE), baseline.sort(Columns.USER_CODE)
    _refuse_other_users(left, right)
    a, b = (frame.select(wanted).to_numpy().astype(np.float64) for frame in (left, right))
    return _comparisons(a, b, a - b, wanted, *paired_bootstrap(a - b, n=n, seed=seed))


def _refuse_other_users(left: pl.DataFrame, right: pl.DataFrame) -> None:
    """Stop where two sorted tables are not of the same users."""
    if not left[Columns.USER_CODE].equals(right[Columns.USER_CODE]):
        raise DataError(
            "the two evaluations are not of the same users",
            got=f"{left.height} and {right.height} users",
            hint="compare runs with the same dataset and split",
        )


def _comparisons(
    a: np.ndarray,
    b: np.ndarray,
    differences: np.ndarray,
    metrics: Sequence[str],
    intervals: np.ndarray,
    p_bootstrap: np.ndarray,
) -> list[Comparison]:
    """One per metric, from values per user of the model, of the baseline, and what is ranked of both.

    Each ``(n_users, n_metrics)``.
    """
    return [
        Comparison(
            metric=name,
            mean=float(a[:, i].mean()),
            baseline=float(b[:, i].mean()),
            relative_gain=relative_gain(float(a[:, i].mean()), float(b[:, i].mean())),
            interval=(float(intervals[i, 0]), float(intervals[i, 1])),
            p_bootstrap=float(p_bootstrap[i]),
            p_wilcoxon=wilcoxon(differences[:, i]),
            wins=int((differences[:, i] > 0).sum()),
            losses=int((differences[:, i] < 0).sum()),
            n_users=len(a),
        )
        for i, name in enumerate(metrics)
    ]


def relative_gain(value: float, baseline: float) -> float | None:
    """``(value - baseline) / baseline``; ``None`` where the baseline is 0.

    >>> relative_gain(0.6, 0.5) is not None and round(relative_gain(0.6, 0.5), 3)
    0.2
    """
    return None if baseline == 0 else (value - baseline) / baseline


def paired_bootstrap(differences: np.ndarray, *, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    r"""Intervals and p-values of mean differences.

    .. math:: p = 2 \min\left(\frac{1 + \#\{\bar d^* \le 0\}}{n + 1}, \frac{1 + \#\{\bar d^* \ge 0\}}{n + 1}\right)

    at most 1, with d̄* the mean of a resample of the users (Efron and
    Tibshirani, "An Introduction to the Bootstrap", 1993; the added one keeps p
    above 0 as Davison and Hinkley, "Bootstrap Methods", 1997, advise).

    Parameters
    ----------
    differences:
        Model minus baseline, ``(n_users, n_metrics)``.
    n:
        Resamples, at least 1.

    Returns
    -------
    tuple of ndarray
        95% intervals ``(n_metrics, 2)`` and two-sided p-values ``(n_metrics,)``.
    """
    return _read_off(_resampled_means(differences, n, seed))


def _read_off(means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Intervals ``(n_metrics, 2)`` and p-values ``(n_metrics,)`` of resampled differences ``(n, n_metrics)``."""
    n = len(means)
    below = (1 + (means <= 0).sum(axis=0)) / (n + 1)
    beyond = (1 + (means >= 0).sum(axis=0)) / (n + 1)
    return np.quantile(means, [0.025, 0.975], axis=0).T, np.minimum(1.0, 2 * np.minimum(below, beyond))


def compare_runs(
    models: Mapping[str, Sequence[pl.DataFrame]],
    pairs: Sequence[tuple[str, str]],
    *,
    metrics: Sequence[str],
    n: int = 10_000,
    seed: int = 0,
) -> list[list[Comparison]]:
    r"""Compare models of which each has a run per seed, over users and seeds at once.

    A resample draws the users with replacement, the same ones for every run,
    and for each model with S seeds S - 1 of them with replacement: of S draws
    the mean would vary by (S - 1) / S too little (McCarthy, "Pseudo-replication",
    Review of the International Statistical Institute 1969). Seeds of two models
    have nothing to do with each other and are drawn apart. Of a model with one
    run nothing is known about seeds, and the interval says nothing about them.

    Parameters
    ----------
    models:
        By name the ``per_user`` tables of its runs, one per seed, all of the
        same part of the same split.
    pairs:
        (model, baseline) to compare.
    metrics:
        Columns to compare.
    n:
        Resamples. Corrected for m comparisons no p-value is below 2 m / (n + 1).

    Returns
    -------
    list of list of Comparison
        For each pair one per metric. Wins, losses and the Wilcoxon test are of
        the users' means over as many runs as both have, the first ones: a mean of
        five runs against a single one is no symmetric difference even where the
        models are equally good. For a user who is rarely hit it is a little above
        often and far below seldom, and ranks count how often.

    Raises
    ------
    DataError
        If the users differ between runs.
    """
    tables = [table.sort(Columns.USER_CODE) for runs in models.values() for table in runs]
    for table in tables[1:]:
        _refuse_other_users(tables[0], table)
    values = np.stack([table.select(metrics).to_numpy().astype(np.float64) for table in tables], axis=1)
    means = _resampled_means(values.reshape(len(values), -1), n, seed).reshape(n, len(tables), len(metrics))
    drawn, per_user, first = {}, {}, 0
    for at, (name, runs) in enumerate(models.items()):
        own = slice(first, first + len(runs))
        per_user[name], drawn[name] = values[:, own], _over_seeds(means[:, own], [seed, at + 1])
        first += len(runs)
    found = []
    for pair in pairs:
        (a, b), (resampled_a, resampled_b) = ([source[name] for name in pair] for source in (per_user, drawn))
        both = min(a.shape[1], b.shape[1])
        differences = a[:, :both].mean(1) - b[:, :both].mean(1)
        found.append(_comparisons(a.mean(1), b.mean(1), differences, metrics, *_read_off(resampled_a - resampled_b)))
    return found


def _over_seeds(means: np.ndarray, seed: Sequence[int]) -> np.ndarray:
    """Means over resampled runs, ``(n, n_metrics)``, of ``means`` ``(n, n_runs, n_metrics)``."""
    n, n_runs, _ = means.shape
    if n_runs == 1:
        return means[:, 0]
    chosen = np.random.default_rng(seed).integers(0, n_runs, (n, n_runs - 1))
    return np.take_along_axis(means, chosen[:, :, None], axis=1).mean(axis=1)


def wilcoxon(differences: np.ndarray) -> float:
    """Two-sided p-value of the signed-rank test of ``differences`` ``(n_users,)``.

    Users without a difference are ranked too and count half for either side
    (scipy's ``zsplit``): most users have none, and dropping them would overstate
    the evidence. Normal approximation; 1 if nobody differs.
    """
    if not differences.any():
        return 1.0
    from scipy import stats  # a second to import, which training does without

    _, p = stats.wilcoxon(differences, zero_method="zsplit", method="asymptotic")
    return float(p)  # pyright: ignore[reportArgumentType]


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm, Scandinavian Journal of Statistics 1979), in the same order.

    >>> holm([0.04, 0.01, 0.03])
    [0.06, 0.03, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    scaled = p[order] * np.arange(len(p), 0, -1)
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return corrected.tolist()


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
    means = _resampled_means(np.stack(list(per_user.values()), axis=1), n, seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return {name: [float(low[i]), float(high[i])] for i, name in enumerate(per_user)}


def _resampled_means(values: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Means of ``n`` resamples of the rows of ``values`` ``(n_users, n_metrics)``: ``(n, n_metrics)``."""
    rng = np.random.default_rng(seed)
    n_users = len(values)
    means = np.empty((n, values.shape[1]))
    at_once = max(1, _COUNTS // n_users)
    for first in range(0, n, at_once):
        some = slice(first, min(first + at_once, n))
        # How often each user is drawn, instead of the draws: one small product for several resamples.
        draws = (rng.integers(0, n_users, n_users) for _ in range(n)[some])
        times = np.stack([np.bincount(draw, minlength=n_users) for draw in draws])
        means[some] = times.astype(np.float64) @ values / n_users
    return means


_COUNTS = 2**20
"""Counts of draws that are kept at once, 16 bytes each."""
