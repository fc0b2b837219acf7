"""What the live recommender returns: plain frozen values, ready for JSON through :func:`dataclasses.asdict`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One line of a list.

    Attributes
    ----------
    item_id:
        The item.
    rank:
        Place in the list, from 1.
    score:
        What the model says, ⟨h_u, h_i⟩ + w d̃_i and what came next, whatever diversity and popularity penalty made of
        the order; for similar items the cosine of the vectors, for a wish that of the texts, for somebody with a wish
        the mixture of :mod:`recmind.serving.wishes`.
    """

    item_id: str
    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class Person:
    """A user for whom an item ranks high: id and score."""

    user_id: str
    score: float


@dataclass(frozen=True, slots=True)
class HistoryPart:
    """How much of a score one item of the history carries."""

    item_id: str
    part: float


@dataclass(frozen=True, slots=True)
class WordPart:
    """A word of an item's text and its cosine to the taste: of language views, of texts for a wish."""

    word: str
    cosine: float


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an item has its score; see :mod:`recmind.serving.reasons` for the equations.

    Attributes
    ----------
    item_id, score:
        The item and ⟨h_u, h_i⟩ + w d̃_i and what came next, or with a wish the score of :mod:`recmind.serving.wishes`.
    language, graph, cross, popularity, sequence:
        Parts of the score; their sum is the score. ``sequence`` is what the history says when it is read in
        order, and what came after the latest items in the histories of others.
    history:
        What each item of the history carries, the largest first, with ``own`` and ``popularity`` adding up to the
        score; empty where the taste is not made of a history.
    own:
        What the user's own free vector, own text or words typed in carry: of a wish all of it. And what the order of
        the history says as a whole, beyond what each of the latest items changes in it.
    words:
        Words of the item's text nearest to the taste, the nearest first; empty where they were not asked for, or
        the model reads no texts.
    item_gate, user_gate:
        γ of each layer: 1 lets only the graph through, 0 only the language. ``None`` without a gate, and for a
        user who was not there in training.
    """

    item_id: str
    score: float
    language: float
    graph: float
    cross: float
    popularity: float
    sequence: float
    own: float
    history: tuple[HistoryPart, ...] = ()
    words: tuple[WordPart, ...] = ()
    item_gate: tuple[float, ...] | None = None
    user_gate: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an item would stand that exists only as a text.

    Attributes
    ----------
    neighbours:
        The items most like it, by the cosine of h.
    users:
        The users who would get it rather than others.
    has_text:
        Whether there was anything to read.
    """

    neighbours: tuple[Suggestion, ...]
    users: tuple[Person, ...]
    has_text: bool


@dataclass(frozen=True, slots=True)
class Counts:
    """How much there is, and what changed since the bundle was made."""

    items: int
    users: int
    items_added: int
    items_deleted: int
    users_added: int
    users_deleted: int
    interactions_added: int


@dataclass(frozen=True, slots=True)
class Status:
    """What a server shows about itself.

    Attributes
    ----------
    bundle:
        The bundle's id: a hash of its content.
    model:
        Name of the model.
    index:
        Kind, size, recall@20 against exact search, and settings of the index.
    counts:
        How much there is.
    can:
        What the model can do: ``fold`` (histories of unseen users), ``text`` (words, new items), ``gate``,
        ``sequence`` (the order of a history, what came next).
    """

    bundle: str
    model: str
    index: dict[str, Any]
    counts: Counts
    can: dict[str, bool] = field(default_factory=dict)
