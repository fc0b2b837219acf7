"""Settings of `recmind prepare`, and of the split."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from recmind.config.base import Positive, Settings


def _known_encoding(name: str) -> str:
    try:
        sound = "\n".encode(name) == b"\n"
    except LookupError:
        sound = False
    if not sound:
        raise ValueError("not one of the encodings such as cp1252, cp1251, latin-2 or shift_jis; UTF-16 needs no name")
    return name


Encoding = Annotated[str, AfterValidator(_known_encoding)]
SlashDates = Literal["refuse", "day-first", "month-first"]


class PrepareConfig(Settings):
    """What `recmind prepare` keeps of the raw rows. Apart from `Config`: it makes datasets, not runs."""

    min_rating: float | None = None
    """Interactions rated lower, and those without a rating, are left out. Unset: all are kept."""
    min_user_interactions: Positive = 1
    """Users with fewer interactions are left out, together with `min_item_interactions` until both
    hold (k-core). 1 keeps every user."""
    min_item_interactions: Positive = 1
    """Items with fewer interactions lose them, as above. 1 keeps every item."""
    keep: Literal["first", "last"] = "first"
    """Which interaction of a repeated (user, item) pair stays, in time."""
    keep_items_without_interaction: bool = True
    """Items of the item table without an interaction stay: they can be recommended by their text."""
    strict: bool = False
    """Stop at the first damaged, incomplete or repeated row instead of counting and skipping it."""
    max_rows: Positive | None = None
    """Read at most this many interactions, for a trial. Unset: all."""
    encoding: Encoding | None = None
    """Character encoding of what is not UTF-8: `cp1251`, `shift_jis`. Unset: that of the source (MovieLens), else such
    lines are read as Windows-1252. UTF-16 is told by its first bytes."""
    slash_dates: SlashDates = "refuse"
    """What `07/03/2021` is: the 7th of March or the 3rd of July. `refuse`: no time."""


class SplitConfig(Settings):
    """How interactions are divided into training, validation and test."""

    kind: Literal[
        "leave-one-out", "temporal", "ratio", "cold-items", "cold-and-warm", "short-histories", "valid-only"
    ] = "leave-one-out"
    """`leave-one-out`: each user's last interaction is tested, the last but one validates.
    `temporal`: one cut in time for everybody. `ratio`: a random share of each user.
    `cold-items`: the tested items have no training edge. `cold-and-warm`: the same, and of the other items
    each user's last two interactions are held out too. `short-histories`: leave-one-out with the histories
    of a sample of users cut to the last 1, 2, 3 or 5 interactions. `valid-only`: everything but each
    user's last interaction is trained on, nothing is tested: for use, not for papers."""
    valid_fraction: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.1
    """Share held out for validation (`temporal`, `ratio`; of the items: `cold-items`, `cold-and-warm`)."""
    test_fraction: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.1
    """Share held out for the test (`temporal`, `ratio`; of the items: `cold-items`, `cold-and-warm`)."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the random splits, kept apart from the seed of training."""
    hide_test: bool = False
    """Leave the test part out as if it were not there: neither trained on nor evaluated. For choosing settings, which
    must not know it; `recmind tune` sets it."""
