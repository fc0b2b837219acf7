"""Texts that change: some items get other ones, chosen and changed by a seed."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from recmind.data.dataset import Dataset
from recmind.errors import DataError
from recmind.schema import ITEM_TEXT_FIELDS, Columns
from recmind.studies.suites import TextChange

_KEPT = 0.5
"""Share of the words that `words` leaves."""


def with_changed_texts(dataset: Dataset, change: TextChange, seed: int) -> Dataset:
    """The dataset with the texts of ``change.share`` of the items that can be changed in this way changed.

    The order in which items are chosen depends on the seed and the kind alone:
    a larger share holds all items of a smaller one, with the same new texts.

    Raises
    ------
    DataError
        If no item can be changed.
    """
    able, rewrite = _KINDS[change.kind]
    eligible = np.flatnonzero(able(dataset.items))
    chosen = _rng(change, seed).permutation(eligible)[: max(1, round(change.share * len(eligible)))]
    if not len(chosen):
        raise DataError(
            "no item's text can be changed in this way",
            where=f"suite drift, {change.name}",
            got=dataset.items.columns,
            accepted=_NEEDED[change.kind],
        )
    changed = {int(row): rewrite(dataset.items.row(int(row), named=True), change, seed) for row in chosen}
    columns = []
    for name in _fields(dataset.items):
        values = dataset.items[name].to_list()
        for row, fields in changed.items():
            values[row] = fields[name]
        columns.append(pl.Series(name, values, dtype=dataset.items.schema[name]))
    name = f"{dataset.info.get('name', 'dataset')}, {change.name}"
    return replace(dataset, items=dataset.items.with_columns(columns), info={**dataset.info, "name": name})


def can_change(dataset: Dataset, change: TextChange) -> bool:
    """Whether any item has what this change needs."""
    return change.kind == "none" or bool(_KINDS[change.kind][0](dataset.items).any())


def changed_items(before: Dataset, after: Dataset) -> np.ndarray:
    """Which items read otherwise in ``after``, bool ``(n_items,)``."""
    names = _fields(before.items)
    same = [before.items[name].eq_missing(after.items[name]).to_numpy() for name in names]
    return ~np.logical_and.reduce(same)


def _fields(items: pl.DataFrame) -> list[str]:
    return [name for name in ITEM_TEXT_FIELDS if name in items.columns]


def _rng(change: TextChange, seed: int, item: str = "") -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(change.kind.encode()), zlib.crc32(item.encode())])


def _with_words(items: pl.DataFrame) -> np.ndarray:
    """Items of which some field has two words or more."""
    several = [
        pl.Series([max((len(text.split()) for text in _texts(value)), default=0) > 1 for value in items[name]])
        for name in _fields(items)
    ]
    return np.logical_or.reduce([column.to_numpy() for column in several]) if several else np.zeros(items.height, bool)


def _without_some_words(row: dict[str, Any], change: TextChange, seed: int) -> dict[str, Any]:
    """Every text with about half of its words, in their order; at least one stays and at least one goes."""
    rng = _rng(change, seed, row[Columns.ITEM])

    def fewer(text: str) -> str:
        words = text.split()
        if len(words) < 2:
            return text
        kept = np.flatnonzero(rng.random(len(words)) < _KEPT)
        if not 0 < len(kept) < len(words):
            kept = np.sort(rng.permutation(len(words))[: len(words) // 2])
        return " ".join(words[k] for k in kept)

    return {name: _each(row[name], fewer) for name in ITEM_TEXT_FIELDS if name in row}


def _with_own_words(items: pl.DataFrame) -> np.ndarray:
    """Items with a title that is not yet the one that would be made of their category and brand."""
    if Columns.TITLE not in items.columns:
        return np.zeros(items.height, bool)
    rows = items.select(Columns.TITLE, *[c for c in (Columns.CATEGORIES, Columns.BRAND) if c in items.columns])
    found = [bool(_texts(row[Columns.TITLE])) and bool(_in_own_words(row)) for row in rows.iter_rows(named=True)]
    return np.array(found, dtype=bool)


def _in_own_words(row: dict[str, Any]) -> str:
    """What the item's category and brand say in other words; empty where that is nothing new."""
    category = next(reversed(_texts(row.get(Columns.CATEGORIES))), "")
    brand = next(iter(_texts(row.get(Columns.BRAND))), "")
    name = f"{category} by {brand}" if category and brand else category or (brand and f"A product by {brand}")
    return "" if name == row[Columns.TITLE] else name


def _retitled(row: dict[str, Any], change: TextChange, seed: int) -> dict[str, Any]:
    return {name: row[name] for name in ITEM_TEXT_FIELDS if name in row} | {Columns.TITLE: _in_own_words(row)}


def _texts(value: Any) -> list[str]:
    """The texts of a field: of a list those of its entries, of a path such as ``A > B`` its steps."""
    if value is None:
        return []
    if isinstance(value, list):
        return [text for entry in value for text in _texts(entry)]
    return [part.strip() for part in str(value).split(" > ") if part.strip()]


def _each(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    return [_each(entry, change) for entry in value] if isinstance(value, list) else value


_KINDS: dict[str, tuple[Callable[[pl.DataFrame], np.ndarray], Callable[..., dict[str, Any]]]] = {
    "words": (_with_words, _without_some_words),
    "titles": (_with_own_words, _retitled),
}
_NEEDED = {"words": "items with a text of two words or more", "titles": "items with a title, and a category or brand"}
