"""Items whose texts are like those of the user's history: content-based filtering, without anything learnt."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_array
from torch.nn import functional

from recmind.config import ModelConfig
from recmind.model.graph import BipartiteGraph
from recmind.model.item_item import ItemItem
from recmind.model.language_view import TextInputs


class ContentKNN(ItemItem):
    """s(u, i) = ⟨t̄_u, t_i⟩: the likeness of the item's text to those of the user's training items.

    t_i is the normalised text vector of item i, t̄_u the mean over the user's
    training items that have a text (Pazzani and Billsus 2007, "Content-Based
    Recommendation Systems", with vectors of a language model in place of
    words). No item is favoured for having been bought, so one that nobody has
    bought yet is scored like any other. An item without a text, and every item
    for a user without one, has 0: what is known of them says nothing.
    """

    def __init__(self, graph: BipartiteGraph, texts: TextInputs, config: ModelConfig) -> None:
        super().__init__(graph)
        vectors = functional.normalize(texts.items.cpu().float(), dim=1)
        self.vectors = (vectors * texts.items_known.cpu()[:, None]).numpy()
        self.weights = csr_array((self.n_items, self.n_items), dtype=np.float32)
        """None: what item j says for item i is the product of their vectors."""

    def fit(self) -> None:
        """Nothing is learnt."""

    def score_rows(self, histories: csr_array) -> np.ndarray:
        """Scores for the given training items, ``(b, n_items)``."""
        # A sum in place of the mean, which changes no order; then to its length, so that scores compare.
        profiles = functional.normalize(torch.from_numpy(histories @ self.vectors), dim=1)
        return (profiles @ torch.from_numpy(self.vectors).T).numpy()
