from __future__ import annotations

import polars as pl
import pytest

from recmind.text.clean import plain_text


@pytest.mark.parametrize("value", [None, "", "   ", "<br>", "<p> <b></b>\n</p>", "&nbsp;", "[]", "-", "...", "\u00a0"])
def test_a_value_that_says_nothing_is_missing(value):
    assert plain_text(pl.Series("title", [value], dtype=pl.String)).to_list() == [None]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Fish &amp; chips", "Fish & chips"),
        ("<b>Bold</b> soap", "Bold soap"),
        ("a < b and 7 > 3", "a < b and 7 > 3"),
        ("two\n\n lines", "two lines"),
        ("日本", "日本"),
        ("7", "7"),
    ],
)
def test_markup_goes_and_words_stay(value, expected):
    assert plain_text(pl.Series("description", [value])).to_list() == [expected]


def test_lists_and_structs_become_one_line():
    lists = pl.Series("categories", [["Beauty", None, "Soap"], [], None])
    nested = pl.Series("categories", [[["Beauty"], ["Soap", "Bars"]], None])
    structs = pl.Series("attributes", [{"colour": "red", "size": None}, {"colour": None, "size": None}])
    numbers = pl.Series("price", [9.5, None])
    assert plain_text(lists).to_list() == ["Beauty, Soap", None, None]
    assert plain_text(nested).to_list() == ["Beauty, Soap, Bars", None]
    assert plain_text(structs).to_list() == ["colour: red", None]
    assert plain_text(numbers).to_list() == ["9.5", None]


def test_the_name_of_the_column_is_kept():
    assert plain_text(pl.Series("brand", ["x"])).name == "brand"
