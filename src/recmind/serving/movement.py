"""How far rows moved: cosines before and after, and whose neighbours are others now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from recmind.evaluation.ranking import Seen, top_k
from recmind.model.language_view import TextInputs
from recmind.model.recmind import RecMind
from recmind.model.views import VectorScorer
from recmind.schema import Columns, Tensors
from recmind.serving.fresh_texts import Spoken, item_vectors, means_of_users
from recmind.serving.recommender import Recommender

NEIGHBOURS = 10
"""How many neighbours are compared."""


@dataclass(frozen=True)
class Pairs:
    """Parallel arrays, as a part of a split has them."""

    users: np.ndarray
    items: np.ndarray


def cosines(before: Tensor, after: Tensor) -> np.ndarray:
    """Cosine of each row before and after, float32 ``(n,)``; NaN where one of the two is zero."""
    lengths = before.norm(dim=1) * after.norm(dim=1)
    found = (before * after).sum(1) / lengths
    return torch.where(lengths > 0, found.clamp(-1, 1), torch.nan).numpy()


def item_neighbours(vectors: Tensor, rows: np.ndarray, block: int) -> np.ndarray:
    """The items that point most nearly the way of each of ``rows``, int32 ``(n, 10)``, -1 where there are fewer."""
    unit = torch.nn.functional.normalize(vectors, dim=1)
    own = Seen.from_parts(len(unit), len(unit), Pairs(rows, rows))
    return top_k(VectorScorer(unit, unit), rows, NEIGHBOURS, own, block_users=block)[0]


def replaced(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """How many of each row's neighbours after were none before, int64 ``(n,)``."""
    same = (after[:, :, None] == before[:, None, :]).any(2)
    return ((after >= 0) & ~same).sum(1)


def moved_table(
    side: str, ids: pl.Series, why: np.ndarray, text: Sequence[Any], final: Sequence[Any], neighbours: Sequence[Any]
) -> pl.DataFrame:
    """One row per moved node: side, id, why, cosine of z̃ and of h before and after, neighbours changed."""
    frame = pl.DataFrame(
        {
            "side": pl.Series([side] * len(ids), dtype=pl.String),
            "id": ids.alias("id"),
            "why": pl.Series(why.tolist(), dtype=pl.String),
            "text_cosine": pl.Series(text, dtype=pl.Float32, strict=False),
            "cosine": pl.Series(final, dtype=pl.Float32, strict=False),
            "neighbours_changed": pl.Series(neighbours, dtype=pl.Int64, strict=False),
        }
    )
    return frame.with_columns(pl.col("text_cosine", "cosine").fill_nan(None)).sort("cosine", "id", nulls_last=True)


def no_rows() -> pl.DataFrame:
    """The report of a refresh that moved nothing."""
    return moved_table("item", pl.Series([], dtype=pl.String), np.empty(0, dtype=object), [], [], [])


