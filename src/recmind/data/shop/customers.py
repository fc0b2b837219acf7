"""Customers: their tastes, and what they buy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recmind.data.shop.settings import ShopConfig
from recmind.data.shop.world import BRAND_DIM, DAY, END, World

CHUNK = 8192
"""Customers simulated at once: bounds the memory, whatever the size of the shop."""
_ROUNDS = 60
_MONTH = 365 * DAY / 12


@dataclass(frozen=True)
class Tastes:
    """Tastes of m customers.

    Attributes
    ----------
    kind:
        How often each kind of product is looked for, ``(m, n_kinds)``, rows sum to 1.
    theme, purpose, facet:
        What is liked of what texts tell, ``(m, number of concepts)``.
    brand, price_level:
        ``(m, BRAND_DIM)`` and ``(m,)``.
    look:
        The hidden taste, ``(m, LOOK_DIM)``.
    """

    kind: np.ndarray
    theme: np.ndarray
    purpose: np.ndarray
    facet: np.ndarray
    brand: np.ndarray
    price_level: np.ndarray
    look: np.ndarray


def draw_tastes(world: World, n: int, rng: np.random.Generator) -> Tastes:
    """Tastes of ``n`` customers."""
    lexicon = world.lexicon
    departments = rng.gamma(0.35, size=(n, len(lexicon.departments))) + 1e-4
    kind = departments[:, lexicon.kind_department] * rng.gamma(0.6, size=(n, len(lexicon.kinds)))
    kind = kind * (np.bincount(world.kind, world.exposure, minlength=len(lexicon.kinds)) > 0) + 1e-12
    theme = 0.4 * rng.standard_normal((n, len(lexicon.themes)))
    theme[np.arange(n), rng.integers(len(lexicon.themes), size=n)] += 2.0
    theme[np.arange(n), rng.integers(len(lexicon.themes), size=n)] += 1.2
    circles = len(world.look_centres)
    look = (
        world.look_centres[rng.integers(circles, size=n)]
        + 0.5 * world.look_centres[rng.integers(circles, size=n)]
        + 0.2 * rng.standard_normal((n, world.look.shape[1]))
    )
    return Tastes(
        kind=kind / kind.sum(1, keepdims=True),
        theme=theme,
        purpose=rng.standard_normal((n, int(lexicon.n_purposes.sum()))),
        facet=rng.standard_normal((n, int(lexicon.n_facets.sum()))),
        brand=rng.standard_normal((n, BRAND_DIM)),
        price_level=0.8 * rng.standard_normal(n),
        look=look,
    )


def visible_utility(world: World, tastes: Tastes, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """v(u, i), what the text of a product tells a customer, before scaling.

    ``users`` and ``items`` broadcast against each other; so does the result.
    """
    brand = np.einsum("...d,...d->...", tastes.brand[users], world.brand_vectors[world.brand[items]])
    return (
        1.4 * tastes.theme[users, world.theme[items]]
        + 0.6 * tastes.purpose[users, world.purpose[items]]
        + 0.5 * tastes.facet[users, world.facet[items]]
        + 0.4 * brand
        - 0.4 * np.abs(tastes.price_level[users] - world.price_level[items])
    )


def hidden_utility(world: World, tastes: Tastes, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """w(u, i), how a customer likes the look of a product, before scaling."""
    return np.einsum("...d,...d->...", tastes.look[users], world.look[items])


def utility_scales(world: World, seed: int, n: int = 2000) -> tuple[float, float, float]:
    """Mean of v and standard deviations of v and w over random pairs of customers and products."""
    rng = np.random.default_rng([seed, 2])
    tastes = draw_tastes(world, n, rng)
    users, items = np.arange(n)[:, None], rng.integers(world.n_items, size=(n, 20))
    visible = visible_utility(world, tastes, users, items)
    return float(visible.mean()), float(visible.std()), float(hidden_utility(world, tastes, users, items).std())


def activity(config: ShopConfig) -> np.ndarray:
    """Purchases of each customer, int64 ``(n_users,)``, from log-normal weights; the sum is exact."""
    rng = np.random.default_rng([config.seed, 3])
    counts = np.full(config.n_users, config.min_interactions, dtype=np.int64)
    weights = rng.lognormal(sigma=1.0, size=config.n_users)
    while (missing := config.n_interactions - int(counts.sum())) > 0:
        open_weights = weights * (counts < config.max_interactions)
        counts += rng.multinomial(missing, open_weights / open_weights.sum())
        counts = np.minimum(counts, config.max_interactions)
    return counts


class Shelves:
    """Products by kind, to draw what a customer sees: well-known ones and new arrivals."""

    def __init__(self, world: World, n_kinds: int) -> None:
        sold = np.flatnonzero(world.exposure > 0)
        self.span = float(END)
        by_kind = sold[np.lexsort((sold, world.kind[sold]))]
        self.by_kind, self.cumulative = by_kind, np.cumsum(world.exposure[by_kind])
        ends = np.searchsorted(world.kind[by_kind], np.arange(n_kinds), side="right")
        self.totals = np.concatenate([[0.0], self.cumulative])[ends]
        self.by_arrival = sold[np.lexsort((sold, world.added[sold], world.kind[sold]))]
        self.arrival_keys = world.kind[self.by_arrival] * self.span + world.added[self.by_arrival]
        self.first = np.concatenate([[0], ends[:-1]])

    def popular(self, kind: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
        """``(len(kind), n)`` products of ``kind``, drawn by exposure, whether they are there yet or not."""
        low = np.concatenate([[0.0], self.totals])[kind][:, None]
        mark = low + (self.totals[kind][:, None] - low) * rng.random((len(kind), n))
        return self.by_kind[np.minimum(np.searchsorted(self.cumulative, mark, side="right"), len(self.by_kind) - 1)]

    def arrivals(self, kind: np.ndarray, times: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
        """``(len(kind), n)`` of the products of ``kind`` that came last before ``times``."""
        place = np.searchsorted(self.arrival_keys, kind * self.span + times, side="right") - 1
        back = np.minimum(rng.integers(2 * n, size=(len(kind), n)), np.maximum(place - self.first[kind], 0)[:, None])
        return self.by_arrival[np.clip(place[:, None] - back, 0, len(self.by_arrival) - 1)]


@dataclass(frozen=True)
class Purchases:
    """Purchases of some customers, sorted by customer and time, all ``(n,)``.

    ``satisfaction`` is the utility of what was bought, about 0 for an average product.
    """

    users: np.ndarray
    items: np.ndarray
    times: np.ndarray
    satisfaction: np.ndarray
    likes_theme: np.ndarray
    favourite_theme: np.ndarray


def simulate(config: ShopConfig, world: World, counts: np.ndarray, first_user: int) -> Purchases:
    """Purchases of the customers ``first_user ... first_user + len(counts) - 1``."""
    rng = np.random.default_rng([config.seed, 4, first_user])
    tastes = draw_tastes(world, len(counts), rng)
    users = np.repeat(np.arange(len(counts)), counts)
    times = _times(config, users, rng)
    shelves = Shelves(world, len(world.lexicon.kinds))
    scales = utility_scales(world, config.seed)
    items = np.full(len(users), -1, dtype=np.int64)
    for _ in range(_ROUNDS):
        open_slots = np.flatnonzero(items < 0)
        if not len(open_slots):
            break
        kind = _kinds(config, world, tastes, users[open_slots], times[open_slots], rng)
        items[open_slots] = _choose(
            config, world, tastes, shelves, scales, users[open_slots], kind, times[open_slots], rng
        )
        _drop_repeats(users, items, world.n_items)
    _fill_rest(world, users, items, rng)
    visible, hidden = _scaled(world, tastes, scales, users, items)
    return Purchases(
        users=users + first_user,
        items=items,
        times=times,
        satisfaction=visible + hidden,
        likes_theme=tastes.theme[users, world.theme[items]] > 0.6,
        favourite_theme=tastes.theme.argmax(1)[users],
    )


def _times(config: ShopConfig, users: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Times of the purchases, increasing for each customer, none before the customer joined."""
    span = config.years * 365 * DAY
    joined = 0.85 * rng.random(users[-1] + 1)[users]
    times = END - DAY - span * (1 - joined) * rng.random(len(users))
    return times[np.lexsort((times, users))].astype(np.int64)


