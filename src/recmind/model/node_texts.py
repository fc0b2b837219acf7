"""Text vectors of all nodes, for models that read them as they are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recmind.model.graph import BipartiteGraph
from recmind.model.language_view import TextInputs, neighbour_context, uses_bfloat16
from recmind.model.propagation import with_means_of_items


@dataclass(frozen=True)
class NodeTexts:
    """A text vector for each node, users first.

    Attributes
    ----------
    vectors:
        x, ``(n_nodes, d_lm)``; zero where nothing is known.
    known:
        Which of them are not, bool ``(n_nodes,)``.
    """

    vectors: Tensor
    known: Tensor


def node_texts(texts: TextInputs, graph: BipartiteGraph, *, missing: str = "free") -> NodeTexts:
    """The text vectors of items and users as they are, without anything that is trained.

    A user without an own text has the mean of the vectors of those training
    items that have one.

    Parameters
    ----------
    missing:
        ``fallback`` puts the neighbours' mean text vector in the place of one
        that is missing (:func:`recmind.model.language_view.neighbour_context`),
        ``free`` leaves it at zero.
    """
    items, users = texts.items * texts.items_known[:, None], texts.users
    share = texts.items_known.to(items.dtype)[:, None]
    means = with_means_of_items(items, graph)[: graph.n_users]
    # The mean over all training items, divided by the share of them that has a text.
    told = with_means_of_items(share, graph)[: graph.n_users]
    known = told[:, 0] > 0
    means = means / torch.where(known[:, None], told, 1)
    if users is not None and texts.users_known is not None:
        means = torch.where(texts.users_known[:, None], users, means)
        known = known | texts.users_known
    vectors, known = torch.cat([means, items]), torch.cat([known, texts.items_known])
    if missing == "fallback" and not bool(known.all()):
        vectors = torch.where(known[:, None], vectors, neighbour_context(texts, graph))
        known = known | vectors.any(1)
    return NodeTexts(vectors, known)


def in_precision(precision: str, like: Tensor) -> torch.autocast:
    """Where products of float32 numbers are multiplied as ``model.precision`` says; others as they are."""
    enabled = like.dtype == torch.float32 and uses_bfloat16(precision, like.device)
    return torch.autocast(like.device.type, torch.bfloat16, enabled=enabled)
