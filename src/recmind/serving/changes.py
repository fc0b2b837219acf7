"""Tables of changed items and users: checked, and laid over the tables of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from recmind.data.dataset import Dataset
from recmind.errors import DataError
from recmind.schema import Columns
from recmind.serving.tables import read_table

_NAMES = {Columns.ITEM: "items", Columns.USER: "users"}


@dataclass(frozen=True)
class Changed:
    """A run's table with the changes laid over it.

    Attributes
    ----------
    table:
        The new table: the run's rows in their order, then the new ones.
    rows:
        Rows of the run that the changes name, ``(n,)``.
    n_old:
        Rows of the run; those from here on are new.
    """

    table: pl.DataFrame
    rows: np.ndarray
    n_old: int

    @property
    def n_new(self) -> int:
        """How many rows are new."""
        return self.table.height - self.n_old


def read_changes(given: str | Path | pl.DataFrame, key: str, read: tuple[str, ...]) -> tuple[pl.DataFrame, str]:
    """A table of changes with ids as text, and where it is from.

    Parameters
    ----------
    key:
        ``item_id`` or ``user_id``.
    read:
        Columns that are read; one of them must be there.

    Raises
    ------
    DataError
        With the file, the column and the value that is wrong.
    """
    name = _NAMES[key]
    where = str(given) if not isinstance(given, pl.DataFrame) else name
    frame = given if isinstance(given, pl.DataFrame) else read_table(given)
    # The dataset's own checks of such a table: ids there, of a kind that can be one, not null, not repeated.
    one = pl.DataFrame({Columns.USER: ["-"], Columns.ITEM: ["-"]})
    try:
        tables = {"items": None, "users": None} | {name: frame}
        checked = getattr(Dataset.from_frames(one, tables["items"], tables["users"]), name)
    except DataError as error:
        place = str(error.where or name).removeprefix(name).lstrip(", ")
        raise DataError(
            error.what,
            where=f"{where}, {place}" if place else where,
            got=error.got,
            accepted=error.accepted,
            hint=error.hint,
        ) from error
    ids = frame[key].cast(pl.String)
    checked = checked.filter(pl.col(key).is_in(ids.implode()))
    _check_columns(checked, key, read, where)
    return checked, where


def _check_columns(frame: pl.DataFrame, key: str, read: tuple[str, ...], where: str) -> None:
    if not set(read) & set(frame.columns):
        raise DataError("no column of the table is read", where=where, got=frame.columns, accepted=read)
    for name in read:
        if name in frame.columns and (frame.schema[name] in (pl.Binary, pl.Object) or frame.schema[name].is_temporal()):
            value = frame[name].drop_nulls().head(1).to_list()
            raise DataError(
                f"{name} of {key.removesuffix('_id')} {frame[key][0]!r} is no text",
                where=f"{where}, column {name!r}",
                got=value[0] if value else str(frame.schema[name]),
                accepted="text, a number, or a list of texts",
            )


def lay_over(table: pl.DataFrame, changes: pl.DataFrame, key: str, where: str) -> Changed:
    """``table`` with the values of ``changes`` in the columns that those have; the others stay as they are.

    Raises
    ------
    DataError
        If a value cannot be of the kind that the run's column is of.
    """
    fitting = changes.with_columns(
        _fitting(changes, name, table.schema[name], key, where) for name in changes.columns if name in table.schema
    )
    known = table.select(key).with_row_index("row").join(fitting.select(key), on=key, how="semi")
    names = [name for name in fitting.columns if name != key]
    patched = table.join(
        fitting.with_columns(pl.lit(True).alias("__changed")), on=key, how="left", maintain_order="left", suffix="__new"
    )
    columns = []
    for name in names:
        if name in table.columns:
            new = pl.when(pl.col("__changed").is_not_null()).then(pl.col(f"{name}__new")).otherwise(pl.col(name))
            columns.append(new.alias(name))
        else:
            columns.append(pl.col(name))
    patched = patched.with_columns(columns).select(
        *table.columns, *(name for name in names if name not in table.columns)
    )
    fresh = fitting.join(table.select(key), on=key, how="anti", maintain_order="left")
    return Changed(pl.concat([patched, fresh], how="diagonal"), known["row"].to_numpy().astype(np.int64), table.height)


def _fitting(changes: pl.DataFrame, name: str, kind: pl.DataType, key: str, where: str) -> pl.Series:
    """A column as the run has it; a CSV file holds no lists, so one text stands for a list of one."""
    column = changes[name]
    if column.dtype == kind:
        return column
    if isinstance(kind, pl.List) and not column.dtype.is_nested():
        texts = column.cast(pl.String)
        return texts.to_frame().select(pl.when(texts.is_not_null()).then(pl.concat_list(texts))).to_series().cast(kind)
    try:
        cast = column.cast(kind, strict=False)
    except pl.exceptions.PolarsError:
        cast = pl.Series(name, [None] * len(column), dtype=kind)
    lost = (cast.is_null() & column.is_not_null()).arg_true()
    if len(lost):
        raise DataError(
            f"{name} of {key.removesuffix('_id')} {changes[key][int(lost[0])]!r} is of another kind than in the run",
            where=f"{where}, column {name!r}",
            got=column[int(lost[0])],
            accepted=f"{kind}",
        )
    return cast.alias(name)
