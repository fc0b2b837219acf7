"""The dataset: interactions and texts behind one frozen object.

String ids outside, dense int32 codes inside. Items and users are sorted by id,
so codes do not depend on the order of the input or on who bought what.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recmind.data.ordering import counts_of
from recmind.data.tables import Events, encode, read_entities, read_events, read_info, read_parquet, readable
from recmind.errors import DataError
from recmind.files import write_atomic
from recmind.schema import INTERACTION_EXTRAS, ITEM_TEXT_FIELDS, SCHEMA_VERSION, Columns, Files

_HASHED_ROWS = 2**20


@dataclass(frozen=True)
class Dataset:
    """Interactions, items and users.

    Attributes
    ----------
    interactions:
        One row per (user, item) pair, sorted by user and then by time:
        ``user`` and ``item`` (int32 codes) and whichever of ``timestamp``,
        ``order``, ``rating`` and ``review_text`` the source has.
    items:
        One row per item, sorted by ``item_id``; the row number is the code.
    users:
        One row per user, sorted by ``user_id``; the row number is the code.
    info:
        What ``dataset.json`` holds beside the counts: source, what was
        filtered and why, where the order comes from.

    Build one with :meth:`load` or :meth:`from_frames`.
    """

    interactions: pl.DataFrame
    items: pl.DataFrame
    users: pl.DataFrame
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def n_users(self) -> int:
        """Number of users."""
        return self.users.height

    @property
    def n_items(self) -> int:
        """Number of items, those without an interaction included."""
        return self.items.height

    @property
    def n_interactions(self) -> int:
        """Number of distinct (user, item) pairs."""
        return self.interactions.height

    @cached_property
    def user_codes(self) -> np.ndarray:
        """User code of every interaction, int32 ``(n_interactions,)``."""
        return self.interactions[Columns.USER_CODE].to_numpy()

    @cached_property
    def item_codes(self) -> np.ndarray:
        """Item code of every interaction, int32 ``(n_interactions,)``."""
        return self.interactions[Columns.ITEM_CODE].to_numpy()

    @property
    def user_ids(self) -> pl.Series:
        """Ids of the users; the position is the code."""
        return self.users[Columns.USER]

    @property
    def item_ids(self) -> pl.Series:
        """Ids of the items; the position is the code."""
        return self.items[Columns.ITEM]

    @cached_property
    def hash(self) -> str:
        """Hex digest of everything in the three tables; equal content, equal hash (with the same polars)."""
        digest = hashlib.sha256()
        for frame in (self.interactions, self.items, self.users):
            digest.update(json.dumps([(n, str(t)) for n, t in frame.schema.items()]).encode())
            for part in frame.iter_slices(_HASHED_ROWS):
                digest.update(part.hash_rows(seed=0).to_numpy().data)
        return digest.hexdigest()

    @classmethod
    def from_frames(
        cls,
        interactions: Any,
        items: Any = None,
        users: Any = None,
        *,
        info: dict[str, Any] | None = None,
    ) -> Dataset:
        """A dataset from tables.

        Parameters
        ----------
        interactions:
            ``user_id`` and ``item_id``, and any of ``timestamp``, ``order``,
            ``rating``, ``review_text``. Any dataframe that speaks Arrow:
            polars, pandas, pyarrow, DuckDB. Repeated pairs keep their first
            row in time.
        items, users:
            Optional tables of texts with ``item_id`` or ``user_id``. Items
            without an interaction stay: they are the new ones.

        Raises
        ------
        DataError
            If a column is missing, an id is null or repeated in ``items`` or
            ``users``, or there is no interaction.
        """
        return cls._of(read_events(interactions), items, users, info or {})

    @classmethod
    def load(cls, path: str | Path) -> Dataset:
        """Read a dataset folder; only ``interactions.parquet`` must be there.

        Raises
        ------
        DataError
            If the folder or the file is missing, unreadable or of a newer
            schema version.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise DataError("there is no such dataset folder", where=folder, hint="make one with `recmind prepare`")
        path = folder / Files.INTERACTIONS
        if not path.exists():
            raise DataError(
                f"the dataset folder holds no {Files.INTERACTIONS}",
                where=folder,
                got=sorted(entry.name for entry in folder.iterdir())[:20],
                hint="make a dataset with `recmind prepare`",
            )
        info = {"name": folder.resolve().name, **read_info(folder / Files.DATASET)}
        try:
            with readable(path):
                events = read_events(pl.scan_parquet(path, glob=False))
            items, users = read_parquet(folder / Files.ITEMS), read_parquet(folder / Files.USERS)
            return cls._of(events, items, users, info)
        except DataError as error:
            raise DataError(
                error.what, where=f"{folder}: {error.where}", got=error.got, accepted=error.accepted, hint=error.hint
            ) from error

    @classmethod
    def _of(cls, events: Events, items: Any, users: Any, info: dict[str, Any]) -> Dataset:
        item_table = read_entities(items, "items", Columns.ITEM, events.item_ids)
        user_table = read_entities(users, "users", Columns.USER, events.user_ids)
        if not len(events.columns[Columns.USER_CODE]):
            raise DataError("there are no interactions", where="interactions")
        encoded, derived = encode(events, item_table, user_table)
        return cls(encoded, item_table, user_table, {**info, **derived})

    def save(self, path: str | Path) -> None:
        """Write the dataset folder; each file is written whole or not at all."""
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        ids = self.interactions.select(
            self.user_ids.gather(self.interactions[Columns.USER_CODE]).alias(Columns.USER),
            self.item_ids.gather(self.interactions[Columns.ITEM_CODE]).alias(Columns.ITEM),
            *[column for column in INTERACTION_EXTRAS if column in self.interactions.columns],
        )
        write_atomic(folder / Files.INTERACTIONS, ids.write_parquet)
        write_atomic(folder / Files.ITEMS, self.items.write_parquet)
        if self.users.width > 1:
            write_atomic(folder / Files.USERS, self.users.write_parquet)
        else:
            (folder / Files.USERS).unlink(missing_ok=True)
        summary = {**self.info, **self.counts(), "schema_version": SCHEMA_VERSION, "hash": self.hash}
        write_atomic(folder / Files.DATASET, lambda p: p.write_text(json.dumps(summary, indent=2, default=str) + "\n"))

    def counts(self) -> dict[str, int | float]:
        """Sizes of the dataset, as ``dataset.json`` states them."""
        return {
            "n_users": self.n_users,
            "n_items": self.n_items,
            "n_interactions": self.n_interactions,
            "n_items_without_interaction": int((counts_of(self.item_codes, self.n_items) == 0).sum()),
            "n_items_with_text": int(_has_text(self.items).sum()),
        }


def _has_text(items: pl.DataFrame) -> pl.Series:
    fields = [name for name in ITEM_TEXT_FIELDS if name in items.columns]
    if not fields:
        return pl.Series([False] * items.height, dtype=pl.Boolean)
    blank = [_as_text(items, name).fill_null("").str.strip_chars().eq("") for name in fields]
    return items.select(~pl.all_horizontal(blank)).to_series()


def _as_text(items: pl.DataFrame, name: str) -> pl.Expr:
    if isinstance(items.schema[name], pl.List):
        return pl.col(name).list.eval(pl.element().cast(pl.String, strict=False)).list.join("", ignore_nulls=True)
    return pl.col(name).cast(pl.String, strict=False)
