"""Values that are never changed, and whose next version shares with them what stays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

Array = np.ndarray
_SHARDS = 1024


class Shards:
    """A mapping that is never changed; the next one shares all shards without a changed key."""

    def __init__(self, shards: tuple[dict[str, Any], ...] = tuple({} for _ in range(_SHARDS))) -> None:
        self._shards = shards

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key."""
        return self._shards[hash(key) % _SHARDS].get(key, default)

    def updated(self, changes: Mapping[str, Any]) -> Shards:
        """With other values; ``None`` removes the key."""
        shards = list(self._shards)
        for key, value in changes.items():
            place = hash(key) % _SHARDS
            if shards[place] is self._shards[place]:
                shards[place] = dict(shards[place])
            if value is None:
                shards[place].pop(key, None)
            else:
                shards[place][key] = value
        return Shards(tuple(shards))

    def __iter__(self) -> Iterator[str]:
        for shard in self._shards:
            yield from shard

    def __len__(self) -> int:
        return sum(map(len, self._shards))


def appended(table: Array | None, n: int, rows: Array) -> Array:
    """``table`` with ``rows`` from row n on: in place where there is room, else in a table twice as large."""
    if table is None:
        table = np.empty((max(16, len(rows)), *rows.shape[1:]), dtype=rows.dtype)
    if n + len(rows) > len(table):
        larger = np.empty((2 * (n + len(rows)), *rows.shape[1:]), dtype=rows.dtype)
        larger[:n] = table[:n]
        table = larger
    table[n : n + len(rows)] = rows
    return table
