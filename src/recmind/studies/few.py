"""What a run gives users of whom little is known: histories cut to 1, 2, 3 or 5 training interactions.

The split `short-histories` cuts the histories of a sample of users by lot before training, and the
models are trained on what is left. They could be trained on everything and be shown the cut histories
afterwards, but most of them have no rule for that of their own (LightGCN, BPR and RecMind learn a
vector per user), so what is compared would be somebody's idea of a fold-in. Trained on the cut data,
each model gets what it would have had if the users had just come.

As the lot decides who keeps how many, the groups differ in nothing but the length of the history, and the
same targets are ranked as without a cut. What was cut away is left out of the ranking, as it would have
been: a user who has an item does not get it recommended.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from recmind.config import SplitConfig
from recmind.data.dataset import Dataset
from recmind.data.splitting import HISTORY_LENGTHS, WHOLE, Split, kept_histories, split_dataset
from recmind.errors import RunError
from recmind.evaluation.among import of_rows
from recmind.evaluation.evaluate import HeldOut, evaluate
from recmind.serving.recommender import Recommender
from recmind.studies.cold import metric_rows


def by_history(run: str | Path, dataset: Dataset, *, bootstrap: int = 1000) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Metrics of a finished run by the length to which histories were cut.

    Parameters
    ----------
    dataset:
        What the run was trained on; it tells who was cut.
    bootstrap:
        Resamples of the users for the intervals.

    Returns
    -------
    tuple of DataFrame
        A row per part, length and metric: ``part``, ``history`` (``1`` ... ``5``, ``whole``),
        ``n_users``, ``metric``, ``value``, ``low``, ``high``. And a row per part, length and
        user: ``part``, ``history``, ``user`` and each metric.

    Raises
    ------
    RunError
        If the run is of another split or other data.
    """
    recommender = Recommender.load(run)
    config = recommender.config
    whole = _uncut(recommender, dataset, run)
    settings = config.evaluation.model_copy(update={"bootstrap": bootstrap})
    groups = kept_histories(dataset, config.split)
    rows, users = [], []
    parts: tuple[HeldOut, ...] = ("valid", "test")
    for part in parts:
        for length in (*HISTORY_LENGTHS, WHOLE):
            chosen = _of_users(whole, groups == length)
            if not len(chosen.part(part)):
                continue
            found = evaluate(recommender.scorer, chosen, part, settings, seed=config.seed, show_progress=False)
            about = {"part": part, "history": "whole" if length == WHOLE else str(length)}
            rows += [about | {"n_users": found.n_users} | row for row in metric_rows(found)]
            users.append(found.per_user.select(*(pl.lit(value).alias(name) for name, value in about.items()), pl.all()))
    return pl.DataFrame(rows, infer_schema_length=None), pl.concat(users)


def _uncut(recommender: Recommender, dataset: Dataset, run: str | Path) -> Split:
    """The split before anything was cut: what it has in training is left out of rankings."""
    whole = split_dataset(dataset, SplitConfig(kind="leave-one-out", hide_test=recommender.config.split.hide_test))
    here = recommender.split
    same = (here.n_users, here.n_items) == (whole.n_users, whole.n_items)
    if here.kind != "short-histories" or not same or not np.array_equal(here.test.items, whole.test.items):
        raise RunError(
            "the run is not of this dataset with histories cut",
            where=run,
            got=f"the split {here.kind!r} of {here.n_users} users and {here.n_items} items",
            accepted=f"the split 'short-histories' of {whole.n_users} users and {whole.n_items} items",
        )
    return whole


def _of_users(split: Split, users: np.ndarray) -> Split:
    """The same split with the held-out interactions of some users alone, bool ``(n_users,)``."""
    kept = {name: of_rows(split.part(name), users[split.part(name).users]) for name in ("valid", "test")}
    return replace(split, **kept)
