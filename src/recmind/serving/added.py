"""Items that came after the bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from recmind.schema import Columns
from recmind.serving.filtering import Facts, facts_of
from recmind.serving.sharing import Shards, appended

Array = np.ndarray


@dataclass(frozen=True)
class Added:
    """Items that came after the bundle; row j has the code n_items + j.

    Attributes
    ----------
    tables:
        By name, at least ``n`` rows each; rows from ``n`` on belong to later states.
    fields, facts:
        Lists, likewise.
    n:
        Rows of this state.
    alive:
        Which are still there, bool ``(n,)``.
    codes:
        Row by id, of those that are there.
    """

    tables: dict[str, Array]
    fields: list[dict[str, Any]]
    facts: list[Facts]
    n: int = 0
    alive: Array = field(default_factory=lambda: np.empty(0, dtype=bool))
    codes: Shards = field(default_factory=Shards)

    @classmethod
    def none(cls) -> Added:
        """No items."""
        return cls({}, [], [])

    def more(self, fields: Sequence[dict[str, Any]], tables: Mapping[str, Array]) -> Added:
        """With more items; only the latest state may be extended, by one thread at a time."""
        m = len(fields)
        grown = {name: appended(self.tables.get(name), self.n, rows) for name, rows in tables.items()}
        # A change that failed half-way may have left rows that belong to no state.
        del self.fields[self.n :], self.facts[self.n :]
        self.fields.extend(fields)
        self.facts.extend(map(facts_of, fields))
        rows = {entry[Columns.ITEM]: self.n + place for place, entry in enumerate(fields)}
        alive = np.concatenate([self.alive, np.ones(m, dtype=bool)])
        return replace(self, tables=grown, n=self.n + m, alive=alive, codes=self.codes.updated(rows))

    def without(self, item: str) -> Added:
        """With one item gone."""
        row = self.codes.get(item)
        alive = self.alive.copy()
        alive[row] = False
        return replace(self, alive=alive, codes=self.codes.updated({item: None}))
