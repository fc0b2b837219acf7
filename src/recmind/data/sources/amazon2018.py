"""Amazon Reviews 2018 (Ni, Li, McAuley): reviews and metadata with much HTML debris."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from recmind.data.sources.amazon2014 import review_format
from recmind.data.sources.base import Format, Source
from recmind.data.sources.cleaning import join_details, join_paths, map_distinct, prose
from recmind.data.sources.json_lines import LINE, has_keys, json_lines
from recmind.schema import Columns

_META = ("asin", "title", "brand", "category", "main_cat", "description", "feature", "details", "price")

_TASTELESS = (
    "asin|shipping|domestic shipping|international shipping|item model number|upc|isbn-10|isbn-13|isbn 10|isbn 13|"
    "average customer review|customer reviews|amazon best sellers rank|best sellers rank|shipping weight|"
    "shipping information|shipping advisory|date first listed on amazon|date first available|"
    "date first available at amazon.com|is discontinued by manufacturer|product dimensions|item weight|"
    "package dimensions|item dimensions lxwxh|part number|manufacturer part number|global trade identification number|"
    "package weight|batteries|batteries required|discontinued by manufacturer|country of origin"
)
TASTELESS = frozenset(_TASTELESS.split("|"))
"""Details that number, weigh or ship an item and say nothing about who likes it."""


def _convert_meta(frame: pl.DataFrame) -> pl.DataFrame:
    texts = [prose(frame[name]) for name in ("description", "feature")]
    categories = map_distinct(frame["category"], join_paths).alias(Columns.CATEGORIES)
    return frame.select(
        LINE,
        frame["asin"].alias(Columns.ITEM),
        frame["title"].alias(Columns.TITLE),
        frame["brand"].alias(Columns.BRAND),
        pl.coalesce(categories, pl.col("main_cat")).alias(Columns.CATEGORIES),
        map_distinct(frame["details"], join_details(TASTELESS)).alias(Columns.ATTRIBUTES),
        pl.concat_str(*texts, separator=" ", ignore_nulls=True).alias(Columns.DESCRIPTION),
        frame["price"].alias(Columns.PRICE),
    )


def _formats(columns: Mapping[str, str]) -> tuple[Format, ...]:
    meta = Format(
        what="metadata",
        role="items",
        names=("meta_*.json", "*meta*.json", "*meta*.jsonl"),
        recognise=has_keys("asin", without=("reviewerID", "overall")),
        read=json_lines(_META),
        convert=_convert_meta,
    )
    return meta, review_format()


SOURCE = Source("amazon-2018", "Amazon Reviews 2018: *_5.json.gz or *.json.gz and meta_*.json.gz", _formats)
