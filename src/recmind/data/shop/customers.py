"""What customers buy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recmind.data.shop.settings import ShopConfig
from recmind.data.shop.tastes import Tastes, draw_tastes, hidden_utility, utility_scales, visible_utility
from recmind.data.shop.world import DAY, END, World

CHUNK = 8192
"""Customers simulated at once: bounds the memory, whatever the size of the shop."""
_ROUNDS = 60
_MONTH = 365 * DAY / 12


@dataclass(frozen=True)
class Purchases:
    """Purchases of some customers, sorted by customer and time, all ``(n,)``.

    ``satisfaction`` is v + w of what was bought, 0 for an average product;
    ``likes_theme`` says whether the customer cares for the theme of the product,
    ``favourite_theme`` which theme the customer likes best.
    """

    users: np.ndarray
    items: np.ndarray
    times: np.ndarray
    satisfaction: np.ndarray
    likes_theme: np.ndarray
    favourite_theme: np.ndarray


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


class Market:
    """The products on their shelves, and how customers choose among them."""

    def __init__(self, config: ShopConfig, world: World) -> None:
        self.config, self.world = config, world
        self.scales = utility_scales(world, config.seed)
        sold = np.flatnonzero(world.exposure > 0)
        # Products by kind: drawing by exposure within a kind is a search in one cumulative sum.
        self._by_kind = sold[np.lexsort((sold, world.kind[sold]))]
        self._cumulative = np.cumsum(world.exposure[self._by_kind])
        ends = np.searchsorted(world.kind[self._by_kind], np.arange(len(world.lexicon.kinds)), side="right")
        self._first = np.concatenate([[0], ends[:-1]])
        self._low, self._high = (np.concatenate([[0.0], self._cumulative])[at] for at in (self._first, ends))
        # Products by kind and then by arrival: what came last before t is one search away as well.
        self._by_arrival = sold[np.lexsort((sold, world.added[sold], world.kind[sold]))]
        self._arrival_keys = world.kind[self._by_arrival] * float(END) + world.added[self._by_arrival]

    def popular(self, kind: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
        """``(len(kind), n)`` products of ``kind``, drawn by exposure, whether they are there yet or not."""
        low, high = self._low[kind][:, None], self._high[kind][:, None]
        mark = low + (high - low) * rng.random((len(kind), n))
        place = np.searchsorted(self._cumulative, mark, side="right")
        return self._by_kind[np.minimum(place, len(self._by_kind) - 1)]

    def arrivals(self, kind: np.ndarray, times: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
        """``(len(kind), n)`` of the products of ``kind`` that came last before ``times``."""
        place = np.searchsorted(self._arrival_keys, kind * float(END) + times, side="right") - 1
        back = np.minimum(rng.integers(2 * n, size=(len(kind), n)), np.maximum(place - self._first[kind], 0)[:, None])
        return self._by_arrival[np.maximum(place[:, None] - back, 0)]

    def utilities(self, tastes: Tastes, users: np.ndarray, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """v and w of ``items`` for ``users``, with mean 0 and variance 1 over all pairs."""
        (visible_mean, visible_std), (hidden_mean, hidden_std) = self.scales
        visible = (visible_utility(self.world, tastes, users, items) - visible_mean) / visible_std
        return visible, (hidden_utility(self.world, tastes, users, items) - hidden_mean) / hidden_std

    def choose(
        self, tastes: Tastes, users: np.ndarray, kind: np.ndarray, times: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """The product of the greatest utility among those seen, ``(n,)``; -1 where none was in the shop yet."""
        config, world = self.config, self.world
        n_arrivals = max(1, config.candidates // 4)
        popular = self.popular(kind, config.candidates - n_arrivals, rng)
        seen = np.hstack([popular, self.arrivals(kind, times, n_arrivals, rng)])  # (n, candidates)
        visible, hidden = self.utilities(tastes, users[:, None], seen)
        utility = config.visible_taste * visible + config.hidden_taste * hidden + rng.gumbel(size=seen.shape)
        there = (world.added[seen] <= times[:, None]) & (world.kind[seen] == kind[:, None])
        best = np.where(there, utility, -np.inf).argmax(1)
        rows = np.arange(len(seen))
        return np.where(there[rows, best], seen[rows, best], -1)

    def simulate(self, counts: np.ndarray, first_user: int) -> Purchases:
        """Purchases of the customers ``first_user ... first_user + len(counts) - 1``, ``counts`` of each."""
        rng = np.random.default_rng([self.config.seed, 4, first_user])
        tastes = draw_tastes(self.world, len(counts), rng)
        users = np.repeat(np.arange(len(counts)), counts)
        times = _times(self.config, users, rng)
        items = np.full(len(users), -1, dtype=np.int64)
        for _ in range(_ROUNDS):
            still = np.flatnonzero(items < 0)
            if not len(still):
                break
            kind = _kinds(self.config, self.world, tastes, users[still], times[still], rng)
            items[still] = self.choose(tastes, users[still], kind, times[still], rng)
            _drop_repeats(users, items, self.world.n_items)
        _fill_rest(self.world, users, items, rng)
        visible, hidden = self.utilities(tastes, users, items)
        return Purchases(
            users=users + first_user,
            items=items,
            times=times,
            satisfaction=visible + hidden,
            likes_theme=tastes.theme[users, self.world.theme[items]] > 0.6,
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
