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

from recmind.errors import DataError
from recmind.files import write_atomic
from recmind.schema import INTERACTION_EXTRAS, ITEM_TEXT_FIELDS, SCHEMA_VERSION, Columns, Files


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
            digest.update(frame.hash_rows(seed=0).to_numpy().tobytes())
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
        events = _as_frame(interactions, "interactions", (Columns.USER, Columns.ITEM))
        item_table = _entities(items, "items", Columns.ITEM, events[Columns.ITEM])
        user_table = _entities(users, "users", Columns.USER, events[Columns.USER])
        if events.is_empty():
            raise DataError("there are no interactions", where="interactions")
        encoded, derived = _encode(events, item_table, user_table)
        return cls(encoded, item_table, user_table, {**(info or {}), **derived})

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
        interactions = _read_parquet(folder / Files.INTERACTIONS)
        if interactions is None:
            raise DataError(
                f"the dataset folder holds no {Files.INTERACTIONS}",
                where=folder,
                got=sorted(entry.name for entry in folder.iterdir())[:20],
                hint="make a dataset with `recmind prepare`",
            )
        info = {"name": folder.resolve().name, **_read_info(folder / Files.DATASET)}
        try:
            return cls.from_frames(
                interactions,
                _read_parquet(folder / Files.ITEMS),
                _read_parquet(folder / Files.USERS),
                info=info,
            )
        except DataError as error:
            raise DataError(
                error.what, where=f"{folder}: {error.where}", got=error.got, accepted=error.accepted, hint=error.hint
            ) from error

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
            "n_items_without_interaction": int((np.bincount(self.item_codes, minlength=self.n_items) == 0).sum()),
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


def _read_parquet(path: Path) -> pl.DataFrame | None:
    if not path.exists():
        return None
    try:
        return pl.read_parquet(path)
    except Exception as error:  # polars has no common base class for damaged files
        raise DataError(f"the file cannot be read as Parquet: {error}", where=path) from error


