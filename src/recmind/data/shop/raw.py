"""The shop's tables in the raw format of Amazon Reviews 2023."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import polars as pl

from recmind.data.shop.reviews import REVIEW_TITLE
from recmind.data.shop.shop import Shop
from recmind.data.shop.wording import ADDED, FEATURES
from recmind.files import write_atomic
from recmind.schema import Columns

REVIEWS = "Shop.jsonl.gz"
META = "meta_Shop.jsonl.gz"
_BLOCK = 200_000


class RawFiles(NamedTuple):
    """Paths of the two raw files of a shop."""

    reviews: Path
    meta: Path


def write_raw(shop: Shop, folder: str | Path) -> RawFiles:
    """Write ``shop`` as Amazon Reviews 2023 publishes its data: a review file and a metadata file.

    The files have what real ones have: repeated rows, HTML in descriptions,
    missing fields, no particular order. The same shop gives the same bytes.

    Returns
    -------
    RawFiles
        ``Shop.jsonl.gz`` and ``meta_Shop.jsonl.gz`` in ``folder``.
    """
    paths = RawFiles(Path(folder) / REVIEWS, Path(folder) / META)
    write_atomic(paths.reviews, lambda path: _write_reviews(shop, path))
    write_atomic(paths.meta, lambda path: _write_meta(shop, path))
    return paths


@contextmanager
def _gzipped(path: Path) -> Iterator[BinaryIO]:
    # Neither a name nor a time goes into the header, so that equal content gives equal bytes.
    with path.open("wb") as raw, gzip.GzipFile("", "wb", compresslevel=4, fileobj=raw, mtime=0) as file:
        yield file  # pyright: ignore[reportReturnType]


def _write_reviews(shop: Shop, path: Path) -> None:
    rng = np.random.default_rng([shop.config.seed, 7])
    n = shop.interactions.height
    repeated = rng.choice(n, round(n * shop.config.share_repeated), replace=False)
    rows = rng.permutation(np.concatenate([np.arange(n), repeated]))
    with _gzipped(path) as file:
        for start in range(0, len(rows), _BLOCK):
            block = shop.interactions[rows[start : start + _BLOCK]]
            buffer = io.BytesIO()
            block.select(
                pl.col(Columns.RATING).alias("rating"),
                pl.col(REVIEW_TITLE).alias("title"),
                pl.col(Columns.REVIEW).alias("text"),
                pl.lit([], dtype=pl.List(pl.String)).alias("images"),
                pl.col(Columns.ITEM).alias("asin"),
                pl.col(Columns.ITEM).alias("parent_asin"),
                pl.col(Columns.USER).alias("user_id"),
                (pl.col(Columns.TIMESTAMP) * 1000 + pl.col(Columns.TIMESTAMP) % 997).alias("timestamp"),
                (pl.col(Columns.TIMESTAMP) % 13 // 11).alias("helpful_vote"),
                pl.lit(True).alias("verified_purchase"),
            ).write_ndjson(buffer)
            file.write(buffer.getvalue())


def _write_meta(shop: Shop, path: Path) -> None:
    ratings = shop.interactions.group_by(Columns.ITEM).agg(
        pl.col(Columns.RATING).mean().round(1).alias("average_rating"), pl.len().alias("rating_number")
    )
    items = shop.items.join(ratings, on=Columns.ITEM, how="left", maintain_order="left")
    with _gzipped(path) as file:
        for row in items.iter_rows(named=True):
            file.write(json.dumps(_meta_row(row), ensure_ascii=False).encode() + b"\n")


def _meta_row(row: dict[str, Any]) -> dict[str, Any]:
    details = dict(line.split(": ", 1) for line in row[Columns.ATTRIBUTES])
    if row[Columns.TITLE] is not None:
        added = datetime.fromtimestamp(row[ADDED], tz=UTC)
        details["Date First Available"] = f"{added:%B} {added.day}, {added.year}"
    return {
        "main_category": next(iter(row[Columns.CATEGORIES]), None),
        "title": row[Columns.TITLE] or "",
        "average_rating": row["average_rating"],
        "rating_number": row["rating_number"] or 0,
        "features": row[FEATURES],
        "description": [row[Columns.DESCRIPTION]] if row[Columns.DESCRIPTION] else [],
        "price": row[Columns.PRICE],
        "images": [],
        "videos": [],
        "store": row[Columns.BRAND],
        "categories": row[Columns.CATEGORIES],
        "details": details,
        "parent_asin": row[Columns.ITEM],
        "bought_together": None,
    }
