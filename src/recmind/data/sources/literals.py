"""Python literals, as the metadata of 2014 holds them, read about as fast as JSON.

``ast.literal_eval`` builds a syntax tree first and needs several times as long as a JSON
parser. Nearly every dumped line differs from JSON only in its quotation marks, so it is
rewritten and parsed as JSON; what JSON then refuses is left to ``ast.literal_eval``. The
rewriting therefore only has to make sure that JSON accepts no text as something else.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from typing import Any, NoReturn

_SPECIAL = re.compile(r'"|\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)')
_PYTHON_WORDS = {"None": "null", "True": "true", "False": "false"}
_PYTHON_WORD = re.compile(r"\b(?:None|True|False)\b")
_JSON_WORD = re.compile(r"null|true|false")
_SAME_ESCAPES = frozenset('\\"nrtbf')


def read_literal(text: str) -> Any:
    """The value of a Python literal, the same as ``ast.literal_eval``'s.

    Raises
    ------
    ValueError
        If ``text`` is none, or too deeply nested.
    """
    for words in (False, True):
        try:
            return _DECODE(as_json(text, words=words))
        except (ValueError, RecursionError):
            continue
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # unknown escapes such as "\\d"
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError) as error:
        raise ValueError("not a Python literal") from error


def as_json(text: str, *, words: bool) -> str:
    """``text`` with JSON's quotation marks and escapes instead of Python's.

    A Python literal becomes JSON with the same value or no JSON at all, and what is no Python
    literal becomes no JSON (control characters and deep nesting aside, where the two differ).

    Parameters
    ----------
    text:
        A Python literal.
    words:
        Translate ``None``, ``True``, ``False`` and ``u'...'`` too. Most files have none of
        them, and to look for them everywhere costs as much as all the rest.

    Raises
    ------
    ValueError
        If an escape has no counterpart in JSON or stands outside a string, or ``null``,
        ``true`` or ``false`` does.
    """
    words = words or "null" in text or "true" in text or "false" in text
    pieces: list[str] = []
    start, quote = 0, ""  # the quotation mark around text[start], "" outside strings
    for match in _SPECIAL.finditer(text):
        special, segment = match[0], text[start : match.start()]
        start = match.end()
        if quote == '"':
            pieces.append(segment)
        else:
            pieces.append(_requote(segment, quote, special) if words else segment.replace("'", '"'))
            if segment.count("'") % 2:
                quote = "" if quote else "'"
        if special != '"':
            pieces.append(_escape(special, quote))
        elif quote == "'":
            pieces.append('\\"')
        else:
            pieces.append('"')
            quote = "" if quote else '"'
    rest = text[start:]
    if quote != '"':
        rest = _requote(rest, quote, "") if words else rest.replace("'", '"')
    return "".join([*pieces, rest])


def _requote(segment: str, quote: str, after: str) -> str:
    """``segment``, where only ``'`` begins and ends strings, with ``"`` instead, and its words in JSON."""
    if quote and "'" not in segment:
        return segment
    parts = segment.split("'")
    outside = slice(1 if quote else 0, None, 2)
    code = "'".join(parts[outside])
    if after:
        code = code.removesuffix("u")
    if _JSON_WORD.search(code):
        raise ValueError("a word of JSON in a Python literal")
    code = _PYTHON_WORD.sub(lambda word: _PYTHON_WORDS[word[0]], code.replace("u'", "'"))
    parts[outside] = code.split("'")
    return '"'.join(parts)


def _escape(escape: str, quote: str) -> str:
    kind = escape[1]
    if quote:
        if kind in _SAME_ESCAPES:
            return escape
        if kind == "'":
            return "'"
        # A surrogate is a character of its own in Python, but JSON joins a pair to one.
        if kind in "xuU" and len(escape) > 2 and not 0xD800 <= (code := int(escape[2:], 16)) <= 0xDFFF:
            return json.dumps(chr(code))[1:-1]
    raise ValueError(f"no escape of JSON: {escape}")


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no Python literal")


_DECODE = json.JSONDecoder(parse_constant=_refuse).decode
