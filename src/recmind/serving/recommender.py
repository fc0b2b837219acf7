"""From a run folder to recommendations."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import torch
from torch import Tensor

from recmind.config import Config
from recmind.data.dataset import Dataset
from recmind.data.sources.columns import match_columns
from recmind.data.splitting import Split
from recmind.errors import ConfigError, DataError, RunError
from recmind.evaluation.ranking import Seen, top_k
from recmind.model.item_item import ItemItem
from recmind.model.registry import needs_text, places_new_items
from recmind.model.views import VectorScorer
from recmind.progress import note
from recmind.schema import ITEM_TEXT_FIELDS, Columns, Files, Tensors
from recmind.serving.tables import read_ids, read_table
from recmind.training.run_folder import RunFolder
from recmind.training.run_model import RunModel

LeaveOut = Literal["all", "train", "train+valid"]
"""Which of a user's known interactions are left out of the recommendations."""

_PARTS: dict[str, tuple[str, ...]] = {
    "all": ("train", "valid", "test"),
    "train": ("train",),
    "train+valid": ("train", "valid"),
}


class Recommender:
    """Recommends from the final vectors h of a run, or from its item-item weights.

    What is loaded is the run as it was evaluated: of the held-out interactions it
    has heard nothing. Lists for use come from :attr:`up_to_date`, which has.

    Attributes
    ----------
    trained:
        The model, and the interactions that it knows.
    users, items:
        Tables of the run, row = code; new items are appended.
    scorer:
        ⟨h_u, h_i⟩, or the item-item weights of a model that has those instead.
    adapters:
        Folder of the adapters that read the items' texts; ``None`` where the
        frozen language model did.
    """

    def __init__(
        self, trained: RunModel, users: pl.DataFrame, items: pl.DataFrame, adapters: Path | None = None
    ) -> None:
        self.trained, self.users, self.items, self.adapters = trained, users, items, adapters
        self.scorer: VectorScorer | ItemItem = trained.scorer()

    @classmethod
    def load(cls, run: str | Path) -> Recommender:
        """Read a run folder.

        Raises
        ------
        RunError
            If there is no run, it is not finished, or a file is damaged.
        """
        folder = RunFolder(run)
        if not folder.finished:
            folder.config()  # says what is wrong where there is no run at all
            raise RunError("the run is not finished", where=folder.path, hint="finish it with `recmind train --resume`")
        config = folder.trained_config()
        tensors, users, items = _of_one_time(folder)
        by_items = Tensors.WEIGHTS in tensors or Tensors.WEIGHT_OFFSETS in tensors
        for key, table in () if by_items else ((Tensors.USERS, users), (Tensors.ITEMS, items)):
            if key not in tensors or len(tensors[key]) != table.height:
                raise RunError(
                    "the model and the tables of the run do not belong together",
                    where=folder / Files.MODEL,
                    got=f"{len(tensors[key])} rows in {key}" if key in tensors else f"no {key}",
                    accepted=f"{table.height} rows",
                    hint="train again with --overwrite",
                )
        split = folder.read_split(users.height, items.height, config.split.kind)
        adapters = folder / Files.ADAPTERS
        trained = RunModel(config, split, tensors, folder.popularity_factor(), folder.best_epoch())
        return cls(trained, users, items, adapters if adapters.is_dir() else None)

    def recommend(
        self,
        users: str | Path | list[str] | None = None,
        *,
        k: int = 40,
        leave_out: LeaveOut = "all",
        show_progress: bool = False,
    ) -> pl.DataFrame:
        """The k best items of each user.

        Parameters
        ----------
        users:
            Ids, or a file with one id a line or a column ``user_id``. Default:
            all users.
        k:
            Items per user; fewer where the catalogue has fewer left.
        leave_out:
            ``all``, for use: what a user is known to have interacted with is
            learnt (:attr:`up_to_date`) and left out. ``train`` and
            ``train+valid``, for scoring by an independent program: the model as
            it was evaluated, with the held-out items in.

        Returns
        -------
        polars.DataFrame
            ``user_id``, ``item_id``, ``rank`` from 1, ``score``.

        Raises
        ------
        DataError
            If a user is unknown, or k is not positive.
        """
        if k < 1:
            raise DataError("k must be at least 1", where="--k", got=k)
        if leave_out == "all" and self.up_to_date is not self:
            return self.up_to_date.recommend(users, k=k, show_progress=show_progress)
        codes = self._user_codes(users)
        parts = [self.split.part(name) for name in _PARTS[leave_out]]
        seen = Seen.from_parts(self.scorer.n_users, self.scorer.n_items, *parts)
        block = self.config.evaluation.block_users
        items, scores = top_k(self.scorer, codes, k, seen, block_users=block, show_progress=show_progress)
        ranks = np.broadcast_to(np.arange(1, items.shape[1] + 1, dtype=np.int32), items.shape)
        there = items.ravel() >= 0
        return pl.DataFrame(
            {
                Columns.USER: self.users[Columns.USER].gather(np.repeat(codes, items.shape[1])[there]),
                Columns.ITEM: self.items[Columns.ITEM].gather(items.ravel()[there]),
                Columns.RANK: ranks.ravel()[there],
                Columns.SCORE: scores.ravel()[there],
            }
        )

    @cached_property
    def up_to_date(self) -> Recommender:
        """The trained model with every interaction that the run knows: :meth:`knowing` validation and test."""
        return self.knowing("valid", "test")

    def knowing(self, *names: str, show_progress: bool = False) -> Recommender:
        """The same with a model that knows the held-out parts ``names`` too; see :meth:`RunModel.knowing`."""
        known = self.trained.knowing(*names, show_progress=show_progress)
        return self if known is self.trained else Recommender(known, self.users, self.items, self.adapters)

    def similar_items(self, item: str, k: int = 10) -> pl.DataFrame:
        """The k items whose vectors point most nearly the way of ``item``'s: ``item_id``, ``score`` (cosine).

        With item-item weights those that ``item`` speaks for most.
        """
        if self.up_to_date is not self:
            return self.up_to_date.similar_items(item, k)
        code = self._item_code(item)
        if isinstance(self.scorer, ItemItem):
            scores = self.scorer.similar(code)
        else:
            # Without the column of the popularity term, which says nothing about likeness.
            vectors = torch.nn.functional.normalize(self.scorer.items[:, : self.config.model.dim], dim=1)
            scores = vectors @ vectors[code]
        scores[code] = -torch.inf
        return self._best(scores, k, self.items[Columns.ITEM], Columns.ITEM)

    def users_for(self, item: str, k: int = 10) -> pl.DataFrame:
        """The k users who would rather get ``item`` than anybody else: ``user_id``, ``score``.

        Users who know the item are left out.
        """
        if self.up_to_date is not self:
            return self.up_to_date.users_for(item, k)
        code = self._item_code(item)
        if isinstance(self.scorer, ItemItem):
            scores = self.scorer.of_item(code)
        else:
            scores = self.scorer.users @ self.scorer.items[code]
            if self.scorer.comes_next is not None:
                scores += torch.from_numpy(self.scorer.comes_next.of_item(code))
        train = self.split.train
        scores[torch.from_numpy(train.users[train.items == code].astype(np.int64))] = -torch.inf
        return self._best(scores, k, self.users[Columns.USER], Columns.USER)

    def history(self, user: str) -> pl.DataFrame:
        """The training items of a user, most recent first, with their texts."""
        code = self._user_codes([user])[0]
        train = self.split.train
        return self.items[train.items[train.users == code][::-1].astype(np.int64)]

    def add_items(self, table: str | Path | pl.DataFrame, *, show_progress: bool = False) -> int:
        """Let items unseen in training enter by their text; those already known are passed over.

        Parameters
        ----------
        table:
            ``item_id`` and text fields as in ``items.parquet``, or under the
            names by which ``recmind prepare`` knows them; a Parquet, CSV or JSON
            lines file or a frame.

        Returns
        -------
        int
            How many items were new.

        Raises
        ------
        DataError
            If the table cannot be read, or has no ``item_id`` or no text.
        ConfigError
            If the run's model reads no texts, or does not make vectors of them.
        """
        if not places_new_items(self.config.model.name) or isinstance(self.scorer, ItemItem):
            why = "makes no vectors of texts" if needs_text(self.config.model.name) else "reads no texts"
            raise ConfigError(
                f"the model {self.config.model.name!r} {why} and cannot place new items",
                where="--new-items",
                hint="train recmind or text",
            )
        from recmind.language.features import encode_items

        frame = table if isinstance(table, pl.DataFrame) else read_table(table)
        # Columns by their usual names, as `recmind prepare` finds them: a Title is a title here too.
        where = Path("new items") if isinstance(table, pl.DataFrame) else Path(table)
        named = match_columns(frame.columns, "items", {}, where)
        frame = frame.rename({theirs: ours for ours, theirs in named.items()})
        # The dataset's own checks of an item table: ids there, not null, not repeated.
        known = pl.DataFrame({Columns.USER: ["-"], Columns.ITEM: self.items[Columns.ITEM].head(1)})
        checked = Dataset.from_frames(known, frame).items
        if not (set(frame.columns) - {Columns.ITEM}) & {*ITEM_TEXT_FIELDS, *self.items.columns}:
            raise DataError(
                "no column of the table has a text",
                where=where,
                got=frame.columns,
                accepted=ITEM_TEXT_FIELDS,
                hint="what nobody has bought is known by its texts alone",
            )
        new = checked.join(self.items, on=Columns.ITEM, how="anti")
        if there := frame.height - new.height:
            note(f"{there:,} of {frame.height:,} items are in the run already and stay as they are", show=show_progress)
        if new.height:
            vectors, has_text = encode_items(
                new, self.config.text, self.config.language, adapters=self.adapters, show_progress=show_progress
            )
            self.trained = self.trained.with_items(torch.from_numpy(vectors), torch.from_numpy(has_text))
            self.scorer = self.trained.scorer()
            # Columns of another type than the run's (a CSV file holds no lists) have been read and are not kept.
            types = self.items.schema
            kept = [name for name in new.columns if types.get(name, new.schema[name]) == new.schema[name]]
            self.items = pl.concat([self.items, new.select(kept)], how="diagonal")
            self.__dict__.pop("up_to_date", None)  # it has not heard of them
        return new.height

    @property
    def vectors(self) -> VectorScorer:
        """The scorer of a run that keeps vectors."""
        assert isinstance(self.scorer, VectorScorer)
        return self.scorer

    @property
    def config(self) -> Config:
        """Settings of the run."""
        return self.trained.config

    @property
    def split(self) -> Split:
        """The interactions that the run knows, and those that are held out."""
        return self.trained.split

    def _user_codes(self, users: str | Path | list[str] | None) -> np.ndarray:
        if users is None:
            return np.arange(self.users.height)
        ids = read_ids(users) if isinstance(users, str | Path) else [str(user) for user in users]
        return _codes(ids, self.users[Columns.USER], "user")

    def _item_code(self, item: str) -> int:
        return int(_codes([item], self.items[Columns.ITEM], "item")[0])

    def _best(self, scores: Tensor, k: int, ids: pl.Series, name: str) -> pl.DataFrame:
        best = scores.topk(min(k, len(scores)))
        found = pl.DataFrame({name: ids.gather(best.indices.numpy()), Columns.SCORE: best.values.numpy()})
        return found.filter(pl.col(Columns.SCORE).is_finite())


def _of_one_time(folder: RunFolder) -> tuple[dict[str, Tensor], pl.DataFrame, pl.DataFrame]:
    """Model, users and items that belong together, also while another process refreshes the run."""
    while True:
        before = folder.refreshes()
        found = folder.read_model(), folder.read_table(Files.USERS), folder.read_table(Files.ITEMS)
        if folder.refreshes() == before:
            return found


def _codes(ids: list[str], known: pl.Series, what: str) -> np.ndarray:
    lookup = pl.DataFrame({"id": known, "code": np.arange(len(known), dtype=np.int64)})
    found = pl.DataFrame({"id": pl.Series(ids, dtype=pl.String)}).join(
        lookup, on="id", how="left", maintain_order="left"
    )
    missing = found.filter(pl.col("code").is_null())["id"]
    if len(missing):
        raise DataError(
            f"{len(missing)} of {len(ids)} {what}s are not in the run",
            where=what,
            got=missing.head(5).to_list(),
            accepted=f"the {what}_id of the dataset that was trained on, such as {known.head(3).to_list()}",
        )
    return found["code"].to_numpy()
