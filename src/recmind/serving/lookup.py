"""Looking things up in a state: users by prefix, items by words, counts."""

from __future__ import annotations

import numpy as np
import polars as pl

from recmind.schema import BundleTensors, Columns
from recmind.serving.answers import Counts
from recmind.serving.state import State


def users_with(state: State, prefix: str, limit: int) -> list[str]:
    """Ids of users that begin so: the bundle's in its order, then those who came later, sorted."""
    ids = state.base.bundle.users
    matching = np.arange(len(ids)) if not prefix else ids.str.starts_with(prefix).arg_true().to_numpy()
    found: list[str] = []
    for code in matching:
        if len(found) >= limit:
            return found
        if int(code) not in state.shut:
            found.append(ids[int(code)])
    late = sorted(user for user in state.people if user.startswith(prefix) and _is_new(state, user))
    return [*found, *late][:limit]


def items_with(state: State, words: str, limit: int) -> list[str]:
    """Ids of items whose id is ``words``, or whose title holds all of them; the most popular first."""
    base, wanted = state.base, words.casefold().split()
    degrees = base.tables[BundleTensors.ITEMS_DEGREES]
    mask = np.ones(base.n_items, dtype=bool) if state.gone is None else ~state.gone
    late = [row for row in range(state.added.n) if state.added.alive[row]]
    if wanted:
        mask = mask & _titled(base.bundle.items, wanted)
        late = [row for row in late if _holds(state.added.fields[row].get(Columns.TITLE), wanted)]
    codes = np.flatnonzero(mask)
    codes = codes[np.argsort(-degrees[codes], kind="stable")][:limit]
    found = [base.item_ids[int(code)] for code in codes]
    found += [state.added.fields[row][Columns.ITEM] for row in late]
    exact = words.strip()
    if exact and _there(state, exact):
        found = [exact, *(item for item in found if item != exact)]
    return found[:limit]


def categories_of(state: State, limit: int) -> list[tuple[str, int]]:
    """Categories of the bundle's items and how many have each, the largest first."""
    return state.base.catalogue.categories()[:limit]


def brands_of(state: State, limit: int) -> list[tuple[str, int]]:
    """Brands of the bundle's items and how many have each, the largest first."""
    return state.base.catalogue.brands()[:limit]


def counts_of(state: State) -> Counts:
    """How much there is, and what changed."""
    base, added = state.base, state.added
    gone = 0 if state.gone is None else int(state.gone.sum())
    new_users = sum(_is_new(state, user) for user in state.people)
    return Counts(
        items=base.n_items - gone + int(added.alive.sum()),
        users=len(base.users) - len(state.shut) + new_users,
        items_added=int(added.alive.sum()),
        items_deleted=gone,
        users_added=new_users,
        users_deleted=len(state.shut),
        interactions_added=state.interactions,
    )


def _is_new(state: State, user: str) -> bool:
    code = state.base.user_codes.get(user)
    return code is None or code in state.shut


def _there(state: State, item: str) -> bool:
    code = state.base.item_codes.get(item)
    return state.added.codes.get(item) is not None or (
        code is not None and (state.gone is None or not bool(state.gone[code]))
    )


def _titled(items: pl.DataFrame, words: list[str]) -> np.ndarray:
    if Columns.TITLE not in items.columns:
        return np.zeros(items.height, dtype=bool)
    title = pl.col(Columns.TITLE).cast(pl.String).str.to_lowercase()
    holds = pl.all_horizontal(title.str.contains(word, literal=True) for word in words)
    return items.select(holds.fill_null(False).alias("holds"))["holds"].to_numpy()


def _holds(title: str | None, words: list[str]) -> bool:
    return title is not None and all(word in title.casefold() for word in words)
