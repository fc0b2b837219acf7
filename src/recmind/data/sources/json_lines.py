"""JSON lines as frames of text columns: polars for sound blocks, line by line for damaged ones."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import polars as pl

from recmind.data.sources.lines import Block, RawFile
from recmind.data.sources.literals import as_json, read_literal
from recmind.data.sources.problems import Finding

LINE = "_line"
"""Column with the line number in the raw file."""

Reader = Callable[[RawFile], Iterator[pl.DataFrame]]

_QUOTE_IN_KEY = re.compile(rb'\\"[^"\\]*+(?:\\.[^"\\]*+)*+"\s*:')


def json_lines(fields: Sequence[str], *, literals: bool = False) -> Reader:
    """A reader of JSON lines.

    Every field comes as text: numbers as they are printed, lists and objects
    as JSON, absent ones as null. Types are checked later, with the line at hand.

    Parameters
    ----------
    fields:
        Top-level keys to read.
    literals:
        Also accept lines that are Python literals (``{'asin': u'...'}``).
    """

    def read(file: RawFile) -> Iterator[pl.DataFrame]:
        for block in file.blocks():
            yield read_block(file, block, fields, literals)

    return read


def read_block(file: RawFile, block: Block, fields: Sequence[str], literals: bool = False) -> pl.DataFrame:
    """One block as a frame of the text columns ``fields`` and the line number."""
    schema = dict.fromkeys(fields, pl.String)
    for data in _as_json_lines(block) if literals and _begins_as_literal(block.data) else (block.data,):
        try:
            frame = pl.read_ndjson(io.BytesIO(data), schema=schema)
        except pl.exceptions.PolarsError:
            continue
        if (numbers := _line_numbers(block, frame.height)) is not None:
            return _mend_nested(frame.with_columns(numbers), data, block.first_line, fields)
    return _line_by_line(file, block, fields, literals)


def _begins_as_literal(text: bytes) -> bool:
    return text.lstrip().startswith((b"{'", b"{u'"))


def _as_json_lines(block: Block) -> Iterator[bytes]:
    """A block of literals as JSON: at first in the quick way, which will do unless there is a ``None`` or the like."""
    lines = block.data.decode().split("\n")
    for words in (False, True):
        try:
            yield "\n".join([as_json(line, words=words) for line in lines]).encode()
        except ValueError:
            continue


def _line_numbers(block: Block, height: int) -> pl.Series | None:
    """Numbers of the lines of a block that parsed; ``None`` where lines and rows do not match."""
    n_lines = block.data.count(b"\n") + (not block.data.endswith(b"\n"))
    if n_lines == height:
        return pl.int_range(block.first_line, block.first_line + height, dtype=pl.Int64, eager=True).alias(LINE)
    filled = [n for n, line in enumerate(block.data.split(b"\n"), block.first_line) if line.strip()]
    return pl.Series(LINE, filled, dtype=pl.Int64) if len(filled) == height else None


def _escaped(data: bytes) -> bool:
    return b"\\\\" in data or _QUOTE_IN_KEY.search(data) is not None


def _mend_nested(frame: pl.DataFrame, data: bytes, first_line: int, fields: Sequence[str]) -> pl.DataFrame:
    """``frame``, with the rows read again whose lists and objects polars cannot have written as valid JSON.

    It leaves backslashes, and quotation marks in keys, unescaped there.
    """
    if not _escaped(data):
        return frame
    lines = ((n, parse_line(line.decode())) for n, line in enumerate(data.split(b"\n"), first_line) if _escaped(line))
    rows = {number: row for number, row in lines if isinstance(row, dict)}
    places = frame[LINE].is_in(list(rows)).arg_true()
    again = (pl.Series(key, [_as_text(row.get(key)) for row in rows.values()], dtype=pl.String) for key in fields)
    return frame.with_columns(frame[column.name].scatter(places, column) for column in again)


def _line_by_line(file: RawFile, block: Block, fields: Sequence[str], literals: bool) -> pl.DataFrame:
    columns: list[list[str | None]] = [[] for _ in fields]
    numbers: list[int] = []
    findings: list[Finding] = []
    for number, line in enumerate(block.data.decode().split("\n"), block.first_line):
        if not line.strip():
            continue
        row = parse_line(line, literals)
        if not isinstance(row, dict):
            last = not block.data.endswith(b"\n") and number == block.first_line + block.data.count(b"\n")
            findings.append(Finding(number, _what_is_wrong(row, last), line[:80]))
            continue
        numbers.append(number)
        for column, key in zip(columns, fields, strict=True):
            column.append(_as_text(row.get(key)))
    file.report(*findings)
    data = {key: pl.Series(column, dtype=pl.String) for key, column in zip(fields, columns, strict=True)}
    return pl.DataFrame({**data, LINE: pl.Series(numbers, dtype=pl.Int64)})


def _what_is_wrong(row: Any, last: bool) -> str:
    if row is not None:
        return "the line is not a JSON object"
    return "the last line is cut off" if last else "the line is not valid JSON"


def parse_line(line: str, literals: bool = False) -> Any:
    """The value of one line; ``None`` if it is neither JSON nor, where allowed, a Python literal."""
    if not (literals and _begins_as_literal(line[:80].encode())):
        try:
            return json.loads(line)
        except (ValueError, RecursionError):
            if not literals:
                return None
    try:
        return read_literal(line)
    except ValueError:
        return None


def _as_text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        return value if value.isascii() else value.encode(errors="replace").decode()
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() else repr(value)
    return json.dumps(value, ensure_ascii=True, default=str)


def keys_of(line: bytes, literals: bool = True) -> frozenset[str]:
    """Top-level keys of a raw line; empty if it is no object."""
    row = parse_line(line.decode(errors="replace"), literals)
    return frozenset(row) if isinstance(row, dict) else frozenset()


def has_keys(*needed: str, without: Sequence[str] = ()) -> Callable[[bytes], bool]:
    """A test of a file's first line: all of ``needed`` are there and none of ``without``."""

    def test(line: bytes) -> bool:
        keys = keys_of(line)
        return keys.issuperset(needed) and keys.isdisjoint(without)

    return test
