"""Fields as plain text: markup and blanks out, nested values written as a line."""

from __future__ import annotations

import html
from typing import Any

import polars as pl

_ENTITY = r"&(?:#\d+|#x[0-9a-fA-F]+|[a-zA-Z][a-zA-Z0-9]*);"
_SCRIPT = r"(?is)<script\b.*?</script\s*>|<style\b.*?</style\s*>|<!--.*?-->"
# A tag starts with a letter, so that "<3" and "5 < 6" stay.
_TAG = r"</?[a-zA-Z][^<>]*>"
_BLANKS = r"[\s\x00-\x1f\u200b\u2060\ufeff]+"
_WORD = r"[\p{L}\p{N}]"


def plain_text(column: pl.Series) -> pl.Series:
    """``column`` as clean one-line texts; null where nothing is left.

    Entities are decoded, tags, scripts and comments removed, blanks collapsed.
    A value without a single letter or digit (``""``, ``"<br>"``, ``"[]"``, ``"-"``)
    is missing. Lists are joined with commas, structs written as ``key: value``.
    """
    texts = _as_strings(column)
    escaped = texts.str.contains(_ENTITY).fill_null(False)
    if escaped.any():
        decoded = pl.Series([html.unescape(text) for text in texts.filter(escaped)], dtype=pl.String)
        texts = texts.scatter(escaped.arg_true(), decoded)
    clean = (
        texts.str.replace_all(_SCRIPT, " ").str.replace_all(_TAG, " ").str.replace_all(_BLANKS, " ").str.strip_chars()
    )
    frame = pl.DataFrame({"text": clean})
    kept = pl.when(pl.col("text").str.contains(_WORD)).then(pl.col("text"))
    return frame.select(kept.alias(column.name)).to_series()


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
