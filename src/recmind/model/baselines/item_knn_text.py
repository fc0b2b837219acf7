"""Item neighbours mixed with the likeness of texts: both as z-scores over the catalogue."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_array
from torch.nn import functional

from recmind.config import ModelConfig
from recmind.model.baselines.item_knn import ItemKNN
from recmind.model.graph import BipartiteGraph
from recmind.model.language_view import TextInputs


class ItemKNNText(ItemKNN):
    """s(u, i) = z(s_kNN(u, i)) + w z(⟨t̄_u, t_i⟩), z over all items of a user.

    t_i is the text vector of item i, normalised, t̄_u the mean of those of the
    user's training items. Items without a text have no part in the mean and
    the deviation of the second term, and get 0, which is an average item's.
    """

    def __init__(self, graph: BipartiteGraph, texts: TextInputs, config: ModelConfig) -> None:
        super().__init__(graph, config)
        self.known = texts.items_known.cpu().numpy()
        vectors = functional.normalize(texts.items.cpu().float(), dim=1)
        self.vectors = (vectors * texts.items_known.cpu()[:, None]).numpy()

    def score_rows(self, histories: csr_array) -> np.ndarray:
        """Scores for the given training items, ``(b, n_items)``."""
        # A sum is as good as a mean: the z-score has no scale.
        profiles = torch.from_numpy(histories @ self.vectors)
        likeness = (profiles @ torch.from_numpy(self.vectors).T).numpy()
        everything = np.ones(self.n_items, dtype=bool)
        mixed = z_scores(super().score_rows(histories), everything)
        mixed += np.float32(self.settings.text_weight) * z_scores(likeness, self.known)
        return mixed


def z_scores(values: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """(x - mean) / deviation along each row, over the counted columns; the others, and rows without spread, are 0.

    Parameters
    ----------
    values:
        ``(b, n)``.
    counted:
        bool ``(n,)``.
    """
    n = max(1, int(counted.sum()))
    centred = np.where(counted, values - (values * counted).sum(1, keepdims=True, dtype=np.float64) / n, 0.0)
    deviation = np.sqrt(np.square(centred).sum(1, keepdims=True) / n)
    # Rows of equal values leave a deviation that is nothing but rounding.
    spread = deviation > 1e-6 * np.abs(values).max(1, keepdims=True, initial=0)
    return np.divide(centred, deviation, out=np.zeros_like(centred), where=spread).astype(np.float32)
