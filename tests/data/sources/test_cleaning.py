from __future__ import annotations

import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmind.data.sources.cleaning import clean_text, join_details, join_paths, join_prose, prose


def clean(text: str | None, short: bool = False) -> str | None:
    return clean_text(pl.Series("x", [text], dtype=pl.String), short=short)[0]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("Tom &amp; Jerry", "Tom & Jerry"),
        ("say &quot;hi&quot; &#34;you&#34; &#xAE; &eacute;", 'say "hi" "you" ® é'),
        ("twice &amp;quot;encoded&amp;quot;", 'twice "encoded"'),
        ("one<br />two<BR>three", "one two three"),
        ("&lt;b&gt;bold&lt;/b&gt; move", "bold move"),
        ('<a data-hook="x" href="/dp/B1">link</a> text', "link text"),
        ("a<script>var x = '<b>';</script>b<style>.a{}</style>c<!-- no -->d", "a b c d"),
        ("a \t\n  b\u2028c\u0085d\u00a0e\x00f", "a b c d e f"),
        ("I <3 it, 4 < 5 and a<b but c>d, <grin>", "I <3 it, 4 < 5 and a<b but c>d, <grin>"),
        ("AT&T and R&D; 5 & 6", "AT&T and R&D; 5 & 6"),
        ("   ", None),
        ("<br>", None),
        (None, None),
    ],
)
def test_markup_goes_and_everything_else_stays(raw: str | None, expected: str | None) -> None:
    assert clean(raw) == expected


@pytest.mark.parametrize(
    "raw",
    [
        '<span class="a-size-medium a-color-secondary"',
        ' Magazines" />',
        "\n\n<script>",
        "var aPageStart = (new Date()).getTime();",
        ".a-box-inner{background-color:#fff}",
    ],
)
def test_titles_that_are_debris_become_missing(raw: str) -> None:
    assert clean(raw, short=True) is None


def test_a_title_with_an_inch_mark_stays() -> None:
    assert clean('Wood shelf 12" deep', short=True) == 'Wood shelf 12" deep'


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="<>&"), max_size=60))
def test_text_without_markup_only_loses_whitespace_and_controls(text: str) -> None:
    words = "".join(" " if ch.isspace() or ord(ch) < 32 or ord(ch) == 127 else ch for ch in text).split()
    expected = " ".join(words)
    # Python counts \x1c-\x1f as space, polars as controls: both end as one space.
    assert (clean(text) or "") == expected


@given(st.text(max_size=60))
def test_cleaning_never_leaves_blank_edges_or_runs_of_blanks(text: str) -> None:
    result = clean(text)
    assert result is None or (result == result.strip() and "  " not in result and result)


def test_categories_as_paths() -> None:
    assert join_paths('["Beauty", "Hair"]') == "Beauty > Hair"
    assert join_paths('[["CDs", "Pop"], ["Movies"], ["CDs", "Pop"]]') == "CDs > Pop, Movies"
    assert join_paths("Pizza, Food") == "Pizza, Food"
    assert join_paths("[]") is None


def test_details_leave_out_what_says_nothing() -> None:
    text = json.dumps({"Format:": "Print", "ASIN: ": "B1", "Parts": ["a", "b"], "Empty": "", "None": None})
    assert join_details(frozenset({"asin"}))(text) == "Format: Print; Parts: a, b"
    assert join_details()("no json") is None


@given(
    st.lists(
        st.none()
        | st.lists(st.sampled_from(["a", "b b", "", 'q"uote', "é", " x "]), max_size=4).map(json.dumps)
        | st.sampled_from(["plain", "", "[broken", '[["nested"], "x"]']),
        max_size=6,
    )
)
def test_prose_of_a_column_equals_prose_row_by_row(values: list[str | None]) -> None:
    column = pl.Series("x", values, dtype=pl.String)
    assert prose(column).to_list() == [None if value is None else join_prose(value) for value in values]
