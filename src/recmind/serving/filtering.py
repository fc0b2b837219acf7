"""Which items a filter admits: categories, brands, prices, lists of ids."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import polars as pl

from recmind.schema import Columns
from recmind.serving.options import Filters

_KEPT = 128
"""Masks kept for the next request with the same filter."""
_LEVELS, _PATHS = " > ", ", "


@dataclass(frozen=True, slots=True)
class Facts:
    """What filters look at in one item.

    Attributes
    ----------
    categories:
        Keys of :func:`category_keys`.
    brand:
        In lower case, or ``None``.
    price:
        NaN where there is none.
    """

    categories: frozenset[str]
    brand: str | None
    price: float


def facts_of(fields: Mapping[str, Any]) -> Facts:
    """The facts of an item given as fields."""
    brand = fields.get(Columns.BRAND)
    return Facts(
        frozenset(category_keys(fields.get(Columns.CATEGORIES))),
        None if brand is None or not str(brand).strip() else _key(str(brand)),
        price_of(fields.get(Columns.PRICE)),
    )


def category_keys(value: Any) -> dict[str, str]:
    """Every category and level that a field names: lower-case key to the name as it is written.

    A field is a list of categories, or a text in which paths are separated by commas; a category is a path whose
    levels are separated by `` > ``. The whole text and its levels count too, whatever commas are in them.

    >>> sorted(category_keys("Sports > Camping, Gifts"))
    ['camping', 'camping, gifts', 'gifts', 'sports', 'sports > camping', 'sports > camping, gifts']
    """
    if value is None:
        return {}
    named = [str(entry) for entry in value if entry is not None] if isinstance(value, list | tuple) else [str(value)]
    paths = [path for name in named for path in (name, *name.split(_PATHS))]
    found: dict[str, str] = {}
    for path in paths:
        for name in (path, *path.split(_LEVELS)):
            if name.strip():
                found.setdefault(_key(name), name.strip())
    return found


def price_of(value: Any) -> float:
    """A price as a number, NaN where it is none."""
    try:
        price = float(value)
    except (TypeError, ValueError):
        return math.nan
    return price if math.isfinite(price) else math.nan


def admits(filters: Filters, facts: Facts) -> bool:
    """Whether an item passes categories, brands and prices; lists of ids are the caller's."""
    if filters.categories and facts.categories.isdisjoint(map(_key, filters.categories)):
        return False
    if filters.brands and facts.brand not in set(map(_key, filters.brands)):
        return False
    if filters.min_price is not None and not facts.price >= filters.min_price:
        return False
    return filters.max_price is None or facts.price <= filters.max_price


class Catalogue:
    """The facts of a bundle's items, by value: which items have a category or a brand, and every price."""

    def __init__(self, items: pl.DataFrame) -> None:
        self.n = items.height
        self._categories = _Lists(items, Columns.CATEGORIES)
        self._brands = _Lists(items, Columns.BRAND)
        prices = items[Columns.PRICE].cast(pl.Float64, strict=False) if Columns.PRICE in items.columns else None
        known = np.full(self.n, np.nan) if prices is None else prices.fill_null(np.nan).to_numpy()
        self._prices = np.where(np.isfinite(known), known, np.nan)
        self._kept: OrderedDict[Filters, np.ndarray] = OrderedDict()
        self._lock = Lock()

    def admitted(self, filters: Filters) -> np.ndarray | None:
        """Which items pass categories, brands and prices, bool ``(n,)``, read-only; ``None`` where all do."""
        if not filters.by_facts:
            return None
        asked = Filters(filters.categories, filters.brands, filters.min_price, filters.max_price)
        with self._lock:
            if asked in self._kept:
                self._kept.move_to_end(asked)
                return self._kept[asked]
        mask = self._mask(asked)
        mask.setflags(write=False)
        with self._lock:
            self._kept[asked] = mask
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return mask

    def categories(self) -> list[tuple[str, int]]:
        """Categories and how many items each has, the largest first."""
        return self._categories.sizes()

    def brands(self) -> list[tuple[str, int]]:
        """Brands and how many items each has, the largest first."""
        return self._brands.sizes()

    def _mask(self, filters: Filters) -> np.ndarray:
        mask = np.ones(self.n, dtype=bool)
        for wanted, lists in ((filters.categories, self._categories), (filters.brands, self._brands)):
            if wanted:
                mask &= lists.mask(map(_key, wanted))
        # Comparisons with NaN are false: an item without a price passes no bound.
        if filters.min_price is not None:
            mask &= self._prices >= filters.min_price
        if filters.max_price is not None:
            mask &= self._prices <= filters.max_price
        return mask


class _Lists:
    """Codes of the items by the value of one field."""

    def __init__(self, items: pl.DataFrame, column: str) -> None:
        self.n = items.height
        self._codes = np.empty(0, dtype=np.int32)
        self._spans: dict[str, tuple[int, int]] = {}
        self._names: dict[str, str] = {}
        if column not in items.columns:
            return
        # A value occurs many times in a catalogue: each is taken apart once.
        rows = items.select(pl.int_range(pl.len(), dtype=pl.Int32).alias("code"), pl.col(column).alias("value"))
        if not isinstance(rows.schema["value"], pl.List):
            rows = rows.with_columns(pl.col("value").cast(pl.String))
        groups = rows.drop_nulls().group_by("value", maintain_order=True).agg("code")
        found: dict[str, list[np.ndarray]] = {}
        for value, codes in zip(groups["value"].to_list(), groups["code"], strict=True):
            named = category_keys(value) if column == Columns.CATEGORIES else _brand(value)
            for key, name in named.items():
                found.setdefault(key, []).append(codes.to_numpy())
                self._names.setdefault(key, name)
        start, parts = 0, []
        for key, lists in found.items():
            merged = np.unique(np.concatenate(lists))
            self._spans[key] = (start, start + len(merged))
            parts.append(merged)
            start += len(merged)
        self._codes = np.concatenate(parts) if parts else self._codes

    def mask(self, keys: Iterable[str]) -> np.ndarray:
        """Which items have at least one of the values."""
        mask = np.zeros(self.n, dtype=bool)
        for key in keys:
            first, last = self._spans.get(key, (0, 0))
            mask[self._codes[first:last]] = True
        return mask

    def sizes(self) -> list[tuple[str, int]]:
        found = [(self._names[key], last - first) for key, (first, last) in self._spans.items()]
        return sorted(found, key=lambda entry: (-entry[1], entry[0]))


def _brand(value: Any) -> dict[str, str]:
    name = str(value).strip()
    return {_key(name): name} if name else {}


def _key(name: str) -> str:
    return name.strip().casefold()
