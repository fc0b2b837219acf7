"""What a graph model computes in one pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from recmind.config import ModelConfig
from recmind.model.graph import BipartiteGraph, NodeSubset
from recmind.model.recent import add_recent


@dataclass(frozen=True)
class Views:
    """The views of the k nodes that were asked for, in ascending order, users first.

    Attributes
    ----------
    graph:
        z^G, ``(k, d)``.
    language:
        z^L, ``(k, d)``, or ``None`` for a model without texts.
    regularised:
        The free embeddings that Ω looks at, ``(k, d)``, or ``None``.
    gates:
        γ of each layer and all nodes, ``(layers, n_nodes)``, or ``None``.
    wanted:
        The nodes, or ``None`` for all.
    pairs:
        Views of the same nodes that a model contrasts with each other, ``(k, d)`` each.
    """

    graph: Tensor
    language: Tensor | None = None
    regularised: Tensor | None = None
    gates: Tensor | None = None
    wanted: NodeSubset | None = None
    pairs: tuple[tuple[Tensor, Tensor], ...] = ()


class GraphModel(nn.Module):
    """Base contract of the models that the trainer trains: one pass for the views, and h from them."""

    graph: BipartiteGraph
    config: ModelConfig
    n_users: int
    n_items: int

    def keep_recent(self) -> tuple[Tensor, Tensor]:
        """ρ and the decay of ω as buffers, scalars: no gradient learns them, but the trainer may set them, and they
        are saved with the model."""
        settings = self.config.recent
        for name, value in (("rho", settings.weight), ("decay", settings.decay)):
            if name not in self._buffers:
                self.register_buffer(name, torch.tensor(value))
        return self.get_buffer("rho"), self.get_buffer("decay")

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As in torch; runs of before the latest items were a part of the model keep the recipe's ρ and decay."""
        absent = {name: self.get_buffer(name) for name in ("rho", "decay") if name in self._buffers}
        return super().load_state_dict({**absent, **state_dict}, strict, assign)

    @property
    def recent_weight(self) -> float:
        """ρ, what the latest items of a user count."""
        return round(float(self.get_buffer("rho")), 6) if "rho" in self._buffers else self.config.recent.weight

    @property
    def recent_decay(self) -> float:
        """How an item's share falls with each one after it."""
        return round(float(self.get_buffer("decay")), 6) if "decay" in self._buffers else self.config.recent.decay

    @property
    def bias_columns(self) -> int:
        """How many of the last columns of h are terms of their own in the score, such as an item's popularity."""
        return 0

    def forward(self, generator: torch.Generator | None = None, wanted: NodeSubset | None = None) -> Views:
        """Views of the wanted nodes, or of all; with a generator as in training, without as in use.

        A training step asks for the nodes of its batch, which saves most of
        the last hop and of the first one backward.
        """
        raise NotImplementedError

    def start_epoch(self, generator: torch.Generator) -> None:
        """Draw what stays the same for an epoch; ``generator`` is that of the epoch, before its first batch."""

    def final(self, views: Views) -> Tensor:
        """h of the nodes of ``views``, ``(k, d)``; scores are inner products of its rows."""
        raise NotImplementedError

    @torch.no_grad()
    def vectors(self) -> Tensor:
        """h of all nodes as it is used, ``(n_nodes, d)``, or one column more with a popularity term: that of
        :meth:`final`, and for users what their latest items add (``model.recent``)."""
        h = self.final(self())
        weight = self.recent_weight
        if not weight:
            return h
        d, n = h.shape[1] - self.bias_columns, self.n_users
        users = add_recent(
            h[:n, :d],
            h[n:, :d],
            self.graph,
            weight,
            self.recent_decay,
            self.config.recent.items,
            unit=self.config.score == "cosine",
        )
        return torch.cat([torch.cat([users, h[:n, d:]], dim=1), h[n:]])

    def contrast(
        self, views: Views, users: Tensor, items: Tensor, negatives: Tensor, generator: torch.Generator
    ) -> Tensor | None:
        """A loss of the model's own beside the recommendation loss, weighted, a scalar; ``None`` without one.

        Parameters
        ----------
        views:
            What :meth:`forward` gave for the batch.
        users, items:
            Codes of the batch's interactions, int64 ``(b,)`` each.
        negatives:
            Codes of the negatives, int64 of any shape; they are among the wanted nodes too.
        generator:
            For what is drawn at random.
        """
        return None

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


def score_space(vectors: Tensor, score: str) -> Tensor:
    """Vectors whose inner products are the scores: as they are for ``dot``, normalised for ``cosine``."""
    return functional.normalize(vectors, dim=1) if score == "cosine" else vectors


def storage_of(config: ModelConfig) -> torch.dtype | None:
    """The precision in which a hop leaves its result to the next one; ``None`` for that of the parameters."""
    return torch.bfloat16 if config.storage == "bfloat16" else None
