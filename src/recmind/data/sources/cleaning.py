"""Texts without HTML debris, entities and stray whitespace, at the speed of a column."""

from __future__ import annotations

import ast
import html
import json
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import polars as pl

_TAGS = (
    "a|abbr|article|b|big|blockquote|body|br|button|caption|center|cite|code|col|dd|del|div|dl|dt|em|embed|fieldset|"
    "figure|font|footer|form|h[1-6]|head|header|hr|html|i|iframe|img|input|ins|label|li|link|main|meta|nav|noscript|"
    "object|ol|option|p|param|pre|s|section|select|small|source|span|strike|strong|sub|sup|svg|table|tbody|td|"
    "textarea|tfoot|th|thead|tr|tt|u|ul|video"
)
# Only real tags count, bare or with attributes, so that "a<b but c>d" and "<grin>" stay.
_BLOCKS = r"(?is)<(?:script\b.*?(?:</script\s*>|$)|style\b.*?(?:</style\s*>|$)|!--.*?(?:-->|$)|!doctype[^>]*>)"
_TAG = rf"(?i)</?(?:{_TAGS})(?:\s[^<>]*=[^<>]*)?\s*/?>"
_OPEN_TAG = rf"(?i)<(?:{_TAGS})\s+[a-z-]+\s*=[^<>]*$"
"""A tag that is cut off before its end, as in the titles of the 2018 Amazon metadata."""
_TAIL_OF_TAG = r'^[^<>]*"\s*/?>'
"""The second half of a tag at the start of a short field."""
_SCRIPT = r"getTime\(|var aPageStart|\bfunction\s*\(|^\s*\.[a-zA-Z][\w-]*\s*\{"
"""Scripts and style sheets in the place of a title."""
_SPACE = r"[\s\x00-\x1f\x7f]{2,}|[^\S ]|[\x00-\x1f\x7f]"
_ENTITY = r"&(?:#\d|#[xX][0-9a-fA-F]|[a-zA-Z][a-zA-Z0-9]{1,30};)"

_COMMON = {
    "&amp;": "&",
    "&quot;": '"',
    "&#34;": '"',
    "&apos;": "'",
    "&#39;": "'",
    "&#039;": "'",
    "&lt;": "<",
    "&gt;": ">",
    "&nbsp;": " ",
}


def clean_text(texts: pl.Series, *, short: bool = False) -> pl.Series:
    """Texts without markup, ``(n,)``; what is left empty becomes null.

    Entities are decoded, twice where they were encoded twice; tags, scripts,
    style sheets and comments go; runs of whitespace become one space.

    Parameters
    ----------
    texts:
        Text column.
    short:
        A title or a brand: halves of tags and scripts are removed too.
    """
    column = pl.col(texts.name)
    frame = _decode_entities(texts).to_frame()
    expression = column
    if frame.select(column.str.contains("[<>]").any()).item():
        if frame.select(column.str.contains(r"<[!sS]").any()).item():
            expression = expression.str.replace_all(_BLOCKS, " ")
        expression = expression.str.replace_all(_TAG, " ").str.replace(_OPEN_TAG, " ")
        if short:
            expression = expression.str.replace(_TAIL_OF_TAG, " ")
    if short:
        expression = pl.when(~expression.str.contains(_SCRIPT)).then(expression)
    expression = expression.str.replace_all(_SPACE, " ").str.strip_chars()
    return frame.select(pl.when(expression != "").then(expression).alias(texts.name)).to_series()


def _decode_entities(texts: pl.Series) -> pl.Series:
    hit = texts.str.contains(_ENTITY).fill_null(False)
    if not hit.any():
        return texts
    # The common ones at the speed of a column; only what is left (rare, or encoded twice) row by row.
    texts = texts.to_frame().select(pl.col(texts.name).str.replace_many(_COMMON)).to_series()
    hit &= texts.str.contains(_ENTITY).fill_null(False)
    decoded = pl.Series([html.unescape(html.unescape(text)) for text in texts.filter(hit)], dtype=pl.String)
    return texts.scatter(hit.arg_true(), decoded)


def map_distinct(texts: pl.Series, function: Callable[[str], str | None]) -> pl.Series:
    """``function`` of every text, called once per distinct one; nulls stay null."""
    distinct = texts.drop_nulls().unique()
    mapped = pl.Series([function(text) for text in distinct], dtype=pl.String)
    return texts.replace_strict(distinct, mapped, default=None, return_dtype=pl.String).alias(texts.name)


def parse_json(text: str) -> Any:
    """The value of a JSON text; the text itself if it is none."""
    if text[:1] not in ("[", "{", '"'):
        return text
    try:
        return json.loads(text, strict=False)  # polars does not escape every control character
    except ValueError:
        return text


def prose(texts: pl.Series) -> pl.Series:
    """:func:`join_prose` of a column, by polars where every value is a plain list of texts."""
    column = pl.col(texts.name)
    if texts.str.contains(r"^\[\s*[^\s\"\]]|[,\[]\s*[\[{]").any():
        return map_distinct(texts, join_prose)
    try:
        frame = texts.to_frame().select(pl.when(column.str.starts_with("[")).then(column))
        lists = frame.to_series().str.json_decode(pl.List(pl.String))
    except pl.exceptions.PolarsError:
        return map_distinct(texts, join_prose)
    kept = pl.element().str.strip_chars()
    paragraphs = lists.list.eval(kept.filter(kept != "")).list.unique(maintain_order=True)
    joined = paragraphs.list.join(" ", ignore_nulls=True).alias("joined")
    plain = pl.when(column.str.starts_with("[")).then(pl.col("joined")).otherwise(column)
    return pl.DataFrame([texts, joined]).select(pl.when(plain != "").then(plain).alias(texts.name)).to_series()


def join_paths(text: str) -> str | None:
    """Categories as text: levels joined by " > ", several paths by ", ".

    ``text`` is a JSON list of names, a list of such lists, or plain text.
    """
    value = parse_json(text)
    if not isinstance(value, list):
        return text or None
    paths = value if any(isinstance(path, list) for path in value) else [value]
    joined = (" > ".join(_words(path if isinstance(path, list) else [path])) for path in paths)
    return ", ".join(dict.fromkeys(path for path in joined if path)) or None


def join_prose(text: str) -> str | None:
    """A JSON list of paragraphs, or plain text, as one text; repeated paragraphs once."""
    value = parse_json(text)
    return " ".join(dict.fromkeys(_words(value))) or None if isinstance(value, list) else text or None


def join_details(leave_out: frozenset[str] = frozenset()) -> Callable[[str], str | None]:
    """A function that writes a JSON object as "Format: Print Magazine; Publisher: X".

    Keys in ``leave_out`` (lower case) say nothing about taste and are dropped.
    """

    def join(text: str) -> str | None:
        value = parse_json(text)
        if not isinstance(value, dict):
            return None
        pairs = ((str(key).strip(" :"), _flat(entry)) for key, entry in value.items())
        return "; ".join(f"{key}: {entry}" for key, entry in pairs if entry and key.lower() not in leave_out) or None

    return join


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_flat(entry)}" for key, entry in value.items())
    if isinstance(value, list):
        return ", ".join(_words(value))
    return "" if value is None else str(value).strip()


def _words(values: Iterable[Any]) -> list[str]:
    return [text for value in values if (text := _flat(value))]


@lru_cache(maxsize=1 << 16)
def literal(text: str) -> Any:
    """The value of a Python literal such as ``u'average'`` or ``{'garage': False}``; else the text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
