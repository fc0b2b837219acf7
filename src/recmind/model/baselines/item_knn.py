"""Item-based nearest neighbours (Sarwar et al. 2001) with cosine and shrinkage, as Dacrema et al. 2019 tune them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy.sparse import csr_array, vstack

from recmind.config import ModelConfig
from recmind.model.graph import BipartiteGraph
from recmind.model.item_item import ItemItem

_BLOCK_PRODUCTS = 2**22
"""Products of two interactions that are counted at once: about 200 MiB."""


class ItemKNN(ItemItem):
    """s(u, i) = Σ_{j ∈ I_u ∩ N_k(i)} c_ij / (√(d_i d_j) + shrink).

    c_ij users have both i and j, d_i have i. N_k(i) are the k items that are
    most similar to i; of equal similarities at the end of the list those of
    items with a lower code are kept.
    """

    def __init__(self, graph: BipartiteGraph, config: ModelConfig) -> None:
        super().__init__(graph)
        self.settings = config.baselines.knn

    def fit(self) -> None:
        """Find the neighbours of every item."""
        near = nearest_items(self.interactions, self.settings.neighbours, self.settings.shrink)
        self.weights = near.T.tocsr()


def nearest_items(interactions: csr_array, k: int, shrink: float) -> csr_array:
    """The k most similar items of each item and how similar they are, without an n_items x n_items table.

    Parameters
    ----------
    interactions:
        X, ones, ``(n_users, n_items)``.
    k:
        Neighbours kept; fewer where fewer items share a user.
    shrink:
        Added to the divisor of the cosine.

    Returns
    -------
    csr_array
        Row i has the similarities of i's neighbours, float32 ``(n_items, n_items)``.
    """
    by_item = interactions.T.tocsr()
    degrees = np.diff(by_item.indptr).astype(np.float64)
    # Each interaction of an item is multiplied with all interactions of its user.
    products = by_item @ np.diff(interactions.indptr).astype(np.float64)
    block_of = np.floor(np.cumsum(products) / _BLOCK_PRODUCTS)
    edges = [0, *(np.flatnonzero(np.diff(block_of)) + 1), len(degrees)]
    parts = [
        _nearest_of(by_item[first:last] @ interactions, first, degrees, k, shrink) for first, last in pairwise(edges)
    ]
    return csr_array(vstack(parts, format="csr"))


def _nearest_of(counts: csr_array, first: int, degrees: np.ndarray, k: int, shrink: float) -> csr_array:
    """The k largest similarities of the items from ``first`` on, whose shared users ``counts`` holds."""
    n = len(counts.indptr) - 1
    rows = np.repeat(np.arange(n), np.diff(counts.indptr))
    columns = counts.indices
    similarity = counts.data / (np.sqrt(degrees[rows + first] * degrees[columns]) + shrink)
    others = columns != rows + first
    rows, columns, similarity = rows[others], columns[others], similarity[others]
    order = np.lexsort((columns, -similarity, rows))
    rows, columns, similarity = rows[order], columns[order], similarity[order]
    sizes = np.bincount(rows, minlength=n)
    place = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    kept = place < k
    found = (similarity[kept].astype(np.float32), (rows[kept], columns[kept]))
    return csr_array(found, shape=(n, len(degrees)))
