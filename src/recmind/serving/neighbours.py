"""What new items hear of the items with texts like theirs: :mod:`recmind.model.text_links` on a bundle's tables."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from recmind.schema import BundleTensors
from recmind.serving.folding import Equations, unit

Array = np.ndarray

_BLOCK = 16  # new items whose likeness to all others is computed at once


def heard(
    equations: Equations, tables: Mapping[str, Array], texts: Array, directions: Array | None = None
) -> Array | None:
    """Σ_j S_ij z^G_j of new items, ``(n, d)``, zero where no text is like theirs; ``None`` for a model without links.

    Parameters
    ----------
    tables:
        Those of the bundle's items.
    texts:
        z̃ of the new items ``(n, d_lm)``.
    directions:
        z̃ of the table's items at length 1, ``(n_items, d_lm)``, where they are at hand.
    """
    if not equations.text_links:
        return None
    directions = unit(tables[BundleTensors.ITEMS_TEXTS]) if directions is None else directions
    n = len(directions)
    linked = (tables[BundleTensors.ITEMS_DEGREES][:n] > 0) & tables[BundleTensors.ITEMS_KNOWN][:n].astype(bool)
    k = min(equations.text_links, int(linked.sum()))
    found = np.zeros((len(texts), equations.dim), dtype=np.float32)
    asked = unit(texts).astype(np.float32)
    for start in range(0, len(texts) if k else 0, _BLOCK):
        cosines = asked[start : start + _BLOCK] @ directions.T
        cosines[:, ~linked] = -np.inf
        near = np.argpartition(cosines, -k, axis=1)[:, -k:]
        shares = np.take_along_axis(cosines, near, axis=1).clip(0)
        shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1e-12)
        views = _graph_views(equations, tables, near.ravel()).reshape(*near.shape, -1)
        found[start : start + _BLOCK] = np.einsum("nk,nkd->nd", shares, views)
    return found


def _graph_views(equations: Equations, tables: Mapping[str, Array], codes: Array) -> Array:
    """z^G of items with a text, ``(m, d)``, from h = (a z^G + (1-a) z^L) / ‖·‖ and the factor of z^L in it."""
    h, language = tables[BundleTensors.ITEMS][codes, :-1], tables[BundleTensors.ITEMS_LANGUAGE][codes]
    a = equations.share_of_graph(1.0)
    b = equations.share_of_language(a)
    if not a:
        return np.zeros_like(h)
    if not b:
        return h / np.float32(a)  # of a model without z^L in h, as long as h
    length = b / tables[BundleTensors.ITEMS_SCALE][codes, None]
    return ((length * h - (1 - a) * language) / a).astype(np.float32)
