"""Fields as plain text: markup and blanks out, nested values written as a line."""

from __future__ import annotations

from typing import Any

import polars as pl

from recmind.data.sources.cleaning import clean_text
from recmind.schema import Columns

_SHORT = (Columns.TITLE, Columns.BRAND)
_SAYS_SOMETHING = r"[\p{L}\p{N}]"


def plain_text(column: pl.Series) -> pl.Series:
    """``column`` as clean one-line texts; null where nothing is left.

    Sources clean what they read, but a dataset can also come from a table of
    the user's own. A value without a single letter or digit (``""``,
    ``"<br>"``, ``"[]"``, ``"-"``) is missing. Lists are joined with commas,
    structs written as ``key: value``.
    """
    clean = clean_text(_as_strings(column).alias("text"), short=column.name in _SHORT)
    kept = pl.when(pl.col("text").str.contains(_SAYS_SOMETHING)).then(pl.col("text"))
    return clean.to_frame().select(kept.alias(column.name)).to_series()


def _as_strings(column: pl.Series) -> pl.Series:
    if column.dtype == pl.List(pl.String):
        return column.list.join(", ", ignore_nulls=True)
    if column.dtype.is_nested():
        return pl.Series(column.name, [_one_line(value) for value in column.to_list()], dtype=pl.String)
    return column.cast(pl.String)


def _one_line(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, dict):
        pairs = [(key, _one_line(part)) for key, part in value.items()]
        return ", ".join(f"{key}: {part}" for key, part in pairs if part)
    if isinstance(value, list):
        return ", ".join(part for part in map(_one_line, value) if part)
    return str(value)
