"""Amazon Reviews 2014 (McAuley): reviews and metadata, JSON or Python literals, one per line."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from recmind.data.sources.base import Format, Source, rename, summary_and_text
from recmind.data.sources.cleaning import join_paths, map_distinct, prose
from recmind.data.sources.json_lines import LINE, has_keys, json_lines
from recmind.schema import Columns

_REVIEW = ("reviewerID", "asin", "overall", "unixReviewTime", "summary", "reviewText")
_META = ("asin", "title", "brand", "categories", "description", "price")


def review_format() -> Format:
    """Reviews as published in 2014 and 2018: the fields read here are the same."""
    return Format(
        what="reviews",
        role="interactions",
        names=("reviews_*.json", "*_5.json", "*_10.json", "*.json", "*.jsonl"),
        recognise=has_keys("reviewerID", "asin"),
        read=json_lines(_REVIEW, literals=True),
        convert=rename(
            **{
                Columns.USER: "reviewerID",
                Columns.ITEM: "asin",
                Columns.RATING: "overall",
                Columns.TIMESTAMP: "unixReviewTime",
                Columns.REVIEW: summary_and_text("summary", "reviewText"),
            }
        ),
        time="seconds",
    )


def _convert_meta(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(
        LINE,
        frame["asin"].alias(Columns.ITEM),
        frame["title"].alias(Columns.TITLE),
        frame["brand"].alias(Columns.BRAND),
        map_distinct(frame["categories"], join_paths).alias(Columns.CATEGORIES),
        prose(frame["description"]).alias(Columns.DESCRIPTION),
        frame["price"].alias(Columns.PRICE),
    )


def _formats(columns: Mapping[str, str]) -> tuple[Format, ...]:
    meta = Format(
        what="metadata",
        role="items",
        names=("meta_*.json", "*meta*.json", "*meta*.jsonl"),
        recognise=has_keys("asin", without=("reviewerID", "overall")),
        read=json_lines(_META, literals=True),
        convert=_convert_meta,
    )
    return meta, review_format()


SOURCE = Source("amazon-2014", "Amazon Reviews 2014: reviews_*.json.gz and meta_*.json.gz", _formats)
