"""Amazon Reviews 2023 (Hou et al.): parent_asin, features, details, millisecond timestamps."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from recmind.data.sources.amazon2018 import TASTELESS
from recmind.data.sources.base import Format, Source, rename, summary_and_text
from recmind.data.sources.cleaning import join_details, join_paths, map_distinct, prose
from recmind.data.sources.json_lines import LINE, has_keys, json_lines
from recmind.schema import Columns

_REVIEW = ("user_id", "parent_asin", "asin", "rating", "timestamp", "title", "text")
_META = ("parent_asin", "title", "store", "main_category", "categories", "details", "features", "description", "price")


def _convert_meta(frame: pl.DataFrame) -> pl.DataFrame:
    texts = [prose(frame[name]) for name in ("description", "features")]
    brand = frame["details"].str.extract(r'"Brand": ?"([^"\\]+)"')
    categories = map_distinct(frame["categories"], join_paths)
    return frame.select(
        LINE,
        frame["parent_asin"].alias(Columns.ITEM),
        frame["title"].alias(Columns.TITLE),
        pl.coalesce(brand, pl.col("store")).alias(Columns.BRAND),
        pl.coalesce(categories, pl.col("main_category")).alias(Columns.CATEGORIES),
        map_distinct(frame["details"], join_details(TASTELESS | {"brand"})).alias(Columns.ATTRIBUTES),
        pl.concat_str(*texts, separator=" ", ignore_nulls=True).alias(Columns.DESCRIPTION),
        frame["price"].alias(Columns.PRICE),
    )


def _formats(columns: Mapping[str, str]) -> tuple[Format, ...]:
    meta = Format(
        what="metadata",
        role="items",
        names=("meta_*.jsonl", "*meta*.jsonl"),
        recognise=has_keys("parent_asin", without=("user_id",)),
        read=json_lines(_META),
        convert=_convert_meta,
    )
    reviews = Format(
        what="reviews",
        role="interactions",
        names=("*.jsonl",),
        recognise=has_keys("parent_asin", "user_id"),
        read=json_lines(_REVIEW),
        convert=rename(
            **{
                Columns.USER: "user_id",
                # Variants of one product (colours, sizes) share the parent; metadata has parents only.
                Columns.ITEM: pl.coalesce("parent_asin", "asin"),
                Columns.RATING: "rating",
                Columns.TIMESTAMP: "timestamp",
                Columns.REVIEW: summary_and_text("title", "text"),
            }
        ),
        time="milliseconds",
    )
    return meta, reviews


SOURCE = Source("amazon-2023", "Amazon Reviews 2023: *.jsonl.gz and meta_*.jsonl.gz", _formats)
