"""Everything that can be asked of one state: lists, reasons, look-ups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from recmind.errors import DataError, UnknownIdError
from recmind.schema import BundleTensors
from recmind.serving import lookup
from recmind.serving.answers import Person, Placement, Reason, Status, Suggestion, WordPart
from recmind.serving.changing import checked_fields, there
from recmind.serving.folding import unit
from recmind.serving.following import Raised
from recmind.serving.lists import best_for_wish, best_lists
from recmind.serving.neighbours import Near
from recmind.serving.options import Options
from recmind.serving.reasons import nearest_words, reason
from recmind.serving.state import State, fields_of
from recmind.serving.tastes import Taste
from recmind.serving.wishes import Wish, mixed, read_wish

MOST = 1000
"""Items of one list at most."""
_PLAIN = Options()


class Reader:
    """Answers from a state, which each method reads once.

    Parameters
    ----------
    state:
        One moment of what is served; a reader of its own always answers from
        this one, whatever is written meanwhile.
    """

    def __init__(self, state: State) -> None:
        self._state = state

    # -- lists ---------------------------------------------------------------------------------------------------

    def recommend(
        self, user: str, k: int = 10, *, options: Options = _PLAIN, text: str | None = None, text_weight: float = 0.5
    ) -> list[Suggestion]:
        """The k best items of a user, who may have come after training; with ``text`` also of a wish in words.

        With a text the scores are (1-v) of the user's and v of the likeness of texts, both standardised, with
        v = ``text_weight``; see :mod:`recmind.serving.wishes`.

        Raises
        ------
        UnknownIdError
            If nothing is known of the user.
        DataError
            If k or the weight is out of range, or the text says nothing.
        """
        state = self._state
        vector, raised = state.vector_of(user), state.raised_by(state.heard_of(user))
        seen = state.known_to(user) if options.leave_out_seen else _NOBODY
        return self._listed(state, vector, raised, _checked(k), options, seen, text, text_weight)

    def recommend_many(self, users: Sequence[str], k: int = 10, *, options: Options = _PLAIN) -> list[list[Suggestion]]:
        """The same for several users in one search."""
        state = self._state
        if not users:
            return []
        vectors = np.stack([state.vector_of(user) for user in users])
        seen = [state.known_to(user) if options.leave_out_seen else _NOBODY for user in users]
        raised = [state.raised_by(state.heard_of(user)) for user in users]
        return best_lists(state, vectors, _checked(k), options, seen, raised=raised)

    def recommend_for_history(
        self,
        items: Sequence[str],
        k: int = 10,
        *,
        options: Options = _PLAIN,
        text: str | None = None,
        text_weight: float = 0.5,
    ) -> list[Suggestion]:
        """The k best items of somebody of whom only these items are known, oldest first; nothing is kept.

        An item that is named twice counts once. Without any, and without a text, what histories begin with, of a model
        that reads them in order, and else the most popular items.
        """
        state = self._state
        codes = _codes(state, items)
        vector = state.taste_for(codes).row(state.base.equations)
        seen, weight = codes if options.leave_out_seen else _NOBODY, text_weight if len(codes) else 1.0
        return self._listed(state, vector, state.raised_by(codes), _checked(k), options, seen, text, weight)

    def recommend_for_text(self, text: str, k: int = 10, *, options: Options = _PLAIN) -> list[Suggestion]:
        """The k items whose texts are most like these words, by the cosine; nothing is kept."""
        state = self._state
        return best_for_wish(state, read_wish(state, text), _checked(k), options, _NOBODY)

    def similar_items(self, item: str, k: int = 10, *, options: Options = _PLAIN) -> list[Suggestion]:
        """The k items whose vectors point most nearly the way of ``item``'s; the score is the cosine."""
        state = self._state
        code = state.item_code(item)
        own = np.array([code])
        return self._like(state, state.vectors(own)[0], _checked(k), options, own)

    def place(self, fields: Mapping[str, Any], k: int = 10) -> Placement:
        """Where an item with these text fields would stand: its neighbours and its users; nothing is kept."""
        state = self._state
        texts, known = state.base.speech.items([checked_fields(fields) or {"title": None}])
        placed, near = state.base.place(texts, known)
        row = placed.vectors[0]
        neighbours = self._like(state, row[: state.base.equations.dim], _checked(k), _PLAIN, _NOBODY)
        return Placement(tuple(neighbours), tuple(self._users_of(state, row, near, k, None)), bool(known[0]))

    def users_for(self, item: str, k: int = 10) -> list[Person]:
        """The k users of the bundle who would rather get ``item`` than anybody else; those who have it left out."""
        state = self._state
        code = state.item_code(item)
        row = state.rows(BundleTensors.ITEMS, np.array([code]))[0]
        return self._users_of(state, row, state.near(code), _checked(k), code)

    # -- why -----------------------------------------------------------------------------------------------------

    def explain(
        self,
        item: str,
        *,
        user: str | None = None,
        history: Sequence[str] | None = None,
        text: str | None = None,
        text_weight: float = 0.5,
        words: int = 0,
        history_items: int = 5,
    ) -> Reason:
        """Why ``item`` has its score for a user, a history or a wish (at most one of user and history).

        ``words`` and ``history_items`` say how many of each are named; words cost an encoder pass.

        Raises
        ------
        UnknownIdError
            If the user or an item is unknown.
        DataError
            If neither user, history nor text is given, or both user and history.
        """
        return self.explain_many(
            [item],
            user=user,
            history=history,
            text=text,
            text_weight=text_weight,
            words=words,
            history_items=history_items,
        )[0]

    def explain_many(
        self,
        items: Sequence[str],
        *,
        user: str | None = None,
        history: Sequence[str] | None = None,
        text: str | None = None,
        text_weight: float = 0.5,
        words: int = 0,
        history_items: int = 5,
    ) -> list[Reason]:
        """The same for several items and one taste."""
        state = self._state
        codes = [state.item_code(item) for item in items]
        taste, heard, wish = self._taste(state, user, history, text, text_weight)
        if taste is not None:
            taste = state.by_item(taste, heard)
        row = None if user is None else state.find_user(user)[0]
        found = [
            reason(state, taste, code, heard=heard, history_items=history_items, user=row, wish=wish) for code in codes
        ]
        if not words or not state.base.equations.reads:
            return found
        return [
            replace(one, words=self._words(state, taste, wish, code, words))
            for one, code in zip(found, codes, strict=True)
        ]

    # -- looking things up ---------------------------------------------------------------------------------------

    def item(self, item: str) -> dict[str, Any]:
        """Fields of an item, with ``degree``, its training interactions; empty fields are left out."""
        return self.items([item])[0]

    def items(self, items: Sequence[str]) -> list[dict[str, Any]]:
        """Fields of several items, in order."""
        state = self._state
        return fields_of(state, [state.item_code(item) for item in items])

    def history(self, user: str, limit: int | None = None) -> list[str]:
        """The items that a user is known to have and that are there, most recent first."""
        state = self._state
        codes = [int(code) for code in state.known_to(user)[::-1] if state.is_there(int(code))]
        return [state.item_id(code) for code in codes[:limit]]

    def has_user(self, user: str) -> bool:
        """Whether anything is known of this user."""
        try:
            self._state.find_user(user)
        except UnknownIdError:
            return False
        return True

    def has_item(self, item: str) -> bool:
        """Whether there is such an item."""
        return there(self._state, item)

    def users(self, prefix: str = "", limit: int = 20) -> list[str]:
        """Ids of users that begin so: the bundle's in its order, then later ones."""
        return lookup.users_with(self._state, prefix, limit)

    def find_items(self, words: str = "", limit: int = 20) -> list[str]:
        """Ids of items whose id is, or whose title holds all of, these words; popular ones first."""
        return lookup.items_with(self._state, words, limit)

    def categories(self, limit: int = 200) -> list[tuple[str, int]]:
        """Categories and how many items of the bundle each has, the largest first."""
        return lookup.categories_of(self._state, limit)

    def brands(self, limit: int = 200) -> list[tuple[str, int]]:
        """Brands and how many items of the bundle each has, the largest first."""
        return lookup.brands_of(self._state, limit)

    @property
    def card(self) -> dict[str, Any]:
        """The model card, ``model.json``: data, metrics, strata, gate, limits, encoder, settings."""
        return self._state.base.bundle.card

    @property
    def bundle_id(self) -> str:
        """The bundle's id."""
        return self._state.base.bundle.id

    @property
    def can(self) -> dict[str, bool]:
        """What the model can do: ``fold`` histories of unseen users, read a ``text``, show a ``gate``, know what came
        next or read histories in order (``sequence``)."""
        base = self._state.base
        return {
            "fold": base.equations.folds,
            "text": base.equations.reads,
            "gate": BundleTensors.ITEMS_GATES in base.tables,
            "sequence": base.following is not None or base.folding.looks_back > 0,
        }

    @property
    def status(self) -> Status:
        """What is served: bundle, model, index, counts."""
        state = self._state
        bundle = state.base.bundle
        return Status(
            bundle=bundle.id,
            model=bundle.config.model.name,
            index=bundle.card["index"],
            counts=lookup.counts_of(state),
            can=self.can,
        )

    def warm(self) -> None:
        """Load what is loaded on first use, such as the language model, so that no request waits for it."""
        base = self._state.base
        if base.equations.reads:
            base.speech.wish("warm")
        _ = base.search_directions

    # -- parts ---------------------------------------------------------------------------------------------------

    def _listed(
        self,
        state: State,
        vector: np.ndarray,
        raised: Raised | None,
        k: int,
        options: Options,
        seen: np.ndarray,
        text: str | None,
        v: float,
    ) -> list[Suggestion]:
        """The list of a taste, with a wish where there is a text."""
        wish = None if text is None else _beside(state, read_wish(state, text), vector, raised, _checked_weight(v))
        if wish is None:
            return best_lists(state, vector[None], k, options, [seen], raised=[raised])[0]
        return best_for_wish(state, wish, k, options, seen)

    def _words(self, state: State, taste: Taste | None, wish: Wish | None, code: int, n: int) -> tuple[WordPart, ...]:
        named, vectors = state.base.speech.words(fields_of(state, [code])[0])
        return nearest_words(state, taste, wish, named, vectors, n)

    def _taste(
        self, state: State, user: str | None, history: Sequence[str] | None, text: str | None, weight: float
    ) -> tuple[Taste | None, np.ndarray, Wish | None]:
        """Whose taste it is, what it is made of and what was wished for; ``None`` for what does not count."""
        if (user is not None) + (history is not None) + (text is not None) == 0 or (user is not None and history):
            raise DataError(
                "whose taste?", where="user, history, text", accepted="a user or a history, a text, or both"
            )
        wish = None if text is None else read_wish(state, text)
        if user is None and not history:
            return (None if wish is not None else state.taste_for(_NOBODY)), _NOBODY, wish
        heard = state.heard_of(user) if user is not None else _codes(state, history or ())
        taste = state.taste_of(user) if user is not None else state.taste_for(heard)
        if wish is None:
            return taste, heard, None
        both = _beside(state, wish, taste.row(state.base.equations), state.raised_by(heard), _checked_weight(weight))
        return (None if weight == 1 else taste), heard, both

    def _like(self, state: State, h: np.ndarray, k: int, options: Options, own: np.ndarray) -> list[Suggestion]:
        if not h.any():
            return []
        query = np.zeros((1, state.base.equations.width), dtype=np.float32)
        query[0, : len(h)] = unit(h)
        return best_lists(state, query, k, options, [own], by_direction=True)[0]

    def _users_of(self, state: State, row: np.ndarray, near: Near, k: int, code: int | None) -> list[Person]:
        """The k users with the largest scores of an item with this ``row``, linked to what is ``near``."""
        base = state.base
        scores = base.users @ row[:-1] + np.float32(base.equations.popularity) * row[-1]
        if base.following is not None:
            scores += base.following.for_users(near, base.offsets, base.codes, base.trained)
        left_out = list(state.shut)
        if code is not None and code < base.n_items:
            left_out += (np.searchsorted(base.offsets, np.flatnonzero(base.codes == code), side="right") - 1).tolist()
        scores[left_out] = -np.inf
        k = min(k, len(scores))
        best = np.argpartition(-scores, k - 1)[:k] if k else np.empty(0, dtype=np.int64)
        best = best[np.lexsort((best, -scores[best]))]
        return [Person(base.bundle.users[int(u)], float(scores[u])) for u in best if scores[u] > -np.inf]


_NOBODY = np.empty(0, dtype=np.int64)


def _checked(k: int) -> int:
    if not 1 <= k <= MOST:
        raise DataError("out of range", where="k", got=k, accepted=f"1 to {MOST}")
    return k


def _checked_weight(weight: float) -> float:
    if not 0 <= weight <= 1:
        raise DataError("out of range", where="text_weight", got=weight, accepted="0 to 1")
    return weight


def _beside(state: State, wish: Wish, vector: np.ndarray, raised: Raised | None, weight: float) -> Wish | None:
    """A wish with somebody's row and what came next: the wish itself at weight 1, nothing of it at 0."""
    if weight == 0:
        return None
    return wish if weight == 1 else mixed(state, wish, vector, raised, weight)


def _codes(state: State, items: Sequence[str]) -> np.ndarray:
    """Codes of a history, in order, each once."""
    return np.array(list(dict.fromkeys(state.item_code(item) for item in items)), dtype=np.int64)
