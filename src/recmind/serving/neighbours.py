"""What new items hear of the items with texts like theirs: :mod:`recmind.model.text_links` on a bundle's tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from recmind.schema import BundleTensors
from recmind.serving.folding import unit
from recmind.serving.tastes import Equations

Array = np.ndarray

_BLOCK = 16  # new items whose likeness to all others is computed at once


@dataclass(frozen=True, slots=True)
class Near:
    """S: what new items are linked to by their texts.

    Attributes
    ----------
    codes:
        Items of the bundle, int64 ``(n, k)``; no columns for a model without links.
    shares:
        Their shares, with sum 1, or 0 where no text is like the new one's, float32 ``(n, k)``.
    """

    codes: Array
    shares: Array

    @classmethod
    def itself(cls, code: int) -> Near:
        """Of an item that is no new one."""
        return cls(np.array([[code]]), np.ones((1, 1), dtype=np.float32))

    @classmethod
    def none(cls, n: int) -> Near:
        """Of n items that are linked to nothing."""
        return cls(np.empty((n, 0), dtype=np.int64), np.empty((n, 0), dtype=np.float32))


def nearest(
    equations: Equations, tables: Mapping[str, Array], texts: Array, known: Array, directions: Array | None = None
) -> Near:
    """The items of the bundle whose texts are most like those of new items.

    Parameters
    ----------
    tables:
        Those of the bundle's items.
    texts, known:
        z̃ of the new items ``(n, d_lm)`` and whether there is a text ``(n,)``.
    directions:
        z̃ of the table's items at length 1, ``(n_items, d_lm)``, where they are at hand.
    """
    if not equations.text_links or BundleTensors.ITEMS_TEXTS not in tables:
        return Near.none(len(texts))  # a bundle of before has no texts to be near to
    directions = unit(tables[BundleTensors.ITEMS_TEXTS]) if directions is None else directions
    n = len(directions)
    linked = (tables[BundleTensors.ITEMS_DEGREES][:n] > 0) & tables[BundleTensors.ITEMS_KNOWN][:n].astype(bool)
    k = min(equations.text_links, int(linked.sum()))
    codes = np.zeros((len(texts), k), dtype=np.int64)
    shares = np.zeros((len(texts), k), dtype=np.float32)
    asked = unit(texts).astype(np.float32)
    for start in range(0, len(texts) if k else 0, _BLOCK):
        block = slice(start, start + _BLOCK)
        cosines = asked[block] @ directions.T
        cosines[:, ~linked] = -np.inf
        codes[block] = np.argpartition(cosines, -k, axis=1)[:, -k:]
        found = np.take_along_axis(cosines, codes[block], axis=1).clip(0)
        shares[block] = found / np.maximum(found.sum(axis=1, keepdims=True), 1e-12)
    return Near(codes, shares * known[:, None])


def heard(equations: Equations, tables: Mapping[str, Array], near: Near) -> Array | None:
    """Σ_j S_ij z^G_j of new items, ``(n, d)``, zero where no text is like theirs; ``None`` without links."""
    n, k = near.codes.shape
    if not k:
        return None
    found = np.zeros((n, equations.dim), dtype=np.float32)
    for start in range(0, n, _BLOCK):
        codes, shares = near.codes[start : start + _BLOCK], near.shares[start : start + _BLOCK]
        views = _graph_views(equations, tables, codes.ravel()).reshape(*codes.shape, -1)
        found[start : start + _BLOCK] = np.einsum("nk,nkd->nd", shares, views)
    return found


def _graph_views(equations: Equations, tables: Mapping[str, Array], codes: Array) -> Array:
    """z^G of items with a text, ``(m, d)``, from h = (a z^G + (1-a) z^L) / ‖·‖ and the factor of z^L in it."""
    h, language = tables[BundleTensors.ITEMS][codes, : equations.dim], tables[BundleTensors.ITEMS_LANGUAGE][codes]
    a = equations.share_of_graph(1.0)
    b = equations.share_of_language(a)
    if not a:
        return np.zeros_like(h)
    if not b:
        return h / np.float32(a)  # of a model without z^L in h, as long as h
    length = b / tables[BundleTensors.ITEMS_SCALE][codes, None]
    return ((length * h - (1 - a) * language) / a).astype(np.float32)