def _kinds(
    config: ShopConfig, world: World, tastes: Tastes, users: np.ndarray, times: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The kind of product that each purchase is about: taste times season."""
    lexicon = world.lexicon
    season = np.where(lexicon.season, config.seasonality, 1.0)[lexicon.kind_department]  # (n_kinds, 12)
    month = ((times % (12 * _MONTH)) // _MONTH).astype(np.int64)
    cumulative = np.cumsum(tastes.kind[users] * season.T[month], axis=1)  # (n, n_kinds)
    mark = rng.random(len(users))[:, None] * cumulative[:, -1:]
    return (cumulative <= mark).sum(1).clip(max=len(lexicon.kinds) - 1)


def _scaled(
    world: World, tastes: Tastes, scales: tuple[float, float, float], users: np.ndarray, items: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    mean, visible_std, hidden_std = scales
    visible = (visible_utility(world, tastes, users, items) - mean) / visible_std
    return visible, hidden_utility(world, tastes, users, items) / hidden_std


def _choose(
    config: ShopConfig,
    world: World,
    tastes: Tastes,
    shelves: Shelves,
    scales: tuple[float, float, float],
    users: np.ndarray,
    kind: np.ndarray,
    times: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """The product of the greatest utility among those seen, -1 where none was in the shop yet."""
    n_arrivals = max(1, config.candidates // 4)
    seen = np.hstack(
        [
            shelves.popular(kind, config.candidates - n_arrivals, rng),
            shelves.arrivals(kind, times, n_arrivals, rng),
        ]
    )  # (n, candidates)
    visible, hidden = _scaled(world, tastes, scales, users[:, None], seen)
    utility = config.visible_taste * visible + config.hidden_taste * hidden + rng.gumbel(size=seen.shape)
    there = (world.added[seen] <= times[:, None]) & (world.kind[seen] == kind[:, None])
    utility = np.where(there, utility, -np.inf)
    best = utility.argmax(1)
    rows = np.arange(len(seen))
    return np.where(there[rows, best], seen[rows, best], -1)


def _drop_repeats(users: np.ndarray, items: np.ndarray, n_items: int) -> None:
    """Set to -1 every purchase of what the customer has bought before."""
    pairs = np.where(items < 0, -1 - np.arange(len(items)), users * n_items + items)
    _, first = np.unique(pairs, return_index=True)
    repeated = np.ones(len(items), dtype=bool)
    repeated[first] = False
    items[repeated] = -1


def _fill_rest(world: World, users: np.ndarray, items: np.ndarray, rng: np.random.Generator) -> None:
    """Customers who have bought all that they like of what is there take anything else."""
    for slot in np.flatnonzero(items < 0):
        sold = np.setdiff1d(np.flatnonzero(world.exposure > 0), items[users == users[slot]])
        items[slot] = rng.choice(sold)
