"""Why this item: a score taken apart without remainder.

h_v = l_v + g_v, where l_v is the node's own language view times what it is
multiplied with in h, and g_v is all the rest: the node's free vector and what
flowed in from its neighbours, whose texts are part of that. So

    s(u, i) = l_u·l_i  +  g_u·g_i  +  (l_u·g_i + g_u·l_i)  +  w d̃_i      +  r_u·m_i + σ Σ_m ω_m T_{j_m, i}
              language    graph       cross                   popularity    sequence

with r_u the part of h_u that is the state after the history, read in order
(:mod:`recmind.serving.sequence`; then g_u is what is left without it), m_i what the encoder
reads of the item, which is h_i unless it has item vectors of its own, and the last part
what came after the latest items j_m in the histories of others
(:mod:`recmind.serving.following`), of models that have them.

A user's h is also a sum over the history, with c_j what
item j sends through the graph and adds to the mean language view
(:mod:`recmind.serving.folding`), and ``own`` what is left: of the user's free vector or own
text, and of what the history says as a whole: of r_u the latest items carry what each of them changes in it, r_j
(:meth:`~recmind.serving.folding.Folding.by_item`). So

    s(u, i) = own + Σ_j (c_j·h_i + r_j·m_i + σ ω_j T_ji) + w d̃_i

A wish alone has the score l_i, the likeness of the texts, which is all language and all own. Beside a user or a
history (:mod:`recmind.serving.wishes`) every part of u_i counts as what it is more than the average item's, times
(1-v) / σ_u: h̄ is taken from h_i, the mean l from l_i, the mean d̃ from d̃_i, and from the last part its mean, which
``own`` bears. The wish adds v (l_i - l̄) / σ_l to the language and to ``own``.

All hold up to rounding. The nearness of words is no part of the score: each
word of the item's text is read alone by the language model, projected to the
language view, and compared by its cosine with the taste's language view. With a
wish the words are compared with it as they are, without the projection; beside
somebody's taste it is (1-v) of the one cosine and v of the other.
"""

from __future__ import annotations

import numpy as np

from recmind.schema import BundleTensors
from recmind.serving.answers import HistoryPart, Reason, WordPart
from recmind.serving.folding import unit
from recmind.serving.state import State
from recmind.serving.tastes import Taste
from recmind.serving.wishes import Wish

Array = np.ndarray


def reason(
    state: State,
    taste: Taste | None,
    item: int,
    *,
    heard: Array,
    history_items: int,
    user: int | None = None,
    wish: Wish | None = None,
) -> Reason:
    """The parts of a score.

    Parameters
    ----------
    state:
        Where the item is.
    taste:
        The user's side; ``None`` for a wish alone.
    item:
        Code of the item.
    heard:
        Codes of the items that the taste is made of, oldest first.
    history_items:
        How many items of the history to name.
    user:
        Row of a user who was there in training, for the gate.
    wish:
        What was wished for, mixed with the taste where there is one.
    """
    item_gate = _gates(state, BundleTensors.ITEMS_GATES, item)
    user_gate = None if user is None else _gates(state, BundleTensors.USERS_GATES, user)
    if taste is None:
        assert wish is not None
        like = float(wish.scores[item])
        return Reason(
            state.item_id(item), like, like, 0.0, 0.0, 0.0, 0.0, like, item_gate=item_gate, user_gate=user_gate
        )
    codes, equations = np.array([item]), state.base.equations
    row = state.rows(BundleTensors.ITEMS, codes)[0].astype(np.float64)
    of_item = np.zeros_like(row[: equations.dim])
    if BundleTensors.ITEMS_LANGUAGE in state.base.tables:
        by_text = float(state.rows(BundleTensors.ITEMS_SCALE, codes)[0])
        of_item = by_text * state.rows(BundleTensors.ITEMS_LANGUAGE, codes)[0].astype(np.float64)
    scale, wished, usual = 1.0, 0.0, 0.0
    following = state.base.following
    if wish is not None and wish.by_user is not None and wish.by_text is not None:
        mean, mean_of_item = state.base.averages
        row, of_item = row - mean, of_item - mean_of_item
        scale = (1 - wish.weight) * wish.by_user.factor
        if following is not None:
            usual = float(following.raised(heard).values.sum(dtype=np.float64)) / state.base.n_items
        wished = wish.weight * wish.by_text.factor * (float(wish.likeness[item]) - wish.by_text.mean)
    h, m, popularity = row[: equations.dim], equations.read_of(row[None])[0], scale * equations.popularity * row[-1]
    vector, of_user = scale * taste.vector.astype(np.float64), scale * taste.language.astype(np.float64)
    read = np.zeros_like(vector) if taste.read is None else scale * taste.read.astype(np.float64)
    graph_user, graph_item = vector - of_user - read, h - of_item
    met, carried = float(vector @ h) + float(read @ (m - h)), np.zeros(len(heard))
    if len(taste.items):  # else the model does not fold, and a vector is not made of a history
        carried += scale * (taste.carried.astype(np.float64) @ h)
    if taste.told is not None:
        carried += scale * (taste.told.astype(np.float64) @ m)
    followed = np.zeros(len(heard)) if following is None else scale * following.parts(heard, state.near(item))
    sequence = float(read @ m) + float(followed.sum()) - scale * usual
    own = met - float(carried.sum()) + wished - scale * usual
    carried += followed
    there = np.array([state.is_there(int(code)) for code in heard], dtype=bool)
    largest = np.argsort(-carried, kind="stable")
    named = [place for place in largest if there[place] and (len(taste.items) or followed[place])][:history_items]
    return Reason(
        item_id=state.item_id(item),
        score=met + popularity + float(followed.sum()) - scale * usual + wished,
        language=float(of_user @ of_item) + wished,
        graph=float(graph_user @ graph_item),
        cross=float(of_user @ graph_item + graph_user @ of_item),
        popularity=float(popularity),
        sequence=sequence,
        own=own,
        history=tuple(HistoryPart(state.item_id(int(heard[p])), float(carried[p])) for p in named),
        item_gate=item_gate,
        user_gate=user_gate,
    )


def nearest_words(
    state: State, taste: Taste | None, wish: Wish | None, words: list[str], vectors: Array, n: int
) -> tuple[WordPart, ...]:
    """The n words whose z̃ ``(m, d_lm)`` point most nearly the way of the wish, or their language views of the taste."""
    weight = 0.0 if wish is None else wish.weight
    cosines = np.zeros(len(words))
    if wish is not None:
        cosines += weight * (unit(vectors) @ wish.direction)
    if taste is not None and taste.view.any() and len(words):
        views = state.base.folding.project(vectors, np.ones(len(vectors), dtype=bool))
        cosines += (1 - weight) * (unit(views) @ unit(taste.view))
    elif wish is None:
        return ()
    best = np.argsort(-cosines, kind="stable")[:n]
    return tuple(WordPart(words[place], float(cosines[place])) for place in best)


def _gates(state: State, name: str, code: int) -> tuple[float, ...] | None:
    """γ of each layer; ``None`` for a model without a gate."""
    if name not in state.base.tables:
        return None
    rows = state.base.tables[name][code] if name == BundleTensors.USERS_GATES else state.rows(name, np.array([code]))[0]
    return tuple(float(value) for value in rows)
