"""Wishes in words: items whose texts are like the wish, alone or beside what is known of somebody.

A wish is compared with texts as the language model left them, before the model's projection, which is trained to
place items by who chooses them:

    l_i = cos(z̃_wish, z̃_i)                                    0 for an item without a text

Beside a user or a history with the scores u_i = h_u·h_i + w d̃_i, and what came next where the model counts it, both are
standardised, and v is ``text_weight``:

    s_i = (1-v) (u_i - ū) / σ_u  +  v (l_i - l̄) / σ_l

Means and deviations are over all items of the bundle, whatever is filtered, deleted or added: the score of an item
does not depend on what else is listed. At v = 0 and v = 1 nothing is mixed, and the scores are u and l themselves.
Everything is compared, at any size: z̃ of an item is several times longer than its h, so an index for u would save
little, and the language model takes longer than a million items.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from recmind.errors import BundleError
from recmind.schema import BundleTensors
from recmind.serving.folding import unit
from recmind.serving.following import Raised
from recmind.serving.state import State

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and standard deviation of scores over the bundle's items."""

    mean: float
    deviation: float

    @classmethod
    def of(cls, values: Array) -> Spread:
        """Of scores ``(n,)``."""
        return cls(float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64)))

    @property
    def factor(self) -> float:
        """1 over the deviation; 0 where all scores are the same, which then say nothing."""
        return 1 / self.deviation if self.deviation > 1e-9 else 0.0


@dataclass(frozen=True, slots=True)
class Wish:
    """A wish, compared with every item.

    Attributes
    ----------
    direction:
        z̃ of the wish at length 1, ``(d_lm,)``.
    likeness:
        l of the bundle's items and the later ones, float64 ``(n,)``.
    scores:
        s, likewise.
    weight:
        v; 1 for a wish alone.
    by_user, by_text:
        How u and l are spread; ``None`` where nothing is mixed.
    """

    direction: Array
    likeness: Array
    scores: Array
    weight: float = 1.0
    by_user: Spread | None = None
    by_text: Spread | None = None


def read_wish(state: State, text: str) -> Wish:
    """A wish alone.

    Raises
    ------
    ConfigError
        If the bundle's model makes no vectors of texts.
    DataError
        If the text says nothing.
    BundleError
        If the bundle was made before bundles held z̃.
    """
    direction = unit(state.base.speech.wish(text)).astype(np.float32)
    if BundleTensors.ITEMS_TEXTS not in state.base.tables:
        raise BundleError(
            "the bundle holds no vectors of its items' texts, which wishes are compared with",
            where=state.base.bundle.path,
            hint="make the bundle again with `recmind export`",
        )
    likeness = _products(state, BundleTensors.ITEMS_TEXTS, state.base.text_directions, direction, lengths=True)
    return Wish(direction, likeness, likeness)


def mixed(state: State, wish: Wish, vector: Array, raised: Raised | None, weight: float) -> Wish:
    """The wish beside somebody's row ``(width,)`` and what came next for them, 0 < weight < 1."""
    query = np.append(vector, np.float32(state.base.equations.popularity)).astype(np.float32)
    own, n = _products(state, BundleTensors.ITEMS, state.base.items, query), state.base.n_items
    if raised is not None:
        own[raised.codes] += raised.values
        if state.added.n:
            own[n:] += raised.of_new(state.near())
    by_user, by_text = Spread.of(own[:n]), Spread.of(wish.likeness[:n])
    scores = (1 - weight) * by_user.factor * (own - by_user.mean)
    scores += weight * by_text.factor * (wish.likeness - by_text.mean)
    return Wish(wish.direction, wish.likeness, scores, weight, by_user, by_text)


def _products(state: State, name: str, table: Array, query: Array, *, lengths: bool = False) -> Array:
    """Products of a query with a table of the bundle's items and the later ones, float64 ``(n,)``."""
    found = torch.mv(torch.from_numpy(table), torch.from_numpy(query)).numpy().astype(np.float64)
    if not state.added.n:
        return found
    late = state.added.tables[name][: state.added.n]
    return np.concatenate([found, (unit(late) if lengths else late) @ query])