def _read_info(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        info = json.loads(path.read_text())
    except ValueError as error:
        raise DataError(f"the file is not valid JSON: {error}", where=path) from error
    if not isinstance(info, dict):
        raise DataError("the file must hold a JSON object", where=path, got=info)
    version = info.get("schema_version", 1)
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise DataError(
            "the dataset was written by a newer version of RecMind",
            where=path,
            got=version,
            accepted=f"schema_version up to {SCHEMA_VERSION}",
        )
    return {key: value for key, value in info.items() if not key.startswith("n_") and key != "hash"}


def _as_frame(table: Any, name: str, required: tuple[str, ...]) -> pl.DataFrame:
    """``table`` as polars, with the required columns as non-null strings."""
    frame = table if isinstance(table, pl.DataFrame) else _from_arrow(table, name)
    for column in required:
        if column not in frame.columns:
            raise DataError(
                f"the column {column!r} is missing",
                where=name,
                got=frame.columns,
                accepted=required,
                hint="rename your column, or map it with `recmind prepare table`",
            )
        nulls = frame[column].null_count()
        if nulls:
            first = frame[column].is_null().arg_true()[0]
            raise DataError(
                f"{nulls} rows have no {column}", where=f"{name}, row {first}", hint="drop them, or use recmind prepare"
            )
        if frame.schema[column].is_float() or frame.schema[column].is_nested():
            raise DataError(
                f"{column} must be text or whole numbers",
                where=f"{name}, column {column!r}",
                got=str(frame.schema[column]),
                accepted="String, Categorical or an integer type",
            )
    return frame.with_columns(pl.col(column).cast(pl.String) for column in required)


def _from_arrow(table: Any, name: str) -> pl.DataFrame:
    if isinstance(table, pl.LazyFrame):
        return table.collect()
    try:
        return pl.DataFrame(table)
    except Exception as error:  # whatever the foreign library raises
        raise DataError(
            f"the table cannot be read as a dataframe: {error}",
            where=name,
            got=type(table).__name__,
            accepted="a polars, pandas or pyarrow table, or anything that speaks Arrow",
        ) from error


def _entities(table: Any, name: str, key: str, seen: pl.Series) -> pl.DataFrame:
    """The table of items or users: one row per id, those only seen in interactions added."""
    ids = seen.unique().rename(key).to_frame()
    if table is None:
        return ids.sort(key)
    frame = _as_frame(table, name, (key,))
    repeated = frame.filter(pl.col(key).is_duplicated())[key].unique().sort()
    if len(repeated):
        raise DataError(
            f"{len(repeated)} ids occur more than once",
            where=f"{name}, column {key!r}",
            got=repeated.head(5).to_list(),
            hint="keep one row per id",
        )
    return pl.concat([frame, ids.join(frame, on=key, how="anti")], how="diagonal").sort(key)


def _encode(events: pl.DataFrame, items: pl.DataFrame, users: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Codes for ids, rows sorted by user and time, repeated pairs reduced to their first."""
    clock = next((c for c in (Columns.TIMESTAMP, Columns.ORDER) if c in events.columns), None)
    extras = [column for column in INTERACTION_EXTRAS if column in events.columns]
    encoded = events.select(
        _codes(events[Columns.USER], users[Columns.USER]).alias(Columns.USER_CODE),
        _codes(events[Columns.ITEM], items[Columns.ITEM]).alias(Columns.ITEM_CODE),
        *extras,
    )
    if clock is not None:
        encoded = encoded.with_columns(_checked_clock(encoded[clock]))
    keys = [Columns.USER_CODE, *([clock] if clock else [])]
    if not _is_sorted(encoded, keys):
        encoded = encoded.sort(keys, maintain_order=True)
    if clock is not None:
        # Only now, so that times within one second keep their order.
        encoded = encoded.with_columns(_whole(encoded[clock]))
    pair = pl.col(Columns.USER_CODE).cast(pl.Int64) * items.height + pl.col(Columns.ITEM_CODE)
    first = encoded.select(pair.is_first_distinct()).to_series()
    repeats = encoded.height - int(first.sum())
    unique = encoded.filter(first) if repeats else encoded
    return unique, {"ordered_by": clock or "row order", "repeats_removed_at_load": repeats}


def _codes(ids: pl.Series, known: pl.Series) -> pl.Series:
    """Position of each id in ``known``, int32 ``(n,)``."""
    frame = known.alias("id").to_frame().with_row_index("code")
    codes = ids.alias("id").to_frame().join(frame, on="id", how="left", maintain_order="left")["code"]
    return codes.cast(pl.Int32)


def _is_sorted(frame: pl.DataFrame, keys: list[str]) -> bool:
    """Whether rows are sorted by ``keys``; most datasets are, and sorting is the dearest part of a load."""
    ahead, tied = pl.lit(False), pl.lit(True)
    for key in keys:
        before = pl.col(key).shift(1)
        ahead |= tied & (pl.col(key) < before)
        tied &= pl.col(key) == before
    return not frame.select(ahead.any()).item()


def _checked_clock(column: pl.Series) -> pl.Series:
    """Times that can be compared: numbers, with microseconds for dates."""
    if column.dtype.is_temporal() and column.dtype not in (pl.Duration, pl.Time):
        column = column.cast(pl.Datetime("us"))
    elif not column.dtype.is_numeric():
        raise DataError(
            "times must be numbers or dates",
            where=f"interactions, column {column.name!r}",
            got=str(column.dtype),
            accepted="seconds since 1970, a date, a datetime",
        )
    missing = column.is_null() | column.is_nan() if column.dtype.is_float() else column.is_null()
    if missing.any():
        raise DataError(
            f"{missing.sum()} interactions have no {column.name}",
            where=f"interactions, row {missing.arg_true()[0]}",
            hint=f"drop them, or leave the column {column.name!r} out altogether",
        )
    return column


def _whole(column: pl.Series) -> pl.Series:
    """Times as int64: seconds since 1970, or positions; positions between whole numbers stay as they are."""
    if column.dtype.is_temporal():
        return column.dt.epoch("s")
    if column.name == Columns.TIMESTAMP:
        return (column.floor() if column.dtype.is_float() else column).cast(pl.Int64)
    whole = column.cast(pl.Int64, strict=False)
    return whole if (whole == column).all() else column
