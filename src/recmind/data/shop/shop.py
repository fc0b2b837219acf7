"""The generated shop as two tables."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from recmind.data.shop.customers import CHUNK, Market, activity
from recmind.data.shop.reviews import write_reviews
from recmind.data.shop.settings import ShopConfig
from recmind.data.shop.wording import write_items
from recmind.data.shop.world import World, build_world
from recmind.progress import task


@dataclass(frozen=True)
class Shop:
    """A generated shop.

    Attributes
    ----------
    interactions:
        ``user_id``, ``item_id``, ``timestamp``, ``rating``, ``review_title``,
        ``review_text``; sorted by customer and time, no repeats.
    items:
        ``item_id``, ``title``, ``brand``, ``categories``, ``features``,
        ``attributes``, ``description``, ``price``, ``added``; every product,
        bought or not.
    world:
        What the products are in truth. No model is given this.
    config:
        The settings.
    """

    interactions: pl.DataFrame
    items: pl.DataFrame
    world: World
    config: ShopConfig


def generate_shop(config: ShopConfig | None = None, *, show_progress: bool = False) -> Shop:
    """Make a shop: products, customers, purchases and reviews.

    Parameters
    ----------
    config:
        Sizes, strengths of taste, gaps and the seed. Default: the shop of ``recmind demo``.
    show_progress:
        Show a bar on stderr.
    """
    config = config or ShopConfig()
    world = build_world(config)
    items = write_items(config, world)
    counts, market = activity(config), Market(config, world)
    parts = []
    with task("Customers go shopping", config.n_users, show=show_progress) as advance:
        for first in range(0, config.n_users, CHUNK):
            purchases = market.simulate(counts[first : first + CHUNK], first)
            parts.append(write_reviews(config, world, purchases, first))
            advance(min(CHUNK, config.n_users - first))
    return Shop(pl.concat(parts), items, world, config)
