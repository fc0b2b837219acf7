"""What customers write about what they bought."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from recmind.data.shop.customers import Purchases
from recmind.data.shop.lexicon import fill
from recmind.data.shop.settings import ShopConfig
from recmind.data.shop.world import World
from recmind.schema import Columns

REVIEW_TITLE = "review_title"
_MEAN, _STD = 2.05, 1.14
_THRESHOLDS = (-1.55, -1.15, -0.7, 0.05)
"""Where the stars begin, in standard deviations: about 6, 7, 12, 27 and 48% of the ratings."""


def write_reviews(config: ShopConfig, world: World, purchases: Purchases, first_user: int) -> pl.DataFrame:
    """Ratings and reviews of ``purchases``.

    The stars follow the customer's utility plus noise; the text speaks of the
    product, of its purpose, and of its theme only where the customer cares for it.

    Returns
    -------
    pl.DataFrame
        ``user_id``, ``item_id``, ``timestamp`` (seconds), ``rating``,
        ``review_title``, ``review_text``.
    """
    rng = np.random.default_rng([config.seed, 6, first_user])
    n = len(purchases.items)
    feeling = (purchases.satisfaction - _MEAN) / _STD + 0.8 * rng.standard_normal(n)
    rating = 1 + np.searchsorted(np.array(_THRESHOLDS), feeling / np.hypot(1.0, 0.8))
    band = np.select([rating >= 4, rating == 3], [0, 1], default=2)
    columns = _columns(world, purchases, band, rng)
    title, text = (pl.Series([None] * n, dtype=pl.String) for _ in range(2))
    for number, name in enumerate(("good", "fair", "poor")):
        mine = band == number
        of_band = _texts(world.lexicon.raw["reviews"][name], columns, mine, purchases.likes_theme | (number == 2), rng)
        title, text = (
            pl.select(pl.when(pl.Series(mine)).then(new).otherwise(old)).to_series()
            for new, old in zip(of_band, (title, text), strict=True)
        )
    return pl.DataFrame(
        {
            Columns.USER: user_ids(purchases.users),
            Columns.ITEM: "B0" + pl.Series(purchases.items).cast(pl.String).str.zfill(8),
            Columns.TIMESTAMP: purchases.times,
            Columns.RATING: rating.astype(np.float64),
            REVIEW_TITLE: title,
            Columns.REVIEW: text,
        }
    )


def user_ids(users: np.ndarray) -> pl.Series:
    """Ids of customers."""
    return "A" + pl.Series(users).cast(pl.String).str.zfill(9)


def _columns(world: World, purchases: Purchases, band: np.ndarray, rng: np.random.Generator) -> pl.DataFrame:
    items, n = purchases.items, len(purchases.items)
    words = world.lexicon.words
    # Who is disappointed speaks of what they do like, who is pleased of the product's own theme.
    person = np.where(band == 2, purchases.favourite_theme, world.theme[items])
    concepts = {
        "noun": ("nouns", world.kind[items]),
        "purpose": ("purposes", world.purpose[items]),
        "facet": ("facets", world.facet[items]),
        "praise": ("praise", world.theme[items]),
        "person": ("person", person),
    }
    return pl.DataFrame(
        {name: words[table].pick(codes, rng.integers(1 << 20, size=n)) for name, (table, codes) in concepts.items()}
    )


def _texts(
    phrases: dict[str, Any], columns: pl.DataFrame, mine: np.ndarray, speaks: np.ndarray, rng: np.random.Generator
) -> tuple[pl.Series, pl.Series]:
    """Title and text of the rows ``mine``: one to three sentences."""
    n = len(mine)

    def some(name: str, where: np.ndarray) -> pl.Series:
        choice = np.where(mine & where, rng.integers(len(phrases[name]), size=n), -1)
        return fill(phrases[name], choice, columns)

    always = np.ones(n, dtype=bool)
    sentences = [
        some("openers", always).alias("opener"),
        some("taste", speaks & (rng.random(n) < 0.7)).alias("taste"),
        some("details", rng.random(n) < 0.55).alias("details"),
    ]
    text = pl.DataFrame(sentences).select(pl.concat_str(pl.all(), separator=" ", ignore_nulls=True)).to_series()
    return some("titles", always), text
