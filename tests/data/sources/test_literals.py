"""Python literals read by way of JSON: never another value than ``ast.literal_eval``'s."""

from __future__ import annotations

import ast
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recmind.data.sources.cleaning import parse_json
from recmind.data.sources.json_lines import LINE, read_block
from recmind.data.sources.lines import Block, RawFile
from recmind.data.sources.literals import as_json, read_literal
from recmind.data.sources.problems import Problems

REFUSED = "refused"

awkward = st.text(st.sampled_from("'\"\\{}[]:, u\t\r\n\0\x1f\x85\u2028né😀\ud83d\ude00Nonetrue"), max_size=12)
texts = awkward | st.text(max_size=12) | st.sampled_from(["null", "None", "true", "u", ": None,", "', u'", "# x"])
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
values = st.recursive(
    scalars | st.binary(max_size=4) | st.complex_numbers(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(texts, inner, max_size=4)
        | st.dictionaries(st.integers() | st.booleans(), inner, max_size=2)
    ),
    max_leaves=12,
)
rows = st.dictionaries(texts, values, max_size=5)

FRAGMENTS = (
    "' \" \\ \\' \\\" \\\\ \\n \\x41 \\xe9 \\x4 \\u00e9 \\ud83d \\ude00 \\U0001f600 \\U00000022 \\N{DASH} \\7 \\d \\/ "
    "u' u\" b' r' f' U' ''' \"\"\" None True False null true false NaN Infinity nan 1 01 1. .5 -1 +1 1e5 1_0 0x1 1L 1j "
    "{ } [ ] ( ) : , # a é u x \t \r \f \0"
).split(" ")
sources = st.lists(st.sampled_from([*FRAGMENTS, " "]), max_size=12).map("".join)


def outcome(read: Any, text: str) -> str:
    """The value as ``repr``, which tells ``True`` from ``1`` and ``-0.0`` from ``0``."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return repr(read(text))
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return REFUSED


@given(rows)
def test_every_dumped_row_is_read_as_it_was(row: dict[Any, Any]) -> None:
    assert outcome(read_literal, repr(row)) == outcome(ast.literal_eval, repr(row))


@settings(max_examples=1000)
@given(
    sources, st.sampled_from(["{}", "{{'a': {}}}", "{{'a': '{}'}}", "{{\"a\": \"{}\", 'b': u'c'}}", "{{u'a': [{}]}}"])
)
@example("'null': null", "{{{}}}")
@example("u", "{{'a': 1}}{}")
@example("\\ud83d\\ude00", "{{'a': '{}'}}")
def test_every_text_is_read_or_refused_alike(text: str, around: str) -> None:
    text = around.format(text)
    assert outcome(read_literal, text) == outcome(ast.literal_eval, text)


@settings(max_examples=1000)
@given(sources | rows.map(repr), st.booleans())
def test_what_becomes_json_has_the_same_value(text: str, words: bool) -> None:
    found = outcome(lambda text: json.loads(as_json(text, words=words), parse_constant=int), text)
    assert found in (REFUSED, outcome(ast.literal_eval, text))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{'a': 'b'}", {"a": "b"}),
        ("{'a': \"it's\"}", {"a": "it's"}),
        ("{'a': '7\" long'}", {"a": '7" long'}),
        ("{'a': 'it\\'s 7\" long'}", {"a": "it's 7\" long"}),
        ("{'a': \"it's 7\\\" long\"}", {"a": "it's 7\" long"}),
        ("{u'a': u'caf\\xe9 \\u2014', u'b': u\"it's\"}", {"a": "café —", "b": "it's"}),
        ("{'a': None, 'b': [True, False], 'c': 'None, True'}", {"a": None, "b": [True, False], "c": "None, True"}),
        ("{'a': '\\U0001f600\\n'}", {"a": "😀\n"}),
        ("{'a': 1, 'b': -2.5, 'c': 1e-07}", {"a": 1, "b": -2.5, "c": 1e-7}),
    ],
)
def test_what_dumps_hold_is_read_as_json(text: str, value: Any) -> None:
    assert json.loads(as_json(text, words=True)) == value == read_literal(text)


@pytest.mark.parametrize(
    "text", ["{'a': b'c'}", "{'a': ('b', 1)}", "{1: 2}", "{'a': 'b' 'c'}", "{'a': '\\101'}", "{'a': 1,}", "{'a'}"]
)
def test_what_json_lacks_is_left_to_python(text: str) -> None:
    assert outcome(lambda text: json.loads(as_json(text, words=True)), text) == REFUSED
    assert read_literal(text) == ast.literal_eval(text)


@pytest.mark.parametrize("text", ["", "{'a': 'b", "{'a': true}", "{'a': NaN}", "{'a': b}", "{'a': 'b'}u", "[" * 9999])
def test_what_is_no_literal_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a Python literal"):
        read_literal(text)


sound = texts.filter(lambda text: not any(0xD800 <= ord(letter) <= 0xDFFF for letter in text))
nested = st.lists(sound, max_size=3) | st.dictionaries(sound, st.lists(sound, max_size=2), max_size=2)
fields = st.fixed_dictionaries({"a": sound, "b": nested, "c": st.none() | st.integers(0, 99)})


@given(st.lists(fields, min_size=1, max_size=6), st.sampled_from(["", "{'a': (1, 2)}", "{'a': "]))
def test_a_block_of_lines_is_read_as_it_was_written(rows: list[dict[str, Any]], odd: str) -> None:
    """Also line by line, as a line ``odd`` among them makes it."""
    expected = [(row["a"], row["b"], None if row["c"] is None else str(row["c"])) for row in rows]
    for write, more in ((json.dumps, ""), (repr, odd)):
        lines = "\n".join([write(row) for row in rows] + [more] * bool(more)).encode()
        file = RawFile(Path("meta.json"), Problems())
        frame = read_block(file, Block(1, lines), ("a", "b", "c"), literals=True)
        assert frame[LINE].to_list() == list(range(1, frame.height + 1))
        assert [(a, parse_json(b), c) for a, b, c in frame.head(len(rows)).drop(LINE).rows()] == expected
        assert (frame.height, file.problems.total) == (len(rows) + (more == "{'a': (1, 2)}"), more == "{'a': ")
