"""Models that are computed once from the training interactions, and those of them that weigh items by items."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from recmind.errors import RunError
from recmind.model.graph import BipartiteGraph
from recmind.schema import Tensors


class Computed:
    """Base contract of the models that are computed once, without epochs.

    Once fitted or restored it is a :class:`~recmind.model.scorer.Scorer`.
    """

    n_users: int
    n_items: int

    def fit(self) -> None:
        """Compute what :meth:`scores` needs from the training interactions."""
        raise NotImplementedError

    def scores(self, users: Tensor) -> Tensor:
        """Scores of all items for ``users``, ``(b, n_items)``."""
        raise NotImplementedError

    def tensors(self) -> dict[str, Tensor]:
        """What a run keeps of it: vectors whose products are the scores, or what :meth:`restore` reads."""
        raise NotImplementedError


class ItemItem(Computed):
    """s(u, i) = Σ_{j ∈ I_u} W_ji: what a user's training items j say for item i.

    Attributes
    ----------
    interactions:
        X, 1 for each training interaction, float32 ``(n_users, n_items)``.
    weights:
        W, float32 ``(n_items, n_items)``, in compressed rows or dense; there
        after :meth:`fit` or :meth:`restore`.
    """

    weights: csr_array | np.ndarray

    def __init__(self, graph: BipartiteGraph) -> None:
        self.n_users, self.n_items = graph.n_users, graph.n_items
        self.interactions = interaction_matrix(graph)

    def scores(self, users: Tensor) -> Tensor:
        """Scores of all items for ``users``, ``(b, n_items)``."""
        return torch.from_numpy(self.score_rows(self.interactions[users.cpu().numpy()]))

    def score_rows(self, histories: csr_array) -> np.ndarray:
        """Scores for the given training items, ``(b, n_items)`` each; the rows of X are the users' own."""
        found = histories @ self.weights
        return found if isinstance(found, np.ndarray) else found.toarray()

    def similar(self, item: int) -> Tensor:
        """What somebody who has nothing but ``item`` is given, ``(n_items,)``."""
        only = csr_array(([np.float32(1)], ([0], [item])), shape=(1, self.n_items))
        return torch.from_numpy(self.score_rows(only)[0])

    def of_item(self, item: int, block: int = 1024) -> Tensor:
        """Scores of one item for all users, ``(n_users,)``."""
        users = torch.arange(self.n_users)
        return torch.cat([self.scores(part)[:, item].clone() for part in users.split(block)])

    def tensors(self) -> dict[str, Tensor]:
        """W, as one table or as three arrays of compressed rows."""
        if isinstance(self.weights, np.ndarray):
            return {Tensors.WEIGHTS: torch.from_numpy(self.weights)}
        parts = (self.weights.indptr.astype(np.int64), self.weights.indices.astype(np.int32), self.weights.data)
        return {key: torch.from_numpy(part) for key, part in zip(_PARTS, parts, strict=True)}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take W from the tensors of a run.

        Raises
        ------
        RunError
            If they are not there or of another catalogue.
        """
        size = (self.n_items, self.n_items)
        if Tensors.WEIGHTS in tensors and tensors[Tensors.WEIGHTS].shape == size:
            self.weights = tensors[Tensors.WEIGHTS].numpy()
            return
        parts = [tensors[key].numpy() for key in _PARTS if key in tensors]
        if len(parts) != len(_PARTS) or len(parts[0]) != self.n_items + 1:
            raise RunError(
                "the model and the tables of the run do not belong together",
                got=sorted(tensors),
                accepted=f"weights between {self.n_items} items",
                hint="train again with --overwrite",
            )
        offsets, columns, values = parts
        self.weights = csr_array((values, columns, offsets), shape=size)


_PARTS = (Tensors.WEIGHT_OFFSETS, Tensors.WEIGHT_ITEMS, Tensors.WEIGHT_VALUES)


def interaction_matrix(graph: BipartiteGraph) -> csr_array:
    """X of the graph's users and items, float32 ``(n_users, n_items)`` with ones."""
    offsets = graph.offsets[: graph.n_users + 1].cpu().numpy()
    columns = graph.neighbours[: offsets[-1]].cpu().numpy() - np.int32(graph.n_users)
    # Both index arrays of one type, or scipy copies the longer one.
    index = np.int32 if offsets[-1] < 2**31 else np.int64
    ones = np.ones(len(columns), dtype=np.float32)
    return csr_array(
        (ones, columns.astype(index, copy=False), offsets.astype(index)), shape=(graph.n_users, graph.n_items)
    )
