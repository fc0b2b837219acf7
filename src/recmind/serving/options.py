"""How a list is made: which items may stand in it, and in which order."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from recmind.errors import DataError


@dataclass(frozen=True, slots=True)
class Filters:
    """Which items may be listed; what is left empty admits everything, and several conditions must all hold.

    Attributes
    ----------
    categories:
        Items in at least one of these. A category is a path such as ``Sports > Camping > Tents`` or one of its
        levels; upper and lower case are alike.
    brands:
        Items of one of these brands.
    min_price, max_price:
        Bounds, both inclusive; an item without a price is left out as soon as one of them is given.
    allow:
        Only items with these ids; ``None`` allows all, an empty tuple none. Ids that do not exist are passed over.
    deny:
        No items with these ids.
    """

    categories: tuple[str, ...] = ()
    brands: tuple[str, ...] = ()
    min_price: float | None = None
    max_price: float | None = None
    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("min_price", "max_price"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise DataError("a price must be a finite number", where=f"filters.{name}", got=value)

    @property
    def by_facts(self) -> bool:
        """Whether categories, brands or prices are looked at."""
        return bool(self.categories or self.brands or self.min_price is not None or self.max_price is not None)


@dataclass(frozen=True, slots=True)
class Options:
    """How a list is made beside its length.

    Attributes
    ----------
    filters:
        Which items may be listed.
    leave_out_seen:
        Leave out what the user is known to have, or the given history.
    diversity:
        λ of maximal marginal relevance, 0 (off) to 1; see :func:`recmind.serving.diversity.diversify`.
    popularity_penalty:
        p ≥ 0; items are ordered by score - p d̃, with d̃ the logarithm of an item's degree, from 0 to 1, as the model's
        score takes it: alike for all below its `popularity_floor`. Scores of somebody with a wish are in standard
        deviations, and so is p.
    """

    filters: Filters = field(default_factory=Filters)
    leave_out_seen: bool = True
    diversity: float = 0.0
    popularity_penalty: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.diversity <= 1:
            raise DataError("out of range", where="diversity", got=self.diversity, accepted="0 to 1")
        if not (self.popularity_penalty >= 0 and math.isfinite(self.popularity_penalty)):
            raise DataError(
                "out of range", where="popularity_penalty", got=self.popularity_penalty, accepted="0 and up"
            )
