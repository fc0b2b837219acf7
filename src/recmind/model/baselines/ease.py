"""EASE (Steck 2019, arXiv 1905.03375): a linear item-item model in closed form."""

from __future__ import annotations

import numpy as np
import torch

from recmind.config import ModelConfig
from recmind.errors import ConfigError
from recmind.machine import usable_memory
from recmind.model.graph import BipartiteGraph
from recmind.model.item_item import ItemItem

_BYTES = 24
"""Of memory for a pair of items while P is computed: the matrix, its factor and its inverse, 8 bytes each."""


class Ease(ItemItem):
    """s(u, ·) = x_u B, B_ij = -P_ij / P_jj off the diagonal and 0 on it, P = (XᵀX + λI)⁻¹.

    Equation 8 and algorithm 1 of the paper: the minimum of ‖X - XB‖² + λ‖B‖²
    with diag(B) = 0. P is computed in float64, B is kept in float32.
    """

    def __init__(self, graph: BipartiteGraph, config: ModelConfig) -> None:
        super().__init__(graph)
        self.regularisation = config.baselines.ease.regularisation

    def fit(self) -> None:
        """Invert the items' co-occurrence matrix.

        Raises
        ------
        ConfigError
            If it does not fit into memory.
        """
        refuse_too_many(self.n_items, usable_memory())
        self.weights = ease_weights((self.interactions.T @ self.interactions).toarray(), self.regularisation)


def ease_weights(gram: np.ndarray, regularisation: float) -> np.ndarray:
    """B, float32 ``(n_items, n_items)``, from XᵀX of the same shape and λ."""
    matrix = torch.from_numpy(gram.astype(np.float64))
    del gram
    matrix.diagonal().add_(regularisation)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(matrix))
    del matrix
    diagonal = inverse.diagonal().clone()
    # LAPACK leaves columns one after the other, and every product with such a table would copy it.
    weights = inverse.div_(-diagonal).float().contiguous()
    weights.fill_diagonal_(0)
    return weights.numpy()


def refuse_too_many(n_items: int, memory: int) -> None:
    """Stop before a catalogue whose inverse takes more than ``memory`` bytes; 0 stands for unknown.

    Raises
    ------
    ConfigError
        If it does.
    """
    needed = n_items**2 * _BYTES
    if memory and needed > memory:
        raise ConfigError(
            f"EASE inverts a dense matrix of n_items x n_items: {n_items:,} items take {needed / 2**30:.1f} GiB",
            where="model.name",
            got=f"{memory / 2**30:.1f} GiB of memory, enough for {int((memory / _BYTES) ** 0.5):,} items",
            hint="keep fewer items with `recmind prepare --min-item-interactions`, or train item-knn",
        )
