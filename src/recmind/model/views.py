"""What a graph model computes in one pass over all nodes."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from recmind.model.propagation import gather_rows


@dataclass(frozen=True)
class Views:
    """The views of all nodes, users first.

    Attributes
    ----------
    graph:
        z^G, ``(n_nodes, d)``.
    language:
        z^L, ``(n_nodes, d)``, or ``None`` for a model without texts.
    regularised:
        The free embeddings that Ω looks at, ``(n_nodes, d)``, or ``None``.
    gates:
        γ of each layer, ``(n_nodes,)`` each.
    """

    graph: Tensor
    language: Tensor | None = None
    regularised: Tensor | None = None
    gates: list[Tensor] = field(default_factory=list)


class GraphModel(nn.Module):
    """Base contract of the models that the trainer trains: one pass for all views, h for the rows that count."""

    n_users: int
    n_items: int

    def forward(self, generator: torch.Generator | None = None) -> Views:
        """Views of all nodes; with a generator as in training, without as in use."""
        raise NotImplementedError

    def final(self, views: Views, nodes: Tensor | None = None) -> Tensor:
        """h of ``nodes``, int64 ``(n,)``, or of all nodes; scores are inner products of its rows.

        Apart from :meth:`forward`, so that a step computes it for the rows of
        its batch only.
        """
        raise NotImplementedError

    def new_items(self, vectors: Tensor, known: Tensor) -> Tensor:
        """h of items without an edge, ``(n, d)``, from text vectors ``(n, d_lm)``.

        Raises
        ------
        NotImplementedError
            If the model does not read texts.
        """
        raise NotImplementedError


class VectorScorer:
    """Scores as inner products of final vectors; the :class:`~recmind.model.scorer.Scorer` of graph models."""

    def __init__(self, users: Tensor, items: Tensor) -> None:
        self.users, self.items = users, items

    @property
    def n_users(self) -> int:
        """Number of users."""
        return len(self.users)

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.items)

    def scores(self, users: Tensor) -> Tensor:
        """⟨h_u, h_i⟩ for all items, ``(b, n_items)``."""
        return self.users[users.to(self.users.device)] @ self.items.T


def rows_of(x: Tensor, nodes: Tensor | None) -> Tensor:
    """The rows of ``nodes``, or all."""
    return x if nodes is None else gather_rows(x, nodes)


def score_space(vectors: Tensor, score: str) -> Tensor:
    """Vectors whose inner products are the scores: as they are for ``dot``, normalised for ``cosine``."""
    return functional.normalize(vectors, dim=1) if score == "cosine" else vectors
