"""Which column of a user's table is which: named by the user, else guessed from usual names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from recmind.data.sources.base import IDS, Role
from recmind.errors import DataError
from recmind.schema import Columns

USUAL: dict[str, str] = {
    Columns.USER: "user_id user userid uid customer_id customer customerid reviewer_id reviewerid visitor_id "
    "account_id member_id client_id",
    Columns.ITEM: "item_id item itemid iid product_id product productid sku asin parent_asin business_id movie_id "
    "movieid book_id article_id artist_id game_id app_id",
    Columns.TIMESTAMP: "timestamp time ts date datetime unixreviewtime unix_time event_time created_at rated_at",
    Columns.ORDER: "order position sequence",
    Columns.RATING: "rating ratings stars score overall rate",
    Columns.REVIEW: "review_text review reviewtext text comment body",
    Columns.TITLE: "title name item_name product_name product_title movie_title book_title",
    Columns.BRAND: "brand store manufacturer maker author publisher artist",
    Columns.CATEGORIES: "categories category genres genre class tags movie_class department",
    Columns.ATTRIBUTES: "attributes attribute details features",
    Columns.DESCRIPTION: "description desc summary abstract plot overview",
    Columns.PRICE: "price list_price cost",
    Columns.PROFILE: "profile bio about",
}
"""Usual names of each contract column, the likeliest first, compared without case and ``-`` or blanks."""

_ROLE_COLUMNS: dict[Role, tuple[str, ...]] = {
    "interactions": (
        Columns.USER,
        Columns.ITEM,
        Columns.TIMESTAMP,
        Columns.ORDER,
        Columns.RATING,
        Columns.REVIEW,
    ),
    "items": (
        Columns.ITEM,
        Columns.TITLE,
        Columns.BRAND,
        Columns.CATEGORIES,
        Columns.ATTRIBUTES,
        Columns.DESCRIPTION,
        Columns.PRICE,
    ),
    "users": (Columns.USER, Columns.PROFILE),
}

_SHORT_NAMES = {"user": Columns.USER, "item": Columns.ITEM, "time": Columns.TIMESTAMP, "review": Columns.REVIEW}


def contract_names(columns: Mapping[str, str]) -> dict[str, str]:
    """The user's mapping with full contract names: ``{"user": "customer"}`` → ``{"user_id": "customer"}``.

    Raises
    ------
    DataError
        If a key is no column that RecMind knows.
    """
    named = {_SHORT_NAMES.get(key, key): raw for key, raw in columns.items()}
    unknown = sorted(set(named) - set(USUAL))
    if unknown:
        raise DataError(
            "the column mapping names a column that RecMind does not know",
            where="--columns",
            got=unknown,
            accepted=[*_SHORT_NAMES, *USUAL],
            hint="write it as ours=yours, for instance user=customer item=sku",
        )
    return named


def match_columns(available: Sequence[str], role: Role, mapping: Mapping[str, str], path: Path) -> dict[str, str]:
    """Contract column → column of the table, for the table ``path`` of this role. What is mapped to "" is not guessed.

    Raises
    ------
    DataError
        If the mapping names a column that is not there, or an id column is not found.
    """
    matched: dict[str, str] = {}
    for name in _ROLE_COLUMNS[role]:
        if raw := mapping.get(name):
            if raw in available:
                matched[name] = raw
            elif role == "interactions" or name not in IDS["interactions"]:
                raise DataError(
                    f"the column {raw!r}, named for {name!r}, is not in the table",
                    where=path,
                    got=list(available),
                )
    plain = {_plain(name): name for name in reversed(available)}
    for name in _ROLE_COLUMNS[role]:
        taken = set(matched.values())
        if name not in matched and name not in mapping:
            guesses = (plain.get(usual) for usual in USUAL[name].split())
            found = next((guess for guess in guesses if guess is not None and guess not in taken), None)
            if found is not None:
                matched[name] = found
    for name in IDS[role]:
        if name not in matched:
            raise DataError(
                f"no column holds the {name}",
                where=path,
                got=list(available),
                accepted=USUAL[name].split(),
                hint=f"name it: --columns {name.removesuffix('_id')}=YOUR_COLUMN; the first line must hold the names",
            )
    return matched


def other_columns(role: Role, available: Sequence[str], matched: Mapping[str, str]) -> list[str]:
    """Columns that are kept as they are: those of items and users that no contract column takes."""
    return [] if role == "interactions" else [name for name in available if name not in {*matched, *matched.values()}]


def looks_like(available: Sequence[str], role: Role, mapping: Mapping[str, str]) -> bool:
    """Whether a table with these columns can be of this role."""
    try:
        match_columns(available, role, mapping, Path())
    except DataError:
        return False
    return True


def _plain(name: str) -> str:
    return re.sub(r"[\s\-]+", "_", name.strip().lower())
