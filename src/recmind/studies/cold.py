"""How a run ranks items without a training edge: among themselves, beside the others, and what the others get.

The split `cold-and-warm` takes every training edge from a share of the items and holds out
each user's last two of the other interactions. Cold is every item without a training edge.

======================  =============================  ==========================
measure                 targets                        ranked among
======================  =============================  ==========================
``cold``                cold items                     cold items
``warm``                the others                     the others
``all``                 all                            all
``cold in all``         cold items                     all
``warm in all``         the others                     all
======================  =============================  ==========================
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import torch

from recmind.data.splitting import Split
from recmind.errors import RunError
from recmind.evaluation.among import Unplaced, only_items, only_targets
from recmind.evaluation.evaluate import Evaluation, HeldOut, evaluate
from recmind.model.item_item import ItemItem
from recmind.model.registry import needs_text, places_new_items
from recmind.model.scorer import Scorer
from recmind.model.views import VectorScorer
from recmind.schema import Columns
from recmind.serving.recommender import Recommender

AMONG: Final = ("cold", "warm", "all", "cold in all", "warm in all")


def cold_start(run: str | Path, *, bootstrap: int = 1000) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Everything that is measured of a finished run.

    Parameters
    ----------
    bootstrap:
        Resamples of the users for the intervals.

    Returns
    -------
    tuple of DataFrame
        A row per part, measure and metric: ``part``, ``among``, ``n_users``, ``n_targets``,
        ``n_items`` (ranked among), ``metric``, ``value``, ``low``, ``high``. And a row
        per part, measure and user: ``part``, ``among``, ``user`` and each metric.

    Raises
    ------
    RunError
        If there is no finished run, or nothing cold is held out in it.
    """
    recommender = Recommender.load(run)
    config, split = recommender.config, recommender.split
    cold = split.item_degrees() == 0
    if not any(cold[split.part(part).items].any() for part in ("valid", "test")):
        raise RunError(
            "no held-out interaction of the run is with an item that has no training edge",
            where=run,
            got=f"the split {split.kind!r}",
            hint="train with --split cold-and-warm",
        )
    scorer = placed(recommender)
    settings = config.evaluation.model_copy(update={"bootstrap": bootstrap})
    rows, users = [], []
    parts: tuple[HeldOut, ...] = ("valid", "test")
    for part in parts:
        for among, model, here in measures(scorer, split):
            if not len(here.part(part)):
                continue
            found = evaluate(model, here, part, settings, seed=config.seed, show_progress=False)
            about = {"part": part, "among": among}
            counts = {"n_users": found.n_users, "n_targets": len(here.part(part)), "n_items": here.n_items}
            rows += [about | counts | row for row in metric_rows(found)]
            users.append(found.per_user.select(*(pl.lit(value).alias(name) for name, value in about.items()), pl.all()))
    return pl.DataFrame(rows, infer_schema_length=None), pl.concat(users)


def metric_rows(found: Evaluation) -> list[dict[str, Any]]:
    """``metric``, ``value``, ``low`` and ``high`` of each accuracy metric; no bounds without resamples."""
    return [
        {"metric": name, "value": found.metrics[name], "low": low, "high": high}
        for name in found.per_user.columns
        if name != Columns.USER_CODE
        for low, high in [found.intervals.get(name, [None, None])]
    ]


def placed(recommender: Recommender) -> Scorer:
    """The model of a run, with its items without a training edge as they stand when they arrive after training.

    - A model that makes vectors of texts places them as ``recmind recommend --new-items`` does.
    - One that weighs items by the likeness of their texts scores them by it as it is.
    - Of any other they score alike, below all others: it cannot tell them apart, and what
      its vectors of them hold are random numbers.
    """
    name, split = recommender.config.model.name, recommender.split
    cold = split.item_degrees() == 0
    if places_new_items(name):
        texts, vectors = recommender.trained.texts, recommender.vectors
        rows = torch.from_numpy(np.flatnonzero(cold))
        with torch.no_grad():
            new = recommender.trained.graph_model().new_items(texts.items[rows], texts.items_known[rows])
        comes_next = recommender.trained.comes_next_with(rows.numpy(), texts.items[rows], texts.items_known[rows])
        return VectorScorer(vectors.users, vectors.items.index_copy(0, rows, new), comes_next)
    if needs_text(name) and isinstance(recommender.scorer, ItemItem):
        return recommender.scorer
    return Unplaced(recommender.scorer, cold)


def measures(scorer: Scorer, split: Split) -> Iterator[tuple[str, Scorer, Split]]:
    """Name, scorer and split of each measure of :data:`AMONG`."""
    cold = split.item_degrees() == 0
    yield "cold", *only_items(scorer, split, cold)
    yield "warm", *only_items(scorer, split, ~cold)
    yield "all", scorer, split
    yield "cold in all", scorer, only_targets(split, cold)
    yield "warm in all", scorer, only_targets(split, ~cold)
