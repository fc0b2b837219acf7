"""A list for a taste: what may stand in it, the best of that, and their order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recmind.schema import BundleTensors
from recmind.serving.answers import Suggestion
from recmind.serving.diversity import diversify, pool_size
from recmind.serving.filtering import admits
from recmind.serving.folding import unit
from recmind.serving.following import Raised, with_raised
from recmind.serving.options import Options
from recmind.serving.state import State
from recmind.serving.wishes import Wish

Array = np.ndarray


def best_lists(
    state: State,
    vectors: Array,
    k: int,
    options: Options,
    left_out: Sequence[Array],
    *,
    raised: Sequence[Raised | None] = (),
    by_direction: bool = False,
) -> list[list[Suggestion]]:
    """The k best items of each of b tastes.

    Parameters
    ----------
    vectors:
        What meets the items' rows of each taste, ``(b, width)``. Of somebody of whom nothing is known at
        all, whose h is zero, the most popular items are listed.
    left_out:
        Codes that each taste must not get, ``b`` arrays.
    raised:
        What came next for each of them; nothing where it is left out or ``None``.
    by_direction:
        Score by the cosine of the vectors alone, for likeness.
    """
    weight, penalty = 0.0 if by_direction else state.base.equations.popularity, options.popularity_penalty
    column = np.full((len(vectors), 1), weight - penalty, dtype=np.float32)
    if not by_direction and not weight:
        column[~vectors.any(axis=1)] += 1
    queries = np.hstack([vectors, column]).astype(np.float32, copy=False)
    pool = pool_size(k) if options.diversity else k
    scores, codes = _candidates(state, queries, pool, options, left_out, raised, by_direction)
    found = []
    for values, row in zip(scores, codes, strict=True):
        there = row >= 0
        found.append(_ordered(state, values[there], row[there], k, options, penalty))
    return found


def best_for_wish(state: State, wish: Wish, k: int, options: Options, left_out: Array) -> list[Suggestion]:
    """The k best items of a wish, by its scores; ``left_out`` are codes that must not stand in the list."""
    allowed = None if options.filters.allow is None else _codes(state, options.filters.allow)
    fine = np.ones(len(wish.scores), dtype=bool)
    mask, n = _admitted(state, options, allowed), state.base.n_items
    if mask is not None:
        fine[:n] = mask
    if state.added.n:
        fine[n:] = _late_admitted(state, options, allowed)
    fine[_codes(state, options.filters.deny)] = False
    fine[left_out] = False
    codes, penalty = np.flatnonzero(fine), options.popularity_penalty
    values = wish.scores[codes]
    if penalty:
        degrees = state.base.items[:, -1]
        if state.added.n:
            degrees = np.append(degrees, state.added.tables[BundleTensors.ITEMS][: state.added.n, -1])
        values = values - penalty * degrees[codes]
    pool = pool_size(k) if options.diversity else k
    if pool < len(codes):
        part = np.argpartition(-values, pool - 1)[:pool]
        values, codes = values[part], codes[part]
    order = np.lexsort((codes, -values))
    return _ordered(state, values[order], codes[order], k, options, penalty)


def _ordered(state: State, values: Array, codes: Array, k: int, options: Options, penalty: float) -> list[Suggestion]:
    """Candidates, best first, as a list of k."""
    if options.diversity or penalty:
        rows = state.rows(BundleTensors.ITEMS, codes)
        chosen = diversify(values, rows[:, : state.base.equations.dim], k, options.diversity)
        values = values + np.float32(penalty) * rows[:, -1]  # the model's score, whatever made the order
        values, codes = values[chosen], codes[chosen]
    return [
        Suggestion(state.item_id(int(code)), place, float(score))
        for place, (code, score) in enumerate(zip(codes[:k], values[:k], strict=True), start=1)
    ]


def _candidates(
    state: State,
    queries: Array,
    k: int,
    options: Options,
    left_out: Sequence[Array],
    raised: Sequence[Raised | None],
    by_direction: bool,
) -> tuple[Array, Array]:
    """The k best admitted items of each query, ``(b, k)`` twice, of the bundle's and of the later ones."""
    n, filters = state.base.n_items, options.filters
    denied = _codes(state, filters.deny)
    banned = [np.union1d(codes, denied) if len(denied) else np.unique(codes) for codes in left_out]
    allowed = None if filters.allow is None else _codes(state, filters.allow)
    early = [codes[: np.searchsorted(codes, n)].astype(np.int32) for codes in banned]
    search = state.base.search_directions if by_direction else state.base.search
    admitted = _admitted(state, options, allowed)
    scores, codes = search(queries, k, early, admitted)
    if any(one is not None for one in raised):
        scores, codes = with_raised(scores, codes, queries, state.base.items, raised, early, admitted)
    if not state.added.n:
        return scores, codes
    late_scores, late_codes = _late(state, queries, options, allowed, banned, raised, by_direction)
    scores, codes = np.hstack([scores, late_scores]), np.hstack([codes, late_codes])
    order = np.lexsort((codes, -scores), axis=1)[:, :k]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(codes, order, 1)


def _admitted(state: State, options: Options, allowed: Array | None) -> Array | None:
    """Which of the bundle's items may be listed, bool ``(n_items,)``; ``None`` where all may."""
    mask = state.base.catalogue.admitted(options.filters)
    if state.gone is not None:
        mask = ~state.gone if mask is None else mask & ~state.gone
    if allowed is not None:
        named = np.zeros(state.base.n_items, dtype=bool)
        named[allowed[allowed < state.base.n_items]] = True
        mask = named if mask is None else mask & named
    return mask


def _late(
    state: State,
    queries: Array,
    options: Options,
    allowed: Array | None,
    banned: Sequence[Array],
    raised: Sequence[Raised | None],
    by_direction: bool,
) -> tuple[Array, Array]:
    """Scores and codes of all later items, ``(b, n_added)``; -inf and -1 for those that may not be listed."""
    added, n = state.added, state.base.n_items
    codes, fine = np.arange(n, n + added.n), _late_admitted(state, options, allowed)
    rows = added.tables[BundleTensors.ITEMS][: added.n]
    if by_direction and not state.base.equations.cosine:
        dim = state.base.equations.dim
        rows = np.hstack([unit(rows[:, :dim]), rows[:, dim:]])
    scores = queries @ rows.T
    for row, more in enumerate(raised):
        if more is not None:
            scores[row] += more.of_new(state.near())
    scores[:, ~fine] = -np.inf
    for row, gone in enumerate(banned):
        late = gone[gone >= n] - n
        scores[row, late] = -np.inf
    return scores, np.where(scores == -np.inf, -1, codes)


def _late_admitted(state: State, options: Options, allowed: Array | None) -> Array:
    """Which of the later items may be listed, bool ``(n_added,)``."""
    added, fine = state.added, state.added.alive
    if options.filters.by_facts:
        fine = fine & np.array([admits(options.filters, facts) for facts in added.facts[: added.n]], dtype=bool)
    if allowed is not None:
        fine = fine & np.isin(np.arange(state.base.n_items, state.base.n_items + added.n), allowed)
    return fine


def _codes(state: State, items: Sequence[str]) -> Array:
    """Codes of the items that are there, ascending; other ids are passed over."""
    found = set()
    for item in items:
        row = state.added.codes.get(item)
        code = state.base.item_codes.get(item) if row is None else state.base.n_items + row
        if code is not None:
            found.add(code)
    return np.array(sorted(found), dtype=np.int64)
