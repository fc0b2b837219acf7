"""Filters by value against looking at every item."""

from __future__ import annotations

import math

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recmind.errors import DataError
from recmind.serving.filtering import Catalogue, admits, category_keys, facts_of, price_of
from recmind.serving.options import Filters

NAMES = st.sampled_from(["Sports", "Camping", "Tents", "Gifts, small", "sports", " Toys "])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(" > ".join)
ITEMS = st.lists(
    st.fixed_dictionaries(
        {
            "categories": st.none() | st.just("") | st.lists(PATHS, min_size=1, max_size=2).map(", ".join),
            "brand": st.none() | st.sampled_from(["Acme", "acme", "Bolt", " "]),
            "price": st.none() | st.sampled_from([0.0, 1.5, 10.0, math.nan, math.inf]),
        }
    ),
    min_size=1,
    max_size=12,
)
ASKED = st.builds(
    Filters,
    categories=st.lists(st.one_of(NAMES, PATHS), max_size=2).map(tuple),
    brands=st.lists(st.sampled_from(["ACME", "bolt", "none"]), max_size=2).map(tuple),
    min_price=st.none() | st.sampled_from([0.0, 1.5, 20.0]),
    max_price=st.none() | st.sampled_from([0.0, 1.5, 20.0]),
)
SCHEMA = {"categories": pl.String, "brand": pl.String, "price": pl.Float64}


@settings(deadline=None)
@given(items=ITEMS, asked=ASKED)
def test_the_mask_says_of_every_item_what_the_item_itself_says(items: list[dict], asked: Filters):
    mask = Catalogue(pl.DataFrame(items, schema=SCHEMA)).admitted(asked)
    expected = [admits(asked, facts_of(item)) for item in items]
    assert expected == ([True] * len(items) if mask is None else mask.tolist())


@settings(deadline=None)
@given(items=ITEMS, asked=ASKED)
def test_an_item_is_admitted_by_the_letter_of_the_contract(items: list[dict], asked: Filters):
    for item in items:
        levels = set()
        for path in (item["categories"] or "").split(", "):
            levels |= {path.strip().lower(), *(level.strip().lower() for level in path.split(" > "))}
        whole = (item["categories"] or "").strip().lower()
        wanted = {name.strip().lower() for name in asked.categories}
        in_categories = (
            not wanted
            or bool(wanted & (levels | {whole}) - {""})
            or bool(wanted & {level.strip() for level in whole.split(" > ")} - {""})
        )
        brand = (item["brand"] or "").strip().lower()
        of_brand = not asked.brands or brand in {name.lower() for name in asked.brands}
        price = item["price"] if item["price"] is not None and math.isfinite(item["price"]) else None
        dear = asked.min_price is None or (price is not None and price >= asked.min_price)
        cheap = asked.max_price is None or (price is not None and price <= asked.max_price)
        assert admits(asked, facts_of(item)) == (in_categories and of_brand and dear and cheap)


def test_lists_of_categories():
    frame = pl.DataFrame({"categories": [["Toys", "Games > Cards"], None, ["Games"]]})
    catalogue = Catalogue(frame)
    assert catalogue.admitted(Filters(categories=("games",))).tolist() == [True, False, True]  # type: ignore[union-attr]
    assert catalogue.admitted(Filters(categories=("games > cards",))).tolist() == [True, False, False]  # type: ignore[union-attr]
    assert catalogue.categories() == [("Games", 2), ("Cards", 1), ("Games > Cards", 1), ("Toys", 1)]


def test_a_catalogue_without_these_columns_has_nothing_of_them():
    catalogue = Catalogue(pl.DataFrame({"item_id": ["a", "b"]}))
    assert catalogue.admitted(Filters(brands=("x",))).tolist() == [False, False]  # type: ignore[union-attr]
    assert catalogue.admitted(Filters(max_price=3)).tolist() == [False, False]  # type: ignore[union-attr]
    assert catalogue.admitted(Filters()) is None


def test_a_name_with_a_comma_can_be_asked_for_whole():
    assert "home, kitchen" in category_keys("Home, Kitchen")
    assert "home, kitchen" in category_keys(["Home, Kitchen > Pans"])


@pytest.mark.parametrize(("given", "price"), [("3.50", 3.5), (2, 2.0)])
def test_prices(given: object, price: float):
    assert price_of(given) == price


@pytest.mark.parametrize("given", [None, "", "cheap", "inf", [1]])
def test_what_is_no_price(given: object):
    assert math.isnan(price_of(given))


@pytest.mark.parametrize("bound", [math.nan, math.inf])
def test_a_bound_must_be_a_number(bound: float):
    with pytest.raises(DataError, match="finite"):
        Filters(min_price=bound)
