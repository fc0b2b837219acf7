"""What is true of the shop's products before anybody writes about them or buys them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recmind.data.shop.lexicon import Lexicon, load_lexicon
from recmind.data.shop.settings import ShopConfig

END = 1_751_241_600
"""The day on which the files are written: 30 June 2025, in seconds since 1970."""
DAY = 86_400
NEW_DAYS = 14
"""Products that nobody has bought yet came within this many days before the end."""
LOOK_DIM = 6
BRAND_DIM = 4


@dataclass(frozen=True)
class World:
    """Latent properties of the products, n = n_items, and the scales of taste.

    Attributes
    ----------
    kind, theme, facet, purpose, brand:
        Codes of what the texts tell, ``(n,)``.
    price:
        In dollars, ``(n,)``; ``price_level`` is its place in the range of the
        kind, from -1.7 to 1.7.
    look:
        What no text tells: a unit vector for the look of each product, ``(n, LOOK_DIM)``.
    look_centres:
        Unit vectors of the hidden communities, ``(n_looks, LOOK_DIM)``.
    brand_vectors:
        ``(n_brands, BRAND_DIM)``.
    exposure:
        How often a product is seen, ``(n,)``; 0 for those that nobody has bought yet.
    added:
        When it came into the shop, seconds since 1970, ``(n,)``.
    """

    lexicon: Lexicon
    kind: np.ndarray
    theme: np.ndarray
    facet: np.ndarray
    purpose: np.ndarray
    brand: np.ndarray
    brand_names: list[str]
    brand_vectors: np.ndarray
    price: np.ndarray
    price_level: np.ndarray
    look: np.ndarray
    look_centres: np.ndarray
    exposure: np.ndarray
    added: np.ndarray

    @property
    def n_items(self) -> int:
        """Number of products."""
        return len(self.kind)

    @property
    def department(self) -> np.ndarray:
        """Department of each product, ``(n,)``."""
        return self.lexicon.kind_department[self.kind]


def build_world(config: ShopConfig) -> World:
    """Draw the products of a shop."""
    lexicon = load_lexicon()
    rng = np.random.default_rng([config.seed, 1])
    n = config.n_items
    kind = rng.choice(len(lexicon.kinds), n, p=rng.dirichlet(np.full(len(lexicon.kinds), 8.0)))
    department = lexicon.kind_department[kind]
    brand_names, brand_department, brand_theme, brand_price = _brands(config, lexicon, rng)
    brand = _brand_of_items(department, brand_department, rng)
    theme = _themes(department, brand_theme[brand], lexicon, rng)
    level = np.clip(0.6 * brand_price[brand] + 0.8 * rng.standard_normal(n), -1.7, 1.7)
    low, high = lexicon.kind_price[kind].T
    price = np.floor(low * (high / low) ** ((level + 1.7) / 3.4)) + rng.choice([0.49, 0.95, 0.99], n)
    centres = _unit(rng.standard_normal((config.n_looks, LOOK_DIM)))
    look = _unit(centres[rng.integers(config.n_looks, size=n)] + 0.35 * _unit(rng.standard_normal((n, LOOK_DIM))))
    exposure = (1.0 + rng.permutation(n)) ** -config.zipf_exponent
    added, new = _arrivals(config, rng)
    exposure[new] = 0.0
    return World(
        lexicon=lexicon,
        kind=kind,
        theme=theme,
        facet=lexicon.first_facet[department] + rng.integers(lexicon.n_facets[department]),
        purpose=lexicon.first_purpose[department] + rng.integers(lexicon.n_purposes[department]),
        brand=brand,
        brand_names=brand_names,
        brand_vectors=_unit(rng.standard_normal((len(brand_names), BRAND_DIM))),
        price=price,
        price_level=level,
        look=look,
        look_centres=centres,
        exposure=exposure,
        added=added,
    )


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _brands(
    config: ShopConfig, lexicon: Lexicon, rng: np.random.Generator
) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Names, department, theme that the brand leans to, and price level, each ``(n_brands,)``."""
    heads, tails = lexicon.raw["brand_heads"], lexicon.raw["brand_tails"]
    n_departments = len(lexicon.departments)
    n = min(max(2 * n_departments, config.n_items // 20), len(heads) * len(tails))
    codes = rng.choice(len(heads) * len(tails), n, replace=False)
    names = [heads[code // len(tails)] + tails[code % len(tails)] for code in codes]
    department = np.arange(n) % n_departments
    theme = np.array([rng.choice(np.flatnonzero(lexicon.allowed_themes[d])) for d in department])
    return names, department, theme, rng.standard_normal(n)


def _brand_of_items(department: np.ndarray, brand_department: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A brand of the product's department; the first brands of a department are its largest."""
    brand = np.empty(len(department), dtype=np.int64)
    for code in np.unique(department):
        mine = np.flatnonzero(department == code)
        brands = np.flatnonzero(brand_department == code)
        weights = 1.0 / (2.0 + np.arange(len(brands)))
        brand[mine] = rng.choice(brands, len(mine), p=weights / weights.sum())
    return brand


def _themes(department: np.ndarray, leaning: np.ndarray, lexicon: Lexicon, rng: np.random.Generator) -> np.ndarray:
    """The theme that the brand leans to for two products in five, else any that the department knows."""
    weights = rng.random((len(department), len(lexicon.themes))) * lexicon.allowed_themes[department]
    return np.where(rng.random(len(department)) < 0.4, leaning, weights.argmax(1))


def _arrivals(config: ShopConfig, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """When each product came, int64 ``(n,)``, and which came so late that nobody has bought them, bool ``(n,)``."""
    n, span = config.n_items, config.years * 365 * DAY
    start = END - span
    added = np.where(rng.random(n) < config.share_later, start + rng.random(n) * span * 0.98, start - 90 * DAY)
    new = np.zeros(n, dtype=bool)
    new[rng.permutation(n)[: config.n_new]] = True
    added[new] = END - rng.random(config.n_new) * NEW_DAYS * DAY
    return added.astype(np.int64), new