class Move:
    """The run's vectors before and after."""

    def __init__(self, recommender: Recommender, items: Spoken, users: Spoken | None) -> None:
        self.recommender, self.spoken_items, self.spoken_users = recommender, items, users
        old = recommender.trained.texts
        self.n_trained = n = len(old.items)
        self.texts = TextInputs(
            torch.from_numpy(items.vectors[:n]),
            torch.from_numpy(items.known[:n]),
            None if users is None else torch.from_numpy(users.vectors),
            None if users is None else torch.from_numpy(users.known),
        )
        n_users = recommender.users.height
        with torch.no_grad():
            before: Tensor = recommender.trained.graph_model(old).language()  # type: ignore[operator]
            model = recommender.trained.graph_model(self.texts)
            self.texts = model.with_links(self.texts) if isinstance(model, RecMind) else self.texts
            after: Tensor = model.language()  # type: ignore[operator]
            final = model.vectors()
            shifted = ((after - before).norm(dim=1) > 1e-6 * before.norm(dim=1)).numpy()
            self.whole = final[:n_users], final[n_users:]
            late = items.why[n:] != ""
            arrived = model.new_items(torch.from_numpy(items.vectors[n:]), torch.from_numpy(items.known[n:]))
        # What has no reason of its own and has shifted does so through others.
        train, users_why = recommender.split.train, np.full(n_users, "", dtype=object) if users is None else users.why
        bought = np.zeros(n_users, dtype=bool)
        bought[train.users[items.why[train.items] == "text"]] = users is None
        through = np.where(bought, "items", "guess")
        self.user_why = np.where(shifted[:n_users] & (users_why == ""), through, users_why)
        self.item_why = items.why.copy()
        self.item_why[:n][shifted[n_users:] & (items.why[:n] == "")] = "guess"
        scorer = recommender.vectors
        self.users = torch.where(torch.from_numpy(self.user_why != "")[:, None], self.whole[0], scorer.users)
        trained = torch.from_numpy(self.item_why[:n] != "")[:, None]
        kept = torch.cat([scorer.items[n:], arrived[len(scorer.items) - n :]])  # as they are; the new ones behind them
        self.items = torch.cat(
            [
                torch.where(trained, self.whole[1], scorer.items[:n]),
                torch.where(torch.from_numpy(late)[:, None], arrived, kept),
            ]
        )

    def tensors(self) -> dict[str, Tensor]:
        """``model.safetensors`` after the move."""
        n, items = self.n_trained, self.spoken_items
        changed = {Tensors.USERS: self.users, Tensors.ITEMS: self.items}
        changed |= {f"{Tensors.TEXTS}{key}": value for key, value in vars(self.texts).items() if value is not None}
        if len(items.vectors) > n:
            changed[f"{Tensors.ADDED}items"] = torch.from_numpy(items.vectors[n:].copy())
            changed[f"{Tensors.ADDED}items_known"] = torch.from_numpy(items.known[n:].copy())
        return self.recommender.trained.tensors | changed

    def others(self) -> dict[str, Any]:
        """How far the rows that stay would have moved through the graph."""
        scorer, n, dim = self.recommender.vectors, self.n_trained, self.recommender.config.model.dim
        both = (scorer.users, self.whole[0]), (scorer.items[:n], self.whole[1])
        stay = np.concatenate([self.user_why == "", self.item_why[:n] == ""])
        found = np.concatenate([cosines(was[:, :dim], now[:, :dim]) for was, now in both])[stay]
        found = found[np.isfinite(found)]
        if not len(found):
            return {"rows": int(stay.sum())}
        return {
            "rows": int(stay.sum()),
            "mean_cosine_if_moved": round(float(found.mean()), 6),
            "least_cosine_if_moved": round(float(found.min()), 6),
        }

    def table(self, ids: pl.Series) -> pl.DataFrame:
        """The report, items before users and the furthest first; ``ids`` are those of all items."""
        return pl.concat([self._moved_items(ids), self._moved_users()])

    def _moved_items(self, ids: pl.Series) -> pl.DataFrame:
        recommender = self.recommender
        scorer, dim, block = (
            recommender.vectors,
            recommender.config.model.dim,
            recommender.config.evaluation.block_users,
        )
        rows = np.flatnonzero(self.item_why != "")
        there = rows[rows < scorer.n_items]
        old, new = torch.from_numpy(item_vectors(recommender)[0][there]), self.spoken_items.vectors[there]
        near = [item_neighbours(vectors[:, :dim], there, block) for vectors in (scorer.items, self.items)]
        empty = [None] * (len(rows) - len(there))
        return moved_table(
            "item",
            ids.gather(rows),
            self.item_why[rows],
            [*cosines(old, torch.from_numpy(new)), *empty],
            [*cosines(scorer.items[there, :dim], self.items[there, :dim]), *empty],
            [*replaced(*near), *empty],
        )

    def _moved_users(self) -> pl.DataFrame:
        recommender, scorer = self.recommender, self.recommender.vectors
        dim, block, split = recommender.config.model.dim, recommender.config.evaluation.block_users, recommender.split
        rows = np.flatnonzero(self.user_why != "")
        if self.spoken_users is None:
            old_items = Spoken.unchanged(*item_vectors(recommender))
            before, now = (means_of_users(recommender, s, self.n_trained)[0] for s in (old_items, self.spoken_items))
        else:
            assert recommender.trained.texts.users is not None
            before, now = recommender.trained.texts.users.numpy(), self.spoken_users.vectors
        near = []
        for vectors in (scorer, VectorScorer(self.users, self.items, scorer.comes_next)):
            seen = Seen.from_parts(vectors.n_users, vectors.n_items, split.train, split.valid, split.test)
            near.append(top_k(vectors, rows, NEIGHBOURS, seen, block_users=block)[0])
        return moved_table(
            "user",
            recommender.users[Columns.USER].gather(rows),
            self.user_why[rows],
            [*cosines(torch.from_numpy(before[rows]), torch.from_numpy(now[rows]))],
            [*cosines(scorer.users[rows, :dim], self.users[rows, :dim])],
            [*replaced(*near)],
        )
