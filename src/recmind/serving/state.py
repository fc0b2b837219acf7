"""One moment of everything that a server knows: the bundle's tables, and what has changed since.

A :class:`State` never changes; a change makes the next one, which shares all
but the parts concerned. Whoever holds one reads the same world from beginning
to end, whatever is written meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from recmind.errors import ConfigError, UnknownIdError
from recmind.schema import BundleTensors, Columns
from recmind.serving.added import Added
from recmind.serving.base import Base
from recmind.serving.following import Raised
from recmind.serving.neighbours import Near
from recmind.serving.sharing import Shards
from recmind.serving.tastes import Placed, Taste

Array = np.ndarray

_NEAR, _NEAR_SHARES = "near.codes", "near.shares"
"""Tables of the later items alone: what they are linked to."""


@dataclass(frozen=True)
class State:
    """One moment.

    Attributes
    ----------
    base:
        The bundle.
    added:
        Items that came later.
    people:
        By user, the codes of what came later, oldest first.
    shut:
        Codes of the bundle's users who were deleted.
    gone:
        Which of the bundle's items were deleted, bool ``(n_items,)``; ``None`` for none.
    interactions:
        How many came later.
    """

    base: Base
    added: Added = field(default_factory=Added.none)
    people: Shards = field(default_factory=Shards)
    shut: frozenset[int] = frozenset()
    gone: Array | None = None
    interactions: int = 0

    # -- ids -----------------------------------------------------------------------------------------------------

    def item_code(self, item: str) -> int:
        """Code of an item that is there.

        Raises
        ------
        UnknownIdError
            If there is none.
        """
        row = self.added.codes.get(item)
        if row is not None:
            return self.base.n_items + row
        code = self.base.item_codes.get(item)
        if code is None or (self.gone is not None and self.gone[code]):
            raise UnknownIdError("there is no such item", where="item_id", got=item)
        return code

    def item_id(self, code: int) -> str:
        """Id of an item by code."""
        n = self.base.n_items
        return self.base.item_ids[code] if code < n else self.added.fields[code - n][Columns.ITEM]

    def is_there(self, code: int) -> bool:
        """Whether an item has not been deleted."""
        n = self.base.n_items
        return bool(self.added.alive[code - n]) if code >= n else self.gone is None or not self.gone[code]

    def find_user(self, user: str) -> tuple[int | None, tuple[int, ...]]:
        """Row of a user in the bundle, if there, and codes of what came later.

        Raises
        ------
        UnknownIdError
            If nothing is known of the user.
        """
        code = self.base.user_codes.get(user)
        code = None if code in self.shut else code
        later = self.people.get(user, ())
        if code is None and not later:
            raise UnknownIdError("there is no such user", where="user_id", got=user)
        return code, later

    def known_to(self, user: str) -> Array:
        """Codes of what a user is known to have, oldest first."""
        code, later = self.find_user(user)
        known = np.empty(0, dtype=np.int64) if code is None else self.base.known_to(code).astype(np.int64)
        return np.concatenate([known, np.array(later, dtype=np.int64)]) if later else known

    # -- rows ----------------------------------------------------------------------------------------------------

    def rows(self, name: str, codes: Array) -> Array:
        """Rows of a table of the items, of the bundle's and of the later ones."""
        table, n = self.base.tables[name], self.base.n_items
        late = codes >= n
        if not late.any():
            return table[codes]
        found = np.empty((len(codes), *table.shape[1:]), dtype=table.dtype)
        found[~late] = table[codes[~late]]
        found[late] = self.added.tables[name][codes[late] - n]
        return found

    def vectors(self, codes: Array) -> Array:
        """h of items, ``(n, d)``."""
        return self.rows(BundleTensors.ITEMS, codes)[:, : self.base.equations.dim]

    # -- tastes --------------------------------------------------------------------------------------------------

    def heard_of(self, user: str) -> Array:
        """Codes of the items that a user's lists are made of, oldest first."""
        code, later = self.find_user(user)
        early = np.empty(0, dtype=np.int64) if code is None else self.base.trained_on(code).astype(np.int64)
        return np.concatenate([early, np.array(later, dtype=np.int64)]) if later else early

    def raised_by(self, items: Array) -> Raised | None:
        """What came next for somebody with these items, oldest first; ``None`` where the model does not count it."""
        return None if self.base.following is None else self.base.following.raised(items)

    def near(self, code: int | None = None) -> Near:
        """What an item is linked to: itself, or what a later one is near to by its text; of all later ones together."""
        n, tables = self.base.n_items, self.added.tables
        if code is not None and code < n:
            return Near.itself(code)
        rows = slice(self.added.n) if code is None else slice(code - n, code - n + 1)
        return Near(tables[_NEAR][rows], tables[_NEAR_SHARES][rows])

    def vector_of(self, user: str) -> Array:
        """What meets the items' rows of a user, ``(width,)``."""
        code, later = self.find_user(user)
        if code is not None and (not later or not self.base.equations.folds):
            return self.base.users[code]
        return self.taste_of(user).row(self.base.equations)

    def taste_of(self, user: str) -> Taste:
        """A user's h and what it is made of."""
        code, later = self.find_user(user)
        if code is None:
            return self.taste_for(np.array(later, dtype=np.int64))
        equations, row = self.base.equations, self.base.users[code]
        vector, read = row[: equations.dim], row[equations.dim :] if equations.sequence_own_items else None
        if not equations.folds:
            nothing = np.zeros_like(vector)
            return Taste(vector, nothing, nothing, np.empty(0, np.int64), np.empty((0, len(vector)), np.float32), read)
        items = self.heard_of(user)
        tables, view = self.base.tables, None
        if BundleTensors.USERS_LANGUAGE in tables:
            view = tables[BundleTensors.USERS_LANGUAGE][code], bool(tables[BundleTensors.USERS_KNOWN][code])
        free = tables.get(BundleTensors.USERS_FREE)
        taste = self._fold(items, None if free is None else free[code], view)
        # Without anything new it is the trained vector, bit by bit.
        return taste if later else replace(taste, vector=vector, read=taste.read if read is None else read)

    def by_item(self, taste: Taste, items: Array) -> Taste:
        """A taste made of these items, oldest first, with what each of the latest says in the order of all of them."""
        folding = self.base.folding
        return folding.by_item(taste, self._read(items, folding.looks_back + 1)) if folding.looks_back else taste

    def _read(self, items: Array, n: int) -> Array:
        """What the encoder reads of the n latest items, ``(n, d)``."""
        return self.base.equations.read_of(self.rows(BundleTensors.ITEMS, items[-n:]))

    def taste_for(self, items: Array) -> Taste:
        """h of somebody of whom only these items are known."""
        if not self.base.equations.folds:
            name = self.base.bundle.config.model.name
            raise ConfigError(
                f"the model {name!r} makes no vector of a history",
                where="user_id",
                hint="only users who were there in training can be served; train recmind, text or lightgcn",
            )
        return self._fold(items, None, None)

    def _fold(self, items: Array, free: Array | None, view: tuple[Array, bool] | None) -> Taste:
        equations, tables = self.base.equations, self.base.tables
        reads = BundleTensors.ITEMS_LANGUAGE in tables
        messages = self.rows(BundleTensors.ITEMS_MESSAGES, items)
        taste = self.base.folding.fold(
            items,
            messages,
            self.rows(BundleTensors.ITEMS_LANGUAGE, items) if reads else np.zeros_like(messages),
            self.rows(BundleTensors.ITEMS_KNOWN, items) if reads else np.zeros(len(items), dtype=bool),
            texts=self.rows(BundleTensors.ITEMS_TEXTS, items) if equations.own_text and view is None else None,
            free=free,
            view=view,
        )
        if self.base.folding.looks_back:
            taste = self.base.folding.with_sequence(taste, self._read(items, self.base.folding.looks_back))
        latest = items[-equations.recent_items :] if equations.recent_weight else items[:0]
        h = self.vectors(latest)
        language = np.zeros_like(h)
        if reads:
            scale = self.rows(BundleTensors.ITEMS_SCALE, latest)
            language = scale[:, None] * self.rows(BundleTensors.ITEMS_LANGUAGE, latest)
        return self.base.folding.with_latest(taste, h, language)

    # -- changes -------------------------------------------------------------------------------------------------

    def with_items(
        self, fields: Sequence[dict[str, Any]], placed: Placed, near: Near, texts: Array, known: Array
    ) -> State:
        """With items that came later; ``fields`` have an ``item_id`` each, none of them there already."""
        tables = {
            BundleTensors.ITEMS: placed.vectors,
            BundleTensors.ITEMS_LANGUAGE: placed.language,
            BundleTensors.ITEMS_SCALE: placed.scale,
            BundleTensors.ITEMS_MESSAGES: placed.messages,
            BundleTensors.ITEMS_GATES: placed.gates,
            BundleTensors.ITEMS_KNOWN: known,
            _NEAR: near.codes,
            _NEAR_SHARES: near.shares,
        }
        if BundleTensors.ITEMS_TEXTS in self.base.tables:
            tables[BundleTensors.ITEMS_TEXTS] = texts
        return replace(self, added=self.added.more(fields, tables))

    def with_interactions(self, pairs: Sequence[tuple[str, int]]) -> State:
        """With (user, code) pairs, oldest first, none of them known already."""
        changed: dict[str, tuple[int, ...]] = {}
        for user, code in pairs:
            before = changed[user] if user in changed else self.people.get(user, ())
            changed[user] = (*before, code)
        return replace(self, people=self.people.updated(changed), interactions=self.interactions + len(pairs))

    def without_item(self, item: str, users: Sequence[str]) -> State:
        """Without an item, and without it in what came later of ``users``."""
        code = self.item_code(item)
        having: dict[str, tuple[int, ...]] = {user: self.people.get(user, ()) for user in users}
        changed = {user: tuple(had for had in items if had != code) or None for user, items in having.items()}
        fewer = sum(items.count(code) for items in having.values())
        left = replace(self, people=self.people.updated(changed), interactions=self.interactions - fewer)
        if code >= self.base.n_items:
            return replace(left, added=self.added.without(item))
        gone = np.zeros(self.base.n_items, dtype=bool) if self.gone is None else self.gone.copy()
        gone[code] = True
        return replace(left, gone=gone)

    def without_user(self, user: str) -> State:
        """Without anything of a person."""
        code, later = self.find_user(user)
        shut = self.shut if code is None else self.shut | {code}
        people = self.people.updated({user: None})
        return replace(self, people=people, shut=shut, interactions=self.interactions - len(later))


def fields_of(state: State, codes: Sequence[int]) -> list[dict[str, Any]]:
    """Fields of items by code, with the degree in training; empty ones left out."""
    base = state.base
    early = [code for code in codes if code < base.n_items]
    degrees = base.tables[BundleTensors.ITEMS_DEGREES]
    table = base.bundle.items[early] if early else base.bundle.items.clear()
    rows = {
        code: {**row, Columns.DEGREE: int(degrees[code])} for code, row in zip(early, table.to_dicts(), strict=True)
    }
    found = [
        rows[code] if code < base.n_items else {**state.added.fields[code - base.n_items], Columns.DEGREE: 0}
        for code in codes
    ]
    return [{name: value for name, value in row.items() if value is not None and value != []} for row in found]
