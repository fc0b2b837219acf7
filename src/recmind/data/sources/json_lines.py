"""JSON lines as frames of text columns: polars for sound blocks, line by line for damaged ones."""

from __future__ import annotations

import ast
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import polars as pl

from recmind.data.sources.lines import Block, RawFile
from recmind.data.sources.problems import Finding

LINE = "_line"
"""Column with the line number in the raw file."""

Reader = Callable[[RawFile], Iterator[pl.DataFrame]]

_BULK = re.compile(r"'related': \{[^{}]*\}(, )?")
"""Product ids that take up most of a 2014 metadata line and that nothing here reads."""


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
    if not (literals and block.data.lstrip()[:2] == b"{'"):
        try:
            frame = pl.read_ndjson(io.BytesIO(block.data), schema=schema)
        except pl.exceptions.PolarsError:
            frame = None
        if frame is not None and (numbers := _line_numbers(block, frame.height)) is not None:
            return frame.with_columns(numbers)
    return _line_by_line(file, block, fields, literals)


def _line_numbers(block: Block, height: int) -> pl.Series | None:
    """Numbers of the lines of a block that parsed; ``None`` where lines and rows do not match."""
    n_lines = block.data.count(b"\n") + (not block.data.endswith(b"\n"))
    if n_lines == height:
        return pl.int_range(block.first_line, block.first_line + height, dtype=pl.Int64, eager=True).alias(LINE)
    filled = [n for n, line in enumerate(block.data.split(b"\n"), block.first_line) if line.strip()]
    return pl.Series(LINE, filled, dtype=pl.Int64) if len(filled) == height else None


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
    if not (literals and line.startswith("{'")):
        try:
            return json.loads(line)
        except (ValueError, RecursionError):
            if not literals:
                return None
    for text in (_BULK.sub("", line), line):
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            continue
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
