"""What a graph model computes in one pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from recmind.config import ModelConfig
from recmind.model.graph import BipartiteGraph, NodeSubset
from recmind.model.propagation import gather_rows
from recmind.model.recent import add_recent
from recmind.model.transitions import ComesNext


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


Weighed = Literal["recent", "transitions", "sequence"]
"""What is added to a trained model's scores with a weight that no gradient learns: a group of ``model`` settings."""

_BUFFERS: Final[dict[Weighed, str]] = {"recent": "rho", "transitions": "sigma", "sequence": "rho_s"}


@dataclass(frozen=True)
class Reading:
    """Users of a batch's interactions as a term of the recommendation loss takes them.

    Attributes
    ----------
    users:
        One row for each interaction, ``(b, d)``.
    items:
        What their scores are made with, of the wanted nodes, ``(k, d)``; rows of users are not looked at.
    """

    users: Tensor
    items: Tensor


@dataclass(frozen=True)
class Standing:
    """What the weights of a trained model do not change, so that several can be looked at for one pass.

    Attributes
    ----------
    h:
        That of :meth:`GraphModel.final` for all nodes, ``(n_nodes, d)``, without terms of their own.
    states:
        s, ``(n_users, d)``, or ``None``.
    beside:
        m - h of the items, ``(n_items, d)``: what states meet beside h; ``None`` where they meet h alone.
    """

    h: Tensor
    states: Tensor | None = None
    beside: Tensor | None = None


