"""Tables as they come in: read, checked, and their ids turned into codes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recmind.data.ordering import by_user_and_time, later_repeats
from recmind.errors import DataError
from recmind.schema import INTERACTION_EXTRAS, SCHEMA_VERSION, Columns


@dataclass
class Events:
    """Interactions as they were read, with ids as numbers of the distinct ids.

    Text ids of many interactions would fill the memory, so they are read in
    pieces and only the distinct ones are kept.

    Attributes
    ----------
    columns:
        ``user`` and ``item``: for each interaction the place of its id in
        ``user_ids`` or ``item_ids``, uint32; and the optional columns that are there.
    user_ids, item_ids:
        Distinct ids, text, in no particular order.
    """

    columns: dict[str, pl.Series]
    user_ids: pl.Series
    item_ids: pl.Series


def read_events(table: Any) -> Events:
    """The table of interactions, checked.

    Raises
    ------
    DataError
        If it is no table, a column is missing, or an id is null or not text or a whole number.
    """
    name = "interactions"
    frame = _as_lazy(table, name)
    schema = frame.collect_schema()
    _check_columns(schema, name, (Columns.USER, Columns.ITEM))
    extras = [column for column in INTERACTION_EXTRAS if column in schema]
    # One dictionary of ids per column, shared by all pieces of the stream.
    users, items = pl.Categories.random(), pl.Categories.random()
    read = frame.select(
        pl.col(Columns.USER).cast(pl.String).cast(pl.Categorical(users)),
        pl.col(Columns.ITEM).cast(pl.String).cast(pl.Categorical(items)),
        *extras,
    ).collect(engine="streaming")
    _check_nulls(read, name, (Columns.USER, Columns.ITEM))
    columns = {
        Columns.USER_CODE: read[Columns.USER].to_physical(),
        Columns.ITEM_CODE: read[Columns.ITEM].to_physical(),
        **{column: read[column] for column in extras},
    }
    return Events(columns, users.to_series(), items.to_series())


def read_entities(table: Any, name: str, key: str, seen: pl.Series) -> pl.DataFrame:
    """The table of items or users: one row per id, those only seen in interactions added, sorted by id."""
    ids = seen.alias(key).to_frame()
    if table is None:
        return ids.sort(key)
    frame = _as_lazy(table, name).collect()
    _check_columns(frame.schema, name, (key,))
    _check_nulls(frame, name, (key,))
    frame = frame.with_columns(pl.col(key).cast(pl.String))
    repeated = frame.filter(pl.col(key).is_duplicated())[key].unique().sort()
    if len(repeated):
        raise DataError(
            f"{len(repeated)} ids occur more than once",
            where=f"{name}, column {key!r}",
            got=repeated.head(5).to_list(),
            hint="keep one row per id",
        )
    return pl.concat([frame, ids.join(frame, on=key, how="anti")], how="diagonal").sort(key)


def encode(events: Events, items: pl.DataFrame, users: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Codes for ids, rows sorted by user and time, repeated pairs reduced to their first.

    Takes the columns out of ``events``: each is freed when the next form of it is there.
    """
    columns, events.columns = events.columns, {}
    user, item = Columns.USER_CODE, Columns.ITEM_CODE
    columns[user] = _codes(events.user_ids, users[Columns.USER]).gather(columns[user])
    columns[item] = _codes(events.item_ids, items[Columns.ITEM]).gather(columns[item])
    clock = next((c for c in (Columns.TIMESTAMP, Columns.ORDER) if c in columns), None)
    if clock is not None:
        columns[clock] = _checked_clock(columns[clock])
    for name, column in columns.items():
        columns[name] = column.rechunk()
    order = by_user_and_time(columns[user].to_numpy(), columns[clock] if clock else None, users.height)
    if order is not None:
        for name, column in columns.items():
            columns[name] = column.gather(order)
    if clock is not None:
        # Only now, so that times within one second keep their order.
        columns[clock] = _whole(columns[clock])
    repeats = later_repeats(columns[user].to_numpy(), columns[item].to_numpy(), items.height)
    if len(repeats):
        kept = np.ones(len(columns[user]), dtype=bool)
        kept[repeats] = False
        for name, column in columns.items():
            columns[name] = column.filter(pl.Series(kept))
    frame = pl.DataFrame([column.alias(name) for name, column in columns.items()])
    return frame, {"ordered_by": clock or "row order", "repeats_removed_at_load": len(repeats)}


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Say of which file it is that reading failed; polars has no common base class for damaged files."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"the file cannot be read as Parquet: {error}", where=path) from error


def read_parquet(path: Path) -> pl.DataFrame | None:
    """The whole file; ``None`` where there is none."""
    if not path.exists():
        return None
    with readable(path):
        return pl.read_parquet(path, glob=False)


def read_info(path: Path) -> dict[str, Any]:
    """What ``dataset.json`` says beside the counts; nothing where there is no such file."""
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


def _as_lazy(table: Any, name: str) -> pl.LazyFrame:
    if isinstance(table, pl.LazyFrame):
        return table
    try:
        return pl.DataFrame(table).lazy()
    except Exception as error:  # whatever the foreign library raises
        raise DataError(
            f"the table cannot be read as a dataframe: {error}",
            where=name,
            got=type(table).__name__,
            accepted="a polars, pandas or pyarrow table, or anything that speaks Arrow",
        ) from error


def _check_columns(schema: pl.Schema, name: str, required: tuple[str, ...]) -> None:
    for column in required:
        if column not in schema:
            raise DataError(
                f"the column {column!r} is missing",
                where=name,
                got=list(schema),
                accepted=required,
                hint="rename your column, or map it with `recmind prepare table`",
            )
        if schema[column].is_float() or schema[column].is_nested():
            raise DataError(
                f"{column} must be text or whole numbers",
                where=f"{name}, column {column!r}",
                got=str(schema[column]),
                accepted="String, Categorical or an integer type",
            )


def _check_nulls(frame: pl.DataFrame, name: str, required: tuple[str, ...]) -> None:
    for column in required:
        nulls = frame[column].null_count()
        if nulls:
            first = frame[column].is_null().arg_true()[0]
            raise DataError(
                f"{nulls} rows have no {column}", where=f"{name}, row {first}", hint="drop them, or use recmind prepare"
            )


def _codes(ids: pl.Series, known: pl.Series) -> pl.Series:
    """Position of each id in ``known``, int32 ``(n,)``."""
    frame = known.alias("id").to_frame().with_row_index("code")
    codes = ids.alias("id").to_frame().join(frame, on="id", how="left", maintain_order="left")["code"]
    return codes.cast(pl.Int32)


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
