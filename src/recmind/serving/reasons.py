"""Why this item: a score taken apart without remainder.

h_v = l_v + g_v, where l_v is the node's own language view times what it is
multiplied with in h, and g_v is all the rest: the node's free vector and what
flowed in from its neighbours, whose texts are part of that. So

    s(u, i) = l_u·l_i  +  g_u·g_i  +  (l_u·g_i + g_u·l_i)  +  w d̃_i
              language    graph       cross                   popularity

A user's h is also a sum over the history, h_u = own + Σ_j c_j, with c_j what
item j sends through the graph and adds to the mean language view
(:mod:`recmind.serving.folding`), and ``own`` the user's free vector or own
text, so

    s(u, i) = own·h_i + Σ_j c_j·h_i + w d̃_i

Both hold up to rounding. The nearness of words is no part of the score: each
word of the item's text is read alone by the language model, projected to the
language view, and compared by its cosine with the taste's language view.
"""

from __future__ import annotations

import numpy as np

from recmind.schema import BundleTensors
from recmind.serving.answers import HistoryPart, Reason, WordPart
from recmind.serving.folding import Taste, unit
from recmind.serving.state import State

Array = np.ndarray


def reason(state: State, taste: Taste, item: int, *, history_items: int, user: int | None = None) -> Reason:
    """The parts of a score.

    Parameters
    ----------
    state:
        Where the item is.
    taste:
        The user's side.
    item:
        Code of the item.
    history_items:
        How many items of the history to name.
    user:
        Row of a user who was there in training, for the gate.
    """
    codes = np.array([item])
    row = state.rows(BundleTensors.ITEMS, codes)[0].astype(np.float64)
    h, popularity = row[:-1], float(state.base.equations.popularity * row[-1])
    of_item = np.zeros_like(h)
    if BundleTensors.ITEMS_LANGUAGE in state.base.tables:
        scale = float(state.rows(BundleTensors.ITEMS_SCALE, codes)[0])
        of_item = scale * state.rows(BundleTensors.ITEMS_LANGUAGE, codes)[0].astype(np.float64)
    vector, of_user = taste.vector.astype(np.float64), taste.language.astype(np.float64)
    graph_user, graph_item = vector - of_user, h - of_item
    carried = taste.carried.astype(np.float64) @ h
    there = np.array([state.is_there(code) for code in taste.items], dtype=bool)
    largest = np.argsort(-carried, kind="stable")
    named = [place for place in largest if there[place]][:history_items]
    return Reason(
        item_id=state.item_id(item),
        score=float(vector @ h) + popularity,
        language=float(of_user @ of_item),
        graph=float(graph_user @ graph_item),
        cross=float(of_user @ graph_item + graph_user @ of_item),
        popularity=popularity,
        own=float(vector @ h - carried.sum()),
        history=tuple(HistoryPart(state.item_id(int(taste.items[p])), float(carried[p])) for p in named),
        item_gate=_gates(state, BundleTensors.ITEMS_GATES, item),
        user_gate=None if user is None else _gates(state, BundleTensors.USERS_GATES, user),
    )


def nearest_words(taste: Taste, words: list[str], views: Array, n: int) -> tuple[WordPart, ...]:
    """The n words whose language views ``(m, d)`` point most nearly the way of the taste's."""
    if not taste.view.any() or not words:
        return ()
    cosines = unit(views) @ unit(taste.view)
    best = np.argsort(-cosines, kind="stable")[:n]
    return tuple(WordPart(words[place], float(cosines[place])) for place in best)


def _gates(state: State, name: str, code: int) -> tuple[float, ...] | None:
    """γ of each layer; ``None`` for a model without a gate."""
    if name not in state.base.tables:
        return None
    rows = state.base.tables[name][code] if name == BundleTensors.USERS_GATES else state.rows(name, np.array([code]))[0]
    return tuple(float(value) for value in rows)
