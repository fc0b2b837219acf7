"""What customers like: the utility of every product for every customer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recmind.data.shop.world import BRAND_DIM, World


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


def utility_scales(world: World, seed: int, n: int = 2000) -> tuple[tuple[float, float], tuple[float, float]]:
    """Mean and standard deviation of v, and of w, over random pairs of customers and products."""
    rng = np.random.default_rng([seed, 2])
    tastes = draw_tastes(world, n, rng)
    users, items = np.arange(n)[:, None], rng.integers(world.n_items, size=(n, 20))
    visible, hidden = (utility(world, tastes, users, items) for utility in (visible_utility, hidden_utility))
    return (float(visible.mean()), float(visible.std())), (float(hidden.mean()), float(hidden.std()))
