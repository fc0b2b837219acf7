"""Yelp Open Dataset: business, review, tip and user, one JSON object per line.

Counts and mean stars of businesses and users are not read: they are made from
the reviews, those held out included.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

import polars as pl

from recmind.data.sources.base import Format, Source, rename
from recmind.data.sources.cleaning import literal, map_distinct, parse_json
from recmind.data.sources.json_lines import LINE, has_keys, json_lines
from recmind.schema import Columns

_NO = ("False", "None", "none", "no", "")


@lru_cache(maxsize=1 << 16)
def _attribute(key: str, raw: str) -> str:
    """One attribute in words, empty if the place does not have it ("GoodForKids", "True" → "good for kids")."""
    value = literal(raw)
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", key).lower().replace("restaurants ", "")
    name = name.removesuffix("2").replace("wi fi", "wifi")
    if isinstance(value, dict):
        held = [str(word) for word, there in value.items() if there is True]
        return f"{name}: {', '.join(held)}" if held else ""
    if str(value) in _NO:
        return ""
    return name if value is True else f"{name}: {str(value).replace('_', ' ')}"


def _attributes(text: str) -> str | None:
    value = parse_json(text)
    if not isinstance(value, dict):
        return None
    known = (_attribute(str(key), str(entry)) for key, entry in value.items())
    return "; ".join(entry for entry in known if entry) or None


def _convert_business(frame: pl.DataFrame) -> pl.DataFrame:
    place = pl.concat_str(
        *(pl.when(pl.col(name) != "").then(pl.col(name)) for name in ("neighborhood", "city", "state")),
        separator=", ",
        ignore_nulls=True,
    )
    details = map_distinct(frame["attributes"], _attributes)
    return frame.select(
        LINE,
        frame["business_id"].alias(Columns.ITEM),
        frame["name"].alias(Columns.TITLE),
        frame["categories"].str.replace_all(r'[\[\]"]', "").alias(Columns.CATEGORIES),
        # The place comes first: who visits what follows geography.
        pl.concat_str(pl.when(place != "").then(place), details, separator="; ", ignore_nulls=True).alias(
            Columns.ATTRIBUTES
        ),
    )


def _convert_user(frame: pl.DataFrame) -> pl.DataFrame:
    since = "on Yelp since " + pl.col("yelping_since").str.slice(0, 4)
    years = pl.col("elite").str.replace_all(r'[\[\]" ]', "").str.replace_all(",", ", ")
    elite = pl.when(~years.is_in(["", "None"])).then("elite in " + years)
    return frame.select(
        LINE,
        pl.col("user_id").alias(Columns.USER),
        pl.concat_str(since, elite, separator="; ", ignore_nulls=True).alias(Columns.PROFILE),
    )


def _events(what: str, recognise: tuple[str, ...], without: tuple[str, ...], stars: bool) -> Format:
    fields = ("user_id", "business_id", "date", "text", *(("stars",) if stars else ()))
    columns = {
        Columns.USER: "user_id",
        Columns.ITEM: "business_id",
        Columns.TIMESTAMP: "date",
        Columns.REVIEW: "text",
        **({Columns.RATING: "stars"} if stars else {}),
    }
    names = (f"*{what}.json", f"{what}*.json")
    return Format(
        f"{what}s", "interactions", names, has_keys(*recognise, without=without), json_lines(fields), rename(**columns)
    )


def _formats(columns: Mapping[str, str]) -> tuple[Format, ...]:
    business_fields = ("business_id", "name", "neighborhood", "city", "state", "attributes", "categories")
    return (
        Format(
            "businesses",
            "items",
            ("*business.json", "business*.json"),
            has_keys("business_id", "name"),
            json_lines(business_fields),
            _convert_business,
        ),
        _events("review", ("user_id", "business_id", "stars"), ("name",), stars=True),
        _events("tip", ("user_id", "business_id", "text"), ("stars", "review_id"), stars=False),
        Format(
            "users",
            "users",
            ("*user.json", "user*.json"),
            has_keys("user_id", "yelping_since"),
            json_lines(("user_id", "yelping_since", "elite")),
            _convert_user,
        ),
    )


SOURCE = Source("yelp", "Yelp Open Dataset: business, review, tip and user .json", _formats)
