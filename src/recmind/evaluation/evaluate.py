"""One call that measures a trained model on the validation or the test part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from recmind.config import EvaluationConfig
from recmind.data.splitting import Split
from recmind.errors import ConfigError, RunError
from recmind.evaluation.catalogue import catalogue_metrics
from recmind.evaluation.metrics import ACCURACY
from recmind.evaluation.ranking import Ranked, Seen, rank_targets
from recmind.evaluation.significance import bootstrap_intervals
from recmind.evaluation.strata import Stratum, item_strata, user_strata
from recmind.model.scorer import Scorer
from recmind.schema import Columns

HeldOut = Literal["valid", "test"]


@dataclass(frozen=True)
class Evaluation:
    """What a model scored on one held-out part.

    Attributes
    ----------
    metrics:
        Means over the users: ``recall@K``, ``ndcg@K``, ``hit_rate@K``, ``mrr@K``,
        ``map@K`` (:mod:`recmind.evaluation.metrics`), and ``coverage@K``,
        ``novelty@K``, ``gini@K``, ``average_popularity@K``, ``long_tail_share@K``
        (:mod:`recmind.evaluation.catalogue`) for every cutoff K.
    intervals:
        95% percentile bootstrap interval ``[low, high]`` of each accuracy
        metric; empty if not asked for.
    strata:
        By training degree of the target (``items_degree_0`` ...) and of the user
        (``users_degree_1_3`` ...): see :mod:`recmind.evaluation.strata`.
    per_user:
        One row per user with a target: ``user`` (code) and each accuracy metric.
    n_users:
        Users with a target.
    """

    metrics: dict[str, float]
    intervals: dict[str, list[float]]
    strata: dict[str, Stratum]
    per_user: pl.DataFrame
    n_users: int


def validation_values(scorer: Scorer, split: Split, config: EvaluationConfig, *, metric: str) -> np.ndarray:
    """``metric`` of each user on the validation part, training items left out, float64 ``(n_users,)``.

    The quick way for early stopping: no lists, strata or intervals.

    Raises
    ------
    ConfigError
        If ``metric`` is not ``name@K`` with a name of :data:`~recmind.evaluation.metrics.ACCURACY`.
    RunError
        If the split has no validation interaction.
    TrainingError
        If a score is NaN.
    """
    name, k = parse_metric(metric)
    ranked = _rank(scorer, split, "valid", k, config.block_users, lists=False)
    return ACCURACY[name](ranked.ranks, k)


def validation_metrics(scorer: Scorer, split: Split, config: EvaluationConfig, *, metric: str) -> float:
    """The mean of :func:`validation_values`, which is what early stopping looks at."""
    return float(validation_values(scorer, split, config, metric=metric).mean())


def evaluate(
    scorer: Scorer,
    split: Split,
    part: HeldOut,
    config: EvaluationConfig,
    *,
    seed: int = 0,
    show_progress: bool = True,
) -> Evaluation:
    """Rank the full catalogue for every user with a target in ``part`` and measure.

    Left out of the ranking are the user's training items, and at test time the
    user's validation items as well; a target is never left out for its own user.

    Parameters
    ----------
    scorer:
        The trained model.
    split:
        The split that it was trained on.
    part:
        ``valid`` or ``test``.
    config:
        Cutoffs, block size, number of bootstrap resamples.
    seed:
        Of the bootstrap and of the order of equal scores in the lists.

    Raises
    ------
    RunError
        If the part is empty, or the scorer's size is not the split's.
    TrainingError
        If a score is NaN.
    """
    ranked = _rank(
        scorer, split, part, max(config.cutoffs), config.block_users, lists=True, seed=seed, show=show_progress
    )
    per_user = {f"{name}@{k}": ACCURACY[name](ranked.ranks, k) for k in config.cutoffs for name in ACCURACY}
    metrics = {name: float(values.mean()) for name, values in per_user.items()}
    assert ranked.lists is not None  # asked for above
    trained_by, n_trained = split.item_degrees(), int((split.user_degrees() > 0).sum())
    for k in config.cutoffs:
        metrics |= catalogue_metrics(ranked.lists[:, :k], trained_by, n_trained, k)
    return Evaluation(
        metrics=metrics,
        intervals=bootstrap_intervals(per_user, n=config.bootstrap, seed=seed),
        strata={
            **item_strata(ranked, trained_by, config.cutoffs),
            **user_strata(ranked, split.user_degrees(), config.cutoffs),
        },
        per_user=pl.DataFrame({Columns.USER_CODE: ranked.users, **per_user}),
        n_users=len(ranked.users),
    )


def parse_metric(metric: str) -> tuple[str, int]:
    """``"ndcg@20"`` as ``("ndcg", 20)``.

    >>> parse_metric("ndcg@20")
    ('ndcg', 20)
    """
    name, _, cutoff = metric.partition("@")
    if name not in ACCURACY or not cutoff.isdecimal() or int(cutoff) < 1:
        raise ConfigError(
            "there is no such metric",
            where="training.metric",
            got=metric,
            accepted=[f"{known}@K" for known in ACCURACY],
        )
    return name, int(cutoff)


def _rank(
    scorer: Scorer,
    split: Split,
    part: HeldOut,
    k: int,
    block_users: int,
    *,
    lists: bool,
    seed: int = 0,
    show: bool = False,
) -> Ranked:
    targets = {"valid": split.valid, "test": split.test}[part]
    if len(targets) == 0:
        raise RunError(
            f"the split {split.kind!r} has no {part} interactions to evaluate on",
            where=f"evaluation on {part!r}",
            accepted=[name for name in ("valid", "test") if len(split.part(name))] or "none",
            hint="a leave-one-out split needs users with 3 interactions; 'valid-only' has no test part by design",
        )
    if (scorer.n_users, scorer.n_items) != (split.n_users, split.n_items):
        raise RunError(
            "the model was trained on another dataset",
            got=f"a model of {scorer.n_users} users and {scorer.n_items} items",
            accepted=f"{split.n_users} users and {split.n_items} items",
        )
    known = (split.train,) if part == "valid" else (split.train, split.valid)
    seen = Seen.from_parts(split.n_users, split.n_items, *known)
    return rank_targets(scorer, targets, k, seen, block_users=block_users, lists=lists, show_progress=show, seed=seed)