class GraphModel(nn.Module):
    """Base contract of the models that the trainer trains: one pass for the views, and h from them."""

    graph: BipartiteGraph
    config: ModelConfig
    n_users: int
    n_items: int
    chosen: ClassVar[tuple[str, ...]] = tuple(_BUFFERS.values())
    """Buffers that no gradient learns; where parameters of before do not have one, it stays as it is."""

    @property
    def weighed(self) -> tuple[Weighed, ...]:
        """What the model can add to its scores: latest items (ρ), what came next (σ), histories in order (ρ_S)."""
        return ("recent", "transitions")

    def keep_weights(self) -> None:
        """Make buffers of the weights: no gradient learns them, but the trainer may set them, and they are saved."""
        for part in self.weighed:
            self.keep_weight(part)

    def keep_weight(self, part: Weighed) -> Tensor:
        """The weight of ``part``, one of :attr:`weighed`, as a buffer of the model, a scalar."""
        name = _BUFFERS[part]
        if name not in self._buffers:
            self.register_buffer(name, torch.tensor(self.weight_of(part)))
        return self.get_buffer(name)

    def weight_of(self, part: Weighed) -> float:
        """What ``part`` counts: what was chosen, or the recipe's; 0 if it is none of :attr:`weighed`."""
        if part not in self.weighed:
            return 0.0
        buffer = self._buffers.get(_BUFFERS[part])
        return float(getattr(self.config, part).weight if buffer is None else buffer)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As in torch; runs of before a weight was a part of the model keep the recipe's."""
        kept = {name: self.get_buffer(name) for name in self.chosen if name in self._buffers}
        return super().load_state_dict({**kept, **state_dict}, strict, assign)

    @property
    def bias_columns(self) -> int:
        """How many of the last columns of h are terms of their own in the score, such as an item's popularity."""
        return 0

    @property
    def reads_order(self) -> bool:
        """Whether training needs all interactions of a user in one batch, in the order of time."""
        return False

    def readings(self, h: Tensor, wanted: NodeSubset, users: Tensor, generator: torch.Generator) -> list[Reading]:
        """The users of a batch's interactions as the recommendation loss takes them: one term for each.

        Parameters
        ----------
        h:
            Of the wanted nodes, ``(k, d)``.
        users:
            Whose the interactions are, int64 ``(b,)``; of a model that reads the order all of a user's, as they came.
        """
        return [Reading(gather_rows(h, wanted.locate(users)), h)]

    @property
    def own_items(self) -> bool:
        """Whether states meet something beside h, so that :meth:`vectors` has rows of twice the width."""
        return False

    def states(self, items: Tensor) -> Tensor | None:
        """s, what the users' histories say of them when they are read in order, ``(n_users, d)``, from what is read of
        the items ``(n_items, d)``; ``None`` for a model that adds nothing of the kind to h."""
        return None

    def read_items(self, items: Tensor, codes: Tensor) -> Tensor | None:
        """m, what an encoder of histories reads of items and is scored against, ``(n, d)``, from their h and their
        codes; ``None`` where that is h itself."""
        return None

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

    def terms(self) -> Tensor | None:
        """The last columns of h, terms of their own in the score, for all nodes, ``(n_nodes, bias_columns)``."""
        return None

    @torch.no_grad()
    def standing(self) -> Standing:
        """The model as training left it, for :meth:`vectors` with one weight after the other."""
        h = self.final(self())
        h = h[:, : h.shape[1] - self.bias_columns]
        items = h[self.n_users :]
        read = self.read_items(items, torch.arange(self.n_items, device=h.device))
        return Standing(h, self.states(items if read is None else read), None if read is None else read - items)

    @torch.no_grad()
    def vectors(self, standing: Standing | None = None) -> Tensor:
        """h of all nodes as it is used, ``(n_nodes, d)``, or one column more with a popularity term: that of
        :meth:`final`, and for users what their histories (``model.sequence``) and their latest items
        (``model.recent``) add.

        Where states meet m, which is not h (:attr:`own_items`), the score is ⟨h_u, h_i⟩ + ⟨r_u, m_i - h_i⟩ with
        r_u the part of h_u that is the state: rows are ``[h_u, r_u]`` and ``[h_i, m_i - h_i]``.

        Parameters
        ----------
        standing:
            Where it is known already. It has to be of the parameters as they are.
        """
        standing = self.standing() if standing is None else standing
        users, items, score = standing.h[: self.n_users], standing.h[self.n_users :], self.config.score
        weight, read = self.weight_of("sequence"), None
        if standing.states is not None and weight:
            read = weight * standing.states
            users, read = _to_length(users + read, read, score)
        weight, settings = self.weight_of("recent"), self.config.recent
        if weight:
            users = add_recent(users, items, self.graph, weight, settings.decay, settings.items)
            users, read = _to_length(users, read, score)
        if standing.beside is not None and read is not None:
            users, items = torch.cat([users, read], dim=1), torch.cat([items, standing.beside], dim=1)
        h, terms = torch.cat([users, items]), self.terms()
        return h if terms is None else torch.cat([h, terms], dim=1)

    @torch.no_grad()
    def scorer(self, standing: Standing | None = None) -> VectorScorer:
        """The model as it ranks: :meth:`vectors`, and what came next (``model.transitions``)."""
        h = self.vectors(standing)
        return VectorScorer(h[: self.n_users], h[self.n_users :], self.comes_next())

    def comes_next(self) -> ComesNext | None:
        """What came next as a term of the score, ``None`` where it does not count."""
        weight = self.weight_of("transitions")
        return replace(self._counted, weight=weight) if weight else None

    @cached_property
    def _counted(self) -> ComesNext:
        return ComesNext.of(self.graph, self.config, 1.0)

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
    """Scores as inner products of final vectors; the :class:`~recmind.model.scorer.Scorer` of graph models.

    Parameters
    ----------
    users, items:
        h, ``(n_users, d)`` and ``(n_items, d)``.
    comes_next:
        What is added to a few scores of each user.
    """

    def __init__(self, users: Tensor, items: Tensor, comes_next: ComesNext | None = None) -> None:
        self.users, self.items, self.comes_next = users, items, comes_next

    @property
    def n_users(self) -> int:
        """Number of users."""
        return len(self.users)

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.items)

    def scores(self, users: Tensor) -> Tensor:
        """⟨h_u, h_i⟩ for all items, and what came next, ``(b, n_items)``."""
        products = self.users[users.to(self.users.device)] @ self.items.T
        return products if self.comes_next is None else self.comes_next.add_(products, users.cpu().numpy())

    def among(self, items: Tensor) -> VectorScorer:
        """With some of the items, int64 codes, as the catalogue."""
        following = None if self.comes_next is None else self.comes_next.among(items.cpu().numpy())
        return VectorScorer(self.users, self.items[items.to(self.items.device)], following)


def _to_length(users: Tensor, read: Tensor | None, score: str) -> tuple[Tensor, Tensor | None]:
    """Rows in the space of scores, and the part of them that is a state at the same scale."""
    if score != "cosine":
        return users, read
    length = users.norm(dim=1, keepdim=True).clamp_min(1e-12)
    return users / length, None if read is None else read / length


def score_space(vectors: Tensor, score: str) -> Tensor:
    """Vectors whose inner products are the scores: as they are for ``dot``, normalised for ``cosine``."""
    return functional.normalize(vectors, dim=1) if score == "cosine" else vectors


def storage_of(config: ModelConfig) -> torch.dtype | None:
    """The precision in which a hop leaves its result to the next one; ``None`` for that of the parameters."""
    return torch.bfloat16 if config.storage == "bfloat16" else None
